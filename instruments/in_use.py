"""Which instruments RF OFF is meant for: what a file describes, and what runs that have a bench have read of it.

A file may be changed, gone or somebody else's while a run goes on: what the run has read is in its lock.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from instruments.bench import Bench, load_bench
from instruments.sentinel import Off, Sentinel
from labpgt.errors import LabpgtError
from labpgt.interrupt import interrupt
from labpgt.locks import Use, in_use
from labpgt.validation import validated

STOP_S = 15.0
"""How long runs that were asked to stop are waited for."""
AGAIN_S = 0.1
"""Between two looks who has a bench."""


def sentinel_of(path: Path) -> Sentinel:
    """Return what turns RF off on the bench of a file, also where a run has read another one there.

    Raises what `load_bench` raises, unless a run has the bench: then what it has read is used.
    """
    read: list[Bench] = []
    notes: list[str] = []
    for use in in_use():
        if use.file == path.resolve():
            try:
                read.append(bench_of(use))
            except LabpgtError as error:
                notes.append(str(error))
    try:
        now = load_bench(path)
    except LabpgtError as error:
        if not read:
            raise
        why = str(error).splitlines()[0].partition("; ")[0]
        notes.append(f"{why}; what the run that has the bench has read there is used")
        return Sentinel(*read, notes=notes)
    earlier = [bench for bench in read if bench != now]
    if earlier:
        notes.append(f"bench {path}: has changed since a run has read it; RF off goes to the instruments of both")
    return Sentinel(now, *earlier, notes=notes)


def bench_of(use: Use) -> Bench:
    """Return the bench that a run has, as it has read it; `LabpgtError` when its lock does not say that."""
    try:
        bench = validated(Bench, dict(use.bench), "")
    except LabpgtError as error:
        why = str(error).splitlines()[0]
        raise LabpgtError(
            f"bench {use.file or 'of no file'}: the lock of process {use.run} does not describe it ({why}); is another "
            "version of labpgt at work? Turn RF off with `labpgt rf-off BENCH.toml`, or at the instrument"
        ) from error
    bench._file = use.file
    return bench


@dataclass(eq=False)
class Found:
    """A bench that was in use, and what came of turning its RF off."""

    name: str
    file: Path | None
    in_use: str
    sentinel: Sentinel
    off: Off = field(default_factory=Off)

    def turn_off(self) -> None:
        """Turn RF off now."""
        self.off = self.sentinel.off()

    def keep_off(self) -> None:
        """Turn RF off if it is on again."""
        if self.sentinel.state()["rf"] == "on":
            self.turn_off()


class Everywhere:
    """RF off on every bench that a process of this computer has, until nobody has one."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.notes: list[str] = []
        """Whom it asked to stop."""
        self.problems: list[str] = []
        """What is wrong besides the instruments."""
        self._seen: list[Use] = []
        self._asked: set[int] = set()

    def turn_off(self, stop_s: float = STOP_S) -> None:
        """Turn RF off everywhere at once, ask what uses a bench to stop, and see that RF stays off until it has.

        Whoever has a bench would turn RF on again. Ends when nobody has one, or after `stop_s`; each bench is turned
        off and asked once more then. Raises `OSError` where there can be no locks.
        """
        deadline = time.monotonic() + stop_s
        while uses := in_use():
            known = list(self.found)
            begun = [found.turn_off for use in uses if (found := self._take(use)) is not None]
            # An instrument that is dead must not keep RF on at another bench, nor a run from hearing of it.
            _at_once([*begun, *(found.keep_off for found in known), partial(self._ask_to_stop, uses)])
            if time.monotonic() > deadline:
                self.problems += [_still_there(use, stop_s) for use in uses]
                break
            time.sleep(AGAIN_S)
        _at_once([found.turn_off for found in self.found])

    def _take(self, use: Use) -> Found | None:
        """Take on a bench that was not in use before."""
        if use in self._seen:
            return None
        self._seen.append(use)
        try:
            bench = bench_of(use)
        except LabpgtError as error:
            self.problems.append(str(error))
            return None
        found = Found(bench.name, use.file, f"process {use.run}", Sentinel(bench))
        self.found.append(found)
        return found

    def _ask_to_stop(self, uses: list[Use]) -> None:
        for use in uses:
            if use.run in self._asked:
                continue
            self._asked.add(use.run)
            try:
                if interrupt(use.run):
                    self.notes.append(f"process {use.run}, which had {use.file or 'a bench'}, was asked to stop")
            except PermissionError as error:
                self.problems.append(
                    f"process {use.run}, which has {use.file or 'a bench'}, cannot be stopped from here ({error}): it "
                    "may turn RF on again; end it where it was started"
                )


def _still_there(use: Use, after_s: float) -> str:
    has = f"still has {use.file or 'a bench'} after {after_s:g} s"
    if not psutil.pid_exists(use.run):
        return f"the guard (process {use.guard}) of a run that is gone {has}: it tries to make it safe"
    return f"process {use.run} {has} and may turn RF on again: end it where it was started"


def _at_once(doing: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=do) for do in doing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
