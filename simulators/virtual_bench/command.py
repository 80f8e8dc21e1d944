"""`labpgt virtual-bench`: a bench to try drivers, procedures and safety on, without any hardware."""

import contextlib
import os
import signal
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from labpgt.errors import InputError, StorageFault

_SHOWN = 100
"""Characters of a message that --verbose shows."""


def virtual_bench(
    latency_ms: Annotated[float, typer.Option(metavar="L", help="Delay of every reply, in ms.")] = 0.0,
    config_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Write the bench's configuration here; without it, it is printed.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[str, typer.Option(help="What the bench is for: envelope, spectrum or loopback.")] = "envelope",
    ring: Annotated[str, typer.Option(help="The ring behind it: envelope-ring or llg-ring.")] = "envelope-ring",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="ring.KEY=VALUE",
            help="Change one setting of the ring, or the model of a role (source=E8257D); may be repeated.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(metavar="N", help="Listen from this port on, to be found again after a restart; 0: free ones."),
    ] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE:KIND:AFTER[:SECONDS]",
            help="Let something go wrong after so many messages to that instrument; may be repeated.",
            show_default=False,
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show every message and reply.")] = False,
) -> None:
    """Serve virtual instruments on this computer: source, analyser, attenuator and supply around a simulated ring.

    They answer at free ports of 127.0.0.1 until Ctrl-C; the first start on a computer takes some seconds longer.

    Faults for --fault ROLE:KIND:AFTER[:SECONDS], AFTER so many messages to that instrument:

    - of replies: `late` (by SECONDS), `missing`, `truncated`, `garbage`, `nan`, `identity` (that of another model)

    - of connections: `drop` (a message is not done any more), `drop-after` (it is, without a reply), `hang` and
    `unplugged` (for SECONDS)

    - of instruments: `error` (in the queue), `ignored` (a waveform or list is not taken), `stale` (the analyzer sends
    its last capture again), `stuck` (the attenuator does not move), `rf-off` and `turned` (somebody at the front panel
    of source or attenuator)

    - of the signal: `overload`, `oscillate` and `drift` (for SECONDS)

    Examples:

    - `labpgt virtual-bench --config-out bench.toml --port 5025`

    - `labpgt virtual-bench --kind spectrum --config-out bench.toml --fault analyzer:unplugged:500:3`
    """
    from simulators.virtual_bench.bench import VirtualBench

    ring_settings, models = parsed_settings(settings or [])
    bench = VirtualBench(
        kind,
        latency_s=latency_ms / 1e3,
        ring=ring,
        settings=ring_settings,
        models=models,
        watch=_show if verbose else None,
        first_port=port,
    )
    for text in fault or []:
        add_fault(bench.faults, text)
    with _until_stopped() as stopped, bench:
        for role, address in bench.addresses.items():
            sys.stderr.write(f"{role:<11}{bench.models[role]:<15}{address}\n")
        if config_out is None:
            sys.stdout.write(bench.config_text())
            sys.stdout.flush()
        else:
            write_whole(config_out, bench.config_text())
            sys.stderr.write(f"configuration written to {config_out}\n")
        sys.stderr.write("serving until Ctrl-C\n")
        sys.stderr.flush()
        # In pieces: on Windows a wait without end cannot be interrupted.
        while not stopped.wait(0.5):
            pass
    sys.stderr.write("virtual bench: stopped\n")


def parsed_settings(assignments: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return ring settings and models by role from texts such as "ring.noise=0.01" and "source=E8257D".

    Raises `InputError` for what is neither.
    """
    settings: dict[str, Any] = {}
    models: dict[str, str] = {}
    for text in assignments:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key or not value:
            raise InputError(f"--set {text}: expected ring.KEY=VALUE or ROLE=MODEL")
        section, dot, name = key.rpartition(".")
        if not dot:
            models[key] = value
        elif section == "ring":
            settings[name] = _toml_value(value)
        else:
            raise InputError(f"--set {text}: expected ring.KEY=VALUE or ROLE=MODEL; there is no section {section!r}")
    return settings, models


def _toml_value(text: str) -> Any:
    """Return a value as TOML has it; what is not TOML is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def add_fault(faults: Any, text: str) -> None:
    """Add a fault written as ROLE:KIND:AFTER[:SECONDS]; `InputError` for one that cannot be."""
    parts = text.split(":")
    try:
        if len(parts) not in (3, 4):
            raise ValueError("expected three or four parts")
        if not parts[2].isdigit():
            raise ValueError(f"AFTER is a number of messages, not {parts[2]!r}")
        seconds = float(parts[3]) if len(parts) == 4 else None
        faults.add(parts[0], parts[1], after=int(parts[2]), seconds=seconds)
    except ValueError as error:
        raise InputError(f"--fault {text}: {error}; write it as ROLE:KIND:AFTER[:SECONDS]") from error


def write_whole(path: Path, text: str) -> None:
    """Write a file that nobody ever sees half written; `StorageFault` when it cannot be written."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise StorageFault(f"bench configuration {path}: cannot be written ({error.strerror or error})") from error


@contextlib.contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, instead of what they do otherwise."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    signals = [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(role: str, way: str, data: bytes) -> None:
    text = "".join(c if c.isprintable() else "." for c in data[:_SHOWN].decode("latin-1"))
    more = f"... ({len(data)} bytes)" if len(data) > _SHOWN else ""
    sys.stderr.write(f"{role:<11}{way} {text}{more}\n")
