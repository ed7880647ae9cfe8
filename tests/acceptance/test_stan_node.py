"""The worker of the STAN era in Node, unchanged, behind the importer: every process as the user of deploy/."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from shared.model.services import load_services
from tests.conftest import MakeServer
from tests.support.programs import Outcome, ProcessUnderTest
from tests.support.restricted_users import RestrictedUsers, as_user
from tests.support.stan_worker import StanWorker, delivered, differences
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

SERVICES = load_services()


@dataclass
class Installation:
    """A STAN attached to the NATS with users, a stan_bridge, and two workers."""

    users: RestrictedUsers
    stack: ExitStack
    workers: list[StanWorker]
    outputs: list[ProcessUnderTest]

    def import_once(self, **variables: str) -> Outcome:
        """Run a producer as its user."""
        producer = ProcessUnderTest("producer", "--once", **self.users.variables("producer") | variables)
        with producer:
            return producer.outcome()


def stan_variables(users: RestrictedUsers) -> dict[str, str]:
    """Return the settings of a stan_bridge."""
    variables = users.variables("stan_bridge")
    return variables | {"STAN_URI": variables["NATS_URI"], "STAN_BRIDGE_PORT": "0"}


@pytest.fixture
def installation(restricted_users: RestrictedUsers, make_stan: MakeServer, tmp_path: Path) -> Iterator[Installation]:
    """Yield an installation in which every process is restricted to its permissions."""
    users = restricted_users
    make_stan(streaming=f'ns: "{as_user(users.nats_uri, "stan_server")}"', attached_to=_Attached(users.nats_uri))
    with ExitStack() as stack:
        # Only the producer may create the streams; its run without a service does nothing else.
        first = ProcessUnderTest("producer", **users.variables("producer") | {"SERVICES": "LOCATION"})
        with first:
            first.wait_for('"lock_acquired"')
        with redis.Redis.from_url(as_user(users.redis_uri, "producer")) as client:
            client.delete("LATEST_LOCATION_ORDINAL")
        collector = stack.enter_context(ProcessUnderTest("ack_collector", **users.variables("ack_collector")))
        collector.wait_for('"started"')
        bridge = stack.enter_context(ProcessUnderTest("stan_bridge", **stan_variables(users)))
        bridge.wait_for('"started"')
        workers = []
        for client_id in ("one", "two"):
            worker = StanWorker(
                tmp_path,
                client_id,
                SERVICES,
                STAN_URI=as_user(users.nats_uri, "stan_mankeli"),
                REDIS_URI=as_user(users.redis_uri, "stan_mankeli"),
                FAIL_IDS="bad",
            )
            stack.callback(worker.close)
            workers.append(worker)
        for worker in workers:
            worker.wait_for("ready")
        yield Installation(users, stack, workers, [collector, bridge])


class _Attached:
    """Stands for the NATS that a STAN is attached to."""

    def __init__(self, uri: str) -> None:
        self.uri = uri


@pytest.mark.timeout(180)
def test_an_old_worker_imports_everything_twice(installation: Installation) -> None:
    """All 26 services are stored as SISU has them; a second run brings only the one-time services."""
    sisu, workers = installation.users.sisu, installation.workers
    first = installation.import_once()
    assert first.code == 0, first.output
    assert differences(workers, sisu, SERVICES) == []
    once = delivered(workers)
    wait_until(lambda: any("postUpdate" in line for worker in workers for line in worker.lines()), "the post-update")
    wait_until(lambda: '"post_update_finished"' in installation.outputs[0].output, "its end is reported")
    second = installation.import_once()
    assert second.code == 0, second.output
    again = delivered(workers)
    assert {channel for channel in again if again[channel] != once[channel]} == {
        service.channel for service in SERVICES if service.one_time
    }
    for process in installation.outputs:
        assert "permissions violation" not in process.output.lower()


@pytest.mark.timeout(180)
def test_a_rejected_entity_becomes_a_dead_letter(installation: Installation) -> None:
    """An entity that the worker rejects is found by splitting, and kept with the worker's error text."""
    installation.users.sisu.put("PERSON", {"id": "bad", "documentState": "ACTIVE"})
    outcome = installation.import_once(SERVICES="PERSON")
    assert outcome.code == 0, outcome.output
    [kept] = [event for event in outcome.events if event["event"] == "dead_letters_published"]
    assert kept["rejected"] == 1
    stored = {line["entity"]["id"] for worker in installation.workers for line in worker.lines() if "channel" in line}
    expected = {version.entity_id for version in installation.users.sisu.versions("PERSON")}
    assert expected - stored == {"bad"}
