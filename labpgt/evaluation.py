"""One pass of a part of the data through device and readout, unperturbed."""

from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from labpgt.diagnosis import at_prior, likely_cause
from labpgt.events import Event, Purpose, RunWarning, ShotsTaken
from labpgt.losses import Loss
from labpgt.network import Network
from labpgt.shots import ShotTaker

EVALUATION_BLOCK = 64
"""Shots a device call when nothing needs them one by one."""

TEST = 1 << 30
"""Added to the `sample` of a shot from the test part."""


class Measurement(NamedTuple):
    """One pass of one part of the data through device and readout."""

    loss: float
    accuracy: float
    outputs: NDArray[np.float32]
    responses: NDArray[np.float64]
    """Scaled, (n, width)."""


def measure(
    network: Network,
    taker: ShotTaker,
    loss: Loss,
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    purpose: Purpose,
    epoch: int,
    first: int,
) -> Generator[Event, None, Measurement]:
    """Send every sample of features (n, features) through the device once; samples are numbered from `first`."""
    losses, outputs, responses = [], [], []
    for start in range(0, len(x), EVALUATION_BLOCK):
        block = slice(start, start + EVALUATION_BLOCK)
        with torch.inference_mode():
            drives = network.encode(torch.from_numpy(x[block])).numpy()
            samples = np.arange(start, start + len(drives)) + first
            rows = taker.take(drives, samples, purpose=purpose, epoch=epoch)
            flat = np.ascontiguousarray(rows["response"]).reshape(len(rows), -1)
            out = network.read(torch.from_numpy(flat))
            rows["loss"] = loss.per_shot(out, loss.targets(labels[block])).numpy()
        yield ShotsTaken(rows)
        losses.append(rows["loss"])
        outputs.append(out.numpy())
        responses.append((flat.astype(np.float64) - network.offset) / network.scale)
    all_outputs = np.concatenate(outputs)
    accuracy = float(np.mean(all_outputs.argmax(1) == labels))
    return Measurement(float(np.concatenate(losses).mean()), accuracy, all_outputs, np.concatenate(responses))


def prior_warning(
    network: Network, loss: Loss, epoch: int, measured: Measurement, x: NDArray[np.float32], labels: NDArray[np.int64]
) -> Iterator[RunWarning]:
    """Warn of a network that only predicts the class frequencies, and say why it most likely does."""
    prior = loss.prior(labels)
    if at_prior(measured.loss, prior, measured.outputs):
        cause = likely_cause(network, torch.from_numpy(x), measured.responses)
        yield RunWarning(
            f"after epoch {epoch + 1} the loss {measured.loss:.4f} is that of always predicting the class "
            f"frequencies ({prior:.4f}) and the output is constant. Likely cause: {cause}"
        )
