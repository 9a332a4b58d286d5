"""Loading: layers, origins, and what is said about faults."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fer_edge.configuration import Config, find_config, find_faults, load_config, resolve_config
from fer_edge.configuration.keys import keys
from fer_edge.configuration.redact import redact
from fer_edge.configuration.show import show_document, show_toml
from fer_edge.errors import ConfigError, UsageError

NOWHERE = Path("/nonexistent/config.toml")


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_set_gives_the_defaults() -> None:
    resolved = resolve_config(None, env={}, system_file=NOWHERE)
    assert resolved.config == Config()
    assert resolved.file is None
    assert {origin.kind for origin in resolved.origins.values()} == {"default"}
    assert set(resolved.origins) == set(keys())


def test_the_later_layer_wins_key_by_key(tmp_path: Path) -> None:
    file = write(tmp_path, '[source]\nspec = "0"\nfps = 10\nwidth = 320\n\n[outputs]\nenabled = ["csv:a.csv"]\n')
    env = {"FER_EDGE_SOURCE__FPS": "15", "FER_EDGE_SOURCE__WIDTH": "800", "FER_EDGE_DETECTION__PROFILE": "true"}
    resolved = resolve_config(file, env, {"source.width": 640, "source.height": None})
    source = resolved.config.source
    assert (source.spec, source.fps, source.width, source.height) == ("0", 15.0, 640, None)
    assert resolved.config.detection.profile is True
    assert resolved.config.outputs.enabled == ("csv:a.csv",)
    places = {name: origin.place for name, origin in resolved.origins.items() if origin.kind != "default"}
    assert places == {
        "source.spec": f"{file}:2",
        "source.fps": "FER_EDGE_SOURCE__FPS",
        "source.width": "command line",
        "outputs.enabled": f"{file}:7",
        "detection.profile": "FER_EDGE_DETECTION__PROFILE",
    }


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("FER_EDGE_SOURCE__SPEC", "0", "source.spec", "0"),
        ("FER_EDGE_SOURCE__ROTATION", "90", "source.rotation", 90),
        ("FER_EDGE_SOURCE__WIDTH", "", "source.width", None),
        ("FER_EDGE_OUTPUTS__MQTT__TLS", "1", "outputs.mqtt.tls", True),
        ("FER_EDGE_OUTPUTS__MQTT__PORT", "8883", "outputs.mqtt.port", 8883),
        ("FER_EDGE_OUTPUTS__MQTT__USERNAME", "null", "outputs.mqtt.username", "null"),
        ("FER_EDGE_OUTPUTS__ENABLED", "jsonl, csv:/tmp/a.csv", "outputs.enabled", ["jsonl", "csv:/tmp/a.csv"]),
        ("FER_EDGE_OUTPUTS__ENABLED", '["csv:a,b.csv"]', "outputs.enabled", ["csv:a,b.csv"]),
        ("FER_EDGE_OUTPUTS__ENABLED", "", "outputs.enabled", []),
    ],
)
def test_texts_of_the_environment_take_the_type_of_their_key(
    variable: str, text: str, name: str, value: object
) -> None:
    resolved = resolve_config(None, {variable: text}, system_file=NOWHERE)
    assert show_document(resolved)["values"][name]["value"] == value
    assert resolved.origins[name].place == variable


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[source]\nwidht = 640\n", 2, "source.widht: unknown key; did you mean source.width?"),
        ("[sorce]\nspec = '0'\n", 1, "sorce: unknown key; did you mean source?"),
        ("[source]\nbudget_ms = 4\n", 2, "source.budget_ms: unknown key; did you mean detection.budget_ms?"),
        ("zzz = 1\n", 1, "zzz: unknown key; `fer-edge config default` lists all keys"),
        ("\n[source]\nwidth = 3\n", 3, "source.width: found 3; it must be an integer from 16 to 16384"),
        (
            "[source]\nwidth = '640'\n",
            2,
            'source.width: found "640"; it must be an integer from 16 to 16384, or left out',
        ),
        ("[source]\nwidth = ''\n", 2, "source.width: found"),
        ("[source]\nfps = true\n", 2, "source.fps: found true; it must be a number from 0.1 to 1000"),
        ("[source]\nrotation = 45\n", 2, "source.rotation: found 45; it must be one of 0, 90, 180, 270"),
        ("[smoothing]\nmargin = nan\n", 2, "smoothing.margin: found nan; it must be a number from 0 to 0.99"),
        ("[smoothing]\ntime_constant_s = inf\n", 2, "smoothing.time_constant_s: found inf; it must be a number"),
        ("[log]\nlevel = 1979-05-27\n", 2, "log.level: found a date; it must be one of"),
        ("[model]\nname = ''\n", 2, 'model.name: found ""; it must be a text that is not empty'),
        ("[outputs]\nenabled = 'web'\n", 2, 'outputs.enabled: found "web"; it must be a list'),
        ("[outputs]\nenabled = ['web', 3]\n", 2, 'outputs.enabled: found ["web", 3]; it must be a list'),
        ("outputs = ['web']\n", 1, 'outputs: found ["web"]; it is a table: write [outputs]'),
        ("[[source]]\n", 1, "source: found a list; it is a table: write [source]"),
        ("[outputs]\nenabled = ['jsnl']\n", 2, "outputs.enabled: no output is called 'jsnl'; did you mean jsonl?"),
        ("[model]\nname = 'best'\n", 2, "model.name: there is no model 'best'"),
        ("[outputs]\nenabled = ['csv']\n", 2, "outputs.enabled: the output csv needs a file"),
        ("[source]\nspec = 'ftp://cam/'\n", 2, "source.spec: a source cannot be read by ftp://"),
        ("[privacy]\naggregate_only = true\n[outputs]\nenabled = ['csv:a']\n", 4, "tells of single faces"),
        ("[detection]\nbackend = 'yunet'\n", 2, 'found "yunet" without detection.yunet_model'),
        ("[outputs.mqtt]\npassword = 'a'\npassword_file = 'b'\nusername = 'c'\n", 2, "password_file; drop one"),
        ("[outputs.mqtt]\ntopic_prefix = 'a/#'\n", 2, "it must be an MQTT topic without wildcards"),
        ("[outputs]\nenabled = ['web']\n[outputs.web]\nhost = '0.0.0.0'\n", 4, "without outputs.web.token_file"),
    ],
)
def test_a_fault_names_file_line_key_and_the_way_out(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, env={})
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 78


def test_all_faults_are_listed_and_counted(tmp_path: Path) -> None:
    file = write(tmp_path, "[source]\nwidht = 1\nfps = -1\n")
    env = {"FER_EDGE_LOG__LEVEL": "loud"}
    faults = find_faults(file, env)
    assert len(faults) == 3
    with pytest.raises(ConfigError, match="and 2 more: `fer-edge config check"):
        load_config(file, env)


@pytest.mark.parametrize("name", ["FER_EDGE_SOURCE__WIDHT", "FER_EDGE_SOUCE__WIDTH", "FER_EDGE_SOURCE_WIDTH"])
def test_a_misspelt_variable_is_not_ignored(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: unknown key; did you mean FER_EDGE_SOURCE__WIDTH"):
        load_config(None, {name: "640"})


def test_variables_of_others_are_ignored(tmp_path: Path) -> None:
    env = {"FER_EDGE_CONFIG": "x", "FER_EDGELORD__X": "y", "PATH": "/bin", "XDG_CONFIG_HOME": str(tmp_path)}
    assert load_config(None, env) == Config()


def test_a_fault_of_the_command_line_alone_is_one_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"command line: source\.spec: a source cannot be read by ftp://") as caught:
        load_config(None, {}, {"source.spec": "ftp://cam/"})
    assert caught.value.exit_code == 2
    file = write(tmp_path, "[source]\nfps = 0\n")
    with pytest.raises(ConfigError, match=r"source\.fps"):
        load_config(file, {}, {"source.width": 1})


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(UsageError, match=r"command line: source\.specs: unknown key; did you mean source\.spec\?"):
        load_config(None, {}, {"source.specs": "0"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[source\n", "not valid TOML.*line 1"),
        (b"[source]\nspec = auto\n", "not valid TOML.*line 2.*a text needs quotes"),
        (b'[source]\nspec = "\xff"\n', "not UTF-8 text"),
        (b"[log]\nlevel = 'info'\nlevel = 'debug'\n", "not valid TOML"),
    ],
)
def test_an_unreadable_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(file, env={})
    assert "\n" not in str(caught.value)


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml", env={})
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path, env={})


def test_a_file_saved_by_notepad_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xef\xbb\xbf[source]\r\nwidth = 320\r\n")
    resolved = resolve_config(file, env={})
    assert resolved.config.source.width == 320
    assert resolved.origins["source.width"].place == f"{file}:2"


def test_lines_are_right_beside_long_texts_and_inline_tables(tmp_path: Path) -> None:
    text = 'source.spec = """\nwidth = 1\n"""\nlog = { level = "debug" }\n[ model ] # the network\n  "threads" = 2\n'
    resolved = resolve_config(write(tmp_path, text), env={})
    places = {n: o.place.removeprefix(str(tmp_path)) for n, o in resolved.origins.items() if o.kind == "file"}
    assert places == {
        "source.spec": "/config.toml:1",
        "log.level": "/config.toml",
        "model.threads": "/config.toml:6",
    }


def test_the_users_file_comes_before_the_systems(tmp_path: Path) -> None:
    system = tmp_path / "etc.toml"
    mine = tmp_path / "home" / ".config" / "fer-edge" / "config.toml"
    env = {"HOME": str(tmp_path / "home")}
    assert find_config(env, system) is None
    system.write_text("")
    assert find_config(env, system) == system
    assert find_config({}, system) == system
    mine.parent.mkdir(parents=True)
    mine.write_text("")
    assert find_config(env, system) == mine
    assert find_config({**env, "XDG_CONFIG_HOME": "relative"}, system) == mine
    assert find_config({**env, "XDG_CONFIG_HOME": str(tmp_path)}, system) == system


def test_a_dangling_link_is_an_error_and_not_an_absence(tmp_path: Path) -> None:
    (tmp_path / "fer-edge").mkdir()
    (tmp_path / "fer-edge" / "config.toml").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(None, {"XDG_CONFIG_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:secret@cam/1", "rtsp://***@cam/1"),
        ("rtsp://me:p@ss@cam/1", "rtsp://***@cam/1"),
        ("http://cam/snap?user=me&Password=secret&n=3", "http://cam/snap?user=me&Password=***&n=3"),
        ("v4l2:/dev/v4l/by-id/usb-cam@1", "v4l2:/dev/v4l/by-id/usb-cam@1"),
        ("https://cam/a@b", "https://cam/a@b"),
    ],
)
def test_credentials_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_nothing_secret_is_shown_anywhere(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        '[source]\nspec = "rtsp://me:geheim@cam/"\n[outputs.mqtt]\nusername = "u"\npassword = "geheim"\n',
    )
    resolved = resolve_config(file, env={})
    assert resolved.config.outputs.mqtt.password == "geheim"
    assert "geheim" not in show_toml(resolved)
    assert "geheim" not in str(show_document(resolved))
    file.write_text('[outputs.mqtt]\npassword = ["geheim"]\n[source]\nspec = ["http://a:geheim@b"]\n')
    faults = find_faults(file, env={})
    assert len(faults) == 2
    assert "geheim" not in " ".join(faults)


def test_show_is_toml_that_loads_to_the_same_configuration(tmp_path: Path) -> None:
    env = {"FER_EDGE_SOURCE__SPEC": 'odd "name"\t\\ü\x7f.mp4', "FER_EDGE_OUTPUTS__ENABLED": "metrics,jsonl"}
    first = resolve_config(None, env, system_file=NOWHERE)
    second = resolve_config(write(tmp_path, show_toml(first)), env={})
    assert second.config == first.config
    assert show_toml(first, changed_only=True).count("FER_EDGE_") == 2
    assert "rotation" not in show_toml(first, changed_only=True)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().source.width = 3  # type: ignore[misc]
    assert msgspec.structs.replace(Config().source, width=3).width == 3
