"""A small installation: a collector, and what a test adds, between real servers and a simulated SISU."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from demo.mankeli.comparison import compare, fetch_expected
from demo.mankeli.store import MankeliStore
from demo.sisu.simulator import SisuSimulator
from shared.model.services import load_services
from tests.support.programs import Outcome, ProcessUnderTest, run

SERVICES = load_services()
NO_RUN_SOON = "0 0 1 1 *"


class RunningSystem:
    """The addresses of a small installation with a running collector."""

    def __init__(self, stack: ExitStack, nats_uri: str, redis_uri: str, db: Path, sisu: SisuSimulator) -> None:
        self.sisu, self.db = sisu, db
        self.redis = redis.Redis.from_url(redis_uri, decode_responses=True)
        self.variables = {
            "NATS_URI": nats_uri,
            "REDIS_URI": redis_uri,
            "SIS_API_URL": sisu.uri,
            "KORI_PUBLIC_API_URL": sisu.kori_public_uri,
            "PORT": "0",
            "COLLECTOR_PORT": "0",
            "CRON": NO_RUN_SOON,
        }
        self.collector = stack.enter_context(ProcessUnderTest("ack_collector", **self.variables))
        self.collector.wait_for('"started"')
        self.stack = stack

    def start_mankeli(self, *arguments: str) -> ProcessUnderTest:
        """Start a mankeli and wait until it is subscribed; the collector has created the stream."""
        mankeli = ProcessUnderTest("demo.mankeli", "--db", str(self.db), *arguments, **self.variables)
        self.stack.enter_context(mankeli).wait_for("ready")
        return mankeli

    def import_once(self, **variables: str) -> Outcome:
        """Run `python -m producer --once`."""
        return run("producer", "--once", **self.variables | variables)

    def assert_all_is_stored(self) -> None:
        """Assert that the store equals SISU, and every ordinal is the greatest, for every service."""
        store = MankeliStore(self.db)
        differences = [compare(store, service, fetch_expected(self.sisu.uri, service)) for service in SERVICES]
        store.close()
        assert not any(differences), "\n".join(map(str, filter(None, differences)))
        for service in SERVICES:
            ordinal = 1 if service.one_time else self.sisu.greatest_ordinal(service.name)
            assert self.redis.get(service.key) == str(ordinal), service.name

    def start_producer(self, **variables: str) -> ProcessUnderTest:
        """Start a producer that runs until it is stopped."""
        return self.stack.enter_context(ProcessUnderTest("producer", **self.variables | variables))


@pytest.fixture
def running_system(nats_uri: str, redis_uri: str, tmp_path: Path) -> Iterator[RunningSystem]:
    """Yield an installation of the test's own, with an empty store."""
    with ExitStack() as stack:
        sisu = stack.enter_context(SisuSimulator(size=1500))
        yield RunningSystem(stack, nats_uri, redis_uri, tmp_path / "store.sqlite", sisu)
