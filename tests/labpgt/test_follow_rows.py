"""A run of another process, told by the thousand: every row once, a long past at once by a sample and then whole."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from labpgt import follow as patience
from labpgt import follow_rows as module
from labpgt.errors import InputError, StorageFault
from labpgt.events import Measured, RunStarted, RunStopped, RunWarning, Status
from labpgt.follow_rows import News, Part, follow_rows
from labpgt.session import Session, SessionWriter
from procedures.resume import resume
from procedures.train import run as train_into_file
from tests.long_sessions import events, write
from tests.runs import configured, record

NAMES = ("steps", "epochs", "marks")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SELDOM_S", 0.0)
    monkeypatch.setattr(patience, "_NAP_S", 0.002)


def together(parts: Sequence[Part]) -> Part:
    return Part(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in NAMES})


def assert_whole(told: Part, path: Path) -> None:
    with Session(path) as session:
        shots = session.shots()
        assert told.steps.tobytes() == session.steps().tobytes()
        assert told.epochs.tobytes() == session.epochs().tobytes()
        np.testing.assert_array_equal(told.marks["time"], shots["time"])
        np.testing.assert_array_equal(told.marks["flags"], shots["flags"])


def test_a_short_run_is_told_at_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    train_into_file(configured(training={"epochs": 2, "evaluation": "full"}), path)
    told = list(follow_rows(path, interval_s=0.002, shots=5))
    events = [event for news in told for event in news.events]
    assert [type(event) for event in events if not isinstance(event, RunWarning)] == [RunStarted, Measured, RunStopped]
    assert events[0] is told[0].events[0]
    assert events[-1] is told[-1].events[-1]
    assert_whole(together([news.new for news in told]), path)
    assert not any(news.sample or news.past or news.caught_up for news in told)
    (shots,) = [news.shots for news in told if news.shots is not None]
    with Session(path) as session:
        assert shots.tobytes() == session.shots()[-5:].tobytes()
        assert told[-1].n_shots == session.n_shots
        assert (told[-1].n_steps, told[-1].n_epochs) == (session.n_steps, session.n_epochs)


def test_a_long_past_is_sampled_first_and_then_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READING_S", 0.0)
    path = write(tmp_path / "run.h5", 60_000)
    told = follow_rows(path, interval_s=0.0, shots=7)
    first: list[News] = [next(told)]
    while not first[-1].sample:
        first.append(next(told))
    sample = first[-1].sample
    with Session(path) as session:
        steps, shots = session.steps(), session.shots()
    assert len(sample.steps) < len(steps) / 2
    assert (sample.steps[0], sample.steps[-1]) == (steps[0], steps[-1])
    assert np.all(np.diff(sample.steps["step"]) > 0)
    assert (sample.marks["time"][0], sample.marks["time"][-1]) == (shots["time"][0], shots["time"][-1])
    assert first[-1].shots is not None
    assert first[-1].shots.tobytes() == shots[-7:].tobytes()
    rest = list(told)
    # The end is told before the past is read.
    assert [type(e) for news in rest for e in news.events] == [Measured, RunStopped]
    assert not any(news.new for news in rest)
    assert [news.caught_up for news in rest if news.past] == [*[False] * (sum(bool(n.past) for n in rest) - 1), True]
    shares = [news.share_read for news in rest if news.past]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert_whole(together([news.past for news in rest]), path)


def test_what_comes_while_the_past_is_read_is_told_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An aborted run, resumed while its past is still being read: in the file that took its place."""
    monkeypatch.setattr(module, "_READING_S", 0.0)
    monkeypatch.setattr(module, "SHORT", 8)
    monkeypatch.setattr(module, "_BLOCK", 4)
    path = tmp_path / "run.h5"
    record(configured(training={"epochs": 2}), path, steps=10)
    said: list[str] = []
    told: list[News] = []
    for news in follow_rows(path, interval_s=0.002, tell=said.append):
        told.append(news)
        if news.past and len(told) < 8:
            resume(path)
    sampled = next(news for news in told if news.sample)
    live = together([sampled.sample, *(news.new for news in told)])
    assert live.steps["step"].tolist() == list(range(30))
    assert_whole(together([news.past for news in told]), path)
    assert sum(news.caught_up for news in told) == 1
    ends = [event for news in told for event in news.events if isinstance(event, RunStopped)]
    assert [end.status for end in ends] == [Status.ABORTED, Status.SUCCESS]
    assert said == ["the run was resumed and goes on"]


