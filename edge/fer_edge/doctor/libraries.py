"""Checks of the libraries by using them; run in a child process each, because native code may crash or hang."""

from __future__ import annotations

import importlib.util
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fer_edge import board
from fer_edge.doctor.check import Check
from fer_edge.doctor.system import is_raspberry_pi_os, os_release
from fer_edge.errors import FerEdgeError

if TYPE_CHECKING:
    from fer_edge.contract.preprocess import UInt8Array

PIP: Final = "python -m pip install"
REINSTALL: Final = f"run  {PIP} --force-reinstall fer-edge"

ASTRONAUTS_FACE: Final = (178, 67, 92, 92)
"""The face in the bundled picture: (x, y, width, height) in pixels, as the frontal cascade finds it."""


def numpy_library(root: Path = board.ROOT) -> Check:
    """Whether numpy computes, and gets along with the system's picamera2."""
    import numpy as np

    found = np.__version__
    if int(np.arange(4, dtype=np.int32).sum()) != 6:
        return Check("numpy", "fail", f"{found}, which cannot add", f"run  {PIP} --force-reinstall numpy")
    if np.lib.NumpyVersion(found) >= "2.0.0" and _bookworms_picamera2(root):
        # apt's picamera2 and simplejpeg of Bookworm are built against numpy 1 (picamera2 issues 1088 and 1211).
        return Check(
            "numpy",
            "fail",
            f"{found}, with which Bookworm's picamera2 does not work",
            f"run  {PIP} 'numpy<2' 'opencv-python-headless<4.12'",
        )
    return Check("numpy", "ok", found)


def opencv_library() -> Check:
    """Whether OpenCV is one that has what fer-edge uses."""
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):
        found = f"{cv2.__version__}, which has no cascade classifier"
        return Check("opencv", "fail", found, f"run  {PIP} 'opencv-python-headless>=4.10,<5'")
    return Check("opencv", "ok", cv2.__version__)


def face_detector() -> Check:
    """Whether the cascades load and find the face in the bundled picture."""
    from fer_edge.vision.haar import HaarDetector

    try:
        detector = HaarDetector(profile=True)
    except FerEdgeError as error:
        return Check("face detector", "fail", str(error), REINSTALL)
    found = detector.detect(_astronaut(), min_size=60, max_size=None, scale_factor=1.1)
    sure = sum(score >= 1.0 for _, score in found)
    if sure != 1:
        return Check("face detector", "fail", f"{sure} faces in the bundled picture, which shows one", REINSTALL)
    return Check("face detector", "ok", f"{detector.name}: found the face in the bundled picture")


def model(name: str, threads: int) -> Check:
    """Whether the model loads, agrees with its card and classifies; an import alone proves nothing of the runtime.

    tflite-runtime under numpy 2 imports well and fails when an interpreter is built.

    Args:
        name: of a bundled model, or a path.
        threads: of the interpreter.
    """
    import numpy as np

    from fer_edge.contract.interpreter import load_model
    from fer_edge.contract.preprocess import face_input
    from fer_edge.model_store import find_model

    try:
        loaded = load_model(find_model(name), threads)
    except FerEdgeError as error:
        return Check("model", "fail", str(error), "name another one in the configuration, [model] name")
    except SystemError as error:
        return Check("model", "fail", f"the runtime breaks ({error})", f"run  {PIP} --upgrade ai-edge-litert")
    card, runtime = loaded.card, loaded.runtime
    batch = face_input(_astronaut(), ASTRONAUTS_FACE, card.input)[None]
    probabilities = loaded.invoke(batch)[0]
    start = time.perf_counter()
    loaded.invoke(batch)
    took_ms = (time.perf_counter() - start) * 1e3
    on_threads = "1 thread" if threads == 1 else f"{threads} threads"
    with_what = f"{card.name} {card.version} on {runtime.name} {runtime.version}, {on_threads}"
    if not np.isfinite(probabilities).all() or probabilities.max() <= 0.0:
        return Check("model", "fail", f"{with_what}: it computes no probabilities", "convert or get the model anew")
    return Check("model", "ok", f"{with_what}: {card.labels[int(probabilities.argmax())]} in {took_ms:.1f} ms")


def _astronaut() -> UInt8Array:
    import cv2
    import numpy as np

    with as_file(files("fer_edge") / "data" / "astronaut.jpg") as path:
        return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def _bookworms_picamera2(root: Path) -> bool:
    """Whether this Python sees the picamera2 that apt installs on Raspberry Pi OS Bookworm."""
    if not is_raspberry_pi_os(root) or os_release(root).get("VERSION_CODENAME") != "bookworm":
        return False
    found = importlib.util.find_spec("picamera2")
    return found is not None and "dist-packages" in str(found.origin)
