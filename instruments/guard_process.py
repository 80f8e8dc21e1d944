"""The guard's own process: makes the bench safe when the run that started it dies or falls silent.

Run by `instruments.guard`, never by the run's hot code: it needs pyvisa and the standard library alone, so that it is
on watch a fraction of a second after it was started.

The run writes lines to standard input: first the orders (JSON: `guard_s`, `wait_s`, `run`, `places`, `about`,
`targets`), at which the guard locks the bench; then "watch", at which it connects; a number as each beat; and in the
end "stop", or "leave" when there is nothing to be made safe. The guard answers with JSON lines on standard output:
`{"claimed": true}` once the bench is this run's, `{"ready": true}` once it is on watch, `{"beat": n}` for each beat,
`{"refused": [...]}` when it cannot do what it is told, `{"fired": reason}` when it starts to make the bench safe
unasked, and `{"done": [...], "failed": [...]}` before it leaves. What it does to the instruments it also says on
standard error. Nothing goes to any instrument before the bench is locked.
"""

import contextlib
import functools
import json
import os
import queue
import signal
import threading
import time
from typing import Any

from labpgt.locks import Locks

PERSIST_S = 60.0
"""How long the guard goes on trying to make an instrument safe."""
STUCK_S = 30.0
"""On top of that: a driver that is not back by then is stuck in its library; the bench is let go of all the same."""
FIRST_TRY_S = 0.4
"""Patience with the first attempt, which uses the connection held since the start; it doubles with each attempt."""
LONGEST_PAUSE_S = 2.0
LEAD_S = 0.5
"""Time that RF has to be switched off before the gain is turned down; then it is turned down anyway."""

Target = dict[str, Any]
"""One instrument: role, address, model, timeout_s, and the fields of `instruments.safety.SafeCommands`."""


_making = threading.Lock()


def visa() -> Any:
    """Return the VISA library's manager, the same one always: looking for the library takes 0.1 s.

    Its making is not safe in several threads at once.
    """
    with _making:
        return _manager()


@functools.cache
def _manager() -> Any:
    import pyvisa  # Late: reading the run's pipe must not wait for this import.

    return pyvisa.ResourceManager()


class Stranger(Exception):
    """Another instrument answers than the one that is expected."""


