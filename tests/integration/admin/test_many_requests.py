"""However many requests come to the producer's port, the import goes on beside them."""

import json
from concurrent.futures import ThreadPoolExecutor

import requests

from shared.store.bounded_client import CONNECTIONS
from tests.support.programs import ProcessUnderTest
from tests.support.running_system import RunningSystem

PATHS = ("/healthz", "/readyz", "/api/status", "/metrics")
PARALLEL = 200


def test_many_parallel_requests_leave_the_import_alone(running_system: RunningSystem) -> None:
    """200 at a time during a run: each is responded to, few connections to Redis are added, and all is imported."""
    running_system.start_mankeli()
    with ProcessUnderTest("producer", "--once", **running_system.variables) as producer:
        producer.wait_for('"http_listening"')
        [served] = [json.loads(line) for line in producer.output.splitlines() if '"http_listening"' in line]
        producer.wait_for('"run_started"')
        before = len(running_system.redis.client_list())
        statuses, most = set(), 0
        with ThreadPoolExecutor(PARALLEL) as clients:
            for _ in range(3):
                responses = clients.map(lambda path: ask(served["port"], path), PATHS * (PARALLEL // len(PATHS)))
                most = max(most, len(running_system.redis.client_list()))
                statuses |= set(responses)
        outcome = producer.outcome()
    assert statuses <= {200, 503, None}
    assert 200 in statuses
    assert most - before <= 2 * CONNECTIONS
    assert outcome.code == 0, outcome.output
    running_system.assert_all_is_stored()


def ask(port: int, path: str) -> int | None:
    """Return the status; None where the run, and with it the producer, has ended."""
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=20).status_code
    except requests.ConnectionError:
        return None
