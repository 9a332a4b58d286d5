"""Whether a benchmark says the same again: ratios between models in two runs, an hour or a day apart.

    python benchmarks/repeatability.py FOLDER MODEL MODEL [MODEL ...] [--wait MINUTES] [-- BENCHMARK'S OPTIONS]

Each call measures the models in turns and adds FOLDER/N.json, N counting up; from the second call on it compares the
last run with each earlier one: p50 of each model over p50 of the first one named, per number of threads. With --wait,
one call makes both runs. Exits with 1 if a ratio moved by more than --within (5 %).

Ratios, because a machine as a whole may be slower today (a governor, a neighbour), which is no matter of the models.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
ROOMS: Final = [str(ROOT / room) for room in ("edge", "convert", "train")]


def main() -> int:
    """Measure once or twice, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("models", nargs="+", metavar="MODEL", help="at least two; the first is what others are over")
    parser.add_argument("--wait", type=float, metavar="MINUTES", help="measure now and again after this time")
    parser.add_argument("--within", type=float, default=0.05, metavar="SHARE", help="default: 0.05")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, options = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    if len(args.models) < 2:
        parser.error("name at least two models")
    measure(args.folder, args.models, options)
    if args.wait is not None:
        time.sleep(60.0 * args.wait)
        measure(args.folder, args.models, options)
    runs = [json.loads(path.read_text()) for path in sorted(args.folder.glob("[0-9][0-9].json"))]
    worst = max([compare(earlier, runs[-1]) for earlier in runs[:-1]], default=None)
    if worst is None:
        print("the first run; call this again later")
        return 0
    print(f"largest change of a ratio: {worst:.1%}; {args.within:.0%} allowed")
    return 1 if worst > args.within else 0


def measure(folder: Path, models: list[str], options: list[str]) -> None:
    """Add the next result to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.glob('[0-9][0-9].json'))) + 1:02}.json"
    command = [sys.executable, "-m", "fer_edge", "benchmark", *models, "--frames", "0", "--json", str(path), *options]
    paths = os.pathsep.join([*ROOMS, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    if subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=False).returncode:
        sys.exit("the benchmark failed, or the board slowed itself down: such a run does not count")


def compare(earlier: dict[str, Any], later: dict[str, Any]) -> float:
    """Print the ratios of two runs side by side; return the largest relative change of one."""
    before, after = ratios(earlier), ratios(later)
    print(f"\n{earlier['started']} and {later['started']}: p50 over {Path(later['models'][0]['path']).name}")
    worst = 0.0
    for key in [key for key in after if key in before]:
        change = after[key] / before[key] - 1.0
        worst = max(worst, abs(change))
        name, threads = key
        print(
            f"  {name:32} {threads} thread{'s' * (threads != 1)}: {before[key]:8.3f} {after[key]:8.3f} {change:+7.2%}"
        )
    return worst


def ratios(result: dict[str, Any]) -> dict[tuple[str, int], float]:
    """Return p50 of each model but the first over the first's, by (name of the file, threads)."""
    p50 = [{one["threads"]: float(one["latency_ms"]["p50"]) for one in model["threads"]} for model in result["models"]]
    names = [Path(model["path"]).name for model in result["models"]]
    return {
        (name, threads): figure / p50[0][threads]
        for name, figures in zip(names[1:], p50[1:], strict=True)
        for threads, figure in figures.items()
    }


if __name__ == "__main__":
    sys.exit(main())
