"""What `labpgt doctor` asks of the instruments' room. Nothing is sent to any instrument."""

from importlib.metadata import PackageNotFoundError, version

from labpgt.checks import Check


def checks() -> list[Check]:
    """Return whether VISA and pymeasure can be used."""
    import pyvisa.highlevel

    backends = pyvisa.highlevel.list_backends()
    found = [
        Check(
            "VISA",
            bool(backends),
            f"pyvisa {version('pyvisa')}, backends: {', '.join(backends) or 'none'}",
            "Install pyvisa-py, or the VISA library of your instruments' manufacturer.",
        )
    ]
    try:
        found.append(Check("pymeasure", True, version("pymeasure")))
    except PackageNotFoundError:
        found.append(Check("pymeasure", False, "not installed", "Install labpgt again with its constraints."))
    return found
