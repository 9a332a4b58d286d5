from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fer_edge.configuration import resolve_config
from fer_edge.contract.labels import LABELS
from fer_edge.errors import ConfigError, ModelError, UsageError
from fer_edge.notify import ServiceNotifier
from fer_edge.runtime import Parts, Runtime, assemble
from fer_edge.runtime.model_watch import ModelChoice, ModelWatch
from fer_edge.runtime.parts import choose_model
from fer_edge.runtime.selection import read_selection, selection_file, write_selection
from fer_edge.vision.classifier import ExpressionClassifier
from tests.edge.sample_observations import eventually
from tests.edge.scripted_camera import Background, Device, MemoryOutput, parts_for
from tests.edge.service_manager import ServiceManager
from tests.edge.tiny_model import write_tiny_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model.tflite", "happy")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.let_go.set()


@pytest.fixture
def output() -> MemoryOutput:
    return MemoryOutput()


def expression(output: MemoryOutput) -> str:
    """What the face in the newest result shows."""
    faces = output.observations[-1].faces if output.observations else ()
    return faces[0].expression if faces else ""


def start(
    parts: Parts, output: MemoryOutput, reload: Callable[[], Parts] | None = None, shows: str = "happy"
) -> Background:
    run = Background(Runtime(parts, reload=reload, status_every_s=0.1))
    run.until(lambda: expression(output) == shows, f"a {shows} face")
    return run


# --- another model ---


def test_a_new_file_in_place_takes_over_between_two_frames(model: Path, device: Device, output: MemoryOutput) -> None:
    run = start(parts_for(model, [output], device=device), output)
    before = output.observations[-1]
    write_tiny_model(model, "sad")
    run.until(lambda: expression(output) == "sad", "the new model")
    assert output.observations[-1].faces[0].id == before.faces[0].id
    run.until(lambda: output.states[-1].model_sha256 == ExpressionClassifier.load(model).sha256, "its checksum")
    summary = run.stop()
    assert summary.model_sha256 == ExpressionClassifier.load(model).sha256
    assert device.openings == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), r"model\.tflite: "),
        (lambda path: path.write_bytes(b""), r"model\.tflite: "),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: write_tiny_model(path, "a", labels=("a", "b")), "its labels are a, b"),
    ],
)
def test_a_model_that_cannot_be_used_leaves_the_old_one_running(
    model: Path,
    device: Device,
    output: MemoryOutput,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], object],
    reason: str,
) -> None:
    run = start(parts_for(model, [output], device=device), output)
    spoil(model)
    run.until(lambda: "the model in use stays" in caplog.text, "the refusal")
    shown, states = len(output.observations), len(output.states)
    run.until(lambda: len(output.states) > states + 3 and len(output.observations) > shown, "more results")
    assert expression(output) == "happy"
    refusals = [record for record in caplog.records if "stays" in record.getMessage()]
    assert len(refusals) == 1
    assert refusals[0].getMessage().count("\n") == 0
    assert re.search(reason, refusals[0].getMessage())
    write_tiny_model(model, "fear")  # and a good one is taken after that
    run.until(lambda: expression(output) == "fear", "the repaired model")
    run.stop()


def test_the_chosen_model_takes_over_and_goes_again(
    tmp_path: Path, device: Device, output: MemoryOutput, model: Path
) -> None:
    chosen = write_tiny_model(tmp_path / "chosen.tflite", "surprise")
    parts = parts_for(model, [output], device=device)
    parts = replace(parts, model=ModelChoice(model, selection_file()))  # as if a configuration file had named it
    run = start(parts, output)
    write_selection(selection_file(), str(chosen))
    run.until(lambda: expression(output) == "surprise", "the chosen model")
    write_tiny_model(chosen, "disgust")  # it is watched now
    run.until(lambda: expression(output) == "disgust", "its successor")
    selection_file().unlink()
    run.until(lambda: expression(output) == "happy", "the configured model")
    run.stop()


