"""Connecting the instruments of a bench: each is asked who it is before anything else is sent to it.

Whatever goes wrong is a `DeviceFault` that names the part the instrument plays, its address, what was found, what was
expected, and what to do. No connection is used again after a fault: a late answer would be taken for the next one's.
"""

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from pyvisa.constants import StatusCode
from pyvisa.errors import Error as VisaError
from pyvisa.errors import VisaIOError

from instruments.bench import Bench, Entry, SupplyEntry
from instruments.guard_process import visa
from instruments.models import driver_class
from instruments.scpi import InstrumentFault, SettingRefused
from instruments.sockets import explained, mend_socket
from labpgt.errors import DeviceFault, LabpgtError

_UNREADABLE = (ValueError, TypeError, LookupError, struct.error)
"""What pymeasure and Python raise for an answer that is not what was asked for."""


class WrongInstrument(DeviceFault):
    """Another instrument answers than the one in the bench's file, or one that lacks an option."""


def connect(role: str, entry: Entry, timeout_s: float, empty_errors: bool = True) -> Any:
    """Open the driver for one instrument and check that it is the right one.

    Checks model, serial number and options, and empties the error queue of what others left there, unless the
    instrument may be another's. `timeout_s` is the longest wait for an answer. Raises one `DeviceFault`
    (`WrongInstrument` when it is not the right one); nothing stays open then.
    """
    where = f"{role} at {entry.address}"
    try:
        driver = driver_class(entry.model)
    except LabpgtError as error:
        raise DeviceFault(f"{where}: {error}") from error
    milliseconds = max(1, round(1000 * timeout_s))
    # pymeasure would have pyvisa look for a library anew for each instrument, which starts a compiler on Linux.
    library = visa().visalib
    settings: dict[str, Any] = {"timeout": milliseconds, "open_timeout": milliseconds, "visa_library": library}
    if isinstance(entry, SupplyEntry):
        if entry.channel not in getattr(driver, "CHANNELS", ()):
            raise DeviceFault(
                f"{where}: expected a channel of {', '.join(map(str, getattr(driver, 'CHANNELS', ()))) or 'a supply'} "
                f"of the {entry.model}, got channel {entry.channel}; correct the bench's file"
            )
        settings["channel"] = entry.channel
    with _opening(where, timeout_s):
        instrument = driver(entry.address, **settings)
    try:
        mend_socket(instrument.adapter.connection)
        _check(where, instrument, entry, timeout_s)
        if empty_errors:
            with visa_errors(where, "asking for its errors"):
                instrument.empty_errors()
    except BaseException:
        close(instrument)
        raise
    return instrument


def connect_each(bench: Bench) -> tuple[dict[str, Any], DeviceFault | None]:
    """Connect the instruments of a bench, all at the same time; return those that are there, and what is not in order.

    The drivers are by role, in the order in which they are made safe; the fault has a line for each other instrument.
    """
    entries = bench.entries()
    with ThreadPoolExecutor(len(entries), thread_name_prefix="connect") as pool:
        asked = {role: pool.submit(connect, role, entry, bench.timeout_of(role)) for role, entry in entries.items()}
    faults = {role: future.exception() for role, future in asked.items()}
    opened = {role: future.result() for role, future in asked.items() if faults[role] is None}
    found = [fault for fault in faults.values() if fault is not None]
    if not found:
        return opened, None
    for fault in found:
        if not isinstance(fault, DeviceFault):
            for instrument in opened.values():
                close(instrument)
            raise fault
    together = DeviceFault("\n".join(str(fault) for fault in found))
    together.__cause__ = found[0]
    return opened, together


def close(instrument: Any) -> None:
    """Close the connection of a driver, whatever state it is in; never raises."""
    with suppress(Exception):
        instrument.adapter.close()


def lost(error: BaseException | None) -> bool:
    """Return whether the connection on which this was raised must not be used again.

    So it is after anything that came from the connection or from an answer, for bytes may be left in it or still on
    their way. Not so after a fault that is the run's own conclusion from whole answers (a `DeviceFault` with no such
    error behind it), nor after a value that the driver did not send.
    """
    while error is not None:
        if isinstance(error, SettingRefused):
            return False
        if isinstance(error, (InstrumentFault, VisaError, OSError, EOFError, *_UNREADABLE)):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


@contextmanager
def visa_errors(role: str, doing: str) -> Iterator[None]:
    """Turn what pyvisa, the network and the reading of answers raise into a `DeviceFault` with `role` and `doing`.

    `role` may hold the address as well. A fault of the instrument gets the two in front of it.
    """
    try:
        yield
    except InstrumentFault as error:
        raise DeviceFault(f"{role}: {doing}: {error}") from error
    except LabpgtError:
        raise
    except (VisaError, OSError, EOFError) as error:
        raise DeviceFault(f"{role}: {doing}: {explained(error)}") from error
    except _UNREADABLE as error:
        raise DeviceFault(
            f"{role}: {doing}: an answer that cannot be read ({error or type(error).__name__}); if it comes back, "
            "look with `labpgt doctor --bench FILE` what the instrument sends"
        ) from error


@contextmanager
def _opening(where: str, timeout_s: float) -> Iterator[None]:
    """Word what can go wrong in opening a connection; pyvisa-py raises bare exceptions there."""
    try:
        yield
    except LabpgtError:
        raise
    except Exception as error:
        raise DeviceFault(
            f"{where}: cannot be reached within {timeout_s:g} s ({explained(error)}); is it switched on and "
            "connected, and is the address right?"
        ) from error


def _check(where: str, instrument: Any, entry: Entry, timeout_s: float) -> None:
    """Raise `DeviceFault` unless the instrument that answers is the one in the bench's file."""
    try:
        found = instrument.identify()
    except InstrumentFault as error:
        raise DeviceFault(
            f"{where}: {error}; expected the model {entry.model}: is this the port for commands, and not one for web "
            "pages or another protocol?"
        ) from error
    except ConnectionRefusedError as error:
        raise DeviceFault(
            f"{where}: nothing listens there; expected the model {entry.model}: is it switched on, is the address "
            "right, and is its remote control over this interface enabled?"
        ) from error
    except (VisaError, OSError, EOFError) as error:
        silent = isinstance(error, VisaIOError) and error.error_code == StatusCode.error_timeout
        raise DeviceFault(
            f"{where}: "
            + (f"no answer to its identity query within {timeout_s:g} s" if silent else explained(error))
            + f"; expected the model {entry.model}: is it switched on, not busy with something else, and is this its "
            "port for commands?"
        ) from error
    except _UNREADABLE as error:
        raise DeviceFault(
            f"{where}: answered its identity query with something unreadable ({error}); expected the model "
            f"{entry.model}: is this its port for commands?"
        ) from error
    if found.model.upper() != entry.model.upper():
        raise WrongInstrument(
            f"{where}: expected the model {entry.model}, found {found.maker} {found.model} (serial {found.serial}); "
            "correct the address or the model in the bench's file"
        )
    if entry.serial and found.serial != entry.serial:
        raise WrongInstrument(
            f"{where}: expected the {entry.model} with serial number {entry.serial}, found number {found.serial}; "
            "correct the address or the serial number in the bench's file"
        )
    with visa_errors(where, "asking what it can do"):
        instrument.check_identity()
        installed = instrument.installed_options() if entry.options else frozenset()
    if missing := [option for option in entry.options if option not in installed]:
        raise WrongInstrument(
            f"{where}: expected option {', '.join(missing)} in the {entry.model}, found "
            f"{', '.join(sorted(installed)) or 'none'}; choose an instrument that has it, or a use of the ring that "
            "needs none"
        )
