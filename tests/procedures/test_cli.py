"""The command line refuses what it cannot use in words, with nothing left behind, and starts without loading a room."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.procedures.conftest import Labpgt
from tests.runs import configured, record

ROOT = Path(__file__).resolve().parents[2]
CSV = "--set task.name=csv --set task.path={inputs}/"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with everything that can be wrong with a file."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    rows = [f"{i},{i * i % 7},{'ab'[i % 2]}" for i in range(20)]
    for name, changed in {
        "words": [*rows[:5], "1,many,a", *rows[5:]],
        "ragged": [*rows[:5], "1,a", *rows[5:]],
        "lonely": [*rows, "1,1,c"],
        "nan": [*rows[:5], "1,nan,a", *rows[5:]],
        "inf": [*rows[:5], "1,1e999,a", *rows[5:]],
    }.items():
        (folder / f"{name}.csv").write_text("\n".join(["width,height,kind", *changed]))
    (folder / "empty.csv").write_text("")
    (folder / "broken.toml").write_text("[training]\nepochs = = 3\n")
    (folder / "unknown.toml").write_text("[training]\nlearnin_rate = 1e-3\n")
    (folder / "latin.toml").write_bytes("[task]\n# für\n".encode("latin-1"))
    (folder / "text.h5").write_text("precious")
    (folder / "there.h5").write_text("precious")
    with h5py.File(folder / "foreign.h5", "w") as file:
        file["entry/data"] = [1, 2, 3]
    record(configured(training={"max_shots": 160}), folder / "whole.h5")
    (folder / "truncated.h5").write_bytes((folder / "whole.h5").read_bytes()[:20_000])
    return folder


TRAIN = {
    "--set training.learnin_rate=1": r'training.learnin_rate: unknown key. Did you mean "learning_rate"?',
    "--set trainin.epochs=1": r'trainin: unknown section. Did you mean "training"? Valid: task, network, device',
    "--set epochs=1": "epochs: stands in no section. Write training.epochs.",
    "{inputs}/unknown.toml": "unknown.toml cannot be used:\ntraining.learnin_rate: unknown key",
    "--device echo-sate-ring": 'no such device. Did you mean "echo-state-ring"? '
    "Registered: echo-state-ring, envelope-ring, llg-ring",
    "--device tests.faults:Nope": 'device.name = "tests.faults:Nope": cannot be imported (module',
    "--device no_such_module:Ring": "No module named 'no_such_module'",
    "--device tests.runs:SMALL": "Expected a class that takes these as keyword arguments",
    "--device replay:none.h5": "session none.h5 cannot be opened: No such file or directory; check the path",
    "--estimator pgtt": 'training.estimator = "pgtt": unknown estimator. Did you mean "pgt"? Valid: pgt, node',
    "--set training.learning_rate=-1": "training.learning_rate = -1: must be greater than 0",
    "--set training.epochs=0": "training.epochs = 0: must be at least 1",
    "--set training.epochs=2.5": "training.epochs = 2.5: must be a whole number",
    "--set training.epochs=many": 'training.epochs = "many": must be a whole number',
    "--set training.baseline=1": "training.baseline = 1: must be true or false",
    "--set training.learning_rate=nan": "training.learning_rate = NaN: must be a finite number",
    "--seed=-1": "training.seed = -1: must be at least 0",
    "--set device.noise=-1": "device.noise = -1: must be at least 0",
    "--set device.nose=0.1": 'device.nose: unknown key. Did you mean "noise"? Valid: coupling, feedback',
    "--set device.n_nodes=some": 'device.n_nodes = "some": must be a whole number',
    "--set training.epochs": 'override "training.epochs": expected section.key=value',
    "--set =3": 'override "=3": expected section.key=value, for example training.learning_rate=0.002',
    "--set training.optimizer=Adan": 'training.optimizer = "Adan": torch.optim has no such class. Did you mean "Adam"?',
    "--set training.optimizer_options.momentumm=0.9": 'training.optimizer = "Adam" with optimizer_options',
    "--set training.scheduler=CosineAnealingLR": 'Did you mean "CosineAnnealingLR"?',
    "--set training.scheduler_options.gama=0.9": "training.scheduler_options = {'gama': 0.9}: CosineAnnealingLR:",
    "--set network.symbols=70000": "network.symbols = 70000: echo-state-ring takes at most 65536",
    "--set network.pre=nowhere:layers": 'network.pre = "nowhere:layers": cannot be imported (No module named',
    "--set network.pre=nowhere": 'network.pre = "nowhere": must name a function as "module:function"',
    "{inputs}/none.toml": "none.toml: No such file or directory. Check the path.",
    "{inputs}/broken.toml": "broken.toml is not valid TOML: Invalid value (at line 2, column 10)",
    "{inputs}/latin.toml": "latin.toml: not UTF-8 text (byte 10).",
    "--set task.name=csv": 'task: path must be given when name = "csv": the file to read',
    "--set task.path=a.csv": 'path is for name = "csv", but name = "iris": set name = "csv" or remove path',
    CSV + "none.csv": "none.csv: No such file or directory. Check the path.",
    CSV + "empty.csv": "empty.csv: the file is empty. Expected a header line",
    CSV + "words.csv": 'words.csv, line 7, column "height": "many"',
    CSV + "ragged.csv": "ragged.csv, line 7: 2 columns, but the header line has 3.",
    CSV + "lonely.csv": 'class "c" has 1 sample, but one is needed in the training and one in the test part. Add',
    CSV + "nan.csv": 'nan.csv, line 7, column "height": "nan"',
    CSV + "inf.csv": 'inf.csv, line 7, column "height": "1e999"',
    CSV + "words.csv --set task.target=colour": 'task.target = "colour": no such column in',
    "--out {inputs}/there.h5": "there.h5 exists already; choose another --out, or go on with it: labpgt resume",
    "--out {inputs}/there.h5/run.h5": "there.h5 is not a folder; choose another --out",
}
"""Options of `labpgt train`, and what is said about them."""


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(("options", "message"), TRAIN.items())
def test_bad_input_to_train_is_one_message_and_leaves_nothing(
    options: str, message: str, labpgt: Labpgt, small: Path, inputs: Path, tmp_path: Path
) -> None:
    before = tree(tmp_path)
    arguments = options.format(inputs=inputs).split()
    config = [] if ".toml" in options or "replay:" in options else [small]
    done = labpgt("train", *config, *arguments, "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("labpgt: ")
    assert done.err.count("labpgt: ") == 1
    assert message in done.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("options", ["--set device.nose=1", "--device no-ring", "--set training.epochs=0"])
def test_print_config_refuses_what_train_would(options: str, labpgt: Labpgt, small: Path) -> None:
    done = labpgt("train", small, *options.split(), "--print-config")
    assert (done.code, done.out) == (2, "")


def test_several_mistakes_are_told_together(labpgt: Labpgt, small: Path) -> None:
    done = labpgt("train", small, "--set", "training.batch=0", "--set", "training.epocs=2", "--set", "tsk.name=iris")
    assert done.code == 2
    for message in ("training.batch = 0: must be at least 1", 'Did you mean "epochs"?', 'Did you mean "task"?'):
        assert message in done.err


def test_a_folder_that_may_not_be_written_is_refused(
    labpgt: Labpgt, small: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    done = labpgt("train", small)
    assert done.code == 2
    assert "session file sessions/" in done.err
    assert "cannot be written to; choose another --out" in done.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("command", ["show", "replay"])
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none.h5", "none.h5 cannot be opened: No such file or directory; check the path"),
        ("text.h5", "text.h5 is not an HDF5 file; give a session that labpgt has written"),
        ("empty.csv", "empty.csv is not an HDF5 file"),
        ("foreign.h5", "foreign.h5 is an HDF5 file but not a session"),
        ("truncated.h5", "was it copied whole?"),
        (".", "cannot be opened: Is a directory"),
    ],
)
def test_a_file_that_is_no_session_is_refused(
    command: str, file: str, message: str, labpgt: Labpgt, inputs: Path, tmp_path: Path
) -> None:
    before = tree(tmp_path)
    done = labpgt(command, inputs / file, "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("labpgt: ")
    assert message in done.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tain"], "tain"),
        (["train", "--devise", "x"], "--devise"),
        (["train", "--seed", "one"], "--seed"),
        (["show"], "FILE.h5"),
        (["replay", "a.h5", "b.h5"], "b.h5"),
    ],
)
def test_wrong_usage_has_code_2(arguments: list[str], message: str, labpgt: Labpgt) -> None:
    done = labpgt(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ([], ["train", "show", "watch", "replay", "doctor", "labpgt train"]),
        (["train"], ["CONFIG.toml", "--device", "--estimator", "--set", "--seed", "--out", "--json", "--print-config"]),
        (["show"], ["FILE.h5", "--json"]),
        (["watch"], ["FILE.h5", "--interval", "--no-wait", "--follow-resume", "-F", "--json", "Exit codes"]),
        (["replay"], ["FILE.h5", "--verify", "--allow", "--json"]),
        (["doctor"], ["--bench", "--json", "Exit codes"]),
        (["calibrate"], ["CONFIG.toml", "--gain-share", "--quick", "--out", "--sessions", "--json", "Exit codes"]),
        (["sweep"], ["CONFIG.toml", "--over", "--seeds", "--set", "--out", "--json"]),
    ],
)
def test_help_names_every_option(
    command: list[str], names: list[str], labpgt: Labpgt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = labpgt(*command, "--help")
    assert (done.code, done.err) == (0, "")
    for name in names:
        assert name in done.out


def python(code: str, folder: Path, path: str = "") -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "100"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_the_command_line_loads_no_room_and_no_heavy_library(folder: Path) -> None:
    code = """
