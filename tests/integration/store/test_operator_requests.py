"""Wishes of operators, from where they are made to where the producer reads them, on a real Redis."""

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
    """Who, why, and that it is over."""
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


async def test_a_pause_set_by_hand_is_a_pause(redis_uri: str) -> None:
    """What cannot be read as a note holds nevertheless."""
    async with connect(redis_uri) as redis:
        await redis.set(keys.PAUSED, "1")
        requests = OperatorRequests(RedisClient(redis))
        await requests.refresh()
        assert requests.pause


async def test_a_paused_producer_can_be_asked_to_stop(redis_uri: str) -> None:
    """The wait for the end of a pause heeds the stop flag."""
    async with connect(redis_uri) as redis:
        requests, stop = OperatorRequests(RedisClient(redis)), Stop()
        await operator_requests.pause(RedisClient(redis), "ada")
        await requests.refresh()
        stop.request()
        await requests.wait_until_resumed(stop)


@pytest.mark.parametrize(("is_resumed", "events"), [(True, ["paused", "resumed"]), (False, ["paused"])])
async def test_only_a_pause_that_ended_is_logged_as_such(
    redis_uri: str, *, is_resumed: bool, events: list[str]
) -> None:
    """A shutdown ends the wait, too, but not the pause."""
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


async def test_requests_for_runs_add_up_and_are_taken_once(redis_uri: str) -> None:
    """Asked for twice is asked for once; a request for all hides the others; then none is left."""
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


async def test_a_rewind_sets_the_ordinal_back_and_remembers(redis_uri: str) -> None:
    """Both ends, who, when and why are kept, newest first."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        await redis.set(PERSON.key, "500")
        await rewinds.rewind(scripts, PERSON, 200, by="ada", reason="a test")
        await rewinds.rewind(scripts, PERSON, 0, by="bob", reason="")
        assert await redis.get(PERSON.key) is None
        kept = await read_rewinds(RedisClient(redis))
        assert [(each.by, each.reason, each.from_ordinal, each.to_ordinal) for each in kept] == [
            ("bob", "", 200, 0),
            ("ada", "a test", 500, 200),
        ]


@pytest.mark.parametrize(("to", "words"), [(501, "would skip changes"), (500, "is 500 already")])
async def test_a_rewind_goes_back_only(redis_uri: str, to: int, words: str) -> None:
    """Forward, or nowhere, is refused and changes nothing."""
    async with connect(redis_uri) as redis:
        await redis.set(PERSON.key, "500")
        with pytest.raises(RequestConflictError, match=words):
            await rewinds.rewind(Scripts(RedisClient(redis)), PERSON, to, by="ada", reason="")
        assert await redis.get(PERSON.key) == "500"
        assert await read_rewinds(RedisClient(redis)) == []


async def test_old_rewinds_are_dropped(redis_uri: str) -> None:
    """The newest ones are kept, as many as the script is told."""
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
    """An ordinal that moved on since the operator saw it stays where it is."""
    async with connect(redis_uri) as redis:
        await redis.set(PERSON.key, "501")
        names = [keys.ServiceKeys(PERSON.key).ordinal, keys.REWINDS]
        assert await Scripts(RedisClient(redis)).call("rewind_ordinal", names, ["500", "0", "{}", 10]) == "MOVED"
        assert await redis.get(PERSON.key) == "501"
        assert not await redis.exists(keys.REWINDS)


async def test_rewinds_are_undone_one_by_one(redis_uri: str) -> None:
    """The last one first; a rewind that was taken back is not taken back again."""
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
    """A rewind is safe at any moment: what was in flight is fenced, so nothing is skipped."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        ledger = Ledger(scripts, PERSON.key)
        await redis.set(PERSON.key, "500")
        await ledger.begin("9f" * 12, 500, {"0": 2})
        await rewinds.rewind(scripts, PERSON, 100, by="ada", reason="")
        await settle_one(ledger, "9f" * 12, "0", 2)
        assert await ledger.advance("9f" * 12, 500, 600) == "FENCED"
        assert await ledger.ordinal() == 100


async def test_a_request_that_comes_while_another_is_answered_stays(redis_uri: str) -> None:
    """The producer has not seen it yet when it sets the expiry of what it has answered."""
    async with connect(redis_uri) as redis:
        requests = OperatorRequests(RedisClient(redis))
        await operator_requests.request_retries(RedisClient(redis), ["DEAD_LETTER.C.a"], "ada")
        await requests.refresh()
        await operator_requests.request_retries(RedisClient(redis), ["DEAD_LETTER.C.b"], "ada")
        await requests.record_retry_outcome("DEAD_LETTER.C.a", RetryRequest(by="ada", at=now(), outcome="stored"))
        assert await redis.ttl(keys.RETRY_REQUESTS) == -1


async def test_a_full_redis_is_told_of_without_the_entity(make_redis: MakeServer) -> None:
    """redis-py quotes the command that failed in a pipeline, and its arguments: here the subject of a dead letter."""
    async with connect(make_redis().uri) as redis:
        await redis.config_set("maxmemory", 1)
        with pytest.raises(DependencyLostError, match="keeping the outcome of a retry") as told:
            await OperatorRequests(RedisClient(redis)).record_retry_outcome(
                "DEAD_LETTER.C.hy-hlo-1", RetryRequest(by="ada", at=now())
            )
        assert "hy-hlo-1" not in str(told.value)
        assert "maxmemory" in str(told.value)


async def test_a_rewind_explains_an_ordinal_only_once(redis_uri: str) -> None:
    """What was moved on since and is gone again was lost, though somebody once rewound it to the same place."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        await redis.set(PERSON.key, 1000)
        before = now()
        done = await rewinds.rewind(scripts, PERSON, 0, by="ada", reason="a test")
        assert await rewinds.rewind_to(RedisClient(redis), PERSON, 0, before) == done
        assert await rewinds.rewind_to(RedisClient(redis), PERSON, 5, before) is None
        assert await rewinds.rewind_to(RedisClient(redis), PERSON, 0, now()) is None


async def test_requests_to_send_letters_again_stay_until_answered(redis_uri: str) -> None:
    """The producer sees those that are open; what came of the others can be read for a day."""
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
        assert await redis.ttl(keys.RETRY_REQUESTS) == -1, "what is still wished must not expire"
        await requests.record_retry_outcome("DEAD_LETTER.C.b", RetryRequest(by="ada", at=now(), outcome="obsolete"))
        assert await redis.ttl(keys.RETRY_REQUESTS) > 0
        await operator_requests.request_retries(RedisClient(redis), ["DEAD_LETTER.C.a"], "ada")
        assert await redis.ttl(keys.RETRY_REQUESTS) == -1
