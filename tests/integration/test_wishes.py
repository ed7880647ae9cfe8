"""Wishes of operators, from where they are made to where the producer reads them, on a real Redis."""

import pytest

from operating import wishes
from operating.wishes import RefusedError
from producer.control import ALL, Control, read_rewinds
from shared import keys
from shared.errors import DependencyLostError
from shared.ledger import Ledger
from shared.records import RetryNote, now
from shared.redis_client import Scripts
from shared.redis_client import make_redis as connect
from shared.services import load_services
from shared.stop import Stop
from tests.conftest import MakeServer

PERSON, ORGANISATION, *_ = SERVICES = load_services()


async def test_a_pause_reaches_the_producer_and_ends(redis_uri: str) -> None:
    """Who, why, and that it is over."""
    async with connect(redis_uri) as redis:
        control = Control(redis)
        await wishes.pause(redis, "ada", "upgrade")
        await control.look()
        assert control.pause
        assert (control.pause.by, control.pause.why) == ("ada", "upgrade")
        assert await wishes.resume(redis)
        assert not await wishes.resume(redis)
        await control.look()
        assert control.pause is None


async def test_a_pause_set_by_hand_is_a_pause(redis_uri: str) -> None:
    """What cannot be read as a note holds nevertheless."""
    async with connect(redis_uri) as redis:
        await redis.set(keys.PAUSED, "1")
        control = Control(redis)
        await control.look()
        assert control.pause


async def test_a_paused_producer_can_be_asked_to_stop(redis_uri: str) -> None:
    """The wait for the end of a pause heeds the stop flag."""
    async with connect(redis_uri) as redis:
        control, stop = Control(redis), Stop()
        await wishes.pause(redis, "ada")
        await control.look()
        stop.request()
        await control.wait_until_resumed(stop)


async def test_requests_for_runs_add_up_and_are_taken_once(redis_uri: str) -> None:
    """Asked for twice is asked for once; a request for all hides the others; then none is left."""
    async with connect(redis_uri) as redis:
        control = Control(redis)
        for services in ([PERSON], [PERSON, ORGANISATION]):
            await wishes.request_run(redis, services, "ada")
        await control.look()
        assert await control.take_run() == {"PERSON", "ORGANISATION"}
        await wishes.request_run(redis, [], "ada")
        await wishes.request_run(redis, [PERSON], "ada")
        await control.look()
        assert control.wishes
        assert await control.take_run() == ALL
        await control.look()
        assert not control.wishes
        assert await control.take_run() == set()


async def test_a_rewind_sets_the_ordinal_back_and_remembers(redis_uri: str) -> None:
    """Both ends, who, when and why are kept, newest first."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(redis)
        await redis.set(PERSON.key, "500")
        await wishes.rewind(scripts, PERSON, 200, by="ada", why="a test")
        await wishes.rewind(scripts, PERSON, 0, by="bob", why="")
        assert await redis.get(PERSON.key) is None
        kept = await read_rewinds(redis)
        assert [(each.by, each.why, each.from_ordinal, each.to_ordinal) for each in kept] == [
            ("bob", "", 200, 0),
            ("ada", "a test", 500, 200),
        ]


@pytest.mark.parametrize(("to", "words"), [(501, "would skip changes"), (500, "is 500 already")])
async def test_a_rewind_goes_back_only(redis_uri: str, to: int, words: str) -> None:
    """Forward, or nowhere, is refused and changes nothing."""
    async with connect(redis_uri) as redis:
        await redis.set(PERSON.key, "500")
        with pytest.raises(RefusedError, match=words):
            await wishes.rewind(Scripts(redis), PERSON, to, by="ada", why="")
        assert await redis.get(PERSON.key) == "500"
        assert await read_rewinds(redis) == []


async def test_old_rewinds_are_dropped(redis_uri: str) -> None:
    """The newest ones are kept, as many as the script is told."""
    async with connect(redis_uri) as redis:
        await redis.set(PERSON.key, "500")
        for ordinal, to in (("500", "400"), ("400", "300"), ("300", "200")):
            arguments = [ordinal, to, f"from {ordinal}", 2]
            assert await Scripts(redis).call("rewind_ordinal", [PERSON.key, keys.REWINDS], arguments) == "REWOUND"
        assert await redis.lrange(keys.REWINDS, 0, -1) == ["from 300", "from 400"]


async def test_the_script_refuses_an_ordinal_that_moved(redis_uri: str) -> None:
    """An ordinal that moved on since the operator saw it stays where it is."""
    async with connect(redis_uri) as redis:
        await redis.set(PERSON.key, "501")
        names = [keys.ServiceKeys(PERSON.key).ordinal, keys.REWINDS]
        assert await Scripts(redis).call("rewind_ordinal", names, ["500", "0", "{}", 10]) == "MOVED"
        assert await redis.get(PERSON.key) == "501"
        assert not await redis.exists(keys.REWINDS)


async def test_rewinds_are_taken_back_one_by_one(redis_uri: str) -> None:
    """The last one first; a rewind that was taken back is not taken back again."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(redis)
        await redis.mset({PERSON.key: "500", ORGANISATION.key: "70"})
        await wishes.rewind(scripts, PERSON, 200, by="ada", why="")
        await wishes.rewind(scripts, ORGANISATION, 0, by="ada", why="")
        assert (await wishes.undo_rewind(scripts, SERVICES, by="ada")).service == "ORGANISATION"
        assert (await wishes.undo_rewind(scripts, SERVICES, by="ada")).service == "PERSON"
        assert await redis.mget(PERSON.key, ORGANISATION.key) == ["500", "70"]
        with pytest.raises(RefusedError, match="no rewind to take back"):
            await wishes.undo_rewind(scripts, SERVICES, by="ada")


