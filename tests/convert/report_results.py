"""Real results to report on: small models, really measured, and the same results as if from other machines."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import msgspec

from fer_edge.cli import main
from fer_edge.contract.labels import LABELS
from fer_edge.contract.tflite_file import read_model_file
from fer_train.fer2013 import Fer2013Warning
from tests.contract.small_graph import SmallGraph
from tests.edge.tiny_model import write_tiny_model
from tests.train.synthetic_fer2013 import SyntheticFer2013

Document = dict[str, Any]

PI: Document = {
    "board": "Raspberry Pi 4 Model B Rev 1.4",
    "cpu": "Cortex-A72",
    "architecture": "aarch64",
    "cores": 4,
    "emulated": False,
}


class Results:
    """A folder with a benchmark of three files, evaluations of one of them, and a record of a conversion."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.happy = write_tiny_model(folder / "happy.int8.tflite", "happy", name="happy")
        self.sad = write_tiny_model(folder / "sad.int8.tflite", "sad", name="sad")
        self.stranger = folder / "stranger.tflite"
        self.stranger.write_bytes(SmallGraph("float32").bytes())
        self.data = SyntheticFer2013.generate(per_class=(2, 4, 6)).write_npz(folder / "fer2013.npz")
        self.benchmark = folder / "benchmark.json"
        quick = ("--threads", "1,2", "--rounds", "1", "--samples", "20", "--frames", "2")
        describe = folder / "strangers.json"
        describe.write_text(json.dumps({"stranger.tflite": {"labels": LABELS, "scale": "1/255"}}))
        files = (self.happy, self.sad, self.stranger)
        self._json("benchmark", *files, *quick, "--describe", describe, "--json", self.benchmark)
        self.private = self._json("evaluate", self.happy, "--data", self.data, "--json", to=folder / "private.json")
        self.public = self._json(
            "evaluate", self.happy, "--data", self.data, "--split", "PublicTest", "--json", to=folder / "public.json"
        )
        self.sad_private = self._json("evaluate", self.sad, "--data", self.data, "--json", to=folder / "sad.json")

    @property
    def all(self) -> list[Path]:
        """Every document."""
        return [self.benchmark, self.private, self.public, self.sad_private]

    def record(self, folder: Path) -> Path:
        """Write the record that a conversion leaves beside its file, with figures on its card, and that file."""
        model = folder / self.happy.name
        model.write_bytes(self.happy.read_bytes())
        path = model.with_suffix(".json")
        card = msgspec.structs.replace(read_model_file(model).card, checksum="0" * 64)
        path.write_bytes(msgspec.json.encode({"comparisons": {}, "failed_gates": [], "card": card}))
        return path

    def changed(self, path: Path, *changes: Callable[[Document], object], of: Path | None = None) -> Path:
        """Write a document (the benchmark, if none is named) with changes to ``path``; return it."""
        document: Document = json.loads((of or self.benchmark).read_text())
        for change in changes:
            change(document)
        path.write_text(json.dumps(document))
        return path

    @staticmethod
    def _json(*arguments: object, to: Path | None = None) -> Path:
        out = io.StringIO()
        with redirect_stdout(out), warnings.catch_warnings():
            warnings.simplefilter("ignore", Fer2013Warning)  # the data set is a tiny one
            assert main([str(argument) for argument in arguments]) == 0
        if to is not None:
            to.write_text(out.getvalue())
        return to or Path(str(arguments[-1]))


def on_machine(machine: Document) -> Callable[[Document], None]:
    """Return a change that moves a benchmark to another machine."""

    def change(document: Document) -> None:
        document["machine"].update(machine)

    return change


def slower(factor: float, *names: str) -> Callable[[Document], None]:
    """Return a change that multiplies the latencies of the named models, or of all."""

    def change(document: Document) -> None:
        for model in document["models"]:
            if not names or model["name"] in names:
                for one in model["threads"]:
                    latency = one["latency_ms"]
                    latency |= {key: value * factor for key, value in latency.items() if key != "n"}

    return change
