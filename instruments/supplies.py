"""Bench supplies, for the amplifier in the loop and for the magnet: pymeasure's drivers behind the same few names.

Command sets are pymeasure's, as they are: `KeysightE36312A` and `HMP4040`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pymeasure.instruments.keysight import KeysightE36312A
from pymeasure.instruments.rohdeschwarz import HMP4040

from instruments.properties import checked_value, number, refusing
from instruments.scpi import InstrumentFault, LabInstrument, SettingRefused


class Supply(LabInstrument):
    """One channel of a supply."""

    RANGES: ClassVar[Mapping[int, tuple[float, float]]] = {}
    """Highest voltage in V and highest current in A of each channel."""
    CHANNELS: ClassVar[tuple[int, ...]] = ()
    """Numbers of the channels."""
    LIVE: ClassVar[Mapping[str, tuple[str, str]]] = {
        "output": ("output_enabled", ""),
        "voltage": ("voltage_v", "V"),
        "current": ("current_a", "A"),
    }

    def __init__(self, adapter: Any, name: str, channel: int = 1, **kwargs: Any) -> None:
        if channel not in self.CHANNELS:
            raise SettingRefused(f"{name}: expected channel {', '.join(map(str, self.CHANNELS))}, got {channel}")
        super().__init__(adapter, name, **kwargs)
        self.channel = channel

    def limits(self, name: str) -> tuple[float, float]:
        """Lowest and highest value that the property of that name takes; `AttributeError` if it has none."""
        highest_v, highest_a = self.RANGES[self.channel]
        highest = {"voltage_v": highest_v, "current_a": highest_a}
        return (0.0, highest[name]) if name in highest else super().limits(name)

    def _checked(self, name: str, value: float, unit: str) -> float:
        """Return a value that the property of that name takes, or raise `SettingRefused`."""
        with refusing(f"{self.name}: {name}"):
            return checked_value(value, self.limits(name), unit)

    def _on_or_off(self, value: Any) -> bool:
        if value not in (True, False):
            raise SettingRefused(f"{self.name}: output_enabled: expected True or False, got {value!r}")
        return bool(value)

    def off(self) -> None:
        """Channel off, from any state, nothing is asked."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """Channel off."""
        self.off()
        super().shutdown()


class SupplyE36312A(Supply):
    """One channel of a Keysight E36312A. pymeasure sends six digits of a setting, finer than the supply sets it."""

    MODELS: ClassVar[tuple[str, ...]] = ("E36312A",)
    GUIDE: ClassVar[str] = "Keysight E36300 Series Programmable DC Power Supplies, Programming Guide"
    RANGES: ClassVar[Mapping[int, tuple[float, float]]] = {1: (6.0, 5.0), 2: (25.0, 1.0), 3: (25.0, 1.0)}
    CHANNELS: ClassVar[tuple[int, ...]] = tuple(RANGES)

    def __init__(self, adapter: Any, name: str = "Keysight E36312A supply", channel: int = 1, **kwargs: Any) -> None:
        super().__init__(adapter, name, channel, **kwargs)
        self._channel = KeysightE36312A(self.adapter).channels[channel]

    @property
    def voltage_v(self) -> float:
        """Control the voltage that is set in V (float strictly from 0 to 6 for channel 1, to 25 for 2 and 3)."""
        return number(self._channel.voltage_setpoint)

    @voltage_v.setter
    def voltage_v(self, value: float) -> None:
        self._channel.voltage_setpoint = self._checked("voltage_v", value, "V")

    @property
    def current_a(self) -> float:
        """Control the highest current in A (float strictly from 0 to 5 for channel 1, to 1 for 2 and 3)."""
        return number(self._channel.current_limit)

    @current_a.setter
    def current_a(self, value: float) -> None:
        self._channel.current_limit = self._checked("current_a", value, "A")

    @property
    def output_enabled(self) -> bool:
        """Control whether the channel is on (bool)."""
        return _switched(lambda: self._channel.output_enabled)

    @output_enabled.setter
    def output_enabled(self, value: bool) -> None:
        self._channel.output_enabled = self._on_or_off(value)

    def off(self) -> None:
        """Channel off, from any state: one write, nothing is asked."""
        self._channel.output_enabled = False


class SupplyHMP4040(Supply):
    """One channel of a Rohde & Schwarz HMP4040.

    Its commands are for the channel that is selected, so that each of the names here selects its own first.
    """

    MODELS: ClassVar[tuple[str, ...]] = ("HMP4040",)
    GUIDE: ClassVar[str] = "R&S HMP Series Power Supplies, SCPI Programmers Manual"
    RANGES: ClassVar[Mapping[int, tuple[float, float]]] = dict.fromkeys((1, 2, 3, 4), (32.05, 10.0))
    CHANNELS: ClassVar[tuple[int, ...]] = tuple(RANGES)

    def __init__(
        self, adapter: Any, name: str = "Rohde & Schwarz HMP4040 supply", channel: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(adapter, name, channel, **kwargs)
        self._supply = HMP4040(self.adapter)

    def _selected(self) -> HMP4040:
        self._supply.selected_channel = self.channel
        return self._supply

    @property
    def voltage_v(self) -> float:
        """Control the voltage that is set in V (float strictly from 0 to 32.05)."""
        return number(self._selected().voltage)

    @voltage_v.setter
    def voltage_v(self, value: float) -> None:
        value = self._checked("voltage_v", value, "V")
        self._selected().voltage = value

    @property
    def current_a(self) -> float:
        """Control the highest current in A (float strictly from 0 to 10)."""
        return number(self._selected().current)

    @current_a.setter
    def current_a(self, value: float) -> None:
        value = self._checked("current_a", value, "A")
        self._selected().current = value

    @property
    def output_enabled(self) -> bool:
        """Control whether the channel and the supply's outputs as a whole are on (bool).

        Switching on switches both on; switching off leaves the other channels as they are.
        """
        supply = self._selected()
        return _switched(lambda: supply.selected_channel_active) and _switched(lambda: supply.output_enabled)

    @output_enabled.setter
    def output_enabled(self, value: bool) -> None:
        value = self._on_or_off(value)
        supply = self._selected()
        supply.selected_channel_active = value
        if value:
            supply.output_enabled = True

    def off(self) -> None:
        """Channel off, from any state: one write, nothing is asked.

        Selecting and switching travel together, for another connection could select another channel in between.
        """
        self.write(f"INST:NSEL {self.channel};:OUTP:SEL 0")


def _switched(read: Any) -> bool:
    """Return a state that pymeasure reads, or raise `InstrumentFault` for an answer that is none."""
    try:
        return bool(read())
    except KeyError as error:
        raise InstrumentFault(f"expected 0 or 1 as an answer: {error.args[0]}") from error