async def test_an_execution_from_before_a_rewind_cannot_advance(redis_uri: str) -> None:
    """A rewind is safe at any moment: what was in flight is fenced, so nothing is skipped."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(redis)
        ledger = Ledger(scripts, PERSON.key)
        await redis.set(PERSON.key, "500")
        await ledger.begin("9f" * 12, 500, {"0": 2})
        await wishes.rewind(scripts, PERSON, 100, by="ada", why="")
        await ledger.settle("9f" * 12, "0", 2)
        assert await ledger.advance("9f" * 12, 500, 600) == "FENCED"
        assert await ledger.ordinal() == 100


async def test_a_request_that_comes_while_another_is_answered_stays(redis_uri: str) -> None:
    """The producer has not seen it yet when it sets the expiry of what it has answered."""
    async with connect(redis_uri) as redis:
        control = Control(redis)
        await wishes.request_retries(redis, ["DEAD_LETTER.C.a"], "ada")
        await control.look()
        await wishes.request_retries(redis, ["DEAD_LETTER.C.b"], "ada")
        await control.answer_retry("DEAD_LETTER.C.a", RetryNote(by="ada", at=now(), outcome="stored"))
        assert await redis.ttl(keys.RETRY_REQUESTS) == -1


async def test_a_full_redis_is_told_of_without_the_entity(make_redis: MakeServer) -> None:
    """redis-py quotes the command that failed in a pipeline, and its arguments: here the subject of a dead letter."""
    async with connect(make_redis().uri) as redis:
        await redis.config_set("maxmemory", 1)
        with pytest.raises(DependencyLostError, match="send a dead letter again") as told:
            await Control(redis).answer_retry("DEAD_LETTER.C.hy-hlo-1", RetryNote(by="ada", at=now()))
        assert "hy-hlo-1" not in str(told.value)
        assert "maxmemory" in str(told.value)


async def test_a_rewind_explains_an_ordinal_only_once(redis_uri: str) -> None:
    """What was moved on since and is gone again was lost, though somebody once rewound it to the same place."""
    async with connect(redis_uri) as redis:
        scripts = Scripts(redis)
        await redis.set(PERSON.key, 1000)
        before = now()
        done = await wishes.rewind(scripts, PERSON, 0, by="ada", why="a test")
        control = Control(redis)
        assert await control.rewound(PERSON, 0, before) == done
        assert await control.rewound(PERSON, 5, before) is None
        assert await control.rewound(PERSON, 0, now()) is None


async def test_requests_to_send_letters_again_stay_until_answered(redis_uri: str) -> None:
    """The producer sees those that are open; what came of the others can be read for a day."""
    async with connect(redis_uri) as redis:
        control = Control(redis)
        await wishes.request_retries(redis, ["DEAD_LETTER.C.a", "DEAD_LETTER.C.b"], "ada")
        await control.look()
        assert control.wishes
        note = control.retries["DEAD_LETTER.C.a"]
        note.outcome = "stored"
        await control.answer_retry("DEAD_LETTER.C.a", note)
        await control.look()
        assert control.retries.keys() == {"DEAD_LETTER.C.b"}
        notes = await wishes.retry_notes(redis)
        assert [notes[f"DEAD_LETTER.C.{name}"].outcome for name in "ab"] == ["stored", None]
        assert await redis.ttl(keys.RETRY_REQUESTS) == -1, "what is still wished must not expire"
        await control.answer_retry("DEAD_LETTER.C.b", RetryNote(by="ada", at=now(), outcome="obsolete"))
        assert await redis.ttl(keys.RETRY_REQUESTS) > 0
        await wishes.request_retries(redis, ["DEAD_LETTER.C.a"], "ada")
        assert await redis.ttl(keys.RETRY_REQUESTS) == -1
