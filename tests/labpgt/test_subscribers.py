"""Watchers: they see what happens, and cannot hold a run up."""

import threading
from collections.abc import Iterator

import pytest

from labpgt.events import Event, RunWarning, Subscriber
from labpgt.registry import make_device
from labpgt.subscribers import Queued
from labpgt.tasks import load_dataset
from labpgt.training import Trainer
from tests.runs import configured, train


def events(n: int) -> list[RunWarning]:
    return [RunWarning(str(i)) for i in range(n)]


class Stuck:
    """A subscriber that handles its first event only when it is let go."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.busy = threading.Event()
        self.go = threading.Event()

    def __call__(self, event: Event) -> None:
        self.busy.set()
        assert self.go.wait(60)
        self.seen.append(event)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    watcher = Stuck()
    yield watcher
    watcher.go.set()


def test_every_event_arrives_in_order_before_the_end() -> None:
    seen: list[Event] = []
    with Queued(seen.append) as queued:
        for event in events(1000):
            queued(event)
    assert seen == events(1000)
    assert queued.dropped == 0
    assert queued.error is None


def test_a_slow_subscriber_loses_events_and_they_are_counted(stuck: Stuck) -> None:
    with Queued(stuck, size=3) as queued:
        queued(events(1)[0])
        assert stuck.busy.wait(60)
        for event in events(10):
            queued(event)
        assert queued.dropped == 7
        stuck.go.set()
    assert stuck.seen == [*events(1), *events(3)]


def test_leaving_does_not_wait_for_a_subscriber_that_is_stuck(stuck: Stuck) -> None:
    with Queued(stuck, size=1) as queued:
        queued(events(1)[0])
        assert stuck.busy.wait(60)
        queued(events(1)[0])
    assert stuck.seen == [], "left while the subscriber was still held"


def test_a_subscriber_that_raises_is_asked_no_more_and_its_error_is_kept() -> None:
    seen: list[Event] = []

    def fails(event: Event) -> None:
        seen.append(event)
        raise ZeroDivisionError("no such pixel")

    with Queued(fails, size=2) as queued:
        for event in events(50):
            queued(event)
    assert seen == events(1)
    assert isinstance(queued.error, ZeroDivisionError)


def test_an_exception_in_the_run_passes_and_the_watching_ends() -> None:
    seen: list[Event] = []

    def run(queued: Queued) -> None:
        queued(events(1)[0])
        raise KeyError

    with pytest.raises(KeyError), Queued(seen.append) as queued:
        run(queued)
    assert seen == events(1)


def test_neither_a_stuck_nor_a_broken_subscriber_changes_a_run(stuck: Stuck) -> None:
    config = configured()
    alone = train(config)

    def fails(event: Event) -> None:
        raise ZeroDivisionError

    def watched(subscriber: Subscriber, size: int) -> tuple[str, Queued]:
        dataset = load_dataset(config.task, config.training.seed)
        with make_device(config.device.name, config.device.settings) as device, Queued(subscriber, size) as queued:
            trainer = Trainer(config, device, dataset)
            for event in trainer.events():
                queued(event)
            stuck.go.set()
        return trainer.network.sha256(), queued

    broken_hash, broken = watched(fails, 4096)
    assert broken_hash == alone.last.parameters_sha256
    assert isinstance(broken.error, ZeroDivisionError)
    stuck.go.clear()
    stuck_hash, slow = watched(stuck, 2)
    assert stuck_hash == alone.last.parameters_sha256
    assert slow.dropped >= len(alone.events) - 3
    assert slow.dropped + len(stuck.seen) == len(alone.events)
