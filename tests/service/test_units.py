"""What can be said of the units, scripts and rules without booting a system; test_booted.py boots one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fer_edge.configuration import load_config

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNITS = ("fer-edge.service", "fer-edge-kiosk.service")
SCRIPTS = ("install.sh", "restart-pace", "kiosk-session")

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian: systemd)"
)
needs_shellcheck = pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")


@pytest.fixture
def runnable_units(tmp_path: Path) -> list[Path]:
    """The units with programs that exist: /opt/fer-edge is not there before an installation."""
    for name in UNITS:
        text = (SYSTEMD / name).read_text()
        (tmp_path / name).write_text(
            re.sub(r"(=-?)/opt/fer-edge/current/(bin|share)/[\w-]+(?= |$)", r"\1/bin/true", text, flags=re.MULTILINE)
        )
    return [tmp_path / name for name in UNITS]


@needs_analyze
def test_systemd_has_nothing_to_say_about_the_units(runnable_units: list[Path]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *runnable_units], capture_output=True, text=True, check=False
    )
    # It exits with 0 on unknown keys; what it prints is what counts.
    assert (done.stdout, done.stderr) == ("", "")


@needs_analyze
def test_systemd_has_nothing_to_say_about_the_unit_of_the_first_boot(tmp_path: Path) -> None:
    script = (SYSTEMD / "first-boot/first-boot.sh").read_text()
    text = re.search(r"<<END\n(\[Unit\]\n.*?)^END$", script, re.DOTALL | re.MULTILINE)
    assert text is not None
    unit = tmp_path / "fer-edge-first-boot.service"
    unit.write_text(text[1].replace("$here", "/boot/firmware/fer-edge").replace("$boot", "/boot/firmware"))
    assert "$" not in unit.read_text()
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


@needs_analyze
def test_verify_would_notice_a_fault(runnable_units: list[Path]) -> None:
    unit = runnable_units[0]
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert "WatchdogSecs" in done.stderr


@needs_analyze
def test_the_service_is_exposed_to_2_at_most() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", SYSTEMD / UNITS[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    level = re.search(r"Overall exposure level for fer-edge.service: ([\d.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= 2.0
    assert done.returncode == 0
    assert unexplained(done.stdout) == set()
    assert unexplained("✗ KeyringMode= ...") == {"KeyringMode"}


def unexplained(report: str) -> set[str]:
    """Settings that systemd-analyze finds open, and of which README.md does not say what they buy."""
    rows = re.findall(r"^✗ (\S+)", report, re.MULTILINE)
    # "RestrictAddressFamilies=~AF_(INET|INET6)" is about the families, "RootDirectory=/RootImage=" about two settings.
    names = {name for row in rows for name in re.findall(r"AF_\w+|\w+(?==)", row.replace("AF_(INET|INET6)", "AF_INET"))}
    readme = (SYSTEMD / "README.md").read_text()
    return {name for name in names - {"RestrictAddressFamilies"} if f"`{name}" not in readme}


def test_what_person_has_to_mend_is_not_restarted() -> None:
    prevent = re.search(r"^RestartPreventExitStatus=(.*)$", (SYSTEMD / UNITS[0]).read_text(), re.MULTILINE)
    assert prevent is not None
    assert {"2", "78"} <= set(prevent[1].split())


def test_the_kiosk_cannot_stop_recognition() -> None:
    text = (SYSTEMD / "fer-edge-kiosk.service").read_text()
    assert re.search(r"^Wants=.*fer-edge\.service", text, re.MULTILINE)
    for unit in UNITS:
        assert not re.search(
            r"^(BindsTo|PartOf|Requires|Requisite|PropagatesStopTo)=", (SYSTEMD / unit).read_text(), re.MULTILINE
        )


def test_the_service_configuration_can_be_used() -> None:
    config = load_config(SYSTEMD / "config.toml", env={})
    assert list(config.outputs.enabled) == ["web"]
    assert config.outputs.web.host == "127.0.0.1"


@needs_shellcheck
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_clean(script: str) -> None:
    done = subprocess.run(
        ["shellcheck", "-x", SYSTEMD / script], capture_output=True, text=True, check=False, cwd=SYSTEMD
    )
    assert done.stdout == ""
    assert os.access(SYSTEMD / script, os.X_OK)


def test_no_script_outgrows_a_person() -> None:
    scripts = [path for path in SYSTEMD.rglob("*") if path.is_file() and path.read_bytes().startswith(b"#")]
    assert max(len(path.read_text().splitlines()) for path in scripts) <= 400


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_users_are_made_in_an_empty_system(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    configs = [SYSTEMD / "fer-edge.sysusers.conf", SYSTEMD / "fer-edge-kiosk.sysusers.conf"]
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", *configs], check=True, capture_output=True)
    users = {line.split(":")[0]: line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    members = {line.split(":")[0]: line.split(":")[3] for line in (tmp_path / "etc/group").read_text().splitlines()}
    assert users["fer-edge"][-1].endswith("nologin")
    assert members["video"] == members["render"] == "fer-edge"


class Pace:
    """restart-pace, with a ``sleep`` that only writes down how long it was to be."""

    def __init__(self, folder: Path) -> None:
        self.runtime = folder / "runtime"
        self.runtime.mkdir()
        (folder / "bin").mkdir()
        sleep = folder / "bin" / "sleep"
        sleep.write_text(f'#!/bin/sh\necho "$1" >>{folder}/slept\n')
        sleep.chmod(0o755)
        self._slept = folder / "slept"
        self._env = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "RUNTIME_DIRECTORY": str(self.runtime)}

    def start(self) -> int:
        """Return for how many seconds a start waits."""
        self._slept.write_text("")
        subprocess.run([SYSTEMD / "restart-pace", "wait"], env=self._env, check=True, capture_output=True)
        return int(self._slept.read_text() or 0)

    def end(self, result: str) -> None:
        """Tell how the service ended."""
        env = self._env | {"SERVICE_RESULT": result}
        subprocess.run([SYSTEMD / "restart-pace", "note"], env=env, check=True)


def test_restarts_are_spaced_out_and_never_given_up(tmp_path: Path) -> None:
    pace, waits = Pace(tmp_path), []
    for _ in range(10):
        waits.append(pace.start())
        pace.end("signal")
    assert waits == [0, 0, 0, 2, 4, 8, 16, 32, 60, 60]


def test_a_stop_on_purpose_forgets_the_failures(tmp_path: Path) -> None:
    pace = Pace(tmp_path)
    for _ in range(5):
        pace.start()
        pace.end("exit-code")
    assert pace.start() > 0
    pace.end("success")
    assert pace.start() == 0


def test_a_failure_after_a_long_good_run_is_the_first_one(tmp_path: Path) -> None:
    pace = Pace(tmp_path)
    for _ in range(5):
        pace.start()
        pace.end("watchdog")
    assert pace.start() > 0
    long_ago = (pace.runtime / "failures.started").stat().st_mtime - 1000
    os.utime(pace.runtime / "failures.started", (long_ago, long_ago))
    pace.end("watchdog")
    assert pace.start() == 0


def test_a_damaged_count_is_no_obstacle(tmp_path: Path) -> None:
    pace = Pace(tmp_path)
    (pace.runtime / "failures").write_text("banana\n")
    assert pace.start() == 0
    pace.end("signal")
    assert (pace.runtime / "failures").read_text() == "1\n"


def kiosk_session(tmp_path: Path, status: str) -> str:
    connector = tmp_path / "card1-HDMI-A-1"
    connector.mkdir()
    (connector / "status").write_text(f"{status}\n")
    for name, text in {
        "cage": '#!/bin/sh\nprintf "cage %s\\n" "$*"\n',
        "chromium": "#!/bin/sh\n",
        # The end of the test: nobody plugs a screen in.
        "sleep": "#!/bin/sh\nkill $PPID\n",
    }.items():
        program = tmp_path / name
        program.write_text(text)
        program.chmod(0o755)
    env = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "FER_EDGE_KIOSK_DRM": str(tmp_path),
        "FER_EDGE_KIOSK_URL": "http://127.0.0.1:1/kiosk",  # nobody listens on port 1
        "RUNTIME_DIRECTORY": str(tmp_path),
    }
    done = subprocess.run([SYSTEMD / "kiosk-session"], env=env, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


def test_without_a_screen_the_kiosk_writes_a_status_line(tmp_path: Path) -> None:
    printed = kiosk_session(tmp_path, "disconnected")
    assert "fer-edge" in printed
    assert "no screen is connected" in printed
    assert "cage" not in printed


def test_the_browser_waits_for_the_dashboard(tmp_path: Path) -> None:
    assert "waiting for http://127.0.0.1:1/kiosk" in kiosk_session(tmp_path, "connected")


def install(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [SYSTEMD / "install.sh", *arguments], capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    """Wheels by name only: enough for a dry run."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    for name in ("fer_edge-0.1.0-py3-none-any.whl", "pip-25.0-py3-none-any.whl"):
        (folder / name).touch()
    return folder


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="the installer is for Debian and its derivatives")
def test_a_dry_run_shows_the_steps_and_changes_nothing(tmp_path: Path, wheelhouse: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    done = install("--dry-run", "--prefix", root, "--wheelhouse", wheelhouse)
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if line.startswith("+ ")]
    assert any("venv --system-site-packages" in step for step in steps)
    assert any("--no-index" in step and "--constraint" in step for step in steps)
    assert any(step.startswith("+ mv -T") and "/opt/fer-edge/current" in step for step in steps)
    assert list(root.iterdir()) == []


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="the installer is for Debian and its derivatives")
@pytest.mark.parametrize(
    "name", ["Debian GNU/Linux 12 (bookworm)", "Debian GNU/Linux 13 (trixie)", "Ubuntu 24.04.3 LTS"]
)
def test_the_system_is_recognised_whatever_its_name(tmp_path: Path, wheelhouse: Path, name: str) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/os-release").write_text(f'PRETTY_NAME="{name}"\n')
    done = install("--dry-run", "--prefix", tmp_path / "root", "--wheelhouse", wheelhouse)
    assert done.returncode == 0, done.stderr
    python = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    constraints = "bookworm" if python.startswith("Python 3.11.") else "trixie"
    assert done.stdout.splitlines()[0] == f"fer-edge: {name}, {python}, constraints-{constraints}.txt"


