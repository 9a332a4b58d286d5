"""The layers for rpi-image-gen: what can be said of them without building an image; test_first_boot.py builds one.

The format is that of rpi-image-gen's documentation: metadata in DEB822 between METABEGIN and METAEND, and a YAML body
for bdebstrap.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LAYERS = sorted((Path(__file__).parents[2] / "systemd/rpi-image-gen/layer").glob("*.yaml"))
CONFIG = Path(__file__).parents[2] / "systemd/rpi-image-gen/config/fer-edge-kiosk.yaml"
LAYER_FIELDS = {"Name", "Version", "Category", "Desc", "Requires"}
VARIABLE_FIELDS = {"Desc", "Required", "Valid", "Set"}


def metadata(layer: Path) -> dict[str, str]:
    """Return the fields of a layer, as rpi-image-gen reads them."""
    block = re.search(r"^# METABEGIN\n(.*?)^# METAEND$", layer.read_text(), re.DOTALL | re.MULTILINE)
    assert block is not None
    fields: dict[str, str] = {}
    for line in block[1].splitlines():
        text = line.removeprefix("#").removeprefix(" ")
        if text.startswith(" "):
            fields[list(fields)[-1]] += text
        elif text:
            name, value = text.split(":", 1)
            fields[name] = value.strip()
    return fields


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.stem)
def test_metadata_has_known_fields_only(layer: Path) -> None:
    fields = metadata(layer)
    assert fields["X-Env-Layer-Name"] == layer.stem
    assert re.fullmatch(r"\d+\.\d+\.\d+", fields["X-Env-Layer-Version"])
    variables = {name.split("-")[3] for name in fields if name.startswith("X-Env-Var-")}
    assert ("X-Env-VarPrefix" in fields) == bool(variables)
    known = {f"X-Env-Layer-{name}" for name in LAYER_FIELDS} | {"X-Env-VarPrefix"}
    known |= {f"X-Env-Var-{variable}" for variable in variables}
    known |= {f"X-Env-Var-{variable}-{field}" for variable in variables for field in VARIABLE_FIELDS}
    assert set(fields) <= known


def test_each_variable_of_a_hook_is_declared() -> None:
    declared = set()
    for layer in LAYERS:
        fields = metadata(layer)
        prefix = fields.get("X-Env-VarPrefix")
        declared |= {f"IGconf_{prefix}_{name.split('-')[3]}" for name in fields if name.startswith("X-Env-Var-")}
    used = {name for layer in LAYERS for name in re.findall(r"\$\{?(IGconf_\w+)", layer.read_text())}
    assert used == declared


def test_layers_require_each_other_by_the_names_they_have() -> None:
    names = {metadata(layer)["X-Env-Layer-Name"] for layer in LAYERS}
    own = {metadata(layer)["X-Env-Layer-Requires"] for layer in LAYERS} - {"rpi-debian-trixie"}
    assert own <= names
    assert "  - fer-edge-kiosk\n" in CONFIG.read_text()
