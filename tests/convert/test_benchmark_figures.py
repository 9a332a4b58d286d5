from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_convert.latency import sample, summarize, warm_up
from fer_convert.latency_machine import BoardState, board_state, is_emulated, reasons_invalid, this_machine


def state(throttled: int | None) -> BoardState:
    return BoardState(50.0, 1500.0, "ondemand", throttled, None, 0.1)


def test_percentiles_and_interval_of_known_samples() -> None:
    samples = [float(n) for n in range(1, 1001)]
    figures = summarize([samples])
    assert figures.n == 1000
    assert figures.p50 == pytest.approx(500.5)
    assert figures.p99 == pytest.approx(990.01)
    assert figures.max == 1000
    # The median of n uniform samples has a standard error of range / (2 sqrt n): 15.8 here.
    assert figures.p50_low == pytest.approx(500.5 - 1.96 * 15.8, abs=4)
    assert figures.p50_high == pytest.approx(500.5 + 1.96 * 15.8, abs=4)


def test_the_interval_knows_that_rounds_differ() -> None:
    rng = np.random.default_rng(0)
    alike = [list(rng.normal(10.0, 0.1, 100)) for _ in range(5)]
    apart = [list(rng.normal(mean, 0.1, 100)) for mean in (8.0, 9.0, 10.0, 11.0, 12.0)]
    narrow, wide = summarize(alike), summarize(apart)
    assert narrow.p50_high - narrow.p50_low < 0.1
    assert wide.p50_high - wide.p50_low > 1.0
    assert wide.p50_low < wide.p50 < wide.p50_high


def scripted(durations: list[float]) -> tuple[Callable[[], None], Callable[[], float]]:
    """Return a call and its clock: the n-th call takes ``durations[n]``, those after the last as long as that."""
    now = [0.0]
    times = itertools.chain(durations, itertools.repeat(durations[-1]))

    def call() -> None:
        now[0] += next(times)

    return call, lambda: now[0]


def test_the_warm_up_waits_until_calls_are_even() -> None:
    call, clock = scripted([0.1] * 10 + [0.05] * 10 + [0.02] * 10 + [0.01])
    done = warm_up(call, clock)
    assert done.stable
    assert done.calls == 60  # three windows that differ, three that do not
    assert done.seconds == pytest.approx(1.0 + 0.5 + 0.2 + 0.3)


def test_the_warm_up_gives_up_on_calls_that_never_settle() -> None:
    call, clock = scripted([0.01 * (1 + n // 10 % 2) for n in range(2000)])
    done = warm_up(call, clock)
    assert not done.stable
    assert done.seconds > 10.0


def test_short_calls_fill_a_window_of_time() -> None:
    call, clock = scripted([0.001])
    done = warm_up(call, clock)
    assert done.stable
    assert 150 <= done.calls <= 153


def test_samples_are_counted_and_limited() -> None:
    assert len(sample(lambda: None, 25, 60.0)) == 25
    assert len(sample(lambda: None, 25, 0.0)) == 1


@pytest.mark.parametrize(
    ("readings", "valid"),
    [
        ([None, None], True),
        ([0, 0, 0], True),
        ([0, 0x4, 0], False),  # seen throttled in between
        ([0, 0, 0x40000], False),  # throttled between two readings
        ([0x50000, 0x50000], True),  # long ago
        ([0x50000, 0x50005], False),
        ([0x1, 0x0], False),  # too little power at the start
        ([None, 0, 0x80000], False),
    ],
)
def test_a_throttled_run_is_invalid(readings: list[int | None], valid: bool) -> None:
    assert (reasons_invalid([state(flags) for flags in readings]) == []) is valid


def test_the_reason_is_told_in_words() -> None:
    assert reasons_invalid([state(0), state(0x40000)]) == ["the board slowed itself down: throttling has occurred"]


def test_a_pi_is_described(tmp_path: Path) -> None:
    files = {
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nprocessor\t: 1\n",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1800000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "ondemand\n",
        "sys/class/thermal/thermal_zone0/temp": "48200\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machine, now = this_machine(tmp_path), board_state(tmp_path)
    assert machine.board == "Raspberry Pi 4 Model B Rev 1.4"
    assert machine.cpu == "Cortex-A72"
    assert machine.os == "Debian GNU/Linux 12 (bookworm)"
    assert (now.clock_mhz, now.governor, now.temperature_c) == (1800.0, "ondemand", 48.2)
    assert now.throttled == 0x50000
    assert now.throttled_words == "under-voltage has occurred, throttling has occurred"


def test_generations_of_a_processor_are_two_machines(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    found = []
    for family, model in ((25, 17), (26, 2)):
        text = f"processor\t: 0\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
        (tmp_path / "proc/cpuinfo").write_text(text)
        found.append(this_machine(tmp_path).cpu)
    assert found == ["AMD EPYC (family 25, model 17)", "AMD EPYC (family 26, model 2)"]


@pytest.mark.parametrize(
    ("cpu_info", "modalias", "emulated"),
    [
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "cpu:type:aarch64:feature:,0000", False),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "cpu:type:x86,ven0002fam0019:feature:,0000", True),
        ("vendor_id\t: GenuineIntel\n", "", True),
        ("CPU part\t: 0xd08\nModel\t: QEMU user emulation\n", "cpu:type:aarch64:feature:,0000", True),
    ],
)
def test_an_emulated_pi_is_told_from_a_real_one(cpu_info: str, modalias: str, emulated: bool, tmp_path: Path) -> None:
    for name, text in {"proc/cpuinfo": cpu_info, "sys/devices/system/cpu/modalias": modalias}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    assert is_emulated("aarch64", tmp_path) is emulated


def test_this_machine_is_no_pi_by_accident() -> None:
    machine = this_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert " " in machine.runtime
