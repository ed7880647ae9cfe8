"""Operator requests on a real Redis, from where they are made to where the producer reads them; rewinds."""

import asyncio

import pytest
from structlog.testing import capture_logs

from shared.model import keys
from shared.model.errors import DependencyLostError, RequestConflictError
from shared.model.records import RetryRequest, now
from shared.model.services import load_services
from shared.runtime.shutdown import Stop
from shared.store import operator_requests, rewinds
from shared.store.ledger import Ledger
from shared.store.operator_requests import ALL, OperatorRequests
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect
from shared.store.rewinds import read_rewinds
from shared.store.scripts import Scripts
from tests.conftest import MakeServer
from tests.support.ledger_fixture import settle_one

PERSON, ORGANISATION, *_ = SERVICES = load_services()


async def test_a_pause_reaches_the_producer_and_ends(redis_uri: str) -> None:
    """The producer reads the operator and the reason of a pause, and then its end."""
    async with connect(redis_uri) as redis:
        requests = OperatorRequests(RedisClient(redis))
        await operator_requests.pause(RedisClient(redis), "ada", "upgrade")
        await requests.refresh()
        assert requests.pause
        assert (requests.pause.by, requests.pause.reason) == ("ada", "upgrade")
        assert await operator_requests.resume(RedisClient(redis))
        assert not await operator_requests.resume(RedisClient(redis))
        await requests.refresh()
        assert requests.pause is None


async def test_a_pause_that_was_set_manually_is_a_pause(redis_uri: str) -> None:
    """A value that is not a valid note pauses the import as well."""
    async with connect(redis_uri) as redis:
        await redis.set(keys.PAUSED, "1")
        requests = OperatorRequests(RedisClient(redis))
        await requests.refresh()
        assert requests.pause


async def test_a_paused_producer_can_be_stopped(redis_uri: str) -> None:
    """The wait for the end of a pause ends on a shutdown request."""
    async with connect(redis_uri) as redis:
        requests, stop = OperatorRequests(RedisClient(redis)), Stop()
        await operator_requests.pause(RedisClient(redis), "ada")
        await requests.refresh()
        stop.request()
        await requests.wait_until_resumed(stop)


@pytest.mark.parametrize(("is_resumed", "events"), [(True, ["paused", "resumed"]), (False, ["paused"])])
async def test_only_the_end_of_a_pause_is_logged_as_resumed(
    redis_uri: str, *, is_resumed: bool, events: list[str]
) -> None:
    """A shutdown request ends the wait, but not the pause, and is not logged as its end."""
    async with connect(redis_uri) as redis:
        requests, stop = OperatorRequests(RedisClient(redis)), Stop()
        await operator_requests.pause(RedisClient(redis), "ada")
        await requests.refresh()
        with capture_logs() as logged:
            waiting = asyncio.create_task(requests.wait_until_resumed(stop))
            await asyncio.sleep(0)
            if is_resumed:
                requests.pause = None
            stop.request()
            await waiting
    assert [event["event"] for event in logged] == events


async def test_run_requests_are_merged_and_taken_once(redis_uri: str) -> None:
    """A repeated request counts once, a request for all services covers the others, and then none is left."""
    async with connect(redis_uri) as redis:
        requests = OperatorRequests(RedisClient(redis))
        for services in ([PERSON], [PERSON, ORGANISATION]):
            await operator_requests.request_run(RedisClient(redis), services, "ada")
        await requests.refresh()
        assert await requests.take_run_request() == {"PERSON", "ORGANISATION"}
        await operator_requests.request_run(RedisClient(redis), [], "ada")
        await operator_requests.request_run(RedisClient(redis), [PERSON], "ada")
        await requests.refresh()
        assert requests.has_pending
        assert await requests.take_run_request() == ALL
        await requests.refresh()
        assert not requests.has_pending
        assert await requests.take_run_request() == set()


async def test_a_rewind_moves_the_ordinal_back_and_is_recorded(redis_uri: str) -> None:
    """The ordinals, the operator and the reason of each rewind are recorded, newest first."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        await redis.set(PERSON.key, "500")
        await rewinds.rewind(scripts, PERSON, 200, by="ada", reason="a test")
        await rewinds.rewind(scripts, PERSON, 0, by="bob", reason="")
        assert await redis.get(PERSON.key) is None
        recorded = await read_rewinds(RedisClient(redis))
        assert [(each.by, each.reason, each.from_ordinal, each.to_ordinal) for each in recorded] == [
            ("bob", "", 200, 0),
            ("ada", "a test", 500, 200),
        ]


@pytest.mark.parametrize(("to", "error"), [(501, "would skip changes"), (500, "is 500 already")])
async def test_a_rewind_only_goes_back(redis_uri: str, to: int, error: str) -> None:
    """A rewind to a greater or the same ordinal is a conflict and changes nothing."""
    async with connect(redis_uri) as redis:
        await redis.set(PERSON.key, "500")
        with pytest.raises(RequestConflictError, match=error):
            await rewinds.rewind(Scripts(RedisClient(redis)), PERSON, to, by="ada", reason="")
        assert await redis.get(PERSON.key) == "500"
        assert await read_rewinds(RedisClient(redis)) == []


async def test_old_rewinds_are_dropped(redis_uri: str) -> None:
    """The script keeps the given number of newest rewinds."""
    async with connect(redis_uri) as redis:
        await redis.set(PERSON.key, "500")
        for ordinal, to in (("500", "400"), ("400", "300"), ("300", "200")):
            arguments = [ordinal, to, f"from {ordinal}", 2]
            assert (
                await Scripts(RedisClient(redis)).call("rewind_ordinal", [PERSON.key, keys.REWINDS], arguments)
                == "REWOUND"
            )
        assert await redis.lrange(keys.REWINDS, 0, -1) == ["from 300", "from 400"]


async def test_the_script_rejects_an_ordinal_that_moved(redis_uri: str) -> None:
    """An ordinal that has moved since the operator read it is not changed."""
    async with connect(redis_uri) as redis:
        await redis.set(PERSON.key, "501")
        names = [keys.ServiceKeys(PERSON.key).ordinal, keys.REWINDS]
        assert await Scripts(RedisClient(redis)).call("rewind_ordinal", names, ["500", "0", "{}", 10]) == "MOVED"
        assert await redis.get(PERSON.key) == "501"
        assert not await redis.exists(keys.REWINDS)


async def test_rewinds_are_undone_one_by_one(redis_uri: str) -> None:
    """Rewinds are undone in reverse order, and a rewind that was undone is not undone again."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        await redis.mset({PERSON.key: "500", ORGANISATION.key: "70"})
        await rewinds.rewind(scripts, PERSON, 200, by="ada", reason="")
        await rewinds.rewind(scripts, ORGANISATION, 0, by="ada", reason="")
        assert (await rewinds.undo_rewind(scripts, SERVICES, by="ada")).service == "ORGANISATION"
        assert (await rewinds.undo_rewind(scripts, SERVICES, by="ada")).service == "PERSON"
        assert await redis.mget(PERSON.key, ORGANISATION.key) == ["500", "70"]
        with pytest.raises(RequestConflictError, match="No rewind to undo"):
            await rewinds.undo_rewind(scripts, SERVICES, by="ada")


