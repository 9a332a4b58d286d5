"""The model that ``fer-edge model use`` chose: one small file, which a running fer-edge watches."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fer_edge.contract.files import write_text
from fer_edge.errors import ModelError, OutputError

SERVICE_STATE: Final = Path("/var/lib/fer-edge")
"""Where the service keeps its state."""

FILE_NAME: Final = "model.json"


def state_directory(env: Mapping[str, str] | None = None, service_state: Path = SERVICE_STATE) -> Path:
    """Return the directory of what outlives a run.

    The first of: ``$STATE_DIRECTORY``, which systemd sets for a service; the service's own directory, for who may write
    there, so that ``sudo fer-edge model use`` speaks to the service; ``$XDG_STATE_HOME/fer-edge``, by default
    ``~/.local/state/fer-edge`` (XDG Base Directory Specification).
    """
    env = os.environ if env is None else env
    if given := env.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if service_state.is_dir() and os.access(service_state, os.W_OK):
        return service_state
    base = Path(env.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "fer-edge"


def selection_file(env: Mapping[str, str] | None = None) -> Path:
    """Return where the choice is kept, whether there is one or not."""
    return state_directory(env) / FILE_NAME


def read_selection(file: Path) -> str | None:
    """Return the name or path of the model that was chosen; None if none was.

    Raises:
        ModelError: if the file cannot be read or was not written by :func:`write_selection`.
    """
    way_out = "choose anew with `fer-edge model use NAME`, or `fer-edge model unset`"
    try:
        document = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); {way_out}") from error
    except ValueError as error:
        raise ModelError(f"{file}: is no choice of a model; {way_out}") from error
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, str) or not model:
        raise ModelError(f"{file}: is no choice of a model; {way_out}")
    return model


def write_selection(file: Path, model: str) -> None:
    """Choose ``model``, a name or an absolute path.

    Raises:
        OutputError: if the file cannot be written.
    """
    write_text(file, json.dumps({"model": model}) + "\n")


def remove_selection(file: Path) -> bool:
    """Withdraw the choice; False if there was none.

    Raises:
        OutputError: if the file cannot be removed.
    """
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"{file}: cannot be removed ({error.strerror}); see who owns its directory") from error
    return True
