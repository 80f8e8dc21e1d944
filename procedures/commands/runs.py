"""Commands that open a device: train, resume, characterize."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labpgt.errors import InputError, LabpgtError, RunAborted
from procedures.commands.common import Allowed, Json, Overrides, SessionFile, failure, given, print_json

if TYPE_CHECKING:
    from labpgt.config import Config


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
    from procedures.configured import with_device_defaults

    options = {
        "device.name": device,
        "training.estimator": estimator,
        "session.file": None if out is None else str(out),
        "training.seed": seed,
    }
    config = with_device_defaults(load_config(config_file, given(overrides, options)))
    if print_config:
        sys.stdout.write(to_toml(config, setting_descriptions(config.device.name)))
        return
    _train(config, as_json)


def _train(config: "Config", as_json: bool) -> None:
    from rich.console import Console

    from labpgt.events import Status
    from labpgt.subscribers import Queued
    from procedures.configured import default_path
    from procedures.console import ConsoleWatcher, print_summary
    from procedures.train import run, summary

    path = default_path(config)
    with ConsoleWatcher(Console(stderr=True), f"session file: {path}") as watcher, Queued(watcher) as queued:
        try:
            last = run(config, path, [queued])
        except LabpgtError as error:
            _note_how_to_go_on(error, path)
            if as_json and not isinstance(error, InputError):
                print_json(failure(error, path))
            raise
    report = summary(config, path, last)
    if as_json:
        print_json(report)
    else:
        print_summary(Console(), report)
    if last.status is Status.ABORTED:
        raise typer.Exit(RunAborted.exit_code)


def _note_how_to_go_on(error: LabpgtError, path: Path) -> None:
    if not isinstance(error, InputError) and path.exists():
        error.add_note(f"labpgt: to go on once that is mended: labpgt resume {path}")


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
                print_json(failure(error, file))
            raise
    report = {
        **summary(done.config, file, done.last),
        "resumed_at_shot": done.resumed.shot if done.resumed else None,
        "replayed_shots": done.resumed.replayed if done.resumed else None,
        "tolerance": done.tolerance,
    }
    if as_json:
        print_json(report)
    else:
        print_summary(Console(), report)
    if done.last.status is Status.ABORTED:
        raise typer.Exit(RunAborted.exit_code)


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
    options = {"device.name": device, "session.file": None if out is None else str(out), "training.seed": seed}
    config = characterize_config(config_file, given(overrides, options))
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
                print_json(failure(error, path))
            raise
    try:
        if folder is not None:
            from procedures.characterize.plots import draw

            with Characterisation(path) as recorded:
                draw(recorded.curves, recorded.values, f"{path.stem}: {recorded.device}", folder)
            report["plots"] = str(folder)
    finally:
        if as_json:
            print_json(report)
        else:
            print_summary(Console(), report)
    if report["status"] == Status.ABORTED:
        raise typer.Exit(RunAborted.exit_code)
