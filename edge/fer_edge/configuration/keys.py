"""The keys of the configuration, one by one, read off the Structs of :mod:`fer_edge.configuration.schema`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from fer_edge.configuration.schema import Config


@dataclass(frozen=True, slots=True)
class Key:
    """One leaf of the configuration."""

    name: str
    """Dotted: ``outputs.mqtt.port``."""
    type: Any
    """Annotated Python type, as msgspec converts to it."""
    default: object
    description: str
    allowed: str
    """What it takes, in words: ``an integer from 1 to 65535``."""
    example: object
    """A value to show where the default is unset (None); None elsewhere."""
    secret: bool
    """True: no value of it is ever shown."""
    is_text: bool
    is_list: bool

    @property
    def optional(self) -> bool:
        """True if it may be unset."""
        return self.default is None

    @property
    def variable(self) -> str:
        """Name of the environment variable that sets it."""
        return ENVIRONMENT_PREFIX + self.name.replace(".", "__").upper()


ENVIRONMENT_PREFIX = "FER_EDGE_"


@cache
def keys() -> Mapping[str, Key]:
    """All keys by their dotted name, in the order of the default file."""
    return MappingProxyType({key.name: key for key in _keys(Config, "")})


@cache
def sections() -> Mapping[str, type[msgspec.Struct]]:
    """The Struct behind each table (``outputs.mqtt``) in the order of the default file; "" is the whole file."""
    return MappingProxyType(dict(_sections(Config, "")))


def _sections(struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    yield prefix.rstrip("."), struct
    for field in msgspec.structs.fields(struct):
        if _is_section(field.type):
            yield from _sections(field.type, f"{prefix}{field.name}.")


def _keys(struct: type[msgspec.Struct], prefix: str) -> Iterator[Key]:
    annotations = get_type_hints(struct, include_extras=True)
    nested: list[Iterator[Key]] = []
    for field in msgspec.structs.fields(struct):
        if _is_section(field.type):
            # TOML wants the keys of a table before its sub-tables.
            nested.append(_keys(field.type, f"{prefix}{field.name}."))
        else:
            yield _key(prefix + field.name, annotations[field.name], field.default)
    for iterator in nested:
        yield from iterator


def _key(name: str, annotation: Any, default: object) -> Key:
    info = msgspec.inspect.type_info(annotation)
    schema: Mapping[str, Any] = {}
    extra: Mapping[str, Any] = {}
    if isinstance(info, msgspec.inspect.Metadata):
        schema, extra, info = info.extra_json_schema or {}, info.extra or {}, info.type
    if isinstance(info, msgspec.inspect.UnionType):  # T | None is the only union in the schema
        info = next(member for member in info.types if not isinstance(member, msgspec.inspect.NoneType))
    if isinstance(info, msgspec.inspect.Metadata):
        extra, info = {**(info.extra or {}), **extra}, info.type
    return Key(
        name=name,
        type=annotation,
        default=default,
        description=schema["description"],
        allowed=extra.get("form") or _choices(annotation) or _allowed(info),
        example=next(iter(schema.get("examples", ())), None),
        secret=bool(extra.get("secret")),
        is_text=isinstance(info, msgspec.inspect.StrType),
        is_list=isinstance(info, msgspec.inspect.VarTupleType),
    )


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _choices(annotation: Any) -> str:
    """The members of a Literal in the order in which they were written (msgspec sorts them); "" for other types."""
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    if get_origin(annotation) is not Literal:
        return ""
    return "one of " + ", ".join(
        f'"{choice}"' if isinstance(choice, str) else str(choice) for choice in get_args(annotation)
    )


def _allowed(info: msgspec.inspect.Type) -> str:
    match info:
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType(ge=low, le=high):
            return "an integer" + _range(low, high)
        case msgspec.inspect.FloatType(ge=low, le=high):
            return "a number" + _range(low, high)
        case msgspec.inspect.VarTupleType(item_type=item):
            return f"a list, each item {_allowed(item)}"
        case msgspec.inspect.StrType(min_length=minimum):
            return "a text" if not minimum else "a text that is not empty"
    raise TypeError(f"the schema holds a type that no message describes: {info}")


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    if low is not None:
        return f" of at least {_number(low)}"
    return "" if high is None else f" of at most {_number(high)}"


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
