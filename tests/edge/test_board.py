"""Readings of the board, from roots that hold what the boards' own files hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge import board


def place(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def vcgencmd(root: Path, answer: str) -> str:
    """A program that answers as vcgencmd does; and the device without which it is not asked."""
    place(root, "dev/vcio", "")
    program = root / "vcgencmd"
    program.write_text(f'#!/bin/sh\n[ "$*" = get_throttled ] || exit 255\n{answer}\n')
    program.chmod(0o755)
    return str(program)


def test_a_machine_without_any_of_it_says_nothing(tmp_path: Path) -> None:
    assert board.model(tmp_path) is None
    assert board.temperature_c(tmp_path) is None
    assert board.throttled(tmp_path) is None


def test_the_name_of_a_pi(tmp_path: Path) -> None:
    place(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    assert board.model(tmp_path) == "Raspberry Pi 4 Model B Rev 1.4"


def test_the_temperature_of_a_pi(tmp_path: Path) -> None:
    place(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    place(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    assert board.temperature_c(tmp_path) == 48.312


def test_the_processors_zone_is_taken_among_many(tmp_path: Path) -> None:
    for number, (kind, reading) in enumerate([("iwlwifi_1", "39000"), ("acpitz", "27800"), ("x86_pkg_temp", "61000")]):
        place(tmp_path, f"sys/class/thermal/thermal_zone{number}/type", f"{kind}\n")
        place(tmp_path, f"sys/class/thermal/thermal_zone{number}/temp", f"{reading}\n")
    assert board.temperature_c(tmp_path) == 61.0


def test_an_unknown_zone_is_better_than_none_and_a_broken_one_is_passed_over(tmp_path: Path) -> None:
    place(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    place(tmp_path, "sys/class/thermal/thermal_zone0/temp", "not a number\n")
    place(tmp_path, "sys/class/thermal/thermal_zone1/type", "mystery\n")
    place(tmp_path, "sys/class/thermal/thermal_zone1/temp", "-4500\n")
    assert board.temperature_c(tmp_path) == -4.5


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("throttled=0x0", ""),
        ("throttled=0x50000", "under-voltage has occurred, throttling has occurred"),
        (
            "throttled=0x50005",
            "under-voltage, throttled, under-voltage has occurred, throttling has occurred",
        ),
        ("throttled=0x80008", "soft temperature limit, soft temperature limit has occurred"),
    ],
)
def test_vcgencmd_is_asked(tmp_path: Path, answer: str, words: str) -> None:
    assert board.throttled(tmp_path, vcgencmd(tmp_path, f"echo {answer}")) == words


@pytest.mark.parametrize("answer", ["echo VCHI initialization failed; exit 255", "echo 'error=1'", "sleep 600"])
def test_where_vcgencmd_fails_the_firmwares_file_is_read(tmp_path: Path, answer: str) -> None:
    program = vcgencmd(tmp_path, answer)
    assert board.throttled(tmp_path, program) is None
    place(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n")
    assert board.throttled_flags(tmp_path, program) == 0x50000


def test_vcgencmd_is_not_started_without_its_device(tmp_path: Path) -> None:
    program = vcgencmd(tmp_path, f"touch {tmp_path}/started; echo throttled=0x0")
    assert board.throttled(tmp_path, program) == ""
    assert (tmp_path / "started").exists()
    (tmp_path / "started").unlink()
    (tmp_path / "dev/vcio").unlink()
    assert board.throttled(tmp_path, program) is None
    assert not (tmp_path / "started").exists()


def test_the_firmwares_file_of_a_pi_5(tmp_path: Path) -> None:
    place(tmp_path, "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "4\n")
    assert board.throttled(tmp_path) == "throttled"


@pytest.mark.parametrize(("alarm", "words"), [("0", ""), ("1", "under-voltage"), ("", None)])
def test_the_voltage_alarm_comes_last(tmp_path: Path, alarm: str, words: str | None) -> None:
    place(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    place(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    place(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", f"{alarm}\n")
    assert board.throttled(tmp_path) == words


def test_this_machine_can_be_read() -> None:
    degrees = board.temperature_c()
    assert degrees is None or -40 < degrees < 150
    words = board.throttled()
    assert words is None or isinstance(words, str)
