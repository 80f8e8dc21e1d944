"""What `labpgt doctor` asks of the simulators."""

from pathlib import Path

from labpgt.checks import Check


def checks() -> list[Check]:
    """Say whether the solver is compiled on disk, and on how many threads it would run."""
    # Imported late: numba takes half a second, and only the doctor needs it here.
    import os

    import numba

    from simulators.llg import solve

    source = Path(__file__).with_name("llg.py")
    folder = Path(str(solve.stats.cache_path))
    index = list(folder.glob("llg.solve-*.nbi"))
    compiled = any(entry.stat().st_mtime >= source.stat().st_mtime for entry in index)
    return [
        Check(
            "LLG solver",
            ok=True,
            detail=f"compiled in {folder}" if compiled else "not compiled yet: the first run takes some seconds more",
        ),
        Check("solver threads", ok=True, detail=f"{os.cpu_count()} cores, numba {numba.__version__}"),
    ]
