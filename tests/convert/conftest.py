from __future__ import annotations

import pytest

from tests.convert.report_results import Results


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of small models, measured once for all tests of the report."""
    return Results(tmp_path_factory.mktemp("results"))
