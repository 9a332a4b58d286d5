from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from fer_edge.contract.interpreter import bare_interpreter, load_model
from fer_edge.contract.operators import RULES, check_operator
from fer_edge.contract.verify import verify_model
from fer_edge.errors import ModelError
from tests.contract.campaign import run_campaign
from tests.contract.mutations import Specimen, mutate, sweep_size, swept
from tests.contract.small_graph import SmallGraph
from tests.edge.tiny_model import write_tiny_model

Spoil = Callable[[SmallGraph], None]


def refusal(data: bytes) -> str:
    with pytest.raises(ModelError) as raised:
        verify_model(data, "spoiled.tflite")
    message = str(raised.value)
    assert message.startswith("spoiled.tflite: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_network_of_many_operators_is_accepted_and_runs(tmp_path: Path, dtype: str) -> None:
    path = SmallGraph(dtype).write(tmp_path / "small.tflite")
    graph = verify_model(path.read_bytes(), "small")
    assert len(graph.operators) == 11
    probabilities = load_model(path).invoke(np.zeros((1, 16, 16, 1), np.uint8))
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-5)


def test_multiplications_are_counted_as_papers_do() -> None:
    """A filter of a depthwise convolution sees one channel, one of a plain convolution all of them."""
    graph = verify_model(SmallGraph().bytes(), "small")
    counted = {RULES[operator.code].name: check_operator(graph, operator) for operator in graph.operators}
    assert counted["CONV_2D"] == 8 * 8 * 4 * (3 * 3 * 1)
    assert counted["DEPTHWISE_CONV_2D"] == 8 * 8 * 4 * (3 * 3)
    assert counted["FULLY_CONNECTED"] == 7 * 8


def test_a_file_without_a_card_can_be_verified_too() -> None:
    data = SmallGraph().bytes()
    verify_model(data, "small")
    bare_interpreter(data).invoke()


def option(name: str, field: str, value: object) -> Spoil:
    return lambda small: setattr(small.operators[name].builtinOptions, field, value)


def tensor(name: str, field: str, value: object) -> Spoil:
    return lambda small: setattr(small.tensor(name), field, value)


def quantization(name: str, field: str, value: object) -> Spoil:
    return lambda small: setattr(small.tensor(name).quantization, field, value)


def operands(name: str, inputs: list[int]) -> Spoil:
    return lambda small: setattr(small.operators[name], "inputs", inputs)


def content(name: str, values: object, dtype: type[np.generic] = np.int32) -> Spoil:
    def spoil(small: SmallGraph) -> None:
        small.content(name).data = np.frombuffer(np.asarray(values, dtype).tobytes(), np.uint8)

    return spoil


def code(name: str, number: int, custom: str | None = None) -> Spoil:
    def spoil(small: SmallGraph) -> None:
        entry = small.model.operatorCodes[small.operators[name].opcodeIndex]
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.customCode = number, min(number, 127), custom

    return spoil


def second_graph(small: SmallGraph) -> None:
    small.model.subgraphs.append(small.graph)


def sparse(small: SmallGraph) -> None:
    small.tensor("factor").sparsity = schema.SparsityParametersT()


def signature(small: SmallGraph) -> None:
    entry: Any = schema.SignatureDefT()
    entry.signatureKey, entry.inputs, entry.outputs = "serving", [schema.TensorMapT()], []
    entry.inputs[0].name, entry.inputs[0].tensorIndex = "x", 10_000
    small.model.signatureDefs = [entry]


def metadata(small: SmallGraph) -> None:
    entry: Any = schema.MetadataT()
    entry.name, entry.buffer = "x", 10_000
    small.model.metadata = [entry]


def huge_product(small: SmallGraph) -> None:
    # 800 x 800 by broadcasting two vectors, while the file states the shape of one of them.
    small.tensor("factor").shape = [8, 1, 1, 1]


def other_bias(small: SmallGraph) -> None:
    small.operators["dense"].inputs[2] = small.operators["conv"].inputs[2]


def no_shape(small: SmallGraph) -> None:
    small.operators["reshape"].inputs[1] = -1  # XNNPACK of LiteRT 2.3 follows it: a segmentation fault


def scales_of_a_scalar(small: SmallGraph) -> None:
    factor = small.tensor("factor")
    factor.shape, small.content("factor").data = [], np.array([1], np.uint8)
    factor.quantization.scale, factor.quantization.zeroPoint = [0.1, 0.1], [0, 0]


def backwards(small: SmallGraph) -> None:
    small.graph.operators.reverse()


