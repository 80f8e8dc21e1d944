"""What every gradient estimator shares."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labpgt.config import TrainingConfig
from labpgt.events import Purpose, ShotsTaken
from labpgt.losses import Loss
from labpgt.network import Network
from labpgt.shots import ShotTaker


@dataclass(frozen=True)
class Batch:
    """The samples of one update."""

    step: int
    epoch: int
    samples: NDArray[np.int64]
    """Indices into the training part, (n,)."""
    x: Tensor
    """Features, (n, features) float32."""
    targets: Tensor
    """What the loss compares with, (n, ...)."""


class StepReport(NamedTuple):
    """What an estimator knows after a step, besides the gradient it left in the network."""

    loss: float
    """Mean over the step's shots."""
    difference: float = float("nan")
    """Root mean square of L+ - L- over the step's pairs."""
    cosine: float = float("nan")
    """Estimated cosine between a twin's gradient and the measured one."""


Step = Generator[ShotsTaken, None, StepReport]


class Estimator(ABC):
    """Takes the shots of one step and fills `network.gradient` with dL/d(parameters), averaged over the batch."""

    name: ClassVar[str]

    def __init__(self, network: Network, taker: ShotTaker, loss: Loss, config: TrainingConfig, seed: int) -> None:
        self.network = network
        self.taker = taker
        self.loss = loss
        self.config = config
        self.seed = seed

    @classmethod
    @abstractmethod
    def cost(cls, config: TrainingConfig) -> int:
        """Shots that one sample of a step costs."""

    @property
    def shots_per_sample(self) -> int:
        """Shots that one sample of a step costs."""
        return self.cost(self.config)

    @abstractmethod
    def step(self, batch: Batch) -> Step:
        """Take the shots of this batch, yielding their rows, and leave the gradient in the network."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what the estimator keeps between steps, by name: the arrays themselves, to be saved or overwritten."""
        return {}

    def read_exactly(self, rows: NDArray[np.void], targets: Tensor) -> Tensor:
        """Fill in the losses of rows, add the exact readout gradient of their mean, return dL/dr (n, width) a shot."""
        responses = torch.from_numpy(np.ascontiguousarray(rows["response"]).reshape(len(rows), -1)).requires_grad_()
        losses = self.loss.per_shot(self.network.read(responses), targets)
        rows["loss"] = losses.detach().numpy()
        losses.backward(torch.full((len(rows),), 1.0 / len(rows)))  # type: ignore[no-untyped-call]
        assert responses.grad is not None
        return responses.grad.mul_(len(rows))

    def read(self, rows: NDArray[np.void], targets: Tensor) -> None:
        """Fill in the losses of rows, no gradient."""
        with torch.inference_mode():
            responses = torch.from_numpy(np.ascontiguousarray(rows["response"]).reshape(len(rows), -1))
            rows["loss"] = self.loss.per_shot(self.network.read(responses), targets).numpy()


class PairEstimator(Estimator):
    """An estimator that takes ± pairs, whose size `delta` can be chosen from repeated shots."""

    ladder: ClassVar[tuple[float, ...]]
    """Sizes that `delta = "auto"` tries, smallest first."""
    margin: ClassVar[float]
    """How far L+ - L- must stand out of its repeat-shot deviation for a size to be chosen."""

    delta: float = float("nan")

    @abstractmethod
    def pairs(self, batch: Batch, delta: float, seed: int, purpose: Purpose) -> NDArray[np.void]:
        """Take a ± pair for each sample: rows + - + - ..., losses filled in; nothing learned."""


def differences(rows: NDArray[np.void]) -> NDArray[np.float64]:
    """Return L+ - L- of each pair, (n,), of rows that alternate + and -."""
    losses = rows["loss"]
    return losses[0::2] - losses[1::2]  # type: ignore[no-any-return]
