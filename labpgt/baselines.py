"""What a run must beat: predicting the class frequencies, and a readout on the untrained layers."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from labpgt.losses import Loss

RIDGE = 1e-6
"""Regularisation relative to the mean squared response: enough for a solution, too little to hide anything."""


class ReadoutBaseline(NamedTuple):
    """Losses and accuracy of the best linear readout on the untrained network."""

    train_loss: float
    test_loss: float
    test_accuracy: float


def ridge_readout(
    train: NDArray[np.float64],
    train_labels: NDArray[np.int64],
    test: NDArray[np.float64],
    test_labels: NDArray[np.int64],
    loss: Loss,
) -> ReadoutBaseline:
    """Solve the readout exactly by ridge regression on one-hot targets and apply it to both parts.

    Scaled responses (n, width) and class indices (n,). With a cross-entropy loss the regression's outputs are taken as
    probabilities.
    """
    from sklearn.linear_model import Ridge

    alpha = RIDGE * float(np.mean(train**2)) * len(train)
    ridge = Ridge(alpha=alpha).fit(train, np.eye(loss.classes)[train_labels])

    def outputs(responses: NDArray[np.float64]) -> torch.Tensor:
        predicted = ridge.predict(responses)
        if loss.name == "cross-entropy":
            predicted = np.log(np.clip(predicted, 1e-3, None))
        return torch.from_numpy(predicted)

    on_train = loss.per_shot(outputs(train), loss.targets(train_labels))
    test_outputs = outputs(test)
    on_test = loss.per_shot(test_outputs, loss.targets(test_labels))
    accuracy = np.mean(test_outputs.argmax(1).numpy() == test_labels)
    return ReadoutBaseline(float(on_train.mean()), float(on_test.mean()), float(accuracy))
