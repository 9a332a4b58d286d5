"""The training loop: fit on Training, choose by PublicTest, never look at PrivateTest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import keras
import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError
from fer_train import torch_speed
from fer_train.batches import TrainingBatches, predict
from fer_train.checkpoint import Arrays, RunState
from fer_train.fer2013 import Fer2013
from fer_train.metrics import negative_log_likelihood, softmax
from fer_train.models import build
from fer_train.recipe import Recipe

AVERAGE_EVERY_STEPS = 10
"""The average is updated every tenth step with the tenth power of its decay: the same horizon, a tenth of the cost."""

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (steps done in the epoch, steps in the epoch, running loss and accuracy)."""


class WeightAverage(keras.callbacks.Callback):
    """Exponential moving average of all weights, batch normalization's statistics included.

    Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging", in the exponential form. Keras'
    own ``use_ema`` leaves the moving statistics of batch normalization out, which then do not fit the averaged kernels.
    """

    def __init__(self, average: Arrays, decay: float, step: int, progress: Progress | None) -> None:
        """Start from ``average`` (one array for each weight, updated in place) after ``step`` steps of the run."""
        super().__init__()
        self._average, self._decay, self._step, self._progress = average, decay, step, progress

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Update the average and report progress."""
        step = self._step + batch + 1
        if step % AVERAGE_EVERY_STEPS == 0:
            # Early on the average follows closely, or it would remember the random start for thousands of steps.
            decay = min(self._decay, (1 + step) / (10 + step)) ** AVERAGE_EVERY_STEPS
            if hasattr(self.model, "jax_state_sync"):  # on JAX the variables lag behind the compiled step's state
                self.model.jax_state_sync()
            for mean, weight in zip(self._average, weights_of(self.model), strict=True):
                mean *= decay
                mean += (1.0 - decay) * weight
        if self._progress is not None:
            self._progress(batch + 1, self.params["steps"], dict(logs or {}))


class EpochSeed(keras.callbacks.Callback):
    """Makes all chance in an epoch a function of (seed, epoch), so that a resumed run is the same run.

    Done when the training begins, not before: the first ``fit`` of a process traces the model, which draws numbers.
    """

    def __init__(self, seed: int, epoch: int) -> None:
        super().__init__()
        self._seed, self._epoch = seed, epoch

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Seed the backend's generator and those of the layers."""
        del logs
        keras.utils.set_random_seed(self._seed + 1 + self._epoch)
        for layer in self.model.layers:
            if getattr(layer, "seed_generator", None) is not None:
                layer.seed_generator.state.assign(np.array([self._seed, self._epoch], "uint32"))


