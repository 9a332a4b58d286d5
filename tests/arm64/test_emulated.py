"""fer-edge on arm64: installed by the installer in emulated Debian roots, from the real aarch64 wheels, offline.

    FER_EDGE_ARM64=1 python -m pytest tests/arm64 -v

as root; README.md beside this file says what is needed, which variables there are, and what was found.

What an arm64 root says is held against an x86-64 virtual environment with the same versions of OpenCV and LiteRT, so
that what differs is the processor's doing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.model_store import find_model
from tests.arm64 import emulated
from tests.arm64.agreement import Agreement, boxes, compare, from_csv, from_image
from tests.arm64.emulated import EmulatedRoot, emulation
from tests.arm64.faces import write_crops, write_scenes
from tests.arm64.operators import OWN, PROBE, XNNPACK, Parting, write_cuts
from tests.service.wheelhouse import REPOSITORY, build_wheel, gather
from tests.train.synthetic_fer2013 import load_quietly

_OBSTACLE = emulated.obstacle()
_RELEASES = [name for name in ("bookworm", "trixie") if os.environ.get("FER_EDGE_ARM64") in ("1", name, None)]
IMAGES = int(os.environ.get("FER_EDGE_ARM64_IMAGES", "200"))
SCENES = 10
BENCHMARKED = 20
PROBED = 2
CORE = {"bookworm": "cortex-a72", "trixie": "cortex-a76"}
"""What ``evaluate`` runs on: Pi 4 and Pi 5, for which XNNPACK has different kernels. All else runs on the older one,
whose instructions are those of every board from the Pi Zero 2 W on: wheels built for newer ones would be killed."""
LOST_AT_A_CUT = 5
"""Frames of the demo. A face is held for 8; then it depends on which slice of the picture is due. On an x86-64 machine
3, 1 and 0 were lost where a search was made to seem 10, 30 and 100 times as long."""
LARGEST = 0.05
"""Probability: what the rounding of eleven layers may add up to. README.md says what was found: nothing at all."""

pytestmark = [
    pytest.mark.skipif(bool(_OBSTACLE), reason=_OBSTACLE or "runs"),
    # Emulation is slow, other programs may use the machine, and the first use builds roots.
    pytest.mark.timeout(3600),
]

VERSIONS = """
import importlib.metadata as m, json, numpy, platform
names = ("numpy", "opencv-python-headless", "ai-edge-litert")
print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), "numpy_file": numpy.__file__,
                  **{name: m.version(name) for name in names}}))
"""


@pytest.fixture(scope="module", autouse=True)
def emulating() -> Iterator[None]:
    with emulation():
        yield


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what is classified: ``scenes``, and what ``faces`` adds."""
    folder = tmp_path_factory.mktemp("material")
    write_scenes(folder / "scenes", SCENES)
    return folder


@pytest.fixture(scope="module")
def faces(material: Path) -> Path:
    """Images for ``evaluate``, in ``material``: the first of FER2013's PrivateTest if it is named, else the crops."""
    named = os.environ.get("FER_EDGE_FER2013") or os.environ.get("FER2013")
    if not named:
        return write_crops(material / "crops.npz", IMAGES)
    data = load_quietly(Path(named)).split("PrivateTest")
    emotion, pixels = data.labels[:IMAGES], data.pixels[:IMAGES]
    np.savez(material / "fer2013.npz", pixels=pixels, emotion=emotion, usage=np.full(len(pixels), "PrivateTest"))
    return material / "fer2013.npz"


