"""All outputs of a run, as one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.control import RuntimeControl
from fer_edge.errors import FerEdgeError, OutputError
from fer_edge.frames import Observation
from fer_edge.outputs import IsolatedOutput, Output, OutputSettings, OutputStats, parse_output
from fer_edge.status import RuntimeStatus

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """An output that is wanted; equal plans stand for the same output."""

    spec: str
    settings: OutputSettings
    build: Callable[[RuntimeControl | None], Output] = field(compare=False)
    """Makes the output, unopened; given what its buttons control."""
    recording: bool = False
    """Whether another output of the run stores pictures."""


def planned(specs: Iterable[str], settings: OutputSettings) -> tuple[OutputPlan, ...]:
    """Return plans for what ``specs`` name; see :func:`fer_edge.outputs.parse_output`.

    Raises:
        UsageError: if one is not in the grammar.
        OutputError: if one cannot be built here.
    """
    wanted = list(dict.fromkeys(specs))
    plans = []
    for spec in wanted:
        recording = any(_stores_pictures(other) for other in wanted if other != spec)
        build = partial(_build, spec, settings, recording)
        build(None)  # nothing is opened yet, but what cannot be built is found now
        plans.append(OutputPlan(spec, settings, build, recording))
    return tuple(plans)


def _stores_pictures(spec: str) -> bool:
    return spec.strip().partition(":")[0] == "video"


def _build(spec: str, settings: OutputSettings, recording: bool, control: RuntimeControl | None) -> Output:
    return parse_output(spec, settings, control=control, recording=recording)


class OutputSet:
    """Outputs, each isolated from the others and from the pipeline.

    :meth:`write` is called by the pipeline's thread, everything else by the supervisor or before and after the run.
    """

    def __init__(self, plans: Sequence[OutputPlan], *, finite: bool, control: RuntimeControl | None = None) -> None:
        """Take the plans; nothing is built before :meth:`open`.

        Args:
            plans: what is wanted.
            finite: whether the source is a file that is processed whole.
            control: what the outputs' buttons control.
        """
        self._plans = tuple(plans)
        self._control = control
        self._finite = finite
        # Replaced as a whole, never changed: another thread may be going through it.
        self._running: tuple[tuple[OutputPlan, IsolatedOutput], ...] = ()
        self._ended = False

    def open(self) -> None:
        """Open all.

        Raises:
            OutputError: if one cannot be opened; none is left open.
        """
        try:
            for plan in self._plans:
                self._running = (*self._running, (plan, self._opened(plan)))
        except FerEdgeError:
            with suppress(OutputError):
                self.close()
            raise

    def write(self, observation: Observation, image: UInt8Array) -> None:
        """Hand a result to each.

        Raises:
            OutputClosed: if nobody reads one of them any more.
            OutputError: if one that must not lose anything failed.
        """
        for _, output in self._running:
            output.write(observation, image if output.wants_image else None)

    def status(self, status: RuntimeStatus) -> None:
        """Hand the state of the run to each."""
        for _, output in self._running:
            output.status(status)

    def stats(self) -> tuple[OutputStats, ...]:
        """Return what became of the results."""
        return tuple(output.stats for _, output in self._running)

    def replace(self, plans: Sequence[OutputPlan], step: Callable[[], None] = lambda: None) -> None:
        """Close what is not in ``plans``, open what is new, and leave the rest alone.

        Args:
            plans: what is wanted from now on.
            step: called before each output that is closed or opened; none of them takes for ever.

        Raises:
            OutputError: if a new one cannot be opened; then all is as it was before. An old one that cannot be opened
                again at once is tried until it can.
        """
        before = self._running
        kept = tuple((plan, output) for plan, output in before if plan in plans)
        kept_plans = [plan for plan, _ in kept]
        # A new output may want the port or file of an old one, so the old ones go first.
        self._close_all([pair for pair in before if pair not in kept], step)
        self._running = kept
        try:
            for plan in plans:
                if plan not in kept_plans:
                    step()
                    self._running = (*self._running, (plan, self._opened(plan)))
        except FerEdgeError:
            self._close_all([pair for pair in self._running if pair not in kept], step)
            self._running = kept
            for plan, _ in before:
                if plan not in kept_plans and not self._ended:
                    step()
                    self._running = (*self._running, (plan, self._opened(plan, keep_trying=True)))
            raise

    def close(self) -> None:
        """Let each take what is queued, and close it; what they did remains in :meth:`stats`.

        Raises:
            OutputError: the first failure of one that must not lose anything.
        """
        self._ended = True
        failures: list[OutputError] = []
        for _, output in self._running:
            try:
                output.close()
            except OutputError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _opened(self, plan: OutputPlan, *, keep_trying: bool = False) -> IsolatedOutput:
        output = IsolatedOutput(plan.build(self._control), finite=self._finite)
        output.open(keep_trying=keep_trying)
        if self._ended:  # a reload that was overtaken by the end of the run
            self._close_all([(plan, output)])
            raise OutputError(f"{plan.spec}: not opened, because the run has ended")
        return output

    def _close_all(
        self, pairs: Sequence[tuple[OutputPlan, IsolatedOutput]], step: Callable[[], None] = lambda: None
    ) -> None:
        for _, output in pairs:
            step()
            try:
                output.close()
            except OutputError as error:
                _log.warning("%s", error)
