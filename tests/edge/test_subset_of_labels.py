"""A model with four labels of its own through every output: no list of labels is built in anywhere."""

from __future__ import annotations

import csv
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fer_edge.configuration import resolve_config
from fer_edge.configuration.settings import output_settings
from fer_edge.contract.labels import UNCERTAIN
from fer_edge.outputs.home_assistant import discovery
from fer_edge.outputs.metrics import MetricsOutput
from fer_edge.outputs.web import WebOutput
from fer_edge.runtime import Runtime, assemble
from tests.edge.sample_observations import eventually
from tests.edge.scripted_camera import Background
from tests.edge.tiny_model import write_tiny_model

LABELS = ("calm", "tense", "amused", "bored")


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.startswith("{") else text


def test_every_output_speaks_the_models_own_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    model = write_tiny_model(tmp_path / "four.tflite", "amused", labels=LABELS)
    files = {name: tmp_path / name for name in ("jsonl", "csv", "aggregate")}
    specs = [*(f"{name}:{path}" for name, path in files.items()), "metrics:0", "web:0"]
    keys: dict[str, object] = {"source.spec": "demo", "model.name": str(model), "outputs.enabled": specs}
    resolved = resolve_config(None, {}, keys, system_file=Path("/nowhere"))
    opened: list[Any] = []
    for kind in (WebOutput, MetricsOutput):
        original = kind.open

        def remember(self: Any, original: Any = original) -> None:
            original(self)
            opened.append(self)

        monkeypatch.setattr(kind, "open", remember)
    run = Background(Runtime(assemble(resolved, realtime=True, loop=True), status_every_s=0.2))
    run.until(lambda: len(opened) == 2, "page and metrics")
    web, metrics = sorted(opened, key=lambda output: str(output.name), reverse=True)
    page = f"http://127.0.0.1:{metrics.port}/metrics"
    eventually(lambda: 'fer_edge_faces_total{expression="amused"}' in get(page), "a face in the metrics")
    eventually(lambda: bool((get(web.url + "api/state")["observation"] or {}).get("faces")), "a face in the dashboard")
    state = get(web.url + "api/state")
    assert state["labels"] == list(LABELS)
    assert list(state["palette"]) == [*LABELS, UNCERTAIN]
    assert len(set(state["palette"].values())) == 5
    assert list(state["observation"]["faces"][0]["probabilities"]) == list(LABELS)
    assert get(web.url + "api/history")["labels"] == [*LABELS, UNCERTAIN]
    run.stop()

    first = next(line for line in map(json.loads, files["jsonl"].read_text().splitlines()) if line["faces"])
    assert list(first["faces"][0]["probabilities"]) == list(LABELS)
    with files["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [name for name in rows[0] if name.startswith("p_")] == [f"p_{label}" for label in LABELS]
    assert {row["expression"] for row in rows} == {"amused"}
    assert set(json.loads(files["aggregate"].read_text().splitlines()[-1])["expressions"]) == {"amused"}
    settings = output_settings(resolved.config, LABELS, finite=False)
    (options,) = [payload["options"] for topic, payload in discovery(settings.mqtt, settings.labels).items() if
                  topic.endswith("/expression/config")]  # fmt: skip
    assert options == [*LABELS, UNCERTAIN]
