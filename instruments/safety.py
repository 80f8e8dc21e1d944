"""Making instruments safe: the commands for each family, and steps of which none keeps another from being taken.

Safe is: RF off first, then the loop's gain down (attenuation at its maximum, amplifier's supply off), because a ring
whose loop gain is above the threshold goes on by itself without RF. The magnet is left as it is: its field alone harms
nobody, and a current cut off in an inductive coil does.

Commands from the "SCPI Command Reference" of Keysight's signal generators, "Mini-Circuits Programmable Attenuators
Programming Manual", "Keysight E36300 Series Programming Guide" and "Rohde & Schwarz HMP Series SCPI Programmer's
Manual".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from instruments.bench import Bench, Entry, SupplyEntry, same_address
from instruments.guard_process import Target, make_safe
from labpgt.errors import DeviceFault


@dataclass(frozen=True)
class SafeCommands:
    """What makes one family of instruments safe. `{channel}` and `{maximum}` are filled in for the instrument."""

    send: tuple[str, ...]
    verify: str
    """Question whose answer shows whether the instrument is safe."""
    expected: str
    """That answer; compared as a number where it is one."""
    meaning: str
    """State reached, for messages."""
    answers: bool = False
    """Whether each command of `send` is answered with a line."""
    identity: str = "*IDN?"
    """Question whose answer holds the model."""
    termination: str = "\n"


_RF_OFF = SafeCommands((":OUTP OFF",), ":OUTP?", "0", "RF off")
# Selecting and switching travel in one message: the run's own connection may select another channel in between.
_HMP = SafeCommands(("INST:NSEL {channel};:OUTP:SEL 0",), "INST:NSEL {channel};:OUTP:SEL?", "0", "output {channel} off")
_E36300 = SafeCommands(("OUTP 0,(@{channel})",), "OUTP? (@{channel})", "0", "output {channel} off")
_RCDAT = SafeCommands(
    (":SETATT={maximum}",),
    ":ATT?",
    "{maximum}",
    "attenuation at its maximum, {maximum} dB",
    answers=True,
    identity=":MN?",
    termination="\r\n",
)

SAFE: Mapping[str, SafeCommands] = MappingProxyType(
    {
        "E8257D": _RF_OFF,
        "E8267D": _RF_OFF,
        "N5171B": _RF_OFF,
        "N5172B": _RF_OFF,
        "N5173B": _RF_OFF,
        "N5181A": _RF_OFF,
        "N5182A": _RF_OFF,
        "N5181B": _RF_OFF,
        "N5182B": _RF_OFF,
        "N5183B": _RF_OFF,
        "RCDAT": _RCDAT,
        "E36311A": _E36300,
        "E36312A": _E36300,
        "E36313A": _E36300,
        "HMP2020": _HMP,
        "HMP2030": _HMP,
        "HMP4030": _HMP,
        "HMP4040": _HMP,
    }
)
"""Commands by model, or by the part of the model before the first hyphen ("RCDAT-6000-90" is an RCDAT)."""

GUARDED = ("source", "attenuator", "amplifier")
"""Roles that are made safe, RF first."""


def safe_commands(entry: Entry) -> SafeCommands:
    """Return what makes this instrument safe, or raise `DeviceFault` when nobody has said so for its model."""
    model = entry.model.upper()
    commands = SAFE.get(model) or SAFE.get(model.partition("-")[0])
    if commands is None:
        raise DeviceFault(
            f"model {entry.model}: no commands are known that make it safe; expected one of {', '.join(SAFE)}"
        )
    values: dict[str, object] = {"channel": entry.channel if isinstance(entry, SupplyEntry) else 1}
    if commands is _RCDAT:
        # The model says how far it goes: RCDAT-6000-90 covers 0 to 6 000 MHz and 0 to 90 dB.
        greatest = re.search(r"-(\d+)[A-Z]*$", model)
        if greatest is None:
            raise DeviceFault(
                f"model {entry.model}: its greatest attenuation is not in its name; write the whole model, "
                "such as RCDAT-6000-90"
            )
        values["maximum"] = int(greatest.group(1))
    return replace(
        commands,
        send=tuple(command.format(**values) for command in commands.send),
        verify=commands.verify.format(**values),
        expected=commands.expected.format(**values),
        meaning=commands.meaning.format(**values),
    )


def safe_target(role: str, entry: Entry, timeout_s: float) -> Target:
    """Return one instrument and the commands that make it safe, as the guard's process takes them."""
    try:
        commands = safe_commands(entry)
    except DeviceFault as error:
        raise DeviceFault(f"{role} at {entry.address}: {error}") from None
    return {
        "role": role,
        "address": entry.address,
        "model": entry.model,
        "timeout_s": timeout_s,
        **asdict(commands),
    }


def safe_targets(bench: Bench) -> list[Target]:
    """Return every instrument of a bench that is made safe, RF first; `DeviceFault` names each that cannot be."""
    found, problems = [], []
    for role, entry in bench.entries().items():
        if role not in GUARDED:
            continue
        try:
            found.append(safe_target(role, entry, bench.timeout_of(role)))
        except DeviceFault as error:
            problems.append(str(error))
    if problems:
        raise DeviceFault("\n".join(problems))
    return found


def places(bench: Bench) -> dict[str, str]:
    """Return what a run locks of a bench, by "role at address": each instrument, a supply channel by channel."""
    return {
        f"{role} at {entry.address}": same_address(entry.address)
        + (f" channel {entry.channel}" if isinstance(entry, SupplyEntry) else "")
        for role, entry in bench.entries().items()
    }


def about(bench: Bench) -> dict[str, Any]:
    """Return what the locks on a bench say of it, so that whoever finds them can turn its RF off."""
    return {"file": None if bench.file is None else str(bench.file), "bench": bench.model_dump(mode="json")}


def make_all_safe(steps: Sequence[tuple[str, Callable[[], None]]]) -> list[str]:
    """Take every step, whatever happens to the others, in the order given (RF first).

    A step is what it is for ("source: RF off") and what does it. Returns a line for each step that failed;
    only what is not an `Exception` (Ctrl-C) is raised, after the last step.
    """
    failed: list[str] = []
    interrupted: BaseException | None = None
    for doing, step in steps:
        try:
            step()
        except Exception as error:
            failed.append(f"{doing} failed: {error or type(error).__name__}")
        except BaseException as error:
            # A second Ctrl-C must not leave the rest of the bench on. The step itself may have got through or not.
            interrupted = error
            failed.append(f"{doing} was interrupted")
    if interrupted is not None:
        raise interrupted
    return failed


def force_off(role: str, entry: Entry, timeout_s: float) -> None:
    """Make one instrument safe over a fresh connection, for when the run's own is broken.

    Tries again with new connections for `timeout_s` and asks the instrument whether it is safe; `DeviceFault` when
    it cannot be reached or says that it is not.
    """
    target = safe_target(role, entry, timeout_s)
    try:
        make_safe(target, None, timeout_s)
    except Exception as error:
        raise DeviceFault(
            f"{role} at {entry.address}: {target['meaning']} could not be reached within {timeout_s:g} s over a new "
            f"connection ({error}); make it safe by hand"
        ) from error
