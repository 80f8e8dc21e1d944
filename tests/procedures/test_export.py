"""`labpgt export`: other tools read back what the session holds; whatever goes wrong leaves nothing behind."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console

import procedures.export.run as run_module
from labpgt.errors import StorageFault
from labpgt.events import Status, shot_dtype
from labpgt.session import Session
from labpgt.session.description import COLUMNS
from procedures.export.columnar import WIDE
from procedures.export.files import Sink
from procedures.export.progress import ExportProgress
from tests.labpgt.test_session_crash import ask, writing
from tests.procedures.conftest import Labpgt, Outcome
from tests.sessions import assert_same, recorded, write

TABLES = ("shots", "steps", "epochs")
FORMATS = ("csv", "parquet", "netcdf")


@pytest.fixture(params=["random", "success", "crashed"])
def session(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A session in the working directory, by a relative path."""
    if request.param == "random":
        return write(Path("random.h5"))
    return recorded(request.param, Path())


@pytest.fixture
def run(folder: Path) -> Path:
    return write(Path("run.h5"))


def tables(path: Path) -> dict[str, NDArray[np.void]]:
    with Session(path) as session:
        return {"shots": session.shots(), "steps": session.steps(), "epochs": session.epochs()}


def columns(rows: NDArray[np.void]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every column by the name it has in a flat table."""
    for name in rows.dtype.names or ():
        if name in ("drive", "response"):
            for place in np.ndindex(rows[name].shape[1:]):
                yield "_".join([name, *map(str, place)]), rows[name][(slice(None), *place)]
        else:
            yield name, rows[name]


def in_blocks_of(shots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_BLOCK_BYTES", dict.fromkeys(FORMATS, shots * shot_dtype(4, 3).itemsize))


def report(done: Outcome) -> dict[str, Any]:
    assert done.code == 0, done.err
    return done.json


def test_csv(labpgt: Labpgt, session: Path) -> None:
    found = report(labpgt("export", session, "--to", "csv", "--json"))
    expected = tables(session)
    paths = [Path(f"{session.stem}-{table}.csv") for table in TABLES]
    assert sorted(Path().iterdir()) == sorted([*paths, session])
    assert found["files"] == [
        {"path": str(path), "rows": {table: len(expected[table])}, "bytes": path.stat().st_size}
        for table, path in zip(TABLES, paths, strict=True)
    ]
    for table, path in zip(TABLES, paths, strict=True):
        frame = pd.read_csv(path)
        with path.open(newline="") as file:
            header, *lines = csv.reader(file)
        assert header == list(frame.columns) == [name for name, _ in columns(expected[table])]
        assert len(lines) == len(frame) == len(expected[table])
        texts = dict(zip(header, zip(*lines, strict=True), strict=True))
        for name, values in columns(expected[table]):
            if values.dtype.kind == "S":
                assert frame[name].tolist() == list(texts[name]) == [text.decode() for text in values]
                continue
            assert_same(frame[name].to_numpy().astype(values.dtype), values)
            plain = [float(text) if values.dtype.kind == "f" else int(text) for text in texts[name]]
            assert_same(np.array(plain, values.dtype), values)


def seconds(times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """The seconds since 1970 that are nearest to these times."""
    whole = times.astype("datetime64[s]")
    return whole.astype(np.int64) + (times - whole).astype(np.int64) / 1e9


def test_parquet(labpgt: Labpgt, session: Path) -> None:
    found = report(labpgt("export", session, "--to", "parquet", "--json"))
    paths = [Path(f"{session.stem}-{table}.parquet") for table in TABLES]
    assert [file["path"] for file in found["files"]] == list(map(str, paths))
    for path, (table, rows) in zip(paths, tables(session).items(), strict=True):
        frame, arrow = pd.read_parquet(path), pq.read_table(path)
        assert list(frame.columns) == arrow.column_names == [name for name, _ in columns(rows)]
        for name, values in columns(rows):
            if name == "time":
                assert arrow.schema.field(name).type == pa.timestamp("ns", "UTC")
                assert_same(seconds(frame[name].dt.tz_localize(None).to_numpy()), values)
                assert_same(seconds(arrow[name].to_numpy().astype("datetime64[ns]")), values)
            elif values.dtype.kind == "S":
                assert frame[name].tolist() == arrow[name].to_pylist() == [text.decode() for text in values]
            else:
                assert_same(frame[name].to_numpy(), values)
                assert_same(arrow[name].to_numpy(), values)
                assert arrow[name].null_count == 0
        assert arrow.schema.metadata[b"table"].decode() == table


def test_netcdf(labpgt: Labpgt, session: Path) -> None:
    found = report(labpgt("export", session, "--to", "netcdf", "--json"))
    path = Path(f"{session.stem}.nc")
    expected = tables(session)
    rows = {table: len(expected[table]) for table in TABLES}
    assert found["files"] == [{"path": str(path), "rows": rows, "bytes": path.stat().st_size}]
    with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as dataset:
        for table in TABLES:
            for name, column in COLUMNS[table].items():
                values, variable = expected[table][name], dataset[column.name]
                if values.dtype.kind == "S":
                    assert variable.values.tolist() == [text.decode() for text in values]
                else:
                    assert_same(variable.values, values)
                assert variable.attrs["units"] == column.units
                assert variable.attrs["long_name"] == column.long_name


def test_netcdf_is_the_dataset(labpgt: Labpgt, session: Path) -> None:
    """The same names, dimensions, coordinates, attributes and values; times as finely as xarray reads them."""
    report(labpgt("export", session, "--to", "netcdf", "--json"))
    with xr.open_dataset(f"{session.stem}.nc", engine="h5netcdf") as found, Session(session) as opened:
        expected = opened.to_xarray()
        for name in ("time", "step_time", "epoch_time"):
            assert (abs(found[name] - expected[name]) < np.timedelta64(1, "us")).all()
            found[name] = expected[name]
        for name, value in expected.attrs.items():
            np.testing.assert_array_equal(found.attrs[name], value, name)
        assert set(found.attrs) == set(expected.attrs)
        for variable in (*found.variables.values(), *expected.variables.values()):
            if "flag_meanings" in variable.attrs:
                variable.attrs = {name: np.asarray(value).tolist() for name, value in variable.attrs.items()}
        found.attrs = expected.attrs
        xr.testing.assert_identical(found, expected)


def test_what_a_parquet_file_says_of_itself(labpgt: Labpgt, run: Path) -> None:
    report(labpgt("export", run, "--to", "parquet", "--table", "shots", "--json"))
    schema = pq.read_schema("run-shots.parquet")
    said = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    with Session(run) as session:
        assert said["configuration"] == session.configuration
        assert said["provenance_host"] == session.provenance["host"]
    assert (said["status"], said["reason"], said["device"]) == ("success", "done", "test ring")
    assert json.loads(said["setting_frequency"]) == 2.5e9
    assert said["setting_frequency_units"] == "Hz"
    assert json.loads(said["result_delta"]) == 0.05
    units = {field.name: field.metadata[b"units"].decode() for field in schema}
    assert (units["duration"], units["time"], units["response_3_2"], units["loss"]) == ("s", "UTC", "1", "1")
    names = {field.name: field.metadata[b"long_name"].decode() for field in schema}
    assert names["response_3_2"] == "response, symbol 3, node 2"
    assert names["drive_1"] == "drive, symbol 1"
    assert names["seed"] == "seed of the perturbation"


def test_long_shots_are_lists_in_parquet(labpgt: Labpgt, folder: Path) -> None:
    """With a column a number the file would be more description than data."""
    write(Path("run.h5"), shots=7, symbols=WIDE // 10, nodes=10)
    rows = tables(Path("run.h5"))["shots"]
    report(labpgt("export", "run.h5", "--to", "parquet", "--json"))
    found = pq.read_table("run-shots.parquet")
    assert found.column_names == list(rows.dtype.names or ())
    assert found.schema.field("response").type == pa.list_(pa.list_(pa.float32(), 10), WIDE // 10)
    assert found.schema.field("drive").metadata[b"long_name"] == b"drive"
    for name in ("drive", "response"):
        flat = found[name].combine_chunks()
        while pa.types.is_fixed_size_list(flat.type):
            flat = flat.flatten()
        assert_same(flat.to_numpy().reshape(rows[name].shape), rows[name])
    frame = pd.read_parquet("run-shots.parquet")
    assert_same(np.stack(frame["drive"]), rows["drive"])


@pytest.mark.parametrize("form", FORMATS)
def test_many_blocks(form: str, labpgt: Labpgt, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(labpgt("export", run, "--to", form, "--table", "shots", "--out", "whole", "--json"))
    in_blocks_of(7, monkeypatch)
    report(labpgt("export", run, "--to", form, "--table", "shots", "--out", "blocks", "--json"))
    if form == "parquet":
        assert pd.read_parquet("blocks").equals(pd.read_parquet("whole"))
        assert pq.read_metadata("blocks").num_row_groups == 43
    elif form == "csv":
        assert Path("blocks").read_bytes() == Path("whole").read_bytes()
    else:
        with xr.open_dataset("blocks", engine="h5netcdf") as blocks, xr.open_dataset("whole") as whole:
            xr.testing.assert_identical(blocks, whole)


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_recorded(form: str, labpgt: Labpgt, folder: Path) -> None:
    write(Path("run.h5"), shots=0, steps=0, epochs=0, targets=())
    found = report(labpgt("export", "run.h5", "--to", form, "--json"))
    assert {table: n for file in found["files"] for table, n in file["rows"].items()} == dict.fromkeys(TABLES, 0)
    if form == "netcdf":
        with xr.open_dataset("run.nc", engine="h5netcdf") as dataset:
            assert dict(dataset.sizes) == {"shot": 0, "symbol": 4, "node": 3, "step": 0, "epoch": 0}
    else:
        read = pd.read_csv if form == "csv" else pd.read_parquet
        shots = read(f"run-shots.{form}")
        assert shots.shape == (0, 12 + 4 + 12)
        assert "response_3_2" in shots.columns


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_without_steps(form: str, labpgt: Labpgt, folder: Path) -> None:
    write(Path("run.h5"), shots=10, steps=0, epochs=0)
    found = report(labpgt("export", "run.h5", "--to", form, "--json"))
    assert {table: n for file in found["files"] for table, n in file["rows"].items()} == {
        **dict.fromkeys(TABLES, 0),
        "shots": 10,
    }


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_that_goes_on(form: str, labpgt: Labpgt, folder: Path) -> None:
    script = """
        writer(ShotsTaken(rows(0, 128)))
        sys.stdin.readline()
        say("there")
        sys.stdin.readline()
    """
    with writing(Path("run.h5").absolute(), script) as process:
        assert ask(process) == "there"
        done = labpgt("export", "run.h5", "--to", form, "--table", "shots", "--out", "out", "--json")
        assert report(done)["status"] == Status.RUNNING
        assert done.json["files"][0]["rows"] == {"shots": 128}
        assert "run.h5: running, 128 shots recorded" in done.err
        process.communicate("\n")


def test_in_words(labpgt: Labpgt, run: Path) -> None:
    done = labpgt("export", run, "--to", "csv", "--table", "epochs", "--table", "steps")
    assert done.code == 0
    assert done.err == "run.h5: success (done), 300 shots recorded\n"
    first, second = done.out.splitlines()
    assert first.startswith("run-steps.csv  20 steps, ")
    assert second.startswith("run-epochs.csv  3 epochs, ")


def test_where_it_goes(labpgt: Labpgt, run: Path) -> None:
    def paths(*arguments: object) -> list[str]:
        return [file["path"] for file in report(labpgt("export", *arguments, "--json"))["files"]]

    Path("there").mkdir()
    assert paths(run, "--to", "csv", "--out", "there") == [f"there/run-{table}.csv" for table in TABLES]
    assert paths(run, "--to", "netcdf", "--out", "there") == ["there/run.nc"]
    assert paths(run, "--to", "parquet", "--out", "new/folder") == [f"new/folder/run-{t}.parquet" for t in TABLES]
    assert paths(run, "--to", "csv", "--table", "steps", "--out", "new/a/steps.txt") == ["new/a/steps.txt"]
    assert paths(run, "--to", "netcdf", "--table", "epochs", "--out", "curve.nc") == ["curve.nc"]
    with xr.open_dataset("curve.nc", engine="h5netcdf") as dataset:
        assert dict(dataset.sizes) == {"epoch": 3}
        assert "train_loss" in dataset
    # Other people may read the files as they may read any other.
    Path("other").touch()
    assert Path("curve.nc").stat().st_mode == Path("other").stat().st_mode


REFUSED = {
    "none.h5 --to csv": "session none.h5 cannot be opened: No such file",
    "text.h5 --to csv": "text.h5 is not an HDF5 file",
    "run.h5 --to csv": "run-steps.csv exists already; choose another --out, or replace it with --force",
    "run.h5 --to csv --out all.csv": "--out all.csv: 3 tables go into as many files; give a folder, or choose one",
    "run.h5 --to csv --out text.h5": "3 tables go into as many files",
    "run.h5 --to netcdf --out run.h5 --force": "run.h5 is the session itself; choose another --out",
    "run.h5 --to netcdf --out link.h5 --force": "link.h5 is the session itself; choose another --out",
    "run.h5 --to netcdf --out text.h5/run.nc": "Not a directory",
    "run.h5 --to parquet --out text.h5/there": "Not a directory",
    "run.h5 --to netcdf --out full": "run.nc is a folder; choose another --out",
    "run.h5 --to excel": "excel",
    "run.h5 --to csv --table shot": "shot",
    "run.h5": "--to",
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.items())
def test_bad_input_is_one_message_and_leaves_nothing(
    arguments: str, message: str, labpgt: Labpgt, run: Path, folder: Path
) -> None:
    Path("text.h5").write_text("precious")
    Path("run-steps.csv").write_text("precious")
    Path("link.h5").symlink_to(run)
    Path("full/run.nc").mkdir(parents=True)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = labpgt("export", *arguments.split(), "--json")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("form", FORMATS)
def test_force_replaces(form: str, labpgt: Labpgt, run: Path) -> None:
    Path("out").write_text("old")
    arguments = ("export", run, "--to", form, "--table", "steps", "--out", "out", "--json")
    assert labpgt(*arguments).code == 2
    assert Path("out").read_text() == "old"
    report(labpgt(*arguments, "--force"))
    assert len(Path("out").read_bytes()) > 1000
    assert sorted(path.name for path in Path().iterdir()) == ["out", "run.h5"]


def test_a_file_that_came_meanwhile_is_kept(labpgt: Labpgt, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def came(_: Sink) -> None:
        Path("run-epochs.csv").write_text("precious")

    monkeypatch.setattr(Sink, "check", came)
    done = labpgt("export", run, "--to", "csv")
    assert done.code == 2
    assert "run-epochs.csv has come to exist during the export" in done.err
    assert {path.name for path in Path().iterdir()} == {"run.h5", "run-epochs.csv"}
    assert Path("run-epochs.csv").read_text() == "precious"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("room", [0, 100, 30_000])
def test_a_full_disk_is_one_message_and_leaves_nothing(
    form: str, room: int, labpgt: Labpgt, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on the size of files stands in for the disk: the operating system refuses the same write."""
    resource = pytest.importorskip("resource")
    write(Path("run.h5"), shots=2000, steps=2000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        done = labpgt("export", "run.h5", "--to", form, "--out", "new/folder/", "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (done.code, done.out) == (5, "")
    assert "failed: File too large; nothing was left behind. Check the disk (space, permission" in done.err
    assert [path.name for path in Path().iterdir()] == ["run.h5"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(labpgt: Labpgt, run: Path) -> None:
    Path("closed").mkdir(mode=0o500)
    done = labpgt("export", run, "--to", "csv", "--out", "closed", "--json")
    assert (done.code, done.out) == (5, "")
    assert "export to closed failed: Permission denied" in done.err


def test_a_folder_that_refuses(labpgt: Labpgt, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Sink, path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Sink, "__init__", refuse)
    done = labpgt("export", run, "--to", "csv", "--out", "new", "--json")
    assert (done.code, done.out) == (5, "")
    assert done.err.endswith(
        "labpgt: export to new failed: Permission denied; nothing was left behind. Check the disk (space, permission, "
        "connection) or choose another --out\n"
    )
    assert [path.name for path in Path().iterdir()] == ["run.h5"]


def test_a_run_that_goes_on_keeps_its_disk(labpgt: Labpgt, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export must not be what fills the disk of a run."""
    free = [1 << 40]
    monkeypatch.setattr(run_module.shutil, "disk_usage", lambda _: type("Disk", (), {"free": free[0]}))
    monkeypatch.setattr(Session, "status", Status.RUNNING)
    assert labpgt("export", run, "--to", "netcdf").code == 0
    free[0] = 100 << 20
    done = labpgt("export", run, "--to", "csv")
    assert done.code == 5
    assert "less than 134 MB would stay free for the run that is going on" in done.err
    assert {path.name for path in Path().iterdir()} == {"run.h5", "run.nc"}


@pytest.mark.parametrize("form", FORMATS)
def test_a_session_that_cannot_be_read_leaves_nothing(
    form: str, labpgt: Labpgt, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(session: Session, _: int) -> Iterator[NDArray[np.void]]:
        yield session.shots(0, 10)
        raise StorageFault(f"session {session.path}: reading rows 10 to 20 of /entry/shots failed")

    monkeypatch.setattr(Session, "iter_shots", damaged)
    done = labpgt("export", run, "--to", form, "--json")
    assert (done.code, done.out) == (5, "")
    assert "session run.h5: reading rows 10 to 20 of /entry/shots failed" in done.err
    assert list(Path().iterdir()) == [run]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("name", "times"), [("SIGINT", 1), ("SIGTERM", 1), ("SIGINT", 2)])
def test_a_signal_leaves_nothing(
    form: str, name: str, times: int, labpgt: Labpgt, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def struck(_: Sink) -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.Signals[name])

    in_blocks_of(100, monkeypatch)
    monkeypatch.setattr(Sink, "check", struck)
    done = labpgt("export", run, "--to", form, "--out", "new/folder/", "--json")
    assert (done.code, done.out) == (4, "")
    assert "stopped by " + ("SIGTERM" if name == "SIGTERM" else "Ctrl-C") in done.err
    assert [path.name for path in Path().iterdir()] == ["run.h5"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_ctrl_c_in_another_process(folder: Path) -> None:
    write(Path("run.h5"), shots=20_000)
    command = [sys.executable, "-m", "procedures.cli", "export", "run.h5", "--to", "csv", "--out", "new/", "--json"]
    # Looks for the first file of the export, and stops it there.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        deadline = time.monotonic() + 60
        while not list(Path().glob("new/.*.part")) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (4, "")
    assert "export stopped by Ctrl-C; nothing was left behind" in err
    assert [path.name for path in Path().iterdir()] == ["run.h5"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def slowed(progress: ExportProgress, nbytes: int, advance: Any = ExportProgress.advance) -> None:
    advance(progress, nbytes)
    progress._progress.refresh()


def test_progress_on_a_terminal(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks_of(10, monkeypatch)
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=100)
    monkeypatch.setattr("procedures.export.progress.ExportProgress.advance", slowed)
    run_module.export_session(run, "csv", [], None, False, console)
    assert "success (done), 300 shots recorded" in terminal.getvalue()
    assert "run-shots.csv" in terminal.getvalue()
    assert "left" in terminal.getvalue()


def test_progress_in_lines(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    in_blocks_of(100, monkeypatch)
    monkeypatch.setattr("procedures.export.progress.PLAIN_INTERVAL_S", -1.0)
    run_module.export_session(run, "netcdf", ["shots"], None, False, Console(stderr=True))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["run.nc: 33%", "run.nc: 67%", "run.nc: 100%"]
    assert lines[-1] == "run.nc: 100%, 00:00 left"


def test_export_does_without_torch(run: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from rich.console import Console;"
        "from procedures.export import export_session;"
        "[export_session(Path('run.h5'), form, [], None, False, Console(quiet=True))"
        " for form in ('csv', 'parquet', 'netcdf')];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=environment())
