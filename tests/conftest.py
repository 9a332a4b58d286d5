from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.contract.native_log import silence_opencv
from tests.train.synthetic_fer2013 import SyntheticFer2013

# FFmpeg takes its log level from whoever uses it first in a process, which here may be a test.
silence_opencv()

SHARED_FER2013 = Path(__file__).parents[2] / "shared" / "fer2013"


@pytest.fixture(scope="session")
def synthetic_fer2013() -> SyntheticFer2013:
    """A small FER2013 whose classes a network can learn; write it in the form that a test needs."""
    return SyntheticFer2013.generate()


@pytest.fixture(scope="session")
def fer2013_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real FER2013: what the environment variable FER2013 names, or the pack in ../shared unpacked as npz."""
    if named := os.environ.get("FER2013"):
        return Path(named)
    unpack = SHARED_FER2013 / "fer2013.py"
    if not unpack.exists():
        pytest.skip("FER2013 is not here: set the environment variable FER2013 to its CSV, folder tree or npz")
    folder = tmp_path_factory.mktemp("fer2013")
    subprocess.run([sys.executable, unpack, "npz", folder], check=True)
    return folder / "fer2013.npz"
