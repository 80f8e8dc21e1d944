"""Going on with a run that ended too early: training against its record first, then with the device."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Differentiable, Recoverable, Reservoir, ReservoirWrapper, Seekable, Setting
from labpgt.errors import InputError
from labpgt.events import Purpose
from labpgt.replay import ELSEWHERE, Comparison, compare_drives, same_machine
from labpgt.session import Recovery, Session
from labpgt.shots import flags_of

_SAME = 1e-9
"""Relative difference up to which a computed setting, such as a threshold, counts as the same."""


class ResumedReservoir(ReservoirWrapper):
    """Answers each shot from the record as long as it lasts, if it is asked the same, and then lets the device answer.

    A `Reservoir` and `Seekable`. `forward` raises `ReplayMismatch` naming the first shot whose drive differs from the
    recorded one. `going_live` is called once with the number of the first shot that the device answers, before it does,
    by `announce`, which is to be called before every `forward`.
    """

    def __init__(
        self, device: Reservoir, recovery: Recovery, tolerance: float, going_live: Callable[[int], None]
    ) -> None:
        super().__init__(device)
        self.tolerance = tolerance
        self._recovery = recovery
        self._going_live: Callable[[int], None] | None = going_live
        self._live_from = recovery.n_shots
        self._flags = np.zeros(0, np.uint32)
        self._next = recovery.first_shot
        if isinstance(device, Differentiable):
            self.vjp = device.vjp
        if isinstance(device, Recoverable):
            self.recover = device.recover

    def seek(self, shot: int) -> None:
        """Set the number of the next shot."""
        self._next = shot

    def announce(self, first: int, stop: int) -> None:
        """Say that shots first to stop are about to be asked; calls `going_live` before the device answers one."""
        if self._going_live is not None and stop > self._live_from:
            self._going_live(max(first, self._live_from))
            self._going_live = None

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Drives (shots, symbols) to responses (shots, symbols, n_nodes), recorded ones first."""
        first, self._next = self._next, self._next + len(drives)
        recorded = self._recovery.shots(first, self._next)
        compare_drives(drives[: len(recorded)], recorded, first, self.tolerance)
        answers = recorded["response"].astype(np.float64)
        self._flags = recorded["flags"].astype(np.uint32)
        if len(recorded) == len(drives):
            return answers
        first += len(recorded)
        if isinstance(self.inner, Seekable):
            self.inner.seek(first)
        live = self.inner.forward(drives[len(recorded) :])
        self._flags = np.concatenate([self._flags, flags_of(self.inner, len(live))])
        return np.concatenate([answers, live]) if len(recorded) else live

    def flags(self) -> NDArray[np.uint32]:
        """Flags of the last shots (shots,), recorded ones first."""
        return self._flags

    @property
    def on_record(self) -> bool:
        """Whether the next shot is on record."""
        return self._next < self._live_from


def comparison(recovery: Recovery, tolerance: float) -> Comparison:
    """Return what compares the events of a resumed training with its record."""
    unread = np.isnan(recovery.tail["loss"]) & (recovery.tail["purpose"] != Purpose.CALIBRATION)
    read = np.flatnonzero(~unread)
    first_unread = recovery.first_shot + (int(read[-1]) + 1 if read.size else 0)
    return Comparison(
        recovery.shots,
        recovery.steps,
        recovery.epochs,
        tolerance,
        first_step=0 if recovery.state is None else recovery.state.cursor.step + 1,
        first_epoch=0 if recovery.state is None else recovery.state.cursor.epoch + 1,
        unread_from=first_unread,
    )


def tolerance_of(session: Session) -> float:
    """Return the largest difference in drives and losses that a resumption allows: none on the recording machine."""
    return 0.0 if same_machine(session) else ELSEWHERE


class ChangedSetting(NamedTuple):
    """A setting of the device that is not what it was; None where it is missing."""

    name: str
    recorded: Setting | None
    now: Setting | None


def changed_settings(session: Session, now: Mapping[str, Setting]) -> list[ChangedSetting]:
    """Return the settings in which the device differs from the one that the run was last recorded with."""
    recorded = next((r.settings for r in reversed(session.resumptions) if r.settings), session.settings)
    names = [*recorded, *(name for name in now if name not in recorded)]
    pairs = [ChangedSetting(name, recorded.get(name), now.get(name)) for name in names]
    return [pair for pair in pairs if not _same(pair.recorded, pair.now)]


def _same(recorded: Setting | None, now: Setting | None) -> bool:
    if recorded is None or now is None or recorded.unit != now.unit:
        return False
    numbers = (recorded.value, now.value)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        return math.isclose(float(recorded.value), float(now.value), rel_tol=_SAME)
    return recorded.value == now.value and isinstance(recorded.value, bool) == isinstance(now.value, bool)


def settings_table(changed: list[ChangedSetting]) -> str:
    """Return the differences as a table to read."""
    rows = [("setting", "recorded", "now"), *((c.name, _worded(c.recorded), _worded(c.now)) for c in changed)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"  {name:<{widths[0]}}  {before:<{widths[1]}}  {now}".rstrip() for name, before, now in rows)


def _worded(setting: Setting | None) -> str:
    return "-" if setting is None else f"{setting.value} {setting.unit}".rstrip()


def check_device(session: Session, device: Reservoir, symbols: int) -> None:
    """Raise `InputError` when this cannot be the device that a session was recorded with, shots of so many symbols."""
    recorded: tuple[str | float, ...] = (session.device, session.nodes, session.symbols, *session.drive_limits)
    now: tuple[str | float, ...] = (device.name, device.n_nodes, symbols, *device.drive_limits)
    names = ("device", "nodes a symbol", "symbols a shot", "lowest drive", "highest drive")
    changed = [
        ChangedSetting(name, Setting(before), Setting(after))
        for name, before, after in zip(names, recorded, now, strict=True)
        if before != after
    ]
    if changed:
        raise InputError(
            f"{session.path}: was recorded with another device:\n{settings_table(changed)}\n"
            "Give the one that it was recorded with"
        )


def check_settings(session: Session, now: Mapping[str, Setting], *, accept: bool) -> dict[str, Setting]:
    """Return the device's settings when they have changed and that is accepted, else nothing.

    Raises `InputError` with a table of the differences when they have changed and it is not.
    """
    changed = changed_settings(session, now)
    if not changed:
        return {}
    if not accept:
        raise InputError(
            f"{session.path}: the device is not set as it was when the run was recorded:\n{settings_table(changed)}\n"
            "Set it as it was, or go on all the same with --accept-changed-settings"
        )
    return dict(now)
