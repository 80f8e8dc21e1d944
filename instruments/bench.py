"""What stands on the bench: which instrument plays which part, where it answers, and how far it may be driven.

One TOML file describes a bench; every run on it, its guard and `labpgt doctor --bench` read the same file.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from labpgt.errors import DeviceFault, InputError
from labpgt.validation import validated

ROLES = ("source", "analyzer", "attenuator", "amplifier", "magnet")
"""Parts that an instrument can play, in the order in which they are made safe: RF first."""

Range = tuple[float, float]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Entry(_Table):
    """One instrument: its model and where it answers."""

    model: str = Field(min_length=1)
    """Model as the instrument gives it in its identity, such as "N5182B"."""
    address: str = Field(min_length=1)
    """VISA resource name, such as "TCPIP0::192.168.1.20::5025::SOCKET"."""
    serial: str = ""
    """Serial number that it must have; empty: any."""
    timeout_s: float | None = Field(default=None, gt=0, le=600)
    """Longest wait for an answer, where it differs from the bench's."""
    options: list[str] = []
    """Installed options that it must have."""


class SupplyEntry(Entry):
    """One channel of a laboratory supply: of the amplifier in the loop, or of the magnet."""

    channel: int = Field(default=1, ge=1, le=4)
    voltage_v: float = Field(ge=0, le=150)
    """Output voltage while the ring is in use, V; for a magnet the voltage that the current may need at most."""
    current_a: float = Field(ge=0, le=30)
    """Current limit, A; for a magnet the current that makes the field."""
    settle_s: float = Field(default=0.0, ge=0, le=600)
    """Time from switching it on until it is what it shall be, s."""


class Limits(_Table):
    """How far the bench may be driven; checked before anything is sent."""

    power_dbm: float = Field(default=10.0, ge=-140, le=40)
    """Highest power at the source's connector, dBm."""
    frequency_hz: Range = (2e9, 6e9)
    """Lowest and highest carrier, Hz."""
    attenuation_db: Range = (8.0, 90.0)
    """Least and greatest attenuation in the loop, dB; the least one means the greatest loop gain."""
    field_t: Range = (0.0, 0.2)
    """Lowest and highest bias field of the magnet, T."""
    oscillation_dbm: float = Field(default=-50.0, ge=-160, le=30)
    """Power at the analyser with RF off above which the loop counts as oscillating by itself, dBm."""
    drift: float = Field(default=0.1, gt=0)
    """Largest change of the pilot shot between two health checks, as a share of its first response."""

    @field_validator("frequency_hz", "attenuation_db", "field_t", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        # TOML knows lists only.
        return tuple(value) if isinstance(value, list) else value

    @field_validator("frequency_hz", "attenuation_db", "field_t")
    @classmethod
    def _ordered(cls, value: Range) -> Range:
        if not 0 <= value[0] <= value[1]:
            raise ValueError("must be two numbers of at least 0, the lower one first")
        return value


class Wiring(_Table):
    """How what the instruments show relates to what the ring does."""

    full_scale_v: float = Field(default=0.25, gt=0)
    """Analyser volts, peak, that count as a response of 1."""
    tesla_per_ampere: float = Field(default=0.0, ge=0)
    """Bias field per ampere of the magnet's supply, T/A; 0: not known."""


class Bench(_Table):
    """The instruments of a bench by the part they play, with limits and wiring."""

    name: str = Field(default="bench", min_length=1)
    timeout_s: float = Field(default=2.0, gt=0, le=600)
    """Longest wait for an answer of an instrument, s."""
    guard_s: float = Field(default=1.0, ge=0.2, le=60)
    """Silence of the run after which the guard turns RF off, s."""
    source: Entry
    analyzer: Entry
    attenuator: Entry | None = None
    amplifier: SupplyEntry | None = None
    magnet: SupplyEntry | None = None
    limits: Annotated[Limits, Field(default_factory=Limits)]
    wiring: Annotated[Wiring, Field(default_factory=Wiring)]
    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """Absolute path of the file that it was read from, or `None`."""
        return self._file

    def entries(self) -> dict[str, Entry]:
        """Return the instruments there are, by their role, in the order of `ROLES`."""
        found = {role: getattr(self, role) for role in ROLES}
        return {role: entry for role, entry in found.items() if entry is not None}

    def timeout_of(self, role: str) -> float:
        """Return the longest wait for an answer of the instrument with this role, s."""
        own = self.entries()[role].timeout_s
        return self.timeout_s if own is None else own


def load_bench(path: Path | str) -> Bench:
    """Read the bench in the TOML file `path`.

    Raises, with a line for each problem, `InputError` for a file that describes no bench, and `DeviceFault` for one
    whose parts do not fit together.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"bench {path}: cannot be read ({getattr(error, 'strerror', None) or error}); "
            "give the TOML file that describes the instruments (device.bench, or doctor --bench)"
        ) from error
    try:
        bench = validated(Bench, tomllib.loads(text), "")
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"bench {path}: is not TOML: {error}") from error
    except InputError as error:
        raise InputError("\n".join(f"bench {path}: {line}" for line in str(error).splitlines())) from error
    problems = _problems(bench)
    if problems:
        raise DeviceFault("\n".join(f"bench {path}: {line}" for line in problems))
    bench._file = path.resolve()
    return bench


def same_address(address: str) -> str:
    """Return a VISA resource name in lower case and with its board number: "TCPIP::x" and "tcpip0::X" are one."""
    return re.sub(r"^([a-z]+)(?=::)", r"\g<1>0", address.strip().casefold())


def _problems(bench: Bench) -> list[str]:
    """Say what fits together badly although each value alone is right."""
    found = []
    takers: dict[tuple[str, int], str] = {}
    for role, entry in bench.entries().items():
        # Amplifier and magnet may share one supply, on channels of their own.
        place = (same_address(entry.address), entry.channel if isinstance(entry, SupplyEntry) else 0)
        shared = [
            (other, channel)
            for (address, channel), other in takers.items()
            if address == place[0] and (channel == place[1] or 0 in (channel, place[1]))
        ]
        for other, channel in shared:
            where = f"{entry.address}, channel {channel}" if channel else entry.address
            found.append(f"{other} and {role} both have the address {where}; give each its own")
        takers[place] = role
    if bench.magnet is not None:
        if not bench.wiring.tesla_per_ampere:
            found.append(
                "wiring.tesla_per_ampere: must be given with a magnet: its field is kept within limits.field_t"
            )
        else:
            field = bench.magnet.current_a * bench.wiring.tesla_per_ampere
            low, high = bench.limits.field_t
            if not low <= field <= high:
                found.append(
                    f"magnet.current_a = {bench.magnet.current_a:g}: makes a field of {field:g} T, outside "
                    f"limits.field_t {low:g} to {high:g} T"
                )
    return found