import sys
import procedures.cli
from labpgt.checks import foreign_packages
assert foreign_packages() == []
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = python(code, folder)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert loaded >= {"procedures", "labpgt", "typer"}
    heavy = {"torch", "numba", "sklearn", "h5py", "numpy", "scipy", "PyQt6", "pyqtgraph", "pyvisa", "pymeasure"}
    assert loaded & (heavy | {"instruments", "simulators", "gui"}) == set()


def test_the_installed_command_and_the_module_are_the_same(folder: Path) -> None:
    run = {"cwd": folder, "capture_output": True, "text": True, "timeout": 60}
    environment = os.environ | {"COLUMNS": "100"}
    command = subprocess.run([Path(sys.executable).parent / "labpgt", "--help"], env=environment, **run)
    module = subprocess.run([sys.executable, "-m", "procedures.cli", "--help"], env=environment, **run)
    assert command.returncode == module.returncode == 0
    assert "Start with labpgt train" in command.stdout
    assert command.stdout.partition("Commands")[2] == module.stdout.partition("Commands")[2] != ""


def test_a_strangers_package_is_refused_and_named(tmp_path: Path) -> None:
    stranger = tmp_path / "elsewhere" / "instruments"
    stranger.mkdir(parents=True)
    (stranger / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    code = "import sys; sys.argv = ['labpgt', 'train', '--print-config']; from procedures.cli import main; main()"
    done = python(code, tmp_path, str(stranger.parent))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"but {stranger} comes first" in done.stderr
    assert f"labpgt's package 'instruments' was expected in {ROOT}" in done.stderr
    assert "off PYTHONPATH" in done.stderr
    assert "Traceback" not in done.stderr


HEEDS = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from procedures import cli
cli.main = lambda: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
cli.script()
"""


@pytest.mark.parametrize("by_a_program", [True, False])
def test_what_a_window_started_in_the_background_has_started_heeds_its_stop(
    by_a_program: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_a_program:
        monkeypatch.setenv("LABPGT_PROGRESS", "json")
    assert python(HEEDS, folder).stdout.strip() == str(by_a_program)
