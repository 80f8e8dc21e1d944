"""What the operators' page promises is tried: each row of its table names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line
    for line in (ROOT / "docs" / "what-happens-when.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("| What happens", "|---"))
]


def test_there_are_rows() -> None:
    assert len(ROWS) >= 15


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip(" *")[:40])
def test_a_row_is_tried_by_tests_that_exist(row: str) -> None:
    named = re.findall(r"(tests/\S+\.py)::(\w+)", row)
    assert named
    for file, test in named:
        assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file} has no {test}"
