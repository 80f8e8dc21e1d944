"""Every field term against its own energy, and against closed forms."""

from typing import Any

import numpy as np
import pytest
from scipy.constants import mu_0

from simulators.dispersion import band_hz, dispersion_hz
from simulators.fields import Anisotropy, Antenna, Dipolar, Exchange, Medium, Zeeman
from simulators.strip import GYROMAGNETIC_RATIO, Strip

MEDIUM = Medium(cells=12, cell_m=80e-9, thickness_m=100e-9, saturation_magnetisation_a_per_m=140e3)

TERMS = [
    Exchange(MEDIUM, 3.5e-12),
    Dipolar(MEDIUM),
    Zeeman(MEDIUM, 0.05, "y"),
    Zeeman(MEDIUM, 0.2, "z"),
    Antenna(MEDIUM, range(3, 6), "x", 300.0),
    Anisotropy(MEDIUM, 600.0, "x"),
    Anisotropy(MEDIUM, -900.0, "z"),
]


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_a_field_is_the_slope_of_its_energy(term: Any) -> None:
    m = np.random.default_rng(2).normal(size=(MEDIUM.cells, 3))
    field = term.field(m)
    step = 1e-4
    slope = np.empty_like(m)
    for i in np.ndindex(*m.shape):
        up, down = m.copy(), m.copy()
        up[i] += step
        down[i] -= step
        slope[i] = (term.energy(up) - term.energy(down)) / (2 * step)
    np.testing.assert_allclose(field, -slope / MEDIUM.moment, rtol=1e-6, atol=1e-6 * np.abs(field).max())


def test_exchange_energy_of_a_spiral_is_that_of_the_continuum() -> None:
    fine = Medium(cells=2000, cell_m=1e-9, thickness_m=100e-9, saturation_magnetisation_a_per_m=140e3)
    k = 2 * np.pi / 500e-9
    angle = k * fine.cell_m * np.arange(fine.cells)
    m = np.stack([np.cos(angle), np.zeros_like(angle), np.sin(angle)], axis=1)
    expected = 3.5e-12 * k**2 * fine.cells * fine.cell_m * fine.thickness_m
    assert Exchange(fine, 3.5e-12).energy(m) == pytest.approx(expected, rel=1e-3)


def test_demagnetising_field_deep_in_a_long_film_is_that_of_an_endless_one() -> None:
    wide = Medium(cells=400, cell_m=1e-6, thickness_m=100e-9, saturation_magnetisation_a_per_m=140e3)
    normal = np.tile([0.0, 0.0, 1.0], (wide.cells, 1))
    along = np.tile([1.0, 0.0, 0.0], (wide.cells, 1))
    middle = wide.cells // 2
    assert Dipolar(wide).field(normal)[middle, 2] == pytest.approx(-140e3, rel=1e-3)
    assert abs(Dipolar(wide).field(along)[middle, 0]) < 1e-3 * 140e3


def test_uniform_frequencies_are_kittels_in_every_geometry() -> None:
    # C. Kittel, Phys. Rev. 73, 155 (1948), for a film: in the plane sqrt(B (B + mu0 Ms)), along the normal B - mu0 Ms.
    ms_t = mu_0 * 140e3
    in_plane = GYROMAGNETIC_RATIO * np.sqrt(0.05 * (0.05 + ms_t)) / (2 * np.pi)
    normal = GYROMAGNETIC_RATIO * (0.25 - ms_t) / (2 * np.pi)
    at_zero = np.zeros(1)
    assert dispersion_hz(Strip(), at_zero)[0] == pytest.approx(in_plane, rel=1e-9)
    assert dispersion_hz(Strip(geometry="backward-volume"), at_zero)[0] == pytest.approx(in_plane, rel=1e-9)
    assert dispersion_hz(Strip(geometry="forward-volume", bias_t=0.25), at_zero)[0] == pytest.approx(normal, rel=1e-9)
    # Perpendicular anisotropy lowers the demagnetising field by 2 K / (mu0 Ms).
    soft = Strip(anisotropy_j_per_m3=3000.0, easy_axis="z")
    softer = GYROMAGNETIC_RATIO * np.sqrt(0.05 * (0.05 + ms_t - 2 * 3000.0 / 140e3)) / (2 * np.pi)
    assert dispersion_hz(soft, at_zero)[0] == pytest.approx(softer, rel=1e-9)


def test_bands_lie_where_the_geometry_says() -> None:
    kittel = dispersion_hz(Strip(), np.zeros(1))[0]
    assert band_hz(Strip())[0] == pytest.approx(kittel, rel=1e-6)
    backward = band_hz(Strip(geometry="backward-volume"))
    # Waves along the magnetisation get slower as they get shorter, until exchange takes over.
    assert backward[0] < 0.9 * kittel
    assert np.isnan(band_hz(Strip(geometry="forward-volume", bias_t=0.15))).all()
