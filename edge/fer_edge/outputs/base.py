"""What every output is, and the one JSON-able form of an observation."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError
from fer_edge.frames import Observation
from fer_edge.status import RuntimeStatus

Record: TypeAlias = dict[str, Any]
"""An observation made of dict, list, str, int and float only."""


class OutputClosed(OutputError):  # noqa: N818 - it is not a fault: whoever read the results has had enough
    """Nobody reads the output any more: ``| head`` ended, or the window was closed.

    The run ends as after its last frame, with exit code 0 and without a message.
    """


class Output(Protocol):
    """A sink for results; one file an output.

    All five methods are called from one thread, which is not the pipeline's: see
    :class:`fer_edge.outputs.isolated.IsolatedOutput`.
    """

    @property
    def name(self) -> str:
        """What people see in logs: ``jsonl:/var/log/faces.jsonl``. Holds no secret."""
        ...

    @property
    def wants_image(self) -> bool:
        """True: :meth:`write` gets the frame with the observation."""
        ...

    @property
    def lossless(self) -> bool:
        """True: a log, in which every frame of a finite source must arrive. False: a view, which shows the newest."""
        ...

    def open(self) -> None:
        """Get ready; called again after :meth:`close` when an output that failed is retried.

        Raises:
            OutputError: at once for what a person has to mend: a bad path, a port in use.
        """
        ...

    def write(self, observation: Observation, image: UInt8Array | None) -> None:
        """Take one result.

        Args:
            observation: what was seen.
            image: (H, W, 3) uint8 BGR or (H, W) uint8 grey if :attr:`wants_image`, else None. It is shared with the
                other outputs: draw on a copy.

        Raises:
            OutputError: if the result cannot be written.
            OutputClosed: if nobody reads it any more.
        """
        ...

    def status(self, status: RuntimeStatus) -> None:
        """Take the state of the run, about once a second; an output may ignore it.

        Raises:
            OutputError: as for :meth:`write`.
        """
        ...

    def close(self) -> None:
        """Finish and let go of everything; idempotent.

        Raises:
            OutputError: if what was still held back cannot be written.
        """
        ...


def record(observation: Observation) -> Record:
    """Return the JSON-able form of ``observation``: a line of JSON Lines, and what the other outputs send.

    Numbers are rounded to what they can mean: times to the millisecond, durations to the microsecond, ages to 10 us and
    probabilities to 0.0001, which halves the size of a line.
    """
    return {
        "frame": int(observation.frame),
        "time": round(float(observation.time), 3),
        "age_ms": round(float(observation.age_ms), 2),
        "faces": [
            {
                "id": int(face.id),
                "box": [int(edge) for edge in face.box],
                "expression": face.expression,
                "score": round(float(face.score), 4),
                "probabilities": {label: round(float(p), 4) for label, p in face.probabilities.items()},
            }
            for face in observation.faces
        ],
        "timing_ms": {
            "detect": round(float(observation.timing.detect), 3),
            "classify": round(float(observation.timing.classify), 3),
            "total": round(float(observation.timing.total), 3),
        },
    }
