"""Passes of the data through device and readout, unperturbed: losses, accuracies, what baselines are made of."""

from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from labpgt.diagnosis import at_prior, likely_cause
from labpgt.events import TEST_SAMPLE, Event, Purpose, RunWarning, ShotsTaken
from labpgt.losses import Loss
from labpgt.network import Network
from labpgt.shots import ShotTaker
from labpgt.tasks import Dataset

EVALUATION_BLOCK = 64
"""Shots a device call when nothing needs them one by one."""


class Measurement(NamedTuple):
    """One pass of one part of the data through device and readout."""

    loss: float
    accuracy: float
    outputs: NDArray[np.float32]
    responses: NDArray[np.float64]
    """Scaled, (n, width)."""


class Evaluator:
    """Measures a network on the two parts of a data set."""

    def __init__(self, network: Network, taker: ShotTaker, loss: Loss, data: Dataset) -> None:
        self.network = network
        self.taker = taker
        self.loss = loss
        self.data = data

    def train(self, purpose: Purpose, epoch: int = -1) -> Generator[Event, None, Measurement]:
        """Send every training sample through the device once."""
        return self._measure(self.data.train_x, self.data.train_y, 0, purpose, epoch)

    def test(self, purpose: Purpose, epoch: int = -1) -> Generator[Event, None, Measurement]:
        """Send every test sample through the device once."""
        return self._measure(self.data.test_x, self.data.test_y, TEST_SAMPLE, purpose, epoch)

    def after_epoch(self, epoch: int, how: str, running_loss: float) -> Generator[Event, None, dict[str, float]]:
        """Return losses and accuracies, measured as `training.evaluation` says; NaN where the device is not asked.

        The running loss of the epoch stands in for the training loss. Warns of a network that only predicts the prior.
        """
        nan = float("nan")
        results = {"train_loss": running_loss, "train_accuracy": nan, "test_loss": nan, "test_accuracy": nan}
        if how == "full":
            train = yield from self.train(Purpose.EVALUATION, epoch)
            results |= {"train_loss": train.loss, "train_accuracy": train.accuracy}
            yield from self._prior_warning(epoch, train, self.data.train_x, self.data.train_y)
        if how in ("full", "test"):
            test = yield from self.test(Purpose.EVALUATION, epoch)
            results |= {"test_loss": test.loss, "test_accuracy": test.accuracy}
            if how == "test":
                yield from self._prior_warning(epoch, test, self.data.test_x, self.data.test_y)
        return results

    def _measure(
        self, x: NDArray[np.float32], labels: NDArray[np.int64], first: int, purpose: Purpose, epoch: int
    ) -> Generator[Event, None, Measurement]:
        losses, outputs, responses = [], [], []
        for start in range(0, len(x), EVALUATION_BLOCK):
            block = slice(start, start + EVALUATION_BLOCK)
            with torch.inference_mode():
                drives = self.network.encode(torch.from_numpy(x[block])).numpy()
                samples = np.arange(start, start + len(drives)) + first
                rows = self.taker.take(drives, samples, purpose=purpose, epoch=epoch)
                flat = np.ascontiguousarray(rows["response"]).reshape(len(rows), -1)
                out = self.network.read(torch.from_numpy(flat))
                rows["loss"] = self.loss.per_shot(out, self.loss.targets(labels[block])).numpy()
            yield ShotsTaken(rows)
            losses.append(rows["loss"])
            outputs.append(out.numpy())
            responses.append((flat.astype(np.float64) - self.network.offset) / self.network.scale)
        all_outputs = np.concatenate(outputs)
        accuracy = float(np.mean(all_outputs.argmax(1) == labels))
        return Measurement(float(np.concatenate(losses).mean()), accuracy, all_outputs, np.concatenate(responses))

    def _prior_warning(
        self, epoch: int, measured: Measurement, x: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> Iterator[RunWarning]:
        prior = self.loss.prior(labels)
        if at_prior(measured.loss, prior, measured.outputs):
            cause = likely_cause(self.network, torch.from_numpy(x), measured.responses)
            yield RunWarning(
                f"after epoch {epoch + 1} the loss {measured.loss:.4f} is that of always predicting the class "
                f"frequencies ({prior:.4f}) and the output is constant. Likely cause: {cause}"
            )
