"""The training loop: a generator of events. It knows no file, no terminal and no window."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from labpgt.baselines import ridge_readout
from labpgt.calibration import DELTA_SAMPLES, choose_delta, measure_responses
from labpgt.config import Config, to_toml
from labpgt.device import Reservoir, Setting
from labpgt.diagnosis import PRIOR_BAND
from labpgt.errors import DeviceFault, InputError, TakingStopped
from labpgt.estimators import ESTIMATORS, Batch, Estimator, PairEstimator, StepReport
from labpgt.evaluation import Evaluator
from labpgt.events import (
    EPOCH_DTYPE,
    RESULTS,
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
from labpgt.optimizers import build_optimizer, build_scheduler, catch_up, restore_state, state_arrays
from labpgt.planning import plan
from labpgt.rng import Draw, generator
from labpgt.session.checkpoints import TrainingState
from labpgt.shots import ShotTaker, device_errors
from labpgt.tasks import Dataset


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
        self.taker = ShotTaker(
            reservoir,
            config.network.symbols,
            training.device_batch,
            retakes=training.retakes,
            patience_s=training.patience_s,
        )
        self.evaluator = Evaluator(self.network, self.taker, self.loss, dataset)
        self.estimator: Estimator = ESTIMATORS[training.estimator](
            self.network, self.taker, self.loss, training, training.seed
        )
        self.optimizer = build_optimizer(training, self.network.flat)
        self.x = torch.from_numpy(dataset.train_x)
        self.targets = self.loss.targets(dataset.train_y)
        self.prior = self.loss.prior(dataset.train_y)
        plan(config, len(dataset.train_x), len(dataset.test_x))  # refuses a run without a single update
        self.steps_per_epoch = -(-len(dataset.train_x) // training.batch)
        self.shots_per_epoch = len(dataset.train_x) * self.estimator.shots_per_sample
        updates = -(-self.planned_shots() * self.steps_per_epoch // self.shots_per_epoch)
        self.scheduler = build_scheduler(training, self.optimizer, updates)
        self._results: dict[str, float] = {"prior_loss": self.prior}
        self._prepared = False
        self._steps = 0
        """Updates done."""
        self._epochs = 0
        """Epochs done, evaluation included; so also the number of the one in hand."""
        self._step_losses = np.zeros(self.steps_per_epoch)
        """Of the epoch in hand."""
        self._earlier_s = 0.0
        """Wall time of the processes that have been at this run before."""
        self._outside_s = 0.0
        self._training_s = 0.0
        self._began = self._checkpointed_s = time.perf_counter()
        self._checkpointed_shots = 0

    def planned_shots(self) -> int:
        """Training shots if nothing ends the run early."""
        planned = self.config.training.epochs * self.shots_per_epoch
        return min(planned, self.config.training.max_shots or planned)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything besides the parameters that training goes on from, by name."""
        results = np.full((), np.nan, [(name, "<f8") for name in RESULTS])
        for name, value in self._results.items():
            results[name] = value
        return {
            "results": results,
            "seconds": np.array([self._wall_s, self.taker.device_s, self._outside_s, self._training_s]),
            "shots_taken": np.array([self.taker.taken[purpose] for purpose in Purpose]),
            "step_losses": self._step_losses.copy(),
            **{f"optimizer/{k}": v.copy() for k, v in state_arrays(self.optimizer, self.network.flat).items()},
            **{f"estimator/{k}": v.copy() for k, v in self.estimator.state().items()},
        }

    def restore(self, saved: TrainingState) -> None:
        """Go on from a checkpoint of a run of the same configuration, as if it had never stopped.

        Raises `InputError` when the checkpoint is that of another network, optimiser or estimator.
        """
        with self._threads():
            self._restore(saved)

    def _restore(self, saved: TrainingState) -> None:
        cursor, parameters, state = saved
        expected = {"parameters": self.network.values, **self.state()}
        if _kinds(expected) != _kinds({"parameters": parameters, **state}):
            raise InputError("the checkpoint is that of another network, optimiser or estimator than is configured")
        results = {key: float(state["results"][key]) for key in RESULTS if not np.isnan(state["results"][key])}
        needed = {"response_offset", "response_scale"} | ({"train_loss"} if cursor.epoch >= 0 else set())
        if isinstance(self.estimator, PairEstimator):
            needed.add("delta")
        through = cursor.step + 1 - (cursor.epoch + 1) * self.steps_per_epoch
        if not (needed <= results.keys() and abs(through) <= self.steps_per_epoch):
            raise InputError("the checkpoint is not one that a run of this configuration makes")
        self.network.values[...] = parameters
        self._results = results
        self.network.offset, self.network.scale = self._results["response_offset"], self._results["response_scale"]
        if isinstance(self.estimator, PairEstimator):
            self.estimator.delta = self._results["delta"]
        for name, array in self.estimator.state().items():
            array[...] = state[f"estimator/{name}"]
        self._prepared = True
        self._steps, self._epochs = cursor.step + 1, cursor.epoch + 1
        self._step_losses[...] = state["step_losses"]
        if self._steps:
            kept = {k.removeprefix("optimizer/"): v for k, v in state.items() if k.startswith("optimizer/")}
            restore_state(self.optimizer, self.network.flat, kept)
        if self.scheduler is not None:
            catch_up(self.scheduler, self._steps)
        self.taker.index = cursor.shot
        self.taker.taken.update(dict(zip(Purpose, state["shots_taken"].tolist(), strict=True)))
        self._checkpointed_shots = self.taker.taken[Purpose.TRAIN]
        self._earlier_s, self.taker.device_s, self._outside_s, self._training_s = state["seconds"].tolist()

    def events(self, stop: Callable[[], str | None] = lambda: None) -> Iterator[Event]:
        """Run, or go on, yielding what happens. `stop()` is asked between device calls; a reason ends it as aborted.

        A ± pair is never torn. A step that is cut short leaves its shots, without losses, and no update. Exceptions
        (`DeviceFault` above all) pass through; the caller, who owns device and file, words the end of such a run with
        `stopped`.
        """
        self.taker.stop = self.taker.pause.stop = stop
        with self._threads():
            yield from self._timed(stop)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Hold torch and BLAS to the configured threads: their number decides the order of sums, and so the last bits.

        For arrays as small as these, one is the fastest too.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(self.config.training.threads)
        try:
            with threadpool_limits(self.config.training.threads, user_api="blas"):
                yield
        finally:
            torch.set_num_threads(before)

    def _timed(self, stop: Callable[[], str | None]) -> Iterator[Event]:
        try:
            for event in self._events(stop):
                if isinstance(event, ShotsTaken):
                    event = ShotsTaken(self.taker.with_superseded(event.rows))
                began = time.perf_counter()
                yield event
                self._outside_s += time.perf_counter() - began
                if isinstance(event, ShotsTaken) and event.rows["purpose"][0] != Purpose.TRAIN and (asked := stop()):
                    yield self.stopped(Status.ABORTED, asked)
                    return
        except (DeviceFault, TakingStopped) as end:
            if end.answered is not None and len(end.answered):
                yield ShotsTaken(end.answered)
            if isinstance(end, DeviceFault):
                raise
            yield self.stopped(Status.ABORTED, end.reason)

    def _events(self, stop: Callable[[], str | None]) -> Iterator[Event]:
        self._began = self._checkpointed_s = time.perf_counter()
        yield self._started()
        if not self._prepared:
            yield from self._prepare()
            self._prepared = True
            yield self._checkpoint()
        while not (reason := self._reason_to_end()):
            yield from self._epoch(stop)
            if asked := stop():
                yield self.stopped(Status.ABORTED, asked)
                return
        if self._results["train_loss"] > (1 + PRIOR_BAND) * self.prior:
            yield RunWarning(
                f"the run ends at a training loss of {self._results['train_loss']:.4f}, above that of always "
                f"predicting the class frequencies ({self.prior:.4f}): it has not learned yet. Train longer, or change "
                "training.learning_rate or training.estimator"
            )
        yield self.stopped(Status.SUCCESS, reason)

    def _reason_to_end(self) -> str:
        """Return why the run ends now, before it goes on with the epoch in hand, or nothing."""
        training = self.config.training
        spent = f"training.max_shots = {training.max_shots} reached"
        through = self._steps - self._epochs * self.steps_per_epoch
        if through < 0:  # the last epoch was cut short
            return spent
        if self._epochs and training.target_loss is not None and self._results["train_loss"] <= training.target_loss:
            return f"training.target_loss = {training.target_loss:g} reached"
        if self._epochs == training.epochs:
            return f"training.epochs = {training.epochs} done"
        return spent if through == 0 and not self._affordable(0) else ""

    def _affordable(self, nth: int) -> bool:
        """Say whether `training.max_shots` allows the nth update of an epoch."""
        cost = self._size(nth) * self.estimator.shots_per_sample
        return self.taker.taken[Purpose.TRAIN] + cost <= (self.config.training.max_shots or np.inf)

    def _size(self, nth: int) -> int:
        """Return how many samples the nth update of an epoch has."""
        return min(self.config.training.batch, len(self.x) - nth * self.config.training.batch)

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
                batch = self._batch(order[: min(DELTA_SAMPLES, len(order))], epoch=-1, step=-1)
                self.estimator.delta = yield from choose_delta(self.estimator, batch)
            else:
                self.estimator.delta = float(training.delta)
            self._results["delta"] = self.estimator.delta
        if training.baseline:
            data = self.dataset
            train = yield from self.evaluator.train(Purpose.BASELINE)
            test = yield from self.evaluator.test(Purpose.BASELINE)
            baseline = ridge_readout(train.responses, data.train_y, test.responses, data.test_y, self.loss)
            self._results |= {
                "readout_only_loss": baseline.train_loss,
                "readout_only_test_loss": baseline.test_loss,
                "readout_only_test_accuracy": baseline.test_accuracy,
            }
        yield Measured(dict(self._results))

    def _epoch(self, stop: Callable[[], str | None]) -> Generator[Event, None, None]:
        """Train the rest of the epoch in hand and evaluate it; a request to stop leaves it as it is."""
        training, epoch = self.config.training, self._epochs
        order = generator(training.seed, epoch, Draw.ORDER).permutation(len(self.x))
        for i in range(self._steps - epoch * self.steps_per_epoch, self.steps_per_epoch):
            if stop():
                return
            if not self._affordable(i):
                break
            samples = order[i * training.batch : (i + 1) * training.batch]
            report = yield from self._step(self._batch(samples, epoch, self._steps))
            self._step_losses[i] = report.loss
            self._steps += 1
            if self._checkpoint_is_due():
                yield self._checkpoint()
        if stop():
            return
        done = self._steps - epoch * self.steps_per_epoch
        sizes = [self._size(i) for i in range(done)]
        yield from self._evaluate(epoch, float(np.average(self._step_losses[:done], weights=sizes)))

    def _checkpoint_is_due(self) -> bool:
        every = self.config.session
        return (
            self.taker.taken[Purpose.TRAIN] - self._checkpointed_shots >= every.checkpoint_shots
            or time.perf_counter() - self._checkpointed_s >= every.checkpoint_s
        )

    def _checkpoint(self) -> Checkpoint:
        self._checkpointed_shots = self.taker.taken[Purpose.TRAIN]
        self._checkpointed_s = time.perf_counter()
        parameters = self.network.values.copy()
        return Checkpoint(self.taker.index, self._steps - 1, self._epochs - 1, parameters, self.state())

    def _batch(self, samples: NDArray[np.int64], epoch: int, step: int) -> Batch:
        chosen = torch.from_numpy(samples)
        return Batch(step, epoch, samples, self.x[chosen], self.targets[chosen])

    def _step(self, batch: Batch) -> Generator[Event, None, StepReport]:
        clock, device, outside = time.perf_counter(), self.taker.device_s, self._outside_s
        held = self.taker.pause.held_s
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
        spent -= self.taker.pause.held_s - held
        self._training_s += spent - (self.taker.device_s - device) - (self._outside_s - outside)
        yield StepDone(row)
        return report

    def _evaluate(self, epoch: int, running_loss: float) -> Generator[Event, None, None]:
        results = yield from self.evaluator.after_epoch(epoch, self.config.training.evaluation, running_loss)
        self._results |= results
        row = np.zeros((), EPOCH_DTYPE)
        row["epoch"] = epoch
        row["step"] = self._steps - 1
        row["shots"] = self.taker.taken[Purpose.TRAIN]
        for key, value in results.items():
            row[key] = value
        row["parameters_sha256"] = self.network.sha256()
        row["time"] = time.time()
        yield EpochDone(row)
        self._epochs += 1
        yield self._checkpoint()

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
            state=self.state(),
        )

    @property
    def _wall_s(self) -> float:
        return self._earlier_s + time.perf_counter() - self._began

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
            "wall_s": self._wall_s,
            "device_s": self.taker.device_s,
            "logging_s": self._outside_s,
            "overhead_us_per_shot": 1e6 * self._training_s / trained if trained else np.nan,
        }
        return RunStopped(status, reason, time.time(), dict(self._results), self.network.sha256())


def _kinds(arrays: Mapping[str, NDArray[Any]]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
