"""Spoiling model files on purpose, each by a seed, and making their checksums right again."""

from __future__ import annotations

import json
import math
import random
import re
import struct
from dataclasses import dataclass
from typing import Any

from fer_edge.contract.card import CARD_NAME, NO_CHECKSUM
from fer_edge.contract.flatbuffer import Span
from fer_edge.contract.graph import read_graph
from fer_edge.contract.tflite_file import checksum_of, find_metadata
from fer_edge.errors import ModelError

_CHECKSUM = re.compile(rb'"checksum"\s*:\s*"([0-9a-f]{64})"')
_MANY = 64
"""Bytes from which on a constant counts as weights, whose change makes another valid model: seldom worth trying."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """A valid file and what its parts are."""

    name: str
    data: bytes
    structure: tuple[range, ...]
    """Everything but weights and card."""
    card: Span

    @classmethod
    def of(cls, name: str, data: bytes) -> Specimen:
        """Find the parts of a valid file."""
        card = find_metadata(data, CARD_NAME, name)
        assert card is not None
        constants = {t.constant for t in read_graph(data, name).tensors if t.constant and t.constant.size >= _MANY}
        taken = sorted([*constants, card], key=lambda span: span.start)
        ends = [0, *(span.start + span.size for span in taken)]
        starts = [*(span.start for span in taken), len(data)]
        gaps = (range(end, start) for end, start in zip(ends, starts, strict=True))
        return cls(name, data, tuple(gap for gap in gaps if gap), card)

    def place(self, rng: random.Random, align: int = 1) -> int:
        """Choose a byte, nearly always one of the structure."""
        if rng.random() < 0.05:
            at = rng.randrange(len(self.data))
        else:
            (gap,) = rng.choices(self.structure, weights=[len(gap) for gap in self.structure])
            at = rng.choice(gap)
        return at - at % align


def mutate(specimens: list[Specimen], seed: int) -> bytes:
    """Return one of ``specimens``, spoiled; the same for the same seed."""
    rng = random.Random(seed)
    specimen = rng.choice(specimens)
    if rng.random() < 0.15:
        return _sealed(_other_card(specimen, rng))
    data = bytearray(specimen.data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_MUTATIONS)(data, specimen, specimens, rng)
    # A checksum that is wrong ends the matter at once: nearly always whoever altered the file made it right.
    return bytes(data) if rng.random() < 0.05 else _sealed(bytes(data))


_WORDS: tuple[int, ...] = (
    0,
    1,
    2,
    3,
    4,
    8,
    16,
    64,
    255,
    2**16,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 4,
    2**32 - 2,
    2**32 - 1,
)
_STEPS = (-4, -1, 1, 4)
_FLOATS = (math.nan, math.inf, -1.0, 1e-38, 1e-10, 1e10, 1e30)
_PER_WORD = len(_WORDS) + len(_STEPS) + len(_FLOATS)


def sweep_size(specimens: list[Specimen]) -> int:
    """Return the number of cases of :func:`swept`."""
    return _PER_WORD * sum(len(_words(specimen)) for specimen in specimens)


def swept(specimens: list[Specimen], number: int) -> bytes:
    """Return one of ``specimens`` with one word of its structure changed: each word, each value, one after the other.

    Chance alone seldom puts the one value that matters into the one word that matters: of 1,000 words of an index or a
    size there may be one in which -1 kills the interpreter.
    """
    for specimen in specimens:
        words = _words(specimen)
        if number < _PER_WORD * len(words):
            break
        number -= _PER_WORD * len(words)
    at, choice = words[number // _PER_WORD], number % _PER_WORD
    data = bytearray(specimen.data)
    if choice < len(_WORDS):
        _put(data, at, struct.pack("<I", _WORDS[choice]))
    elif (choice := choice - len(_WORDS)) < len(_STEPS):
        (value,) = struct.unpack_from("<I", data, at)
        _put(data, at, struct.pack("<I", (value + _STEPS[choice]) % 2**32))
    else:
        _put(data, at, struct.pack("<f", _FLOATS[choice - len(_STEPS)]))
    return _sealed(bytes(data))


def _words(specimen: Specimen) -> list[int]:
    """Return where the aligned words of the structure stand."""
    return [at for gap in specimen.structure for at in gap if at % 4 == 0 and at + 4 <= len(specimen.data)]


def _sealed(data: bytes) -> bytes:
    """Return ``data`` with the right checksum, as far as a card can still be found."""
    try:
        card = find_metadata(data, CARD_NAME, "mutant")
    except ModelError:
        return data
    found = None if card is None else _CHECKSUM.search(data, card.start, card.start + card.size)
    if card is None or found is None:
        return data
    blank = data[: found.start(1)] + NO_CHECKSUM.encode() + data[found.end(1) :]
    checksum = checksum_of(blank, card, NO_CHECKSUM)
    return blank[: found.start(1)] + checksum.encode() + blank[found.end(1) :] if checksum else data


def _flip(data: bytearray, specimen: Specimen, _: list[Specimen], rng: random.Random) -> None:
    at = specimen.place(rng) % max(1, len(data))
    if data:
        data[at] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, specimen: Specimen, _: list[Specimen], rng: random.Random) -> None:
    at = specimen.place(rng)
    if at < len(data):
        data[at] = rng.choice((0, 1, 2, 4, 6, 9, 17, 25, 32, 127, 128, 254, 255, rng.randrange(256)))


def _short(data: bytearray, specimen: Specimen, _: list[Specimen], rng: random.Random) -> None:
    _put(data, specimen.place(rng, 2), struct.pack("<H", rng.choice((0, 2, 4, 8, 65535, rng.randrange(65536)))))


def _word(data: bytearray, specimen: Specimen, _: list[Specimen], rng: random.Random) -> None:
    size = len(specimen.data)
    choices = (0, 1, 2, 3, 7, 64, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, size, size - 4, 1 << 16, 1 << 24)
    value = rng.choice((*choices, rng.randrange(size), rng.getrandbits(32)))
    _put(data, specimen.place(rng, 4), struct.pack("<I", value))


def _near(data: bytearray, specimen: Specimen, _: list[Specimen], rng: random.Random) -> None:
    """Shift a number or offset a little: to the neighbouring table, dimension or index."""
    at = specimen.place(rng, 4)
    if at + 4 <= len(data):
        (value,) = struct.unpack_from("<i", data, at)
        near = max(-(2**31), min(2**31 - 1, value + rng.choice((-64, -8, -4, -1, 1, 2, 4, 8, 12, 64))))
        struct.pack_into("<i", data, at, near)


def _float(data: bytearray, specimen: Specimen, _: list[Specimen], rng: random.Random) -> None:
    value = rng.choice((0.0, -0.0, -1.0, math.nan, math.inf, 1e-38, 1e-30, 1e-10, 1e10, 1e30, 1e-45, 2.0**-31, 2.0**31))
    _put(data, specimen.place(rng, 4), struct.pack("<f", value))


def _truncate(data: bytearray, specimen: Specimen, _: list[Specimen], rng: random.Random) -> None:
    del data[specimen.place(rng) :]


def _splice(data: bytearray, specimen: Specimen, specimens: list[Specimen], rng: random.Random) -> None:
    """Overwrite some bytes with others from this file or another."""
    other = rng.choice(specimens)
    length = rng.choice((4, 8, 16, 64, 256))
    start = other.place(rng, 4)
    _put(data, specimen.place(rng, 4), other.data[start : start + length])


def _shift(data: bytearray, specimen: Specimen, _: list[Specimen], rng: random.Random) -> None:
    """Insert or delete some bytes, which moves all that follows."""
    at, length = specimen.place(rng), rng.choice((1, 2, 4, 8, 16, 64))
    if rng.random() < 0.5:
        del data[at : at + length]
    else:
        data[at:at] = rng.randbytes(length)


def _put(data: bytearray, at: int, what: bytes) -> None:
    end = min(at + len(what), len(data))
    if at < end:
        data[at:end] = what[: end - at]


_MUTATIONS = (_flip, _flip, _byte, _short, _word, _word, _near, _near, _float, _truncate, _splice, _shift)


def _other_card(specimen: Specimen, rng: random.Random) -> bytes:
    """Change the card: a value of its JSON, or its bytes. It keeps its place, and is padded or cut to its length."""
    span = specimen.card
    raw = specimen.data[span.start : span.start + span.size]
    if rng.random() < 0.3:
        text = bytearray(raw)
        for _ in range(rng.choice((1, 2, 8))):
            text[rng.randrange(len(text))] = rng.randrange(256)
        card = bytes(text)
    else:
        document = json.loads(raw)
        _change(document, rng)
        card = json.dumps(document, separators=(",", ":")).encode()
    card = card[: span.size].ljust(span.size)
    return specimen.data[: span.start] + card + specimen.data[span.start + span.size :]


def _change(node: Any, rng: random.Random) -> None:
    """Replace, remove or add one value somewhere in a JSON document."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.2:
            break
        node = node[key]
    if rng.random() < 0.15:
        del node[key]
    elif isinstance(node, dict) and rng.random() < 0.1:
        node["x" * rng.randrange(1, 20)] = node[key]
    else:
        node[key] = rng.choice(_JUNK)


_NESTED: Any = 0
for _level in range(90):
    _NESTED = [_NESTED]

_JUNK: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    7,
    2**31,
    -(2**63),
    2**64,
    10**300,
    1e308,
    -0.5,
    0.5,
    math.nan,
    math.inf,
    "",
    "int4",
    "../../etc/passwd",
    "\u0000\ud7ff\u202e",
    "A" * 200,
    [],
    [1, 48, 48, 1],
    [0],
    ["happy", "happy"],
    {},
    {"a": 1},
    _NESTED,
)
