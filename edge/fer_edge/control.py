"""What a person may do to a run while it goes on, as the outputs that offer buttons see it."""

from __future__ import annotations

from typing import Protocol

from fer_edge.status import RuntimeStatus


class RuntimeControl(Protocol):
    """The runtime's handle for pausing; safe to use from any thread."""

    @property
    def paused(self) -> bool:
        """Whether a pause is wanted: true from the call of :meth:`pause` to that of :meth:`resume`."""
        ...

    def pause(self) -> None:
        """Stop capture and close the source, so that the camera's own light goes out; idempotent.

        No frame is processed from now on. The state in :meth:`status` becomes ``paused`` when the source is really
        closed, which a driver can delay.

        Raises:
            FerEdgeError: if this run cannot be paused.
        """
        ...

    def resume(self) -> None:
        """Open the source again; idempotent. Returns at once: a camera that is gone meanwhile shows in the status.

        Raises:
            FerEdgeError: if this run cannot be resumed.
        """
        ...

    def status(self) -> RuntimeStatus:
        """Take a snapshot of the run now."""
        ...