async def test_an_execution_from_before_a_rewind_cannot_advance(redis_uri: str) -> None:
    """A rewind is safe at any time: a batch in flight is fenced, so nothing is skipped."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        ledger = Ledger(scripts, PERSON.key)
        await redis.set(PERSON.key, "500")
        await ledger.begin("9f" * 12, 500, {"0": 2})
        await rewinds.rewind(scripts, PERSON, 100, by="ada", reason="")
        await settle_one(ledger, "9f" * 12, "0", 2)
        assert await ledger.advance("9f" * 12, 500, 600) == "FENCED"
        assert await ledger.ordinal() == 100


async def test_a_request_during_the_processing_of_another_does_not_expire(redis_uri: str) -> None:
    """A request that the producer has not read yet does not expire with the outcome that it records."""
    async with connect(redis_uri) as redis:
        requests = OperatorRequests(RedisClient(redis))
        await operator_requests.request_retries(RedisClient(redis), ["DEAD_LETTER.C.a"], "ada")
        await requests.refresh()
        await operator_requests.request_retries(RedisClient(redis), ["DEAD_LETTER.C.b"], "ada")
        await requests.record_retry_outcome("DEAD_LETTER.C.a", RetryRequest(by="ada", at=now(), outcome="stored"))
        assert await redis.ttl(keys.RETRY_REQUESTS) == -1


async def test_the_error_of_a_full_redis_does_not_name_the_entity(make_redis: MakeServer) -> None:
    """The subject of a dead letter, which redis-py quotes as an argument of the failed command, is not in the error."""
    async with connect(make_redis().uri) as redis:
        await redis.config_set("maxmemory", 1)
        with pytest.raises(DependencyLostError, match="keeping the outcome of a retry") as raised:
            await OperatorRequests(RedisClient(redis)).record_retry_outcome(
                "DEAD_LETTER.C.hy-hlo-1", RetryRequest(by="ada", at=now())
            )
        assert "hy-hlo-1" not in str(raised.value)
        assert "maxmemory" in str(raised.value)


async def test_a_rewind_explains_a_lower_ordinal_only_once(redis_uri: str) -> None:
    """A rewind that is older than the last known ordinal does not explain why the ordinal is lower now."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        await redis.set(PERSON.key, 1000)
        before = now()
        rewound = await rewinds.rewind(scripts, PERSON, 0, by="ada", reason="a test")
        assert await rewinds.rewind_to(RedisClient(redis), PERSON, 0, before) == rewound
        assert await rewinds.rewind_to(RedisClient(redis), PERSON, 5, before) is None
        assert await rewinds.rewind_to(RedisClient(redis), PERSON, 0, now()) is None


async def test_retry_requests_are_kept_until_they_are_processed(redis_uri: str) -> None:
    """The producer reads the open requests, and the outcome of the others can be read for a day."""
    async with connect(redis_uri) as redis:
        requests = OperatorRequests(RedisClient(redis))
        await operator_requests.request_retries(RedisClient(redis), ["DEAD_LETTER.C.a", "DEAD_LETTER.C.b"], "ada")
        await requests.refresh()
        assert requests.has_pending
        note = requests.retries["DEAD_LETTER.C.a"]
        note.outcome = "stored"
        await requests.record_retry_outcome("DEAD_LETTER.C.a", note)
        await requests.refresh()
        assert requests.retries.keys() == {"DEAD_LETTER.C.b"}
        notes = await operator_requests.read_retry_requests(RedisClient(redis))
        assert [notes[f"DEAD_LETTER.C.{name}"].outcome for name in "ab"] == ["stored", None]
        assert await redis.ttl(keys.RETRY_REQUESTS) == -1, "an open request must not expire"
        await requests.record_retry_outcome("DEAD_LETTER.C.b", RetryRequest(by="ada", at=now(), outcome="obsolete"))
        assert await redis.ttl(keys.RETRY_REQUESTS) > 0
        await operator_requests.request_retries(RedisClient(redis), ["DEAD_LETTER.C.a"], "ada")
        assert await redis.ttl(keys.RETRY_REQUESTS) == -1
