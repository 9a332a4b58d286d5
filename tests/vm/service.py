"""The installed service in the virtual machine, seen as its user sees it: by systemctl, doctor and the dashboard."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.vm.machine import VirtualMachine

UNIT: Final = "fer-edge.service"
ADDRESS: Final = "http://127.0.0.1:8787"

_ADVANCE: Final = 3
"""Frames by which a running source must get on."""

CONFIGURATION: Final = """
[source]
spec = "{spec}"
width = 320
height = 240
fps = 5
{more}
[outputs]
enabled = ["web"]
"""


class FerEdge:
    """The service of one machine."""

    def __init__(self, machine: VirtualMachine) -> None:
        self.machine = machine

    def configure(self, spec: str, **more: object) -> float:
        """Give it a source, with more keys of that section as TOML writes them, and start it anew.

        Returns:
            The machine's clock before the start.
        """
        lines = "\n".join(f"{key} = {value}" for key, value in more.items())
        self.machine.write("/etc/fer-edge/config.toml", CONFIGURATION.format(spec=spec, more=lines))
        begin = self.machine.clock()
        self.machine.run("systemctl", "restart", UNIT)
        return begin

    def comes_to(self, state: str, source: str, limit_s: float) -> bool:
        """Whether it is soon in ``state`` with ``source``; if that is running, then with frames that advance."""
        before = self.state().get("frames", 0) + _ADVANCE if state == "running" else 0

        def condition() -> bool:
            now = self.state()
            return bool(now) and (now["state"], now["source"]) == (state, source) and now["frames"] >= before

        return self.machine.wait_until(condition, limit_s)

    def sees_a_face(self, limit_s: float) -> bool:
        """Whether the newest picture soon shows one face."""

        def condition() -> bool:
            seen = self.state().get("observation")
            return seen is not None and len(seen["faces"]) == 1

        return self.machine.wait_until(condition, limit_s)

    def state(self) -> dict[str, Any]:
        """What the dashboard knows; empty while it does not answer."""
        text = self._get("/api/state")
        state: dict[str, Any] = json.loads(text) if text else {}
        return state

    def healthy(self) -> bool:
        """Whether the dashboard says so."""
        return self._get("/healthz").startswith('{"ok":true')

    def active(self) -> bool:
        """Whether it is up."""
        return self._show("ActiveState") == "active"

    def status_text(self) -> str:
        """What `systemctl status` shows of it."""
        return " ".join(self._show("StatusText").split())

    def pid(self) -> int:
        """Its main process."""
        return int(self._show("MainPID"))

    def journal(self) -> str:
        """What it wrote since the boot."""
        return self.machine.shell(f"journalctl --sync; journalctl --unit {UNIT} --no-pager --output cat").stdout

    def doctor(self) -> dict[str, dict[str, str]]:
        """The doctor's findings by name."""
        done = self.machine.run("fer-edge", "doctor", "--json", check=False)
        return {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    def _get(self, path: str) -> str:
        return self.machine.run("curl", "--silent", "--fail", "--max-time", "20", ADDRESS + path, check=False).stdout

    def _show(self, prop: str) -> str:
        return self.machine.run("systemctl", "show", f"--property={prop}", "--value", UNIT).stdout.strip()