def test_a_choice_of_a_model_that_does_not_exist_changes_nothing(
    tmp_path: Path, device: Device, output: MemoryOutput, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = replace(parts_for(model, [output], device=device), model=ModelChoice(model, selection_file()))
    run = start(parts, output)
    write_selection(selection_file(), str(tmp_path / "nosuch.tflite"))
    run.until(lambda: "nosuch.tflite" in caplog.text, "the refusal")
    assert "fer-edge model unset" in caplog.text
    assert expression(output) == "happy"
    run.stop()


def test_a_file_that_is_still_being_copied_is_left_alone(model: Path, tmp_path: Path) -> None:
    watch = ModelWatch(ModelChoice(model, None), ExpressionClassifier.load(model))
    new = write_tiny_model(tmp_path / "new.tflite", "sad").read_bytes()
    assert watch.poll() is None
    model.write_bytes(new[:5000])
    assert watch.poll() is None  # changed since the last look
    model.write_bytes(new)
    assert watch.poll() is None  # changed again
    found = watch.poll()
    assert found is not None
    assert found.model.file.data == new
    assert watch.poll() is None
    shutil.copy(tmp_path / "new.tflite", model)  # the same again
    assert watch.poll() is None
    assert watch.poll() is None


def test_a_model_named_on_the_command_line_or_in_the_environment_is_obeyed(
    model: Path, tmp_path: Path, state: Path
) -> None:
    other = write_tiny_model(tmp_path / "other.tflite")
    write_selection(selection_file(), str(other))
    assert selection_file().parent == state
    config = tmp_path / "config.toml"
    config.write_text(f'[model]\nname = "{model}"\n')
    from_file = resolve_config(config, {})
    from_environment = resolve_config(None, {"FER_EDGE_MODEL__NAME": str(model)}, system_file=Path("/nowhere"))
    from_flags = resolve_config(None, {}, {"model.name": str(model)}, system_file=Path("/nowhere"))
    assert choose_model(from_file).resolve() == other
    assert choose_model(from_environment).resolve() == model
    assert choose_model(from_flags).resolve() == model


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 7}', '{"model": ""}', "\x00\xff"])
def test_a_choice_that_somebody_spoiled_names_the_way_out(state: Path, content: str) -> None:
    state.mkdir()
    selection_file().write_text(content, encoding="latin-1")
    with pytest.raises(ModelError, match=r"model\.json: is no choice of a model; .*fer-edge model unset"):
        read_selection(selection_file())


# --- another configuration ---


def reloading(device: Device, model: Path, output: MemoryOutput, **changes: object) -> Parts:
    """What a reload would assemble; ``changes`` are keys with two underscores for the point."""
    return parts_for(model, [output], device=device, keys={k.replace("__", "."): v for k, v in changes.items()})


