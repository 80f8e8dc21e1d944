import numpy as np
import pytest
from scipy.integrate import dblquad

from simulators.dipolar import demagnetising_factor, exponential_sum

WIDTH_M, THICKNESS_M = 80e-9, 100e-9


def factor(k: int, width_m: float = WIDTH_M, thickness_m: float = THICKNESS_M) -> float:
    return float(demagnetising_factor(np.array(k), width_m, thickness_m))


def test_factors_along_width_and_thickness_add_up_to_one() -> None:
    assert factor(0) + factor(0, THICKNESS_M, WIDTH_M) == pytest.approx(1, abs=1e-14)
    assert factor(0, WIDTH_M, WIDTH_M) == pytest.approx(0.5, abs=1e-14)


def test_thin_film_is_demagnetised_along_its_width_as_expansion_for_thin_prisms_says() -> None:
    ratio = 1e-4
    expected = ratio / np.pi * (np.log(1 / ratio) + 1.5)
    assert factor(0, THICKNESS_M / ratio, THICKNESS_M) == pytest.approx(expected, rel=1e-6)
    assert factor(0, THICKNESS_M, THICKNESS_M / ratio) == pytest.approx(1 - expected, rel=1e-6)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_factor_agrees_with_numerical_integration_of_the_charges_on_the_faces(k: int) -> None:
    # Field along x, at a point of the target, of the two charged faces of the source, averaged over the target.
    def field(x: float, z: float) -> float:
        def face(distance: float) -> float:
            upper, lower = (z + THICKNESS_M / 2) / distance, (z - THICKNESS_M / 2) / distance
            return (np.arctan(upper) - np.arctan(lower)) / (2 * np.pi)

        return face(x - WIDTH_M / 2) - face(x + WIDTH_M / 2)

    centre = k * WIDTH_M
    # The near edge of the nearest cell touches a charged face, where the integrand jumps but stays bounded.
    total, _ = dblquad(
        lambda z, x: field(x, z),
        centre - WIDTH_M / 2 * (1 - 1e-12),
        centre + WIDTH_M / 2,
        -THICKNESS_M / 2,
        THICKNESS_M / 2,
    )
    assert factor(k) == pytest.approx(-total / (WIDTH_M * THICKNESS_M), rel=1e-5)


def test_cells_together_are_demagnetised_like_one_wide_prism() -> None:
    cells = 40
    distances = np.abs(np.subtract.outer(np.arange(cells), np.arange(cells)))
    mean = demagnetising_factor(distances, WIDTH_M, THICKNESS_M).sum() / cells
    assert mean == pytest.approx(factor(0, cells * WIDTH_M, THICKNESS_M), rel=1e-10)


def test_five_exponentials_fit_the_kernel_at_every_wavenumber() -> None:
    k = np.arange(1, 96)
    error = exponential_sum(96, WIDTH_M, THICKNESS_M).at(k) - demagnetising_factor(k, WIDTH_M, THICKNESS_M)
    assert error[0] == 0
    assert np.abs(error).max() < 1e-5
    phases = np.linspace(0, np.pi, 500)
    assert np.abs(2 * np.cos(phases[:, None] * k) @ error).max() < 4e-5


def test_fitted_exponentials_decay() -> None:
    fit = exponential_sum(96, WIDTH_M, THICKNESS_M)
    assert np.all((fit.rates > 0) & (fit.rates < 1))
    assert len(set(fit.rates)) == 5
