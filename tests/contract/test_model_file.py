from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fer_convert.embed import embed_card, is_per_channel, tensor_types
from fer_edge.contract.card import CARD_NAME, TensorCard, decode_card, encode_card
from fer_edge.contract.interpreter import dequantize, find_runtime, load_model, quantize
from fer_edge.contract.labels import LABELS, UNCERTAIN
from fer_edge.contract.tflite_file import find_metadata, read_model_file
from fer_edge.errors import ModelError
from tests.edge.tiny_model import write_tiny_model


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.tflite", "sad")


def with_card(path: Path, **changes: Any) -> Path:
    """Write the model at ``path`` anew with a changed card, checksum and all; return the new file."""
    file = read_model_file(path)
    target = path.with_name("changed.tflite")
    target.write_bytes(embed_card(file.data, msgspec.structs.replace(file.card, **changes)))
    return target


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as raised:
        load_model(path)
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    assert raised.value.exit_code == 78
    return message


def test_labels_are_in_fer2013s_order() -> None:
    assert LABELS == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert UNCERTAIN not in LABELS


def test_a_model_describes_itself(tiny: Path) -> None:
    model = load_model(tiny)
    assert model.card.labels == LABELS
    probabilities = model.invoke(np.zeros((3, 48, 48, 1), np.uint8))
    assert probabilities.shape == (3, 7)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)
    assert set(probabilities.argmax(axis=1)) == {LABELS.index("sad")}


def test_the_card_stands_readable_in_the_file(tiny: Path) -> None:
    data = tiny.read_bytes()
    span = find_metadata(data, CARD_NAME, "tiny")
    assert span is not None
    assert json.loads(data[span.start : span.start + span.size])["labels"] == list(LABELS)
    assert find_metadata(data, "SOMETHING_ELSE", "tiny") is None


def test_embedding_again_replaces_the_card(tiny: Path) -> None:
    changed = with_card(tiny, name="second")
    assert read_model_file(changed).card.name == "second"
    assert changed.read_bytes().count(b'"checksum"') == 1


def test_a_card_survives_the_round_trip(tiny: Path) -> None:
    card = read_model_file(tiny).card
    assert decode_card(encode_card(card), "here") == card


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9, 0.999])
def test_one_altered_byte_is_noticed(tiny: Path, at: float) -> None:
    data = bytearray(tiny.read_bytes())
    data[int(at * len(data))] ^= 1
    tiny.write_bytes(data)
    refusal(tiny)


@pytest.mark.parametrize("keep", [0, 3, 7, 8, 40, 1000, -1])
def test_a_truncated_file_is_refused(tiny: Path, keep: int) -> None:
    tiny.write_bytes(tiny.read_bytes()[:keep])
    refusal(tiny)


def test_a_text_file_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.tflite"
    text.write_text("this is no model, whatever it is called")
    assert "not a TFLite model" in refusal(text)
    assert "cannot be read" in refusal(tmp_path / "missing.tflite")


def test_a_model_without_a_card_is_refused(tiny: Path) -> None:
    tiny.write_bytes(tiny.read_bytes().replace(CARD_NAME.encode(), b"SOME_OTHER_CD"))
    assert "without a fer-edge model card" in refusal(tiny)


def test_another_label_count_is_refused(tiny: Path) -> None:
    assert "output tensor has the shape" in refusal(with_card(tiny, labels=LABELS[:6]))


def test_a_label_named_twice_is_refused(tiny: Path) -> None:
    assert "names a label twice" in refusal(with_card(tiny, labels=(*LABELS[:6], LABELS[0])))


def test_another_input_geometry_is_refused(tiny: Path) -> None:
    spec = msgspec.structs.replace(read_model_file(tiny).card.input, height=64)
    assert "input tensor has the shape" in refusal(with_card(tiny, input=spec))


def test_another_quantization_is_refused(tiny: Path) -> None:
    quantization = read_model_file(tiny).card.quantization
    wrong = msgspec.structs.replace(quantization, output=TensorCard("int8", (1, 7), 1 / 128, -128))
    assert "but its card says" in refusal(with_card(tiny, quantization=wrong))


@pytest.mark.parametrize(
    "edit",
    [
        lambda card: card.update(schema=2),
        lambda card: card.update(surprise="an unknown field"),
        lambda card: card.pop("labels"),
        lambda card: card.update(labels="happy"),
        lambda card: card.update(uncertain_below=1.5),
        lambda card: card["input"].update(colour="rgb"),
        lambda card: card["input"].update(height=10_000),
    ],
)
def test_a_broken_card_is_refused(tiny: Path, edit: Any) -> None:
    card = json.loads(encode_card(read_model_file(tiny).card))
    edit(card)
    with pytest.raises(ModelError, match="card is not valid"):
        decode_card(json.dumps(card).encode(), "tiny.tflite")


def test_pixels_are_quantized_exactly() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    exact = quantize(pixels, TensorCard("int8", (1,), 1.0, -128))
    assert np.array_equal(exact, np.arange(-128, 128).astype(np.int8))
    scaled = quantize(pixels.astype(np.float32), TensorCard("int8", (1,), 2.0, -128))
    assert scaled.min() == -128
    assert scaled.max() == 0
    assert np.array_equal(quantize(pixels, TensorCard("float32", (1,))), pixels.astype(np.float32))


def test_dequantizing_undoes_quantizing() -> None:
    tensor = TensorCard("uint8", (1,), 0.5, 10)
    values = np.array([-5.0, 0.0, 7.5], np.float32)
    assert np.array_equal(dequantize(quantize(values, tensor), tensor), values)


def test_the_runtime_says_which_it_is() -> None:
    runtime = find_runtime()
    assert runtime.name == "ai_edge_litert"
    assert runtime.version[0].isdigit()


def test_tensor_types_are_counted(tiny: Path) -> None:
    data = tiny.read_bytes()
    assert tensor_types(data) == {"int8": 4, "int32": 1}
    assert is_per_channel(data)  # it has no convolution
