"""What `labpgt doctor` asks of the simulators."""

from labpgt.checks import Check


def checks() -> list[Check]:
    """Say whether the solver is compiled on disk, and on how many threads it would run."""
    # Imported late: numba takes half a second, and only the doctor needs it here.
    import os

    import numba

    from simulators.kernels import cache_folder, compiled

    ready = compiled()
    return [
        Check(
            "LLG solver",
            ok=True,
            detail=f"compiled in {cache_folder()}" if ready else "not compiled yet: the first run takes longer",
        ),
        Check("solver threads", ok=True, detail=f"{os.cpu_count()} cores, numba {numba.__version__}"),
    ]
