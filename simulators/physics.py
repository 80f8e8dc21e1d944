"""What a simulated ring cannot be: refused, or remarked on, with the physical reason."""

import math

from labpgt.errors import InputError
from simulators.dipolar import fit_error
from simulators.dispersion import band_hz
from simulators.llg_ring_config import LLGRingConfig
from simulators.strip import GYROMAGNETIC_RATIO, Strip

_STABLE = 2.78
"""RK4 follows an undamped oscillation while omega step < 2 sqrt(2); the damped ends take a little."""

_FINEST_PERIOD = 0.1
"""Periods in a step, at most: RK4 turns by 1e-3 too slowly there."""

_GOOD_FIT = 1e-4
"""Error in N(q) that shifts waves by a quarter of a megahertz."""

_RESOLVED = 10
"""Cells in the shortest wave that the solver follows well: central differences are 3 % of k**2 off there."""


def refuse_unphysical(strip: Strip, config: LLGRingConfig, step_s: float) -> None:
    """Raise `InputError` for a ring that oscillates, a film that is not saturated, no wave, or a step too long."""
    if config.net_gain >= 1:
        raise InputError(
            f"device.attenuation_db = {config.attenuation_db:g}: with gain {config.gain:g} the loop gain is "
            f"{config.net_gain:.3g} of the auto-oscillation threshold: the ring would oscillate by itself and answer "
            f"nothing. Expected more than {20 * math.log10(config.gain):.3g} dB"
        )
    try:
        into, out = strip.antennas
    except ValueError as error:
        raise InputError(f"device.antenna_distance_m = {strip.antenna_distance_m:g}: {error}") from None
    free = range(strip.absorber_cells, strip.cells - strip.absorber_cells)
    if into.start not in free or out.stop - 1 not in free:
        raise InputError(
            f"device.absorber_cells = {strip.absorber_cells}: the antennas lie on cells {into.start} to "
            f"{out.stop - 1}, inside the absorbers, which swallow the wave before it is picked up; expected at most "
            f"{min(into.start, strip.cells - out.stop)}"
        )
    if config.delay_s < 3 * step_s:
        raise InputError(
            f"device.delay_s = {config.delay_s:g}: the delayed pick-up is interpolated between steps; expected three "
            f"steps of {step_s:g} s or more"
        )
    low, high = band_hz(strip)
    if math.isnan(low):
        raise InputError(
            f"device.bias_t = {strip.bias_t:g}: the film is not saturated along its bias in {strip.geometry} geometry: "
            f"the demagnetising field of up to {strip.saturation_t:.3g} T, or the anisotropy, turns the magnetisation "
            "away. Raise the bias"
        )
    if 2 * math.pi * high * step_s > _STABLE:
        raise InputError(
            f"device.cell_m = {strip.cell_m:g}: the shortest wave of the cells turns at {high / 1e9:.4g} GHz, "
            f"{2 * math.pi * high * step_s:.3g} rad in a step of {step_s:.3g} s, where Runge-Kutta is unstable (limit "
            f'{_STABLE:g}). Expected longer cells, or shorter steps: more n_nodes, or tier = "reference"'
        )
    if not low <= config.carrier_hz <= high:
        raise InputError(
            f"device.carrier_hz = {config.carrier_hz:g}: the film carries no wave there, at a bias of {strip.bias_t:g} "
            f"T in {strip.geometry} geometry its band is {low / 1e9:.4g} to {high / 1e9:.4g} GHz"
        )
    if config.carrier_hz * step_s > _FINEST_PERIOD:
        raise InputError(
            f"device.carrier_hz = {config.carrier_hz:g}: {1 / (config.carrier_hz * step_s):.2g} steps a period cannot "
            f"follow the carrier; expected {1 / _FINEST_PERIOD:g} or more"
        )


def remarks(strip: Strip, config: LLGRingConfig) -> list[str]:
    """Say what is doubtful about a ring that can be simulated."""
    found = []
    left = fit_error(strip.cells, strip.cell_m, strip.thickness_m)
    if left > _GOOD_FIT:
        shift_hz = left * strip.saturation_t * GYROMAGNETIC_RATIO / (4 * math.pi)
        found.append(
            f"the exponentials that stand for the dipolar field of {strip.cells} cells are {left:.1g} off in N(q), "
            f"waves up to {shift_hz / 1e6:.2g} MHz; fewer cells are closer"
        )
    validated = Strip()
    same_film = (strip.cell_m, strip.exchange_j_per_m, strip.saturation_magnetisation_a_per_m) == (
        validated.cell_m,
        validated.exchange_j_per_m,
        validated.saturation_magnetisation_a_per_m,
    )
    if strip.cell_m > strip.exchange_length_m and not same_film:
        found.append(
            f"cells of {strip.cell_m:g} m are longer than the exchange length of {strip.exchange_length_m:.3g} m: "
            f"waves shorter than {_RESOLVED} cells ({_RESOLVED * strip.cell_m:.2g} m) and domain walls are not resolved"
        )
    return found
