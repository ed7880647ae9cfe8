"""Worlds for the fault tests. `slow` ones are run by `make faults` only."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from demo.servers import Server
from tests.conftest import MakeServer
from tests.faults.world import World

MakeWorld = Callable[..., World]


def slow(*values: object) -> Any:
    """Parameters that only `make faults` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


def quick(names: Iterable[str], *kept: str) -> list[Any]:
    """Of parameters, `make test` runs those that are kept."""
    return [name if name in kept else slow(name) for name in names]


@pytest.fixture
def make_world(make_nats: MakeServer, make_redis: MakeServer, tmp_path: Path) -> Iterator[MakeWorld]:
    """Make a world: `make_world(nats_config="", redis_config="", …)`, the rest is World's. One for each test.

    `nats`, if it is given, is a server of the test's own that runs already.
    """
    with ExitStack() as stack:

        def make(*, nats: Server | None = None, nats_config: str = "", redis_config: str = "", **options: Any) -> World:
            nats = nats or make_nats(config=nats_config)
            return World(stack, nats, make_redis(config=redis_config), tmp_path, **options)

        yield make
