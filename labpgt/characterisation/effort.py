"""How many shots, and how long, a characterisation may take."""

from typing import NamedTuple


class Effort(NamedTuple):
    """Numbers of shots and their lengths in symbols; a device that takes only shorter shots gets those."""

    task_shots: int
    """Shots of each benchmark task; more when the device has many nodes for a readout to be fitted to."""
    task_symbols: int
    washout: int
    """Symbols at the start of a shot that no score counts; the longest delay of the capacities, too."""
    kick_symbols: int
    sections: int
    """Attenuations in one round of the search for the threshold, side by side."""
    rounds: int
    kicks: int
    """Kicks at each attenuation; twice as many at each gain that the memory is measured at."""
    repeats: int
    still_symbols: int
    """Symbols of a shot with a constant drive, and of a repeated one."""
    levels: int
    """Drive levels of the compression curve."""
    frequencies: int
    """Carriers in each of the two passes of the transmission: the whole range, then around the peak."""
    call_shots: int = 32
    """Most shots in one call of the device."""


FULL = Effort(
    task_shots=64,
    task_symbols=300,
    washout=50,
    kick_symbols=240,
    sections=16,
    rounds=3,
    kicks=4,
    repeats=16,
    still_symbols=60,
    levels=32,
    frequencies=96,
)
"""A minute or two on the simulated ring."""

QUICK = FULL._replace(
    task_shots=16,
    task_symbols=200,
    washout=30,
    kick_symbols=120,
    repeats=8,
    still_symbols=40,
    levels=16,
    frequencies=32,
)
"""A quarter of a minute there; every number is less certain."""

FEWEST_SYMBOLS = 24
"""Shots shorter than this leave nothing to measure a memory with."""
SAMPLES_A_NODE = 10
"""Symbols to fit a readout on, for each response value of a symbol."""
