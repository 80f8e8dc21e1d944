"""A damaged or hostile session is refused in words; nothing in it is executed, and nothing wrong is given as right."""

import contextlib
import io
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rich.console import Console

from labpgt.errors import InputError, LabpgtError, StorageFault
from labpgt.events import Status
from labpgt.session import Session, schema
from labpgt.session.checksum import checkpoint_crc, lengths_crc, matching, row_crcs, split, table_key
from labpgt.session.layout import crc_of, run_of, sum_up
from procedures.replay import replay_session
from procedures.resume import resume
from procedures.show import describe, print_description
from procedures.train import StopRequest
from tests.damage import KINDS, SAMPLES, STRANGERS, config, make_sessions, nth, place, read_original
from tests.damage_judge import BAD, age, examine, reference
from tests.runs import record
from tests.shared import made_once

DAMAGED = len(KINDS)
SEED = 7


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound sessions of every kind."""
    return made_once(tmp_path_factory, "damaged-sessions", make_sessions)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of what numpy makes of damaged numbers
def test_no_damage_is_taken_for_right(sessions: Path, tmp_path: Path) -> None:
    originals = {name: read_original(sessions, name) for name in STRANGERS}
    path = tmp_path / "run.h5"
    sound = {}
    for name, original in originals.items():
        path.write_bytes(original.data)
        age(path)
        sound[name] = reference(name, path)
    found = []
    for number in range(DAMAGED):
        original, damage = nth(originals, SEED, number)
        path.write_bytes(damage.data)
        age(path)
        outcome, why = examine(path, sound[original.name])
        # How long it took is for the table to say, where the machine is known to be quiet.
        if outcome in BAD and outcome != "hang":
            found.append(f"{outcome}: file {number}: {damage.what}: {why}")
    assert not found


def test_the_same_number_is_the_same_damage(sessions: Path) -> None:
    originals = {name: read_original(sessions, name) for name in STRANGERS}
    for number in range(len(KINDS)):
        once, twice = (nth(originals, 3, number)[1] for _ in range(2))
        assert once == twice
        assert once.data != nth(originals, 4, number)[1].data


@pytest.fixture
def finished(sessions: Path, tmp_path: Path) -> Path:
    """A session of a run that ended in success."""
    return Path(shutil.copy(place(sessions, "finished"), tmp_path / "run.h5"))


@pytest.fixture
def aborted(sessions: Path, tmp_path: Path) -> Path:
    """A session of a run that was aborted."""
    return Path(shutil.copy(place(sessions, "aborted"), tmp_path / "run.h5"))


@contextlib.contextmanager
def forged(path: Path) -> Iterator[h5py.File]:
    """Change a session, and make every checksum of its values right again: what somebody could do who means harm."""
    with h5py.File(path, "r+", libver=schema.LIBVER) as file:
        yield file
        with contextlib.suppress(Exception):  # what cannot be read has no checksum
            file[schema.CONSTANTS_CRC][()] = crc_of(file, schema.CONSTANTS_CRC, constants(file))
        with contextlib.suppress(Exception):
            sum_up(file, ended=True)


def constants(file: h5py.File) -> list[str]:
    paths = list(schema.CONSTANTS)
    for group in schema.CONSTANT_GROUPS:
        file[group].visititems(
            lambda name, node, group=group: paths.append(f"{group}/{name}") if isinstance(node, h5py.Dataset) else None
        )
    return paths


def everything(path: Path) -> None:
    """Read all that a session has; raises what that raises."""
    with Session(path) as session:
        describe(session)
        assert list(session.iter_shots()) is not None
        session.warning_rows()
        session.checkpoint()
        session.training_state()
        assert session.resumptions is not None


def replayed(path: Path) -> dict[str, Any]:
    return replay_session(path, [], Console(file=io.StringIO()), StopRequest())


def refused(path: Path, message: str, action: Callable[[Path], object] = everything) -> None:
    with pytest.raises((InputError, StorageFault), match=message) as error:
        action(path)
    assert str(path) in str(error.value)


SETTINGS = schema.SETTINGS


def circle(file: h5py.File) -> None:
    file[f"{SETTINGS}/again"] = file[SETTINGS]


def two_circles(file: h5py.File) -> None:
    for i in range(60):
        file[f"{schema.RESUMPTIONS}/{i}"] = file[schema.RESUMPTIONS]


def groups_without_end(file: h5py.File) -> None:
    inner = file.create_group("inner")
    for _ in range(3):
        outer = file.create_group(None)
        for i in range(64):
            outer[str(i)] = inner
        inner = outer
    file[f"{schema.RESUMPTIONS}/groups"] = inner


def deep(file: h5py.File) -> None:
    file.create_group(f"{schema.RESUMPTIONS}/{'/'.join('abcdefghij' * 100)}")


def many_values(file: h5py.File) -> None:
    group = file[SETTINGS]
    group["0"] = 1.0
    for i in range(1, 5000):
        group[str(i)] = h5py.SoftLink("/entry/instrument/settings/0")


def the_same_long_value(file: h5py.File) -> None:
    file["long"] = np.zeros(1 << 18)
    for i in range(100):
        file[f"{SETTINGS}/{i}"] = file["long"]


def nested_type(file: h5py.File) -> None:
    kind = h5py.h5t.IEEE_F64LE
    for _ in range(1000):
        outer = h5py.h5t.create(h5py.h5t.COMPOUND, kind.get_size())
        outer.insert(b"a", 0, kind)
        kind = outer
    h5py.h5d.create(file[SETTINGS].id, b"nested", kind, h5py.h5s.create(h5py.h5s.SCALAR))


def committed_type(file: h5py.File) -> None:
    file[f"{SETTINGS}/type"] = np.dtype([("a", "f8")])


def lists(file: h5py.File) -> None:
    file.create_dataset(f"{SETTINGS}/odd", (1,), h5py.vlen_dtype("f8"))


def setting(value: object, dtype: object = None) -> Callable[[h5py.File], None]:
    return lambda file: file.create_dataset(f"{SETTINGS}/odd", data=value, dtype=dtype) and None


def instead(place_: str, make: Callable[[h5py.File, str], object]) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file.move(place_, "moved")
        make(file, place_)

    return edit


def soft(file: h5py.File, place_: str) -> None:
    file[place_] = h5py.SoftLink("/moved")


def external(file: h5py.File, place_: str) -> None:
    file[place_] = h5py.ExternalLink(file.filename, "/moved")


def value(made: object, **options: Any) -> Callable[[h5py.File, str], object]:
    return lambda file, place_: file.create_dataset(place_, data=made, **options)


def chunked(file: h5py.File, place_: str) -> None:
    old = file["moved"]
    file.create_dataset(place_, old.shape, old.dtype, maxshape=(None,), chunks=(1 << 24,))


def objects(file: h5py.File, place_: str) -> None:
    names = file["moved"].dtype.names
    dtype = np.dtype([(name, h5py.string_dtype() if name == "time" else file["moved"].dtype[name]) for name in names])
    file.create_dataset(place_, (4,), dtype)


LINKED = [
    *(
        "entry",
        "entry/provenance",
        "entry/provenance/host",
        "entry/instrument",
        "entry/instrument/settings",
        "entry/task",
    ),
    *(
        "entry/task",
        "entry/configuration",
        "entry/shots",
        "entry/steps",
        "entry/epochs",
        "entry/warnings",
        "entry/results",
    ),
    *("entry/results/delta", "entry/resumptions", "entry/checkpoints", "entry/checkpoints/cursor"),
    *("entry/checkpoints/parameters", "entry/checkpoints/state", "entry/checkpoints/state/results"),
    *("entry/checksums", "entry/checksums/constants", "entry/checksums/lengths", "entry/checksums/state"),
]


@pytest.mark.parametrize("link", [soft, external])
@pytest.mark.parametrize("place_", LINKED)
def test_links_are_not_followed(finished: Path, place_: str, link: Callable[[h5py.File, str], None]) -> None:
    with forged(finished) as file:
        instead(place_, link)(file)
    refused(finished, "missing, or a link|not a session")


@pytest.mark.parametrize("link", [soft, external])
def test_links_in_a_resumption_are_not_followed(
    sessions: Path, tmp_path: Path, link: Callable[[h5py.File, str], None]
) -> None:
    path = Path(shutil.copy(place(sessions, "resumed"), tmp_path / "run.h5"))
    for place_ in ("0001", "0001/provenance", "0001/time", "0001/settings"):
        with forged(path) as file:
            instead(f"{schema.RESUMPTIONS}/{place_}", link)(file)
        refused(path, "missing, or a link")
        with forged(path) as file:
            del file[f"{schema.RESUMPTIONS}/{place_}"]
            file.move("moved", f"{schema.RESUMPTIONS}/{place_}")
    everything(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (circle, "too deep"),
        (two_circles, "too deep"),
        (groups_without_end, "more than 4096 values"),
        (deep, "too deep"),
        (many_values, "5000 values|holds 50.. values"),
        (the_same_long_value, "more than the file can hold"),
        (nested_type, "a type that a session never has"),
        (committed_type, "is not a dataset"),
        (setting("text", h5py.string_dtype()), "odd is object"),
        (lists, "a type that a session never has"),
        (setting(h5py.Reference(), h5py.ref_dtype), "a type that a session never has"),
        (setting(h5py.RegionReference(), h5py.regionref_dtype), "a type that a session never has"),
        (setting(np.void(b"opaque")), "a type that a session never has"),
        (setting(1 + 2j), r"odd is complex128|a type that a session never has"),
        (instead(schema.SHOTS, chunked), "chunks of .* larger than a session's"),
        (instead(schema.SHOTS, objects), "object|type that a session never has"),
        (instead(schema.STEPS, objects), "object|type that a session never has"),
        (instead(schema.CHECKPOINT_CURSOR, value(np.zeros(2))), "cursor is float64"),
        (instead(schema.CHECKPOINT_PARAMETERS, value(np.zeros((2, 3)))), "parameters is float64"),
        (instead(schema.CHECKPOINT_PARAMETERS, value(np.zeros(2, "f4"))), "parameters is float32"),
        (instead(f"{schema.CHECKPOINT_STATE}/seconds", value(1.0)), "seconds is float64 .*expected stacked"),
        (instead(f"{schema.CHECKPOINT_STATE}/seconds", value("text")), "expected stacked|never has"),
        (instead(schema.CONSTANTS_CRC, value(1.0)), "constants is float64"),
        (instead(schema.RUN_ID, value(1.0)), "uuid is not a text"),
        (instead(schema.SYMBOLS, value(np.int64(1 << 40))), "reading the session failed"),
        (instead(schema.SYMBOLS, value(np.int64(-4))), "are no shot"),
        (instead(schema.DRIVE_LIMITS, value(np.zeros((2, 2)))), "expected numbers or fixed-length texts"),
        (instead(f"{schema.RESULTS}/delta", value(np.zeros(3))), "delta is float64"),
        (instead(schema.STATUS, value(np.bytes_("won"))), "'won' is not a valid Status"),
        (instead(schema.VERSION, value(np.int64(3))), "schema version 3, this labpgt reads 1 to 2; update labpgt"),
        (instead(schema.VERSION, value(np.int64(1 << 60))), "schema version 1152921504606846976.*update labpgt"),
        (instead(schema.VERSION, value(np.int64(0))), "schema version 0, this labpgt reads 1 to 2; no labpgt"),
        (instead(schema.VERSION, value(np.int64(-1))), "schema version -1, this labpgt reads 1 to 2; no labpgt"),
        (instead(schema.VERSION, value(2.0)), "not a session"),
        (instead(schema.VERSION, value(np.int64(1))), "reading the session failed"),
    ],
)
def test_hostile_file(finished: Path, edit: Callable[[h5py.File], None], message: str) -> None:
    with forged(finished) as file:
        edit(file)
    refused(finished, message)


def test_how_much_is_opened_does_not_grow_with_what_is_in_the_way(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = [0]
    before = h5py.Group.__getitem__

    def counting(self: h5py.Group, name: object) -> object:
        opened[0] += 1
        return before(self, name)

    with h5py.File(finished, "r+", libver=schema.LIBVER) as file:
        group = file[SETTINGS]
        group["first"] = 1.0
        for i in range(100_000):
            group.id.links.create_hard(str(i).encode(), group.id, b"first")
    monkeypatch.setattr(h5py.Group, "__getitem__", counting)
    refused(finished, "holds 10.* values, too many for a session")
    assert opened[0] < 1000


@pytest.mark.parametrize("heap", [b"\0" * 4000, b"\xff" * 4000, b"\0\0\0\0\0\0\0\0\1" + b"\0" * 20])
@pytest.mark.parametrize("start", [8, 16, 32, 200, 4080])
def test_a_damaged_heap_of_texts_is_not_walked_for_ever(tmp_path: Path, heap: bytes, start: int) -> None:
    """HDF5 does so: texts of variable length, such as units in schema 1, have no checksum."""
    data = bytearray((SAMPLES / "schema-1-success.h5").read_bytes())
    for found in re.finditer(b"GCOL", bytes(data)):
        piece = heap[: 4096 - start]
        data[found.start() + start : found.start() + start + len(piece)] = piece
    path = tmp_path / "run.h5"
    path.write_bytes(data)
    with contextlib.suppress(LabpgtError):
        everything(path)


def test_units_are_kept_where_hdf5_has_checksums(finished: Path) -> None:
    with h5py.File(finished) as file:
        for name in file[SETTINGS]:
            assert not h5py.h5a.open(file[SETTINGS][name].id, b"units").get_type().is_variable_str()


def test_an_odd_unit_does_not_harm(finished: Path) -> None:
    for odd in (np.zeros(1 << 20), np.bytes_(b"\xff\xfe"), h5py.Empty("S1"), np.array([b"m", b"s"])):
        with h5py.File(finished, "r+", libver=schema.LIBVER) as file:
            name = next(iter(file[SETTINGS]))
            file[f"{SETTINGS}/{name}"].attrs["units"] = odd
        with contextlib.suppress(LabpgtError):
            everything(finished)


def test_texts_that_are_not_utf_8_are_read_all_the_same(finished: Path) -> None:
    with forged(finished) as file:
        file[schema.REASON][()] = np.bytes_(b"\xff\xfe broken")
        file[f"{schema.PROVENANCE}/host"][()] = np.bytes_(b"\xff")
    everything(finished)
    with Session(finished) as session:
        assert session.reason == "\ufffd\ufffd broken"


def test_results_that_are_not_numbers_count_as_not_measured(finished: Path) -> None:
    with forged(finished) as file:
        for name in file[schema.RESULTS]:
            file[f"{schema.RESULTS}/{name}"][()] = np.nan
    with Session(finished) as session:
        assert session.results == {}
    everything(finished)


def test_a_result_that_is_missing_is_shown_as_such(finished: Path) -> None:
    with h5py.File(finished) as file:
        names = list(file[schema.RESULTS])
    for name in names:
        with forged(finished) as file:
            before = file[f"{schema.RESULTS}/{name}"][()]
            file[f"{schema.RESULTS}/{name}"][()] = np.nan
        shown(finished)
        with forged(finished) as file:
            file[f"{schema.RESULTS}/{name}"][()] = before


@pytest.mark.parametrize("odd", [np.inf, -np.inf, 1e300])
def test_odd_results_are_shown(finished: Path, odd: float) -> None:
    with forged(finished) as file:
        for name in file[schema.RESULTS]:
            file[f"{schema.RESULTS}/{name}"][()] = odd
    shown(finished)


def shown(path: Path) -> str:
    with Session(path) as session:
        console = Console(file=io.StringIO(), width=200)
        print_description(console, describe(session))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_escape_sequences_do_not_reach_the_terminal(finished: Path) -> None:
    with forged(finished) as file:
        file[schema.REASON][()] = b"\x1b]0;owned\x07\x1b[2J done"
        file[f"{schema.PROVENANCE}/host"][()] = b"\x1b[8m"
    assert "\x1b" not in shown(finished)
    assert "done" in shown(finished)


def forge_checkpoints(path: Path, change: Callable[[dict[str, int], dict[str, Any]], None]) -> None:
    """Change every checkpoint and give it a checksum that is right."""
    with h5py.File(path, "r+", libver=schema.LIBVER) as file:
        state = file[schema.CHECKPOINT_STATE]
        names: list[str] = []
        state.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        for slot in range(2):
            row = file[schema.CHECKPOINT_CURSOR][slot]
            cursor = {name: int(row[name]) for name in ("shot", "step", "epoch")}
            arrays = {name: np.array(state[name][slot]) for name in names}
            change(cursor, arrays)
            for name, array in arrays.items():
                state[name][slot] = array
            all_ = {schema.CHECKPOINT_PARAMETERS: file[schema.CHECKPOINT_PARAMETERS][slot]}
            all_ |= {f"{schema.CHECKPOINT_STATE}/{name}": array for name, array in arrays.items()}
            crc = checkpoint_crc(cursor.values(), all_, table_key(run_of(file), schema.CHECKPOINTS))
            file[schema.CHECKPOINT_CURSOR][slot] = np.array((*cursor.values(), 1, crc), schema.CURSOR_DTYPE)


@pytest.mark.parametrize(
    "cursor",
    [{"shot": -1}, {"shot": 1 << 60}, {"step": -2}, {"step": 1 << 60}, {"epoch": -2}, {"epoch": 1 << 60}],
)
def test_a_checkpoint_from_nowhere_is_passed_over(aborted: Path, cursor: dict[str, int]) -> None:
    forge_checkpoints(aborted, lambda place_, _: place_.update(cursor))
    with Session(aborted) as session:
        assert session.training_state() is None
    resumes_right(aborted)


def without_scale(_: dict[str, int], arrays: dict[str, Any]) -> None:
    arrays["results"]["response_scale"] = np.nan


def without_delta(_: dict[str, int], arrays: dict[str, Any]) -> None:
    arrays["results"]["delta"] = np.nan


def of_another_epoch(place_: dict[str, int], _: dict[str, Any]) -> None:
    place_["epoch"] = -1
    place_["step"] = 29


@pytest.mark.parametrize("change", [without_scale, without_delta, of_another_epoch])
def test_a_checkpoint_that_no_run_makes_is_refused(
    aborted: Path, change: Callable[[dict[str, int], dict[str, Any]], None]
) -> None:
    forge_checkpoints(aborted, change)
    refused(aborted, "going on from its checkpoint|not one that a run", resume)


def resumes_right(path: Path) -> None:
    reference_ = path.with_name("reference.h5")
    last = record(config(), reference_)
    assert resume(path).last.parameters_sha256 == last.parameters_sha256


def configured_as(path: Path, text: str) -> None:
    with forged(path) as file:
        del file[schema.CONFIGURATION]
        data = text.encode()
        file.create_dataset(schema.CONFIGURATION, data=data, dtype=schema.text_dtype(len(data)))


def changed(path: Path, old: str, new: str) -> None:
    with Session(path) as session:
        text = session.configuration
    assert old in text
    configured_as(path, text.replace(old, new))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "{a=" * 10_000,
        ".".join("a" * 5000) + " = 1",
        "a = " + "9" * 10_000,
        "\x00",
        "[task]\nname = 'csv'\npath = '/dev/zero'",
        "[task]\nname = 'csv'\npath = '/dev/stdin'",
        "[task]\nname = 'csv'\npath = \"a\\u0000b\"",
        "[task]\nname = 'csv'\npath = '~nobody-of-this-name/x.csv'",
        "[training]\noptimizer = 'os.system'",
        "[training.optimizer_options]\n" + ".".join("a" * 900) + " = 1",
    ],
)
@pytest.mark.parametrize("action", [replayed, resume])
def test_hostile_configuration(aborted: Path, text: str, action: Callable[[Path], object]) -> None:
    configured_as(aborted, text)
    with Session(aborted) as session:
        describe(session)
    with pytest.raises(InputError):
        action(aborted)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n[network]", '\n[network]\npre = "hostile_module:run"'),
        ("\n[network]", '\n[network]\nreadout = "hostile_module:run"'),
        ('name = "echo-state-ring"', 'name = "hostile_module:Run"'),
    ],
)
@pytest.mark.parametrize("action", [replayed, resume])
def test_nothing_that_a_file_names_is_imported(
    aborted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    action: Callable[[Path], object],
) -> None:
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    changed(aborted, old, new)
    with contextlib.suppress(LabpgtError):
        everything(aborted)
        action(aborted)
    assert "hostile_module" not in sys.modules
    if action is resume:
        refused(aborted, "--allow hostile_module:", resume)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hidden = [8]", "hidden = [1000000, 1000000]"),
        ("symbols = 4", "symbols = 1000000000"),
        ("symbols = 4", "symbols = 3"),
        ('scheduler = "CosineAnnealingLR"', 'scheduler = "SequentialLR"'),
    ],
)
@pytest.mark.parametrize("action", [replayed, resume])
def test_a_configuration_of_another_network_is_refused(
    aborted: Path, old: str, new: str, action: Callable[[Path], object]
) -> None:
    changed(aborted, old, new)
    try:
        report = action(aborted)
    except LabpgtError:
        return
    assert isinstance(report, dict)
    assert not report["verified"]


def test_rows_that_were_forged_with_their_checksums_do_not_replay(finished: Path) -> None:
    with h5py.File(finished, "r+", libver=schema.LIBVER) as file:
        table, key = file[schema.SHOTS], table_key(run_of(file), schema.SHOTS)
        stored = table[:]
        dtype = np.dtype([(name, stored.dtype[name]) for name in stored.dtype.names[:-1]])
        rows = np.ascontiguousarray(split(stored, dtype))
        rows["response"][300] += 0.01
        rows["loss"][310] = np.nan
        for name in dtype.names or ():
            stored[name] = rows[name]
        stored["crc32"] = row_crcs(rows, key, 0)
        assert matching(stored, dtype, key, 0).all()
        table[:] = stored
    report = replayed(finished)
    assert not report["verified"]
    assert "differs" in report["difference"]


def test_a_closed_file_that_lacks_rows_is_refused(finished: Path) -> None:
    """As when HDF5's list of a table's chunks is an older one, which it cannot know."""
    for name in schema.TABLES:
        path = Path(shutil.copy(finished, finished.with_name("shorter.h5")))
        with h5py.File(path, "r+", libver=schema.LIBVER) as file:
            if not len(file[name]):
                continue
            file[name].resize((len(file[name]) - 1,))
        refused(path, "the tables are not as long as they were")


def test_a_file_that_the_library_closed_still_opens(sessions: Path, tmp_path: Path) -> None:
    """A program that leaves without closing the writer: HDF5 closes the file, and nobody notes how long tables are."""
    path = Path(shutil.copy(place(sessions, "finished"), tmp_path / "run.h5"))
    with h5py.File(path, "r+", libver=schema.LIBVER) as file:
        unended(file)
        shots = len(file[schema.SHOTS])
        file[schema.SHOTS].resize((shots - 64,))
    everything(path)
    with Session(path) as session:
        assert session.status is Status.CRASHED
        assert session.n_shots == shots - 64


def unended(file: h5py.File) -> None:
    """Make it the file of a run that has not ended."""
    for place_ in (schema.END_TIME, schema.REASON, schema.PARAMETERS_SHA256):
        file[place_][()] = b""
    file[schema.STATUS][()] = b"running"
    file[schema.LENGTHS_CRC][()] = lengths_crc({}, table_key(run_of(file), schema.LENGTHS_CRC))
    sum_up(file, ended=False)


@pytest.mark.parametrize("older", [schema.RESULTS, schema.LENGTHS_CRC, schema.STATE_CRC])
def test_a_part_that_is_older_than_the_rest_is_noticed(finished: Path, older: str) -> None:
    """As when a disk loses a write: what stands there is sound, checksum and all, but not the last."""
    with h5py.File(finished, "r+", libver=schema.LIBVER) as file:
        before = {place_: file[place_][()] for place_ in schema.STATE_CHAIN} | {schema.STATE_CRC: 0}
        before[schema.STATE_CRC] = file[schema.STATE_CRC][()]
        unended(file)
        if older == schema.RESULTS:
            file[f"{schema.RESULTS}/train_loss"][()] = 0.001
            sum_up(file, ended=False)
        kept = {schema.RESULTS: schema.RESULTS_CRC}.get(older, older)
        for place_, made in before.items():
            if place_ != kept and not (older == schema.STATE_CRC and place_ in schema.STATE):
                file[place_][()] = made
        if older == schema.LENGTHS_CRC:
            file[schema.SHOTS].resize((64,))
    if older == schema.LENGTHS_CRC:
        refused(finished, "do not match their checksum")
        return
    with Session(finished) as session:
        for read in (lambda: session.results, lambda: session.status):
            with pytest.raises(StorageFault, match="do not match their checksum"):
                read()


@pytest.mark.parametrize("torn", [schema.STATUS, schema.STATE_CRC, schema.RESULTS_CRC, f"{schema.RESULTS}/delta"])
def test_a_process_that_died_while_it_wrote_the_end_leaves_a_crashed_run(
    aborted: Path, tmp_path: Path, torn: str
) -> None:
    unfinished = tmp_path / "unfinished.h5"
    with h5py.File(aborted, "r+", libver=schema.LIBVER) as file:
        file.swmr_mode = True
        file[torn][()] = 7.0 if torn.startswith(schema.RESULTS) else b"success" if torn == schema.STATUS else 7
        file.flush()
        shutil.copy(aborted, unfinished)
    everything(unfinished)
    with Session(unfinished) as session:
        assert session.status is (Status.ABORTED if "delta" in torn else Status.CRASHED)
        assert session.parameters_sha256 == "" or "delta" in torn
    resumes_right(unfinished)


def test_a_crashed_file_that_claims_to_be_long_is_not_searched_for_its_end(
    aborted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [0]
    unfinished = aborted.with_name("unfinished.h5")
    with h5py.File(aborted, "r+", libver=schema.LIBVER) as file:
        shots = len(file[schema.SHOTS])
        for name in (schema.SHOTS, schema.STEPS):
            file[name].resize((1 << 30,))
        file.swmr_mode = True
        file.flush()
        shutil.copy(aborted, unfinished)
    with unfinished.open("rb+") as long:
        long.truncate(1 << 40)

    def counting(stored: Any, *others: Any) -> Any:
        rows[0] += len(stored)
        return matching(stored, *others)

    monkeypatch.setattr("labpgt.session.tables.matching", counting)
    with Session(unfinished) as session:
        assert session.n_shots == shots
    assert rows[0] < 2000


def test_values_of_another_run_do_not_pass_with_their_checksum(sessions: Path, finished: Path) -> None:
    with h5py.File(place(sessions, "other seed")) as other, h5py.File(finished, "r+", libver=schema.LIBVER) as file:
        for name in other[schema.RESULTS]:
            file[f"{schema.RESULTS}/{name}"][()] = other[f"{schema.RESULTS}/{name}"][()]
        for path in (schema.RESULTS_CRC, schema.STATE_CRC, *schema.STATE, schema.CHECKPOINT_CURSOR):
            file[path][...] = other[path][...]
        file[schema.CHECKPOINT_PARAMETERS][...] = other[schema.CHECKPOINT_PARAMETERS][...]
        names: list[str] = []
        other[schema.CHECKPOINT_STATE].visititems(
            lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None
        )
        for name in names:
            file[f"{schema.CHECKPOINT_STATE}/{name}"][...] = other[f"{schema.CHECKPOINT_STATE}/{name}"][...]
    with Session(finished) as session:
        for read in (lambda: session.results, lambda: session.status, lambda: session.parameters_sha256):
            with pytest.raises(StorageFault, match="match their checksum"):
                read()
        assert session.training_state() is None
        assert session.checkpoint() is None


def test_a_finished_session_of_the_first_schema_opens_and_replays(tmp_path: Path) -> None:
    path = Path(shutil.copy(SAMPLES / "schema-1-success.h5", tmp_path / "run.h5"))
    everything(path)
    with Session(path) as session:
        assert (session.schema_version, session.run_id, session.resumptions) == (1, "", [])
        assert session.training_state() is None
        assert math.isfinite(session.results["train_loss"])
    assert replayed(path)["verified"]


def test_a_crashed_session_of_the_first_schema_can_be_resumed(tmp_path: Path) -> None:
    path = Path(shutil.copy(SAMPLES / "schema-1-crashed.h5", tmp_path / "run.h5"))
    age(path)
    with Session(path) as session:
        assert session.schema_version == 1
        before, steps, started = session.shots(), session.steps(), session.start_time
    done = resume(path)
    with Session(path) as session:
        assert session.schema_version == schema.SCHEMA_VERSION
        assert session.start_time == started
        assert len(session.resumptions) == 1
        assert session.parameters_sha256 == done.last.parameters_sha256
        whole = len(before) - (len(before) and int(before["sign"][-1] > 0))
        after = session.shots(0, whole)
        unread = np.isnan(before["loss"][:whole])
        np.testing.assert_array_equal(after[~unread], before[:whole][~unread])
        np.testing.assert_array_equal(after["response"], before["response"][:whole])
        np.testing.assert_array_equal(session.steps()[: len(steps)], steps)
        assert session.n_shots > whole
    everything(path)


@pytest.mark.parametrize("name", ["schema-1-success", "schema-1-crashed"])
def test_damage_in_a_file_without_checksums_is_not_a_crash(tmp_path: Path, name: str) -> None:
    whole = (SAMPLES / f"{name}.h5").read_bytes()
    with h5py.File(SAMPLES / f"{name}.h5", "r", swmr=bool(whole[11] & 4)) as file:
        at = file["entry/epochs"].id.get_chunk_info(0).byte_offset if len(file["entry/epochs"]) else None
        column = file["entry/epochs"].dtype.fields["parameters_sha256"][1]
    if at is None:
        pytest.skip("no epoch in it")
    path = tmp_path / "run.h5"
    path.write_bytes(whole[: at + column] + b"\xff" * 8 + whole[at + column + 8 :])
    age(path)
    everything(path)
    replayed(path)
