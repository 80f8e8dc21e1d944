"""Settings of a magnonic ring on the bench."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class MagnonicRingConfig(BaseModel):
    """Settings of a ring between a source and an analyser; the instruments themselves are in the bench's file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    bench: str = Field(
        min_length=1,
        description="TOML file that describes the instruments, their limits and wiring; kept with its whole path, so "
        "that a session is resumed on the same bench from any folder",
    )
    use: Literal["envelope", "spectrum"] = Field(
        "envelope",
        description='"envelope": pulses from waveform memory, the transmitted envelope is read; "spectrum": a list of '
        "powers, the spectrum at each is read",
    )
    carrier_hz: float = Field(3.205e9, gt=0, le=50e9, description="frequency of the microwave carrier, in Hz")
    power_dbm: float = Field(0.0, ge=-140, le=40, description="power of a drive of 1 at the source's connector, in dBm")
    attenuation_db: float = Field(
        20.0, ge=0, le=130, description="attenuator in the loop, in dB: more is less loop gain; without one: not used"
    )
    reference_level_dbm: float = Field(
        0.0, ge=-100, le=30, description="reference level of the analyser, the top of its range, in dBm"
    )
    n_nodes: int = Field(4, ge=1, le=1000, description="response values per drive symbol: windows, or spectral bins")

    encoding: Literal["amplitude", "signed", "phase"] = Field(
        "amplitude",
        description='envelope: "amplitude": drives 0 to 1; "signed": -1 to 1, negative ones flip the phase; "phase": '
        "-1 to 1 turn the phase of a full pulse by -180 to 180 degrees",
    )
    readout: Literal["envelope", "iq"] = Field(
        "envelope",
        description='envelope: "envelope": magnitude of each window; "iq": both quadratures of half as many windows',
    )
    symbol_s: float = Field(40e-9, ge=1e-9, le=1.0, description="envelope: duration of one drive symbol, in s")
    duty: float = Field(
        0.5, gt=0, le=1, description="envelope: share of the symbol, from its start, that the carrier is on"
    )
    memory_time_s: float = Field(
        20e-9,
        ge=0,
        le=1.0,
        description="envelope: time constant of the ring's decay as `labpgt characterize` measures it, in s",
    )
    gap_memory_times: float = Field(
        14.0, ge=1, le=100, description="envelope: silence between two shots, in memory times; rounded up to symbols"
    )
    lead_in_s: float = Field(
        80e-9, ge=0, le=1.0, description="envelope: silence before the first shot, in s; rounded up to symbols"
    )
    batch: int = Field(0, ge=0, description="most shots in one capture; 0 as many as fit, 1 shot by shot")
    source_rate_hz: float = Field(
        100e6, gt=0, le=10e9, description="envelope: samples of the waveform a second, a whole number of them a symbol"
    )
    window_samples: int = Field(1, ge=1, le=1000, description="envelope: analyser samples that are averaged a window")
    waveform_scaling_percent: float = Field(
        100.0, gt=0, le=100, description="envelope: share of full scale at which the source plays codes, in %"
    )
    path_delay_s: float = Field(
        0.0, ge=0, le=1e-3, description="envelope: time from trigger to the arrival of the waveform, in s (loopback)"
    )
    phase_rad: float = Field(
        0.0, ge=-7, le=7, description="envelope: phase of the path, by which samples are turned back, in rad (loopback)"
    )

    span_hz: float = Field(40e6, gt=0, le=10e9, description="spectrum: from the first to the last bin, in Hz")
    rbw_hz: float = Field(1e6, gt=0, le=80e6, description="spectrum: resolution bandwidth, in Hz")
    dwell_s: float = Field(10e-3, gt=0, le=60, description="spectrum: time at each point of the power list, in s")
    power_range_db: float = Field(
        30.0, gt=0, le=120, description="spectrum: a drive of 0 is so many dB below power_dbm; in between linear in dB"
    )
    pulse_period_s: float = Field(0.0, ge=0, le=10, description="spectrum: period of the pulses, in s; 0: continuous")
    pulse_width_s: float = Field(0.0, ge=0, le=10, description="spectrum: width of the pulses, in s")

    health_s: float = Field(
        10.0,
        ge=0,
        le=86400,
        description="longest time between two checks (ring quiet with RF off, pilot shot as at the start), in s",
    )
    pilot_symbols: int = Field(
        4,
        ge=1,
        le=1000,
        description="symbols of the pilot shot in each capture, which shows drift and that the capture is of what was "
        "sent (spectrum: points of the list, at least 2)",
    )

    @field_validator("bench")
    @classmethod
    def _from_any_folder(cls, bench: str) -> str:
        return str(Path(bench).expanduser().absolute())

    @model_validator(mode="after")
    def _two_values_a_window(self) -> Self:
        if self.use == "envelope" and self.readout == "iq" and self.n_nodes % 2:
            raise ValueError(
                f'n_nodes = {self.n_nodes}: the readout "iq" reads two values a window: expected an even number'
            )
        return self

    @model_validator(mode="after")
    def _pulses_fit(self) -> Self:
        if bool(self.pulse_period_s) != bool(self.pulse_width_s) or self.pulse_width_s > self.pulse_period_s:
            raise ValueError(
                f"pulse_width_s = {self.pulse_width_s:g}, pulse_period_s = {self.pulse_period_s:g}: expected a width "
                "of at most the period, or both 0"
            )
        return self

    @model_validator(mode="after")
    def _pilot_of_two_powers(self) -> Self:
        if self.use == "spectrum" and self.pilot_symbols < 2:
            raise ValueError(
                f'pilot_symbols = {self.pilot_symbols}: with use = "spectrum" lists are told apart by two powers of '
                "the pilot: expected 2 or more"
            )
        return self

    @property
    def windows(self) -> int:
        """Windows a symbol that are read."""
        return self.n_nodes // 2 if self.use == "envelope" and self.readout == "iq" else self.n_nodes

    @property
    def drive_limits(self) -> tuple[float, float]:
        """Drive values that can be sent."""
        return (0.0 if self.use == "spectrum" or self.encoding == "amplitude" else -1.0, 1.0)
