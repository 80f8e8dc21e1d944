"""The training loop: a generator of events. It knows no file, no terminal and no window."""

import time
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from labpgt.baselines import ridge_readout
from labpgt.calibration import choose_delta, measure_responses
from labpgt.config import Config, to_toml
from labpgt.device import Reservoir, Setting
from labpgt.diagnosis import PRIOR_BAND, at_prior, likely_cause
from labpgt.errors import DeviceFault, InputError
from labpgt.estimators import ESTIMATORS, Batch, Estimator, PairEstimator, StepReport
from labpgt.events import (
    EPOCH_DTYPE,
    STEP_DTYPE,
    Checkpoint,
    EpochDone,
    Event,
    Measured,
    Purpose,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    Status,
    StepDone,
)
from labpgt.losses import Loss
from labpgt.network import build_network
from labpgt.optimizers import build_optimizer, build_scheduler
from labpgt.rng import Draw, generator
from labpgt.shots import ShotTaker, device_errors
from labpgt.tasks import Dataset

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


class Trainer:
    """One run: a network, a reservoir and a task, trained as configured.

    Iterate over `events()` to make it happen. The reservoir must be open and stays the caller's to make safe.
    """

    def __init__(self, config: Config, reservoir: Reservoir, dataset: Dataset) -> None:
        training = config.training
        if config.network.symbols > reservoir.max_symbols:
            raise InputError(
                f"network.symbols = {config.network.symbols}: {reservoir.name} takes at most {reservoir.max_symbols}"
            )
        self.config = config
        self.dataset = dataset
        self.reservoir = reservoir
        self.network = build_network(
            config.network,
            dataset.train_x.shape[1],
            reservoir.n_nodes,
            len(dataset.target_names),
            reservoir.drive_limits,
            training.seed,
        )
        self.loss = Loss(training.loss, len(dataset.target_names))
        self.taker = ShotTaker(reservoir, config.network.symbols, training.device_batch)
        self.estimator: Estimator = ESTIMATORS[training.estimator](
            self.network, self.taker, self.loss, training, training.seed
        )
        self.optimizer = build_optimizer(training, self.network.flat)
        self.x = torch.from_numpy(dataset.train_x)
        self.targets = self.loss.targets(dataset.train_y)
        self.prior = self.loss.prior(dataset.train_y)
        first = min(training.batch, len(self.x)) * self.estimator.shots_per_sample
        if training.max_shots is not None and training.max_shots < first:
            raise InputError(
                f"training.max_shots = {training.max_shots}: one update costs {first} shots; give at least that"
            )
        self.steps_per_epoch = -(-len(dataset.train_x) // training.batch)
        self.shots_per_epoch = len(dataset.train_x) * self.estimator.shots_per_sample
        updates = -(-self.planned_shots() * self.steps_per_epoch // self.shots_per_epoch)
        self.scheduler = build_scheduler(training, self.optimizer, updates)
        self._results: dict[str, float] = {"prior_loss": self.prior}
        self._outside_s = 0.0
        self._training_s = 0.0

    def planned_shots(self) -> int:
        """Training shots if nothing ends the run early."""
        planned = self.config.training.epochs * self.shots_per_epoch
        return min(planned, self.config.training.max_shots or planned)

    def events(self, stop: Callable[[], str | None] = lambda: None) -> Iterator[Event]:
        """Run, yielding what happens. `stop()` is asked between steps, and between device calls outside training; a
        reason ends the run as aborted.

        A ± pair is never torn: a step is whole or not begun. Exceptions (`DeviceFault` above all) pass through; the
        caller, who owns device and file, words the end of such a run with `stopped`.
        """
        # The number of threads decides the order of sums in torch and BLAS, so it is part of what a run depends on.
        # For arrays as small as these, one thread is the fastest too.
        before = torch.get_num_threads()
        torch.set_num_threads(self.config.training.threads)
        try:
            with threadpool_limits(self.config.training.threads, user_api="blas"):
                yield from self._timed(stop)
        finally:
            torch.set_num_threads(before)

    def _timed(self, stop: Callable[[], str | None]) -> Iterator[Event]:
        try:
            for event in self._events(stop):
                began = time.perf_counter()
                yield event
                self._outside_s += time.perf_counter() - began
                if isinstance(event, ShotsTaken) and event.rows["purpose"][0] != Purpose.TRAIN and (asked := stop()):
                    yield self.stopped(Status.ABORTED, asked)
                    return
        except DeviceFault as fault:
            if fault.answered is not None and len(fault.answered):
                yield ShotsTaken(fault.answered)
            raise

    def _events(self, stop: Callable[[], str | None]) -> Iterator[Event]:
        self._began = time.perf_counter()
        yield self._started()
        yield from self._prepare()
        for epoch in range(self.config.training.epochs):
            finished = yield from self._epoch(epoch, stop)
            if asked := stop():
                yield self.stopped(Status.ABORTED, asked)
                return
            if reason := self._reason_to_end(finished):
                break
        if self._results["train_loss"] > (1 + PRIOR_BAND) * self.prior:
            yield RunWarning(
                f"the run ends at a training loss of {self._results['train_loss']:.4f}, above that of always "
                f"predicting the class frequencies ({self.prior:.4f}): it has not learned yet. Train longer, or change "
                "training.learning_rate or training.estimator"
            )
        yield self.stopped(Status.SUCCESS, reason or f"training.epochs = {self.config.training.epochs} done")

    def _reason_to_end(self, finished: bool) -> str:
        """Return why the run ends before its last epoch, or nothing."""
        training = self.config.training
        if not finished:
            return f"training.max_shots = {training.max_shots} reached"
        if training.target_loss is not None and self._results["train_loss"] <= training.target_loss:
            return f"training.target_loss = {training.target_loss:g} reached"
        return ""

    def _prepare(self) -> Generator[Event, None, None]:
        """Calibrate, and measure the baselines on the untrained network."""
        training = self.config.training
        order = generator(training.seed, 0, Draw.CALIBRATION).permutation(len(self.x))
        statistics = yield from measure_responses(
            self.network, self.taker, self.x, order, training.calibration_shots, training.seed
        )
        self.network.offset, self.network.scale = statistics.offset, statistics.scale
        self._results |= {
            "response_offset": statistics.offset,
            "response_scale": statistics.scale,
            "response_noise": statistics.noise,
            "nonlinearity": statistics.nonlinearity,
        }
        if isinstance(self.estimator, PairEstimator):
            if training.delta == "auto":
                batch = self._batch(order[: min(8, len(order))], epoch=-1, step=-1)
                self.estimator.delta = yield from choose_delta(self.estimator, batch)
            else:
                self.estimator.delta = float(training.delta)
            self._results["delta"] = self.estimator.delta
        if training.baseline:
            data = self.dataset
            train = yield from self._measure(data.train_x, data.train_y, Purpose.BASELINE, -1)
            test = yield from self._measure(data.test_x, data.test_y, Purpose.BASELINE, -1)
            baseline = ridge_readout(train.responses, data.train_y, test.responses, data.test_y, self.loss)
            self._results |= {
                "readout_only_loss": baseline.train_loss,
                "readout_only_test_loss": baseline.test_loss,
                "readout_only_test_accuracy": baseline.test_accuracy,
            }
        yield Measured(dict(self._results))

    def _epoch(self, epoch: int, stop: Callable[[], str | None]) -> Generator[Event, None, bool]:
        """Train one pass and evaluate; return whether the pass was whole."""
        training = self.config.training
        order = generator(training.seed, epoch, Draw.ORDER).permutation(len(self.x))
        reports: list[tuple[float, int]] = []
        whole = True
        for i in range(self.steps_per_epoch):
            samples = order[i * training.batch : (i + 1) * training.batch]
            cost = len(samples) * self.estimator.shots_per_sample
            if stop() or self.taker.taken[Purpose.TRAIN] + cost > (training.max_shots or np.inf):
                whole = False
                break
            batch = self._batch(samples, epoch, epoch * self.steps_per_epoch + i)
            report = yield from self._step(batch)
            reports.append((report.loss, len(samples)))
        if stop():
            return False
        if not reports:  # max_shots was reached with the epoch before
            return False
        losses, weights = np.array(reports).T
        last_step = epoch * self.steps_per_epoch + len(reports) - 1
        yield from self._evaluate(epoch, last_step, float(np.average(losses, weights=weights)))
        return whole

    def _batch(self, samples: NDArray[np.int64], epoch: int, step: int) -> Batch:
        chosen = torch.from_numpy(samples)
        return Batch(step, epoch, samples, self.x[chosen], self.targets[chosen])

    def _step(self, batch: Batch) -> Generator[Event, None, StepReport]:
        clock, device, outside = time.perf_counter(), self.taker.device_s, self._outside_s
        self.network.gradient.fill(0)
        report = yield from self.estimator.step(batch)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        row = np.zeros((), STEP_DTYPE)
        row["step"], row["epoch"] = batch.step, batch.epoch
        row["shots"] = self.taker.taken[Purpose.TRAIN]
        row["loss"], row["difference"], row["cosine"] = report
        row["gradient_norm"] = np.sqrt(self.network.gradient @ self.network.gradient)
        row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        row["time"] = time.time()
        spent = time.perf_counter() - clock
        self._training_s += spent - (self.taker.device_s - device) - (self._outside_s - outside)
        yield StepDone(row)
        return report

    def _evaluate(self, epoch: int, step: int, running_loss: float) -> Generator[Event, None, None]:
        """Measure losses and accuracies as configured; the running loss stands in where the device is not asked."""
        data, how = self.dataset, self.config.training.evaluation
        results = {"train_loss": running_loss, "train_accuracy": np.nan, "test_loss": np.nan, "test_accuracy": np.nan}
        if how == "full":
            train = yield from self._measure(data.train_x, data.train_y, Purpose.EVALUATION, epoch)
            results |= {"train_loss": train.loss, "train_accuracy": train.accuracy}
            yield from self._warn_at_prior(epoch, train, data.train_x, data.train_y)
        if how in ("full", "test"):
            test = yield from self._measure(data.test_x, data.test_y, Purpose.EVALUATION, epoch)
            results |= {"test_loss": test.loss, "test_accuracy": test.accuracy}
            if how == "test":
                yield from self._warn_at_prior(epoch, test, data.test_x, data.test_y)
        self._results |= results
        row = np.zeros((), EPOCH_DTYPE)
        row["epoch"] = epoch
        row["step"] = step
        row["shots"] = self.taker.taken[Purpose.TRAIN]
        for key, value in results.items():
            row[key] = value
        row["parameters_sha256"] = self.network.sha256()
        row["time"] = time.time()
        yield Checkpoint(self.taker.index, step, epoch, self.network.values.copy())
        yield EpochDone(row)

    def _warn_at_prior(
        self, epoch: int, measured: Measurement, x: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> Iterator[Event]:
        prior = self.loss.prior(labels)
        if at_prior(measured.loss, prior, measured.outputs):
            cause = likely_cause(self.network, torch.from_numpy(x), measured.responses)
            yield RunWarning(
                f"after epoch {epoch + 1} the loss {measured.loss:.4f} is that of always predicting the class "
                f"frequencies ({prior:.4f}) and the output is constant. Likely cause: {cause}"
            )

    def _measure(
        self, x: NDArray[np.float32], labels: NDArray[np.int64], purpose: Purpose, epoch: int
    ) -> Generator[Event, None, Measurement]:
        """Send every sample through the device once, unperturbed."""
        part = TEST if x is self.dataset.test_x else 0
        losses, outputs, responses = [], [], []
        for start in range(0, len(x), EVALUATION_BLOCK):
            block = slice(start, start + EVALUATION_BLOCK)
            with torch.inference_mode():
                drives = self.network.encode(torch.from_numpy(x[block])).numpy()
                samples = np.arange(start, start + len(drives)) + part
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

    def _started(self) -> RunStarted:
        data = self.dataset
        with device_errors(f"{self.reservoir.name}: reading its settings"):
            settings = {name: Setting(*setting) for name, setting in self.reservoir.settings().items()}
            for name, setting in settings.items():
                if not isinstance(setting.value, float | int | bool | str):
                    raise TypeError(f"{name} is {setting.value!r}, expected a number or a text")
        return RunStarted(
            time=time.time(),
            config_toml=to_toml(self.config),
            device=self.reservoir.name,
            settings=settings,
            symbols=self.config.network.symbols,
            nodes=self.reservoir.n_nodes,
            drive_limits=self.reservoir.drive_limits,
            parameters=self.network.values.size,
            training_samples=len(data.train_x),
            test_samples=len(data.test_x),
            targets=data.target_names,
            dataset_sha256=data.sha256,
            planned_shots=self.planned_shots(),
        )

    def stopped(self, status: Status, reason: str) -> RunStopped:
        """Return the last event of the run as it stands now."""
        taken = self.taker.taken
        trained = taken[Purpose.TRAIN]
        self._results |= {
            "shots": float(trained),
            "calibration_shots": float(taken[Purpose.CALIBRATION]),
            "baseline_shots": float(taken[Purpose.BASELINE]),
            "evaluation_shots": float(taken[Purpose.EVALUATION]),
            "epochs": trained / self.shots_per_epoch,
            "wall_s": time.perf_counter() - self._began,
            "device_s": self.taker.device_s,
            "logging_s": self._outside_s,
            "overhead_us_per_shot": 1e6 * self._training_s / trained if trained else np.nan,
        }
        return RunStopped(status, reason, time.time(), dict(self._results), self.network.sha256())
