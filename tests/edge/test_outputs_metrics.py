"""The metrics page, fetched over HTTP and read by Prometheus's own parser."""

from __future__ import annotations

import logging
import math
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fer_edge.errors import OutputError
from fer_edge.outputs.metrics import MetricsOutput
from fer_edge.outputs.settings import MetricsSettings
from tests.edge.sample_observations import face, observation, run_status

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def metrics() -> Iterator[MetricsOutput]:
    output = MetricsOutput(MetricsSettings(port=0))
    output.open()
    yield output
    output.close()


def scrape(output: MetricsOutput) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{output.port}/metrics") as page:
        text = page.read().decode()
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_frames_faces_and_latencies_are_counted(metrics: MetricsOutput) -> None:
    metrics.write(observation(0, face(1, "happy"), face(2, "sad")), None)
    metrics.write(observation(1, face(1, "happy")), None)
    metrics.write(observation(2), None)
    metrics.status(run_status(frames=90, dropped=4))
    metrics.status(run_status(frames=120, dropped=5))
    samples = scrape(metrics)
    assert value(samples, "fer_edge_frames_total") == 120
    assert value(samples, "fer_edge_frames_dropped_total") == 5
    assert value(samples, "fer_edge_faces_total", expression="happy") == 2
    assert value(samples, "fer_edge_faces_total", expression="sad") == 1
    assert value(samples, "fer_edge_faces_in_view") == 0
    assert value(samples, "fer_edge_latency_seconds_count", stage="detect") == 3
    assert value(samples, "fer_edge_latency_seconds_sum", stage="total") == pytest.approx(3 * 0.0051)
    assert value(samples, "fer_edge_latency_seconds_bucket", stage="classify", le="0.0005") == 3
    assert value(samples, "fer_edge_latency_seconds_bucket", stage="detect", le="0.002") == 0
    assert value(samples, "fer_edge_latency_seconds_bucket", stage="detect", le="0.005") == 3
    assert value(samples, "fer_edge_age_seconds_sum") == pytest.approx(3 * 0.012345678)
    assert value(samples, "fer_edge_frames_per_second") == 29.97
    assert value(samples, "fer_edge_uptime_seconds") == 12.5


def test_the_state_is_one_of_all_states(metrics: MetricsOutput) -> None:
    metrics.write(observation(0, face()), None)
    metrics.status(run_status("retrying"))
    samples = scrape(metrics)
    states = {
        dict(labels)["fer_edge_source_state"]: v for (name, labels), v in samples.items() if "source_state" in name
    }
    assert states == {"starting": 0, "running": 0, "retrying": 1, "paused": 0, "stopped": 0}
    assert value(samples, "fer_edge_faces_in_view") == 0
    info = next(dict(labels) for (name, labels) in samples if name == "fer_edge_run_info")
    assert info["source"] == "v4l2:/dev/video0"
    assert info["model"] == "default"
    assert info["sha256"] == "ab" * 32


def test_temperature_and_throttling(metrics: MetricsOutput) -> None:
    metrics.status(run_status(temperature_c=71.5, throttled="throttled, under-voltage has occurred"))
    samples = scrape(metrics)
    assert value(samples, "fer_edge_temperature_celsius") == 71.5
    assert value(samples, "fer_edge_throttled", flag="throttled") == 1
    assert value(samples, "fer_edge_throttled", flag="under-voltage has occurred") == 1
    assert value(samples, "fer_edge_throttled", flag="under-voltage") == 0
    metrics.status(run_status(temperature_c=None, throttled=None))
    samples = scrape(metrics)
    assert math.isnan(value(samples, "fer_edge_temperature_celsius"))
    assert math.isnan(value(samples, "fer_edge_throttled", flag="throttled"))
    metrics.status(run_status(throttled=""))
    assert value(scrape(metrics), "fer_edge_throttled", flag="throttled") == 0


def test_a_port_in_use_fails_at_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            OutputError, match=rf"metrics:127.0.0.1:{port}: cannot listen there \(Address already in use\)"
        ):
            MetricsOutput(MetricsSettings(port=port)).open()


def test_an_address_that_this_machine_has_not_fails_at_the_start() -> None:
    for host in ("192.0.2.1", "no such host"):
        with pytest.raises(OutputError, match="cannot listen there"):
            MetricsOutput(MetricsSettings(host=host, port=0)).open()


def test_counters_outlive_a_reopening_and_two_runs_do_not_share_them() -> None:
    first, second = MetricsOutput(MetricsSettings(port=0)), MetricsOutput(MetricsSettings(port=0))
    first.open()
    port = first.port
    first.write(observation(0, face()), None)
    first.close()
    first.close()
    first.open()
    assert first.port == port
    second.open()
    assert value(scrape(first), "fer_edge_faces_total", expression="happy") == 1
    assert ("fer_edge_faces_total", frozenset({("expression", "happy")})) not in scrape(second)
    first.close()
    second.close()


def test_it_says_when_the_page_is_open_to_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for host, messages in (("127.0.0.1", 0), ("localhost", 0), ("0.0.0.0", 1)):
        caplog.clear()
        output = MetricsOutput(MetricsSettings(host=host, port=0))
        output.open()
        output.close()
        assert len(caplog.records) == messages
