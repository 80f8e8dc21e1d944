"""Pauses of a run, the device safe: for a device that has fallen ill and is asked again and again, or on request."""

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from labpgt.device import Recoverable, Reservoir
from labpgt.errors import DeviceFault, ShotsSpoiled, TakingStopped
from labpgt.events import BY_HAND, Event, RunContinued, RunPaused

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
"""Between two tries; each wait is twice the one before."""
_LOOK_S = 0.05
"""How often a waiting run looks whether somebody asked it to stop."""


@runtime_checkable
class Recorded(Protocol):
    """A reservoir that answers from a record, where spoiled shots are followed by those that replaced them."""

    @property
    def on_record(self) -> bool:
        """Whether the next shot is on record."""


class Pause:
    """Brings an ill device back, as far as that can be done without a person, within `patience_s` an illness.

    Also holds the run for as long as somebody asks for that.
    """

    def __init__(self, reservoir: Reservoir, patience_s: float) -> None:
        self.reservoir = reservoir
        self.patience_s = patience_s
        self.stop: Callable[[], str | None] = lambda: None
        """Asked while waiting; a reason raises `TakingStopped`."""
        self.tell: Callable[[Event], None] = lambda event: None
        """Told `RunPaused` and `RunContinued` when they happen."""
        self.requested: Callable[[], str | None] = lambda: None
        """Asked whether the run shall be held; a reason holds it, before the device is asked for more."""
        self.seconds = 0.0
        """Spent waiting for the device."""
        self.held_s = 0.0
        """Spent waiting because that was asked for."""
        self._ill_since: float | None = None
        self._wait_s = 0.0
        self._times_well = 0

    def over(self) -> None:
        """Say that the device has answered: the next fault is another illness."""
        self._ill_since = None

    def on_request(self) -> None:
        """If somebody asks for a pause, make the device safe, wait until nobody does any more, and bring it back.

        A device that cannot be made safe, or brought back, is ill: `until_well`. Raises what that raises.
        """
        if not self.requested():
            return
        try:
            self._make_safe_for_pause()
            self._hold()
            if isinstance(self.reservoir, Recoverable):
                began = time.monotonic()
                try:
                    self._recover()
                finally:
                    self.seconds += time.monotonic() - began
        except DeviceFault as fault:
            self.until_well(fault)

    def _make_safe_for_pause(self) -> None:
        try:
            self.reservoir.make_safe()
        except Exception as error:
            raise DeviceFault(
                f"{self.reservoir.name}: making it safe for a pause failed: {type(error).__name__}: {error}; {BY_HAND}"
            ) from error

    def _hold(self) -> None:
        """Wait for as long as somebody asks for a pause; `TakingStopped` when somebody asks to stop."""
        reason = self.requested()
        if not reason:
            return
        began = time.monotonic()
        self.tell(RunPaused(time.time(), reason))
        try:
            while self.requested():
                self._wait(_LOOK_S)
            self._wait(0.0)  # a request to stop ends the pause as well
        finally:
            held = time.monotonic() - began
            self.held_s += held
            if self._ill_since is not None:  # patience is with the device
                self._ill_since += held
        self.tell(RunContinued(time.time(), held))

    def until_well(self, fault: DeviceFault) -> None:
        """Return when the device is well again.

        Raises `fault` for a device that is not `Recoverable`; one with what was tried last when the illness lasts
        longer than `patience_s`, also when the device seems well for moments in between; `TakingStopped` when somebody
        asks to stop.
        """
        if isinstance(fault, ShotsSpoiled) and isinstance(self.reservoir, Recorded) and self.reservoir.on_record:
            return
        if not isinstance(self.reservoir, Recoverable) or not self.patience_s:
            raise fault
        began, held = time.monotonic(), self.held_s
        if self._ill_since is None:
            self._ill_since, self._wait_s, self._times_well = began, 0.0, 0
        elif self._too_long:
            raise self._out_of_patience(fault, f"it seemed well {self._times_well} times in between") from fault
        try:
            self._make_safe(fault)
            self.tell(RunPaused(time.time(), "\n".join([str(fault), *getattr(fault, "__notes__", ())])))
            latest = fault
            while True:
                self._wait(self._wait_s)
                self._hold()
                self._wait_s = min(max(2 * self._wait_s, FIRST_WAIT_S), LONGEST_WAIT_S)
                try:
                    self._recover()
                    break
                except DeviceFault as error:
                    latest = error
                if self._too_long:
                    raise self._out_of_patience(fault, f"last try: {latest}") from latest
            self._times_well += 1
            self.tell(RunContinued(time.time(), time.monotonic() - began))
        finally:
            self.seconds += time.monotonic() - began - (self.held_s - held)

    @property
    def _too_long(self) -> bool:
        return self._ill_since is not None and time.monotonic() - self._ill_since >= self.patience_s

    def _out_of_patience(self, fault: DeviceFault, how: str) -> DeviceFault:
        return DeviceFault(f"{fault} (the run has waited for training.patience_s = {self.patience_s:g} s; {how})")

    def _recover(self) -> None:
        assert isinstance(self.reservoir, Recoverable)
        try:
            self.reservoir.recover()
        except DeviceFault:
            raise
        except Exception as error:
            raise DeviceFault(f"{self.reservoir.name}: recovering failed: {type(error).__name__}: {error}") from error

    def _make_safe(self, fault: DeviceFault) -> None:
        try:
            self.reservoir.make_safe()
        except Exception as error:
            fault.add_note(f"{self.reservoir.name}: making it safe failed: {error}; {BY_HAND}")

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            if reason := self.stop():
                raise TakingStopped(reason)
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _LOOK_S))
