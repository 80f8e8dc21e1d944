"""Everything that a person asks of a session, and whether a damaged one may answer so."""

import contextlib
import io
import os
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.console import Console

from labpgt.errors import LabpgtError
from labpgt.session import Session
from procedures.commands.common import without_nan
from procedures.replay import replay_session
from procedures.resume import resume
from procedures.show import describe, print_description
from procedures.train import StopRequest
from tests.damage import UNCHECKED

OPENING_S = 1.0
LIMIT_S = 5.0
_MOST_MB = 512
_TOLERANCE = 1e-4
BAD = ("wrong", "other exception", "crash", "hang")
OUTCOMES = ("refused", "identical", "passed over", "no checksums", *BAD)
"""`passed over`: rows at the end of a crashed file, or a checkpoint, are left out, and a resumption still ends right.
`no checksums`: a file of schema 1 answers otherwise."""

PROPERTIES = (
    *("schema_version", "run_id", "start_time", "end_time", "status", "reason", "configuration", "provenance"),
    *("resumptions", "device", "settings", "symbols", "nodes", "drive_limits", "targets", "training_samples"),
    *("test_samples", "planned_shots", "results", "parameters_sha256"),
)
TABLES = ("shots", "steps", "epochs", "warning_rows")
GROWING = ("recorded_shots", "recorded_shots_by_purpose", "recorded_shots_by_flag", "updates", "epochs", "warnings")
"""Of a description: what follows from the rows."""
Staged = Callable[[str], None]


@dataclass
class Answers:
    """What a session answered: values, and errors in words, by question."""

    values: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    leaked: dict[str, str] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)


def ask(path: Path, staged: Staged = lambda stage: None) -> Answers:
    """Ask everything of a session; `staged` is told what is asked next. The file stays as it is."""
    answers = Answers()

    def question(name: str, asked: Callable[[], Any]) -> Any:
        staged(name)
        began = time.perf_counter()
        try:
            answers.values[name] = asked()
        except LabpgtError as error:
            answers.refused[name] = str(error)
        except Exception as error:
            answers.leaked[name] = f"{type(error).__name__}: {error}"
        spent = time.perf_counter() - began
        if spent > (OPENING_S if name == "open" else LIMIT_S):
            answers.slow[name] = spent
        return answers.values.get(name)

    session = question("open", lambda: Session(path))
    answers.values.pop("open", None)
    if session is not None:
        with session:
            for name in PROPERTIES:
                question(name, lambda name=name: getattr(session, name))
            for name in TABLES:
                question(name, getattr(session, name))
            question("iter_shots", lambda: np.concatenate([session.shots(0, 0), *session.iter_shots(100)]))
            question("checkpoint", session.checkpoint)
            question("training_state", session.training_state)
            question("show", lambda: _shown(session))
    question("replay", lambda: _replayed(path))
    question("resume", lambda: _resumed(path))
    return answers


def _shown(session: Session) -> dict[str, Any]:
    description = describe(session)
    print_description(Console(file=io.StringIO()), description)
    shown: dict[str, Any] = without_nan(description)
    return shown


def _replayed(path: Path) -> dict[str, Any]:
    report = replay_session(path, [], Console(file=io.StringIO()), StopRequest())
    if not report["verified"]:
        raise LabpgtError(report["difference"])  # the command leaves with code 1 and says this
    return report


def _resumed(path: Path) -> tuple[str, Any]:
    """Resume a copy; return the hash of the parameters and the shots, without their times."""
    copy = path.with_name("copy.h5")
    shutil.copy2(path, copy)
    try:
        done = resume(copy)
        with Session(copy) as session:
            shots = session.shots()
            for column in ("time", "duration"):
                shots[column] = 0
            if session.parameters_sha256 != done.last.parameters_sha256:
                raise ValueError("the file has another hash than the run")
            return done.last.parameters_sha256, shots
    finally:
        copy.unlink(missing_ok=True)


def age(path: Path) -> None:
    """Make a file an old one: a run on another machine counts as running while its file is new."""
    os.utime(path, (1.7e9, 1.7e9))


def canonical(value: Any) -> Any:
    """Return something that compares equal for equal values, NaN included."""
    match value:
        case np.ndarray() | np.generic():
            array = np.asarray(value)
            return (str(array.dtype), array.shape, array.tobytes())
        case dict():
            return {key: canonical(inner) for key, inner in value.items()}
        case list() | tuple():
            return [canonical(inner) for inner in value]
    return repr(value)


@dataclass
class Reference:
    """What the sound session answers, and what else may be right."""

    name: str
    answers: Answers
    unfinished: bool
    checkpoints: dict[str, list[Any]]
    """Genuine answers to `checkpoint` and `training_state`."""
    canonical: dict[str, Any]


