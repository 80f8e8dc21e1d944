"""Plain clients of the bench that a module of tests opens as its fixture `bench`."""

from collections.abc import Iterator

import pytest

from simulators.virtual_bench.bench import VirtualBench
from tests.simulators.virtual_bench.support import Plain, plain


@pytest.fixture
def source(bench: VirtualBench) -> Iterator[Plain]:
    with plain(bench, "source") as client:
        client.send("*RST;*CLS")
        yield client


@pytest.fixture
def analyzer(bench: VirtualBench) -> Iterator[Plain]:
    with plain(bench, "analyzer") as client:
        client.send("*RST;*CLS")
        yield client
