"""Programmable attenuators Mini-Circuits RCDAT over Ethernet (telnet): the gain of a ring is set with one of them.

They do not speak SCPI: there is no *IDN? and no error queue, and every command is answered.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pymeasure.instruments import Instrument

from instruments.properties import checked_value, number, refusing
from instruments.scpi import Identity, InstrumentFault, Named, SettingRefused


class MiniCircuitsRCDAT(Named, Instrument):
    """The attenuator in the loop of a ring: more attenuation is less gain."""

    GUIDE: ClassVar[str] = "Mini-Circuits Programmable Attenuators, Programming Manual (Ethernet, telnet)"
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "RCDAT-4000-120": (120.0, 0.25),
        "RCDAT-6000-30": (30.0, 0.25),
        "RCDAT-6000-60": (60.0, 0.25),
        "RCDAT-6000-90": (90.0, 0.25),
        "RCDAT-6000-110": (110.0, 0.25),
        "RCDAT-8000-30": (30.0, 0.25),
        "RCDAT-8000-60": (60.0, 0.25),
        "RCDAT-8000-90": (90.0, 0.25),
    }
    """Highest attenuation and step of each model in dB."""
    LIVE: ClassVar[Mapping[str, tuple[str, str]]] = {"attenuation": ("attenuation", "dB")}
    MODELS: ClassVar[tuple[str, ...]] = tuple(RANGES)

    def __init__(self, adapter: Any, name: str = "Mini-Circuits RCDAT attenuator", **kwargs: Any) -> None:
        # Answers end with CR LF; the LF ends a line, and what is asked is stripped of the CR.
        kwargs.setdefault("tcpip", {"read_termination": "\n", "write_termination": "\r\n"})
        super().__init__(adapter, name, includeSCPI=False, **kwargs)
        self._range: tuple[float, float] | None = None

    def identify(self) -> Identity:
        """Return the model, serial number and firmware; `InstrumentFault` if an answer is not what was asked for."""
        return Identity(
            "Mini-Circuits", self._answer(":MN?", "MN="), self._answer(":SN?", "SN="), self._answer(":FIRMWARE?", "")
        )

    def _answer(self, command: str, prefix: str) -> str:
        reply = self.ask(command).strip()
        if not reply.startswith(prefix) or len(reply) == len(prefix):
            raise InstrumentFault(f"{self.name}: expected {prefix}... as the answer to {command}, got {reply!r}")
        return reply[len(prefix) :]

    def check_identity(self) -> Identity:
        """Return who answers, and know from then on its highest attenuation, or raise `InstrumentFault`."""
        identity = super().check_identity()
        self._range = self.RANGES[identity.model]
        return identity

    @property
    def maximum(self) -> float:
        """Get the highest attenuation of the model in dB."""
        if self._range is None:
            self.check_identity()
        assert self._range is not None
        return self._range[0]

    @property
    def step(self) -> float:
        """Get the step of the attenuation of the model in dB."""
        if self._range is None:
            self.check_identity()
        assert self._range is not None
        return self._range[1]

    def limits(self, name: str) -> tuple[float, float]:
        """Lowest and highest value that the property of that name takes; `AttributeError` if it has none."""
        return (0.0, self.maximum) if name == "attenuation" else super().limits(name)

    @property
    def attenuation(self) -> float:
        """Control the attenuation in dB (float strictly from 0 to the model's maximum, in its step)."""
        self.ask_attenuation()
        return self.answered_attenuation()

    @attenuation.setter
    def attenuation(self, value: float) -> None:
        with refusing(f"{self.name}: attenuation"):
            checked_value(value, self.limits("attenuation"), "dB")
        if value % self.step:
            raise SettingRefused(
                f"{self.name}: attenuation: expected steps of {self.step:g} dB, got {value:g}; "
                f"the nearest is {round(value / self.step) * self.step:g}"
            )
        reply = self.ask(f":SETATT={value:.15g}").strip()
        if reply != "1":
            raise InstrumentFault(
                f"{self.name}: setting an attenuation of {value:g} dB: expected 1 as the answer, got {reply!r}"
            )

    def ask_attenuation(self) -> None:
        """Ask for the attenuation; read it with `answered_attenuation`."""
        self.write(":ATT?")

    def answered_attenuation(self) -> float:
        """Return the answer to `ask_attenuation`, dB; `InstrumentFault` if it is no number."""
        answer = self.read().strip()
        try:
            return number(float(answer))
        except ValueError:
            raise InstrumentFault(f"{self.name}: expected a number as the answer to :ATT?, got {answer!r}") from None

    def gain_down(self) -> None:
        """Highest attenuation: least gain in the loop."""
        self.attenuation = self.maximum

    def shutdown(self) -> None:
        """Highest attenuation."""
        self.gain_down()
        super().shutdown()
