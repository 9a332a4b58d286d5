"""The schema against the shipped default file, the JSON schema and the settings of the parts."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fer_edge.configuration import Config, load_config
from fer_edge.configuration.default_file import default_toml, render_default
from fer_edge.configuration.keys import keys, sections
from fer_edge.configuration.settings import output_settings, schedule_settings, smoothing_settings, source_settings
from fer_edge.configuration.show import json_schema
from fer_edge.contract.labels import LABELS
from fer_edge.outputs.settings import OutputSettings, ServingSettings, WebSettings
from fer_edge.sources.base import SourceSettings
from fer_edge.vision.schedule import ScheduleSettings
from fer_edge.vision.smoothing import SmoothingSettings

UNSET_KEY = re.compile(r"^#(?=\w+ = )", re.MULTILINE)


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    leaves: dict[str, object] = {}
    for name, value in document.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return leaves


def test_the_default_file_is_up_to_date() -> None:
    assert default_toml() == render_default(), (
        "run  python -m fer_edge.configuration.default_file > edge/fer_edge/data/default.toml"
    )


def test_the_default_file_lists_every_key_with_the_default_of_the_code() -> None:
    written = flat(tomllib.loads(default_toml()))
    in_code = {name: leaf for name, leaf in flat(msgspec.to_builtins(Config())).items() if leaf is not None}
    assert written == {name: list(leaf) if isinstance(leaf, tuple) else leaf for name, leaf in in_code.items()}
    with_unset = flat(tomllib.loads(UNSET_KEY.sub("", default_toml())))
    assert set(with_unset) == set(keys()) == set(flat(msgspec.to_builtins(Config())))


def test_every_key_is_preceded_by_a_comment() -> None:
    lines = default_toml().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#?\w+ = |\[", line):
            assert lines[number - 1].startswith("# "), line


def test_the_default_file_loads_to_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(default_toml(), encoding="utf-8")
    assert load_config(file, env={}) == Config()


def test_each_example_of_an_unset_key_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for name, key in keys().items():
        if key.optional:
            assert key.example is not None, name
            section, _, last = name.rpartition(".")
            needs = {
                "outputs.mqtt.password": "username = 'u'\n",
                "outputs.mqtt.password_file": "username = 'u'\n",
                "outputs.mqtt.key_file": "certificate_file = 'c'\n",
            }
            file.write_text(f"[{section}]\n{last} = {msgspec.json.encode(key.example).decode()}\n{needs.get(name, '')}")
            assert load_config(file, env={}) != Config(), name


def test_names_say_their_unit() -> None:
    for name in keys():
        assert not re.search(r"(timeout|interval|constant|budget|_after|keepalive)$", name), f"{name} lacks its unit"


def test_the_json_schema_describes_every_key() -> None:
    schema = json_schema()
    definitions = schema["$defs"]
    assert schema["$ref"] == "#/$defs/Config"
    for section, struct in sections().items():
        definition = definitions[struct.__name__]
        assert definition["additionalProperties"] is False
        for name, value in definition["properties"].items():
            assert "$ref" in value or value["description"], f"{section}.{name}"
    assert definitions["SourceSection"]["properties"]["read_timeout_s"]["maximum"] == 3600


def test_defaults_are_those_of_the_parts() -> None:
    config = Config()
    assert source_settings(config) == SourceSettings()
    assert schedule_settings(config) == ScheduleSettings()
    assert output_settings(config, LABELS, finite=False) == OutputSettings()
    built_in = SmoothingSettings()
    assert smoothing_settings(config, built_in.uncertain_below) == built_in


def test_every_setting_of_a_part_can_be_configured() -> None:
    """A new field of a settings class fails here until it has a key, or a reason to be in this list."""
    from_command_line = {"realtime", "loop"}
    assert {field.name for field in dataclasses.fields(SourceSettings)} - from_command_line <= leaves("source")
    assert {field.name for field in dataclasses.fields(ScheduleSettings)} <= leaves("detection")
    assert {field.name for field in dataclasses.fields(SmoothingSettings)} <= leaves("smoothing")
    tables = {"log": "outputs.files"}
    of_the_run = {"labels", "finite", "aggregate_only"}
    for field in dataclasses.fields(OutputSettings):
        if field.name not in of_the_run:
            wanted = set(field_names(getattr(OutputSettings(), field.name)))
            assert wanted <= leaves(tables.get(field.name, f"outputs.{field.name}"))


def field_names(settings: Any) -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        yield from field_names(value) if dataclasses.is_dataclass(value) else [field.name]


def test_how_the_dashboard_is_served_can_be_configured(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[outputs.web]\njpeg_quality = 55\nmax_side_px = 320\nmax_fps = 4\nhistory_s = 60\n")
    web = output_settings(load_config(file, {}), LABELS, finite=False).web
    assert web.serving == ServingSettings(jpeg_quality=55, max_side_px=320, max_fps=4.0, history_s=60)
    assert web.port == WebSettings().port


def leaves(section: str) -> set[str]:
    return {name.rpartition(".")[2] for name in keys() if name.rpartition(".")[0] == section}


def test_the_tables_threshold_wins_over_the_cards() -> None:
    config = load_config(None, {"FER_EDGE_SMOOTHING__UNCERTAIN_BELOW": "0.7"})
    assert smoothing_settings(config, 0.2).uncertain_below == 0.7
    assert smoothing_settings(Config(), 0.2).uncertain_below == 0.2


def limits() -> list[tuple[str, float]]:
    ends = []
    for name, key in keys().items():
        if bounds := re.fullmatch(r"an? (?:integer|number) from ([\d.e+]+) to ([\d.e+]+)", key.allowed):
            ends += [(name, float(bounds[1])), (name, float(bounds[2]))]
    return ends


@pytest.mark.parametrize(("name", "limit"), limits())
def test_the_parts_accept_what_the_schema_accepts(name: str, limit: float) -> None:
    """At either end of every range: what `config check` calls good must not fail at start."""
    value = int(limit) if limit == int(limit) else limit
    overrides: dict[str, object] = {name: value}
    if name == "detection.hold_s":
        overrides["detection.forget_after_s"] = value
    if name == "detection.forget_after_s":
        overrides["detection.hold_s"] = 0
    config = load_config(None, {}, overrides)
    source_settings(config)
    schedule_settings(config)
    smoothing_settings(config, 0.0)
    output_settings(config, LABELS, finite=False)
