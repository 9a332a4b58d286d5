"""How long a run needs to notice that its camera has failed, and to go on once the camera works again.

    python -m benchmarks.source_faults [--quick]

A scripted camera at 30 frames/s stalls, vanishes, freezes, sends garbage, hangs in its driver and changes its size in
the middle of a run with the default settings (``--quick``: read_timeout_s 0.5, freeze_after_s 1). The camera is a real
source (tests/edge/scripted_camera.py), everything behind it is what `fer-edge run` runs. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from typing import Final

from fer_edge.model_store import find_model
from fer_edge.runtime import Runtime
from tests.edge.scripted_camera import Background, Device, MemoryOutput, Mood, parts_for

FAULTS: Final[dict[Mood, str]] = {
    "stall": "no picture, the driver reports a timeout",
    "vanish": "unplugged: reads and openings fail",
    "freeze": "the same picture again and again",
    "garbage": "arrays that are no pictures",
    "hang": "the driver never comes back",
    "resize": "pictures of another size",
}
FAULT_LASTS_S: Final = 2.0
"""How long the camera stays at fault after the run has noticed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short time limits")
    logging.disable(logging.CRITICAL)
    keys = {"source.read_timeout_s": 0.5, "source.freeze_after_s": 1.0} if parser.parse_args().quick else {}
    print("| fault | what happens | noticed after (s) | state shown | works again after (s) | reason shown |")
    print("| --- | --- | --- | --- | --- | --- |")
    for mood, what in FAULTS.items():
        print(f"| {mood} | {what} | {' | '.join(inject(mood, keys))} |", flush=True)


def inject(mood: Mood, keys: dict[str, float]) -> tuple[str, str, str, str]:
    """Return the last four columns for one fault."""
    device, output = Device(interval_s=1 / 30), MemoryOutput()
    run = Background(Runtime(parts_for(find_model("default"), [output], device=device, keys=keys)))
    run.until(lambda: len(output.observations) > 30, "results")
    device.mood, began = mood, time.monotonic()
    if mood == "resize":
        wait(lambda: output.observations[-1].size == (200, 256))
        wait(lambda: bool(output.observations[-1].faces))
        recovered = time.monotonic() - began
        shown = run.runtime.status()
        run.stop()
        return "-", shown.state, f"{recovered:.2f}", "none: it goes on"
    wait(lambda: run.runtime.status().state == "retrying")
    noticed, shown = time.monotonic() - began, run.runtime.status()
    time.sleep(FAULT_LASTS_S)
    seen = len(output.observations)
    device.mood, mended = "good", time.monotonic()
    wait(lambda: len(output.observations) > seen)
    recovered = time.monotonic() - mended
    device.let_go.set()
    run.stop()
    return f"{noticed:.2f}", shown.state, f"{recovered:.2f}", shown.detail.replace("|", "/")


def wait(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds, for a minute at most."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("nothing happened within a minute")
        time.sleep(0.005)


if __name__ == "__main__":
    main()
