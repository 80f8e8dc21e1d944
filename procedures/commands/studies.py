"""Commands that make several runs: calibrate, sweep."""

from pathlib import Path
from typing import Annotated

import typer

from labpgt.errors import InputError, LabpgtError, RunAborted
from procedures.commands.common import Json, Overrides, failure, given, print_json

ConfigFile = Annotated[
    Path | None,
    typer.Argument(metavar="[CONFIG.toml]", help="Configuration; without it, the defaults.", show_default=False),
]
Device = Annotated[str | None, typer.Option(help='A registered device or "module:Class".', show_default=False)]


def calibrate(
    config_file: ConfigFile = None,
    device: Device = None,
    estimator: Annotated[
        str | None, typer.Option(help="The estimator that delta is measured for.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    gain_share: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.99, help="Loop gain to set, as a share of that at which the ring starts to oscillate."
        ),
    ] = 0.6,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter shots: less certain numbers.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything random in the shots.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Write the whole configuration with what was measured; must not exist yet.",
            show_default=False,
        ),
    ] = None,
    sessions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the session files; else one in sessions/.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure on the device what a run needs to know of it, and suggest settings.

    In three steps, each with a session file of its own that holds every shot:

    - `gain`: where the ring starts to oscillate, and how long it remembers; sets `device.attenuation_db` for the wanted
    share of that gain, and `device.memory_time_s`, where the device has such settings

    - `ring`, with that gain: noise, repeatability, compression

    - `run`: scale and noise of the responses to the untrained network, and `training.delta`, the smallest perturbation
    that stands out of the noise, with the configured estimator. Where the responses drown in the noise, with a higher
    `network.drive_gain`

    Examples:

    - `labpgt calibrate --device echo-state-ring --estimator node`

    - `labpgt calibrate bench.toml --gain-share 0.6 --out calibrated.toml`, then `labpgt train calibrated.toml`

    Ctrl-C ends it after the device call in hand; twice, at once. Either way the files are whole and the device safe.
    Exit codes: 0 done, 2 bad input, 3 device fault, 4 aborted, 5 storage fault.
    """
    from rich.console import Console

    from labpgt.config import load_config
    from labpgt.events import Status
    from labpgt.subscribers import Queued
    from procedures.calibrate import run
    from procedures.calibrate.progress import CalibrateProgress
    from procedures.calibrate.report import print_summary, report
    from procedures.configured import with_device_defaults

    options = {"device.name": device, "training.estimator": estimator, "training.seed": seed}
    config = with_device_defaults(load_config(config_file, given(overrides, options)))
    folder = sessions or run.default_folder(config)
    run.check_places(folder, out)
    with CalibrateProgress(Console(stderr=True)) as progress, Queued(progress) as queued:
        try:
            found = run.calibrate(config, folder, gain_share=gain_share, quick=quick, watcher=queued)
        except LabpgtError as error:
            if as_json and not isinstance(error, InputError):
                print_json(failure(error, folder))
            raise
    done = found.status is Status.SUCCESS
    if done and out is not None:
        run.write_config(found.config, out)
    described = report(found, folder, out if done else None)
    if as_json:
        print_json(described)
    else:
        print_summary(Console(), described)
    if not done:
        raise typer.Exit(RunAborted.exit_code)


def sweep(
    config_file: ConfigFile = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY=A,B,C", help="Values to go through; repeated, all combinations.", show_default=False
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Runs of each combination, with seeds from the configured one on.")
    ] = 1,
    device: Device = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for session files and index; else sessions/sweep-CONFIG.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train once for every combination of values and every seed, each into a session file of its own.

    The folder gets an index, `index.csv`, with a row a run, written as it goes. Started again with the same folder, the
    sweep goes on where it stopped: what is done stays, and a run that crashed, failed or was aborted is resumed.

    Examples:

    - `labpgt sweep data/echo-state-ring.toml --over training.estimator=pgt,node,jacobian-twin --seeds 5`

    - `labpgt sweep run.toml --over training.learning_rate=1e-3,3e-3 --over 'network.hidden=[8],[16,16]' --out lr`

    Ctrl-C ends the run in hand after its device call, and with it the sweep; twice, at once.
    Exit codes: 0 done, 1 all runs made but some failed (their parameters diverged), 2 bad input, 3 device fault,
    4 aborted, 5 storage fault.
    """
    from rich.console import Console

    from labpgt.events import Status
    from labpgt.subscribers import Queued
    from procedures.sweep.plan import plan
    from procedures.sweep.progress import SweepProgress
    from procedures.sweep.report import print_summary, report
    from procedures.sweep.run import sweep as make_runs

    folder = out or Path("sessions") / f"sweep-{config_file.stem if config_file else 'defaults'}"
    runs = plan(config_file, given(overrides, {"device.name": device}), over or [], seeds, folder)
    with SweepProgress(Console(stderr=True)) as progress, Queued(progress) as queued:
        try:
            done = make_runs(runs, folder, queued)
        except LabpgtError as error:
            if not isinstance(error, InputError):
                error.add_note("labpgt: to go on once that is mended, start the same sweep again")
                if as_json:
                    print_json(failure(error, folder))
            raise
    described = report(done)
    if as_json:
        print_json(described)
    else:
        print_summary(Console(), described)
    if done.status is Status.ABORTED:
        raise typer.Exit(RunAborted.exit_code)
    if described["failed"]:
        raise typer.Exit(LabpgtError.exit_code)
