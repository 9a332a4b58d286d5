"""``--dry-run``: one batch through everything that a run will do, in seconds, before hours are spent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import msgspec
from rich.console import Console

from fer_train.batches import predict
from fer_train.checkpoint import RunState
from fer_train.distillation import Teachers
from fer_train.fit import fit, restore
from fer_train.metrics import best_temperature
from fer_train.models import with_softmax
from fer_train.models.cost import multiply_accumulates
from fer_train.recipe import Recipe
from fer_train.training_data import TrainingData
from fer_train.workers import ALONE, Workers


def rehearse(
    recipe: Recipe, data: TrainingData, teachers: Teachers | None, console: Console, workers: Workers = ALONE
) -> None:
    """Take one batch through each stage, the choice of an epoch, calibration, saving and loading; keep nothing.

    Args:
        recipe: what would be trained.
        data: what it would be trained on.
        teachers: whom it would learn from.
        console: where it says what worked.
        workers: who would train.

    Raises:
        UsageError: if something does not fit together.
        DataError: if pretrained weights cannot be had.
    """
    n = recipe.batch_size
    one_batch = replace(
        data,
        pixels=data.pixels[:n],
        targets=data.targets[:n],
        chance=None if data.chance is None else data.chance[:n] / data.chance[:n].sum(),
        weights=None if data.weights is None else data.weights[:n],
        public_pixels=data.public_pixels[:n],
        public_labels=data.public_labels[:n],
    )
    stages = tuple(
        msgspec.structs.replace(stage, epochs=0 if i + 1 == len(recipe.stages) else 1)
        for i, stage in enumerate(recipe.stages)
    )
    short = msgspec.structs.replace(recipe, epochs=max(1, len(stages)), stages=stages)

    def tell(state: RunState) -> None:
        last = state.history[-1]
        console.print(f"step {state.epoch}: loss {last['loss']:.3f}, {last['seconds']:.1f} s with its evaluation")

    with TemporaryDirectory(prefix="fer-edge-") as folder:
        state = fit(short, one_batch, Path(folder) / "checkpoint.npz", "rehearsal", teachers, tell, workers=workers)
        workers.close()
        network = restore(short, len(recipe.classes), state.best)
        temperature = best_temperature(
            predict(network, one_batch.public_pixels, recipe.input), one_batch.public_labels.astype("uint8")
        )
        model = with_softmax(network, temperature)
        model.save(Path(folder) / "model.keras")
        keras.saving.load_model(Path(folder) / "model.keras", compile=False)
    console.print(
        f"{recipe.model}: {model.count_params():,} parameters, {multiply_accumulates(model) / 1e6:.1f} million "
        f"multiply-accumulates, input {recipe.input.shape}, {len(recipe.classes)} labels; {len(data.pixels):,} "
        f"Training images, {max(1, len(data.pixels) // n):,} steps an epoch, {recipe.epochs} epochs. "
        "Nothing was written.",
        soft_wrap=True,
    )
