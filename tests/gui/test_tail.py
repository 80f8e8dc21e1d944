"""What jobs say is read in bounded pieces, and cleared away in the end."""

import os
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gui import kept, tail
from gui.jobs import Job, JobState
from gui.lab import Lab
from gui.tail import Tail


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "READ_BYTES", 40)


def test_a_file_is_read_in_pieces_line_by_line_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "x.err"
    lines = Tail(path)
    assert lines.take() == ([], False)
    path.write_text("one\n" * 10 + "two\nthr")
    assert lines.take() == (["one"] * 10, True)
    assert lines.take() == (["two"], False)
    with path.open("a") as file:
        file.write("ee\nfour")
    assert lines.take() == (["three"], False)
    assert (lines.last(), lines.last()) == ("four", "")


def test_of_a_long_file_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.err"
    path.write_text("0123456789\n" * 1000 + "end\n")
    lines = Tail(path, only_end=True)
    assert lines.take() == (["0123456789", "0123456789", "0123456789", "end"], True)
    assert lines.take() == ([], False)


def test_a_job_that_has_said_much_when_it_ends_is_heard_to_the_end_over_several_looks(tmp_path: Path) -> None:
    (tmp_path / "x.err").write_text("".join(f'{{"say": "line {n:03}"}}\n' for n in range(100)))
    job = Job("a job", ["train"], tmp_path / "x")
    said: list[str] = []
    job.said.connect(lambda level, text: said.append(text))
    job.listen()
    assert (len(said) <= 2, job.state) == (True, JobState.RUNNING)
    looks = 0
    while not job.state.over:
        job.listen()
        looks += 1
    assert said == [f"line {n:03}" for n in range(100)]
    assert looks > 40


def test_what_was_said_weeks_ago_is_cleared_away_at_the_start(lab: Lab, qtbot: QtBot) -> None:
    folder = lab.state.jobs
    removed = ["old.err", "old.out", "old.run.toml"]
    # A bench that was simulated may be named in a session.
    stay = ["goes-on.err", "goes-on.job", "goes-on.run.toml", "virtual.toml", "new.err", "new.run.toml"]
    for name in (*removed, *stay):
        (folder / name).write_text("x")
    kept.keep(folder / "goes-on.job", "a run", ["train", str(folder / "goes-on.run.toml")], None, os.getpid())
    for name in (*removed, *stay):
        if not name.startswith("new"):
            os.utime(folder / name, (1e9, 1e9))
    tail.clear_away(folder)
    assert {path.name for path in folder.iterdir()} == set(stay)
    kept.forget(folder / "goes-on.job")  # this process, which is not to be found again
    os.utime(folder / "new.err", (1e9, 1e9))
    lab.jobs.find_again()
    qtbot.waitUntil(lambda: not (folder / "new.err").exists())
