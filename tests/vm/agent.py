"""Running programs in the virtual machine through QEMU's guest agent, which needs no network and no login."""

from __future__ import annotations

import base64
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_POLL_S: Final = 0.1
_ANSWER_LIMIT_S: Final = 600.0
"""In real time, of which a machine that is busy itself may get little."""
_ENVIRONMENT: Final = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "HOME=/root",
)


class AgentError(AssertionError):
    """The agent, or what it was to do, took too long or was refused."""


@dataclass(frozen=True, slots=True)
class Done:
    """A program that ended."""

    returncode: int
    stdout: str
    stderr: str


class GuestAgent:
    """The host's end of the agent's line: one JSON object a line in each direction.

    The protocol is that of QEMU's ``docs/interop/qemu-ga-ref``.
    """

    def __init__(self, path: Path) -> None:
        """Connect to the socket at ``path``; the agent itself may not be there yet."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._received = b""

    def close(self) -> None:
        """Let go of the line."""
        self._socket.close()

    def wait(self, limit_s: float) -> None:
        """Wait until the agent answers.

        Raises:
            AgentError: if it does not within ``limit_s`` seconds.
        """
        until = time.monotonic() + limit_s
        number = 0
        while time.monotonic() < until:
            number += 1
            # Answers to earlier calls may still come; the number tells ours. 0xFF makes the agent drop half a line.
            try:
                self._send(b"\xff" + _line("guest-sync", {"id": number}))
                while self._receive(2.0).get("return") != number:
                    pass
            except (TimeoutError, ValueError):
                continue
            return
        raise AgentError(f"no answer within {limit_s:g} s")

    def run(self, *command: str, limit_s: float) -> Done:
        """Run a program, without a shell, as root.

        Raises:
            AgentError: if it does not end within ``limit_s`` seconds; it is left running.
        """
        arguments = {"path": command[0], "arg": command[1:], "env": _ENVIRONMENT, "capture-output": True}
        until = time.monotonic() + limit_s
        pid = self._call("guest-exec", arguments)["pid"]
        while True:
            status = self._call("guest-exec-status", {"pid": pid})
            if status["exited"]:
                return Done(status.get("exitcode", -1), _text(status, "out-data"), _text(status, "err-data"))
            if time.monotonic() > until:
                raise AgentError(f"{' '.join(command)}: not done after {limit_s:g} s")
            time.sleep(_POLL_S)

    def write(self, path: str, data: bytes) -> None:
        """Write a file of the machine; its folder must be there."""
        handle = self._call("guest-file-open", {"path": path, "mode": "wb"})
        for at in range(0, len(data), 1 << 20):
            chunk = base64.b64encode(data[at : at + (1 << 20)]).decode()
            self._call("guest-file-write", {"handle": handle, "buf-b64": chunk})
        self._call("guest-file-close", {"handle": handle})

    def tell(self, command: str) -> None:
        """Give a command that has no answer, such as ``guest-shutdown``."""
        self._send(_line(command, {}))

    def _call(self, command: str, arguments: dict[str, Any]) -> Any:
        self._send(_line(command, arguments))
        try:
            answer = self._receive(_ANSWER_LIMIT_S)
        except TimeoutError as error:
            raise AgentError(f"{command}: no answer within {_ANSWER_LIMIT_S:g} s") from error
        if "error" in answer:
            raise AgentError(f"{command} {arguments}: {answer['error']['desc']}")
        return answer["return"]

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _receive(self, limit_s: float) -> dict[str, Any]:
        self._socket.settimeout(limit_s)
        while b"\n" not in self._received:
            data = self._socket.recv(1 << 16)
            if not data:
                raise AgentError("the virtual machine is gone")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line.lstrip(b"\xff"))
        return answer


def _line(command: str, arguments: dict[str, Any]) -> bytes:
    return json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"


def _text(status: dict[str, Any], field: str) -> str:
    return base64.b64decode(status.get(field, "")).decode(errors="replace")
