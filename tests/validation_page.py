"""Write docs/validation.md and its figures from real runs of the solver: `python -m tests.validation_page`."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests import validation_film as film
from tests import validation_ring as ring
from tests.validation_report import Run, Section, table

ROOT = Path(__file__).resolve().parents[1]

SECTIONS: Mapping[str, Callable[[Run], Section]] = {
    "Single spin and Kittel's frequencies": film.single_spin,
    "Dispersion": film.dispersion,
    "Order of the time step": ring.order,
    "Energy balance": film.energy,
    "Thermal equilibrium": film.heat,
    "Single precision": ring.precision,
    "Dipolar field": film.dipolar,
    "Other codes": ring.other_codes,
    "What is not validated": ring.limits,
}

INTRODUCTION = """# Validation of the LLG solver

Written by `python -m tests.validation_page`, which runs everything below; no result is typed in by hand. Physics and
equations of the solver are in `simulators/`; times and speed are in [measurements](measurements.md). Unless it says
otherwise the film is the default one: 100 nm of yttrium iron garnet, Ms = 140 kA/m, cells of 80 nm, 50 mT in the plane
and across the waves. `device` is the tier in single precision with steps of 10 ps, `reference` the one in double
precision with 5 ps. NRMSE is the root mean square error over the root mean square of the reference."""


def heading(number: int, title: str) -> str:
    """Heading of a section."""
    return f"## {number}. {title}"


def page(sections: Mapping[str, Section], quick: bool) -> str:
    """Return the page."""
    verdicts = [verdict.row() for section in sections.values() for verdict in section.verdicts]
    parts = [INTRODUCTION]
    if quick:
        parts.append("**A short run (`--quick`): fewer samples, so its numbers are rougher.**")
    parts.append(table(("", "this run", "target", ""), verdicts))
    for number, (title, section) in enumerate(sections.items(), 1):
        parts += [heading(number, title), *section.parts]
        if section.verdicts:
            parts.append(table(("", "this run", "target", ""), [verdict.row() for verdict in section.verdicts]))
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.validation_page", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation.md", metavar="FILE.md")
    parser.add_argument("--quick", action="store_true", help="fewer samples: to see that it works")
    given = parser.parse_args(arguments)
    run = Run(given.out.resolve().parent / "figures", given.quick)
    sections = {}
    for number, (title, make) in enumerate(SECTIONS.items(), 1):
        print(f"{number} of {len(SECTIONS)}: {title}", end=" ", file=sys.stderr, flush=True)
        began = time.monotonic()
        sections[title] = make(run)
        print(f"({time.monotonic() - began:.0f} s)", file=sys.stderr)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(page(sections, given.quick))
    missed = [verdict for section in sections.values() for verdict in section.verdicts if not verdict.met]
    for verdict in missed:
        print(f"not met: {verdict.what}: {verdict.value:.3g}, target {verdict.target:g}", file=sys.stderr)
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
