"""From a file, the environment and the command line to one checked :class:`Config`, and where each value came from."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from fer_edge.configuration.consistency import contradictions, refusals
from fer_edge.configuration.keys import ENVIRONMENT_PREFIX, Key, keys, sections
from fer_edge.configuration.redact import HIDDEN, redact
from fer_edge.configuration.schema import Config
from fer_edge.configuration.toml import read_toml, toml_value
from fer_edge.errors import ConfigError, UsageError

SYSTEM_FILE: Final = Path("/etc/fer-edge/config.toml")

OriginKind: TypeAlias = Literal["default", "file", "environment", "command line"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from."""

    kind: OriginKind
    place: str
    """``/etc/fer-edge/config.toml:12``, ``FER_EDGE_SOURCE__WIDTH``, ``command line`` or ``default``."""


DEFAULT: Final = Origin("default", "default")
ENVIRONMENT: Final = Origin("environment", "environment")
COMMAND_LINE: Final = Origin("command line", "command line")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A configuration with the story of its making."""

    config: Config
    file: Path | None
    """The file that was read; None if there was none."""
    origins: Mapping[str, Origin]
    """Where the value of each dotted key came from."""


def load_config(
    path: Path | None, env: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None
) -> Config:
    """Return the configuration to run with; see :func:`resolve_config`."""
    return resolve_config(path, env, overrides).config


def resolve_config(
    path: Path | None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    system_file: Path = SYSTEM_FILE,
) -> Resolved:
    """Read and check the configuration; the later of file, environment and command line wins, key by key.

    Args:
        path: the file; None looks for one as :func:`find_config` does.
        env: the environment; None is this process's own. ``FER_EDGE_SECTION__KEY`` sets ``section.key``.
        overrides: dotted keys and values from the command line; a None is a flag that was not given.
        system_file: the last place where a file is looked for.

    Raises:
        ConfigError: if the file cannot be read or a value cannot be used. One line: the first fault, and how many more
            there are; :func:`find_faults` lists all.
        UsageError: if it is the command line alone that is at fault.
    """
    resolved, faults = _resolve(path, env, overrides, system_file)
    if resolved is None:
        check = "fer-edge config check" if path is None else f"fer-edge config check {path}"
        more = f" (and {len(faults) - 1} more: `{check}` lists them)" if len(faults) > 1 else ""
        # Restarting does not mend a typing error on the command line either, but its author is at the keyboard.
        kind = UsageError if all(fault.origin == COMMAND_LINE for fault in faults) else ConfigError
        raise kind(f"{faults[0]}{more}")
    return resolved


def find_faults(
    path: Path | None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    system_file: Path = SYSTEM_FILE,
) -> list[str]:
    """Return every fault of the configuration, one line each; none: it can be used. See :func:`resolve_config`.

    Raises:
        ConfigError: if the file cannot be read at all.
    """
    return [str(fault) for fault in _resolve(path, env, overrides, system_file)[1]]


def find_config(env: Mapping[str, str], system_file: Path = SYSTEM_FILE) -> Path | None:
    """Return the first of the user's file, ``$XDG_CONFIG_HOME/fer-edge/config.toml``, and the system's that exists.

    Without ``XDG_CONFIG_HOME`` the user's directory is ``~/.config`` (XDG Base Directory Specification).
    """
    candidates = [system_file]
    base = env.get("XDG_CONFIG_HOME", "")
    if Path(base).is_absolute():  # the specification: a relative path is to be ignored
        candidates.insert(0, Path(base) / "fer-edge" / "config.toml")
    elif env.get("HOME"):
        candidates.insert(0, Path(env["HOME"]) / ".config" / "fer-edge" / "config.toml")
    return next((file for file in candidates if os.path.lexists(file)), None)


@dataclass(frozen=True, slots=True)
class _Setting:
    """A value as somebody wrote it."""

    value: object
    origin: Origin


@dataclass(frozen=True, slots=True)
class _Fault:
    """Something that cannot be used."""

    origin: Origin
    complaint: str

    def __str__(self) -> str:
        return f"{self.origin.place}: {self.complaint}"


def _unknown(origin: Origin, name: str, hint: str) -> _Fault:
    return _Fault(origin, f"{name}: unknown key; {hint}")


def _unusable(key: Key, setting: _Setting) -> _Fault:
    found = HIDDEN if key.secret else redact(_shown(setting.value))
    way_out = f"it must be {key.allowed}" + (", or left out" if key.optional else "")
    return _Fault(setting.origin, f"{key.name}: found {found}; {way_out}")


def _resolve(
    path: Path | None, env: Mapping[str, str] | None, overrides: Mapping[str, object] | None, system_file: Path
) -> tuple[Resolved | None, list[_Fault]]:
    env = os.environ if env is None else env
    file = find_config(env, system_file) if path is None else path
    faults: list[_Fault] = []
    settings: dict[str, _Setting] = {}
    if file is not None:
        document, lines = read_toml(file)
        settings |= _from_file(document, file, lines, faults)
    settings |= _from_environment(env, faults)
    settings |= _from_command_line(overrides or {}, faults)
    values = {name: key.default for name, key in keys().items()}
    for name, setting in settings.items():
        try:
            values[name] = _convert(keys()[name], setting)
        except ValueError:  # msgspec's ValidationError and tomllib's are ValueErrors
            faults.append(_unusable(keys()[name], setting))
    if faults:
        return None, faults
    config: Config = _build(Config, "", values)
    origins = {name: settings[name].origin if name in settings else DEFAULT for name in keys()}
    complaints = list(contradictions(config)) or list(refusals(config))
    faults = [_Fault(origins[name], f"{name}: {complaint}") for name, complaint in complaints]
    return (None if faults else Resolved(config, file, origins)), faults


def _from_file(
    document: Mapping[str, Any], file: Path, lines: Mapping[str, int], faults: list[_Fault]
) -> dict[str, _Setting]:
    found: dict[str, _Setting] = {}
    for name, value in _leaves(document, ""):
        origin = Origin("file", f"{file}:{lines[name]}" if name in lines else str(file))
        if name in keys():
            found[name] = _Setting(value, origin)
        elif name in sections():
            faults.append(_Fault(origin, f"{name}: found {_shown(value)}; it is a table: write [{name}]"))
        else:
            faults.append(_unknown(origin, name, suggestion(name, [*keys(), *sections()])))
    return found


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield what is no table of the schema, with its dotted name; a table that the schema lacks is one leaf."""
    for name, value in table.items():
        if isinstance(value, Mapping) and prefix + name in sections():
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _from_environment(env: Mapping[str, str], faults: list[_Fault]) -> dict[str, _Setting]:
    variables = {key.variable: key for key in keys().values()}
    run_together = {variable.replace("__", "_"): variable for variable in variables}
    found: dict[str, _Setting] = {}
    for name, value in sorted(env.items()):
        if name in variables:
            found[variables[name].name] = _Setting(value, Origin("environment", name))
        elif not name.startswith(ENVIRONMENT_PREFIX):
            continue
        elif "__" in name:
            faults.append(_unknown(ENVIRONMENT, name, suggestion(name, variables)))
        elif name in run_together:
            # Without the double underscore it would be ignored, and its author would wonder why.
            faults.append(_unknown(ENVIRONMENT, name, f"did you mean {run_together[name]}?"))
    return found


