"""Optimizers and learning rates, as a recipe's stage asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras

from fer_train.recipe import Recipe, Stage

PLATEAU_PATIENCE: Final = 3
PLATEAU_FACTOR: Final = 0.2
PLATEAU_LEAST: Final = 1e-4
"""Smallest gain in loss that counts."""


def make_optimizer(recipe: Recipe, stage: Stage, steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer of a stage.

    Args:
        recipe: its ``[optimizer]`` table counts.
        stage: its learning rate is the peak.
        steps: steps of the whole stage, which a cosine spans.
    """
    settings = recipe.optimizer
    rate: Any = stage.learning_rate
    if settings.schedule == "cosine":
        first, last, _ = next(span for span in recipe.stage_spans() if span[2] is stage or span[2] == stage)
        per_epoch = steps / (last - first)
        warmup = min(round(settings.warmup_epochs * per_epoch), steps // 2)
        rate = keras.optimizers.schedules.CosineDecay(
            stage.learning_rate * 0.01 if warmup else stage.learning_rate,
            steps - warmup,
            alpha=settings.final_fraction,
            warmup_target=stage.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    limit = settings.clip_norm or None
    optimizer: keras.optimizers.Optimizer
    if settings.kind == "sgd":
        optimizer = keras.optimizers.SGD(
            rate,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            weight_decay=settings.weight_decay or None,
            global_clipnorm=limit,
        )
    elif settings.kind == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, global_clipnorm=limit)
    else:
        optimizer = keras.optimizers.Adam(rate, global_clipnorm=limit)
    if settings.kind != "adam" and settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


def plateau_scale(losses: Sequence[float]) -> float:
    """Return what the learning rate is multiplied by after epochs with these losses on PublicTest.

    A function of the history alone, so that a resumed run goes on with the same rate.
    """
    scale, best, waited = 1.0, float("inf"), 0
    for loss in losses:
        if loss < best - PLATEAU_LEAST:
            best, waited = loss, 0
            continue
        waited += 1
        if waited == PLATEAU_PATIENCE:
            scale, waited = scale * PLATEAU_FACTOR, 0
    return scale


def freeze_before(network: keras.Model, train_from: str) -> None:
    """Freeze the layers of ``network`` before the first whose name starts with ``train_from``; empty frees all.

    Raises:
        ValueError: if no layer's name starts so.
    """
    names = [layer.name for layer in network.layers]
    first = next((i for i, name in enumerate(names) if name.startswith(train_from)), None)
    if first is None:
        raise ValueError(f"no layer of {network.name} has a name that starts with {train_from!r}")
    for position, layer in enumerate(network.layers):
        layer.trainable = position >= first
