"""What pgt moves its parameters by, drawn from the seed that every recorded shot has: anybody can draw it again."""

import numpy as np
from numpy.typing import NDArray


def draw_perturbation(
    size: int, limit: int, dropout: float, draw: np.random.Generator
) -> tuple[slice | NDArray[np.intp], NDArray[np.float32]]:
    """Return PM as (where, values): integers uniform in [-limit, limit] on the parameters that dropout leaves.

    `where` is everything without dropout, else the indices of a Bernoulli(1 - dropout) choice, drawn as geometric gaps
    so that the cost is that of the parameters kept.
    """
    if dropout == 0:
        if limit == 1:
            # One raw byte a value, 85 of 256 for each sign and 86 for zero: the signs stay exactly balanced, and it is
            # several times faster than drawing bounded integers.
            raw = draw.bit_generator.random_raw(-(-size // 8)).view(np.uint8)[:size]
            signs = (raw >= 171).view(np.int8) - (raw < 85).view(np.int8)
            return slice(None), signs.astype(np.float32)
        return slice(None), draw.integers(-limit, limit, size, dtype=np.int8, endpoint=True).astype(np.float32)
    keep = 1.0 - dropout
    expected = size * keep
    gaps = draw.geometric(keep, int(expected + 6 * expected**0.5 + 6))
    where = np.cumsum(gaps) - 1
    where = where[: np.searchsorted(where, size)]
    return where, draw.integers(-limit, limit, len(where), endpoint=True).astype(np.float32)
