"""Bench supplies, for the amplifier in the loop and for the magnet: pymeasure's drivers behind the same few names.

Command sets are pymeasure's, as they are: `KeysightE36312A` and `HMP4040`.
"""

from typing import Any, ClassVar

from pymeasure.instruments.keysight import KeysightE36312A
from pymeasure.instruments.rohdeschwarz import HMP4040

from instruments.scpi import InstrumentFault, LabInstrument, number


class Supply(LabInstrument):
    """One channel of a supply."""

    CHANNELS: ClassVar[tuple[int, ...]] = ()
    """Numbers of the channels."""

    def __init__(self, adapter: Any, name: str, channel: int = 1, **kwargs: Any) -> None:
        if channel not in self.CHANNELS:
            raise ValueError(f"{name}: expected channel {', '.join(map(str, self.CHANNELS))}, got {channel}")
        super().__init__(adapter, name, **kwargs)
        self.channel = channel

    def off(self) -> None:
        """Channel off, from any state, nothing is asked."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """Channel off."""
        self.off()
        super().shutdown()


class SupplyE36312A(Supply):
    """One channel of a Keysight E36312A."""

    MODELS: ClassVar[tuple[str, ...]] = ("E36312A",)
    GUIDE: ClassVar[str] = "Keysight E36300 Series Programmable DC Power Supplies, Programming Guide"
    CHANNELS: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(self, adapter: Any, name: str = "Keysight E36312A supply", channel: int = 1, **kwargs: Any) -> None:
        super().__init__(adapter, name, channel, **kwargs)
        self._channel = KeysightE36312A(self.adapter).channels[channel]

    @property
    def voltage_v(self) -> float:
        """Control the voltage that is set in V (float strictly from 0 to 6 for channel 1, to 25 for 2 and 3)."""
        return number(self._channel.voltage_setpoint)

    @voltage_v.setter
    def voltage_v(self, value: float) -> None:
        self._channel.voltage_setpoint = value

    @property
    def current_a(self) -> float:
        """Control the highest current in A (float strictly from 0 to 5 for channel 1, to 1 for 2 and 3)."""
        return number(self._channel.current_limit)

    @current_a.setter
    def current_a(self, value: float) -> None:
        self._channel.current_limit = value

    @property
    def output_enabled(self) -> bool:
        """Control whether the channel is on (bool)."""
        return _switched(lambda: self._channel.output_enabled)

    @output_enabled.setter
    def output_enabled(self, value: bool) -> None:
        self._channel.output_enabled = value

    def off(self) -> None:
        """Channel off, from any state: one write, nothing is asked."""
        self._channel.output_enabled = False


class SupplyHMP4040(Supply):
    """One channel of a Rohde & Schwarz HMP4040.

    Its commands are for the channel that is selected, so that each of the names here selects its own first.
    """

    MODELS: ClassVar[tuple[str, ...]] = ("HMP4040",)
    GUIDE: ClassVar[str] = "R&S HMP Series Power Supplies, SCPI Programmers Manual"
    CHANNELS: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)
    HIGHEST_V: ClassVar[float] = 32.05
    HIGHEST_A: ClassVar[float] = 10.0

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
        if not 0 <= value <= self.HIGHEST_V:
            raise ValueError(f"{self.name}: expected a voltage of 0 to {self.HIGHEST_V:g} V, got {value:g}")
        self._selected().voltage = value

    @property
    def current_a(self) -> float:
        """Control the highest current in A (float strictly from 0 to 10)."""
        return number(self._selected().current)

    @current_a.setter
    def current_a(self, value: float) -> None:
        if not 0 <= value <= self.HIGHEST_A:
            raise ValueError(f"{self.name}: expected a current of 0 to {self.HIGHEST_A:g} A, got {value:g}")
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
