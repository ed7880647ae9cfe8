"""Keys that another program wrote: one of a service fails that service, one of the status is ignored."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from shared.model import keys
from shared.model.errors import DependencyLostError, ServiceFailedError
from shared.model.records import ProducerState, RetryRequest, RunRecord, ServiceOutcome, now
from shared.model.services import load_services
from shared.runtime.events import Event
from shared.store import operator_requests, rewinds
from shared.store.codebook_cache import CodebookCache
from shared.store.heartbeat import Heartbeat, read_processes
from shared.store.import_state import read_import_state
from shared.store.ledger import Ledger, settle_all
from shared.store.operator_requests import OperatorRequests
from shared.store.post_update_flag import PostUpdateFlag
from shared.store.redis_client import RedisClient, make_redis
from shared.store.run_history import RunHistoryStore
from shared.store.scripts import Scripts
from tests.conftest import MakeServer
from tests.support.ledger_fixture import NAMES, ONE, LedgerFixture, ledger_fixture

PERSON, ORGANISATION, *_ = load_services()
DEEP = "[" * 100_000
HOSTILE = [DEEP, '{"a":' * 5000, b"\xff\xfe", "9" * 5000, '{"by":"x","at":"2020-01-01T00:00:00"}', ""]


async def put_another_type(redis: Redis, key: str) -> None:
    """Replace a key by one of a type that the importer never uses."""
    await redis.delete(key)
    await redis.xadd(key, {"a": "b"})


CALLS: dict[str, Callable[[LedgerFixture], Awaitable[object]]] = {
    "ordinal": lambda b: b.ledger.ordinal(),
    "begin": lambda b: b.ledger.begin(ONE, 0, {"0": 1}),
    "announce": lambda b: b.ledger.announce(ONE),
    "progress": lambda b: b.ledger.progress(),
    "split": lambda b: b.ledger.split(ONE, "0"),
    "fail": lambda b: b.ledger.fail(ONE, "1", "bad"),
    "advance": lambda b: b.ledger.advance(ONE, 0, 5),
}


@pytest.mark.parametrize(
    ("call", "key"),
    [
        ("ordinal", NAMES.ordinal),
        ("begin", NAMES.ordinal),
        ("announce", NAMES.execution),
        ("progress", NAMES.execution),
        ("progress", NAMES.scheduled),
        ("progress", NAMES.updated),
        ("progress", NAMES.failed),
        ("progress", NAMES.chunks),
        ("split", NAMES.chunks),
        ("fail", NAMES.errors),
        ("fail", NAMES.updated),
        ("advance", NAMES.ordinal),
        ("advance", NAMES.scheduled),
    ],
)
async def test_a_key_of_another_type_fails_its_service_by_name(redis_uri: str, call: str, key: str) -> None:
    """Whichever step meets it, the error names the key and what to do, and is not that Redis is lost."""
    async with ledger_fixture(redis_uri, {"0": 10, "1": 1}) as b:
        await put_another_type(b.redis, key)
        with pytest.raises(ServiceFailedError, match=f"^{key} in Redis has another type: delete or rename it$"):
            await CALLS[call](b)
        assert await b.redis.type(key) == "stream"


async def test_feedback_of_other_services_counts(redis_uri: str) -> None:
    """Of several calls in one round trip only that of the service with the foreign key has an error."""
    async with ledger_fixture(redis_uri, {"0": 10}) as b:
        other = Ledger(b.ledger._scripts, "OTHER")
        await other.begin(ONE, 0, {"0": 7, "1": 1})
        await put_another_type(b.redis, NAMES.chunks)
        calls = [other.settle_call(ONE, "0", 7), b.ledger.settle_call(ONE, "0", 10), other.settle_call(ONE, "1", 1)]
        first, failed, last = await settle_all(b.ledger._scripts, calls)
        assert (first, last) == ("SETTLED", "SETTLED")
        assert isinstance(failed, ServiceFailedError)
        assert str(failed).startswith(f"{NAMES.chunks} in Redis has another type")
        assert (await other.progress()).updated == 8


@pytest.mark.parametrize("stored", ["9" * 5000, "-1", "1.0", "x", " 1", "٣", b"\xff\xfe", str(2**63), "01"])
async def test_an_ordinal_that_is_none_fails_its_service(redis_uri: str, stored: str | bytes) -> None:
    """Also one of more digits than Python converts, of other digits than ASCII's, and one that is not UTF-8."""
    async with ledger_fixture(redis_uri) as b:
        await b.redis.set(NAMES.ordinal, stored)
        with pytest.raises(ServiceFailedError, match=f"^{NAMES.ordinal} in Redis is not an ordinal"):
            await b.ledger.ordinal()
        await read_import_state(RedisClient(b.redis), [PERSON])


