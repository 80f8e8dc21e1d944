"""Experiments on the solver, and the theory they are held against; for tests and for the validation page."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.constants import mu_0
from scipy.interpolate import CubicSpline
from scipy.optimize import curve_fit, least_squares

from simulators.dipolar import demagnetising_factor, exponential_sum
from simulators.fields import UNIT, Dipolar, Term, total_energy, total_field
from simulators.film import SHOTS, TERMS, Precision, film_of, wiring_of
from simulators.lanes import WIDTH
from simulators.llg import Drive, advance, magnetisation, record, set_magnetisation, tile_at_rest
from simulators.strip import GYROMAGNETIC_RATIO, Loop, Strip
from simulators.thermal import thermal_deviation, thermal_field

Array = NDArray[Any]
Terms = list[Term]

OPEN = Loop(delay_s=1e-9)
"""An open ring."""


def pickup(
    strip: Strip,
    loop: Loop,
    step_s: float,
    drive: NDArray[np.float64],
    m: NDArray[np.float64] | None = None,
) -> Array:
    """Pick-up (steps + 1, shots) in double precision, of one drive field at half steps or of one for each shot."""
    return record(strip, loop, step_s, np.atleast_2d(drive), np.float64, m).T


def at_rest(strip: Strip, shots: int = 1) -> NDArray[np.float64]:
    """Magnetisation at rest, (shots, cells, 3)."""
    return np.tile(UNIT[strip.bias_axis], (shots, strip.cells, 1))


def carrier(step_s: float, duration_s: float, field: float, carrier_hz: float) -> NDArray[np.float64]:
    """A sine at half steps, from 0 on."""
    time = 0.5 * step_s * np.arange(2 * round(duration_s / step_s) + 1)
    return np.asarray(field * np.sin(2 * np.pi * carrier_hz * time))


def nrmse(value: Array, reference: Array) -> float:
    """Root mean square error over the root mean square of the reference."""
    return float(np.sqrt(np.mean((value - reference) ** 2) / np.mean(reference**2)))


def undriven(
    strip: Strip, m: Array, step_s: float, every: int, samples: int, precision: Precision = np.float64
) -> Array:
    """Magnetisations (samples + 1, shots, cells, 3) every so many steps of a strip that nothing drives."""
    out = np.empty((samples + 1, *m.shape))
    out[0] = m
    film, wiring = film_of(strip, step_s, precision), wiring_of(strip, OPEN.delay_s, step_s, precision)
    for first in range(0, len(m), SHOTS):
        some = slice(first, first + SHOTS)
        tile = tile_at_rest(film, wiring, every)
        set_magnetisation(strip, tile, m[some])
        drive = _silence(every, precision)
        for i in range(samples):
            advance(film, wiring, tile, drive, None)
            out[i + 1, some] = magnetisation(strip, tile)[: len(m[some])]
    return out


def heated(strip: Strip, temperature_k: float, step_s: float, every: int, samples: int, seed: int) -> Iterator[Array]:
    """Yield magnetisations (SHOTS, cells, 3) of a strip at a temperature, every so many steps, from rest on."""
    film, wiring = film_of(strip, step_s, np.float64), wiring_of(strip, OPEN.delay_s, step_s, np.float64)
    tile, drive = tile_at_rest(film, wiring, every), _silence(every, np.float64)
    deviation = thermal_deviation(strip, temperature_k, step_s)
    block = 500
    for i in range(samples):
        if i % block == 0:
            fields = [
                thermal_field(strip, deviation, block * every, seed, shot, i // block, np.float64)
                for shot in range(SHOTS)
            ]
            noise = np.stack(fields, axis=-1).reshape(block, -1)
        advance(film, wiring, tile, drive, noise[i % block])
        yield magnetisation(strip, tile)


def _silence(steps: int, precision: Precision) -> Drive:
    table, lanes = np.zeros((2 * steps + 1) * WIDTH, precision), np.zeros(WIDTH, precision)
    return Drive(table, table, np.zeros(steps, precision), lanes, lanes, lanes, np.ones(WIDTH, precision))


def stiffness_of_one_cell(strip: Strip) -> tuple[float, float]:
    """Fields in T that bring a lone cell back along its two axes across the magnetisation, in the order of x, y, z."""
    nxx = float(demagnetising_factor(np.array(0), strip.cell_m, strip.thickness_m))
    factor = {"x": nxx, "y": 0.0, "z": 1 - nxx}
    inner = strip.bias_t - strip.saturation_t * factor[strip.bias_axis]
    first, second = (inner + strip.saturation_t * factor[axis] for axis in "xyz" if axis != strip.bias_axis)
    return first, second


def precession_of_one_cell(strip: Strip) -> tuple[float, float]:
    """Frequency in Hz and decay in 1/s of a lone cell, small angle.

    Kittel, Phys. Rev. 73, 155 (1948), with Gilbert damping: decay = alpha gamma (B1 + B2) / 2 (1 + alpha**2) and
    omega**2 = gamma**2 B1 B2 / (1 + alpha**2) - decay**2.
    """
    first, second = stiffness_of_one_cell(strip)
    damping = 1 + strip.damping**2
    decay = strip.damping * GYROMAGNETIC_RATIO * (first + second) / 2 / damping
    return float(np.sqrt(GYROMAGNETIC_RATIO**2 * first * second / damping - decay**2) / (2 * np.pi)), decay


def precession_found(strip: Strip, step_s: float, duration_s: float, deviation: float = 1e-5) -> tuple[float, float]:
    """Frequency in Hz and decay in 1/s of a lone cell as the solver has them, by a fit to its pick-up."""
    m = at_rest(strip)
    m[0, :, "xz".index(strip.antenna_axis) * 2] = deviation
    time = step_s * np.arange(round(duration_s / step_s) + 1)
    signal = pickup(strip, OPEN, step_s, np.zeros(2 * len(time) - 1), m)[1:, 0] / deviation
    hz, decay = precession_of_one_cell(strip)

    def residual(x: Array) -> Array:
        size, ghz, phase, rate = x
        t = time[1:] * 1e9
        return np.asarray(size * np.cos(2 * np.pi * ghz * t + phase) * np.exp(-rate * t) - signal)

    start = (1, hz * 1e-9, 0, decay * 1e-9)
    _, ghz, _, rate = least_squares(residual, start, x_scale="jac", ftol=1e-14, xtol=1e-14, gtol=1e-14).x
    return float(ghz * 1e9), float(rate * 1e9)


def one_cell(**settings: Any) -> Strip:
    """A strip of one cell without absorbers."""
    return Strip(**{"cells": 1, "absorber_cells": 0, "antenna_cells": 1, "antenna_distance_m": 0, **settings})


def inner_field_t(strip: Strip) -> float:
    """Field in T along the magnetisation at rest in the middle of the strip, where its ends demagnetise it a little."""
    field = total_field(strip.terms, at_rest(strip)[0])[strip.cells // 2]
    return float(mu_0 * field["xyz".index(strip.bias_axis)])


def kalinikos_slavin_hz(strip: Strip, wavenumbers: Array, inner_t: float) -> NDArray[np.float64]:
    """Frequency in Hz of the lowest mode of a film with unpinned surfaces, for wavenumbers (n,) in rad/m.

    Kalinikos and Slavin, J. Phys. C 19, 7013 (1986), in their diagonal approximation: with w_k = w_H + w_M l**2 k**2,
    l the exchange length, omega**2 = w_k (w_k + w_M F), P = 1 - (1 - exp(-k d)) / (k d) and
    F = P + sin(theta)**2 (1 - P (1 + cos(phi)**2) + w_M P (1 - P) sin(phi)**2 / w_k). theta is the angle between
    magnetisation and normal, phi in the plane between magnetisation and wave; w_H is the inner field, `inner_t`.
    """
    k = np.asarray(wavenumbers, dtype=np.float64)
    w_m = strip.rate
    in_plane = strip.geometry != "forward-volume"
    w_h = GYROMAGNETIC_RATIO * inner_t
    w_k = w_h + w_m * (strip.exchange_length_m * k) ** 2
    kd = k * strip.thickness_m
    p = 1 + np.expm1(-kd) / kd
    sine_theta = 1.0 if in_plane else 0.0
    sine_phi = 1.0 if strip.geometry == "surface" else 0.0
    f = p + sine_theta**2 * (1 - p * (2 - sine_phi**2) + w_m * p * (1 - p) * sine_phi**2 / w_k)
    return np.asarray(np.sqrt(w_k * (w_k + w_m * f)) / (2 * np.pi))


def packets_hz(strip: Strip, wavenumbers: Array, width_m: float, duration_s: float, step_s: float = 10e-12) -> Array:
    """Frequency in Hz of standing packets of these wavenumbers (n,) in rad/m, side by side in as many shots.

    A packet exp(-(x / width)**2) cos(k x) is let go; its overlap with itself beats at its frequency.
    """
    position = strip.cell_m * (np.arange(strip.cells) - strip.cells / 2)
    shape = np.exp(-((position / width_m) ** 2)) * np.cos(position * wavenumbers[:, None])
    m = at_rest(strip, len(wavenumbers))
    component = "xz".index(strip.antenna_axis) * 2
    m[:, :, component] = 1e-5 * shape
    every = 4
    samples = round(duration_s / step_s / every)
    past = undriven(strip, m, step_s, every, samples)
    overlap = (past[1:, :, :, component] * shape).sum(axis=2)
    time = step_s * every * np.arange(1, samples + 1)

    def model(t: Array, size: float, ghz: float, phase: float, width: float) -> Array:
        return np.asarray(size * np.cos(2 * np.pi * ghz * t + phase) * np.exp(-((t / width) ** 2)))

    found = []
    starts = 1e-9 * kalinikos_slavin_hz(strip, wavenumbers, inner_field_t(strip))
    for start, signal in zip(starts, overlap.T, strict=True):
        fit, _ = curve_fit(model, time * 1e9, signal / signal[0], p0=(1, start, 0, duration_s * 1e9))
        found.append(fit[1] * 1e9)
    return np.array(found)


def integrated(
    strip: Strip, loop: Loop, step_s: float, duration_s: float, field: float, hz: float, nxx: Array | None = None
) -> Any:
    """Pick-up by an independent code: all pairs of cells with the exact kernel, a spline through the past.

    Surface geometry, switched on at rest with a carrier `field` in units of Ms; (steps + 1,). `nxx` (cells, cells) is
    a kernel to take instead of the exact one.
    """
    cells = np.arange(strip.cells)
    if nxx is None:
        nxx = demagnetising_factor(np.abs(cells[:, None] - cells), strip.cell_m, strip.thickness_m)
    into, out = strip.antennas
    damping = strip.damping_profile
    m = np.zeros((strip.cells, 3))
    m[:, 1] = 1
    past = [0.0] * 4
    ms = strip.saturation_magnetisation_a_per_m

    def rate(m: NDArray[np.float64], antenna: float) -> NDArray[np.float64]:
        h = strip.exchange.neighbour * (np.roll(np.pad(m, ((1, 1), (0, 0)), "edge"), 1, 0)[1:-1] - m)
        h += strip.exchange.neighbour * (np.roll(np.pad(m, ((1, 1), (0, 0)), "edge"), -1, 0)[1:-1] - m)
        h[:, 1] += strip.bias_t / (mu_0 * ms)
        h[:, 0] -= nxx @ m[:, 0]
        h[:, 2] -= m[:, 2] - nxx @ m[:, 2]
        h[into, 0] += antenna
        torque = np.cross(m, h)
        scale = -GYROMAGNETIC_RATIO * mu_0 * ms / (1 + damping**2)
        return scale[:, None] * (torque + damping[:, None] * np.cross(m, torque))

    for n in range(round(duration_s / step_s)):
        times = step_s * np.arange(n - len(past) + 1, n + 1)
        spline = CubicSpline(times, past)

        def antenna(t: float, spline: CubicSpline = spline) -> float:
            y = loop.gain / loop.saturation * float(spline(t - loop.delay_s)) if t > loop.delay_s else 0.0
            return field * np.sin(2 * np.pi * hz * t) + loop.saturation * y / np.hypot(1, y)

        t = n * step_s
        k1 = rate(m, antenna(t))
        k2 = rate(m + 0.5 * step_s * k1, antenna(t + 0.5 * step_s))
        k3 = rate(m + 0.5 * step_s * k2, antenna(t + 0.5 * step_s))
        k4 = rate(m + step_s * k3, antenna(t + step_s))
        m = m + step_s / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        m /= np.linalg.norm(m, axis=1, keepdims=True)
        past.append(float(m[out, 0].mean()))
    return np.array(past[3:])


class FittedDipolar(Dipolar):
    """The dipolar field as the solver has it: a sum of exponentials from the second neighbour on."""

    @cached_property
    def nxx(self) -> NDArray[np.float64]:
        """Nxx between any two cells, (cells, cells)."""
        medium, i = self.medium, np.arange(self.medium.cells)
        distance = np.abs(i[:, None] - i)
        fit = exponential_sum(medium.cells, medium.cell_m, medium.thickness_m, TERMS)
        own = demagnetising_factor(np.array(0), medium.cell_m, medium.thickness_m)
        return np.where(distance == 0, own, fit.at(np.maximum(distance, 1)))


def bump(strip: Strip, height: float) -> NDArray[np.float64]:
    """A smooth deviation of mx in the middle of a strip, (1, cells, 3)."""
    position = strip.cell_m * (np.arange(strip.cells) - strip.cells / 2)
    m = at_rest(strip)
    m[0, :, 0] = height * np.exp(-((position / 1e-6) ** 2))
    return np.asarray(m / np.linalg.norm(m, axis=2, keepdims=True))


def dissipated_power(strip: Strip, terms: Terms, m: NDArray[np.float64]) -> float:
    """Power in W/m that damping takes from magnetisations (cells, 3).

    mu0 Ms**2 gamma mu0 Ms integral of alpha / (1 + alpha**2) |m x h|**2: of Gilbert's equation solved for dm/dt, the
    part along the field.
    """
    h = total_field(terms, m) / strip.saturation_magnetisation_a_per_m
    damping = strip.damping_profile
    loss = damping / (1 + damping**2) * np.square(np.cross(m, h)).sum(axis=1)
    return float(strip.medium.moment * strip.saturation_magnetisation_a_per_m * strip.rate * loss.sum())


def energy_balance(strip: Strip, terms: Terms, past: Array, every_s: float) -> tuple[Array, Array]:
    """Energy above that at rest and energy dissipated so far, (samples,) in J/m.

    `past` are magnetisations (samples, cells, 3), one every `every_s`.
    """
    rest = total_energy(terms, at_rest(strip)[0])
    left = np.array([total_energy(terms, m) for m in past]) - rest
    power = [dissipated_power(strip, terms, m) for m in past]
    time = every_s * np.arange(len(past))
    return left, np.asarray(CubicSpline(time, power).antiderivative()(time))
