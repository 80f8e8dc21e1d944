"""A run can be paused, let go on and stopped by others, in good order, and comes out as if nobody had asked."""

import os
import platform
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labpgt import control, pause
from labpgt.control import Request, Requests, ask
from labpgt.errors import DeviceFault, InputError, StorageFault, TakingStopped
from labpgt.events import Event, Purpose, RunContinued, RunPaused, ShotsTaken, Status, StepDone
from labpgt.follow import follow
from labpgt.replay import replay
from labpgt.session import Session
from labpgt.tasks import load_dataset
from procedures.resume import resume
from procedures.train import run
from simulators.echo_state import EchoStateRing
from tests.faults import Ill
from tests.runs import configured


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause, "FIRST_WAIT_S", 1e-3)
    monkeypatch.setattr(pause, "_LOOK_S", 1e-3)
    monkeypatch.setattr(control, "POLL_S", 0.0)


class Plain(EchoStateRing):
    """A device that need not be brought back, and remembers what became of it."""

    def __init__(self) -> None:
        super().__init__(n_nodes=5, ring_nodes=5)
        self.happened: list[str] = []

    def make_safe(self) -> None:
        self.happened.append("safe")
        super().make_safe()

    def forward(self, drives: Any) -> Any:
        self.happened.append("shots")
        return super().forward(drives)


def ill(**illness: Any) -> Ill:
    return Ill(EchoStateRing(n_nodes=5, ring_nodes=5), **illness)


def waiting(path: Path) -> list[Path]:
    """What lies beside a session."""
    return [entry for entry in path.parent.iterdir() if entry != path]


def at(when: Callable[[Event], bool], path: Path, *requests: Request) -> Callable[[Event], None]:
    """A subscriber that asks for a pause, or something else, once, and for what is to follow when the run is paused."""
    to_ask = list(requests)

    def watch(event: Event) -> None:
        if to_ask and (when(event) if len(to_ask) == len(requests) else isinstance(event, RunPaused)):
            ask(path, to_ask.pop(0), "anna")

    return watch


def step(number: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StepDone) and event.row["step"] == number


def shots_for(purpose: Purpose) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, ShotsTaken) and event.rows["purpose"][0] == purpose


