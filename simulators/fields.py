"""The effective field of a film that varies along x alone, as a sum of terms, each with its field and its energy.

Magnetisations are unit vectors `(cells, 3)` with components x, y, z; z is the normal of the film. Fields are in A/m,
`(cells, 3)`; energies in J per metre of the film's width (its extent along y, where nothing varies). Of every term,
field = -dE/dm / (mu0 Ms V), with V the volume of a cell per metre of width.

This is the definition, in plain double precision. The compiled solver (`simulators.llg`) takes its constants from these
terms and applies them in one pass; the tests hold its torque equal to the sum of the fields here.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.constants import mu_0

from simulators.dipolar import demagnetising_factor

Axis = Literal["x", "y", "z"]

UNIT = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}

Vectors = NDArray[np.float64]


class Term(Protocol):
    """One contribution to the effective field."""

    def field(self, m: Vectors) -> Vectors:
        """Magnetisations (cells, 3) to the field of this term (cells, 3), in A/m."""

    def energy(self, m: Vectors) -> float:
        """Energy of this term in magnetisations (cells, 3), in J/m."""


@dataclass(frozen=True)
class Medium:
    """What every term needs to know of the film."""

    cells: int
    cell_m: float
    thickness_m: float
    saturation_magnetisation_a_per_m: float

    @property
    def moment(self) -> float:
        """mu0 Ms V of a cell per metre of width, in T m**2: times a field in A/m it is an energy in J/m."""
        return float(mu_0) * self.saturation_magnetisation_a_per_m * self.cell_m * self.thickness_m


@dataclass(frozen=True)
class Exchange:
    """Heisenberg exchange between nearest neighbours; the ends are free (dm/dx = 0).

    H = 2 A / (mu0 Ms) d2m/dx2, E = A integral |dm/dx|**2 (Landau and Lifshitz 1935), both by central differences.
    """

    medium: Medium
    exchange_j_per_m: float

    @property
    def neighbour(self) -> float:
        """Field of one neighbour in units of Ms: 2 A / (mu0 Ms**2 cell**2)."""
        ms = self.medium.saturation_magnetisation_a_per_m
        return 2 * self.exchange_j_per_m / (float(mu_0) * ms**2 * self.medium.cell_m**2)

    def field(self, m: Vectors) -> Vectors:
        """See `Term`."""
        padded = np.pad(m, ((1, 1), (0, 0)), "edge")
        scale = self.neighbour * self.medium.saturation_magnetisation_a_per_m
        return np.asarray(scale * (padded[2:] - 2 * m + padded[:-2]))

    def energy(self, m: Vectors) -> float:
        """See `Term`."""
        difference = np.diff(m, axis=0)
        return float(self.exchange_j_per_m * self.medium.thickness_m / self.medium.cell_m * (difference**2).sum())


@dataclass(frozen=True)
class Dipolar:
    """Demagnetising field of all cells: H_i = -Ms sum_j N(i - j) m_j, E = -mu0 Ms V / 2 sum_i m_i H_i.

    N is averaged over the target cell (`simulators.dipolar.demagnetising_factor`; Newell, Williams and Dunlop,
    J. Geophys. Res. 98, 9551 (1993)): Nyy = 0, Nzz = delta - Nxx. All pairs are summed, in O(cells**2).
    """

    medium: Medium

    @cached_property
    def nxx(self) -> NDArray[np.float64]:
        """Nxx between any two cells, (cells, cells)."""
        i = np.arange(self.medium.cells)
        return demagnetising_factor(np.abs(i[:, None] - i), self.medium.cell_m, self.medium.thickness_m)

    def field(self, m: Vectors) -> Vectors:
        """See `Term`."""
        near = self.nxx @ m[:, 0]
        normal = m[:, 2] - self.nxx @ m[:, 2]
        ms = self.medium.saturation_magnetisation_a_per_m
        return np.asarray(-ms * np.stack([near, np.zeros_like(near), normal], axis=1))

    def energy(self, m: Vectors) -> float:
        """See `Term`."""
        return float(-0.5 * self.medium.moment * (m * self.field(m)).sum())


@dataclass(frozen=True)
class Zeeman:
    """A uniform outer flux density B: H = B / mu0, E = -Ms V sum m B."""

    medium: Medium
    bias_t: float
    axis: Axis

    def field(self, m: Vectors) -> Vectors:
        """See `Term`."""
        return np.broadcast_to(np.array(UNIT[self.axis]) * self.bias_t / float(mu_0), m.shape)

    def energy(self, m: Vectors) -> float:
        """See `Term`."""
        return float(-self.medium.moment * (m * self.field(m)).sum())


@dataclass(frozen=True)
class Antenna:
    """The microwave field of a narrow microstrip: `field_a_per_m` along `axis` in some cells, none elsewhere.

    E = -mu0 Ms V sum m H. Along x it is the in-plane field under the strip line; along z the field beside it, the
    one that reaches a magnetisation which lies along x.
    """

    medium: Medium
    at: range
    axis: Axis
    field_a_per_m: float

    def field(self, m: Vectors) -> Vectors:
        """See `Term`."""
        field = np.zeros_like(m)
        field[self.at.start : self.at.stop] = np.array(UNIT[self.axis]) * self.field_a_per_m
        return field

    def energy(self, m: Vectors) -> float:
        """See `Term`."""
        return float(-self.medium.moment * (m * self.field(m)).sum())


@dataclass(frozen=True)
class Anisotropy:
    """Uniaxial anisotropy K along x, y or z: H = 2 K / (mu0 Ms) (m e) e, E = -K V sum (m e)**2.

    K > 0 makes the axis easy (Stoner and Wohlfarth, Phil. Trans. R. Soc. A 240, 599 (1948)).
    """

    medium: Medium
    anisotropy_j_per_m3: float
    axis: Axis

    @property
    def strength(self) -> float:
        """Anisotropy field in units of Ms: 2 K / (mu0 Ms**2)."""
        return 2 * self.anisotropy_j_per_m3 / (float(mu_0) * self.medium.saturation_magnetisation_a_per_m**2)

    def field(self, m: Vectors) -> Vectors:
        """See `Term`."""
        easy = np.array(UNIT[self.axis])
        return np.asarray(self.strength * self.medium.saturation_magnetisation_a_per_m * (m @ easy)[:, None] * easy)

    def energy(self, m: Vectors) -> float:
        """See `Term`."""
        return float(-0.5 * self.medium.moment * (m * self.field(m)).sum())


def total_field(terms: list[Any], m: Vectors) -> Vectors:
    """Effective field (cells, 3), in A/m."""
    return np.asarray(sum(term.field(m) for term in terms))


def total_energy(terms: list[Any], m: Vectors) -> float:
    """Energy of all terms, in J/m."""
    return float(sum(term.energy(m) for term in terms))
