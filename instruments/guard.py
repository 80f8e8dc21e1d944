"""The run's side of the guard: a process of its own that turns RF off when the run dies or falls silent."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from instruments.bench import Bench
from instruments.safety import about, places, safe_targets
from labpgt import locks
from labpgt.errors import DeviceFault

_PROGRAM = "import os, sys; sys.path.append(sys.argv[1]); from instruments.guard_process import main; os._exit(main())"
"""Finds this room wherever the run has found it, after everything else."""
_ROOT = Path(__file__).parents[1]
_SPARE_S = 5.0
"""Time that starting a process may take on a busy computer."""
_WORD_S = 2.0
"""Shortest wait for word of a guard that has been silent."""
_OTHERS_S = 5.0
"""Time that a guard whose run was killed gets to leave the bench."""
_TURN_S = 0.3
"""Time that another thread of this run gets to make the bench safe."""


class Guard:
    """Watches over a run from outside: `claim` before anything is sent, `start` before RF goes on, `stop` after it.

    The guard's process has its own VISA connections, is in a session of its own and ignores SIGINT, SIGTERM and
    SIGHUP. It turns RF off, gain down and the amplifier off as soon as the run's process is gone, or when no beat came
    from it for `bench.guard_s`. Beats are written by a thread: only a run that is stopped, or that holds the
    interpreter for as long, misses them. A `Guard` that is dropped without `stop` lets go of the bench in the same
    way. One run at a time can use a bench from one computer: the second one's guard is refused, and touches nothing.
    """

    def __init__(self, bench: Bench, heartbeat_s: float = 0.2) -> None:
        """Prepare; raises `DeviceFault` when an instrument is of a model that nobody knows how to make safe."""
        self._targets, self._places, self._about = safe_targets(bench), places(bench), about(bench)
        self._guard_s = bench.guard_s
        self._heartbeat_s = min(heartbeat_s, bench.guard_s / 4)
        self._link: _Link | None = None
        self._let_go: weakref.finalize[..., Guard] | None = None

    @property
    def pid(self) -> int | None:
        """Process of the guard, while there is one."""
        return None if self._link is None else self._link.process.pid

    @property
    def fired(self) -> str | None:
        """Why the run is guarded no more: RF was turned off by the guard, or the guard itself died; else `None`."""
        return None if self._link is None else self._link.fired

    @property
    def on_watch(self) -> bool:
        """Whether RF may be on: the guard has its own connections, and is not known to have acted."""
        return self._link is not None and "ready" in self._link.said and self._link.fired is None

    def claim(self) -> None:
        """Have the bench to this run alone; a guard that fired or died is replaced. Nothing goes to any instrument.

        Raises `DeviceFault` when another run has it.
        """
        if self._link is not None:
            if self._link.fired is None and self._link.process.poll() is None:
                return
            self.stop()
        link = _Link(self._guard_s, self._heartbeat_s)
        try:
            link.begin(
                {
                    "guard_s": self._guard_s,
                    "wait_s": _OTHERS_S,
                    "run": os.getpid(),
                    "places": self._places,
                    "about": self._about,
                    "targets": self._targets,
                }
            )
            problems = link.answer("claimed", _SPARE_S + _OTHERS_S)
        except BaseException:
            link.kill()
            raise
        if problems:
            link.kill()
            raise DeviceFault("\n".join(f"guard: {problem}" for problem in problems))
        self._link = link
        self._let_go = weakref.finalize(self, link.let_go)

    def start(self) -> None:
        """Start the watch, a fraction of a second; a guard on watch stays, one that fired or died is replaced.

        Raises `DeviceFault`, with a line for each instrument of which the guard got no connection of its own.
        """
        self.claim()
        link = self._link
        assert link is not None
        if "ready" in link.said:
            return
        try:
            link.write(b"watch")
            problems = link.answer("ready", _SPARE_S + 2 * max(target["timeout_s"] for target in self._targets))
        except BaseException:
            self.leave()
            raise
        if problems:
            self.leave()
            raise DeviceFault(
                "\n".join(f"guard: {problem}" for problem in problems)
                + "\nguard: RF stays off without a guard, which needs a connection of its own to each instrument that "
                "is made safe"
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[str]:
        """Have the bench to this run alone while inside, also when its guard is gone; yields who else has it, or ""."""
        # The guard's process has the locks for as long as it lives.
        if self._link is not None and self._link.process.poll() is None:
            yield ""
            return
        own = locks.Locks(self._places, self._about)
        other = ""
        try:
            own.take(_TURN_S, os.getpid())
        except RuntimeError as error:
            other = str(error)
        except OSError:
            pass  # No place for locks: turning RF off comes first.
        try:
            yield other
        finally:
            own.free()

    def check(self) -> None:
        """Raise `DeviceFault` when RF may have been turned off by the guard, or nobody guards any more.

        To be called after a capture: a run that was stopped for a while may have measured a dark ring. Costs nothing
        as long as the guard answered a beat that is younger than the silence at which it acts.
        """
        link = self._link
        if link is None:
            raise DeviceFault("guard: not started; call start() before RF goes on")
        reason = link.news()
        if reason is not None:
            raise DeviceFault(f"guard: {reason}; RF is taken to be off, the shots since then are not used")

    def stop(self, wait_s: float = 5.0) -> list[str]:
        """End the watch: the guard makes the bench safe once more and leaves. Stopping twice does nothing.

        Returns a line for each instrument that is not safe. A guard that has not got through after `wait_s` is left
        to go on trying (60 s in all), also when the run ends meanwhile.
        """
        return self._end(b"stop", wait_s)

    def leave(self) -> list[str]:
        """End without touching any instrument, which is for a bench that has been made safe."""
        return self._end(b"leave", 5.0)

    def _end(self, word: bytes, wait_s: float) -> list[str]:
        link, self._link = self._link, None
        if link is None:
            return []
        if self._let_go is not None:
            self._let_go.detach()
        return link.end(word, wait_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Link:
    """The guard's process, the two pipes to it, and the two threads that serve them. Knows no `Guard`: see `Guard`."""

    def __init__(self, guard_s: float, heartbeat_s: float) -> None:
        self.fired: str | None = None
        self.refused: list[str] = []
        self.failed: list[str] | None = None
        """What the guard could not make safe, once it is through."""
        self.said: set[str] = set()
        """What the guard has come to: "claimed", "ready"."""
        self._guard_s, self._heartbeat_s = guard_s, heartbeat_s
        self._owner = os.getpid()
        self._ending = threading.Event()
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._sent: deque[tuple[int, float]] = deque(maxlen=10_000)
        self._heard = float("-inf")
        """When the youngest beat that the guard has answered was sent."""
        self._writing = threading.Lock()
        self.process = subprocess.Popen(
            # -P: not what lies about in the run's folder; -W: a guard does not die of a library's warning.
            [sys.executable, "-P", "-W", "ignore", "-c", _PROGRAM, str(_ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def begin(self, orders: dict[str, object]) -> None:
        """Hand over the orders and start beating and listening."""
        self.write(json.dumps(orders).encode())
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # Not for pipes on every Windows; a beat then waits in the full pipe.
            os.set_blocking(self.process.stdin.fileno(), False)
        for work in (self._beat, self._listen):
            threading.Thread(target=work, name=f"guard-{work.__name__[1:]}", daemon=True).start()

    def answer(self, word: str, limit_s: float) -> list[str]:
        """Wait until the guard has said `word`; returns why it will not, a line each."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: word in self.said or self.refused or self.fired or self._over.is_set(), limit_s
            ):
                return [f"its process {self.process.pid} has not said {word!r} within {limit_s:g} s"]
            return self.refused or ([self.fired] if self.fired else [])

    def news(self) -> str | None:
        """Return why the bench may be dark, having waited for word of the guard when its last is too old."""
        with self._changed:
            # The guard acts `guard_s` after the last beat that it got, so not before a beat that it answered is as old.
            wait_s = max(_WORD_S, 2 * self._guard_s)
            if not self._changed.wait_for(
                lambda: self.fired is not None or time.monotonic() - self._heard < self._guard_s, wait_s
            ):
                self.fired = f"its process {self.process.pid} has not answered for {wait_s:g} s"
        return self.fired

    def end(self, word: bytes, wait_s: float) -> list[str]:
        """Tell the guard to "stop" (make the bench safe) or "leave"; returns what it could not make safe."""
        self._ending.set()
        self.write(word)
        self._close_pipe()
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._reap_later()
            return [f"guard: process {self.process.pid} is still trying to make the bench safe after {wait_s:g} s"]
        self._over.wait(1.0)
        if self.failed is None:
            return [f"guard: {self.fired or 'its process ended without a word'}"]
        return [f"guard: {text}" for text in self.failed]

    def kill(self) -> None:
        """End a guard that never took its watch."""
        self._ending.set()
        self._close_pipe()
        self.process.kill()
        self.process.wait()

    def let_go(self) -> None:
        """Close the pipe: for the guard the run has ended, and it acts. Waits a moment for it to be through."""
        self._ending.set()
        self._close_pipe()
        # A child that was forked from the run holds a copy of this object, but not of the process.
        if os.getpid() == self._owner:
            try:
                self.process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._reap_later()

    def _reap_later(self) -> None:
        """Leave the guard to its work; it is reaped when it is through, if the run still lives then."""
        threading.Thread(target=self.process.wait, name="guard-reaper", daemon=True).start()

    def write(self, line: bytes) -> None:
        """Write a line; a guard that is dead or stopped shows in its missing answers."""
        with self._writing, contextlib.suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.write(line + b"\n")

    def _close_pipe(self) -> None:
        with self._writing, contextlib.suppress(OSError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def _beat(self) -> None:
        number = 0
        while not self._ending.wait(self._heartbeat_s if number else 0):
            number += 1
            self._sent.append((number, time.monotonic()))
            self.write(b"%d" % number)

    def _listen(self) -> None:
        """Take in what the guard says until it is gone."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                words = json.loads(line)
                with self._changed:
                    self._take(words)
                    self._changed.notify_all()
        with self._changed:
            if self.fired is None and not self._ending.is_set() and not self.refused:
                code = self._exit_code()
                self.fired = f"its process {self.process.pid} died (exit code {code}); RF may still be on"
            self._over.set()
            self._changed.notify_all()

    def _exit_code(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(1.0)
        return None

    def _take(self, words: dict[str, object]) -> None:
        if "beat" in words:
            while self._sent:
                number, sent = self._sent[0]
                if number > int(str(words["beat"])):
                    break
                self._heard = sent
                self._sent.popleft()
        elif "claimed" in words or "ready" in words:
            self.said |= words.keys()
        elif "refused" in words:
            self.refused = [str(text) for text in words["refused"]]  # type: ignore[attr-defined]
        elif "fired" in words:
            self.fired = str(words["fired"])
        elif "failed" in words:
            self.failed = [str(text) for text in words["failed"]]  # type: ignore[attr-defined]
