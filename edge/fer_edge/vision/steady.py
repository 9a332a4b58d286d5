"""A box that neither trembles nor lags: the 1-euro filter, and a guess of where the box goes."""

from __future__ import annotations

import math
from typing import TypeAlias

from fer_edge.contract.preprocess import Box

_REST_CUTOFF_HZ = 1.5
"""Cut-off of a face at rest: Haar boxes tremble by 1 to 2 % of their side from frame to frame."""
_CUTOFF_PER_SPEED = 4.0
"""Hz of cut-off for each face width a second: a face that moves may lag by 1 / (2 pi 4) = 4 % of its side."""
_SPEED_CUTOFF_HZ = 1.5
"""Cut-off of the speed that the filter estimates."""
_REST_SPEED = 0.25
"""Face widths a second that are taken for trembling rather than movement."""
_COAST_S = 0.8
"""An unseen face is expected to slow down with this time constant; nobody walks on in a straight line for ever."""


_State: TypeAlias = tuple[float, float, float]
"""Centre x, centre y and side, in pixels."""


class SteadyBox:
    """The 1-euro filter (Casiez, Roussel and Vogel, CHI 2012) on the centre and the side of a face.

    It is a low-pass filter whose cut-off rises with speed: firm at rest, prompt in motion. Its estimate of the speed
    also predicts where the face will be. Weights are ``1 - exp(-2 pi f dt)``: what comes out depends on the time that
    passed, not on the frame rate.

    Args:
        box: the first measurement.
    """

    def __init__(self, box: Box) -> None:
        self._measured = _state(box)
        self._smooth = self._measured
        self._speed = (0.0, 0.0, 0.0)

    def update(self, box: Box, elapsed_s: float) -> None:
        """Take in what was measured ``elapsed_s`` seconds after the measurement before."""
        measured = _state(box)
        if elapsed_s <= 0.0:  # two measurements of one moment: the later is the better
            self._measured = self._smooth = measured
            return
        x, y, side = self._measured
        speed_now = ((measured[0] - x) / elapsed_s, (measured[1] - y) / elapsed_s, (measured[2] - side) / elapsed_s)
        self._speed = _blend(self._speed, speed_now, _weight(_SPEED_CUTOFF_HZ, elapsed_s))
        speed = math.hypot(self._speed[0], self._speed[1]) + abs(self._speed[2])
        cutoff = _REST_CUTOFF_HZ + _CUTOFF_PER_SPEED * speed / measured[2]
        self._smooth = _blend(self._smooth, measured, _weight(cutoff, elapsed_s))
        self._measured = measured

    def measured(self, ahead_s: float = 0.0) -> Box:
        """Return where a detector should find the face ``ahead_s`` seconds after its last measurement."""
        return self._moved(self._measured, ahead_s)

    def smooth(self, ahead_s: float = 0.0) -> Box:
        """Return the steady box ``ahead_s`` seconds after the last measurement."""
        return self._moved(self._smooth, ahead_s)

    def _moved(self, state: _State, ahead_s: float) -> Box:
        x, y, side = state
        vx, vy, _ = self._speed  # sizes are not predicted: they change slowly and are measured badly
        if ahead_s > 0.0 and math.hypot(vx, vy) > _REST_SPEED * side:
            way = _COAST_S * (1.0 - math.exp(-ahead_s / _COAST_S))
            x, y = x + vx * way, y + vy * way
        return round(x - side / 2), round(y - side / 2), round(side), round(side)


def _state(box: Box) -> _State:
    x, y, w, h = box
    return x + w / 2, y + h / 2, float(max(w, h, 1))


def _weight(cutoff_hz: float, elapsed_s: float) -> float:
    return 1.0 - math.exp(-2.0 * math.pi * cutoff_hz * elapsed_s)


def _blend(old: _State, new: _State, weight: float) -> _State:
    return (
        old[0] + weight * (new[0] - old[0]),
        old[1] + weight * (new[1] - old[1]),
        old[2] + weight * (new[2] - old[2]),
    )
