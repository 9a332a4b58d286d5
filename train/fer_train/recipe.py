"""Recipes: everything that decides a training run, as data."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import FER2013_INPUT, InputSpec
from fer_edge.errors import ConfigError, UsageError
from fer_train.augment import Augmentation

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]


Labels = Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]
DropKind = Literal["constant", "duplicates", "conflicts", "leaks", "not_faces"]


class Optimizer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[optimizer]`` table."""

    kind: Literal["sgd", "adam", "adamw"] = "sgd"
    """``sgd`` has Nesterov momentum; ``adam`` has no weight decay."""
    learning_rate: Annotated[float, msgspec.Meta(gt=0.0)] = 0.06
    """Peak, reached after the warm-up."""
    momentum: Fraction = 0.9
    """Of SGD; Adam's are Kingma and Ba's 0.9 and 0.999."""
    weight_decay: Fraction = 5e-3
    """Decoupled: each step takes learning rate times this from convolution and dense kernels."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """``plateau`` multiplies the rate by a fifth after three epochs without a better loss on PublicTest."""
    warmup_epochs: Annotated[float, msgspec.Meta(ge=0.0)] = 1.0
    """Epochs of linear warm-up at the start of each stage."""
    final_fraction: Fraction = 0.001
    """Cosine: learning rate at the end, as a fraction of the peak."""
    clip_norm: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    """Largest norm of a step's gradient over all weights; 0 for no limit."""


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the ``[[stages]]`` of fine-tuning: what learns, how fast, for how long. Each has a schedule of its own."""

    learning_rate: Annotated[float, msgspec.Meta(gt=0.0)]
    """Peak of the stage, instead of the optimizer's."""
    epochs: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Length; the last stage has 0 and lasts to the end."""
    train_from: str = ""
    """First layer (by a prefix of its name) that learns; those before it are frozen. Empty: all learn."""


class Distillation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[distillation]`` table: learning from teachers (Hinton et al. 2015, arXiv:1503.02531)."""

    weight: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    """Share of the teachers in the loss; 0 for none."""
    temperature: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0
    """Softens what the teachers answer, and the network's own answers with it."""
    view: Literal["augmented", "warped", "original"] = "augmented"
    """What the teachers see: each augmented image anew (slower and better: Beyer et al. 2022, arXiv:2106.05237); the
    same crop of it in the picture's own light and sharpness, so that the student learns what it would have said of the
    good picture; or the original once, kept in memory."""
    mirror: bool = False
    """Whether teachers are asked about the mirror image as well, and the mean of both is taught: twice the time."""
    views: Annotated[int, msgspec.Meta(ge=0)] = 0
    """After so many epochs the augmented images are those of the first ones again, so teachers answer each only once:
    fewer different images for a fraction of the time. 0: no image comes twice."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training run."""

    model: str
    """Name of the network."""
    epochs: PositiveInt
    batch_size: PositiveInt = 96
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 2013
    classes: Labels = LABELS
    """The labels to tell apart, in order; images of others are left out of every split."""
    protocol: Literal["official", "oversampled_then_split"] = "official"
    """The second repeats a published mistake on purpose, to show what it does: see :mod:`fer_train.leak`."""
    drop: tuple[DropKind, ...] = ()
    """Kinds of images left out of Training; see :mod:`fer_train.quality`."""
    balance: Literal["none", "sampling", "weights"] = "none"
    """Rare expressions drawn more often, or weighing more in the loss; Training only, after the split."""
    label_smoothing: Fraction = 0.05
    ferplus: Fraction = 0.0
    """Share of FER+ votes in the targets; needs the file of votes."""
    average_decay: Fraction = 0.999
    """Decay a step of the exponential moving average of the weights, which is what is evaluated and saved."""
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    """``auto`` takes bfloat16 where the hardware is known to be faster at it; what is saved is float32 either way."""
    parallel: Literal["none", "data"] = "none"
    """``data`` divides each batch among processes or devices; see :mod:`fer_train.workers`. Not part of what a run is:
    it may go on with another number of them."""
    pretrained: str = ""
    """``imagenet``, a file of weights, or empty to start from random weights."""
    start_share: Fraction = 0.0
    """Share of the finished model that the run went on from in the weights that are saved: the mean of both is often
    better than either, on changed images too (Wortsman et al. 2022, arXiv:2109.01903). Not part of what a run is: a
    finished one can be ended again with another share."""
    input: InputSpec = FER2013_INPUT
    network: dict[str, Any] = {}
    """Options of the network's own ``build``."""
    optimizer: Optimizer = Optimizer()
    stages: tuple[Stage, ...] = ()
    """None: everything learns from the first epoch to the last, at the optimizer's rate."""
    distillation: Distillation = Distillation()
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        unknown = [name for name in self.classes if name not in LABELS]
        if unknown or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must be some of {', '.join(LABELS)}, each once, not {', '.join(self.classes)}")
        lengths = [stage.epochs for stage in self.stages]
        if lengths and (lengths[-1] != 0 or 0 in lengths[:-1] or sum(lengths) >= self.epochs):
            raise ValueError(
                f"stages of {lengths} epochs do not fit {self.epochs}: the last has 0 and takes what is left"
            )
        if self.ferplus and self.classes != LABELS:
            raise ValueError("ferplus needs all seven classes")

    def stage_spans(self) -> list[tuple[int, int, Stage]]:
        """Return (first epoch from 0, epoch after the last, stage) of each stage; one for a recipe without stages."""
        stages = self.stages or (Stage(self.optimizer.learning_rate),)
        starts = [sum(stage.epochs for stage in stages[:i]) for i in range(len(stages))]
        return list(zip(starts, [*starts[1:], self.epochs], stages, strict=True))


def load_recipe(name: str) -> Recipe:
    """Return the recipe called ``name`` that comes with fer-edge, or the one in the TOML file ``name``.

    Raises:
        UsageError: if there is no such recipe or file.
        ConfigError: if the file is not a valid recipe.
    """
    folder = files("fer_train") / "recipes"
    bundled = {Path(entry.name).stem: entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
    if name in bundled:
        return _parse(bundled[name].read_bytes(), f"recipe {name}")
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise UsageError(
            f"there is no recipe {name!r}: choose one of {', '.join(sorted(bundled))}, or name a .toml file"
        )
    return _parse(path.read_bytes(), name)


def with_changes(recipe: Recipe, **changes: Any) -> Recipe:
    """Return ``recipe`` with the given fields replaced and validated; None leaves a field as it is."""
    given = {key: value for key, value in changes.items() if value is not None}
    try:
        return msgspec.convert({**msgspec.to_builtins(recipe), **given}, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"the recipe cannot be changed like that: {error}") from error


def _parse(data: bytes, where: str) -> Recipe:
    try:
        return msgspec.toml.decode(data, type=Recipe)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: not a valid training recipe: {error}") from error
