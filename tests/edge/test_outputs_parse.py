"""What people write after --output."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.errors import ConfigError, OutputError, UsageError
from fer_edge.outputs import OUTPUTS, LogSettings, MetricsSettings, MqttSettings, OutputSettings, parse_output
from fer_edge.outputs.jsonl import JsonlOutput
from tests.edge.sample_observations import observation


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("jsonl", "jsonl"),
        ("jsonl:-", "jsonl"),
        ("jsonl:/tmp/a:b.jsonl", "jsonl:/tmp/a:b.jsonl"),
        (" csv:faces.csv ", "csv:faces.csv"),
        ("aggregate", "aggregate"),
        ("aggregate:counts.jsonl", "aggregate:counts.jsonl"),
        ("mqtt", "mqtt:broker.lan:8883"),
        ("mqtt:other.lan", "mqtt:other.lan:8883"),
        ("mqtt:other.lan:1884", "mqtt:other.lan:1884"),
        ("mqtt:[::1]:1884", "mqtt:[::1]:1884"),
        ("metrics", "metrics:127.0.0.1:9464"),
        ("metrics:9100", "metrics:127.0.0.1:9100"),
        ("metrics:0.0.0.0:9100", "metrics:0.0.0.0:9100"),
        ("metrics:[::1]:9100", "metrics:[::1]:9100"),
        ("web", "web:127.0.0.1:8787"),
        ("web:8788", "web:127.0.0.1:8788"),
        ("window", "window"),
        ("video:faces.MP4", "video:faces.MP4"),
    ],
)
def test_the_grammar(spec: str, name: str) -> None:
    settings = OutputSettings(mqtt=MqttSettings(host="broker.lan", tls=True))
    assert parse_output(spec, settings).name == name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jsonll", "no output is called 'jsonll'; did you mean jsonl?"),
        ("JSONL:x", "did you mean jsonl?"),
        ("mqqt:host", "did you mean mqtt?"),
        ("faces.csv", "did you mean csv:faces.csv?"),
        ("", "no output is called ''"),
        ("tape", "no output is called 'tape'; outputs are jsonl[:PATH], csv:PATH,"),
        ("csv", "the output csv needs a file: csv:PATH"),
        ("video:", "the output video needs a file: video:PATH"),
        ("metrics:here", "ends in no port number"),
        ("metrics:localhost:", "ends in no port number"),
        ("metrics:99999", "port is 99999: it must be 0 to 65535"),
        ("window:2", "the output window takes nothing after its name"),
        ("mqtt:host:0", "port is 0: it must be 1 to 65535"),
    ],
)
def test_what_is_not_in_the_grammar(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_output(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["mqtt:user:s3cret@host", "mqtt://user:s3cret@host:1883"])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(spec: str) -> None:
    with pytest.raises(UsageError, match="in the configuration") as caught:
        parse_output(spec)
    assert "s3cret" not in str(caught.value)


def test_a_video_of_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(OutputError, match=r"faces.gif: a video's name must end in .mp4, .mkv, .avi"):
        parse_output("video:faces.gif")


def test_aggregate_only_refuses_whatever_tells_of_single_faces() -> None:
    settings = OutputSettings(aggregate_only=True)
    allowed = {"aggregate": "aggregate", "metrics": "metrics"}
    for kind in OUTPUTS:
        if kind in allowed:
            assert parse_output(kind, settings).name.startswith(kind)
        else:
            with pytest.raises(UsageError, match="only counts are wanted; choose of aggregate, metrics"):
                parse_output(f"{kind}:x.mp4", settings)


def test_the_results_of_a_finite_source_are_not_rotated_away(tmp_path: Path) -> None:
    log = LogSettings(max_bytes=500, keep=1, flush_interval_s=0)
    for finite, files in ((True, 1), (False, 2)):
        folder = tmp_path / str(finite)
        output = parse_output(f"jsonl:{folder}/faces.jsonl", OutputSettings(log=log, finite=finite))
        assert isinstance(output, JsonlOutput)
        output.open()
        for frame in range(50):
            output.write(observation(frame), None)
        output.close()
        assert len(list(folder.iterdir())) == files


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"host": ""}, "host is empty"),
        ({"port": 70000}, "port is 70000"),
        ({"username": "u", "password": "p", "password_file": Path("f")}, "password and password_file are both set"),
        ({"password": "p"}, "a password without a username"),
        ({"key_file": Path("k")}, "key_file is set without certificate_file"),
        ({"device": "my pi"}, "device is 'my pi': use letters, digits"),
        ({"camera": ""}, "camera is ''"),
        ({"topic_prefix": "a/#"}, "topic_prefix is 'a/#'"),
        ({"topic_prefix": "a/"}, "topic_prefix is 'a/'"),
        ({"discovery_prefix": "$SYS"}, "discovery_prefix is '\\$SYS'"),
        ({"publish_interval_s": 0}, "publish_interval_s is 0"),
        ({"keepalive_s": 1}, "keepalive_s is 1"),
    ],
)
def test_settings_that_cannot_work(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MqttSettings(**values)  # type: ignore[arg-type]


def test_settings_do_not_show_the_password() -> None:
    assert "s3cret" not in repr(OutputSettings(mqtt=MqttSettings(username="u", password="s3cret")))
    with pytest.raises(ConfigError):
        MetricsSettings(port=-1)
