"""`.ci/setup` in a checkout of its own, with stand-ins for everything that would install something."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("bash") is None, reason="for Linux, with bash"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a .venv whose Python writes down how it was called, and tools that do the same."""
    root = tmp_path / "checkout"
    (root / ".ci").mkdir(parents=True)
    (root / ".venv" / "bin").mkdir(parents=True)
    for name in (".ci/setup", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    libraries = (ROOT / ".ci" / "setup").read_text().split()
    known = "\n".join(word.partition(":")[0] for word in libraries if ".so." in word)
    (root / "libraries").write_text(known)
    note = f'echo "${{0##*/}} $*" >>"{root}/calls"\n'
    tool(root / ".venv" / "bin" / "python", f'{note}[ ! -e "{root}/broken" ] || [ "$3" != install ]')
    for name in ("apt-get", "sudo", "git"):
        tool(root / "bin" / name, note)
    tool(root / "bin" / "env", 'while [[ "$1" == *=* ]]; do shift; done; exec "$@"')
    tool(root / "bin" / "ldconfig", f'cat "{root}/libraries"')
    for name in ("python3.11", "python3"):
        tool(root / "bin" / name, f'exec "{sys.executable}" "$@"')
    return root


def tool(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    path.chmod(0o755)


def setup(checkout: Path) -> tuple[int, list[str], str]:
    """Run it; return its code, what it called, and what it said."""
    (checkout / "calls").write_text("")
    environment = os.environ | {"PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", ".ci/setup"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60)
    calls = (checkout / "calls").read_text().splitlines()
    return done.returncode, [call for call in calls if " -c " not in call], done.stderr


INSTALL = "python -m pip install --quiet --constraint constraints.txt --editable .[dev]"


def test_it_installs_with_the_pinned_versions_once(checkout: Path) -> None:
    code, calls, said = setup(checkout)
    assert (code, calls[-1]) == (0, INSTALL), said
    assert not any("apt-get" in call for call in calls)
    assert setup(checkout) == (0, [], ""), "a second run does nothing"


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_it_installs_again_when_what_it_depends_on_changes(changed: str, checkout: Path) -> None:
    assert setup(checkout)[0] == 0
    with (checkout / changed).open("a") as file:
        file.write("\n# changed\n")
    assert setup(checkout)[1][-1] == INSTALL


def test_a_failed_installation_is_not_taken_for_done(checkout: Path) -> None:
    (checkout / "broken").touch()
    assert setup(checkout)[0] != 0
    (checkout / "broken").unlink()
    code, calls, _ = setup(checkout)
    assert (code, calls[-1]) == (0, INSTALL)


def test_missing_system_libraries_are_installed_first(checkout: Path) -> None:
    known = (checkout / "libraries").read_text()
    assert "libEGL.so.1" in known
    (checkout / "libraries").write_text(known.replace("libEGL.so.1", ""))
    code, calls, said = setup(checkout)
    assert code == 0
    install = next(call for call in calls if "apt-get install" in call)
    assert "libegl1" in install
    assert "libgl1" not in install.split(), "only what is missing"
    assert "libegl1" in said, "it says so"
    assert calls.index(install) < calls.index(INSTALL)


def test_a_long_list_of_libraries_is_read_to_its_end(checkout: Path) -> None:
    with (checkout / "libraries").open("a") as file:
        file.writelines(f"\nlibfiller.so.{number} (libc6,x86-64)" for number in range(10_000))  # more than a pipe holds
    code, calls, said = setup(checkout)
    assert (code, calls[-1]) == (0, INSTALL), said
    assert not any("apt-get" in call for call in calls)


def test_libraries_that_cannot_be_installed_do_not_stop_it(checkout: Path) -> None:
    (checkout / "libraries").write_text("")
    for name in ("apt-get", "sudo"):
        tool(checkout / "bin" / name, "exit 100")
    code, calls, said = setup(checkout)
    assert (code, calls[-1]) == (0, INSTALL), said
    assert "going on without" in said


@pytest.mark.parametrize("fault", ["interrupted", "copied"])
def test_a_venv_that_cannot_be_trusted_is_made_again(fault: str, checkout: Path) -> None:
    note = f'echo "python3.11 $*" >>"{checkout}/calls"'
    fresh = f'[ "$2" != venv ] || {{ mkdir -p .venv/bin; cp "{checkout}/bin/new-python" .venv/bin/python; }}'
    tool(checkout / "bin" / "new-python", f'echo "python $*" >>"{checkout}/calls"')
    tool(checkout / "bin" / "python3.11", f"{note}\n{fresh}")
    if fault == "interrupted":
        tool(checkout / ".venv" / "bin" / "python", '[ "$3" != install ] || exit 130')
        assert setup(checkout)[0] != 0
    else:
        assert setup(checkout)[0] == 0
        stamp = checkout / ".venv" / "labpgt-setup"
        stamp.write_text(stamp.read_text().replace(str(checkout), "/elsewhere"))
    left_over = checkout / ".venv" / "half-unpacked"
    left_over.touch()
    code, calls, said = setup(checkout)
    assert (code, calls[-1]) == (0, INSTALL), said
    assert "python3.11 -m venv .venv" in calls
    assert not left_over.exists()
