"""What is measured before training: the scale of the responses, the noise, how nonlinear the device is, and delta."""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from labpgt.config import Config
from labpgt.estimators import ESTIMATORS
from labpgt.estimators.base import Batch, PairEstimator, differences
from labpgt.events import Event, Purpose, RunWarning, ShotsTaken
from labpgt.network import Network
from labpgt.rng import Draw, generator
from labpgt.shots import ShotTaker

REPEATS = 8
DELTA_SAMPLES = 8
"""Most samples whose pairs choose delta."""
MOSTLY_NOISE = 0.5
"""Share of the responses' deviation between repeats of one shot above which a person should look at the device."""


class ResponseStatistics(NamedTuple):
    """How the device answers."""

    offset: float
    """Mean response to the untrained network's drives."""
    scale: float
    """Standard deviation of all those responses about it."""
    noise: float
    """Standard deviation between repeats of one shot, in units of `scale`."""
    nonlinearity: float
    """`nonlinear_share` over the whole drive range; NaN when there are too few shots for the number of symbols."""


def measure_responses(
    network: Network, taker: ShotTaker, x: torch.Tensor, samples: NDArray[np.int64], count: int, seed: int
) -> Generator[Event, None, ResponseStatistics]:
    """Take `count` shots of training samples (n,), repeat the first few, and take `count` with random drives.

    One fixed mean and deviation for all response values: running statistics, or one deviation for each value, amplify
    noise where the response is small and break node perturbation.
    """
    samples = np.resize(samples, count)
    with torch.no_grad():
        drives = network.encode(x[samples]).numpy()
    rows = taker.take(drives, samples, purpose=Purpose.CALIBRATION)
    yield ShotsTaken(rows)
    repeats = taker.take(drives[:REPEATS], samples[:REPEATS], purpose=Purpose.CALIBRATION)
    yield ShotsTaken(repeats)
    responses = rows["response"].reshape(count, -1).astype(np.float64)
    again = repeats["response"].reshape(len(repeats), -1)
    scale = float(responses.std())
    if scale == 0:
        yield RunWarning(
            f"calibration: all {count} responses are equal ({responses.flat[0]:g}); the device does not answer to its "
            "drive. Check RF, wiring and gain"
        )
        scale = 1.0
    noise = float(np.std(responses[: len(again)] - again) / np.sqrt(2))
    if noise > MOSTLY_NOISE * scale:
        yield RunWarning(
            f"calibration: repeats of one shot differ by {noise / scale:.0%} of the deviation of all responses: the "
            "device answers mostly with noise. Check RF, wiring and gain"
        )
    nonlinearity = float("nan")
    if measures_nonlinearity(count, taker.symbols):
        low, high = network.drive_limits
        random = generator(seed, 1, Draw.CALIBRATION).uniform(low, high, (count, taker.symbols))
        rows = taker.take(random, np.full(count, -1), purpose=Purpose.CALIBRATION)
        yield ShotsTaken(rows)
        nonlinearity = nonlinear_share(rows["drive"].astype("f8"), rows["response"].reshape(count, -1), noise)
    return ResponseStatistics(float(responses.mean()), scale, noise / scale, nonlinearity)


def measures_nonlinearity(count: int, symbols: int) -> bool:
    """Say whether `count` shots of random drives are enough for a fit with so many symbols."""
    return count >= 2 * (symbols + 1)


def calibration_shots(config: Config, samples: int) -> int:
    """Return the shots that calibration takes at most, with so many training samples; fewer when a small delta does."""
    training = config.training
    shots = training.calibration_shots + REPEATS
    if measures_nonlinearity(training.calibration_shots, config.network.symbols):
        shots += training.calibration_shots
    estimator = ESTIMATORS[training.estimator]
    if issubclass(estimator, PairEstimator) and training.delta == "auto":
        shots += len(estimator.ladder) * 2 * 2 * min(DELTA_SAMPLES, samples)
    return shots


def nonlinear_share(drives: NDArray[np.float64], responses: NDArray[np.floating], noise: float) -> float:
    """Share of the responses' standard deviation that no affine map of the drives explains, 0 to about 1.

    Drives (n, symbols), responses (n, width) with readout noise of deviation `noise`, whose part is taken off. Each
    shot is predicted by the least-squares fit to the others (leave one out, by the hat matrix), so that a fit with
    many symbols does not look better than it is.
    """
    q, _ = np.linalg.qr(np.column_stack([np.ones(len(drives)), drives]))
    kept = 1 - np.sum(q * q, axis=1, keepdims=True)
    left_out = (responses - q @ (q.T @ responses)) / kept
    unexplained = np.mean(left_out**2) - noise**2 * np.mean(1 / kept)
    varying = np.mean((responses - responses.mean(0)) ** 2) - noise**2
    return float(np.sqrt(max(unexplained, 0.0) / varying)) if varying > 0 else float("nan")


def choose_delta(estimator: PairEstimator, batch: Batch) -> Generator[Event, None, float]:
    """Return the smallest delta of the ladder at which L+ - L- stands out of the noise.

    Every pair is taken twice; the rule is sd(L+ - L-) >= `estimator.margin` times the deviation between the two. A
    larger delta than needed only adds curvature to the estimate.
    """
    for delta in estimator.ladder:
        measured = []
        for _ in range(2):
            rows = estimator.pairs(batch, delta, 0, Purpose.CALIBRATION)
            yield ShotsTaken(rows)
            measured.append(differences(rows))
        signal = float(np.sqrt(np.mean(np.mean(measured, axis=0) ** 2)))
        noise = float(np.std(measured[0] - measured[1]) / np.sqrt(2))
        if signal >= estimator.margin * noise and signal > 0:
            return delta
    yield RunWarning(
        f"delta: even at {delta:g} the loss difference is only {signal / max(noise, 1e-300):.1f} times its noise "
        f"(wanted {estimator.margin:g}); training goes on with {delta:g}. Lower the readout noise or average more "
        "directions"
    )
    return delta
