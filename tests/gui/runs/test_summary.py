"""What an estimate says."""

import pytest

from gui.runs.summary import duration_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0123, "0.01 s"),
        (2.4, "2 s"),
        (9.7, "10 s"),
        (99.4, "99 s"),
        (600, "10 min"),
        (9000, "2 h 30 min"),
        (3e5, "3.5 days"),
    ],
)
def test_a_time_is_worded_to_about_two_figures(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words
