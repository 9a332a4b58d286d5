"""The model card: what a .tflite file says about itself.

The card is a JSON document (UTF-8) in the TFLite file's metadata, under the name ``FER_EDGE_CARD``: see
:mod:`fer_edge.contract.tflite_file` for how it is stored and how its checksum covers the whole file.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from fer_edge.contract.preprocess import InputSpec
from fer_edge.errors import ModelError

SCHEMA: Final = 1
"""Version of the card's schema; a reader refuses the ones that it does not know."""

CARD_NAME: Final = "FER_EDGE_CARD"
"""Name of the metadata entry of the TFLite file that holds the card."""

NO_CHECKSUM: Final = "0" * 64
"""What stands in the checksum's place while it is computed."""

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


class TensorCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Type and quantization of an input or output tensor: real value = scale * (stored value - zero_point)."""

    dtype: Literal["int8", "uint8", "float32"]
    shape: tuple[int, ...]
    """With a batch of 1."""
    scale: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    """0 for a tensor that is not quantized."""
    zero_point: int = 0


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the ranges of the activations came from."""

    split: str
    images: Annotated[int, msgspec.Meta(ge=1)]
    seed: int
    data_sha256: str
    ranges: Literal["minmax", "percentile", "mse"] = "minmax"
    """How a range was taken from what was seen."""


class Quantization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the float model became this file."""

    recipe: Name
    input: TensorCard
    output: TensorCard
    calibration: Calibration | None = None
    equalization: Literal["none", "weights", "activations"] = "none"
    """What was evened out between layers before quantizing (Nagel et al. 2019)."""
    bias_correction: bool = False
    sensitive_layers: Annotated[tuple[Text, ...], msgspec.Meta(max_length=256)] = ()
    """Layers that were left in a higher precision."""
    failed_gates: Annotated[tuple[Text, ...], msgspec.Meta(max_length=64)] = ()
    """What the file did not keep; it was written by force."""
    converter: str = ""
    source_sha256: str = ""
    """SHA-256 of the .keras file."""


class SplitFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured on one split of a data set."""

    n: Annotated[int, msgspec.Meta(ge=1)]
    accuracy: Probability
    macro_f1: Probability | None = None
    balanced_accuracy: Probability | None = None
    ece: Probability | None = None
    recall: dict[str, Probability] = {}
    """By label."""


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that the runtime needs to use a model, and all that a person needs to judge it."""

    schema: Literal[1] = SCHEMA
    checksum: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] = NO_CHECKSUM
    """SHA-256 of the whole file with these 64 digits replaced by zeros."""
    name: Name
    version: Text
    network: Text
    labels: Annotated[tuple[Name, ...], msgspec.Meta(min_length=2, max_length=64)]
    """In the order of the output tensor."""
    input: InputSpec
    quantization: Quantization
    uncertain_below: Probability = 0.0
    """Smoothed scores under this are reported as ``uncertain``."""
    parameters: Annotated[int, msgspec.Meta(ge=0)] = 0
    figures: dict[str, SplitFigures] = {}
    """Accuracy of this very file (not of the float model), by split."""
    training: dict[str, Any] = {}
    """How it was trained: recipe, seeds, epochs, versions, checksum of the data."""
    data: Text = "FER2013"
    licence: Text = "Apache-2.0"
    intended_use: Text = (
        "Describing the visible facial expression of people who know that it is being analysed: exhibits, research, "
        "accessibility, prototypes."
    )
    prohibited_use: Text = (
        "Inferring what a person feels, thinks or intends; decisions about people; emotion inference at work or in "
        "education, which Article 5(1)(f) of the EU AI Act forbids."
    )
    limits: Text = (
        "An expression is not an emotion. Trained on FER2013: grey 48x48 web images with noisy labels (people agree "
        "with them in about two cases of three), few of them disgust, of unknown and unbalanced demography."
    )


def encode_card(card: ModelCard) -> bytes:
    """Return the card as JSON, UTF-8."""
    return msgspec.json.encode(card)


def decode_card(data: bytes, where: str) -> ModelCard:
    """Parse and validate a card from an untrusted file.

    Args:
        data: JSON, UTF-8.
        where: what to call the file in an error.

    Raises:
        ModelError: if it is not a valid card of a known schema.
    """
    try:
        card = msgspec.json.decode(data, type=ModelCard)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{where}: its model card is not valid ({error}); get or convert the model anew") from error
    if len(set(card.labels)) != len(card.labels):
        raise ModelError(f"{where}: its model card names a label twice: {', '.join(card.labels)}")
    return card