class Line:
    """A connection to one instrument, for the few commands that make it safe."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        """Open; raises what pyvisa raises. An address where nothing listens may show only at the first question."""
        self.target = target
        address = target["address"].upper()
        milliseconds = max(1, round(1000 * timeout_s))
        self._visa: Any = visa().open_resource(target["address"], open_timeout=milliseconds)
        try:
            from instruments.sockets import mend_socket  # Late, as pyvisa itself.

            mend_socket(self._visa)
            self._visa.timeout = milliseconds
            self._visa.write_termination = target["termination"]
            # On the other interfaces the end of a message is told by the bus.
            self._visa.read_termination = "\n" if address.startswith("ASRL") or address.endswith("::SOCKET") else None
        except BaseException:
            self._visa.close()
            raise

    def patience(self, timeout_s: float) -> None:
        """Set the longest wait for an answer, s."""
        self._visa.timeout = max(1, round(1000 * timeout_s))

    def ask(self, command: str) -> str:
        """Send a question and return the answer without its end."""
        return str(self._visa.query(command)).strip()

    def identify(self) -> None:
        """Raise `Stranger` unless the instrument is of the model that is expected."""
        answer = self.ask(self.target["identity"])
        if self.target["model"].upper() not in answer.upper():
            raise Stranger(f"expected the model {self.target['model']}, but {answer!r} answers")

    def make_safe(self) -> None:
        """Send what makes the instrument safe and ask whether it is; raises `ValueError` when it is not."""
        for command in self.target["send"]:
            if self.target["answers"]:
                self.ask(command)
            else:
                self._visa.write(command)
        answer = self.ask(self.target["verify"])
        if not is_safe(self.target, answer):
            raise ValueError(f"answers {answer!r} to {self.target['verify']}, {self.target['expected']} was expected")

    def close(self) -> None:
        """Close; never raises."""
        with contextlib.suppress(Exception):
            self._visa.close()


def is_safe(target: Target, answer: str) -> bool:
    """Return whether an instrument that gives this answer to its question `verify` is safe."""
    try:
        return float(answer) == float(target["expected"])
    except ValueError:
        return bool(answer == target["expected"])


def make_safe(target: Target, line: Line | None, persist_s: float, known: bool = True) -> str:
    """Make one instrument safe, over the open `line` first and then over fresh ones, and say how; `line` is closed.

    Raises the last error when it is still not safe after `persist_s`. One that is not `known` to be of its model is
    asked first, and left alone when it is another: `Stranger`.
    """
    deadline = time.monotonic() + persist_s
    patience, pause, attempt = FIRST_TRY_S, 0.05, 0
    while True:
        attempt += 1
        try:
            if line is None:
                line = Line(target, patience)
            line.patience(patience)
            if not known:
                line.identify()
            line.make_safe()
            return f"{target['role']} at {target['address']}: {target['meaning']}" + (
                f" (attempt {attempt})" if attempt > 1 else ""
            )
        except Stranger:
            raise
        except Exception:
            if time.monotonic() + pause >= deadline:
                raise
        finally:
            # After a fault a late answer could be taken for the next one's: every attempt has a line of its own.
            if line is not None:
                line.close()
            line = None
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
        patience = min(2 * patience, max(FIRST_TRY_S, target["timeout_s"]))


class Watch:
    """One guard: its orders, what happens to it (`events`), and the instruments it holds lines to."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._log: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lines: dict[str, Line] = {}
        self._locks: Locks | None = None
        self._logger = threading.Thread(target=self._write_log, daemon=True)
        self._logger.start()
        threading.Thread(target=self._read, daemon=True).start()

    def run(self) -> int:
        """Watch until told to stop, or until the run is silent; returns the exit code."""
        kind, orders = self.events.get()
        if kind != "orders":
            return 0  # The run died before it said what to watch: RF was never on.
        targets: list[Target] = orders["targets"]
        self._locks = Locks(orders["places"], orders["about"])
        threading.Thread(target=self._claim, args=(self._locks, orders["wait_s"], orders["run"]), daemon=True).start()
        guard_s, last = orders["guard_s"], time.monotonic()
        ours, waiting, problems = False, 0, []
        while True:
            kind, value = self._next(last + guard_s - time.monotonic())
            if kind == "beat":
                last = time.monotonic()
                self._tell(beat=value)
            elif kind == "stop":
                return self._secure(targets if ours else [], unasked=False)
            elif kind == "leave":
                return self._secure([], unasked=False)
            elif kind in ("end", "silence"):
                reason = "the run ended without stopping its guard" if kind == "end" else f"no beat for {guard_s:g} s"
                self._tell(fired=reason)
                if not ours:
                    return 0  # It has sent nothing either: the bench may be another run's.
                self._say(f"{reason}: making the bench safe")
                return self._secure(targets, unasked=True)
            elif kind == "claimed":
                ours = True
                self._tell(claimed=True)
            elif kind == "watch":
                waiting = len(targets)
                for target in targets:
                    threading.Thread(target=self._connect, args=(target,), daemon=True).start()
            else:
                waiting -= 1
                problems += [value] if kind == "refused" else []
                if problems and waiting <= 0:
                    self._tell(refused=problems)
                    return 1
                if not waiting:
                    self._tell(ready=True)

    def leave(self) -> None:
        """Close what is open and let the last words out; a reader of standard error that is stuck is not waited for."""
        for line in self._lines.values():
            line.close()
        if self._locks is not None:
            self._locks.free()
        self._log.put(None)
        self._logger.join(0.5)

    def _next(self, wait_s: float) -> tuple[str, Any]:
        """Return the next event, or "silence"."""
        with contextlib.suppress(queue.Empty):
            return self.events.get(timeout=max(0.0, wait_s))
        # When this process was itself held up, beats may lie in the pipe that its reader has not seen yet.
        with contextlib.suppress(queue.Empty):
            return self.events.get(timeout=0.05)
        return "silence", None

    def _read(self) -> None:
        """Turn what the run writes into events; the end of the pipe is the end of the run."""
        buffer, first = b"", True
        while True:
            try:
                chunk = os.read(0, 65536)
            except OSError:
                chunk = b""
            if not chunk:
                self.events.put(("end", None))
                return
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                if first:
                    self.events.put(("orders", json.loads(line)))
                    first = False
                elif line in (b"watch", b"stop", b"leave"):
                    self.events.put((line.decode(), None))
                else:
                    self.events.put(("beat", int(line)))

    def _claim(self, locks: Locks, wait_s: float, run: int) -> None:
        """Keep other runs of this computer off the bench: they would switch each other's RF.

        A guard that is still making the bench safe after its run was killed is waited for.
        """
        try:
            locks.take(wait_s, run)
        except Exception as error:
            self.events.put(("refused", str(error)))
        else:
            self.events.put(("claimed", None))

    def _connect(self, target: Target) -> None:
        """Take the watch over one instrument: reachable, and of the right model."""
        line = None
        try:
            line = Line(target, target["timeout_s"])
            line.identify()
        except Exception as error:
            if line is not None:
                line.close()
            self.events.put(("refused", f"{target['role']} at {target['address']}: {error}"))
        else:
            self._lines[target["role"]] = line
            self.events.put(("connected", None))

    def _secure(self, targets: list[Target], unasked: bool) -> int:
        """Make every instrument safe, each in a thread of its own, RF first; say what was reached."""
        rf_off, outcome = threading.Event(), queue.SimpleQueue[tuple[bool, str]]()
        for rank, target in enumerate(targets):
            threading.Thread(target=self._secure_one, args=(target, rank, rf_off, outcome), daemon=True).start()
        told = []
        deadline = time.monotonic() + PERSIST_S + STUCK_S
        for _ in targets:
            try:
                safe, text = outcome.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                safe, text = (
                    False,
                    f"an instrument gave no word in {PERSIST_S + STUCK_S:g} s; make it safe by hand",
                )
            told.append((safe, text))
            if unasked or not safe:
                self._say(text if safe else f"NOT SAFE: {text}")
        failed = [text for safe, text in told if not safe]
        self._tell(done=[text for safe, text in told if safe], failed=failed)
        return 1 if failed else 0

    def _secure_one(
        self, target: Target, rank: int, rf_off: threading.Event, outcome: "queue.SimpleQueue[tuple[bool, str]]"
    ) -> None:
        if rank:
            rf_off.wait(LEAD_S)
        # Before the watch began, nobody has seen yet who is at this address.
        line = self._lines.pop(target["role"], None)
        try:
            text, safe = make_safe(target, line, PERSIST_S, known=line is not None), True
        except Exception as error:
            text = (
                f"{target['role']} at {target['address']}: {target['meaning']} could not be reached in "
                f"{PERSIST_S:g} s ({error}); make it safe by hand"
            )
            safe = False
        if not rank:
            rf_off.set()
        outcome.put((safe, text))

    def _tell(self, **words: Any) -> None:
        """Write to the run; it may be dead, or stopped with its pipe full, and is then not waited for."""
        with contextlib.suppress(OSError):
            os.write(1, json.dumps(words).encode() + b"\n")

    def _say(self, text: str) -> None:
        self._log.put(f"{time.strftime('%Y-%m-%d %H:%M:%S')} labpgt guard: {text}\n")

    def _write_log(self) -> None:
        while (text := self._log.get()) is not None:
            with contextlib.suppress(OSError):
                os.write(2, text.encode())


def main() -> int:
    """Watch over one run; returns the exit code, with which to leave at once: threads may be stuck in a driver."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.set_blocking(1, False)
    watch = Watch()
    code = watch.run()
    watch.leave()
    return code
