"""What labpgt makes of so many damaged session files: `python -m tests.damage_table --files 1000`.

Each file is asked everything that a person asks, by a process that is watched: when it dies or hangs, that counts, and
another takes its place. Leaves with code 1 if a damaged file crashed or hung labpgt, raised something else than a
`LabpgtError`, or was taken for a sound one while it answered otherwise.
"""

import argparse
import contextlib
import faulthandler
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tests.damage import KINDS, STRANGERS, make_sessions, nth, place, read_original
from tests.damage_judge import BAD, OUTCOMES, age, examine, limited, reference

_PREPARING_S = 120.0
_STAGE_S = 15.0
"""Longest time for one question, from outside; from inside it is 5 s."""
_MEMORY = 2 << 30


def work(orders: Connection, sessions: Path, seed: int) -> None:
    """Damage and examine one file after another, as ordered by number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    originals = {name: read_original(sessions, name) for name in STRANGERS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"
        sound = {}
        for name in originals:
            path.write_bytes(originals[name].data)
            age(path)
            sound[name] = reference(name, path)
        orders.send(("ready", "", ""))
        with limited(_MEMORY):
            while (number := orders.recv()) is not None:
                original, damage = nth(originals, seed, number)
                path.write_bytes(damage.data)
                age(path)
                outcome, why = examine(path, sound[original.name], lambda stage: orders.send(("asking", stage, "")))
                orders.send(("done", outcome, why))


class Worker:
    """A process that examines files, replaced when it dies."""

    def __init__(self, sessions: Path, seed: int) -> None:
        self._context = get_context("spawn")
        self._arguments = (sessions, seed)
        self.number: int | None = None
        """The file in hand."""
        self.stage = ""
        self._start()

    def _start(self) -> None:
        self.connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=work, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()
        self.deadline = time.monotonic() + _PREPARING_S
        self.ready = False

    def order(self, number: int) -> None:
        """Have a file examined."""
        self.number, self.stage = number, "damaging"
        self.deadline = time.monotonic() + _STAGE_S
        with contextlib.suppress(OSError):  # it has died meanwhile, which `hear` will tell
            self.connection.send(number)

    def hear(self) -> tuple[str, str] | None:
        """Take a message; return outcome and reason when the file in hand is done."""
        try:
            kind, first, second = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            return self.replace("crash", f"exit code {self._process.exitcode}")
        self.deadline = time.monotonic() + _STAGE_S
        if kind == "ready":
            self.ready = True
        elif kind == "asking":
            self.stage = first
        else:
            self.number = None
            return first, second
        return None

    def replace(self, outcome: str, why: str) -> tuple[str, str]:
        """Start another process, and return what became of the file in hand."""
        if not self.ready:
            raise RuntimeError(f"the examining process does not start: {why}")
        self.stop()
        self._start()
        self.number = None
        return outcome, f"{self.stage}: {why}"

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def examined(sessions: Path, seed: int, numbers: range, jobs: int) -> Iterator[tuple[int, str, str]]:
    """Yield number, outcome and reason of each file as they come. What hung is asked a second time before it counts."""
    waiting = list(reversed(numbers))
    again: set[int] = set()
    workers = [Worker(sessions, seed) for _ in range(jobs)]
    left = len(numbers)
    try:
        while left:
            for worker in workers:
                if worker.ready and worker.number is None and waiting:
                    worker.order(waiting.pop())
            heard = wait([worker.connection for worker in workers], timeout=0.5)
            for worker in workers:
                number, done = worker.number, None
                if worker.connection in heard:
                    done = worker.hear()
                elif time.monotonic() > worker.deadline and (number is not None or not worker.ready):
                    done = worker.replace("hang", f"stopped after {_STAGE_S:.0f} s")
                if done is None or number is None:
                    continue
                if done[0] == "hang" and number not in again:  # the machine may have been busy
                    again.add(number)
                    waiting.append(number)
                    continue
                left -= 1
                yield number, *done
    finally:
        for worker in workers:
            worker.stop()


def table(outcomes: dict[int, str]) -> str:
    """Return how many files of each kind of damage came to which outcome."""
    counts = Counter((KINDS[number % len(KINDS)], outcome) for number, outcome in outcomes.items())
    rows = [(kind, *(counts[kind, outcome] for outcome in OUTCOMES)) for kind in KINDS]
    rows = [row for row in rows if any(row[1:])]
    rows.append(("all", *(sum(int(row[i]) for row in rows) for i in range(1, len(OUTCOMES) + 1))))
    lines = [f"{'damage':24}" + "".join(f"{outcome:>16}" for outcome in OUTCOMES)]
    lines += [f"{row[0]:24}" + "".join(f"{count or '-':>16}" for count in row[1:]) for row in rows]
    return "\n".join(lines)


class Progress:
    """Says on standard error how far it is and how long it will take, every second or, in a log, every 20 s."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._began = self._said = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, done: int, failures: int) -> None:
        """Say so, if it is time."""
        now = time.monotonic()
        if now - self._said < (1 if self._live else 20):
            return
        self._said = now
        left = (now - self._began) / done * (self.total - done)
        time_left = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        line = f"{done} of {self.total} files, {failures} failures, {time_left} left   "
        print(line, end="\r" if self._live else "\n", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.damage_table", description=__doc__)
    parser.add_argument("--files", type=int, default=1000, metavar="N", help="damaged files (default: 1000)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first one (default: 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, other damage (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    parser.add_argument("--sessions", type=Path, metavar="DIR", help="sound sessions: made there, or used again")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where to put files that labpgt failed on")
    given = parser.parse_args(arguments)
    if min(given.files, given.jobs) < 1:
        parser.error("--files and --jobs must be at least 1")
    outcomes: dict[int, str] = {}
    reasons: Counter[str] = Counter()
    failures = 0
    interrupted = False
    with tempfile.TemporaryDirectory() as scratch:
        sessions: Path = given.sessions or Path(scratch)
        sessions.mkdir(parents=True, exist_ok=True)
        try:
            if not all(place(sessions, name).exists() for name in STRANGERS):
                print("making sessions", file=sys.stderr)
                make_sessions(sessions)
            originals = {name: read_original(sessions, name) for name in STRANGERS}
            progress = Progress(given.files)
            for number, outcome, why in examined(
                sessions, given.seed, range(given.first, given.first + given.files), given.jobs
            ):
                outcomes[number] = outcome
                if outcome in BAD:
                    failures += 1
                    _, damage = nth(originals, given.seed, number)
                    print(f"{outcome}: file {number} of seed {given.seed}: {damage.what}: {why}", file=sys.stderr)
                    if given.keep:
                        given.keep.mkdir(parents=True, exist_ok=True)
                        (given.keep / f"{given.seed}-{number}.h5").write_bytes(damage.data)
                elif outcome != "identical":
                    reasons[f"{outcome}: {general(why)}"] += 1
                progress(len(outcomes), failures)
        except KeyboardInterrupt:
            interrupted = True
    print(table(outcomes))
    print(f"\n{len(outcomes)} files of seed {given.seed}: {failures} failures. What was said most:")
    for reason, count in reasons.most_common(40):
        print(f"{count:6}  {reason}")
    return 130 if interrupted else int(failures > 0)


def general(why: str) -> str:
    """Return a reason without what differs from file to file."""
    short = re.sub(r"/\S*?/(run|copy)\.h5", "FILE", why)
    short = re.sub(r"0x[0-9a-f]+|[0-9a-f]{16}…|-?\d+(\.\d+)?(e[-+]?\d+)?", "N", short)
    return short[:150]


if __name__ == "__main__":
    sys.exit(main())
