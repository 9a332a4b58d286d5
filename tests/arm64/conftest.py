from __future__ import annotations

import pytest

FIGURES = pytest.StashKey[list[str]]()
"""Lines for the end of the run: how far the machines agree is worth reading when all is well, too."""


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[str]:
    return pytestconfig.stash.setdefault(FIGURES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(FIGURES, []):
        terminalreporter.section("arm64, emulated")
        for line in lines:
            terminalreporter.write_line(line)
