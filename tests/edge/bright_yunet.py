"""An ONNX file with the interface of YuNet that takes bright squares for faces: a real network for real tests.

YuNet's own file is not ours to ship. This one has the same input and the same twelve outputs, so OpenCV's
``FaceDetectorYN`` loads and runs it like the original. Written with a few lines of protocol buffers (the field numbers
are those of onnx.proto3), because the onnx package would be a dependency for one test.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

SIDE = 32
"""Side in pixels of every face that the network reports."""
_STRIDES = (8, 16, 32)
_FLOAT, _INT64 = 1, 7


def write_bright_yunet(path: Path) -> Path:
    """Write the network: on its finest grid, a cell of 8x8 pixels as bright as 255 is a face with a score of 1."""
    nodes: list[bytes] = []
    initialisers: list[bytes] = []
    outputs: list[str] = []
    for stride in _STRIDES:
        pooled = f"pooled_{stride}"
        kernel = [_ints("kernel_shape", [stride, stride]), _ints("strides", [stride, stride])]
        nodes.append(_node("AveragePool", ["input"], pooled, kernel))
        gain = 1.0 / (3 * 255.0) if stride == 8 else 0.0
        heads = {
            "cls": ([gain], [0.0]),
            "obj": ([gain], [0.0]),
            "bbox": ([0.0] * 4, [0.5, 0.5, math.log(SIDE / stride), math.log(SIDE / stride)]),
            "kps": ([0.0] * 10, [0.0] * 10),
        }
        for head, (gains, biases) in heads.items():
            name = f"{head}_{stride}"
            channels = len(gains)
            weights = [g for g in gains for _ in range(3)]
            initialisers += [
                _floats(f"{name}_w", [channels, 3, 1, 1], weights),
                _floats(f"{name}_b", [channels], biases),
                _tensor(f"{name}_shape", [3], _INT64, struct.pack("<3q", 1, -1, channels)),
            ]
            nodes += [
                _node("Conv", [pooled, f"{name}_w", f"{name}_b"], f"{name}_map", [_ints("kernel_shape", [1, 1])]),
                _node("Transpose", [f"{name}_map"], f"{name}_last", [_ints("perm", [0, 2, 3, 1])]),
                _node("Reshape", [f"{name}_last", f"{name}_shape"], name, []),
            ]
            outputs.append(name)
    graph = b"".join(
        [
            *(_bytes(1, node) for node in nodes),
            _text(2, "bright"),
            *(_bytes(5, tensor) for tensor in initialisers),
            _bytes(11, _value("input", [1, 3, None, None])),
            *(_bytes(12, _value(name, [1, None, None])) for name in sorted(outputs)),
        ]
    )
    path.write_bytes(_int(1, 8) + _bytes(8, _int(2, 13)) + _bytes(7, graph))
    return path


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _ints(name: str, values: Sequence[int]) -> bytes:
    return _text(1, name) + b"".join(_int(8, value) for value in values) + _int(20, 7)


def _node(operator: str, inputs: Sequence[str], output: str, attributes: Sequence[bytes]) -> bytes:
    return b"".join(
        [
            *(_text(1, name) for name in inputs),
            _text(2, output),
            _text(3, output),
            _text(4, operator),
            *(_bytes(5, attribute) for attribute in attributes),
        ]
    )


def _floats(name: str, shape: Sequence[int], values: Sequence[float]) -> bytes:
    return _tensor(name, shape, _FLOAT, struct.pack(f"<{len(values)}f", *values))


def _tensor(name: str, shape: Sequence[int], kind: int, raw: bytes) -> bytes:
    return b"".join(_int(1, size) for size in shape) + _int(2, kind) + _text(8, name) + _bytes(9, raw)


def _value(name: str, shape: Sequence[int | None]) -> bytes:
    dims = b"".join(_bytes(1, _text(2, "free") if size is None else _int(1, size)) for size in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _int(1, _FLOAT) + _bytes(2, dims)))
