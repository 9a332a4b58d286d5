"""The listening end of sd_notify(3): a real socket, as systemd has it."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from pathlib import Path

from tests.edge.sample_observations import eventually
from tests.edge.scripted_camera import MemoryOutput


class ServiceManager:
    """A context in which messages to ``NOTIFY_SOCKET`` are collected."""

    def __init__(self) -> None:
        # Not below pytest's tmp_path: the address of a Unix socket has 107 bytes at most.
        self._folder = Path(tempfile.mkdtemp(prefix="fer-edge-"))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._listen)
        self.messages: list[str] = []
        """One for each datagram."""

    @property
    def environment(self) -> dict[str, str]:
        """What systemd would set."""
        return {"NOTIFY_SOCKET": str(self._folder / "notify")}

    def __enter__(self) -> ServiceManager:
        self._socket.bind(str(self._folder / "notify"))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self._folder / "notify"))
        self._thread.join()
        self._socket.close()
        shutil.rmtree(self._folder)

    def beats_between_states(self, output: MemoryOutput) -> bool:
        """Whether there is a heartbeat between two states that an output hears of."""
        states, beats = len(output.states), self.messages.count("WATCHDOG=1")
        eventually(lambda: len(output.states) > states + 1, "two more states")
        return self.messages.count("WATCHDOG=1") > beats

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            self.messages.append(message.decode())
