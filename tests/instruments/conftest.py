"""Virtual benches for the tests of this room."""

from collections.abc import Iterator

import pytest

from tests.instruments.benches import TriedBench


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TriedBench]:
    bench = TriedBench(tmp_path_factory.mktemp("bench"))
    bench.open()
    with bench.virtual:
        yield bench


@pytest.fixture
def bench(shared_bench: TriedBench) -> Iterator[TriedBench]:
    """The bench of envelope use, as it is after power-on but for its ring's solver."""
    shared_bench.forget()
    shared_bench.write()
    yield shared_bench
    shared_bench.forget()
    assert not shared_bench.rf_on, "a test left RF on"
