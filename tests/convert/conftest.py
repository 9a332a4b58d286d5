from __future__ import annotations

from pathlib import Path

import pytest

from tests.convert.report_results import Results
from tests.convert.tiny_run import trained
from tests.train.synthetic_fer2013 import SyntheticFer2013


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of small models, measured once for all tests of the report."""
    return Results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set."""
    return SyntheticFer2013.generate(per_class=(40, 30, 10)).write_npz(tmp_path_factory.mktemp("data") / "fer.npz")


@pytest.fixture(scope="session")
def keras_path(data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model.keras`` of a tiny network that was trained on it; needs Keras."""
    return trained(data_path, tmp_path_factory.mktemp("run"))