@pytest.fixture(scope="module", params=_RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def root(
    release: str, wheel: Path, material: Path, tmp_path_factory: pytest.TempPathFactory, figures: list[str]
) -> Iterator[EmulatedRoot]:
    """An arm64 root with fer-edge installed as on a kiosk; the installer runs its own doctor."""
    folder = tmp_path_factory.mktemp(f"arm64-{release}")
    wheels = gather(release, wheel, folder / "wheels", "aarch64")
    # A copy: bash reads a script as it goes along, and installing takes minutes in which someone may work on it.
    systemd = shutil.copytree(REPOSITORY / "systemd", folder / "systemd")
    binds = {"/mnt/systemd": systemd, "/mnt/wheels": wheels, "/mnt/material": material}
    started = time.monotonic()
    made = EmulatedRoot(release, folder, binds)
    unpacked = time.monotonic()
    made.run("bash", "/mnt/systemd/install.sh", "--wheelhouse", "/mnt/wheels", "--no-start")
    figures.append(
        f"{release}: root {unpacked - started:.0f} s, install.sh with its doctor {time.monotonic() - unpacked:.0f} s"
    )
    yield made
    shutil.rmtree(made.root)  # pytest would keep it for three runs


@pytest.fixture(scope="module")
def versions(root: EmulatedRoot) -> dict[str, str]:
    done = root.run("/opt/fer-edge/current/bin/python", "-c", VERSIONS)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def reference(wheel: Path, versions: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``fer-edge`` in an x86-64 environment with the root's versions of what computes; NumPy's may differ."""
    folder = tmp_path_factory.mktemp("reference") / "venv"
    venv.create(folder, with_pip=True)
    same = [f"{name}=={versions[name]}" for name in ("opencv-python-headless", "ai-edge-litert")]
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel, *same]
    subprocess.run(pip, check=True)
    return folder / "bin" / "fer-edge"


def on_this_machine(program: Path, *arguments: object) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_only_rounding(agreement: Agreement) -> None:
    """Different labels are close calls, and no probability is far off."""
    told = "\n".join(f"{here} here, {there} there" for here, there in agreement.disputed)
    assert agreement.close_calls == len(agreement.disputed), told
    assert agreement.largest <= LARGEST, told


def test_the_installer_takes_the_releases_own_numpy(
    root: EmulatedRoot, versions: dict[str, str], figures: list[str]
) -> None:
    """apt's picamera2 is built against it; OpenCV and LiteRT come as wheels, for aarch64."""
    python, numpy = {"bookworm": ("3.11.", "1.24."), "trixie": ("3.13.", "2.2.")}[root.release]
    assert versions["machine"] == "aarch64"
    assert versions["python"].startswith(python)
    assert versions["numpy"].startswith(numpy)
    assert versions["numpy_file"].startswith("/usr/lib/python3/dist-packages/")
    figures.append(f"{root.release}: " + ", ".join(f"{k} {v}" for k, v in versions.items() if k != "numpy_file"))


def test_doctor_finds_all_well_but_what_an_emulated_root_lacks(root: EmulatedRoot, figures: list[str]) -> None:
    started = time.monotonic()
    checks = {check["name"]: check for check in json.loads(root.fer_edge("doctor", "--json"))["checks"]}
    for name in ("python", "architecture", "operating system", "disk", "configuration", "numpy", "opencv"):
        assert checks[name]["status"] == "ok", checks[name]
    for name in ("face detector", "model"):
        assert checks[name]["status"] == "ok", checks[name]
    assert checks["architecture"]["found"].startswith("aarch64")
    # There is neither a camera nor a network that sets the clock; the rest does not apply ("skip").
    not_well = {name for name, check in checks.items() if check["status"] in ("warn", "fail")}
    assert not_well <= {"cameras", "clock"}
    took_s = time.monotonic() - started
    figures.append(f"{root.release}, doctor: not well are {', '.join(sorted(not_well)) or 'none'} ({took_s:.0f} s)")


def test_faces_get_the_same_classification(
    root: EmulatedRoot, reference: Path, faces: Path, material: Path, tmp_path: Path, figures: list[str]
) -> None:
    core = CORE[root.release]
    options = ("--limit", str(IMAGES), "--json", "--predictions")
    here = json.loads(on_this_machine(reference, "evaluate", "default", "--data", faces, *options, tmp_path / "here"))
    inside = f"/mnt/material/{faces.relative_to(material)}"
    started = time.monotonic()
    there = json.loads(root.fer_edge("evaluate", "default", "--data", inside, *options, "/root/there", core=core))
    took_s = time.monotonic() - started
    agreement = compare(from_csv(tmp_path / "here"), from_csv(root.root / "root" / "there"))
    figures.append(
        f"{root.release}, evaluate {faces.stem}, {core}: {agreement}; accuracy {there['accuracy']:.4f}, "
        f"x86-64 {here['accuracy']:.4f} ({took_s:.0f} s)"
    )
    assert there["sha256"] == here["sha256"]
    assert there["n"] == here["n"] == agreement.faces == IMAGES
    assert_only_rounding(agreement)


def test_every_operator_gives_the_same_integers(
    root: EmulatedRoot, reference: Path, faces: Path, material: Path, tmp_path: Path, figures: list[str]
) -> None:
    """Of XNNPACK's, which are what runs. TFLite's own kernels are told for comparison; they round otherwise on Arm."""
    folder = material / "operators"
    if not folder.exists():
        with np.load(faces) as data:
            write_cuts(find_model("default"), data["pixels"][:PROBED], folder)
    started = time.monotonic()
    core, python = CORE[root.release], "/opt/fer-edge/current/bin/python"
    root.run(python, "-c", PROBE, "/mnt/material/operators", "/root/operators.npz", core=core)
    took_s = time.monotonic() - started
    on_this_machine(reference.with_name("python"), "-c", PROBE, folder, tmp_path / "operators.npz")
    with np.load(tmp_path / "operators.npz") as here, np.load(root.root / "root" / "operators.npz") as there:
        xnnpack, own = (Parting.between(here, there, kernels) for kernels in (XNNPACK, OWN))
    figures.append(f"{root.release}, {core}, {PROBED} faces: XNNPACK gives {xnnpack}")
    figures.append(f"{root.release}, {core}, {PROBED} faces: TFLite's own kernels give {own} ({took_s:.0f} s)")
    assert max(xnnpack.largest) <= 1, xnnpack


def test_pictures_get_the_same_faces_and_classification(
    root: EmulatedRoot, reference: Path, material: Path, figures: list[str]
) -> None:
    """The whole way of a picture: PNG, grey, Haar, crop, resize, model."""
    here = json.loads(on_this_machine(reference, "image", material / "scenes", "--json"))
    started = time.monotonic()
    there = json.loads(root.fer_edge("image", "/mnt/material/scenes", "--json"))
    took_s = time.monotonic() - started
    found, same = boxes(here), boxes(there)
    assert sum(map(len, found.values())) >= SCENES
    assert same == found
    agreement = compare(from_image(here), from_image(there))
    figures.append(f"{root.release}, {SCENES} pictures, Cortex-A72: boxes equal, {agreement} ({took_s:.0f} s)")
    assert_only_rounding(agreement)


def test_the_model_is_verified(root: EmulatedRoot, figures: list[str]) -> None:
    """Its file is taken apart, and a first inference run in a process with limits."""
    started = time.monotonic()
    found = json.loads(root.fer_edge("models", "verify", "default", "--json"))
    assert found["valid"] is True
    assert found["smoke"]["runtime"].startswith("ai_edge_litert")
    assert sum(found["smoke"]["probabilities"]) == pytest.approx(1, abs=0.02)
    figures.append(
        f"{root.release}, models verify: sha256 {found['sha256'][:12]} in order ({time.monotonic() - started:.0f} s)"
    )


def test_benchmark_runs_with_the_base_install_and_says_that_it_is_emulated(
    root: EmulatedRoot, reference: Path, faces: Path, material: Path, figures: list[str]
) -> None:
    def arguments(data: object) -> tuple[str, ...]:
        counts = ("--rounds", "1", "--samples", "10", "--frames", "3", "--threads", "1")
        return ("benchmark", "default", *counts, "--data", str(data), "--limit", str(BENCHMARKED), "--json")

    here = json.loads(on_this_machine(reference, *arguments(faces)))
    started = time.monotonic()
    result = json.loads(root.fer_edge(*arguments(f"/mnt/material/{faces.relative_to(material)}")))
    took_s = time.monotonic() - started
    assert result["machine"]["architecture"] == "aarch64"
    assert result["machine"]["emulated"] is True
    assert here["machine"]["emulated"] is False
    (model,) = result["models"]
    (one,) = model["threads"]
    # Sampling ends after 15 s, which is not long here.
    assert 1 <= one["latency_ms"]["n"] <= 10
    assert model["stages"]["faces_a_frame"] >= 0.9
    (same,) = here["models"]
    assert model["accuracy"]["n"] == same["accuracy"]["n"] == BENCHMARKED
    assert model["accuracy"]["accuracy"] == pytest.approx(same["accuracy"]["accuracy"], abs=1 / BENCHMARKED)
    figures.append(
        f"{root.release}, benchmark: completes, labelled emulated, accuracy of {BENCHMARKED} faces "
        f"{model['accuracy']['accuracy']:.4f}, x86-64 {same['accuracy']['accuracy']:.4f} ({took_s:.0f} s)"
    )


def test_demo_sees_the_same_expressions(
    root: EmulatedRoot, reference: Path, tmp_path: Path, figures: list[str]
) -> None:
    """Which frames are scanned depends on the time that it takes: the slower machine may miss a second visitor.

    At the scene's two cuts it may lose the first one, too, for as long as it takes to scan the picture slice by slice.
    """
    here: dict[str, Any] = json.loads(on_this_machine(reference, "demo", "--json", "--out", tmp_path))
    started = time.monotonic()
    there: dict[str, Any] = json.loads(root.fer_edge("demo", "--json", "--out", "/root/demo"))
    took_s = time.monotonic() - started
    seen = "{frames_with_face}/{frames} frames with a face, {faces} faces {expressions}"
    figures.append(
        f"{root.release}, demo: {seen.format(**there)}; x86-64: {seen.format(**here)} ({took_s:.0f} s)",
    )
    assert there["machine"] == "aarch64"
    assert there["model_sha256"] == here["model_sha256"]
    assert there["frames"] == here["frames"]
    assert there["frames"] - there["frames_with_face"] <= 2 * LOST_AT_A_CUT
    assert next(iter(there["expressions"])) == next(iter(here["expressions"]))
    assert all((root.root / file.lstrip("/")).stat().st_size > 10_000 for file in there["files"])
