"""What a run measures before it trains, without the training: for setting a device up."""

import time
from collections.abc import Callable, Iterator

from labpgt.events import Event, Status
from labpgt.training import Trainer


class Calibrator(Trainer):
    """A run that ends in success where training would begin: scale, noise, nonlinearity and delta, baseline if wanted.

    Same shots, same numbers as those of a `Trainer` of the same configuration.
    """

    def _events(self, stop: Callable[[], str | None]) -> Iterator[Event]:
        self._began = self._checkpointed_s = time.perf_counter()
        yield self._started()
        yield from self._prepare()
        yield self.stopped(Status.SUCCESS, "calibrated")
