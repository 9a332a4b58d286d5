#!/usr/bin/env python3
"""Push spoiled model files and cards through verification, loading and a first inference, and count the casualties.

    python benchmarks/fuzz_models.py --cases 100000 [MODEL.tflite ...]
    python benchmarks/fuzz_models.py --sweep [MODEL.tflite ...]

Each case spoils a valid file (bit flips, words, offsets, floats, truncations, splices, insertions, values of the card's
JSON), makes its checksum right again, and hands it to what `fer-edge run` does with a model. Without MODELs, two
graphs of 11 operators (int8 and float32) and a tiny one are spoiled; the bundled models are added if there are any. Run
it from a checkout with the test requirements installed. Exits with 1 if a case crashed, hung or raised anything but a
ModelError; `--first SEED --cases 1` runs one case again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / room) for room in ("edge", "convert", "train"))]

from fer_edge.contract.interpreter import find_runtime  # noqa: E402
from fer_edge.model_store import named_models  # noqa: E402
from tests.contract.campaign import Kind, Tally, run_campaign  # noqa: E402
from tests.contract.mutations import Specimen, sweep_size  # noqa: E402
from tests.contract.small_graph import SmallGraph  # noqa: E402
from tests.edge.tiny_model import write_tiny_model  # noqa: E402

BATCH = 5000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", help=".tflite files with cards to spoil")
    parser.add_argument("--cases", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="seed of the first case (default: 0)")
    parser.add_argument("--sweep", action="store_true", help="put 27 values into every word of the structure instead")
    args = parser.parse_args()
    started = time.monotonic()
    total = Tally()
    with tempfile.TemporaryDirectory() as folder:
        files = args.models or _specimens(Path(folder))
        kind: Kind = "sweep" if args.sweep else "mutate"
        end = args.first + args.cases
        if args.sweep:
            end = sweep_size([Specimen.of(file.name, file.read_bytes()) for file in files])
        # A fresh worker for each batch: memory that creeps up would show in the peak all the same.
        for first in range(args.first, end, BATCH):
            _add(total, run_campaign(files, first, min(BATCH, end - first), kind))
            print(
                f"{total.cases} cases, {dict(total.outcomes)}, failures {total.failures}", file=sys.stderr, flush=True
            )
    runtime = find_runtime()
    report = {
        "specimens": [file.name for file in files],
        "kind": kind,
        "cases": total.cases,
        "first_seed": args.first,
        "outcomes": dict(Counter(total.outcomes).most_common()),
        "failures": total.failures,
        "peak_rss_mb": round(total.peak_mb, 1),
        "slowest_case_s": round(total.slowest_s, 3),
        "seconds": round(time.monotonic() - started),
        "runtime": f"{runtime.name} {runtime.version}",
    }
    print(json.dumps(report, indent=2))
    return 1 if total.failures else 0


def _specimens(folder: Path) -> list[Path]:
    own = [SmallGraph(dtype).write(folder / f"small.{dtype}.tflite") for dtype in ("int8", "float32")]
    return [*own, write_tiny_model(folder / "tiny.tflite"), *(model.path for model in named_models())]


def _add(total: Tally, batch: Tally) -> None:
    total.cases += batch.cases
    total.outcomes += batch.outcomes
    total.failures |= batch.failures
    total.peak_mb, total.slowest_s = max(total.peak_mb, batch.peak_mb), max(total.slowest_s, batch.slowest_s)


if __name__ == "__main__":
    sys.exit(main())
