"""How the suite is shared among processes."""

import os
import sys

import pytest

# For this process and those that tests start: without it pyvisa looks for another library each time, 0.1 s of work.
os.environ.setdefault("PYVISA_LIBRARY", "@py")
# Dozens of processes import the same modules: compiled once, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process more than there are cores, four at most, for many tests wait for processes and instruments.

    Timing tables are printed by this one, with nothing beside it.
    """
    if config.option.markexpr == "benchmark" or config.option.usepdb:
        return 0
    return min((os.cpu_count() or 1) + 1, 4)
