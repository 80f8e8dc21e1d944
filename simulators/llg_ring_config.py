"""Settings of the simulated ring."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from labpgt.rng import Draw, generator
from labpgt.validation import nearest
from simulators.fields import Axis
from simulators.presets import PRESETS
from simulators.strip import Geometry

LONGEST_STEP_S = {"device": 10e-12, "reference": 5e-12}
"""In the default film waves of up to 3.5 GHz turn right to 1e-5 at 10 ps (`simulators.film`), at 5 ps up to 6 GHz."""


class LLGRingConfig(BaseModel):
    """Settings of the simulated ring; the default film is 100 nm of YIG."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str = Field("", description=f"start from a named device: {', '.join(PRESETS)}; empty for none")
    tier: Literal["device", "reference"] = Field(
        "device", description='"device": single precision, 10 ps; "reference": double precision, 5 ps'
    )

    carrier_hz: float = Field(3.205e9, ge=0.5e9, le=20e9, description="frequency of the microwave carrier, in Hz")
    drive_field_a_per_m: float = Field(
        4200.0, ge=0, le=14e3, description="antenna field of a drive of 1 (peak of the carrier), in A/m"
    )
    encoding: Literal["amplitude", "signed", "phase"] = Field(
        "amplitude",
        description='"amplitude": drives 0 to 1; "signed": -1 to 1, negative ones flip the phase; "phase": -1 to 1 '
        "turn the phase of a full pulse by -180 to 180 degrees",
    )
    symbol_s: float = Field(6.3e-9, ge=0.5e-9, le=1e-6, description="duration of one drive symbol, in s")
    duty: float = Field(0.5, gt=0, le=1, description="share of the symbol, from its start, that the carrier is on")
    mask: Literal["none", "binary", "uniform"] = Field(
        "none", description="factor on each window of a symbol: none, random signs, or random from -1 to 1"
    )
    mask_seed: int = Field(0, ge=0, lt=2**63, description="key of the mask")
    detector: Literal["diode", "iq"] = Field(
        "diode", description='"diode": envelope of each window; "iq": both quadratures of half as many windows'
    )
    n_nodes: int = Field(4, ge=1, le=200, description="virtual nodes (response values) per drive symbol")

    gain: float = Field(
        0.2, ge=0, lt=1, description="loop gain at 0 dB of attenuation, as a share of the auto-oscillation threshold"
    )
    attenuation_db: float = Field(
        0.0, ge=-40, le=80, description="attenuator before the amplifier, in dB from its nominal setting"
    )
    delay_s: float = Field(2e-9, ge=0.05e-9, le=200e-9, description="delay of the feedback line, in s")
    saturation_a_per_m: float = Field(
        280.0, gt=0, le=14e3, description="largest feedback field the amplifier can make, in A/m"
    )

    geometry: Geometry = Field(
        "surface", description='"surface", "backward-volume" or "forward-volume": bias across, along the waves, normal'
    )
    bias_t: float = Field(50e-3, ge=1e-3, le=2, description="bias field, in T")
    damping: float = Field(1e-3, gt=0, le=0.1, description="Gilbert damping of the film between the absorbers")
    cells: int = Field(96, ge=8, le=4096, description="cells along the strip")
    cell_m: float = Field(80e-9, ge=1e-9, le=1e-6, description="length of a cell, in m")
    thickness_m: float = Field(100e-9, ge=1e-9, le=10e-6, description="thickness of the film, in m")
    saturation_magnetisation_a_per_m: float = Field(
        140e3, gt=1e3, le=2e6, description="saturation magnetisation Ms, in A/m"
    )
    exchange_j_per_m: float = Field(3.5e-12, ge=0, le=1e-10, description="exchange constant A, in J/m")
    anisotropy_j_per_m3: float = Field(
        0.0, ge=-1e6, le=1e6, description="uniaxial anisotropy K, in J/m3; positive makes easy_axis easy"
    )
    easy_axis: Axis = Field("z", description="axis of the anisotropy: x along the waves, y across, z normal")
    absorber_cells: int = Field(20, ge=0, le=1024, description="cells of raised damping at either end")
    absorber_damping: float = Field(0.25, gt=0, le=1, description="damping at the very ends")
    antenna_cells: int = Field(4, ge=1, le=256, description="width of either antenna, in cells")
    antenna_distance_m: float = Field(3.84e-6, ge=0, description="distance of the antennas, in m")
    width_m: float = Field(
        10e-6, ge=10e-9, le=1e-2, description="extent across the waves, in m; only thermal noise depends on it"
    )
    temperature_k: float = Field(
        0.0, ge=0, le=1000, description="temperature of the film, in K; above 0 a shot takes some times longer"
    )

    full_scale: float = Field(0.35, gt=0, le=1, description="mean pick-up that reads as a response of 1")
    noise: float = Field(1e-2, ge=0, le=1, description="standard deviation of the readout noise, of full scale")
    noise_seed: int = Field(0, ge=0, lt=2**63, description="key of readout and thermal noise")
    threads: int = Field(0, ge=0, le=256, description="threads that share a batch; 0 takes every core")

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not (name := given.get("preset")):
            return given
        if name not in PRESETS:
            raise ValueError(f"preset {name!r} is not known.{nearest(str(name), PRESETS)} Known: {', '.join(PRESETS)}")
        return {**PRESETS[name], **given}

    @model_validator(mode="after")
    def _two_values_a_window(self) -> Self:
        if self.detector == "iq" and self.n_nodes % 2:
            raise ValueError(
                f'n_nodes = {self.n_nodes}: the detector "iq" reads two values a window: expected an even number'
            )
        return self

    @property
    def net_gain(self) -> float:
        """Loop gain behind the attenuator, as a share of the threshold."""
        return float(self.gain * 10 ** (-self.attenuation_db / 20))

    def mask_values(self, windows: int) -> NDArray[np.float64]:
        """Factor of each window, (windows,)."""
        draw = generator(self.mask_seed, 0, Draw.DEVICE)
        match self.mask:
            case "binary":
                return np.asarray(draw.choice([-1.0, 1.0], windows))
            case "uniform":
                return draw.uniform(-1, 1, windows)
        return np.ones(windows)

    def pulses(self, drives: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Drives to pulses of amplitude up to 1, and their phase, as complex numbers."""
        if self.encoding == "phase":
            return np.asarray(np.exp(1j * np.pi * drives))
        return drives.astype(np.complex128)