def test_a_32_bit_system_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "dpkg").write_text("#!/bin/sh\necho armhf\n")
    (tmp_path / "dpkg").chmod(0o755)
    done = install("--dry-run", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "flash Raspberry Pi OS (64-bit)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--bogus",), "--bogus is no option"),
        (("--purge",), "--purge goes with --uninstall"),
        (("--wheelhouse",), "--wheelhouse needs a value"),
        (("--wheelhouse", "/nowhere"), "/nowhere: there is no such folder"),
        (("--config", "/nowhere.toml"), "/nowhere.toml: there is no such file"),
    ],
)
def test_installer_refuses_what_makes_no_sense(arguments: tuple[str, ...], complaint: str) -> None:
    done = install("--dry-run", *arguments)
    assert done.returncode in (1, 2)
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_uninstalling_below_a_prefix_leaves_the_configuration(tmp_path: Path) -> None:
    for name in ("etc/fer-edge/config.toml", "opt/fer-edge/versions/1/bin/fer-edge", "var/lib/fer-edge/model.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/fer-edge.service").symlink_to("/opt/fer-edge/current/share/fer-edge.service")
    assert install("--prefix", tmp_path, "--uninstall").returncode == 0
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}
    assert left == {"etc/fer-edge/config.toml"}
    assert install("--prefix", tmp_path, "--uninstall", "--purge").returncode == 0
    assert not (tmp_path / "etc/fer-edge").exists()