def fit(
    recipe: Recipe,
    data: Fer2013,
    targets: NDArray[np.float32],
    checkpoint: Path,
    fingerprint: str,
    on_epoch: Callable[[RunState], None] | None = None,
    progress: Progress | None = None,
) -> RunState:
    """Train to the end of the recipe, going on from ``checkpoint`` if it exists.

    Args:
        recipe: what to train; its precision must be resolved (not ``auto``).
        data: the data set; its Training and PublicTest splits are used.
        targets: (n, classes) float32, what to answer for each Training image; each row sums to 1.
        checkpoint: file written after each epoch.
        fingerprint: digest that a checkpoint must carry to be continued.
        on_epoch: called after each finished epoch.
        progress: called after each step.

    Returns:
        The final state; ``best`` holds the chosen weights for :func:`restore`.

    Raises:
        UsageError: if the checkpoint belongs to another run.
    """
    training, public = data.split("Training"), data.split("PublicTest")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        model = _compiled(recipe, targets.shape[1], steps=max(1, len(targets) // recipe.batch_size))
        state = _start(model, checkpoint, fingerprint)
        while state.epoch < recipe.epochs:
            _one_epoch(model, recipe, state, training, targets, public, progress)
            state.save(checkpoint)
            if on_epoch is not None:
                on_epoch(state)
        return state
    finally:
        keras.config.set_dtype_policy(before)


def restore(recipe: Recipe, classes: int, weights: Arrays) -> keras.Model:
    """Build the recipe's network in float32 and give it ``weights``."""
    network = build(recipe.model, recipe.input.shape, classes, recipe.network)
    torch_speed.use_native_kernels(network)
    _assign(network, weights)
    return network


def weights_of(model: keras.Model) -> Arrays:
    """The model's weights as float32 arrays, trainable or not, in Keras' order."""
    return [np.array(keras.ops.convert_to_numpy(w.value), np.float32) for w in model.weights]


def fingerprint_of(recipe: Recipe, data: Fer2013, targets: NDArray[np.float32]) -> str:
    """Digest of all that decides a run: recipe, data, targets, backend, versions of Keras and NumPy."""
    backend = (keras.backend.backend(), keras.__version__, np.__version__)
    # Three digits: what the last bits of a target are depends on the machine's arithmetic.
    answers = hashlib.sha256(np.round(targets, 3).tobytes()).hexdigest()
    parts = (msgspec.json.encode(recipe), data.sha256, answers, *backend)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _compiled(recipe: Recipe, classes: int, steps: int) -> keras.Model:
    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe.model, recipe.input.shape, classes, recipe.network)
    torch_speed.use_native_kernels(model)
    settings, total = recipe.optimizer, recipe.epochs * steps
    warmup = min(round(settings.warmup_epochs * steps), total // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate * 0.01,
        total - warmup,
        alpha=settings.final_fraction,
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.SGD(
        schedule, momentum=settings.momentum, nesterov=True, weight_decay=settings.weight_decay
    )
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(
        optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"], jit_compile="auto"
    )
    optimizer.build(model.trainable_variables)
    return model


def _start(model: keras.Model, checkpoint: Path, fingerprint: str) -> RunState:
    if not checkpoint.exists():
        return RunState(fingerprint, average=weights_of(model))
    state = RunState.load(checkpoint)
    if state.fingerprint != fingerprint:
        raise UsageError(
            f"{checkpoint}: belongs to a run with another recipe, data set or backend; "
            "name another --out, or delete the folder to start anew"
        )
    _assign(model, state.weights)
    for variable, value in zip(model.optimizer.variables, state.optimizer, strict=True):
        variable.assign(value)
    return state


def _one_epoch(
    model: keras.Model,
    recipe: Recipe,
    state: RunState,
    training: Fer2013,
    targets: NDArray[np.float32],
    public: Fer2013,
    progress: Progress | None,
) -> None:
    """Train one epoch and bring ``state`` up to date."""
    started = time.monotonic()
    batches = TrainingBatches(
        training.pixels, targets, recipe.input, recipe.augmentation, recipe.batch_size, recipe.seed, state.epoch
    )
    averager = WeightAverage(state.average, recipe.average_decay, state.epoch * len(batches), progress)
    logs = model.fit(
        batches, epochs=1, verbose=0, shuffle=False, callbacks=[EpochSeed(recipe.seed, state.epoch), averager]
    ).history
    state.weights = weights_of(model)
    state.optimizer = [np.array(keras.ops.convert_to_numpy(v.value)) for v in model.optimizer.variables]
    _assign(model, state.average)
    logits = predict(model, public.pixels, recipe.input)
    _assign(model, state.weights)
    accuracy = float((logits.argmax(axis=1) == public.labels).mean())
    if accuracy > max((entry["public_accuracy"] for entry in state.history), default=-1.0):
        state.best, state.best_epoch = [w.copy() for w in state.average], state.epoch + 1
    state.epoch += 1
    state.history.append(
        {
            "epoch": float(state.epoch),
            "loss": float(logs["loss"][-1]),
            "accuracy": float(logs["accuracy"][-1]),
            "public_accuracy": accuracy,
            "public_nll": negative_log_likelihood(softmax(logits), public.labels),
            "seconds": time.monotonic() - started,
        }
    )


def _assign(model: keras.Model, weights: Arrays) -> None:
    for variable, value in zip(model.weights, weights, strict=True):
        variable.assign(value)