def reference(name: str, path: Path) -> Reference:
    """Ask the sound session."""
    answers = ask(path)
    if answers.leaked or not answers.values:
        raise RuntimeError(f"{name}: the sound session fails: {answers.leaked or answers.refused}")
    unfinished = bool(path.read_bytes()[11] & 4)
    genuine: dict[str, list[Any]] = {"checkpoint": ["None"], "training_state": ["None"]}
    with h5py.File(path, "r", swmr=unfinished) as file:
        group = file["entry/checkpoints"]
        for slot in range(2):
            cursor = [int(group["cursor"][slot][key]) for key in ("shot", "step", "epoch")]
            parameters = group["parameters"][slot]
            genuine["checkpoint"].append(canonical([cursor, parameters]))
            if "state" in group:
                state: dict[str, Any] = {}
                group["state"].visititems(
                    lambda key, node, state=state, slot=slot: (
                        state.update({key: node[slot]}) if isinstance(node, h5py.Dataset) else None
                    )
                )
                genuine["training_state"].append(canonical([cursor, parameters, state]))
    return Reference(
        name, answers, unfinished, genuine, {key: canonical(value) for key, value in answers.values.items()}
    )


def examine(path: Path, sound: Reference, staged: Staged = lambda stage: None) -> tuple[str, str]:
    """Ask everything of a damaged session; return one of `OUTCOMES`, and why."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = ask(path, staged)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if answers.slow:
        return "hang", f"{answers.slow}"
    if answers.leaked:
        return "other exception", f"{answers.leaked}"
    if grown > _MOST_MB:
        return "other exception", f"{grown:.0f} MB more memory"
    return judge(answers, sound)


def judge(answers: Answers, sound: Reference) -> tuple[str, str]:
    """Say whether a damaged session may answer so."""
    unchecked = sound.name in UNCHECKED
    differs = []
    passed = []
    for name, value in answers.values.items():
        if name in sound.answers.refused:
            differs.append(name)
        elif canonical(value) != sound.canonical[name]:
            (passed if _may_lack(name, value, sound) else differs).append(name)
    if unchecked:
        if "replay" in answers.values and (why := _falsely_verified(answers, sound)):
            return "wrong", f"replay verifies {why}"
        if differs or passed:
            return "no checksums", ", ".join(differs + passed)
    elif differs:
        return "wrong", ", ".join(differs)
    refused = {name: text for name, text in answers.refused.items() if name not in sound.answers.refused}
    if refused:
        name, text = next(iter(refused.items()))
        return "refused", f"{name}: {text}"
    changed = [name for name, text in answers.refused.items() if text != sound.answers.refused[name]]
    if changed:
        return "refused", f"{changed[0]}: {answers.refused[changed[0]]}"
    return ("passed over", ", ".join(passed)) if passed else ("identical", "")


def _may_lack(name: str, value: Any, sound: Reference) -> bool:
    """Say whether an answer is the sound one without a crashed session's last rows, or with an older checkpoint."""
    if name in sound.checkpoints:
        plain = None if value is None else list(value)
        return canonical(None if plain is None else [list(plain[0]), *plain[1:]]) in sound.checkpoints[name]
    if not sound.unfinished:
        return False
    if name == "results":
        return value == {}  # those of a process that died while it changed them
    whole = sound.answers.values[name]
    if name in (*TABLES, "iter_shots"):
        return canonical(value) == canonical(whole[: len(value)])
    if name == "show":
        left_out = GROWING if value["results"] else (*GROWING, "results")
        rest = [{k: v for k, v in shown.items() if k not in left_out} for shown in (value, whole)]
        lists = all(value[key] == whole[key][: len(value[key])] for key in ("epochs", "warnings"))
        fewer = all(value[key] <= whole[key] for key in ("recorded_shots", "updates"))
        return canonical(rest[0]) == canonical(rest[1]) and lists and fewer
    if name == "replay":
        same = {key: value[key] == whole[key] for key in ("session", "status", "verified", "tolerance", "note")}
        return all(same.values()) and value["shots"] <= whole["shots"]
    return False


def _falsely_verified(answers: Answers, sound: Reference) -> str:
    """Return what differs by more than the tolerance though a replay found no difference."""
    if "shots" not in answers.values:
        return ""
    found, whole = answers.values["shots"], sound.answers.values["shots"]
    if len(found) > len(whole) or (len(found) < len(whole) and not sound.unfinished):
        return "another number of shots"
    whole = whole[: len(found)]
    for column in ("index", "purpose", "epoch", "step", "sample", "sign", "seed", "delta"):
        if (found[column] != whole[column]).any():
            return column
    tolerance = answers.values["replay"]["tolerance"] * 2
    with np.errstate(all="ignore"):
        for column in ("drive", "loss"):
            a, b = found[column], whole[column]
            same = (np.abs(a - b) <= tolerance) | (np.isnan(a) & np.isnan(b))
            if not same.all():
                return column
    if tolerance == 0:
        for table in ("steps", "epochs"):
            rows, expected = answers.values.get(table), sound.answers.values[table]
            if rows is not None:
                names = [name for name in rows.dtype.names if name != "time"]
                if canonical(rows[names].copy()) != canonical(expected[: len(rows)][names].copy()):
                    return table
    return ""


@contextlib.contextmanager
def limited(more: int) -> Any:
    """Allow so many bytes of memory more than are in use now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
