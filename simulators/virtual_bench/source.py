"""What the two virtual microwave sources have in common."""

from dataclasses import replace

from simulators.virtual_bench.instrument import Instrument
from simulators.virtual_bench.setup import Setup
from simulators.virtual_bench.world import SourceOutput


class Source(Instrument):
    """A source whose output reaches the ring; `FREQUENCY` in Hz and `POWER` in dBm are its range."""

    MAKER = "Agilent Technologies"
    CLIPS = True
    ROLE = "source"
    FREQUENCY: tuple[float, float]
    POWER: tuple[float, float]

    def __init__(self, serial: str, setup: Setup, model: str) -> None:
        self.setup = setup
        setup.wire.emission = self.emission
        super().__init__(serial, setup.busy, model)

    def build(self) -> None:
        """Add frequency, power and the output switches."""
        self.number("frequency", "[:SOURce]:FREQuency[:CW|FIXed]", *self.FREQUENCY, "HZ", default=self.FREQUENCY[1])
        self.number(
            "power",
            "[:SOURce]:POWer[:LEVel][:IMMediate][:AMPLitude]",
            *self.POWER,
            "DBM",
            default=self.POWER[0],
        )
        self.boolean("output", ":OUTPut[:STATe]")
        self.boolean("modulation", ":OUTPut:MODulation[:STATe]", default=True)

    def shown(self, value: float) -> str:
        """Return a number as Keysight's sources write it."""
        return f"{value:+d}" if isinstance(value, int) else f"{value:+.14E}"

    def no_error(self) -> str:
        """Return the answer of an empty error queue."""
        return '+0,"No error"'

    @property
    def rf_on(self) -> bool:
        """Whether the RF output is on."""
        return bool(self.values["output"])

    def output(self) -> SourceOutput:
        """Return what the settings make the source send out, a waiting waveform included."""
        return SourceOutput(
            rf_on=self.rf_on,
            modulation_on=bool(self.values["modulation"]),
            carrier_hz=self.values["frequency"],
            power_dbm=self.values["power"],
        )

    def changed(self, name: str) -> None:
        """Let the world see the new output."""
        self.setup.show(self.output())

    def touched(self) -> None:
        """Turn RF off: that is what somebody does at its front panel."""
        self.assign("output", False)

    def emission(self) -> SourceOutput:
        """Return what leaves the connector now, without a trigger."""
        return self.output()

    def silent(self) -> SourceOutput:
        """Return the output while nothing is sent out."""
        return replace(self.output(), rf_on=False)
