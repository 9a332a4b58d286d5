"""One training run in a folder: what it was told, how it went, and the model that came out.

The folder holds ``config.json`` (the resolved recipe), ``checkpoint.npz``, ``history.json`` and ``history.svg`` while
it runs, and at the end ``model.keras`` and ``training.json`` (figures, seeds, versions, checksums).
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fer_edge import __version__
from fer_edge.contract.files import atomic_write, write_bytes
from fer_edge.errors import UsageError
from fer_train import torch_speed
from fer_train.batches import predict
from fer_train.checkpoint import Arrays, RunState
from fer_train.distillation import Teachers, load_teachers
from fer_train.fer2013 import Fer2013, load
from fer_train.fer2013.ferplus import load_votes
from fer_train.fit import fingerprint_of, fit, images_to_start_by, restore
from fer_train.metrics import best_temperature, evaluate
from fer_train.models import with_softmax
from fer_train.models.cost import multiply_accumulates
from fer_train.models.mixing import load_start, mixed
from fer_train.recipe import Recipe, with_changes
from fer_train.recipe_file import recipe_text
from fer_train.rehearsal import rehearse
from fer_train.tensorboard_log import TensorBoardLog
from fer_train.training_data import TrainingData, prepare, split_of
from fer_train.workers import ALONE, Workers, join


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a run reads besides its recipe, and where it is kept."""

    data: Path
    """FER2013 in any of its forms."""
    out: Path
    """Folder of the run."""
    ferplus: Path | None = None
    """FER+ votes on the same images."""
    teachers: tuple[Path, ...] = ()
    """Folders of the runs to learn from."""
    tensorboard: Path | None = None
    """Folder of TensorBoard's event files; None for none."""
    command: str = ""
    """The command that started the run, for its record."""


def train(recipe: Recipe, files: RunFiles, threads: int | None = None, dry_run: bool = False) -> Path | None:
    """Train by ``recipe``, resuming what is in the run's folder.

    Args:
        recipe: what to train.
        files: what to read, and the folder of the run.
        threads: CPU threads for PyTorch and for .tflite teachers; None for all cores. Other backends take theirs from
            their own settings.
        dry_run: take one batch through every stage and part, write nothing.

    Returns:
        Path of the saved ``model.keras``: (N, height, width, channels) pixels 0 to 255 -> (N, labels) probabilities;
        None after a dry run.

    Raises:
        UsageError: if the folder holds another run, or something that the recipe needs is not named.
        DataError: if the data set is malformed.
        OutputError: if something cannot be written.
    """
    workers = join(recipe)
    console = Console(stderr=True, highlight=False, quiet=workers.rank > 0)
    source = load(files.data)
    if recipe.precision == "auto":
        recipe = with_changes(recipe, precision=torch_speed.best_precision())
    use_threads(threads)
    votes = None if files.ferplus is None else load_votes(files.ferplus, source)
    data = prepare(recipe, source, votes)
    teachers = load_teachers(files.teachers, recipe, data.pixels, threads)
    start = load_start(recipe, images_to_start_by(data.pixels, recipe.input))
    if dry_run:
        rehearse(recipe, data, teachers, console, workers)
        return None
    fingerprint = fingerprint_of(recipe, data, teachers)
    if workers.share(fingerprint.encode()) != fingerprint.encode():
        raise UsageError("this process was given another recipe, data set or software than the first one of the run")
    model_path = files.out / "model.keras"
    if workers.share(b"finished" if _is_finished(files.out, fingerprint, recipe) else b""):
        console.print(f"{model_path}: this run is finished already")
        return model_path
    console.print(
        f"training {recipe.model} for {recipe.epochs} epochs of {len(data.pixels):,} images on Keras "
        f"{keras.__version__} / {keras.backend.backend()}, {recipe.precision}, "
        f"{'' if workers is ALONE else f'on {workers.parts} devices of {workers.size} processes, '}in {files.out}",
        soft_wrap=True,
    )
    if workers.rank > 0:
        fit(recipe, data, files.out / "checkpoint.npz", fingerprint, teachers, workers=workers)
        workers.close()
        return model_path
    state = _fit_with_progress(recipe, data, teachers, files, fingerprint, console, workers)
    workers.close()
    _finish(recipe, source, teachers, files, state, start, console)
    return model_path


def _fit_with_progress(
    recipe: Recipe,
    data: TrainingData,
    teachers: Teachers | None,
    files: RunFiles,
    fingerprint: str,
    console: Console,
    workers: Workers,
) -> RunState:
    out = files.out
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:>4.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars, ExitStack() as open_logs:
        log: TensorBoardLog | None = None
        if files.tensorboard is not None:
            text = recipe_text(recipe, f"{recipe.model}, fingerprint {fingerprint[:16]}")
            log = open_logs.enter_context(TensorBoardLog(files.tensorboard, recipe.classes, text))
        task = bars.add_task("epoch", total=None, figures="")

        def on_step(done: int, total: int, logs: dict[str, float]) -> None:
            figures = f"loss {logs.get('loss', 0):.3f}  accuracy {logs.get('accuracy', 0):.3f}"
            if "explained" in logs:
                figures = f"explains {logs['explained']:.2f} of the variance"
                console.print(f"start: convolution {done} of {total} {figures}")
            bars.update(task, completed=done, total=total, figures=figures)

        def on_epoch(state: RunState) -> None:
            last = state.history[-1]
            write_bytes(out / "history.json", msgspec.json.format(msgspec.json.encode(state.history)))
            draw_history(state, out / "history.svg")
            if log is not None:
                log.write(state, data.public_labels)
            console.print(
                f"epoch {state.epoch:3d}/{recipe.epochs}  loss {last['loss']:.4f}  "
                f"Training (augmented) {last['accuracy']:.4f}  PublicTest {last['public_accuracy']:.4f}"
                f"{'  *' if state.best_epoch == state.epoch else '   '}  {last['seconds']:.0f} s"
            )

        write_bytes(out / "config.json", msgspec.json.format(msgspec.json.encode(recipe)))
        return fit(recipe, data, out / "checkpoint.npz", fingerprint, teachers, on_epoch, on_step, workers)


