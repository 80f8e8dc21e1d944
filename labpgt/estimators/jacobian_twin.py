"""A running linear model of the device, learned from the same pairs that test it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.blas import sger

from labpgt.config import TrainingConfig
from labpgt.estimators.base import Batch, Step, StepReport, differences
from labpgt.estimators.node import Node, slope
from labpgt.events import Purpose, ShotsTaken

MEMORY = 0.98
"""Weight that the running cosine keeps a pair: it looks back about 50 pairs."""


class JacobianTwin(Node):
    """Backpropagate through an estimate of dr/du that recorded differences keep up to date.

    Each ± pair gives a column mix of the Jacobian: (r+ - r-)/2 = J (u+ - u-)/2. Normalised least mean squares with rate
    `twin_rate` (Widrow and Hoff; Haykin, Adaptive Filter Theory) follows it: no form of the device is assumed. Before
    a pair is learned from, it is a test: the twin's prediction of L+ - L- against the measured one gives the cosine
    between the twin's gradient and the true one, for random signs e obey <(g·e)(h·e)> = g·h. While that cosine is below
    1/√symbols, what a single pair of node perturbation reaches, the node gradient is used instead.
    """

    name = "jacobian-twin"

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        symbols = self.taker.symbols
        self.jacobian = np.zeros((symbols * self.taker.reservoir.n_nodes, symbols), np.float32)
        """Estimate of dr/du, (width, symbols)."""
        self._moments = np.zeros(3)
        """Decayed sums of predicted·measured, predicted² and measured²."""

    @classmethod
    def cost(cls, config: TrainingConfig) -> int:
        """One pair."""
        return 2

    @property
    def cosine(self) -> float:
        """Running cosine between the twin's gradient and the measured one; 0 before the first pair."""
        product, predicted, measured = self._moments
        return float(product / np.sqrt(predicted * measured)) if predicted * measured > 0 else 0.0

    def state(self) -> dict[str, NDArray[Any]]:
        """The estimate of the derivative, and the sums behind its cosine."""
        return {"jacobian": self.jacobian, "moments": self._moments}

    def step(self, batch: Batch) -> Step:
        """One ± pair a sample."""
        drives = self.network.encode(batch.x)
        pairs = self.take(batch, drives, self.delta, batch.step, Purpose.TRAIN)
        yield ShotsTaken(pairs.rows)
        difference = differences(pairs.rows)
        responses = pairs.rows["response"].reshape(len(pairs.rows), -1)
        moved = (responses[0::2] - responses[1::2]) / 2

        predicted = np.einsum("nr,nr->n", pairs.gradients, pairs.half @ self.jacobian.T)
        for p, m in zip(predicted, difference / 2, strict=True):
            self._moments *= MEMORY
            self._moments += (p * m, p * p, m * m)
        trusted = self.cosine > 1 / np.sqrt(self.taker.symbols)

        rate = np.float32(self.config.twin_rate)
        for half, move in zip(pairs.half, moved, strict=True):
            error = move - self.jacobian @ half
            # In place: BLAS sees the transpose, which is in Fortran's order. jacobian += step · error ⊗ half
            sger(rate / (half @ half), half, error, a=self.jacobian.T, overwrite_a=True)

        gradient = pairs.gradients @ self.jacobian if trusted else slope(difference, pairs.half)
        if drives.requires_grad:  # pre-layers may have nothing to train
            drives.backward(torch.from_numpy(gradient / np.float32(len(gradient))))  # type: ignore[no-untyped-call]
        return StepReport(float(pairs.rows["loss"].mean()), float(np.sqrt(np.mean(difference**2))), self.cosine)