def test_another_run_in_its_place_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(configured(), path, steps=3)
    told: list[News] = []
    for news in follow_rows(path, interval_s=0.002):
        told.append(news)
        if any(isinstance(event, RunStopped) for event in news.events) and len(told) < 8:
            train_into_file(configured(), tmp_path / "other.h5")
            (tmp_path / "other.h5").replace(path)
    begun = [i for i, news in enumerate(told) if any(isinstance(event, RunStarted) for event in news.events)]
    assert len(begun) == 2
    assert_whole(together([news.new for news in told[begun[1] :]]), path)


def test_it_ends_when_asked_and_refuses_what_is_no_session(tmp_path: Path) -> None:
    assert list(follow_rows(tmp_path / "none.h5", stop=lambda: True)) == []
    (tmp_path / "foreign.h5").write_text("loss\n0.1\n")
    with pytest.raises(InputError, match="not an HDF5 file"):
        next(follow_rows(tmp_path / "foreign.h5"))


def damage(path: Path, *rows: int) -> None:
    """Change a byte of these shots behind everybody's back."""
    with h5py.File(path, "r", swmr=True) as file:
        shots = file["entry/shots"]
        size, per = shots.dtype.itemsize, shots.chunks[0]
        places = [shots.id.get_chunk_info_by_coord((row,)).byte_offset + row % per * size for row in rows]
    with path.open("r+b") as raw:
        for place in places:
            raw.seek(place)
            byte = raw.read(1)[0]
            raw.seek(place)
            raw.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("shots", [300, 20_000])
def test_damaged_shots_of_a_run_are_left_out_and_counted(tmp_path: Path, shots: int) -> None:
    path = write(tmp_path / "run.h5", shots)
    damage(path, 3, 4, shots - 1)
    said: list[str] = []
    told = list(follow_rows(path, interval_s=0.002, tell=said.append))
    whole = together([news.new for news in told] if shots < 4096 else [news.past for news in told])
    with Session(path) as session:
        assert whole.steps.tobytes() == session.steps().tobytes()
        assert whole.epochs.tobytes() == session.epochs().tobytes()
        good = np.concatenate((session.shots(0, 3), session.shots(5, shots - 1)))
    np.testing.assert_array_equal(whole.marks["time"], good["time"])
    assert said == ["3 damaged shots of the record are left out; labpgt replay --verify names them"]


def test_a_look_that_fails_late_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "run.h5", 300)
    read, faults = Session.warning_rows, [StorageFault("for a moment")] * 2

    def rows(session: Session) -> np.ndarray:
        if faults:
            raise faults.pop()
        return read(session)

    monkeypatch.setattr(Session, "warning_rows", rows)
    told = list(follow_rows(path, interval_s=0.002))
    assert not faults
    assert_whole(together([news.new for news in told]), path)


def test_a_run_goes_on_being_followed_past_a_damaged_shot_and_no_row_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    path = tmp_path / "run.h5"
    looks = 0
    read = Session.shots

    def shots(session: Session, start: int = 0, stop: int | None = None) -> np.ndarray:
        rows = read(session, start, stop)
        if 7 in rows["index"]:
            raise StorageFault("row 7 does not match its checksum")
        return rows

    monkeypatch.setattr(Session, "shots", shots)

    def enough() -> bool:
        nonlocal looks
        looks += 1
        return looks > 3000

    with SessionWriter(path, flush_shots=1, flush_s=0.0) as writer:
        blocks = iter(events(400, block=100))
        for event in (next(blocks) for _ in range(2 + 3 * 2)):
            writer(event)
        told: list[News] = []
        for news in follow_rows(path, interval_s=0.002, stop=enough):
            told.append(news)
            if sum(len(each.new.marks) for each in told) == 199 and news.n_shots == 200:
                for event in blocks:
                    writer(event)
            if sum(len(each.new.marks) for each in told) == 399:
                break
    whole = together([news.new for news in told])
    assert (len(whole.marks), len(whole.steps)) == (399, 200)
    assert sum(isinstance(event, RunStarted) for news in told for event in news.events) == 1
