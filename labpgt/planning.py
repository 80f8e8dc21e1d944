"""What a run comes to before it begins: its updates, and its shots by purpose."""

from dataclasses import dataclass

from labpgt.calibration import calibration_shots
from labpgt.config import Config
from labpgt.errors import InputError
from labpgt.estimators import ESTIMATORS


@dataclass(frozen=True)
class Plan:
    """A run that nothing ends early; shots that are taken again do not count."""

    steps: int
    """Updates."""
    epochs: int
    """Passes begun."""
    training_shots: int
    calibration_shots: int
    """At most: fewer when a small delta does."""
    baseline_shots: int
    evaluation_shots: int

    @property
    def total_shots(self) -> int:
        """All of them."""
        return self.training_shots + self.calibration_shots + self.baseline_shots + self.evaluation_shots


def plan(config: Config, training_samples: int, test_samples: int) -> Plan:
    """Return the plan of a run on so many samples.

    Raises `InputError` when `training.max_shots` does not allow a single update.
    """
    training = config.training
    cost = ESTIMATORS[training.estimator].cost(training)
    batch = min(training.batch, training_samples)
    if training.max_shots is not None and training.max_shots < batch * cost:
        raise InputError(
            f"training.max_shots = {training.max_shots}: one update costs {batch * cost} shots; give at least that"
        )
    steps_an_epoch = -(-training_samples // batch)
    shots_an_epoch = training_samples * cost
    epochs = training.epochs
    if training.max_shots is not None:
        epochs = min(epochs, training.max_shots // shots_an_epoch)
    steps, shots = epochs * steps_an_epoch, epochs * shots_an_epoch
    if epochs < training.epochs and training.max_shots is not None:
        # The epoch that is cut short ends before the first update that is too dear; only the last can be smaller.
        more = (training.max_shots - shots) // (batch * cost)
        epochs += more > 0
        steps += more
        shots += more * batch * cost
    once = training_samples + test_samples
    evaluated = {"full": once, "test": test_samples, "none": 0}[training.evaluation]
    return Plan(
        steps=steps,
        epochs=epochs,
        training_shots=shots,
        calibration_shots=calibration_shots(config, training_samples),
        baseline_shots=once if training.baseline else 0,
        evaluation_shots=epochs * evaluated,
    )
