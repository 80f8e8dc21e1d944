"""The validation page is what its command makes."""

import re
from pathlib import Path

from tests.validation_film import single_spin
from tests.validation_page import INTRODUCTION, SECTIONS, heading, page
from tests.validation_report import Run

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "validation.md").read_text()


def test_page_has_the_sections_that_the_command_makes() -> None:
    headings = [heading(number, title) for number, title in enumerate(SECTIONS, 1)]
    assert [line for line in PAGE.splitlines() if line.startswith("## ")] == headings
    assert PAGE.startswith(INTRODUCTION)
    assert "--quick" not in PAGE


def test_every_figure_of_the_page_exists_and_every_figure_made_is_on_it() -> None:
    named = set(re.findall(r"!\[[^]]+\]\((\S+)\)", PAGE))
    assert named == {f"figures/{path.name}" for path in (DOCS / "figures").glob("validation-*.png")}
    assert named


def test_the_command_writes_what_a_section_found_and_whether_that_meets_its_target(tmp_path: Path) -> None:
    title = next(iter(SECTIONS))
    section = single_spin(Run(tmp_path, quick=True))
    text = page({title: section}, quick=True)
    assert heading(1, title) in text
    for verdict in section.verdicts:
        name, value, target, met = verdict.row()
        assert text.count(f"| {name} | {value} | {target} | {met} |") == 2
        assert (verdict.value <= verdict.target) == (met == "met")
