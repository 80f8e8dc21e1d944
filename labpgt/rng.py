"""Random numbers that depend on what they are for, never on what was drawn before.

Philox is counter-based: a generator is a pure function of its key and counter. Keyed by run seed, purpose and a count
(step, shot or sample), it gives the same numbers however a run was batched, interrupted or resumed.
"""

from enum import IntEnum

import numpy as np


class Draw(IntEnum):
    """What a random draw is for. Values are part of the session file's meaning: add, never renumber."""

    SPLIT = 1
    TASK = 2
    WEIGHTS = 3
    ORDER = 4
    PERTURBATION = 5
    CALIBRATION = 6
    DEVICE = 7
    NOISE = 8
    THERMAL = 9
    CHARACTERISATION = 10


def generator(seed: int, count: int, purpose: Draw) -> np.random.Generator:
    """Return the generator for one purpose at one count (of steps, epochs or shots) of the run with this seed."""
    return np.random.Generator(np.random.Philox(key=(int(purpose) << 64) | seed, counter=count << 128))
