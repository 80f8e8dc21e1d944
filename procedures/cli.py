"""The command line. Each command imports what it needs when it runs, so that `labpgt --help` answers at once."""

import json
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labpgt.errors import InputError, LabpgtError, RunAborted
from procedures.text import printable

if TYPE_CHECKING:
    from labpgt.config import Config

app = typer.Typer(
    name="labpgt",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

_CTRL_C = 130


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"labpgt {version('labpgt')}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Train deep networks through physical devices, shot by shot.

    Start with `labpgt train`: it trains a network with a simulated magnonic ring inside and writes every shot into a
    session file under sessions/.
    """


SessionFile = Annotated[Path, typer.Argument(metavar="FILE.h5", help="A session file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Allowed = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:NAME", help="Own network or device code that the session may import.", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change one configuration value; may be repeated.",
        show_default=False,
    ),
]


@app.command()
def train(
    config_file: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG.toml]", help="Configuration; without it, the defaults.", show_default=False),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help='A registered device, "replay:FILE.h5" or "module:Class".', show_default=False),
    ] = None,
    estimator: Annotated[
        str | None,
        typer.Option(help="pgt, node, jacobian-twin, readout or backprop.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random in the run.", show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.h5", help="Session file to write; must not exist yet.", show_default=False),
    ] = None,
    as_json: Json = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the whole configuration as TOML and do nothing else.")
    ] = False,
) -> None:
    """Train a network through a device and write every shot into a session file.

    Without arguments: Wisconsin Breast Cancer through a simulated Landau-Lifshitz-Gilbert ring.

    Examples:

    - `labpgt train --device echo-state-ring --estimator backprop`

    - `labpgt train data/echo-state-ring.toml --set training.epochs=10 --seed 3 --out run.h5`

    - `labpgt train --print-config > mine.toml`

    Ctrl-C ends the run after the device call in hand; twice, at once. Either way the file is whole and the device safe.
    Exit codes: 0 done, 2 bad input, 3 device fault, 4 aborted, 5 storage fault.
    """
    from labpgt.config import load_config, to_toml
    from labpgt.registry import setting_descriptions
    from procedures.train import with_device_defaults

    given = list(overrides or [])
    # Options come after --set: what stands on its own wins.
    options = {
        "device.name": device,
        "training.estimator": estimator,
        "session.file": None if out is None else str(out),
    }
    given += [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    if seed is not None:
        given.append(f"training.seed={seed}")
    config = with_device_defaults(load_config(config_file, given))
    if print_config:
        sys.stdout.write(to_toml(config, setting_descriptions(config.device.name)))
        return
    _train(config, as_json)


def _train(config: "Config", as_json: bool) -> None:
    from rich.console import Console

    from labpgt.events import Status
    from labpgt.subscribers import Queued
    from procedures.console import ConsoleWatcher, print_summary
    from procedures.train import default_path, run, summary

    path = default_path(config)
    with ConsoleWatcher(Console(stderr=True), f"session file: {path}") as watcher, Queued(watcher) as queued:
        try:
            last = run(config, path, [queued])
        except LabpgtError as error:
            _note_how_to_go_on(error, path)
            if as_json and not isinstance(error, InputError):
                _print_json(_failure(error, path))
            raise
    report = summary(config, path, last)
    if as_json:
        _print_json(report)
    else:
        print_summary(Console(), report)
    if last.status is Status.ABORTED:
        raise typer.Exit(RunAborted.exit_code)


def _note_how_to_go_on(error: LabpgtError, path: Path) -> None:
    if not isinstance(error, InputError) and path.exists():
        error.add_note(f"labpgt: to go on once that is mended: labpgt resume {path}")


def _failure(error: LabpgtError, path: Path) -> dict[str, Any]:
    from labpgt.events import Status

    status = Status.ABORTED if isinstance(error, RunAborted) else Status.FAILED
    return {"status": str(status), "reason": str(error), "session": str(path) if path.exists() else None}


@app.command()
def resume(
    file: SessionFile,
    accept: Annotated[
        bool,
        typer.Option("--accept-changed-settings", help="Go on although the device is not set as it was."),
    ] = False,
    allow: Allowed = None,
    as_json: Json = False,
) -> None:
    """Go on with a run that crashed, was aborted or failed, in the same file.

    What is on disk is gone through again from the last checkpoint (seconds, not hours), a ± pair that was interrupted
    is taken again whole, and then the device answers. On a simulator the result is that of a run that never stopped,
    bit for bit. Until the device answers, the file stays as it was; a sound copy then takes its place at one stroke.

    Ctrl-C and exit codes are those of `labpgt train`; 1 when training computes something else than is on record.
    """
    from rich.console import Console

    from labpgt.events import Status
    from labpgt.subscribers import Queued
    from procedures.console import ConsoleWatcher, print_summary
    from procedures.resume import resume as go_on
    from procedures.train import summary

    with ConsoleWatcher(Console(stderr=True), f"session file: {file}") as watcher, Queued(watcher) as queued:
        try:
            done = go_on(file, [queued], allowed=allow or [], accept_changed_settings=accept)
        except LabpgtError as error:
            _note_how_to_go_on(error, file)
            if as_json and not isinstance(error, InputError):
                _print_json(_failure(error, file))
            raise
    report = {
        **summary(done.config, file, done.last),
        "resumed_at_shot": done.resumed.shot if done.resumed else None,
        "replayed_shots": done.resumed.replayed if done.resumed else None,
        "tolerance": done.tolerance,
    }
    if as_json:
        _print_json(report)
    else:
        print_summary(Console(), report)
    if done.last.status is Status.ABORTED:
        raise typer.Exit(RunAborted.exit_code)


@app.command()
def characterize(
    config_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.toml]", help="Configuration; its [device] is used, and the seed.", show_default=False
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help='A registered device or "module:Class".', show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="device.KEY=VALUE", help="Change one setting; may be repeated.", show_default=False
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Only these measures; else all of them.", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter shots: less certain numbers.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of the random drives.", show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.h5", help="Session file to write; must not exist yet.", show_default=False),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the PNG files; else FILE-plots.", show_default=False),
    ] = None,
    no_plots: Annotated[bool, typer.Option("--no-plots", help="Draw nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Measure what a device is like, and write every shot and every number into a session file.

    A minute or two on the simulated ring, a quarter with --quick. The measures, by the names that --only takes:

    - `noise`: deviation of a response between repeats without drive

    - `repeatability`: deviation between repeats of one random shot, over the deviation within it

    - `threshold`: loop gain where the ring starts to oscillate, as a share of the gain at 0 dB (`threshold_gain`), that
    attenuation, and how far the ring is set from it (`margin_db`, positive when it is quiet)

    - `memory`: time constant of the decay after a kick, as set and against the gain

    - `stm`, `pc`: short-term memory and parity capacity, sums over delays D >= 1 of r² between a random bit u(n-D), or
    the parity of u(n-D) to u(n), and a linear readout of the responses to u(n), on shots it was not fitted to; less
    what chance alone gives

    - `narma10`, `mackey-glass`: held-out errors of two benchmark series

    - `compression`: response against constant drive, and where it is 1 dB behind

    - `transmission`: response against the carrier's frequency

    What a device cannot do (no attenuator, no carrier to tune, shots too short) is null, with the reason in
    `unmeasured`.

    Examples:

    - `labpgt characterize --quick`

    - `labpgt characterize data/echo-state-ring.toml --only stm,pc,narma10 --seed 3`

    - `labpgt characterize --device llg-ring --set device.gain=0.9 --only threshold,memory --json`

    Ctrl-C ends it after the device call in hand; twice, at once. Either way the file is whole and the device safe.
    `labpgt show FILE.h5` shows it again. Exit codes: 0 done, 2 bad input, 3 device fault, 4 aborted, 5 storage fault.
    """
    from procedures.characterize.run import characterize_config, chosen, default_path

    measures = chosen(only)
    given = list(overrides or [])
    options = {"device.name": device, "session.file": None if out is None else str(out)}
    given += [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    if seed is not None:
        given.append(f"training.seed={seed}")
    config = characterize_config(config_file, given)
    path = default_path(config)
    folder = None if no_plots else plots or path.with_name(f"{path.stem}-plots")
    _characterize(config, path, measures, quick, folder, as_json)


def _characterize(
    config: "Config", path: Path, measures: list[str], quick: bool, folder: Path | None, as_json: bool
) -> None:
    from rich.console import Console

    from labpgt.characterisation.reader import Characterisation
    from labpgt.events import Status
    from labpgt.subscribers import Queued
    from procedures.characterize.progress import CharacterizeProgress
    from procedures.characterize.report import print_summary
    from procedures.characterize.run import characterize as measure

    with CharacterizeProgress(Console(stderr=True), f"session file: {path}") as progress, Queued(progress) as queued:
        try:
            report = measure(config, path, measures, quick=quick, watcher=queued)
        except LabpgtError as error:
            if as_json and not isinstance(error, InputError):
                _print_json(_failure(error, path))
            raise
    try:
        if folder is not None:
            from procedures.characterize.plots import draw

            with Characterisation(path) as recorded:
                draw(recorded.curves, recorded.values, f"{path.stem}: {recorded.device}", folder)
            report["plots"] = str(folder)
    finally:
        if as_json:
            _print_json(report)
        else:
            print_summary(Console(), report)
    if report["status"] == Status.ABORTED:
        raise typer.Exit(RunAborted.exit_code)


@app.command()
def show(file: SessionFile, as_json: Json = False) -> None:
    """Show what a session holds: status, configuration, device, shots, losses and baselines.

    Of a characterisation: what was measured, and why something was not.
    """
    from procedures.show import described

    description, print_it = described(file)
    if as_json:
        _print_json(description)
    else:
        from rich.console import Console

        print_it(Console(), description)


@app.command()
def watch(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.h5", help="The run's session file; may be yet to come.", show_default=False)
    ],
    interval: Annotated[
        float, typer.Option(min=0.01, max=60.0, metavar="SECONDS", help="Time between two looks at the file.")
    ] = 0.2,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for a file that is not there yet, or refuse it.")
    ] = True,
    follow_resume: Annotated[
        bool,
        typer.Option(
            "--follow-resume", "-F", help="Go on after a crash, failure or abort, for the run may be resumed."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Watch a run that another process makes, from its session file, as it goes.

    Shows what `labpgt train` shows in its own terminal. Start it before, during or after the run, as often as you
    like: it only reads, and cannot slow or stop the run. It ends with the run, also with one that crashed.

    Examples:

    - `labpgt watch run.h5`

    - `labpgt watch run.h5 --follow-resume --interval 2`

    Ctrl-C ends the watching and never the run.
    Exit codes: 0 the run ended in success, or you ended the watching; 1 the run failed or crashed; 2 bad input;
    4 the run was aborted; 5 the file cannot be read.
    """
    from rich.console import Console

    from procedures.console import print_summary
    from procedures.watch import watch as watch_run

    report, code = watch_run(file, Console(stderr=True), interval_s=interval, wait=wait, resumed=follow_resume)
    if as_json:
        _print_json(report)
    elif report["status"] is not None:
        print_summary(Console(), report)
    raise typer.Exit(code)


@app.command()
def replay(
    file: SessionFile,
    verify: Annotated[
        bool, typer.Option("--verify", help="Leave with code 1 unless every shot, loss and update is reproduced.")
    ] = False,
    allow: Allowed = None,
    as_json: Json = False,
) -> None:
    """Train again against a recorded session instead of a device.

    Works on sessions of any status. Says whether every drive, every loss and the parameters come out as recorded, or
    names the first shot that differs with both values.
    """
    from rich.console import Console

    from procedures.replay import replay_session
    from procedures.train import StopRequest

    report = replay_session(file, allow or [], Console(stderr=True), StopRequest())
    if as_json:
        _print_json(report)
    else:
        for key, value in report.items():
            Console().print(f"{key}: {value}", highlight=False, markup=False, soft_wrap=True)
    if verify and not report["verified"]:
        raise typer.Exit(1)


class Format(StrEnum):
    """What `labpgt export` writes."""

    CSV = "csv"
    PARQUET = "parquet"
    NETCDF = "netcdf"


class Table(StrEnum):
    """What a session is made of."""

    SHOTS = "shots"
    STEPS = "steps"
    EPOCHS = "epochs"


@app.command()
def export(
    file: SessionFile,
    to: Annotated[Format, typer.Option("--to", help="Format of the files.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder for the files, or the file if it is one; else the session's.",
            show_default=False,
        ),
    ] = None,
    tables: Annotated[
        list[Table] | None,
        typer.Option("--table", help="Only this table; may be repeated. Else all.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Write a session as files that other tools open.

    CSV and Parquet: a file for each table, `NAME-shots.csv`, `NAME-steps.csv`, `NAME-epochs.csv`, beside the session
    `NAME.h5`; one column a number, `drive_SYMBOL` and `response_SYMBOL_NODE` (in Parquet lists, where a shot has more
    than 1000). netCDF: one file `NAME.nc`, with the variables of `Session.to_xarray`.

    Examples:

    - `labpgt export run.h5 --to parquet`

    - `labpgt export run.h5 --to csv --table epochs --out curve.csv`

    Works on sessions of any status, with what is recorded so far. The files appear when they are whole: Ctrl-C leaves
    none. Exit codes: 0 done, 2 bad input, 4 aborted, 5 storage fault.
    """
    from rich.console import Console

    from procedures.export import export_session

    report = export_session(file, to, tables or [], out, force, Console(stderr=True))
    if as_json:
        _print_json(report)
        return
    for written in report["files"]:
        rows = ", ".join(f"{count:,} {table}" for table, count in written["rows"].items())
        sys.stdout.write(f"{written['path']}  {rows}, {written['bytes'] / 1e6:.1f} MB\n")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation: versions, devices, kernels, VISA, Qt; say how to mend what is wrong."""
    from rich.console import Console

    from procedures.doctor import doctor as examine
    from procedures.doctor import print_report

    report = examine()
    if as_json:
        _print_json(report)
    else:
        print_report(report, Console())
    if not report["ok"]:
        raise typer.Exit(1)


def _print_json(report: Any) -> None:
    sys.stdout.write(json.dumps(_without_nan(report), default=str, allow_nan=False) + "\n")


def _without_nan(value: Any) -> Any:
    """Return the value with null for NaN and infinity, which JSON does not have."""
    match value:
        case dict():
            return {key: _without_nan(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_without_nan(inner) for inner in value]
        case float() if not math.isfinite(value):
            return None
    return value


def main() -> None:
    """Run the command line; errors a person can mend are one message and an exit code, not a traceback."""
    from labpgt.checks import foreign_packages

    try:
        if problems := foreign_packages():
            raise InputError("\n".join(problems))
        app()
    except LabpgtError as error:
        sys.stderr.write(printable("\n".join([f"labpgt: {error}", *getattr(error, "__notes__", ())])) + "\n")
        sys.exit(error.exit_code)
    except SystemExit as end:
        # What click makes of a Ctrl-C outside of a run, for instance while libraries load.
        if end.code == _CTRL_C:
            sys.stderr.write("labpgt: stopped by Ctrl-C\n")
            sys.exit(RunAborted.exit_code)
        raise


if __name__ == "__main__":
    main()
