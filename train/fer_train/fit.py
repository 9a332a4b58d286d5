"""The training loop: fit on Training, choose by PublicTest, never look at PrivateTest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import keras
import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import InputSpec, UInt8Array, batch_input
from fer_edge.errors import UsageError
from fer_train import interruption, torch_speed
from fer_train.batches import TrainingBatches, predict
from fer_train.checkpoint import Arrays, RunState
from fer_train.distillation import DistillationLoss, Teachers, target_accuracy
from fer_train.metrics import negative_log_likelihood, softmax
from fer_train.models import build, deeper_start, load_network, load_pretrained
from fer_train.models.layerwise import IMAGES, fit_convolutions
from fer_train.optimizers import freeze_before, make_optimizer, plateau_scale
from fer_train.recipe import Recipe, Stage
from fer_train.training_data import TrainingData
from fer_train.workers import ALONE, Workers

AVERAGE_EVERY_STEPS: Final = 10
"""The average is updated every tenth step with the tenth power of its decay: the same horizon, a tenth of the cost."""

IMAGES_TO_START_BY: Final = 256
"""Images that pretrained weights are fitted to (at 48 pixels 0.6 million positions a channel in the first layer)."""

LATER_KEYS: Final = {"mixup": 0.0, "brighter": 0.5}
"""Keys of ``[augmentation]`` that came later, with the value that changes nothing: runs from before them go on."""

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (steps done in the epoch, steps in the epoch, running loss and accuracy); where a network starts from a
deeper one, before the first epoch with (layers fitted, all of them, ``explained`` of the last one)."""


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
        """Update the average and report progress; a signal that the backend swallowed ends the run here."""
        interruption.check()
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

    def __init__(self, seed: int, epoch: int, stream: int = 0) -> None:
        super().__init__()
        self._seed, self._epoch, self._stream = seed, epoch, stream

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Seed the backend's generator and those of the layers."""
        del logs
        keras.utils.set_random_seed(self._seed + 1 + self._epoch)
        for layer in self.model.layers:
            if getattr(layer, "seed_generator", None) is not None:
                layer.seed_generator.state.assign(np.array([self._seed, self._epoch + (self._stream << 16)], "uint32"))


