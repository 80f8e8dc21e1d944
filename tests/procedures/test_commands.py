"""Commands and checks of a bench that other packages register: found, shown and run, and none imported before."""

import sys
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest

from labpgt.checks import BENCH_CHECKS_GROUP, Check
from labpgt.errors import DeviceFault
from procedures.commands import registered
from procedures.commands.registered import GROUP
from tests.procedures.conftest import Labpgt
from tests.procedures.test_cli import python

COMMAND = '''
"""A command of somebody else's."""

import sys
from typing import Annotated

import typer

print("imported", file=sys.stderr)


def greet(
    name: str,
    often: Annotated[int, typer.Option("--often", min=1, help="How often.")] = 1,
) -> None:
    """Greet somebody, politely,
    [in a line].

    More about that.
    """
    from labpgt.errors import DeviceFault

    if name == "nobody":
        raise DeviceFault("nobody answers")
    print(*["hello", name] * often)
    raise typer.Exit(7 if name == "seven" else 0)


other = 3
'''


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Registers commands in a package, which exist and which do not, and one under the name of labpgt's own."""
    folder = tmp_path / "modules"
    (folder / "strangers").mkdir(parents=True)
    (folder / "strangers" / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "strange.py").write_text(COMMAND)
    (folder / "broken.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(folder)
    entries = [
        EntryPoint("greet", "strange:greet", GROUP),
        EntryPoint("train", "strange:greet", GROUP),
        EntryPoint("absent", "no_such_module.command:run", GROUP),
        EntryPoint("number", "strange:other", GROUP),
        EntryPoint("broken", "broken:f", GROUP),
        EntryPoint("inside", "strangers.command:f", GROUP),
    ]
    monkeypatch.setattr(registered, "entry_points", lambda group: entries if group == GROUP else [])
    monkeypatch.delitem(sys.modules, "strange", raising=False)
    return folder


@pytest.mark.usefixtures("brought")
def test_help_shows_registered_commands_without_importing_them(labpgt: Labpgt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = labpgt("--help")
    assert (done.code, done.err) == (0, "")
    assert "strange" not in sys.modules
    lines = {line.split()[1]: line for line in done.out.splitlines() if line.startswith("│") and len(line.split()) > 2}
    assert "Greet somebody, politely, [in a line]." in lines["greet"]
    assert "More about that" not in done.out
    assert "Train a network through a device" in lines["train"]
    for name, module in (("absent", "no_such_module.command"), ("number", "strange"), ("broken", "broken")):
        assert f"From {module}." in lines[name]


@pytest.mark.usefixtures("brought")
def test_a_registered_command_runs_as_if_it_were_labpgts_own(labpgt: Labpgt) -> None:
    done = labpgt("greet", "you", "--often", "2")
    assert (done.code, done.out, done.err) == (0, "hello you hello you\n", "imported\n")
    assert labpgt("greet", "seven").code == 7
    help_text = labpgt("greet", "--help").out
    assert "labpgt greet [OPTIONS]" in help_text
    assert "How often." in help_text
    done = labpgt("greet", "you", "--often", "0")
    assert (done.code, done.out) == (2, "")
    assert "--often" in done.err
    done = labpgt("greet", "nobody")
    assert (done.code, done.err) == (DeviceFault.exit_code, "labpgt: nobody answers\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "no_such_module.command:run cannot be loaded: ModuleNotFoundError: No module named"),
        ("number", "strange:other cannot be loaded: TypeError: expected a function, got 3"),
        ("broken", "broken:f cannot be loaded: SyntaxError"),
    ],
)
@pytest.mark.usefixtures("brought")
def test_a_command_that_cannot_be_loaded_says_whose_it_is(labpgt: Labpgt, name: str, message: str) -> None:
    done = labpgt(name)
    assert (done.code, done.out) == (1, "")
    assert f"labpgt: command {name}: {message}" in done.err
    assert "report this to whoever registered it" in done.err
    assert labpgt("no-such-command").code == 2


def test_an_installed_distributions_command_is_found(tmp_path: Path) -> None:
    """As pip leaves it: a package with its entry points beside it, in a process of its own."""
    (tmp_path / "strange.py").write_text(COMMAND)
    info = tmp_path / "strange-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[labpgt.commands]\ngreet = strange:greet\nabsent = strange.no:run\n")
    code = "import sys; sys.argv = ['labpgt', *{}]; from procedures.cli import main; main()"
    root = Path(__file__).resolve().parents[2]
    path = f"{tmp_path}:{root}"
    done = python(code.format(["--help"]), tmp_path, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Greet somebody, politely," in done.stdout
    assert "From strange." in done.stdout
    done = python(code.format(["greet", "you"]), tmp_path, path)
    assert (done.returncode, done.stdout) == (0, "hello you\n")


def on_bench(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    entries = [EntryPoint(f"room-{i}", value, BENCH_CHECKS_GROUP) for i, value in enumerate(values)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries if group == BENCH_CHECKS_GROUP else [])


def in_order(path: Path) -> list[Check]:
    return [Check("source", ok=True, detail=f"N5182B at {path.name}, 0.3 ms a reply")]


def ill(path: Path) -> list[Check]:
    return [Check("analyzer", ok=False, detail="no answer\x1b[2J to [*IDN?]", advice="switch it on")]


def unreadable(path: Path) -> list[Check]:
    raise DeviceFault(f"{path}: two roles on one address")


def buggy(path: Path) -> list[Check]:
    raise ZeroDivisionError(str(path))


HERE = "tests.procedures.test_commands"


def test_a_bench_in_order_is_shown_with_the_rest(labpgt: Labpgt, monkeypatch: pytest.MonkeyPatch) -> None:
    on_bench(monkeypatch, f"{HERE}:in_order")
    done = labpgt("doctor", "--bench", "bench.toml")
    assert done.code == 0
    assert "N5182B at bench.toml, 0.3 ms a reply" in done.out
    assert version("torch") in done.out
    report = labpgt("doctor", "--bench", "bench.toml", "--json").json
    assert report["ok"]
    assert report["bench"] == "bench.toml"
    assert report["bench_checks"] == [
        {"name": "source", "ok": True, "detail": "N5182B at bench.toml, 0.3 ms a reply", "advice": ""}
    ]


@pytest.mark.parametrize(
    ("value", "detail", "advice"),
    [
        ("ill", "no answer\ufffd[2J to [*IDN?]", "analyzer: switch it on"),
        ("unreadable", "bench.toml: two roles on one address", "room-1: Mend that"),
        ("buggy", "ZeroDivisionError: bench.toml", "report this to whoever registered it"),
        ("absent", "asking tests.procedures.test_commands:absent failed", "report this to whoever registered it"),
    ],
)
def test_a_bench_that_is_ill_is_code_3_with_what_to_do(
    labpgt: Labpgt, monkeypatch: pytest.MonkeyPatch, value: str, detail: str, advice: str
) -> None:
    on_bench(monkeypatch, f"{HERE}:in_order", f"{HERE}:{value}")
    done = labpgt("doctor", "--bench", "bench.toml")
    assert done.code == 3
    assert detail in done.out
    assert advice in done.out.partition("mend:")[2]
    assert "0.3 ms a reply" in done.out
    assert "in order" not in done.out
    report = labpgt("doctor", "--bench", "bench.toml", "--json")
    assert report.code == 3
    assert [check["ok"] for check in report.json["bench_checks"]] == [True, False]
    assert labpgt("doctor").code == 0


def test_nobody_who_can_look_at_a_bench_is_not_in_order(labpgt: Labpgt, monkeypatch: pytest.MonkeyPatch) -> None:
    on_bench(monkeypatch)
    done = labpgt("doctor", "--bench", "bench.toml")
    assert done.code == 3
    assert "nothing here can look at bench.toml" in done.out
