"""Laboratory supplies, of the amplifier in the ring or of the magnet."""

from dataclasses import dataclass
from typing import ClassVar

from simulators.virtual_bench.instrument import Instrument
from simulators.virtual_bench.setup import Setup

AMPLIFIER_V, AMPLIFIER_A = 4.5, 0.3
"""Least voltage at which the amplifier in the ring works, and the current it takes."""
MAGNET_OHM = 1.0
"""Resistance of the magnet's coil."""


@dataclass
class Channel:
    """One output."""

    most_v: float
    most_a: float
    voltage_v: float = 0.0
    current_a: float = 0.1
    on: bool = False


class Supply(Instrument):
    """A supply; its first channel feeds the load named by its role on the bench, the others feed nothing."""

    LIMITS: ClassVar[tuple[tuple[float, float], ...]]
    """Highest voltage and current of each channel."""

    def __init__(self, serial: str, setup: Setup, model: str) -> None:
        self.setup = setup
        self.role = ""
        self.tesla_per_ampere = 0.0
        self.channels = [Channel(*limits) for limits in self.LIMITS]
        super().__init__(serial, setup.busy, model)

    def feed(self, role: str, tesla_per_ampere: float) -> None:
        """Wire the first channel to the "amplifier" in the ring or to the "magnet" beside it."""
        self.role = role
        self.tesla_per_ampere = tesla_per_ampere
        self.changed("")

    def reset(self) -> None:
        """Switch every output off and set it to 0 V."""
        self.channels = [Channel(*limits) for limits in self.LIMITS]
        super().reset()

    def live(self, index: int) -> bool:
        """Whether a channel's output is on."""
        return self.channels[index].on

    def measured(self, index: int) -> tuple[float, float]:
        """Return voltage and current at the terminals of a channel (V, A)."""
        channel = self.channels[index]
        if not self.live(index) or index:
            return (channel.voltage_v if self.live(index) else 0.0), 0.0
        if self.role == "magnet":
            current = min(channel.current_a, channel.voltage_v / MAGNET_OHM)
            return current * MAGNET_OHM, current
        current = AMPLIFIER_A if channel.voltage_v >= AMPLIFIER_V else 0.0
        if channel.current_a >= current:
            return channel.voltage_v, current
        # Limited to less than the amplifier takes: the voltage breaks down.
        return channel.voltage_v * channel.current_a / current, channel.current_a

    def changed(self, name: str) -> None:
        """Let the load have what the first channel gives."""
        voltage, current = self.measured(0)
        if self.role == "magnet":
            self.setup.world.bias_t = current * self.tesla_per_ampere if self.live(0) else None
        elif self.role:
            self.setup.world.amplifier_on = voltage >= AMPLIFIER_V and current >= AMPLIFIER_A

    @property
    def output_on(self) -> bool:
        """Whether the first channel is on."""
        return self.live(0)
