"""The rigs of the fault tests. Only `make faults` runs those with the marker `slow`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from demo.servers.processes import Server
from tests.conftest import MakeServer
from tests.faults.harness.rig import FaultRig

MakeRig = Callable[..., FaultRig]


def slow(*values: object) -> Any:
    """Return parameters that only `make faults` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


def quick(names: Iterable[str], *quick_names: str) -> list[Any]:
    """Return all names as parameters, of which `make test` runs only `quick_names`."""
    return [name if name in quick_names else slow(name) for name in names]


@pytest.fixture
def make_rig(make_nats: MakeServer, make_redis: MakeServer, tmp_path: Path) -> Iterator[MakeRig]:
    """Make a rig: `make_rig(nats_config="", redis_config="", …)`; FaultRig has the other options. One for each test.

    `nats` is a running server of the test's own.
    """
    with ExitStack() as stack:

        def make(
            *,
            nats: Server | None = None,
            nats_config: str = "",
            redis_config: str = "",
            kind: type[FaultRig] = FaultRig,
            **options: Any,
        ) -> FaultRig:
            nats = nats or make_nats(config=nats_config)
            return kind(stack, nats, make_redis(config=redis_config), tmp_path, **options)

        yield make
