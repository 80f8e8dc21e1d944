"""Sections of the validation page on the closed ring: order of convergence, single precision, and another code."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.film import SHOTS, Precision
from simulators.llg import record
from simulators.llg_ring import LLGRing
from simulators.ring import RingSolver, Shots, Symbol
from simulators.strip import Loop, Strip
from tests.experiments import FittedDipolar, carrier, integrated, nrmse, pickup
from tests.validation_report import Run, Section, Verdict, picture, table

PAPER_LIKE = {"carrier_hz": 3.1417e9, "drive_field_a_per_m": 28.0, "full_scale": 0.02, "duty": 1.0, "gain": 0.9}
"""Near threshold, driven weakly: a long memory and next to no nonlinearity."""


CLOSE = 0.8
"""Gain over threshold of the ring that other codes solve as well."""


def order(run: Run) -> Section:
    """Runge-Kutta order of the closed ring."""
    short = Strip(cells=40, absorber_cells=8, antenna_distance_m=1.2e-6)
    default = LLGRing()
    saturation = default.config.saturation_a_per_m / default.strip.saturation_magnetisation_a_per_m
    cases = {
        "40 cells, delay 0.6137 ns, saturating": (short, Loop(0.6137e-9, 0.08, 5e-3), 2e-2, 6e-9),
        "default ring, delay 2 ns": (
            default.strip, Loop(default.config.delay_s, default.config.gain * default.threshold_gain, saturation),
            default.config.drive_field_a_per_m / default.strip.saturation_magnetisation_a_per_m, 12.6e-9,
        ),
        "default ring, driven a tenth as hard": (
            default.strip, Loop(default.config.delay_s, default.config.gain * default.threshold_gain, saturation),
            0.1 * default.config.drive_field_a_per_m / default.strip.saturation_magnetisation_a_per_m, 12.6e-9,
        ),
        "0.9 of threshold, delay 2.0037 ns": (
            default.strip, Loop(2.0037e-9, 0.9 * default.threshold_gain, saturation), 2e-3, 25.2e-9,
        ),
    }  # fmt: skip
    steps = tuple(10e-12 / 2**halved for halved in range(run.pick(6, 2)))
    in_use = run.pick(4, 2)
    finest = steps[-1] / 4
    rows, fitted, last, curves = [], {}, {}, {}
    for name, (strip, loop, field, duration_s) in cases.items():

        def trace(step_s: float, strip: Strip = strip, loop: Loop = loop, at: Any = (field, duration_s)) -> Any:
            return pickup(strip, loop, step_s, carrier(step_s, at[1], at[0], default.config.carrier_hz))[:, 0]

        reference = trace(finest)
        errors = [nrmse(trace(step), reference[:: round(step / finest)]) for step in steps]
        orders = np.log2(np.divide(errors[:-1], errors[1:]))
        fitted[name] = float(np.polyfit(np.log2(steps[:in_use]), np.log2(errors[:in_use]), 1)[0])
        last[name] = float(orders[-1])
        curves[name] = errors
        rows.append((name, *(f"{e:.2e}" for e in errors), ", ".join(f"{o:.3f}" for o in orders)))
    with run.figure("order") as axes:
        at = np.array(steps) * 1e12
        for name, errors in curves.items():
            axes.loglog(at, errors, "o-", label=name)
        axes.loglog(at, curves["default ring, delay 2 ns"][0] * (at / at[0]) ** 4 / 3, "k:", label="fourth order")
        axes.set(xlabel="step (ps)", ylabel="NRMSE of the pick-up", xticks=at, xticklabels=[f"{x:.3g}" for x in at])
        axes.minorticks_off()
        top = max(max(e) for e in curves.values())
        axes.set_ylim(top=top * 300)
        axes.legend(loc="upper left", fontsize=8)
    parts = [
        "A carrier is switched on into a closed ring, and the pick-up, from the first step to the last, is compared "
        f"with that at a step of {finest * 1e12:.3g} ps, double precision throughout. The classical Runge-Kutta method "
        "is of fourth order (W. Kutta, Z. Math. Phys. 46, 435 (1901)); a ring keeps it only if the delayed pick-up is "
        "interpolated as well as that, at the start, middle and end of each step and whatever the delay, so some of "
        "the delays are no multiple of any step. Order: log₂ of the ratio of errors from one step to its half.",
        table(("ring", *(f"NRMSE at {s * 1e12:.4g} ps" for s in steps), "order"), rows),
        picture("order", "Error of the closed ring over the step"),
        "The solver takes most of the step's error of fourth order away at the film's frequency (section 1), so terms "
        "of higher order are felt for longer, most where a strong drive turns the magnetisation far: the order of one "
        "halving may lie above or below four, and settles as the step gets shorter. The first verdicts take the slope "
        f"of a line from {steps[0] * 1e12:g} to {steps[in_use - 1] * 1e12:g} ps, from the device tier's step on; "
        "the others the last halving.",
    ]
    span = f"{steps[0] * 1e12:g} to {steps[in_use - 1] * 1e12:g} ps"
    halving = f"{steps[-2] * 1e12:.3g} to {steps[-1] * 1e12:.3g} ps"
    verdicts = [Verdict(f"order, slope from {span}: {name}", order, 3.9, True) for name, order in fitted.items()]
    verdicts += [Verdict(f"order, {halving}: {name}", order, 3.9, True) for name, order in last.items()]
    return Section(parts, verdicts)


def whole_shots(device: LLGRing, drives: NDArray[np.float64], finer: int, number: Precision) -> NDArray[np.float64]:
    """Pick-up (shots, steps) of a device after every step, solved with steps shorter by `finer`."""
    c = device.config
    ms = device.strip.saturation_magnetisation_a_per_m
    per_symbol = round(c.symbol_s / device.step_s)
    step_s = device.step_s / finer
    gate = (np.arange(per_symbol) < round(c.duty * per_symbol)).astype(float).repeat(finer)
    # A window of one step keeps every sample: the quadrature detector reads 2 i p exp(-i phase of the carrier) there.
    solver = RingSolver(device.strip, c.delay_s, Symbol(gate.size, 1, step_s, gate, True), number)
    count = np.ones(len(drives))
    shots = Shots(
        c.pulses(drives) * c.drive_field_a_per_m / ms,
        count * c.carrier_hz,
        count * c.net_gain * device.threshold_gain,
        count * c.saturation_a_per_m / ms,
    )
    read = solver.respond(solver.workspace(), shots).reshape(len(drives), -1)
    phase = 2 * np.pi * c.carrier_hz * step_s * np.arange(1, read.shape[1] + 1)
    return np.asarray((read * np.exp(1j * phase) / 2j).real)


def envelopes(device: LLGRing, pickup: NDArray[np.float64], symbols: int) -> NDArray[np.float64]:
    """Responses (shots, symbols, nodes) that the diode makes of a pick-up (shots, steps), of any step."""
    power = np.square(pickup).reshape(len(pickup), symbols, device.n_nodes, -1).mean(axis=3)
    return np.asarray(np.sqrt(2 * power) / device.config.full_scale)


def precision(run: Run) -> Section:
    """The device tier against double precision at a quarter of its step."""
    symbols = run.pick(30, 4)
    drives = np.random.default_rng(0).random((SHOTS, symbols))
    verdicts, rows = [], []
    solvers: dict[str, tuple[int, Precision]] = {
        "single, 10 ps (`device`)": (1, np.float32),
        "double, 10 ps": (1, np.float64),
        "double, 5 ps (`reference`)": (2, np.float64),
    }
    with run.figure("precision", 2) as panels:
        for axes, (name, settings) in zip(panels, {"default": {}, "paper-like": PAPER_LIKE}.items(), strict=True):
            device = LLGRing(noise=0.0, **settings)
            whole = whole_shots(device, drives, 4, np.float64)
            # The reference, read when the device's detector reads.
            reference = whole[:, 3::4]
            read, read_finer = envelopes(device, reference, symbols), envelopes(device, whole, symbols)
            for solver, (finer, number) in solvers.items():
                own = whole_shots(device, drives, finer, number)
                trace = own[:, finer - 1 :: finer]
                errors = (
                    nrmse(trace, reference),
                    nrmse(envelopes(device, trace, symbols), read),
                    nrmse(envelopes(device, own, symbols), read_finer),
                )
                rows.append((name, solver, *(f"{e:.1e}" for e in errors)))
                if finer == 1 and number is np.float32:
                    with device:
                        told = device.forward(drives)
                    same = float(np.abs(told - envelopes(device, trace, symbols)).max())
                    verdicts += [
                        Verdict(f"`device` tier, {name} point: NRMSE of the pick-up", errors[0], 2e-3),
                        Verdict(f"`device` tier, {name} point: NRMSE of the responses", nrmse(told, read), 2e-3),
                        Verdict(f"`device` tier, {name} point: responses from those of its pick-up", same, 1e-6),
                    ]
                    time = device.step_s * 1e9 * np.arange(1, trace.shape[1] + 1)
                    axes.plot(time, reference[0], lw=0.6, label="double, 2.5 ps")
                    axes.plot(time, 100 * (trace - reference)[0], lw=0.6, label="single, 10 ps: error × 100")
                    high = float(np.abs(reference[0]).max())
                    axes.set(
                        title=f"{name} point", xlabel="time (ns)", ylabel="pick-up", ylim=(-1.2 * high, 1.7 * high)
                    )
                    axes.legend(loc="upper right", fontsize=9)
    parts = [
        f"{SHOTS} shots of {symbols} random symbols through the whole ring, from rest, at the default settings and at "
        f"a paper-like point (carrier {PAPER_LIKE['carrier_hz'] * 1e-9:g} GHz, {PAPER_LIKE['gain']:g} of the "
        f"threshold, {PAPER_LIKE['drive_field_a_per_m']:g} A/m, always on), without noise. Loop gain and drive are the "
        "same in every row; the reference is double precision in steps of 2.5 ps. Responses are read from the pick-up "
        "every 10 ps, as the device's detector does it; the last column lets each solver read after each of its own "
        "steps, which adds what the detector makes of the ends of its windows.",
        table(("point", "solver", "NRMSE of the pick-up", "of the responses", "read at every own step"), rows),
        picture("precision", "Pick-up of one shot, and the error of the device tier"),
        "Double precision at the same step shows which part of the error is the step and which is rounding. Near "
        "threshold a ring rings for long, and what the step does to frequency and damping (section 1) adds up over "
        "that time: mostly a slip of phase, which an envelope does not see.",
    ]
    return Section(parts, verdicts)


def other_codes(run: Run) -> Section:
    """The ring by codes that share nothing with the solver but its interface, and by magnum.np."""
    device = LLGRing()
    c, ms = device.config, device.strip.saturation_magnetisation_a_per_m
    loop = Loop(c.delay_s, CLOSE * device.threshold_gain, c.saturation_a_per_m / ms)
    field, duration_s, every = c.drive_field_a_per_m / ms, run.pick(2000, 300) * 10e-12, 4
    reference, fitted = (
        integrated(device.strip, loop, 10e-12 / every, duration_s, field, c.carrier_hz, nxx)[::every]
        for nxx in (None, FittedDipolar(device.strip.medium).nxx)
    )
    rows, verdicts = [], []
    solvers: list[tuple[str, float, Precision]] = [
        ("single, 10 ps (`device`)", 10e-12, np.float32),
        ("double, 5 ps (`reference`)", 5e-12, np.float64),
        ("double, 2.5 ps", 2.5e-12, np.float64),
    ]
    for name, step_s, number in solvers:
        drive = np.atleast_2d(carrier(step_s, duration_s, field, c.carrier_hz))
        ours = record(device.strip, loop, step_s, drive, number)[0, :: round(10e-12 / step_s)]
        error = nrmse(ours, reference)
        rows.append(("all pairs of cells, 2.5 ps", name, f"{error:.1e}", f"{nrmse(ours, fitted):.1e}"))
        verdicts.append(Verdict(f"ring against all pairs of cells: NRMSE of the pick-up, {name}", error, 1e-3))
    found = compared(run.pick(2000, 200))
    if found is None:
        rows.append(("magnum.np, 5 ps", "double, 10 ps", "not run: extra `peers` not installed", ""))
    else:
        rows.append(("magnum.np, 5 ps", "double, 10 ps", f"{found:.1e}", ""))
        verdicts.append(Verdict("ring against magnum.np: NRMSE of the pick-up", found, 1e-3))
    parts = [
        f"The closed ring at {CLOSE:g} of its threshold, whose waves go round many times and add up every error of "
        "field and step. All pairs of cells: classical Runge-Kutta steps with the exact dipolar kernel, a dense sum, "
        f"and a spline through the whole past (`tests.experiments.integrated`), {duration_s * 1e9:g} ns of carrier at "
        "the default drive. magnum.np (F. Bruckner et al., Sci. Rep. 13, 12054 (2023)): its own exchange and "
        "demagnetising field, with the pulses and the loop of `tests/benchmarks/peer_magnumnp.py`. It "
        "takes two steps to one of the solver, for its steps are plain Runge-Kutta ones, with all of the error of "
        "section 1. The last column gives the dense sum the solver's own kernel: what goes away is the fit of section "
        "7, what is left is the step.",
        table(("code", "the solver", "NRMSE of the pick-up", "with the solver's dipolar field"), rows),
    ]
    return Section(parts, verdicts)


def compared(steps: int) -> float | None:
    """NRMSE against magnum.np, or None where it cannot be had."""
    try:
        from tests.benchmarks.peer_magnumnp import compare
    except ModuleNotFoundError:
        return None
    result = compare(steps=steps)
    return None if result is None else float(result)


def limits(run: Run) -> Section:
    """What no section above looks at."""
    return Section(
        [
            "- The film varies along one direction only. µMAG standard problem 4, a rectangle of 500 nm × 125 nm "
            "whose magnetisation turns in two dimensions, cannot be set up in it, so it is not run.\n"
            "- The magnetisation is constant over the thickness: no thickness modes, no surface pinning, and not the "
            "lean of a surface wave to one side (section 2 says what that does). The width of a real strip, with its "
            "width modes, is missing as well.\n"
            "- The antenna field is uniform under the antenna and along one axis. Microstrip and coplanar lines have "
            "a profile and both components.\n"
            "- Damping is Gilbert's, one number for every wave; two-magnon scattering and heating are not in the "
            "model. Delay line and amplifier have no dispersion, bandwidth or noise of their own.\n"
            "- Everything here is held against theory and other code, nothing against a measured ring.",
        ]
    )
