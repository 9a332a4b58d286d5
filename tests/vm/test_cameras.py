"""The service and its cameras in a virtual machine: V4L2, USB with its plug pulled, libcamera through picamera2.

    FER_EDGE_VM=1 python -m pytest tests/vm -v -s

as root; README.md beside this file says what is needed and what it shows. The tests run in their order: one machine,
one installation.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.service.wheelhouse import REPOSITORY, build_wheel, gather
from tests.vm import machine as machines
from tests.vm.image import RELEASE, install
from tests.vm.machine import VirtualMachine
from tests.vm.service import FerEdge

_OBSTACLE = machines.obstacle()

pytestmark = [
    pytest.mark.skipif(bool(_OBSTACLE), reason=_OBSTACLE or "runs"),
    # Emulated, and the first use builds the image.
    pytest.mark.timeout(3600),
]

HERE = Path(__file__).parent
ASTRONAUT = REPOSITORY / "edge/fer_edge/data/astronaut.jpg"
SOON_S = 120.0
"""For what takes seconds."""
WATCHDOG_S = 20
VIVID = "modprobe vivid n_devs=1 node_types=0x1"
BY_ID = "/dev/v4l/by-id/usb-fer-edge_test_camera_0001-video-index0"
BY_RULE = "/dev/fer-edge/usb-camera"
PLUG = "systemd-run --quiet --collect --unit=usb-camera python3 /share/usb_camera.py /share/face.yuyv --fps 5"
UNPLUG = "systemctl stop usb-camera"


class Report:
    """What was shown, and how long it took."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, float]] = []

    def add(self, what: str, shown: str, seconds: float) -> None:
        """Add a row; the seconds are those of the machine's clock."""
        self._rows.append((what, shown, seconds))

    def __str__(self) -> str:
        rows = [f"| {what} | {shown} | {seconds:.0f} |" for what, shown, seconds in self._rows]
        return "\n".join(["| what | shown | s |", "| --- | --- | --- |", *rows])


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    table = Report()
    yield table
    print(f"\n{table}")


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the machine sees of this one: wheelhouse, installer, cameras, and a face that moves a little."""
    folder = tmp_path_factory.mktemp("share")
    folder.chmod(0o755)  # pytest's folders are their owner's alone, and the service in the machine is another user
    gather(RELEASE, build_wheel(tmp_path_factory.mktemp("wheel")), folder / "wheelhouse", "x86_64")
    shutil.copytree(REPOSITORY / "systemd", folder / "systemd")
    for name in ("usb_camera.py", "virtual_camera.py"):
        shutil.copy(HERE / name, folder)
    (folder / "face").mkdir()
    pictures = [moved(step) for step in range(4)]
    for step, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"face/{step}.jpg"), picture)
    (folder / "face.yuyv").write_bytes(b"".join(yuyv(cv2.resize(one, (320, 240))) for one in pictures))
    return folder


@pytest.fixture(scope="module")
def machine(share: Path, tmp_path_factory: pytest.TempPathFactory, report: Report) -> Iterator[VirtualMachine]:
    """Debian with a kernel of its own, in which fer-edge was installed from the wheelhouse."""
    folder = tmp_path_factory.mktemp("vm")
    system = VirtualMachine(install(share, folder), folder, share)
    try:
        system.boot()
        report.add("boot", "systemd is done", system.clock())
        yield system
    finally:
        system.shut_down()


@pytest.fixture
def service(machine: VirtualMachine) -> Iterator[FerEdge]:
    """The service; its journal is shown when a test fails."""
    installed = FerEdge(machine)
    yield installed
    print(installed.journal()[-4000:])


@pytest.fixture
def vivid(machine: VirtualMachine) -> Iterator[Path]:
    """The kernel's test camera, as the only one."""
    machine.shell(VIVID)
    yield Path("/dev/video0")
    machine.shell("systemctl stop fer-edge; rmmod vivid")


@pytest.fixture
def usb_camera(machine: VirtualMachine) -> Iterator[str]:
    """A USB camera that is plugged in."""
    machine.shell("modprobe vhci_hcd")
    machine.shell(PLUG)
    assert machine.wait_until(lambda: machine.run("test", "-e", BY_ID, check=False).returncode == 0, SOON_S)
    yield BY_ID
    machine.shell(f"systemctl stop fer-edge; {UNPLUG}; rmmod vivid", check=False)


@pytest.fixture(scope="module")
def libcamera(machine: VirtualMachine) -> None:
    """A camera of libcamera's, for picamera2."""
    machine.run("python3", "/share/virtual_camera.py", "/share/face")


def moved(step: int) -> Any:
    """The astronaut's face, 640x480, at one of a few places: a picture that stands still counts as frozen."""
    face = cv2.resize(np.asarray(cv2.imread(str(ASTRONAUT)))[:300, 60:460], (640, 480))
    return cv2.warpAffine(face, np.array([[1, 0, 4.0 * step], [0, 1, 2.0 * step]]), (640, 480), borderMode=1)


def yuyv(picture: Any) -> bytes:
    """BGR as a camera sends it: Y of each pixel, U and V of every second one."""
    planes = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV)
    packed = planes[..., :2].copy()
    packed[:, 1::2, 1] = planes[:, ::2, 2]
    return bytes(packed)


