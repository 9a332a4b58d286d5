"""Reading and checking a .tflite file and its card without loading the model.

A .tflite file is a FlatBuffer (https://flatbuffers.dev/internals) of the table ``Model`` in TensorFlow's
``schema.fbs``. Its field ``metadata`` lists (name, buffer index) pairs and its field ``buffers`` the bytes; the card is
one of them. The file is untrusted, and its checksum is no signature (whoever alters the file can compute it anew):
:mod:`fer_edge.contract.verify` checks all that a TFLite runtime will follow.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fer_edge.contract.card import CARD_NAME, NO_CHECKSUM, ModelCard, decode_card
from fer_edge.contract.flatbuffer import DamagedError, Span, Table
from fer_edge.contract.graph import IDENTIFIER, MAX_BUFFERS, MAX_OPERANDS
from fer_edge.contract.verify import verify_model
from fer_edge.errors import ModelError

MAX_BYTES: Final = 256 * 1024 * 1024
"""Larger files are refused unread; the largest network of this project, VGG16 in float32, takes 60 MB."""
MAX_CARD_BYTES: Final = 256 * 1024

_MODEL_BUFFERS, _MODEL_METADATA = 4, 6  # field numbers in schema.fbs: table Model
_METADATA_NAME, _METADATA_BUFFER = 0, 1  # table Metadata
_BUFFER_DATA = 0  # table Buffer


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A .tflite file whose card is valid and whose checksum is right."""

    path: Path
    data: bytes
    sha256: str
    """Of the file as it is."""
    card: ModelCard


def read_model_file(path: Path) -> ModelFile:
    """Read a .tflite file, find its card, verify its checksum and all that a TFLite runtime will follow.

    Raises:
        ModelError: if the file is missing, too large, not a TFLite file, without a card, altered, or not a graph that
            is safe to run.
    """
    data = read_bounded(path)
    span = find_metadata(data, CARD_NAME, str(path))
    if span is None:
        raise ModelError(
            f"{path}: a TFLite model without a fer-edge model card, so its labels and input are unknown; "
            "convert it with `fer-edge convert`"
        )
    if span.size > MAX_CARD_BYTES:
        raise ModelError(f"{path}: its model card has {span.size} bytes; at most {MAX_CARD_BYTES} are accepted")
    card = decode_card(data[span.start : span.start + span.size], str(path))
    if checksum_of(data, span, card.checksum) != card.checksum:
        raise ModelError(
            f"{path}: its checksum does not fit its contents: the file is damaged or was altered; get it anew"
        )
    verify_model(data, str(path))
    return ModelFile(path, data, hashlib.sha256(data).hexdigest(), card)


def read_bounded(path: Path) -> bytes:
    """Read a file of at most :data:`MAX_BYTES`.

    Raises:
        ModelError: if it cannot be read, is larger, or is no file at all (a pipe would be waited for without end).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path}: not a regular file; name a .tflite file or a bundled model")
        if status.st_size > MAX_BYTES:
            raise _too_large(path)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); name a .tflite file or a bundled model"
        ) from error
    if len(data) > MAX_BYTES:  # it has grown since
        raise _too_large(path)
    return data


def _too_large(path: Path) -> ModelError:
    return ModelError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, the most that is accepted for a model")


def find_metadata(data: bytes, name: str, where: str) -> Span | None:
    """Return where the metadata entry called ``name`` stands, or None if the model has none of that name.

    Raises:
        ModelError: if ``data`` is not a TFLite file or is damaged.
    """
    if data[4:8] != IDENTIFIER:
        raise ModelError(f"{where}: not a TFLite model (it lacks the identifier TFL3)")
    try:
        model = Table.root(data, "Model")
        buffers = model.positions(_MODEL_BUFFERS, MAX_BUFFERS)
        for metadata in model.tables(_MODEL_METADATA, "Metadata", limit=MAX_OPERANDS):
            if metadata.string(_METADATA_NAME) != name.encode():
                continue
            index = metadata.u32(_METADATA_BUFFER)
            if index >= len(buffers):
                raise DamagedError(f"metadata in buffer {index} of {len(buffers)}")
            return Table(data, buffers[index], "Buffer").vector(_BUFFER_DATA)
    except DamagedError as error:
        raise ModelError(f"{where}: a damaged TFLite file ({error}); get it anew") from error
    return None


def checksum_of(data: bytes, card: Span, stated: str) -> str:
    """SHA-256 of the file with the checksum that its card states replaced by zeros.

    Args:
        data: the whole file.
        card: where the card stands.
        stated: the checksum in the card. It must stand in it exactly once, or the sum is of no use and "" is returned.
    """
    text = data[card.start : card.start + card.size]
    if text.count(stated.encode()) != 1:
        return ""
    at = card.start + text.index(stated.encode())
    digest = hashlib.sha256(memoryview(data)[:at])
    digest.update(NO_CHECKSUM.encode())
    digest.update(memoryview(data)[at + len(NO_CHECKSUM) :])
    return digest.hexdigest()
