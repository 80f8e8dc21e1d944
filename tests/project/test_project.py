"""What is said about the project in one file is so in the others."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labpgt.config import load_config
from labpgt.registry import make_device
from procedures.configured import with_device_defaults

ROOT = Path(__file__).resolve().parents[2]
TEST_COMMAND = "bash .ci/setup && .venv/bin/pytest"


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def constraints() -> dict[str, str]:
    """The pinned version of each package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def committed() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]


def code_blocks(text: str) -> list[str]:
    return [block.strip() for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)]


def test_ci_ends_with_the_test_command_of_the_readme() -> None:
    blocks = code_blocks((ROOT / "README.md").read_text())
    assert TEST_COMMAND in blocks
    assert "bash .ci/setup && .venv/bin/labpgt train" in blocks
    assert (ROOT / ".ci" / "run").read_text().rstrip("\n").splitlines()[-1] == TEST_COMMAND


def test_constraints_satisfy_every_range() -> None:
    pinned = constraints()
    declared = project()["project"]
    requirements = [
        *declared["dependencies"],
        *(r for group in declared["optional-dependencies"].values() for r in group),
    ]
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(pinned[name]), f"{requirement} does not allow {pinned[name]}"


def test_every_package_is_known_to_the_build_and_to_the_arrows() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == {"labpgt", "instruments", "simulators", "procedures", "gui"}
    tools = project()["tool"]
    assert {pattern.rstrip("*") for pattern in tools["setuptools"]["packages"]["find"]["include"]} == packages
    assert set(tools["importlinter"]["root_packages"]) == packages
    guarded = {name for contract in tools["importlinter"]["contracts"] for name in contract.get("source_modules", [])}
    assert guarded == packages


def test_the_arrows_between_the_rooms_hold() -> None:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    contracts = len(project()["tool"]["importlinter"]["contracts"])
    assert f"{contracts} kept, 0 broken" in done.stdout


# Put together here, so that this file does not contain what it looks for.
FOREIGN = {
    "a path of somebody's machine": [f"/{name}/" for name in ("root", "work", "Users")] + ["/home" + "/"],
    "a package registry": ["pypi" + ".org", "pythonhosted" + ".org", "download.pytorch" + ".org", "--index" + "-url"],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_committed_text_names(kind: str) -> None:
    found = []
    for path in committed():
        try:
            text = (ROOT / path).read_text("utf-8")
        except UnicodeDecodeError:
            continue
        # Only where a path begins: "net/work/" is none.
        found += [f"{path}: {word}" for word in FOREIGN[kind] if re.search(rf"(?<![\w.]){re.escape(word)}", text)]
    assert found == []


def test_no_committed_file_is_a_leftover() -> None:
    leftover = re.compile(r"(^sessions/|\.(pyc|nbi|nbc|orig|rej|swp|log|bak)$|__pycache__|\.egg-info)")
    assert [path for path in committed() if leftover.search(path)] == []


def test_there_are_experiments() -> None:
    assert len(list((ROOT / "data").glob("*.toml"))) >= 4


@pytest.mark.parametrize("path", sorted((ROOT / "data").glob("*.toml")), ids=lambda path: path.name)
def test_every_experiment_is_a_configuration_of_a_device_that_exists(path: Path) -> None:
    config = with_device_defaults(load_config(path))
    device = make_device(config.device.name, config.device.settings)
    assert config.network.symbols <= device.max_symbols
    assert {key: device.settings()[key].value for key in config.device.settings} == config.device.settings
    assert path.name in (ROOT / "data" / "README.md").read_text()
