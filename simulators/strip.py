"""A film strip that carries spin waves, its two antennas, and the feedback loop around them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.constants import mu_0, physical_constants

from simulators.fields import Anisotropy, Axis, Dipolar, Exchange, Medium, Term, Zeeman

GYROMAGNETIC_RATIO: float = physical_constants["electron gyromag. ratio"][0]
"""Of the free electron, in rad/(s T); the g factor of YIG is 2.00."""

Geometry = Literal["surface", "backward-volume", "forward-volume"]

_BIAS_AXIS: dict[Geometry, Axis] = {"surface": "y", "backward-volume": "x", "forward-volume": "z"}


@dataclass(frozen=True)
class Strip:
    """A film along x with absorbing ends; z is its normal, and waves run along x.

    The direction of the bias makes the geometry: along y (in the plane, across the waves) it carries magnetostatic
    surface waves (Damon-Eshbach), along x (with the waves) backward-volume waves, along z (the normal) forward-volume
    waves. The antennas couple to mx, or, where the magnetisation itself lies along x, to mz.

    The default is 100 nm of yttrium iron garnet. Its absorbers, 1.6 um long, swallow the waves above 3.4 GHz and
    reflect part of the longer ones below: a ring driven there has the strip's own resonances in its memory.
    """

    cells: int = 96
    cell_m: float = 80e-9
    thickness_m: float = 100e-9
    saturation_magnetisation_a_per_m: float = 140e3
    exchange_j_per_m: float = 3.5e-12
    damping: float = 1e-3
    bias_t: float = 50e-3
    absorber_cells: int = 20
    absorber_damping: float = 0.25
    antenna_cells: int = 4
    antenna_distance_m: float = 3.84e-6
    geometry: Geometry = "surface"
    anisotropy_j_per_m3: float = 0.0
    easy_axis: Axis = "z"
    width_m: float = 10e-6
    """Extent along y; only the thermal field depends on it."""

    @property
    def saturation_t(self) -> float:
        """Saturation magnetisation as mu0 Ms, in T."""
        return float(mu_0) * self.saturation_magnetisation_a_per_m

    @property
    def rate(self) -> float:
        """Gyromagnetic ratio times mu0 Ms, in rad/s: how fast a field of Ms turns the magnetisation."""
        return GYROMAGNETIC_RATIO * self.saturation_t

    @property
    def bias(self) -> float:
        """Bias field in units of Ms."""
        return self.bias_t / self.saturation_t

    @property
    def bias_axis(self) -> Axis:
        """Direction of the bias and of the magnetisation at rest."""
        return _BIAS_AXIS[self.geometry]

    @property
    def antenna_axis(self) -> Axis:
        """Component of field and magnetisation that the antennas couple to."""
        return "z" if self.geometry == "backward-volume" else "x"

    @property
    def medium(self) -> Medium:
        """What the field terms need to know."""
        return Medium(self.cells, self.cell_m, self.thickness_m, self.saturation_magnetisation_a_per_m)

    @property
    def exchange(self) -> Exchange:
        """Exchange term."""
        return Exchange(self.medium, self.exchange_j_per_m)

    @property
    def anisotropy(self) -> Anisotropy:
        """Anisotropy term."""
        return Anisotropy(self.medium, self.anisotropy_j_per_m3, self.easy_axis)

    @property
    def zeeman(self) -> Zeeman:
        """Term of the bias."""
        return Zeeman(self.medium, self.bias_t, self.bias_axis)

    @cached_property
    def terms(self) -> list[Term]:
        """Every field term but the antenna's, which the drive makes: their sum is the effective field."""
        return [self.exchange, Dipolar(self.medium), self.zeeman, self.anisotropy]

    @property
    def exchange_length_m(self) -> float:
        """sqrt(2 A / (mu0 Ms**2)), in m."""
        return float(np.sqrt(self.exchange.neighbour)) * self.cell_m

    @cached_property
    def damping_profile(self) -> NDArray[np.float64]:
        """Damping of every cell; it rises quadratically into either end, for a step would reflect the waves."""
        position = np.arange(self.cells)
        depth = self.absorber_cells - np.minimum(position, self.cells - 1 - position)
        rise = np.maximum(depth, 0) / max(self.absorber_cells, 1)
        return np.asarray(self.damping + (self.absorber_damping - self.damping) * rise**2)

    @property
    def antennas(self) -> tuple[range, range]:
        """Cells of the input and of the pick-up antenna, symmetric about the middle of the strip."""
        distance = round(self.antenna_distance_m / self.cell_m)
        first = (self.cells - distance - self.antenna_cells) // 2
        if first < 0:
            raise ValueError(
                f"antennas {self.antenna_distance_m:g} m apart need a strip longer than {self.cells} cells of "
                f"{self.cell_m:g} m"
            )
        last = first + distance
        return range(first, first + self.antenna_cells), range(last, last + self.antenna_cells)


class Loop(NamedTuple):
    """From the pick-up back to the input antenna: a delay, then an amplifier that saturates.

    The feedback field is saturation * y / sqrt(1 + y**2) with y = gain * mx / saturation, in units of Ms.
    """

    delay_s: float
    gain: float = 0.0
    """Feedback field over mean mx under the pick-up, for small signals; 0 opens the ring."""
    saturation: float = 1.0
    """Largest feedback field."""