SPOILED: dict[str, tuple[Spoil, str]] = {
    "stride of 0": (option("conv", "strideH", 0), "stride, dilation or window of 0"),
    "negative dilation": (option("depthwise", "dilationWFactor", -1), "stride, dilation or window of -1"),
    "window of 0": (option("pool", "filterWidth", 0), "stride, dilation or window of 0"),
    "unknown padding": (option("conv", "padding", 5), "padding of kind 5"),
    "unknown activation function": (option("conv", "fusedActivationFunction", 100), "an option of 100"),
    "no options": (lambda small: setattr(small.operators["conv"], "builtinOptionsType", 0), "options of type 0"),
    "multiplier that does not fit": (option("depthwise", "depthMultiplier", 3), "4 kernels, 3 each"),
    "beta of 0": (option("softmax", "beta", 0.0), "beta of 0.0"),
    "beta that is no number": (option("softmax", "beta", math.nan), "no number"),
    "shuffled weights": (option("dense", "weightsFormat", 1), "shuffled"),
    "joined along a missing axis": (option("concatenate", "axis", 9), "dimension 9 of 4"),
    "custom operator": (code("conv", 32, "Evil"), "custom operator 'Evil'"),
    "operator with subgraphs": (code("pad", schema.BuiltinOperator.WHILE), "operator 119 is not one"),
    "input out of range": (operands("sum", [1, 10_000]), "a tensor that is not there"),
    "negative input": (operands("sum", [1, -5]), "a tensor that is not there"),
    "input left out": (operands("sum", [1, -1]), "one of them left out"),
    "shape left out": (no_shape, "RESHAPE: operands (14, -1), one of them left out"),
    "missing bias": (lambda small: small.operators["depthwise"].inputs.pop(), "2 inputs and 1 outputs"),
    "bias of another length": (other_bias, "a bias of 4 for 7 channels"),
    "written constant": (lambda small: setattr(small.operators["sum"], "outputs", [2]), "has a value already"),
    "written input": (lambda small: setattr(small.operators["sum"], "outputs", [0]), "has a value already"),
    "wrong order": (backwards, "nothing has computed yet"),
    "code out of range": (lambda small: setattr(small.operators["sum"], "opcodeIndex", 99), "operator code 99 of 11"),
    "constant too short": (lambda small: setattr(small.content("factor"), "data", [1, 2]), "with 2 bytes of content"),
    "tensor of size 0": (tensor("conv", "shape", [1, 0, 8, 4]), "shape (1, 0, 8, 4)"),
    "tensor of size -1": (tensor("conv", "shape", [1, -1, 8, 4]), "shape (1, -1, 8, 4)"),
    "product that overflows": (tensor("conv", "shape", [65536, 65536, 65536, 65536]), "shape (65536"),
    "lie about a shape": (tensor("sum", "shape", [1, 8, 8, 5]), "ADD: an output of the shape (1, 8, 8, 5)"),
    "hidden broadcast": (huge_product, "where (8, 5, 5, 8) comes out"),
    "unknown type": (tensor("conv", "type", 60), "type 60"),
    "strings": (tensor("conv", "type", schema.TensorType.STRING), "type 5"),
    "mixed types": (tensor("conv", "type", schema.TensorType.FLOAT32), "CONV_2D: operands whose types"),
    "variable": (tensor("conv", "isVariable", True), "variable"),
    "sparse": (sparse, "sparse"),
    "buffer out of range": (tensor("conv", "buffer", 9999), "buffer 9999 of 11"),
    "scale of 0": (quantization("conv", "scale", [0.0]), "a scale that is not"),
    "scale that is no number": (quantization("conv", "scale", [math.nan]), "a scale that is not"),
    "infinite scale": (quantization("factor", "scale", [math.inf]), "a scale that is not"),
    "no scale": (lambda small: setattr(small.tensor("conv"), "quantization", None), "without a scale"),
    "zero point out of its type": (quantization("conv", "zeroPoint", [1000]), "a zero point outside"),
    "more scales than channels": (quantization("conv-weights", "scale", [0.1] * 3), "3 scales and 4 zero points"),
    "scales of a scalar": (scales_of_a_scalar, "2 scales for 1 channels"),
    "scales along a missing axis": (quantization("conv-weights", "quantizedDimension", 7), "dimension 7 of 4"),
    "scales along another axis": (quantization("depthwise-weights", "quantizedDimension", -1), "dimension -1 of 4"),
    "sum of a tiny scale": (quantization("sum", "scale", [1e-9]), "far finer than its terms'"),
    "product beyond the output": (quantization("logits", "scale", [2.0**-31]), "scales of input, weights and output"),
    "pooling that rescales": (quantization("pooled", "scale", [0.1]), "quantized otherwise than the input"),
    "negative padding": (content("padding", [[0, 0], [-9, 0], [0, 0], [0, 0]]), "padding by"),
    "huge padding": (content("padding", [[0, 0], [0, 2**31 - 1], [0, 0], [0, 0]]), "padding by"),
    "mean along a missing axis": (content("axes", [1, 99]), "dimension 99 of 4"),
    "reshape to nothing": (content("shape", [0, 8]), "a new shape of [0, 8]"),
    "reshape to another size": (content("shape", [-1, 9]), "a new shape of [-1, 9]"),
    "second graph": (second_graph, "field 2 has 2 entries"),
    "no output": (lambda small: setattr(small.graph, "outputs", []), "no input or no output"),
    "graph output out of range": (lambda small: setattr(small.graph, "outputs", [999]), "the graph's outputs"),
    "signature out of range": (signature, "a signature names a tensor"),
    "metadata out of range": (metadata, "metadata in buffer 10000"),
    "another schema": (lambda small: setattr(small.model, "version", 4), "schema version 4"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_spoiled_graph_is_refused_by_name(what: str) -> None:
    spoil, words = SPOILED[what]
    small = SmallGraph()
    spoil(small)
    assert words in refusal(small.bytes())


def test_a_scale_that_makes_litert_abort_never_reaches_it(tmp_path: Path) -> None:
    # Its kernel of ADD aborts the whole process where this multiplier is not below 1.
    small = SmallGraph()
    small.tensor("depthwise").quantization.scale = [65536.0]
    with pytest.raises(ModelError, match="ADD: a sum"):
        load_model(small.write(tmp_path / "small.tflite"))


def test_too_much_work_is_refused() -> None:
    small = SmallGraph("float32")
    for name in ("pixels", "conv"):
        small.tensor(name).shape = [1, 512, 512, 64]
    small.operators["conv"].builtinOptions.strideW = small.operators["conv"].builtinOptions.strideH = 1
    small.tensor("conv-weights").shape, small.tensor("conv-bias").shape = [64, 9, 9, 64], [64]
    for name, size in (("conv-weights", 64 * 81 * 64), ("conv-bias", 64)):
        small.content(name).data = np.zeros(4 * size, np.uint8)
    small.graph.operators, small.graph.outputs = small.graph.operators[:1], small.operators["conv"].outputs
    assert "billion multiplications" in refusal(small.bytes())


@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_any_word_of_the_file_may_hold_anything(value: int) -> None:
    data = SmallGraph().bytes()
    refused = 0
    for at in range(0, len(data) - 3, 4):
        mutant = data[:at] + struct.pack("<I", value) + data[at + 4 :]
        try:
            verify_model(mutant, "mutant")
        except ModelError:
            refused += 1
    assert refused > len(data) / 4 / 4  # most of the rest are weights and scales


def test_a_file_may_end_anywhere() -> None:
    data = SmallGraph().bytes()
    for end in range(len(data)):
        with pytest.raises(ModelError):
            verify_model(data[:end], "cut")


def test_mutants_get_past_the_checksum(tmp_path: Path) -> None:
    specimens = [Specimen.of("small", SmallGraph().write(tmp_path / "small.tflite").read_bytes())]
    assert mutate(specimens, 5) == mutate(specimens, 5)
    messages = []
    for seed in range(300):
        path = tmp_path / "mutant.tflite"
        path.write_bytes(mutate(specimens, seed))
        try:
            load_model(path)
            messages.append("loaded")
        except ModelError as error:
            messages.append(str(error))
    assert sum("checksum" in message for message in messages) < 60
    assert messages.count("loaded") > 5


def test_two_thousand_mutants_neither_crash_nor_hang(tmp_path: Path) -> None:
    files = [
        SmallGraph("int8").write(tmp_path / "small.int8.tflite"),
        SmallGraph("float32").write(tmp_path / "small.float32.tflite"),
        write_tiny_model(tmp_path / "tiny.tflite"),
    ]
    tally = run_campaign(files, first=0, cases=2000)
    assert tally.failures == {}
    assert tally.cases == tally.outcomes.total() == 2000
    assert tally.outcomes["refused"] > 500
    assert tally.outcomes["card"] > 100
    assert tally.outcomes["ran"] > 50
    assert tally.peak_mb < 512


def test_the_campaign_notices_a_crash_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_TEST_CRASH_AT", "3")
    tally = run_campaign([SmallGraph().write(tmp_path / "small.tflite")], first=0, cases=6)
    assert tally.cases == 6
    assert list(tally.failures) == [3]
    assert tally.outcomes["crashed"] == 1


def test_a_campaign_that_cannot_begin_is_no_finding(tmp_path: Path) -> None:
    (tmp_path / "notes.tflite").write_text("no model")
    with pytest.raises(RuntimeError, match="before its first case"):
        run_campaign([tmp_path / "notes.tflite"], first=0, cases=2)


def test_a_sweep_changes_one_word_at_a_time(tmp_path: Path) -> None:
    specimens = [Specimen.of("tiny", write_tiny_model(tmp_path / "tiny.tflite").read_bytes())]
    size = sweep_size(specimens)
    card = specimens[0].card
    outside = [*range(card.start), *range(card.start + card.size, len(specimens[0].data))]
    for number in (0, size // 2, size - 1):
        changed = swept(specimens, number)
        at = [n for n in outside if changed[n] != specimens[0].data[n]]
        assert len(at) <= 4
        assert not at or at[-1] - at[0] < 4
    tally = run_campaign([SmallGraph().write(tmp_path / "small.tflite")], first=0, cases=1000, kind="sweep")
    assert tally.failures == {}
    assert tally.cases == 1000
