"""What the instruments' room answers to `labpgt doctor`."""

from importlib.metadata import PackageNotFoundError, version

import pytest
import pyvisa.highlevel

from instruments import checks as module


def test_visa_and_pymeasure_are_there() -> None:
    visa, pymeasure = module.checks()
    assert (visa.name, visa.ok) == ("VISA", True)
    assert version("pyvisa") in visa.detail
    assert "py" in visa.detail.partition("backends: ")[2].split(", ")
    assert (pymeasure.name, pymeasure.ok, pymeasure.detail) == ("pymeasure", True, version("pymeasure"))


def test_without_a_backend_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyvisa.highlevel, "list_backends", list)
    visa = module.checks()[0]
    assert not visa.ok
    assert "backends: none" in visa.detail
    assert "Install pyvisa-py" in visa.advice


def test_without_pymeasure_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(package: str) -> str:
        if package == "pymeasure":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(module, "version", asked)
    visa, pymeasure = module.checks()
    assert visa.ok
    assert not pymeasure.ok
    assert pymeasure.advice
