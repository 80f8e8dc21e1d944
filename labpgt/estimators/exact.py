"""The references: the readout alone, and backpropagation through a reservoir that can be differentiated."""

import torch

from labpgt.config import TrainingConfig
from labpgt.device import Differentiable
from labpgt.errors import InputError
from labpgt.estimators.base import Batch, Estimator, Step, StepReport
from labpgt.events import ShotsTaken
from labpgt.shots import device_errors


class Readout(Estimator):
    """Exact gradient of the readout alone; the pre-layers stay as they were initialised."""

    name = "readout"

    @classmethod
    def cost(cls, config: TrainingConfig) -> int:
        """One."""
        return 1

    def step(self, batch: Batch) -> Step:
        """One shot a sample."""
        with torch.no_grad():
            drives = self.network.encode(batch.x)
        rows = self.taker.take(drives.numpy(), batch.samples, epoch=batch.epoch, step=batch.step)
        self.read_exactly(rows, batch.targets)
        yield ShotsTaken(rows)
        return StepReport(float(rows["loss"].mean()))


class Backprop(Estimator):
    """Exact gradient of everything, through the reservoir's own derivative: what no device on a bench can give."""

    name = "backprop"

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        if not isinstance(self.taker.reservoir, Differentiable):
            raise InputError(
                f'training.estimator = "backprop": {self.taker.reservoir.name} cannot be differentiated. '
                'Choose "jacobian-twin", or a device that can: echo-state-ring'
            )
        self._reservoir = self.taker.reservoir

    @classmethod
    def cost(cls, config: TrainingConfig) -> int:
        """One."""
        return 1

    def step(self, batch: Batch) -> Step:
        """One shot a sample."""
        drives = self.network.encode(batch.x)
        rows = self.taker.take(drives.detach().numpy(), batch.samples, epoch=batch.epoch, step=batch.step)
        gradients = self.read_exactly(rows, batch.targets)
        yield ShotsTaken(rows)
        cotangents = gradients.numpy().astype("f8").reshape(rows["response"].shape)
        with device_errors(f"{self.taker.reservoir.name}: differentiating shot {rows['index'][0]}"):
            pulled = self._reservoir.vjp(rows["drive"].astype("f8"), cotangents)
        if drives.requires_grad:  # pre-layers may have nothing to train
            drives.backward(torch.from_numpy(pulled / len(rows)).float())  # type: ignore[no-untyped-call]
        return StepReport(float(rows["loss"].mean()))
