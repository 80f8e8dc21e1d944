"""What `labpgt doctor` says of the way to the instruments: PyVISA, its backends and pymeasure. No bus is scanned."""

from labpgt.checks import Check, installed


def checks() -> list[Check]:
    """Return versions of PyVISA and pymeasure, and which VISA backends can be used."""
    return [installed("pyvisa"), _pyvisa_py(), _ivi(), installed("pymeasure")]


def _pyvisa_py() -> Check:
    """The backend in pure Python: its version, and the kinds of resource it can open here."""
    found = installed("pyvisa-py")
    if not found.ok:
        return found
    try:
        # Importing the backend registers its sessions, each only if the libraries it needs can be imported.
        import pyvisa_py.highlevel  # type: ignore[import-untyped]  # noqa: F401
        from pyvisa_py.sessions import Session  # type: ignore[import-untyped]

        kinds = sorted(
            f"{interface.name.upper()} {kind}" for (interface, kind), _ in Session.iter_valid_session_classes()
        )
    except Exception as error:
        return Check(
            found.name,
            False,
            f"{found.detail} cannot be used: {type(error).__name__}: {error}",
            "Install pyvisa and pyvisa-py again, with the versions of constraints.txt.",
        )
    return Check(found.name, True, f"{found.detail}: {', '.join(kinds)}")


def _ivi() -> Check:
    """A vendor's VISA library (NI, Keysight, R&S). Not having one is no fault: pyvisa-py reaches sockets without it."""
    try:
        from pyvisa.ctwrapper.highlevel import IVIVisaLibrary

        paths = [str(path) for path in IVIVisaLibrary.get_library_paths()]
    except Exception as error:
        return Check(
            "IVI VISA library", False, f"looking for it failed: {type(error).__name__}: {error}", _PYVISA_ADVICE
        )
    return Check("IVI VISA library", True, ", ".join(paths) or "none (needed only for a vendor's own drivers)")


_PYVISA_ADVICE = (
    "Install pyvisa again, with the version of constraints.txt, and look at PyVISA's .pyvisarc if there is one."
)
