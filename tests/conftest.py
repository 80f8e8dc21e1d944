"""How the suite is shared among processes."""

import os

import pytest


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many processes as cores, four at most; timing tables are printed by this one, with nothing beside it."""
    if config.option.markexpr == "benchmark" or config.option.usepdb:
        return 0
    return min(os.cpu_count() or 1, 4)