WHEN = {
    "calibration": shots_for(Purpose.CALIBRATION),
    "training": step(3),
    "evaluation": shots_for(Purpose.EVALUATION),
}
EVALUATED = {"evaluation": "full"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("undisturbed") / "run.h5"
    return run(configured(training=EVALUATED), path).parameters_sha256


def verify(path: Path) -> None:
    with Session(path) as session:
        config = configured(training=EVALUATED)
        list(replay(session, config, load_dataset(config.task, config.training.seed)))


@pytest.mark.parametrize("when", WHEN)
def test_a_paused_run_waits_with_its_device_safe_and_goes_on_as_if_nothing_had_been(
    tmp_path: Path, undisturbed: str, when: str
) -> None:
    path, device, told = tmp_path / "run.h5", Plain(), list[Event]()
    watch = at(WHEN[when], path, Request.PAUSE, Request.CONTINUE)
    last = run(configured(training=EVALUATED), path, [told.append, watch], device=device)
    assert last.parameters_sha256 == undisturbed
    # Once for the pause, and at the end.
    assert device.happened.count("safe") >= 2
    assert device.happened[device.happened.index("safe") + 1] == "shots"
    with Session(path) as session:
        assert session.warnings[0] == "paused: asked by anna"
        assert session.warnings[1].startswith("goes on after a pause of ")
    assert waiting(path) == []
    verify(path)
    [paused, continued] = [event for event in follow(path) if isinstance(event, RunPaused | RunContinued)]
    assert isinstance(paused, RunPaused)
    assert isinstance(continued, RunContinued)
    assert paused.is_asked_for
    [waited] = [event.paused_s for event in told if isinstance(event, RunContinued)]
    assert continued.paused_s == pytest.approx(waited, abs=0.06), "as it is written down"


def test_a_pair_is_not_parted_by_a_pause(tmp_path: Path) -> None:
    config = configured(training={"device_batch": 1})
    counted = Plain()
    trained = int(run(config, tmp_path / "counted.h5", device=counted).results["shots"])
    before = counted.happened.count("shots") - trained
    path = tmp_path / "run.h5"

    class Asking(Plain):
        def forward(self, drives: Any) -> Any:
            if self.happened.count("shots") == before + 2:  # the first half of a pair
                ask(path, Request.PAUSE)
            return super().forward(drives)

    device = Asking()
    run(config, path, [at(lambda event: isinstance(event, RunPaused), path, Request.CONTINUE)], device=device)
    assert device.happened.index("safe") == before + 4


@pytest.mark.parametrize("ill_for", [0, 2])
def test_a_device_that_can_be_brought_back_is_after_a_pause(tmp_path: Path, undisturbed: str, ill_for: int) -> None:
    path, device, told = tmp_path / "run.h5", ill(ill_for=ill_for), list[Event]()
    watch = at(step(3), path, Request.PAUSE, Request.CONTINUE)
    last = run(configured(training=EVALUATED), path, [told.append, watch], device=device)
    assert last.parameters_sha256 == undisturbed
    kinds = [event.is_asked_for for event in told if isinstance(event, RunPaused)]
    assert kinds == ([True, False] if ill_for else [True])
    assert device.happened.count("try") == ill_for + 1
    verify(path)


def test_a_device_that_cannot_be_made_safe_for_a_pause_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"

    class Stuck(Plain):
        def make_safe(self) -> None:
            super().make_safe()
            if self.happened.count("safe") == 1:
                raise OSError("no answer")

    with pytest.raises(DeviceFault, match=r"making it safe for a pause failed: OSError: no answer; make sure by hand"):
        run(configured(), path, [at(step(3), path, Request.PAUSE)], device=Stuck())


@pytest.mark.parametrize(("when", "paused"), [("training", False), *((when, True) for when in WHEN)])
def test_a_stop_ends_the_run_in_order_and_it_can_be_resumed(
    tmp_path: Path, undisturbed: str, when: str, paused: bool
) -> None:
    path, device = tmp_path / "run.h5", ill()
    requests = [Request.PAUSE, Request.STOP] if paused else [Request.STOP]
    last = run(configured(training=EVALUATED), path, [at(WHEN[when], path, *requests)], device=device)
    assert (last.status, last.reason) == (Status.ABORTED, "asked to stop by anna")
    assert "try" not in device.happened, "a stop does not bring the device back first"
    assert waiting(path) == []
    assert resume(path, device=ill()).last.parameters_sha256 == undisturbed
    verify(path)


def test_a_resumed_run_can_be_asked_too(tmp_path: Path, undisturbed: str) -> None:
    path = tmp_path / "run.h5"
    run(configured(training=EVALUATED), path, [at(step(3), path, Request.STOP)])
    asking = at(step(8), path, Request.PAUSE, Request.CONTINUE), at(step(10), path, Request.STOP)
    last = resume(path, asking).last
    assert (last.status, last.reason) == (Status.ABORTED, "asked to stop by anna")
    with Session(path) as session:
        assert session.warnings[0] == "paused: asked by anna"
    assert resume(path).last.parameters_sha256 == undisturbed


class Clock(SimpleNamespace):
    """Stands in for the module `time`: it goes on only where somebody sleeps."""

    def __init__(self) -> None:
        super().__init__(now=0.0, time=lambda: 0.0, monotonic=lambda: self.now, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


def test_patience_and_the_devices_time_do_not_count_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(pause, "time", clock)
    waits = pause.Pause(ill(ill_for=2), patience_s=1.0)
    waits.requested = lambda: "asked by anna" if 0.002 <= clock.now < 100.0 else None
    waits.until_well(DeviceFault("no answer"))
    assert waits.held_s == pytest.approx(100.0, abs=0.1)
    assert waits.seconds == pytest.approx(0.0, abs=0.1)
    clock.now = 50.0
    waits.on_request()
    assert waits.held_s == pytest.approx(150.0, abs=0.1)
    waits.stop = lambda: "Ctrl-C" if clock.now > 20.0 else None
    clock.now = 10.0
    with pytest.raises(TakingStopped, match="Ctrl-C"):
        waits.on_request()


def test_who_has_ended_cannot_be_asked(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run(configured(), path)
    with pytest.raises(InputError, match=r"has ended \(success: training.epochs = 1 done\), so there is nobody to ask"):
        ask(path, Request.PAUSE)
    with pytest.raises(InputError, match="cannot be opened: No such file"):
        ask(tmp_path / "none.h5", Request.STOP)
    assert waiting(path) == []


def asked_while_running(path: Path, request: Callable[[], object]) -> None:
    """Do this in the middle of a run into that file."""
    done: list[object] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepDone) and not done:
            done.append(request())

    assert run(configured(), path, [watch]).status is Status.SUCCESS
    assert done


def test_a_run_on_another_computer_cannot_be_asked_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"

    def elsewhere() -> None:
        here = platform.node()
        monkeypatch.setattr(platform, "node", lambda: "elsewhere")
        with pytest.raises(InputError, match=rf"goes on on another computer, {here} \(process {os.getpid()}\)"):
            ask(path, Request.STOP)
        monkeypatch.undo()

    asked_while_running(path, elsewhere)


@pytest.mark.parametrize("resuming", [False, True])
def test_a_crashed_run_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resuming: bool) -> None:
    path = tmp_path / "run.h5"

    def crashed() -> None:
        with monkeypatch.context() as dead:
            dead.setattr("labpgt.session.recorded.process_runs", lambda *_: False)
            with pytest.raises(InputError, match="is being resumed" if resuming else r"crashed, .* labpgt resume"):
                ask(path, Request.STOP)

    if resuming:
        control.companion(path, ".lock").touch()
    asked_while_running(path, crashed)


def test_a_run_that_ends_meanwhile_leaves_no_request_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"

    def ending() -> None:
        checks = iter([lambda recorded: None])

        def check(recorded: Session) -> None:
            for passing in checks:
                passing(recorded)
                return
            raise InputError("has ended")

        with monkeypatch.context() as changed:
            changed.setattr(control, "_check_asked_here", check)
            with pytest.raises(InputError, match="has ended"):
                ask(path, Request.STOP)
        assert waiting(path) == []

    asked_while_running(path, ending)


def test_a_request_that_cannot_be_written_is_a_storage_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def asking() -> None:
        with monkeypatch.context() as disk:
            disk.setattr(Path, "write_text", full)
            with pytest.raises(StorageFault, match=r"request to stop cannot be written .*\(No space left on device\)"):
                ask(tmp_path / "run.h5", Request.STOP)

    asked_while_running(tmp_path / "run.h5", asking)


@pytest.mark.parametrize(
    "content",
    [
        '{"request": "stop", "by": "anna", "pid": "0", "process_create_time": "1.0"}',
        '{"request": "stop", "by": "anna", "pid": "OWN", "process_create_time": "1.0"}',
        *("{", "[]", "3", '{"request": "fly"}', "\xff", None),
    ],
)
def test_what_is_no_request_to_this_process_changes_nothing(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "run.h5"
    place = control.companion(path, ".request")
    if content is None:
        place.mkdir()
    else:
        place.write_text(content.replace("OWN", str(os.getpid())), encoding="latin-1")
    assert run(configured(), path).status is Status.SUCCESS
    if content is not None and content.startswith('{"request": "stop"'):
        assert waiting(path) == [], "whom it was for is gone"


def test_a_folder_that_is_gone_for_a_while_does_not_end_a_pause(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    place = control.companion(path, ".request")

    def asking() -> None:
        requests = Requests(path)
        assert requests.paused() is None
        ask(path, Request.PAUSE, "anna")
        assert (requests.paused(), requests.stop()) == ("asked by anna", None)
        place.unlink()
        assert requests.paused() == "asked by anna"
        ask(path, Request.CONTINUE)
        assert (requests.paused(), requests.stop()) == (None, None)

    asked_while_running(path, asking)
