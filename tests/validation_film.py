"""Sections of the validation page on the film alone: precession, waves, energy, heat and the dipolar field."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.constants import Boltzmann
from scipy.optimize import brentq

from simulators.dipolar import demagnetising_factor, exponential_sum
from simulators.dispersion import dispersion_hz
from simulators.fields import Dipolar, Medium, total_energy
from simulators.film import TERMS
from simulators.llg_ring import LLGRing
from simulators.strip import Geometry, Strip
from tests.experiments import (
    FittedDipolar,
    at_rest,
    bump,
    energy_balance,
    heated,
    inner_field_t,
    kalinikos_slavin_hz,
    one_cell,
    packets_hz,
    precession_found,
    precession_of_one_cell,
    stiffness_of_one_cell,
    undriven,
)
from tests.validation_report import Run, Section, Verdict, picture, table

GEOMETRIES: dict[Geometry, float] = {"surface": 50e-3, "backward-volume": 50e-3, "forward-volume": 250e-3}
"""Bias of each, in T."""

# A cell so long that nothing demagnetises it along x: the film as one spin.
_ENDLESS_M = 10.0


def single_spin(run: Run) -> Section:
    """Precession and decay of one cell, and of the film as one."""
    duration_s = run.pick(200, 40) * 1e-9
    cases = [(f"film, {geometry}", one_cell(cell_m=_ENDLESS_M, geometry=geometry, bias_t=bias))
             for geometry, bias in GEOMETRIES.items()]  # fmt: skip
    cases.append(("one cell of 80 nm", one_cell()))
    # The narrower a cell, the more it demagnetises itself: one width has the carrier's frequency.
    carrier_hz = LLGRing().config.carrier_hz
    width = brentq(lambda w: precession_of_one_cell(one_cell(cell_m=w))[0] - carrier_hz, 80e-9, 1e-4, xtol=1e-15)
    at_carrier = f"one cell of {width * 1e9:.0f} nm, at the ring's carrier"
    cases.append((at_carrier, one_cell(cell_m=width)))
    rows, error = [], {}
    for name, strip in cases:
        hz, decay = precession_of_one_cell(strip)
        for step_s in (10e-12, 5e-12, 2.5e-12):
            found_hz, found_decay = precession_found(strip, step_s, duration_s)
            error[name, step_s] = abs(found_hz / hz - 1)
            rows.append(
                (name, f"{step_s * 1e12:g}", f"{hz * 1e-9:.6f}", f"{found_hz / hz - 1:+.2e}",
                 f"{-((2 * np.pi * hz * step_s) ** 4) / 120:+.2e}", f"{found_decay / decay - 1:+.1e}")
            )  # fmt: skip
    # Left of it at a frequency f: (2 pi step)**4 / 120 (f**4 - f_K**4), with Kittel's f_K of the film in the plane.
    own = precession_of_one_cell(cases[0][1])[0]
    limits = {step_s: (own**4 + 120e-5 / (2 * np.pi * step_s) ** 4) ** 0.25 * 1e-9 for step_s in (10e-12, 5e-12)}
    parts = [
        f"A deviation of 1e-5 is let go and its pick-up, {duration_s * 1e9:g} ns in double precision, is fitted by a "
        "decaying cosine. With the fields B₁ and B₂ that bring the magnetisation back along its two axes across the "
        "bias,",
        "    ω² = γ² B₁ B₂ / (1 + α²) - Γ²,    Γ = α γ (B₁ + B₂) / (2 (1 + α²))",
        "(C. Kittel, Phys. Rev. 73, 155 (1948), with the damping of T. L. Gilbert, IEEE Trans. Magn. 40, 3443 (2004)). "
        "Of the film, B₁ = B and B₂ = B + µ₀Ms in the plane, both B - µ₀Ms along the normal: Kittel's uniform "
        f"frequencies; one cell {_ENDLESS_M:g} m long stands for it. What the classical Runge-Kutta method makes of a "
        "frequency is known, -(ω step)⁴ / 120 of it. The solver makes it good at the frequency of the endless film, so "
        "that little is left over the band of a ring, and more the farther off a spin is. So the film's own rows say "
        "that the correction is right; those of the cells, which it is not made for, say what is left. The method also "
        "damps, by (ω step)⁶ / 144 a step, which shows in Γ.",
        table(("spin", "step (ps)", "theory (GHz)", "error of the frequency", "Runge-Kutta alone", "error of Γ"), rows),
        f"So in this film 10 ps keep a frequency within 1e-5 up to {limits[10e-12]:.2f} GHz, and 5 ps (the tier "
        f"`reference`) up to {limits[5e-12]:.2f} GHz.",
    ]
    in_plane = "film, surface"
    return Section(
        parts,
        [
            Verdict("frequency error of the film's uniform mode, 10 ps", error[in_plane, 10e-12], 1e-5),
            Verdict(f"frequency error at the ring's carrier, {carrier_hz * 1e-9:g} GHz, 10 ps",
                    error[at_carrier, 10e-12], 1e-5),
            Verdict("frequency error of a cell of 80 nm (3.86 GHz), 10 ps", error["one cell of 80 nm", 10e-12], 1e-5),
            Verdict("largest frequency error at 5 ps", max(e for (_, s), e in error.items() if s == 5e-12), 1e-5),
            Verdict("Kittel frequency, every geometry, 2.5 ps",
                    max(e for (n, s), e in error.items() if s == 2.5e-12 and n.startswith("film")), 1e-6),
        ],
    )  # fmt: skip


def dispersion(run: Run) -> Section:
    """Waves in every geometry against Kalinikos and Slavin."""
    wavenumbers = np.linspace(0.5e6, 6e6, run.pick(8, 4))
    columns: list[NDArray[Any]] = [wavenumbers * 1e-6]
    verdicts, halved, curves = [], [], {}
    for geometry, bias in GEOMETRIES.items():
        worst = {}
        for halves in (1, 2):
            strip = Strip(
                cells=500 * halves,
                cell_m=80e-9 / halves,
                absorber_cells=0,
                damping=1e-6,
                geometry=geometry,
                bias_t=bias,
            )
            inner_t = inner_field_t(strip)
            theory = kalinikos_slavin_hz(strip, wavenumbers, inner_t)
            found = packets_hz(strip, wavenumbers, 5e-6, 4e-9)
            error = found / theory - 1
            worst[halves] = np.abs(error).max()
            if halves == 1:
                columns += [theory * 1e-9, found * 1e-9, error * 100]
                curves[geometry] = (found, error, strip, inner_t)
                endless_t = bias - (strip.saturation_t if geometry == "forward-volume" else 0)
                endless = kalinikos_slavin_hz(strip, wavenumbers, endless_t)
                of_cells = np.abs(dispersion_hz(strip, wavenumbers) / endless - 1).max()
        halved.append((geometry, f"{inner_t * 1e3:.2f}", *(f"{100 * e:.2f}" for e in (worst[1], of_cells, worst[2]))))
        verdicts.append(Verdict(f"dispersion, {geometry}: largest deviation", float(worst[1]), 1e-2))
    fine = np.linspace(0.02e6, 6.4e6, 200)
    with run.figure("dispersion", 2) as (left, right):
        for colour, (geometry, (found, error, strip, inner_t)) in zip(("C0", "C1", "C2"), curves.items(), strict=True):
            left.plot(fine * 1e-6, kalinikos_slavin_hz(strip, fine, inner_t) * 1e-9, colour, label=geometry)
            left.plot(wavenumbers * 1e-6, found * 1e-9, "o", color=colour)
            right.plot(wavenumbers * 1e-6, error * 100, "o-", color=colour, label=geometry)
        left.set(
            xlabel="wavenumber (rad/µm)", ylabel="frequency (GHz)", title="lines: theory; dots: run", ylim=(1.9, 4.4)
        )
        left.legend(loc="upper left", ncols=2, fontsize=9)
        right.set(xlabel="wavenumber (rad/µm)", ylabel="deviation (%)", title="run from theory", ylim=(-1.3, 1.3))
        right.axhspan(-1, 1, color="0.93", zorder=0)
        right.legend(loc="lower left", fontsize=9)
    k = wavenumbers[-1]
    strip = Strip(exchange_j_per_m=0.0)
    kd = k * strip.thickness_m
    p = 1 - (1 - np.exp(-kd)) / kd
    h = strip.bias
    exact = np.sqrt(h * (h + 1) + 0.25 * (1 - np.exp(-2 * kd)))
    lowest = np.sqrt(h * (h + 1) + p * (1 - p))
    head = ["k (rad/µm)"]
    for geometry in GEOMETRIES:
        head += [f"{geometry}: theory (GHz)", "run (GHz)", "deviation (%)"]
    formats = ["{:.2f}", *["{:.4f}", "{:.4f}", "{:+.2f}"] * 3]
    parts = [
        "Standing packets exp(-(x / 5 µm)²) cos(k x) of several wavenumbers, side by side in as many shots, are let go "
        "in the middle of a strip of 500 cells of 80 nm, without absorbers and with α = 1e-6; the overlap of each with "
        "its own shape beats at its frequency for 4 ns in steps of 10 ps. The lowest mode of a film with unpinned "
        "surfaces, in diagonal approximation (B. A. Kalinikos and A. N. Slavin, J. Phys. C 19, 7013 (1986)), has",
        "    ω² = (ωH + ωM λ² k²) (ωH + ωM λ² k² + ωM F)\n"
        "    F = P + sin²θ (1 - P (1 + cos²φ) + ωM P (1 - P) sin²φ / (ωH + ωM λ² k²))\n"
        "    P = 1 - (1 - exp(-k d)) / (k d)",
        "with ωM = γ µ₀Ms, λ the exchange length, θ between magnetisation and normal, φ in the plane between "
        "magnetisation and wave. ωH = γ B inside: where the bias points along x or z, the ends of a strip demagnetise "
        "its middle a little, and B inside is taken there from the field terms, summed over all pairs of cells.",
        table(head, [[f.format(v) for f, v in zip(formats, row, strict=True)] for row in np.transpose(columns)]),
        picture("dispersion", "Dispersion in three geometries against Kalinikos and Slavin"),
        f"What is left is mostly the size of the cell, of which the shortest wave here has "
        f"{2 * np.pi / wavenumbers[-1] / 80e-9:.0f}: an endless film of such cells (`simulators.dispersion`) deviates "
        "as much, and cells of half the size come closer. At the longest wave a packet is no longer than "
        "the wave itself and holds neighbouring ones too.",
        table(
            ("geometry", "B inside (mT)", "run, 80 nm: largest deviation (%)", "endless film of 80 nm cells (%)",
             "run, 40 nm (%)"), halved,
        ),
        "Solver and theory both take the magnetisation as constant over the thickness. Real surface waves lean to one "
        f"side of the film. At k = {k * 1e-6:g} rad/µm and without exchange, where the exact solution is known, "
        "ω² = ωH (ωH + ωM) + ωM² (1 - exp(-2 k d)) / 4 (R. W. Damon and J. R. Eshbach, J. Phys. Chem. Solids 19, "
        f"308 (1961)), the lowest mode above lies {100 * (lowest / exact - 1):+.2f} % from it. That error the page "
        "cannot see.",
    ]  # fmt: skip
    return Section(parts, verdicts)


def energy(run: Run) -> Section:
    """Energy lost against power dissipated, and energy kept without damping."""
    every_s, samples = 10e-12, run.pick(500, 100)
    rows, curves, balance = [], None, {}
    for step_s in (10e-12, 5e-12, 2.5e-12):
        strip = Strip()
        past = undriven(strip, bump(strip, 0.3), step_s, round(every_s / step_s), samples)[:, 0]
        time = every_s * np.arange(samples + 1)
        for kernel, dipolar in (("all pairs", Dipolar(strip.medium)), ("as the solver", FittedDipolar(strip.medium))):
            terms = [strip.exchange, dipolar, strip.zeeman]
            left, lost = energy_balance(strip, terms, past, every_s)
            error = np.abs(left + lost - left[0]).max() / left[0]
            balance[step_s, kernel] = float(error)
            rows.append((f"{step_s * 1e12:g}", kernel, f"{left[0]:.3e}", f"{left[-1] / left[0]:.4f}",
                         f"{lost[-1] / left[0]:.4f}", f"{error:.1e}"))  # fmt: skip
            if curves is None:
                curves = time, left / left[0], lost / left[0]
    assert curves is not None
    kept_rows, drift = [], {}
    for step_s in (10e-12, 5e-12, 2.5e-12):
        strip = Strip(damping=0.0, absorber_cells=0)
        past = undriven(strip, bump(strip, 0.3), step_s, round(every_s / step_s), samples)[:, 0]
        terms = [strip.exchange, FittedDipolar(strip.medium), strip.zeeman]
        left, _ = energy_balance(strip, terms, past, every_s)
        drift[step_s] = float(np.abs(left / left[0] - 1).max())
        kept_rows.append((f"{step_s * 1e12:g}", f"{left[-1] / left[0] - 1:+.1e}", f"{drift[step_s]:.1e}"))
    with run.figure("energy") as axes:
        time, left, lost = curves
        axes.plot(time * 1e9, left, label="energy left")
        axes.plot(time * 1e9, lost, label="dissipated so far")
        axes.plot(time * 1e9, left + lost, "k--", label="sum")
        axes.set(xlabel="time (ns)", ylabel="share of the energy at the start", ylim=(-0.05, 1.25))
        axes.legend(loc="upper center", ncols=3, fontsize=9)
    parts = [
        "A bump mx = 0.3 exp(-(x / 1 µm)²) in the middle of the default strip, absorbers and all, is let go. Along a "
        "solution, dE/dt = -µ₀ Ms ∫ H dm/dt dV, and of dm/dt (Gilbert's equation solved for it) only the damping "
        "torque has a part along the field. With h = H / Ms,",
        "    dE/dt = -µ₀ Ms² γ µ₀Ms ∫ α / (1 + α²) |m × h|² dV",
        "Energy and power come from `simulators.fields`, which the solver does not call, every 10 ps; the power is "
        "integrated by a spline. Error: largest |E + dissipated - E at the start| over the energy at the start, above "
        "that at rest. The solver's own dipolar field is a fit, so its energy balances better by that kernel than by "
        "the exact one.",
        table(("step (ps)", "dipolar energy", "energy at the start (J/m)", "left", "dissipated", "error"), rows),
        picture("energy", "Energy left and energy dissipated during a free decay"),
        f"Without damping or absorbers the energy should stay; after {samples * every_s * 1e9:g} ns:",
        table(("step (ps)", "change", "largest deviation"), kept_rows),
    ]
    return Section(
        parts,
        [
            Verdict("energy balance, exact dipolar energy, 10 ps", balance[10e-12, "all pairs"], 1e-3),
            Verdict("energy balance, the solver's dipolar energy, 2.5 ps", balance[2.5e-12, "as the solver"], 1e-5),
            Verdict("energy kept without damping, 2.5 ps", drift[2.5e-12], 1e-5),
        ],
    )


def with_error(blocks: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and its standard error from independent blocks."""
    return float(blocks.mean()), float(blocks.std(ddof=1) / np.sqrt(blocks.size))


