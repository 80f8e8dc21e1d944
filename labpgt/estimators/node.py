"""Perturbation at the drive: the device alone is probed, everything digital is differentiated."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labpgt.config import TrainingConfig
from labpgt.estimators.base import Batch, PairEstimator, Step, StepReport, differences
from labpgt.events import Purpose, ShotsTaken
from labpgt.rng import Draw, generator


class DrivePairs(NamedTuple):
    """± pairs at the drive, one for each sample."""

    rows: NDArray[np.void]
    half: NDArray[np.float32]
    """(u+ - u-)/2 as sent, after rounding, (n, symbols)."""
    gradients: NDArray[np.float32]
    """Exact dL/dr averaged over the pair, (n, width)."""


class Node(PairEstimator):
    """Node perturbation at the boundary between pre-layers and device.

    The drive u is perturbed by ±delta·e with random signs e: dL/du ≈ (L+ - L-)/(2 delta) · e (simultaneous
    perturbation, Spall 1992; node perturbation in multiplexed gradient descent, doi 10.1063/5.0258271). It is
    backpropagated through the pre-layers; the readout's gradient is exact. `delta` is in units of half the drive range.
    """

    name = "node"
    ladder = (0.01, 0.02, 0.05, 0.1, 0.2)
    # Few directions share a pair, and its noise averages out over the samples: less is enough than for all parameters.
    margin = 5.0

    @classmethod
    def cost(cls, config: TrainingConfig) -> int:
        """Two a direction."""
        return 2 * config.directions

    def step(self, batch: Batch) -> Step:
        """One ± pair a direction and sample."""
        count = self.config.directions
        drives = self.network.encode(batch.x)
        gradient = np.zeros(drives.shape, np.float32)
        loss, square = 0.0, 0.0
        for direction in range(count):
            seed = batch.step * count + direction
            pairs = self.take(batch, drives, self.delta, seed, Purpose.TRAIN)
            yield ShotsTaken(pairs.rows)
            difference = differences(pairs.rows)
            gradient += slope(difference, pairs.half) / count
            loss += float(pairs.rows["loss"].mean())
            square += float(difference @ difference) / len(difference)
        if drives.requires_grad:  # pre-layers may have nothing to train
            drives.backward(torch.from_numpy(gradient / len(gradient)))  # type: ignore[no-untyped-call]
        if count > 1:  # each direction added the whole readout gradient
            self.network.gradient[self.network.readout_mask] /= count
        return StepReport(loss / count, (square / count) ** 0.5)

    def pairs(self, batch: Batch, delta: float, seed: int, purpose: Purpose) -> NDArray[np.void]:
        """A ± pair of every sample at the drive."""
        with torch.no_grad():
            drives = self.network.encode(batch.x)
        return self.take(batch, drives, delta, seed, purpose).rows

    def take(self, batch: Batch, drives: Tensor, delta: float, seed: int, purpose: Purpose) -> DrivePairs:
        """Take u ± delta·e for each sample and add the readout's exact gradient."""
        low, high = self.network.drive_limits
        size = delta * (high - low) / 2
        signs = generator(self.seed, seed, Draw.PERTURBATION).integers(0, 2, drives.shape, dtype=np.int8)
        half = (signs * np.float32(2) - np.float32(1)) * np.float32(size)
        # A pair that would leave the limits is moved inside: its centre shifts by at most delta.
        centre = np.clip(drives.detach().numpy(), low + size, high - size)
        both = np.empty((2 * len(half), half.shape[1]), np.float32)
        np.add(centre, half, out=both[0::2])
        np.subtract(centre, half, out=both[1::2])
        rows = self.taker.take(
            both,
            np.repeat(batch.samples, 2),
            purpose=purpose,
            epoch=batch.epoch,
            step=batch.step,
            sign=np.tile((1, -1), len(half)),
            seed=seed,
            delta=delta,
        )
        gradients = self.read_exactly(rows, batch.targets.repeat_interleave(2, 0)).numpy()
        sent = rows["drive"]
        return DrivePairs(rows, (sent[0::2] - sent[1::2]) / 2, (gradients[0::2] + gradients[1::2]) / 2)


def slope(difference: NDArray[np.float64], half: NDArray[np.float32]) -> NDArray[np.float32]:
    """dL/du of each sample from L+ - L- (n,) and the half difference of the drives (n, symbols).

    For |half| = size everywhere this is (L+ - L-)/(2 size) · e.
    """
    square = np.mean(half * half, axis=1, keepdims=True)
    return (difference[:, None] / (2 * square) * half).astype(np.float32)  # type: ignore[no-any-return]
