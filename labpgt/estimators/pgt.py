"""Perturbative gradient training: all parameters at once, one scalar back."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from labpgt.config import TrainingConfig
from labpgt.estimators.base import Batch, PairEstimator, Step, StepReport, differences
from labpgt.events import Purpose, ShotsTaken
from labpgt.perturbations import draw_perturbation
from labpgt.rng import Draw, generator


class Perturbation:
    """One ±delta·PM on the parameters `values`, which it moves to either side and puts back bit for bit."""

    def __init__(
        self, values: NDArray[np.float32], delta: float, limit: int, dropout: float, draw: np.random.Generator
    ) -> None:
        self.values = values
        self.delta = delta
        self.where, self.change = draw_perturbation(values.size, limit, dropout, draw)
        self.change *= np.float32(delta)
        self._before = values[self.where].copy()

    def plus(self) -> None:
        """Set the parameters to theirs + delta·PM."""
        self._move(np.add)

    def minus(self) -> None:
        """Set the parameters to theirs - delta·PM."""
        self._move(np.subtract)

    def undo(self) -> None:
        """Set the parameters to what they were."""
        self.values[self.where] = self._before

    def add_gradient(self, gradient: NDArray[np.float32], difference: float) -> None:
        """Add difference/(2 delta)·PM to the gradient, with difference = L+ - L-. Uses the perturbation up."""
        self.change *= difference / (2 * self.delta**2)
        gradient[self.where] += self.change

    def _move(self, side: Callable[..., NDArray[np.float32]]) -> None:
        if isinstance(self.where, slice):  # in place: temporaries of all parameters fall out of the cache
            side(self._before, self.change, out=self.values)
        else:
            self.values[self.where] = side(self._before, self.change)


class Pgt(PairEstimator):
    """Perturb every parameter by ±delta·PM and let the loss difference tell the direction.

    gradient = (L+ - L-)/(2 delta) · PM with PM integers in [-r, r] (Abbott, Elo and Bozhko, arXiv 2506.04523); with
    dropout only a random share of the parameters is perturbed. With K `directions` the mean of K estimates is taken.
    Samples of a batch share PM.
    """

    name = "pgt"
    ladder = (1e-3, 3e-3, 1e-2, 3e-2)
    margin = 20.0

    @classmethod
    def cost(cls, config: TrainingConfig) -> int:
        """Two a direction."""
        return 2 * config.directions

    def step(self, batch: Batch) -> Step:
        """One ± pair a direction and sample."""
        count = self.config.directions
        loss, square = 0.0, 0.0
        for direction in range(count):
            seed = batch.step * count + direction
            rows = self.pairs(batch, self.delta, seed, Purpose.TRAIN)
            yield ShotsTaken(rows)
            difference = differences(rows)
            self._perturbation.add_gradient(self.network.gradient, difference.mean() / count)
            loss += float(rows["loss"].mean())
            square += float(difference @ difference) / len(difference)
        return StepReport(loss / count, (square / count) ** 0.5)

    def pairs(self, batch: Batch, delta: float, seed: int, purpose: Purpose) -> NDArray[np.void]:
        """A ± pair of every sample with one perturbation of the parameters."""
        network, config = self.network, self.config
        draw = generator(self.seed, seed, Draw.PERTURBATION)
        perturbation = Perturbation(network.values, delta, config.perturbation_range, config.dropout, draw)
        drives = np.empty((2 * len(batch.samples), self.taker.symbols), np.float32)
        with torch.inference_mode():
            perturbation.plus()
            drives[0::2] = network.encode(batch.x).numpy()
            perturbation.minus()
            drives[1::2] = network.encode(batch.x).numpy()
        # As they were while the device works: it may fail, and a replay ends in the middle of a pair.
        perturbation.undo()
        rows = self.taker.take(
            drives,
            np.repeat(batch.samples, 2),
            purpose=purpose,
            epoch=batch.epoch,
            step=batch.step,
            sign=np.tile((1, -1), len(batch.samples)),
            seed=seed,
            delta=delta,
        )
        # The readout is perturbed too: each half is read through the parameters it was driven with.
        perturbation.minus()
        self.read(rows[1::2], batch.targets)
        perturbation.plus()
        self.read(rows[0::2], batch.targets)
        perturbation.undo()
        self._perturbation = perturbation
        return rows