async def test_the_greatest_ordinal_is_one(redis_uri: str) -> None:
    """The greatest 64-bit integer can be reached."""
    async with ledger_fixture(redis_uri, ordinal=2**63 - 1) as b:
        assert await b.ledger.ordinal() == 2**63 - 1


@pytest.mark.parametrize("size", ["x", "", "-1", "0", "1.5", "9" * 5000, b"\xff"])
async def test_a_ledger_with_a_size_that_is_none_fails_its_service(redis_uri: str, size: str | bytes) -> None:
    """Sizes that the importer did not write are reported by the key's name."""
    async with ledger_fixture(redis_uri, {"0": 10}) as b:
        await b.redis.hset(NAMES.chunks, "foo", size)
        with pytest.raises(ServiceFailedError, match=f"^{NAMES.chunks} in Redis holds something"):
            await b.ledger.progress()


async def test_a_counter_that_is_no_number_fails_its_service(redis_uri: str) -> None:
    """INCRBY does not work on it: the key is named."""
    async with ledger_fixture(redis_uri, {"0": 10}) as b:
        await b.redis.set(NAMES.updated, "foo")
        [reply] = await settle_all(b.ledger._scripts, [b.ledger.settle_call(ONE, "0", 10)])
        assert isinstance(reply, ServiceFailedError)
        assert str(reply).startswith(f"{NAMES.updated} in Redis holds something")


STATUS_KEYS = [
    keys.RUN,
    keys.RUNS,
    keys.SERVICES,
    keys.PROCESSES,
    keys.REWINDS,
    keys.PAUSED,
    keys.RUN_REQUESTS,
    keys.RETRY_REQUESTS,
    keys.POST_UPDATE_RUNNING,
    keys.codebook_cache("u"),
]


async def use_all(redis: Redis) -> None:
    """Do all that producer, collector and status do with the keys that serve only the status."""
    client = RedisClient(redis)
    scripts = Scripts(client)
    run = RunRecord(run_id="r", trigger="cron", services=1, started_at=now())
    history = RunHistoryStore(client)
    await history.service_histories()
    await history.unfinished_run()
    await history.save(run, ServiceOutcome(service="PERSON", result="settled", ended_at=now()))
    await history.append(run)
    await Heartbeat(scripts, "producer", ProducerState, 1).record()
    await read_processes(client)
    requests = OperatorRequests(client)
    await requests.refresh()
    requests.requested_services = frozenset({"PERSON"})
    await requests.take_run_request()
    await requests.record_retry_outcome("s", RetryRequest(by="a", at=now(), outcome="stored"))
    await operator_requests.read_retry_requests(client)
    await rewinds.rewind_to(client, PERSON, 0, now())
    await read_import_state(client, [PERSON, ORGANISATION])
    await PostUpdateFlag(scripts).start("r")
    await CodebookCache(client).get("u")


@pytest.mark.parametrize("key", STATUS_KEYS)
async def test_a_key_of_the_status_of_another_type_is_logged_once(redis_uri: str, key: str) -> None:
    """Nothing raises, everything else is done, and the log names the key, once for each client."""
    async with make_redis(redis_uri) as redis:
        await put_another_type(redis, key)
        with capture_logs() as logged:
            await use_all(redis)
        ignored = [entry for entry in logged if entry["event"] == Event.REDIS_KEY_IGNORED]
        if key not in (keys.RUN, keys.PAUSED, keys.codebook_cache("u"), keys.POST_UPDATE_RUNNING):
            assert await redis.type(key) == "stream"
        assert [entry["key"] for entry in ignored] == [key]


