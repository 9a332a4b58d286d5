"""Telling systemd how the service is: the protocol of sd_notify(3), without libsystemd.

A message is a datagram of ``KEY=value`` lines to the socket that ``NOTIFY_SOCKET`` names. Outside a service the
variable is not set, and nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class ServiceNotifier:
    """Speaks to the service manager that started this process, if one did and wants to hear.

    Args:
        env: the environment; None is this process's own.
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        env = os.environ if env is None else env
        self._address = env.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # Linux's abstract namespace
            self._address = "\0" + self._address[1:]
        self._watchdog_s = _watchdog_s(env)
        self._next_beat = 0.0
        self._status = ""

    @property
    def watchdog_s(self) -> float | None:
        """Seconds without a heartbeat after which the service is killed; None if nobody watches."""
        return self._watchdog_s

    def ready(self) -> None:
        """Say that the start, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read again; :meth:`ready` ends it."""
        # Type=notify-reload wants the moment, on CLOCK_MONOTONIC, to tell this reload from an earlier one.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Show ``text``, one line, in ``systemctl status``; sent only when it changes."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={' '.join(text.split())}")

    def heartbeat(self, now: float) -> None:
        """Say at ``now`` (monotonic seconds) that all goes well; sent as often as the watchdog needs it."""
        if self._watchdog_s is not None and now >= self._next_beat:
            # sd_watchdog_enabled(3) recommends half of the interval; a quarter survives one that is lost.
            self._next_beat = now + min(1.0, self._watchdog_s / 4)
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)  # a service manager that does not listen must not stop the cameras
                channel.sendto(message.encode(), self._address)
        except OSError as error:
            _log.debug("systemd was not told %r: %s", message, error)


def _watchdog_s(env: Mapping[str, str]) -> float | None:
    """The interval in ``WATCHDOG_USEC``, unless ``WATCHDOG_PID`` says that it is meant for another process."""
    microseconds = env.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
