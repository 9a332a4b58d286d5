"""A converted file as the start of another conversion: its weights dequantized, in the network that its card names.

Who has a model that ships, but not the ``model.keras`` it was made of, can still have it in another number format. The
weights are those of the file, within half a quantization step of the trained ones: figures of what is made of them are
its own, measured as always, and its card names the file that they come from.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from fer_convert.trained import TrainedModel
from fer_edge.contract.tflite_file import read_model_file
from fer_edge.errors import ModelError
from fer_train.fer2013 import Fer2013
from fer_train.fit import images_to_start_by
from fer_train.models import build, load_pretrained, with_softmax
from fer_train.recipe import Recipe


def load_recovered(path: Path, data: Fer2013) -> TrainedModel:
    """Return the Keras model that answers as a converted file does.

    Args:
        path: a .tflite file whose card holds the recipe of its training.
        data: FER2013; normalizations take their statistics from some of Training, which changes no answer.

    Raises:
        ModelError: if the file is damaged, or its card does not hold the recipe.
        DataError: if its weights do not fit the network of that recipe.
    """
    file = read_model_file(path)
    card = file.card
    try:
        recipe = msgspec.convert(card.training["recipe"], Recipe)
    except (KeyError, msgspec.ValidationError) as error:
        raise ModelError(
            f"{path}: its card does not tell by which recipe it was trained ({error}); convert a model.keras instead"
        ) from error
    network = build(recipe.model, card.input.shape, len(card.labels), recipe.network)
    pixels = data.split("Training").of_labels(card.labels).pixels
    load_pretrained(recipe.model, network, str(path), images_to_start_by(pixels, card.input))
    provenance = {**card.training, "recovered_from_sha256": file.sha256}
    return TrainedModel(path, with_softmax(network, 1.0), card.labels, card.input, provenance, file.sha256)
