"""A linear readout fitted to some shots and judged by others."""

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-6
"""Ridge parameter in units of the variance of a response value."""
TRAINING_SHARE = 0.6


def predict(
    responses: NDArray[np.float64], targets: NDArray[np.float64], washout: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit targets (shots, symbols, k) by an affine map of each symbol's responses (shots, symbols, nodes).

    The first six tenths of the shots train it. Returns targets and predictions for the others, both
    (test shots, symbols - washout, k). Each response value is scaled to mean 0 and variance 1 over the training part,
    then the ridge parameter is 1e-6.
    """
    shots = len(responses)
    trained = min(max(1, round(TRAINING_SHARE * shots)), shots - 1)
    x, y = responses[:, washout:], targets[:, washout:]
    mean, deviation = x[:trained].mean(axis=(0, 1)), x[:trained].std(axis=(0, 1))
    # A value that never changes tells nothing; divided by its deviation it would be rounding noise blown up.
    moving = deviation > 1e-9 * np.abs(mean).max(initial=1e-300)
    x = (x[..., moving] - mean[moving]) / deviation[moving]
    offset = y[:trained].mean(axis=(0, 1))
    a = x[:trained].reshape(-1, x.shape[-1])
    b = (y[:trained] - offset).reshape(len(a), -1)
    weights = np.linalg.solve(a.T @ a / len(a) + RIDGE * np.eye(a.shape[1]), a.T @ b / len(a))
    return y[trained:], x[trained:] @ weights + offset


def squared_correlation(targets: NDArray[np.float64], predictions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return r² of each of k series, (shots, symbols, k) to (k,); 0 for a series that never changes."""
    a = targets - targets.mean(axis=(0, 1))
    b = predictions - predictions.mean(axis=(0, 1))
    product = np.sum(a * a, axis=(0, 1)) * np.sum(b * b, axis=(0, 1))
    cross = np.sum(a * b, axis=(0, 1))
    return np.asarray(np.divide(cross**2, product, out=np.zeros_like(product), where=product > 0))


def without_chance(r2: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """Return r² corrected so that its mean is 0 where there is nothing to find, and 1 stays 1.

    r² of `samples` pairs that are independent has the mean 1 / (samples - 1). The correction is that of the adjusted
    coefficient of determination with one regressor: 1 - (1 - r²) (samples - 1) / (samples - 2); it may be negative.
    """
    return 1 - (1 - r2) * (samples - 1) / (samples - 2)


def normalised_error(targets: NDArray[np.float64], predictions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean square error over the variance of the target, of each of k series: NMSE (k,)."""
    error = np.mean((targets - predictions) ** 2, axis=(0, 1))
    return np.asarray(error / np.var(targets, axis=(0, 1)))