def test_without_a_camera_it_waits_for_one(service: FerEdge, report: Report) -> None:
    assert service.comes_to("retrying", "auto", SOON_S)
    assert service.active()
    assert "no /dev/video" in service.state()["detail"]
    report.add("no camera", f"active; {service.status_text()}", service.machine.clock())


def test_doctor_takes_a_picture_with_a_v4l2_camera(service: FerEdge, vivid: Path, report: Report) -> None:
    service.machine.run("systemctl", "stop", "fer-edge")
    begin = service.machine.clock()
    found = service.doctor()[f"camera v4l2:{vivid}"]
    assert found["status"] == "ok", found
    assert ", first picture after " in found["found"], found
    report.add("vivid: `fer-edge doctor`", f"{found['status']}: {found['found']}", service.machine.clock() - begin)


@pytest.mark.parametrize("spec", ["v4l2:/dev/video0", "auto"])
def test_the_service_runs_on_a_v4l2_camera(service: FerEdge, vivid: Path, spec: str, report: Report) -> None:
    begin = service.configure(spec)
    assert service.comes_to("running", f"v4l2:{vivid}", SOON_S)
    assert service.healthy()
    report.add(f"vivid: service on `{spec}`", service.status_text(), service.machine.clock() - begin)


@pytest.mark.parametrize("name", [BY_ID, BY_RULE])
def test_a_usb_camera_by_its_stable_names(service: FerEdge, usb_camera: str, name: str, report: Report) -> None:
    begin = service.configure(f"v4l2:{name}", exposure_us=20_000)
    assert service.comes_to("running", f"v4l2:{name}", SOON_S)
    assert service.sees_a_face(SOON_S), service.state()
    assert service.state()["observation"]["size"] == [320, 240]
    # What arrived in the camera itself: exposure mode 1 is manual, times count 100 microseconds.
    said = service.machine.shell("journalctl --sync; journalctl --output cat --unit usb-camera").stdout
    assert "control 2 = 1" in said
    assert "control 4 = 200" in said
    shown = f"{service.status_text()}; a face, exposure set"
    report.add(f"USB camera: service on `v4l2:{name}`", shown, service.machine.clock() - begin)
    assert usb_camera == BY_ID


@pytest.mark.parametrize("spec", [f"v4l2:{BY_ID}", "auto"])
def test_a_usb_camera_that_was_unplugged_comes_back(
    service: FerEdge, usb_camera: str, spec: str, report: Report
) -> None:
    machine = service.machine
    service.configure(spec)
    assert service.comes_to("running", f"v4l2:{usb_camera}", SOON_S)
    process, node = service.pid(), machine.run("readlink", "-f", usb_camera).stdout.strip()
    machine.shell(UNPLUG)
    begin = machine.clock()
    assert service.comes_to("retrying", "auto" if spec == "auto" else spec, SOON_S)
    report.add(f"USB camera: unplugged, `{spec}`", service.status_text(), machine.clock() - begin)
    if spec != "auto":
        machine.shell(VIVID)  # so that the number is another one afterwards
    machine.run("sleep", str(WATCHDOG_S + 10))
    assert service.state()["state"] == "retrying"
    assert (service.pid(), service.healthy()) == (process, True), "the watchdog struck"
    machine.shell(PLUG)
    begin = machine.clock()
    assert service.comes_to("running", f"v4l2:{usb_camera}", SOON_S)
    seconds = machine.clock() - begin
    now = machine.run("readlink", "-f", usb_camera).stdout.strip()
    assert service.pid() == process
    assert spec == "auto" or now != node
    report.add(f"USB camera: plugged in again, `{spec}`", f"running, same process; {node} is now {now}", seconds)


@pytest.mark.usefixtures("libcamera")
def test_picamera2_is_examined_by_doctor(service: FerEdge, report: Report) -> None:
    service.machine.run("systemctl", "stop", "fer-edge")
    begin = service.machine.clock()
    found = service.doctor()["camera picamera2:0"]
    assert found["status"] == "ok", found
    report.add("libcamera: `fer-edge doctor`", f"{found['status']}: {found['found']}", service.machine.clock() - begin)


@pytest.mark.usefixtures("libcamera")
@pytest.mark.parametrize("spec", ["picamera2", "auto"])
def test_the_service_runs_on_picamera2(service: FerEdge, spec: str, report: Report) -> None:
    begin = service.configure(spec)
    assert service.comes_to("running", "picamera2:0", SOON_S)
    assert service.sees_a_face(SOON_S), service.state()
    report.add(f"libcamera: service on `{spec}`", f"{service.status_text()}; a face", service.machine.clock() - begin)


@pytest.mark.usefixtures("libcamera")
def test_picamera2_turns_a_picture(service: FerEdge, report: Report) -> None:
    begin = service.configure("picamera2:0", rotation=90, exposure_us=10_000, gain=2.0, flip='"horizontal"')
    assert service.comes_to("running", "picamera2:0", SOON_S)
    assert service.state()["observation"]["size"] == [240, 320]
    report.add("libcamera: `rotation = 90`", "pictures are 240x320", service.machine.clock() - begin)