def fit(
    recipe: Recipe,
    data: TrainingData,
    checkpoint: Path,
    fingerprint: str,
    teachers: Teachers | None = None,
    on_epoch: Callable[[RunState], None] | None = None,
    progress: Progress | None = None,
    workers: Workers = ALONE,
) -> RunState:
    """Train to the end of the recipe, going on from ``checkpoint`` if it exists.

    Args:
        recipe: what to train; its precision must be resolved (not ``auto``).
        data: what :func:`fer_train.training_data.prepare` made by that recipe.
        checkpoint: file written after each epoch.
        fingerprint: digest that a checkpoint must carry to be continued.
        teachers: whom to learn from, if the recipe says so.
        on_epoch: called after each finished epoch.
        progress: called after each step.
        workers: who trains, all with the same arguments; the first one writes the checkpoint.

    Returns:
        The final state; ``best`` holds the chosen weights for :func:`restore`.

    Raises:
        UsageError: if the checkpoint belongs to another run, or the network lacks a layer that a stage names.
        DataError: if the checkpoint is damaged, or the pretrained weights cannot be had.
    """
    first_worker = workers.rank == 0
    stored = workers.share(checkpoint.read_bytes() if first_worker and checkpoint.exists() else b"")
    with dtype_policy(recipe.precision), workers.scope():
        network = _network(recipe, data, progress, pretrained=not stored)
        state = _start(network, stored, checkpoint, fingerprint)
        if teachers is not None:
            teachers.kept_views = state.answers
        with workers.outside():
            answering = restore(recipe, data.targets.shape[1], state.average) if workers.evaluates_apart else network
        for first, last, stage in recipe.stage_spans():
            if state.epoch >= last:
                continue
            steps = max(1, len(data.pixels) // recipe.batch_size) * (last - first)
            _compile(network, recipe, stage, steps, fresh=state.epoch == first, state=state)
            workers.attach(network)
            while state.epoch < last:
                _one_epoch(network, answering, recipe, stage, state, data, teachers, progress, workers)
                if first_worker:
                    state.save(checkpoint)
                if on_epoch is not None:
                    on_epoch(state)
        return state


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build layers under the Keras dtype policy ``name`` meanwhile."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def images_to_start_by(pixels: UInt8Array, spec: InputSpec, count: int = IMAGES_TO_START_BY) -> UInt8Array:
    """Return ``count`` of the Training images (n, H, W), as the network gets them, to fit pretrained weights to."""
    some = pixels[:: max(1, len(pixels) // count)][:count]
    return batch_input(some, spec)


def restore(recipe: Recipe, classes: int, weights: Arrays) -> keras.Model:
    """Build the recipe's network in float32 and give it ``weights``."""
    network = build(recipe.model, recipe.input.shape, classes, recipe.network)
    torch_speed.use_native_kernels(network)
    _assign(network, weights)
    return network


def weights_of(model: keras.Model) -> Arrays:
    """The model's weights as float32 arrays, trainable or not, in Keras' order."""
    return [np.array(keras.ops.convert_to_numpy(w.value), np.float32) for w in model.weights]


def fingerprint_of(recipe: Recipe, data: TrainingData, teachers: Teachers | None = None) -> str:
    """Digest of all that decides a run: recipe, images, targets, teachers, backend, versions of Keras and NumPy."""
    backend = (keras.backend.backend(), keras.__version__, np.__version__)
    taught_by = teachers.sha256 if teachers is not None else []
    # Without what changes no step: any number of workers is the same run, and the start is mixed in after the last.
    decides = {k: v for k, v in msgspec.to_builtins(recipe).items() if k not in ("parallel", "start_share")}
    decides["augmentation"] = {k: v for k, v in decides["augmentation"].items() if LATER_KEYS.get(k) != v}
    parts = (msgspec.json.encode(decides), data.sha256, taught_by, *backend)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _network(recipe: Recipe, data: TrainingData, progress: Progress | None, pretrained: bool) -> keras.Model:
    keras.utils.set_random_seed(recipe.seed)
    network = build(recipe.model, recipe.input.shape, data.targets.shape[1], recipe.network)
    if recipe.pretrained and pretrained:
        _fill(network, recipe, data, progress)
    torch_speed.use_native_kernels(network)
    return network


def _fill(network: keras.Model, recipe: Recipe, data: TrainingData, progress: Progress | None) -> None:
    """Give ``network`` its pretrained weights, or what it starts from in their place."""

    def tell(done: int, whole: int, explained: float) -> None:
        if progress is not None:
            progress(done, whole, {"explained": explained})

    images = images_to_start_by(data.pixels, recipe.input)
    start = deeper_start(recipe.model, recipe.pretrained)
    if start is None:
        load_pretrained(recipe.model, network, recipe.pretrained, images)
        return
    deeper, targets = start
    deep = load_network(deeper, recipe.pretrained, recipe.input.shape, {}, images)
    fit_convolutions(network, deep, targets, images_to_start_by(data.pixels, recipe.input, IMAGES), tell)


def _start(network: keras.Model, stored: bytes, checkpoint: Path, fingerprint: str) -> RunState:
    if not stored:
        return RunState(fingerprint, average=weights_of(network))
    state = RunState.decode(stored, str(checkpoint))
    if state.fingerprint != fingerprint:
        raise UsageError(
            f"{checkpoint}: belongs to a run with another recipe, data set or backend; "
            "name another --out, or delete the folder to start anew"
        )
    _assign(network, state.weights)
    return state


def _compile(network: keras.Model, recipe: Recipe, stage: Stage, steps: int, fresh: bool, state: RunState) -> None:
    """Make ``network`` ready for a stage, going on with its optimizer unless the stage is ``fresh``."""
    try:
        freeze_before(network, stage.train_from)
    except ValueError as error:
        raise UsageError(f"recipe of {recipe.model}: {error}") from error
    optimizer = make_optimizer(recipe, stage, steps)
    settings = recipe.distillation
    loss: keras.losses.Loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    if settings.weight:
        loss = DistillationLoss(settings.weight, settings.temperature)
    accuracy = keras.metrics.MeanMetricWrapper(target_accuracy, name="accuracy")
    network.compile(optimizer, loss, metrics=[accuracy], jit_compile="auto")
    optimizer.build(network.trainable_variables)
    if not fresh:
        for variable, value in zip(optimizer.variables, state.optimizer, strict=True):
            variable.assign(value)


def _one_epoch(
    network: keras.Model,
    answering: keras.Model,
    recipe: Recipe,
    stage: Stage,
    state: RunState,
    data: TrainingData,
    teachers: Teachers | None,
    progress: Progress | None,
    workers: Workers,
) -> None:
    """Train one epoch and bring ``state`` up to date; ``answering`` is the network that PublicTest is shown to."""
    started = time.monotonic()
    if recipe.optimizer.schedule == "plateau":
        scale = plateau_scale([entry["public_nll"] for entry in state.history])
        network.optimizer.learning_rate = stage.learning_rate * scale
    batches = TrainingBatches(data, recipe, state.epoch, teachers, workers)
    averager = WeightAverage(state.average, recipe.average_decay, state.epoch * len(batches), progress)
    chance = EpochSeed(recipe.seed, state.epoch, workers.seed_stream)
    logs = network.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[chance, averager]).history
    figures = workers.mean({key: float(logs[key][-1]) for key in ("loss", "accuracy")})
    state.weights = weights_of(network)
    state.optimizer = [np.array(keras.ops.convert_to_numpy(v.value)) for v in network.optimizer.variables]
    with workers.outside():
        _assign(answering, state.average)
        logits = _public_logits(answering, recipe, data, workers)
    if answering is network:
        _assign(network, state.weights)
    state.public_logits = logits
    accuracy = float((logits.argmax(axis=1) == data.public_labels).mean())
    if accuracy > max((entry["public_accuracy"] for entry in state.history), default=-1.0):
        state.best, state.best_epoch = [w.copy() for w in state.average], state.epoch + 1
    state.epoch += 1
    state.history.append(
        {
            "epoch": float(state.epoch),
            **figures,
            "public_accuracy": accuracy,
            "public_nll": negative_log_likelihood(softmax(logits), data.public_labels),
            "learning_rate": float(keras.ops.convert_to_numpy(network.optimizer.learning_rate)),
            "seconds": time.monotonic() - started,
        }
    )


def _public_logits(network: keras.Model, recipe: Recipe, data: TrainingData, workers: Workers) -> NDArray[np.float32]:
    """Return the network's answers (m, classes) to PublicTest, each worker having answered for a part of it."""
    m = len(data.public_pixels)
    each = -(-m // workers.size)
    rows = np.arange(workers.rank * each, (workers.rank + 1) * each) % m  # parts of one length, the last from the start
    return workers.gather(predict(network, data.public_pixels[rows], recipe.input))[:m]


def _assign(model: keras.Model, weights: Arrays) -> None:
    for variable, value in zip(model.weights, weights, strict=True):
        variable.assign(value)
