"""A process that has loaded what a run needs and waits for its command line, so that a run starts at once.

`python -m procedures.standby [DEVICE]...` loads torch, the training loop and the code of the registered devices that
are named, says `{"ready": seconds}` on standard output, and waits for one line on standard input:

    {"argv": [...], "cwd": path, "stdout": path, "stderr": path, "env": {name: text}}

with `argv` as after `labpgt`. Then it leaves whoever started it (a session of its own, the two files for its output,
appended to) and becomes that command; a line that comes while it loads is obeyed when it has loaded. A Ctrl-C before
that line is not for it; one after it stops what has not begun yet, with code 4. When standard input ends instead,
because nobody needs it any more or whoever started it is gone, it leaves with code 0.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from typing import NoReturn, TypedDict

from labpgt.errors import RunAborted
from procedures.text import for_programs, json_line

_MODULES = (
    *("procedures.train", "procedures.resume", "procedures.console", "procedures.commands.runs"),
    *("labpgt.subscribers", "labpgt.replay", "h5py"),
    # What tasks and baselines import where they need it.
    *("sklearn.datasets", "sklearn.linear_model", "sklearn.model_selection", "sklearn.preprocessing"),
)
_TURN_S = 0.1
"""Within it the thread that reads gets to note a line that it has read, however busy loading is."""


class Order(TypedDict):
    """What the process is to become."""

    argv: list[str]
    cwd: str
    stdout: str
    stderr: str
    env: dict[str, str]


def load(devices: list[str]) -> None:
    """Import what a run needs. What cannot be imported is passed over: the run itself says why, if it needs it."""
    for module in _MODULES:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    with contextlib.suppress(Exception):
        import torch

        # torch loads its compiler, which takes more than a second, with the first optimiser that is made.
        torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    with contextlib.suppress(Exception):
        from labpgt.registry import device_class

        for name in devices:
            with contextlib.suppress(Exception):
                device_class(name)


def received(line: bytes) -> Order:
    """Return the order in a line; `ValueError` when it is none."""
    try:
        order = json.loads(line)
        texts = [*order["argv"], order["cwd"], order["stdout"], order["stderr"], *order["env"], *order["env"].values()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{line[:200]!r} is no order ({type(error).__name__}: {error}); see {__name__}") from error
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{line[:200]!r} is no order: expected texts; see {__name__}")
    return Order(**{name: order[name] for name in Order.__annotations__})  # type: ignore[typeddict-item]


def detach(order: Order) -> None:
    """Leave whoever started this process: a session of its own, its own files, place and environment.

    Raises `OSError` when the place or a file cannot be had.
    """
    os.chdir(order["cwd"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [os.open(os.devnull, os.O_RDONLY), *(os.open(order[name], flags, 0o666) for name in ("stdout", "stderr"))]
    if hasattr(os, "setsid"):
        with contextlib.suppress(OSError):  # whoever leads a group already has a session of its own
            os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.update(order["env"])


def main() -> NoReturn:
    """Load, wait, and become the command."""
    lines: list[bytes] = []
    signal.signal(signal.SIGINT, lambda *_: _interrupted(lines))
    began = time.monotonic()
    reading = threading.Thread(target=lambda: lines.append(_line()), daemon=True)
    reading.start()
    load(sys.argv[1:])
    with contextlib.suppress(OSError):  # nobody may be listening
        # Straight to the descriptor: nothing must be left in a buffer when that changes.
        os.write(1, json.dumps({"ready": round(time.monotonic() - began, 3)}).encode() + b"\n")
    try:
        reading.join()
        order = received(lines[0])
        detach(order)
    except (ValueError, OSError) as error:
        with contextlib.suppress(OSError):
            os.write(2, f"labpgt: becoming a run failed: {error}\n".encode())
        sys.exit(2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from procedures.cli import script

    sys.argv = ["labpgt", *order["argv"]]
    script()
    sys.exit(0)


def _interrupted(lines: list[bytes]) -> None:
    """End with the code of a stopped run if there is an order, of which nothing has been done yet.

    Before there is one, a Ctrl-C in the terminal of whoever started this is meant for that one.
    """
    deadline = time.monotonic() + _TURN_S
    while not lines and time.monotonic() < deadline:
        time.sleep(_TURN_S / 10)
    if not lines:
        return
    with contextlib.suppress(ValueError, OSError):
        detach(received(lines[0]))
        code, text = RunAborted.exit_code, "stopped by Ctrl-C before it began"
        os.write(2, (json_line(error=text, exit_code=code) if for_programs() else f"labpgt: {text}\n").encode())
    # At once, in the middle of whatever is being loaded: there is nothing to put in order.
    os._exit(RunAborted.exit_code)


def _line() -> bytes:
    """Return the first line on standard input; where there is none, this process ends, whatever it is doing."""
    line = b""
    while not line.endswith(b"\n"):
        got = os.read(0, 1 << 16)
        if not got:
            # Also after a part of a line: whoever dies while writing has ordered nothing.
            os._exit(0)
        line += got
    return line


if __name__ == "__main__":
    main()
