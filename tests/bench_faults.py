"""One run on the virtual bench with faults injected at random, and what is demanded of it."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from instruments.magnonic_ring import MagnonicRing
from labpgt.errors import DeviceFault
from labpgt.events import SPOILED, Event, RunStarted, RunStopped, Status
from labpgt.session import Session
from procedures.resume import resume
from procedures.train import run
from simulators.virtual_bench.bench import VirtualBench
from simulators.virtual_bench.faults import KINDS, ONLY
from tests.virtual_runs import Quantised, small, write_bench

TIMEOUT_S = 0.25
"""Of an instrument on these benches: faults are about time, and there are many of them."""
MESSAGES = {"source": 100, "analyzer": 100, "attenuator": 3, "amplifier": 3}
"""More or less what a run sends to each instrument once it is open: faults strike somewhere within."""
_TRIES = 5
_WHILE_OPENING = 0.1
"""Share of the faults that may strike before the first shot."""
ROLES = {
    **{kind: (role,) for kind, role in ONLY.items()},
    "oscillate": ("analyzer",),
    "drift": ("analyzer",),
    "nan": ("analyzer",),
    "error": ("source", "analyzer", "amplifier"),
}
"""Where a fault of a kind can be, if not everywhere."""


@dataclass(frozen=True)
class Injected:
    """One fault: as `simulators.virtual_bench.faults.Faults.add` takes it."""

    opening: bool
    """Counted from the opening of the device on, instead of from the first shot."""
    kind: str
    role: str
    after: int
    seconds: float
    count: int


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    injected: tuple[Injected, ...]
    struck: int
    """Faults that found something to strike."""
    end: str
    """success, failed or refused (before the first shot)."""
    reason: str
    rf_off: bool
    """Whether the source's output was off when the run had ended; of a resumed run, both times."""
    wrong: int
    """Shots on record without a bad flag that are not what the ring answers."""
    spoiled: int
    same: bool
    """Whether the run, resumed if need be, came to the parameters of the run without faults."""


def draw(random: np.random.Generator, kind: str, faults: int) -> tuple[Injected, ...]:
    """Draw faults, the first of this kind, the others of any."""
    kinds = [kind, *random.choice(KINDS, faults - 1).tolist()]
    found = []
    for name in kinds:
        role = str(random.choice(ROLES.get(name, tuple(MESSAGES))))
        # Shorter than a timeout, about one, and several.
        seconds = float(TIMEOUT_S * random.choice([0.3, 1.2, 4.0]))
        # Drift is measured against the start: there is no saying what came before.
        opening = bool(random.random() < _WHILE_OPENING) and name != "drift"
        after, count = int(random.integers(MESSAGES[role])), int(random.choice([1, 1, 3]))
        found.append(Injected(opening, name, role, after, seconds, count))
    return tuple(found)


class FaultyBench:
    """A virtual bench, what its ring answers, and the run without faults; for many runs one after the other."""

    def __init__(self, bench: VirtualBench, folder: Path) -> None:
        self.bench = bench
        self.folder = folder
        self.file = write_bench(
            bench, folder / "bench.toml", lambda text: re.sub(r"timeout_s = \d+\.0", f"timeout_s = {TIMEOUT_S}", text)
        )
        self.right = Quantised()
        self.right.open()
        self.hash = run(small(), folder / "healthy.h5", device=Quantised()).parameters_sha256
        self._runs = 0

    @property
    def rf_off(self) -> bool:
        """Whether the source's output is off."""
        return not self.bench.instruments["source"].rf_on  # type: ignore[attr-defined]

    def device(self) -> MagnonicRing:
        """The ring between the virtual instruments."""
        return MagnonicRing(bench=self.file)

    def outcome(self, injected: tuple[Injected, ...]) -> Outcome:
        """Train with these faults; resume a run that they ended, with none left."""
        self._runs += 1
        path = self.folder / f"run-{self._runs}.h5"
        faults = self.bench.faults
        before = len(faults.added)

        def add(opening: bool) -> None:
            for f in injected:
                if f.opening == opening:
                    faults.add(f.role, f.kind, after=f.after, seconds=f.seconds, count=f.count)

        def watch(event: Event) -> None:
            if isinstance(event, RunStarted):
                add(opening=False)

        add(opening=True)
        end, reason, same = "success", "", False
        try:
            last = run(small(), path, [watch], device=self.device())
            same = last.parameters_sha256 == self.hash
        except DeviceFault as error:
            end, reason = ("failed" if path.exists() else "refused"), "; ".join([str(error), *_notes(error)])
        rf_off = self.rf_off
        struck = sum(fault.struck > 0 for fault in faults.added[before:])
        faults.clear()
        if end != "success":
            time.sleep(max(fault.seconds for fault in injected))  # until what lasts is over
        if end == "refused":
            same = _tried(lambda: run(small(), path, device=self.device())).parameters_sha256 == self.hash
        elif end == "failed":
            same = _tried(lambda: resume(path, device=self.device()).last).parameters_sha256 == self.hash
        rf_off = rf_off and self.rf_off
        wrong, spoiled = self._judge(path)
        path.unlink()
        return Outcome(injected, struck, end, reason, rf_off, wrong, spoiled, same)

    def _judge(self, path: Path) -> tuple[int, int]:
        with Session(path) as session:
            assert session.status is Status.SUCCESS
            shots = session.shots()
        bad = (shots["flags"] & SPOILED) != 0
        good = shots[~bad]
        expected = self.right.forward(good["drive"].astype(np.float64)).astype(np.float32)
        wrong = (good["response"] != expected).any(axis=(1, 2))
        return int(wrong.sum()), int(bad.sum())


def _tried(work: Callable[[], RunStopped]) -> RunStopped:
    """What is left of a fault may last a while, and these timeouts are short for a busy computer."""
    for _ in range(_TRIES - 1):
        try:
            return work()
        except DeviceFault:
            time.sleep(1.0)
    return work()


def _notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))