def _from_command_line(overrides: Mapping[str, object], faults: list[_Fault]) -> dict[str, _Setting]:
    found: dict[str, _Setting] = {}
    for name, value in overrides.items():
        if name not in keys():
            faults.append(_unknown(COMMAND_LINE, name, suggestion(name, keys())))
        elif value is not None:
            found[name] = _Setting(value, COMMAND_LINE)
    return found


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what to do about an unknown ``name``: the nearest of the ``known`` ones, or where to look them up."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    if not close:
        # Right key in the wrong table: compare the last parts alone.
        last = name.rpartition(".")[2]
        close = [other for other in known if other.rpartition(".")[2] == last][:1]
    return f"did you mean {close[0]}?" if close else "`fer-edge config default` lists all keys"


def _convert(key: Key, setting: _Setting) -> object:
    """Return the value of ``setting`` as the type of ``key``.

    A file says what type it means and is held to it, as by the JSON schema. The environment and the command line have
    texts only, which are read as what the key needs; an empty one unsets a key that may be unset.

    Raises:
        ValueError: if it cannot be.
    """
    value = setting.value
    if setting.origin.kind == "file" or not isinstance(value, str):
        return msgspec.convert(value, key.type)
    if value == "" and key.optional:
        return None
    if key.is_list:
        return msgspec.convert(_list(value), key.type)
    # Lenient conversion would read the text "null" as unset.
    return msgspec.convert(value, key.type, strict=key.is_text)


def _list(text: str) -> list[Any]:
    """Read ``a, b`` or a TOML list ``["a", "b"]``."""
    if text.lstrip().startswith("["):
        items = tomllib.loads(f"items = {text}")["items"]
        return items if isinstance(items, list) else [items]
    return [item.strip() for item in text.split(",") if item.strip()]


def _build(struct: Any, prefix: str, values: Mapping[str, object]) -> Any:
    arguments = {
        field.name: values[prefix + field.name]
        if prefix + field.name in values
        else _build(field.type, f"{prefix}{field.name}.", values)
        for field in msgspec.structs.fields(struct)
    }
    return struct(**arguments)


def _shown(value: object) -> str:
    try:
        return toml_value(value)
    except TypeError:  # a table or a date
        return f"a {'table' if isinstance(value, Mapping) else type(value).__name__}"