@pytest.mark.parametrize("value", HOSTILE)
async def test_hostile_contents_of_the_status_are_ignored(redis_uri: str, value: str | bytes) -> None:
    """Deep JSON, bytes that are not UTF-8, numbers of thousands of digits, times without a zone: nothing raises."""
    async with make_redis(redis_uri) as redis:
        for key in (keys.RUN, keys.PAUSED, keys.POST_UPDATE_RUNNING, keys.codebook_cache("u"), keys.process("p")):
            await redis.set(key, value)
        for key in (keys.SERVICES, keys.RUN_REQUESTS, keys.RETRY_REQUESTS):
            await redis.hset(key, mapping={"PERSON": value, b"\xff\xfe": value})
        for key in (keys.RUNS, keys.REWINDS):
            await redis.rpush(key, value)
        await redis.zadd(keys.PROCESSES, {"p": 1e15, b"\xff": 1e15})
        await use_all(redis)


async def test_a_request_whose_name_is_no_text_is_none(redis_uri: str) -> None:
    """It could not be removed by its name, so the producer would be asked for it every second."""
    async with make_redis(redis_uri) as redis:
        await redis.hset(keys.RUN_REQUESTS, b"\xff\xfe", "{}")
        requests = OperatorRequests(RedisClient(redis))
        await requests.refresh()
        assert not requests.has_pending


async def test_a_rewind_that_cannot_be_recorded_moves_nothing(redis_uri: str) -> None:
    """The operator is told which key is in the way."""
    async with ledger_fixture(redis_uri, ordinal=9) as b:
        await put_another_type(b.redis, keys.REWINDS)
        with pytest.raises(DependencyLostError, match=f"^{keys.REWINDS} in Redis has another type"):
            await rewinds.rewind(b.ledger._scripts, PERSON, 3, by="ada", reason="")
        assert await b.ledger.ordinal() == 9


async def test_a_key_that_is_denied_fails_its_service_once_the_process_works(make_redis: MakeServer) -> None:
    """What an administrator took from the user while the process runs concerns what uses that key alone."""
    server = make_redis(config="user importer on >secret ~* &* +@all")
    async with make_redis_as(server.uri) as redis, Redis.from_url(server.uri) as admin:
        scripts = Scripts(RedisClient(redis))
        person, other = Ledger(scripts, NAMES.ordinal), Ledger(scripts, "OTHER")
        assert await person.begin(ONE, 0, {"0": 1}) == "BEGUN"
        await admin.execute_command("ACL", "SETUSER", "importer", "resetkeys", "~OTHER*", "~CURRENT*")
        with pytest.raises(ServiceFailedError, match=f"{NAMES.ordinal}.* in Redis is denied to this user"):
            await person.progress()
        with pytest.raises(ServiceFailedError, match=f"^{NAMES.ordinal} in Redis is denied to this user"):
            await person.ordinal()
        assert await other.begin(ONE, 0, {"0": 1}) == "BEGUN"


def make_redis_as(uri: str) -> Redis:
    return make_redis(uri.replace("//", "//importer:secret@"))


async def test_a_command_that_is_denied_while_running_is_a_lost_dependency(make_redis: MakeServer) -> None:
    """The process ends to be started again, since its permissions were right before."""
    server = make_redis(config="user importer on >secret ~* &* +@all")
    async with make_redis_as(server.uri) as redis, Redis.from_url(server.uri) as admin:
        ledger = Ledger(Scripts(RedisClient(redis)), NAMES.ordinal)
        assert await ledger.begin(ONE, 0, {"0": 1}) == "BEGUN"
        for rule in ("-hgetall", "-evalsha"):
            await admin.execute_command("ACL", "SETUSER", "importer", rule)
            with pytest.raises(DependencyLostError, match=r"Redis denied .*; check REDIS_URI"):
                await asyncio.wait_for(ledger.progress(), 5)
