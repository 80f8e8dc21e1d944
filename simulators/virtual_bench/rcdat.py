"""Programmable attenuator in the ring."""

from typing import Any

from simulators.virtual_bench.instrument import Instrument
from simulators.virtual_bench.setup import Setup

MAXIMUM_DB = {"RCDAT-6000-30": 30.0, "RCDAT-6000-60": 60.0, "RCDAT-6000-90": 90.0, "RCDAT-6000-110": 110.0}
"""Largest attenuation of each model."""
_STEP = 0.25
_TURNED_DB = 10.0
"""By how much somebody turns it up at the front panel."""


class RCDAT(Instrument):
    """Mini-Circuits RCDAT over Telnet: short commands of its own, no SCPI queue, nothing is asked with `*`."""

    MAKER = "Mini-Circuits"
    FIRMWARE = "C8"
    GUIDE = "Mini-Circuits Programming Manual, Programmable Attenuators (AN-70-015), section Ethernet control"
    TERMINATOR = b"\r\n"

    def __init__(self, serial: str, setup: Setup, model: str) -> None:
        self.setup = setup
        self.attenuation_db = setup.world.attenuation_db
        super().__init__(serial, setup.busy, model)

    def build(self) -> None:
        """Nothing: its commands are too few for a tree."""

    @property
    def maximum_db(self) -> float:
        """Largest attenuation of this model."""
        return MAXIMUM_DB[self.model]

    async def execute(self, message: bytes, client: Any) -> bytes | None:
        """Answer one command; every command has an answer."""
        text = message.decode("latin-1").strip().upper()
        return self._reply(text).encode("latin-1", "replace") + self.TERMINATOR if text else None

    def _reply(self, text: str) -> str:
        match text:
            case ":MN?":
                return f"MN={self.model}"
            case ":SN?":
                return f"SN={self.serial}"
            case ":FIRMWARE?":
                return f"FIRMWARE={self.FIRMWARE}"
            case ":ATT?":
                return f"{self.attenuation_db:.2f}"
        if text.startswith((":SETATT=", "SETATT=")):
            return self._set(text.partition("=")[2])
        return f"-99 Unrecognized Command. Model={self.model} SN={self.serial}"

    def _set(self, text: str) -> str:
        """1: set; 2: above the maximum, which was set instead; 0: failed."""
        try:
            wanted = float(text)
        except ValueError:
            return "0"
        if not 0 <= wanted < float("inf"):
            return "0"
        if not self.setup.faults.doing("attenuator", "stuck"):
            self._move(wanted)
        return "1" if wanted <= self.maximum_db else "2"

    def _move(self, wanted: float) -> None:
        self.attenuation_db = min(round(wanted / _STEP) * _STEP, self.maximum_db)
        self.setup.world.attenuation_db = self.attenuation_db

    def touched(self) -> None:
        """Turn it up: that is what somebody does at its front panel."""
        self._move(self.attenuation_db + _TURNED_DB)