def test_reloading_the_same_changes_nothing(
    model: Path, device: Device, output: MemoryOutput, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    parts = parts_for(model, [output], device=device)
    run = start(parts, output, lambda: reloading(device, model, output))
    face = output.observations[-1].faces[0].id
    run.runtime.reload()
    run.until(lambda: "the configuration was reloaded" in caplog.text, "the reload")
    shown = len(output.observations)
    run.until(lambda: len(output.observations) > shown + 3, "more results")
    assert output.observations[-1].faces[0].id == face
    run.stop()
    assert (output.opened, output.closed, device.openings) == (1, 1, 1)


def test_another_detection_keeps_the_camera_and_uses_no_id_twice(
    model: Path, device: Device, output: MemoryOutput
) -> None:
    parts = parts_for(model, [output], device=device)
    run = start(parts, output, lambda: reloading(device, model, output, detection__min_face_px=40))
    used = {face.id for each in output.observations for face in each.faces}
    run.runtime.reload()
    run.until(
        lambda: not used.issuperset(ids := [face.id for face in output.observations[-1].faces]) and len(ids) == 1,
        "a new id",
    )
    run.stop()
    assert max(used) < output.observations[-1].faces[0].id
    assert device.openings == 1


def test_another_source_takes_over_and_the_old_one_is_given_back(
    model: Path, device: Device, output: MemoryOutput
) -> None:
    second = Device()
    parts = parts_for(model, [output], device=device)
    run = start(parts, output, lambda: reloading(second, model, output, source__width=320))
    run.runtime.reload()
    run.until(lambda: second.openings == 1, "the second camera")
    shown = len(output.observations)
    run.until(lambda: len(output.observations) > shown + 3, "its results")
    assert device.holders == 0
    run.stop()
    assert second.holders == 0
    indices = [observation.frame for observation in output.observations]
    assert indices == sorted(set(indices))


def test_another_camera_stays_closed_during_a_pause(model: Path, device: Device, output: MemoryOutput) -> None:
    second = Device()
    parts = parts_for(model, [output], device=device)
    run = start(parts, output, lambda: reloading(second, model, output, source__width=320))
    run.runtime.pause()
    run.runtime.reload()
    run.until(lambda: second.built == 1 and run.runtime.status().state == "paused", "the reload")
    states = len(output.states)
    run.until(lambda: len(output.states) > states + 1, "more states")
    assert second.openings == 0
    run.runtime.resume()
    run.until(lambda: second.openings == 1, "the second camera")
    run.stop()


@pytest.mark.parametrize(
    "error", [ConfigError("config.toml:3: detection.foo: unknown key"), UsageError("no such output"), ValueError("bug")]
)
def test_a_bad_configuration_leaves_the_old_one_running(
    model: Path, device: Device, output: MemoryOutput, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail() -> Parts:
        raise error

    run = start(parts_for(model, [output], device=device), output, fail)
    run.runtime.reload()
    run.until(lambda: str(error) in caplog.text, "the refusal")
    shown = len(output.observations)
    run.until(lambda: len(output.observations) > shown + 3, "more results")
    run.stop()
    assert caplog.text.count("the old configuration stays") == 1
    assert (output.opened, output.closed, device.openings) == (1, 1, 1)


def test_a_camera_cannot_be_changed_into_a_file(
    model: Path, device: Device, output: MemoryOutput, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = start(
        parts_for(model, [output], device=device),
        output,
        lambda: parts_for(model, [output], source=str(tmp_path / "clip.mp4")),
    )
    run.runtime.reload()
    run.until(lambda: "source.spec names a file" in caplog.text, "the refusal")
    run.stop()


# --- a reload that takes its time ---


@pytest.fixture
def systemd() -> Iterator[ServiceManager]:
    with ServiceManager() as systemd:
        yield systemd


@pytest.fixture
def slow() -> Iterator[MemoryOutput]:
    """An output that does not open before the test lets it."""
    output = MemoryOutput("slow")
    output.let_open.clear()
    yield output
    output.let_open.set()


def watched(
    parts: Parts, reload: Callable[[], Parts], systemd: ServiceManager, step_within_s: float = 60.0
) -> Background:
    notifier = ServiceNotifier(systemd.environment | {"WATCHDOG_USEC": "400000"})
    return Background(
        Runtime(parts, reload=reload, notifier=notifier, status_every_s=0.25, reload_step_within_s=step_within_s)
    )


def test_a_slow_reopening_of_an_output_is_no_reason_to_be_killed(
    model: Path, device: Device, output: MemoryOutput, slow: MemoryOutput, systemd: ServiceManager
) -> None:
    run = watched(
        parts_for(model, [output], device=device), lambda: parts_for(model, [output, slow], device=device), systemd
    )
    run.until(lambda: bool(output.observations), "a result")
    run.runtime.reload()
    assert slow.opening.wait(60)
    shown = len(output.observations)
    for _ in range(3):
        assert systemd.beats_between_states(output)
    assert len(output.observations) > shown  # the other output has gone on meanwhile
    slow.let_open.set()
    run.until(lambda: bool(slow.observations), "results in the new output")
    eventually(lambda: systemd.messages.count("READY=1") == 2, "the end of the reload")
    run.stop()
    assert (slow.opened, slow.closed, output.opened) == (1, 1, 1)


def test_a_reopening_that_hangs_ends_the_heartbeats(
    model: Path, device: Device, output: MemoryOutput, slow: MemoryOutput, systemd: ServiceManager
) -> None:
    run = watched(
        parts_for(model, [output], device=device),
        lambda: parts_for(model, [output, slow], device=device),
        systemd,
        step_within_s=0.5,
    )
    run.until(lambda: bool(output.observations), "a result")
    run.runtime.reload()
    assert slow.opening.wait(60)
    run.until(lambda: not systemd.beats_between_states(output), "the end of the heartbeats")
    slow.let_open.set()
    run.until(lambda: systemd.beats_between_states(output), "heartbeats")
    run.stop()


def test_the_end_of_a_run_does_not_wait_for_a_reload_that_hangs(
    model: Path,
    device: Device,
    output: MemoryOutput,
    slow: MemoryOutput,
    systemd: ServiceManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fer_edge.runtime.engine.SUPERVISOR_WITHIN_S", 0.1)
    run = watched(
        parts_for(model, [output], device=device), lambda: parts_for(model, [output, slow], device=device), systemd
    )
    run.until(lambda: bool(output.observations), "a result")
    run.runtime.reload()
    assert slow.opening.wait(60)
    run.stop()
    assert output.closed == 1
    slow.let_open.set()
    eventually(lambda: slow.opened == slow.closed == 1, "the late output is closed again")


def test_a_second_reload_waits_for_the_first(
    model: Path, device: Device, output: MemoryOutput, slow: MemoryOutput, systemd: ServiceManager
) -> None:
    reloads: list[str] = []

    def reload() -> Parts:
        reloads.append("begun")
        return parts_for(model, [output, slow] if len(reloads) == 1 else [output], device=device)

    run = watched(parts_for(model, [output], device=device), reload, systemd)
    run.until(lambda: bool(output.observations), "a result")
    run.runtime.reload()
    assert slow.opening.wait(60)
    run.runtime.reload()
    run.runtime.reload()
    assert systemd.beats_between_states(output)
    assert len(reloads) == 1
    slow.let_open.set()
    run.until(lambda: (slow.opened, slow.closed) == (1, 1), "the second reload")
    run.stop()
    assert len(reloads) == 2


# --- parts ---


def test_a_configuration_becomes_parts(model: Path, tmp_path: Path) -> None:
    overrides = {"source.spec": str(tmp_path / "clip.mp4"), "model.name": str(model), "outputs.enabled": ["jsonl"]}
    parts = assemble(resolve_config(None, {}, overrides, system_file=Path("/nowhere")))
    assert not parts.live
    assert [plan.spec for plan in parts.outputs] == ["jsonl"]
    assert parts.outputs[0].settings.finite
    assert parts.outputs[0].settings.labels == LABELS
    assert parts.runtime.startswith("ai_edge_litert ")