def _finish(
    recipe: Recipe,
    data: Fer2013,
    teachers: Teachers | None,
    files: RunFiles,
    state: RunState,
    start: Arrays | None,
    console: Console,
) -> None:
    """Calibrate on PublicTest, save the model in float32, and write down all there is to know of it."""
    out = files.out
    network = restore(recipe, len(recipe.classes), mixed(state.best, start, recipe.start_share))
    public = split_of(recipe, data, "PublicTest")
    temperature = best_temperature(predict(network, public.pixels, recipe.input), public.labels)
    model = with_softmax(network, temperature)
    figures: dict[str, Any] = {}
    # A leaked PrivateTest is no test set; its figure is what such a run is made for.
    leak = ("PrivateTest",) if recipe.protocol != "official" else ()
    for name in ("Training", "PublicTest", *leak):
        split = split_of(recipe, data, name)
        result = evaluate(predict(model, split.pixels, recipe.input), split.labels, recipe.classes)
        figures[name] = {"n": result.n, "accuracy": result.accuracy, "macro_f1": result.macro_f1, "ece": result.ece}
    with atomic_write(out / "model.keras") as partial:
        model.save(partial)
    record = {
        "command": files.command,
        "model_sha256": hashlib.sha256((out / "model.keras").read_bytes()).hexdigest(),
        "fingerprint": state.fingerprint,
        "recipe": recipe,
        "labels": recipe.classes,
        "data_sha256": data.sha256,
        "teachers_sha256": teachers.sha256 if teachers is not None else [],
        "parameters": model.count_params(),
        "multiply_accumulates": multiply_accumulates(model),
        "epochs": state.epoch,
        "chosen_epoch": state.best_epoch,
        "chosen_by": "accuracy of the averaged weights on PublicTest",
        "temperature": temperature,
        "figures": figures,
        "seconds": sum(entry["seconds"] for entry in state.history),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "environment": environment(),
    }
    write_bytes(out / "training.json", msgspec.json.format(msgspec.json.encode(record)))
    console.print(
        f"{out / 'model.keras'}: epoch {state.best_epoch}, PublicTest {figures['PublicTest']['accuracy']:.4f}, "
        f"Training {figures['Training']['accuracy']:.4f}, temperature {temperature:.3f}"
    )


def environment() -> dict[str, Any]:
    """Versions and machine that a run was made with."""
    names = ("keras", "tensorflow", "torch", "jax", "numpy", "opencv-python-headless")
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "fer-edge": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "backend": keras.backend.backend(),
        "versions": versions,
    }


def draw_history(state: RunState, path: Path) -> None:
    """Draw loss and accuracy over the epochs as SVG."""
    from matplotlib.figure import Figure

    epochs = [entry["epoch"] for entry in state.history]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(epochs, [100 * e["accuracy"] for e in state.history], color="#999999", label="Training, augmented")
    axes.plot(epochs, [100 * e["public_accuracy"] for e in state.history], color="#0072b2", label="PublicTest")
    if state.best_epoch:
        best = state.history[state.best_epoch - 1]["public_accuracy"] * 100
        axes.plot([state.best_epoch], [best], "o", color="#d55e00", label=f"chosen: {best:.2f} %")
    axes.set(xlabel="epoch", ylabel="accuracy (%)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="svg")


def _is_finished(out: Path, fingerprint: str, recipe: Recipe) -> bool:
    try:
        record = msgspec.json.decode((out / "training.json").read_bytes(), type=dict[str, Any])
        digest = hashlib.sha256((out / "model.keras").read_bytes()).hexdigest()
    except (OSError, msgspec.DecodeError):
        return False
    # Not in the fingerprint, for the epochs do not depend on it.
    same_end = record.get("recipe", {}).get("start_share", 0.0) == recipe.start_share
    return same_end and record.get("fingerprint") == fingerprint and record.get("model_sha256") == digest


def how_to_go_on(out: Path) -> str:
    """Say what a run that was stopped has kept in its folder ``out``, and how to go on."""
    checkpoint = out / "checkpoint.npz"
    if not checkpoint.exists():
        return f"no epoch was finished, so {out} holds no checkpoint; run the same command to start anew"
    finished = RunState.load(checkpoint).epoch
    return f"{checkpoint} holds {finished} epoch{'s' * (finished > 1)}; run the same command to go on"


def use_threads(threads: int | None) -> None:
    """Make PyTorch use so many CPU threads, None for all cores, and memory that it keeps; nothing on other backends."""
    if keras.backend.backend() != "torch":
        return
    import torch

    # Denormal numbers make the last, tiny gradients many times slower than the others.
    torch.set_flush_denormal(True)
    torch_speed.keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)


__all__ = ["RunFiles", "draw_history", "environment", "how_to_go_on", "train", "use_threads"]