def in_blocks(values: list[Any], blocks: int = 10) -> NDArray[np.float64]:
    """Samples, each (shots,), to the means of so many blocks of each shot."""
    array = np.array(values)
    return array[: len(array) // blocks * blocks].reshape(blocks, -1, array.shape[1]).mean(axis=1).ravel()


def heat(run: Run) -> Section:
    """Equipartition in one cell and in a whole strip."""
    temperature_k, step_s, every = 300.0, 5e-12, 4
    samples = run.pick(40_000, 2_000)
    rows, worst = [], 0.0
    cell = one_cell(damping=0.2, cell_m=50e-9, width_m=50e-9)
    squares: dict[str, list[Any]] = {"x": [], "z": []}
    for i, m in enumerate(heated(cell, temperature_k, step_s, every, samples, seed=0)):
        if i >= 200:
            squares["x"].append(m[:, 0, 0] ** 2)
            squares["z"].append(m[:, 0, 2] ** 2)
    volume = cell.cell_m * cell.thickness_m * cell.width_m
    for (axis, values), stiffness_t in zip(squares.items(), stiffness_of_one_cell(cell), strict=True):
        theory = Boltzmann * temperature_k / (cell.saturation_magnetisation_a_per_m * volume * stiffness_t)
        mean, error = with_error(in_blocks(values))
        rows.append((f"one cell, ⟨m{axis}²⟩", mean, error, theory))
    for name, settings in (("surface", {}), ("forward-volume", {"geometry": "forward-volume", "bias_t": 0.3})):
        strip = Strip(cells=24, absorber_cells=6, antenna_distance_m=0.8e-6, damping=0.05, width_m=1e-6, **settings)
        rest = total_energy(strip.terms, at_rest(strip)[0])
        energies = []
        for i, m in enumerate(heated(strip, temperature_k, step_s, 20, samples // 8, seed=1)):
            if i >= 100:
                energies.append([(total_energy(strip.terms, one) - rest) * strip.width_m for one in m])
        theory = strip.cells * Boltzmann * temperature_k
        mean, error = with_error(in_blocks(energies))
        rows.append((f"strip of {strip.cells} cells, {name}, energy (J)", mean, error, theory))
    worst = max(abs(mean - theory) / error for _, mean, error, theory in rows)
    off = max(abs(mean / theory - 1) for _, mean, error, theory in rows)
    parts = [
        f"The thermal field of W. F. Brown, Phys. Rev. 130, 1677 (1963), at {temperature_k:g} K must bring every "
        "degree of freedom to k T / 2. Of a lone cell of volume V, across the bias,",
        "    ⟨m_a²⟩ = k T / (Ms V B_a)",
        "with B_a the field that brings it back; of a strip of n cells, coupled by exchange and dipolar field and with "
        "absorbers of other damping at its ends, the mean energy above that at rest is n k T. Small angles; steps of "
        "5 ps; standard errors from ten blocks of each of four shots.",
        table(
            ("quantity", "run", "standard error", "theory", "deviation (%)", "in standard errors"),
            [(name, f"{mean:.4e}", f"{error:.1e}", f"{theory:.4e}", f"{100 * (mean / theory - 1):+.2f}",
              f"{(mean - theory) / error:+.1f}") for name, mean, error, theory in rows],
        ),
    ]  # fmt: skip
    return Section(
        parts,
        [
            Verdict("equipartition: largest deviation in standard errors", worst, 3),
            Verdict("equipartition: largest deviation", off, 0.05),
        ],
    )


def dipolar(run: Run) -> Section:
    """The fit of the dipolar kernel, and the kernel against closed forms."""
    width, thickness = 80e-9, 100e-9
    phases = np.linspace(0, np.pi, 4000)
    sizes = (48, 96, 192, 500, 1000)
    rows, curves = [], {}
    for cells in sizes:
        k = np.arange(1, cells)
        error = exponential_sum(cells, width, thickness, TERMS).at(k) - demagnetising_factor(k, width, thickness)
        of_q = 2 * np.cos(phases[:, None] * k) @ error
        curves[cells] = of_q
        rows.append((cells, f"{np.abs(error).max():.1e}", f"{np.abs(of_q).max():.1e}", f"{of_q[0]:+.1e}"))
    with run.figure("dipolar", 2) as (left, right):
        k = np.arange(1, 96)
        exact = demagnetising_factor(k, width, thickness)
        fit = exponential_sum(96, width, thickness, TERMS).at(k)
        left.loglog(k, -exact, "k.", label="-Nxx, exact")
        left.loglog(k[1:], np.abs(fit - exact)[1:], label="error of the fit")
        left.set(xlabel="distance (cells)", ylabel="Nxx", title="96 cells")
        left.legend(loc="lower left")
        for cells in (96, 500):
            right.plot(phases / width * 1e-6, curves[cells] * 1e4, label=f"{cells} cells", lw=1)
        right.set(
            xlabel="wavenumber (rad/µm)", ylabel="error of N(q) (1e-4)", title="the fit, wave by wave", xscale="log"
        )
        right.legend(loc="upper right")
    closed = []
    film = Medium(1000, width, thickness, 140e3)
    along, normal = (np.tile(v, (film.cells, 1)) for v in ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0]))
    ratio = film.cells * width / thickness
    mean = (
        (1 - ratio**2) / (2 * ratio) * np.log(1 + ratio**2) + ratio * np.log(ratio) + 2 * np.arctan(1 / ratio)
    ) / np.pi
    term = Dipolar(film)
    ms = film.saturation_magnetisation_a_per_m
    found_x = float(-term.field(along)[:, 0].mean() / ms)
    found_z = float(-term.field(normal)[:, 2].mean() / ms)
    closed.append(("bar of 80 µm, mean factor along x", found_x, mean))
    closed.append(("the same, along z", found_z, 1 - mean))
    fine = Medium(2000, 10e-9, thickness, 140e3)
    x = fine.cell_m * np.arange(fine.cells)
    middle = fine.cells // 2
    for wavenumber in (1e6, 3e6, 6e6):
        wave = np.cos(wavenumber * (x - x[middle]))
        # The ends of so short a film are faded out, or their poles would be felt in the middle.
        wave *= np.hanning(fine.cells)
        kd = wavenumber * thickness
        theory = 1 - (1 - np.exp(-kd)) / kd
        found = float(-Dipolar(fine).field(np.outer(wave, [1.0, 0.0, 0.0]))[middle, 0] / ms / wave[middle])
        closed.append((f"wave of {wavenumber * 1e-6:g} rad/µm along x", found, theory))
    parts = [
        f"The solver applies the dipolar field as recursions for {TERMS} exponentials, exact at the cell itself and at "
        "its neighbours. N(q) = Σ N(j) cos(q j) is what a wave feels; its error is the error of the field in units of "
        "Ms. What that does to a ring, section 8 says.",
        table(("cells", "largest error of N(j)", "largest error of N(q)", "at q = 0"), rows),
        picture("dipolar", f"Kernel and error of its fit by {TERMS} exponentials"),
        "So strips far longer than the default one pay for it, most at long waves and, where the bias demagnetises "
        "(backward and forward volume), with a shift of the inner field by the error at q = 0.",
        "The `Dipolar` term itself, all pairs, against closed forms: the mean demagnetising factor of an endless bar "
        "(W. F. Brown, Magnetostatic Principles in Ferromagnetism (1962); A. Aharoni, J. Appl. Phys. 83, 3432 (1998), "
        "for a bar of infinite length), with p its width over its thickness,",
        "    π N = (1 - p²) / (2 p) ln(1 + p²) + p ln p + 2 atan(1 / p)",
        "and P(k) of section 2 for a wave along x, in cells of 10 nm under a smooth window 20 µm long.",
        table(
            ("factor", "run", "theory", "difference"),
            [(name, f"{found:.8f}", f"{theory:.8f}", f"{found - theory:+.1e}") for name, found, theory in closed],
        ),
    ]
    q_error = float(np.abs(curves[96]).max())
    return Section(
        parts,
        [
            Verdict(f"dipolar field, {TERMS} exponentials, default film: error of N(q)", q_error, 3e-4),
            Verdict("demagnetising factors of a bar: difference",
                    max(abs(f - t) for n, f, t in closed[:2]), 1e-8),
            Verdict("factor of a wave: difference", max(abs(f - t) for n, f, t in closed[2:]), 5e-4),
        ],
    )  # fmt: skip
