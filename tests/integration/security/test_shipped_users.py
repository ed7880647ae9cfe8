"""The permissions that deploy/ gives each process: enough for a complete import, and nothing beyond it."""

import re
import runpy
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import redis
from nats.js.api import ConsumerConfig

from demo.mankeli.comparison import compare, fetch_expected
from demo.mankeli.store import MankeliStore
from demo.servers.processes import Server
from shared.broker.connection import Broker
from shared.model import keys
from shared.model.services import load_services
from tests.support.brokers import CHANNELS, connected, count
from tests.support.programs import ProcessUnderTest, run
from tests.support.restricted_users import NATS_USERS, REDIS_USERS, ROOT, RestrictedUsers, as_user
from tests.support.waiting import wait_until_async

SERVICES = load_services()


@pytest.fixture
def import_output(restricted_users: RestrictedUsers, tmp_path: Path) -> Iterator[str]:
    """Run a complete import by three users with these permissions, and yield the producer's output."""
    with ExitStack() as stack:
        db = tmp_path / "store"
        # Put before the producer starts, which fetches the persons at once.
        assert restricted_users.sisu.put("PERSON", {"id": "bad", "documentState": "ACTIVE"})
        # The collector may not create streams, so the producer, which may, starts first.
        producer = stack.enter_context(ProcessUnderTest("producer", "--once", **restricted_users.variables("producer")))
        producer.wait_for('"lock_acquired"')
        stack.enter_context(ProcessUnderTest("ack_collector", **restricted_users.variables("ack_collector"))).wait_for(
            '"started"'
        )
        mankeli = ProcessUnderTest(
            "demo.mankeli", "--db", str(db), "--fail-id", "bad", **restricted_users.variables("mankeli")
        )
        stack.enter_context(mankeli).wait_for("ready")
        outcome = producer.outcome()
        assert outcome.code == 0, outcome.output
        store = MankeliStore(db)
        for service in SERVICES[1:]:
            assert compare(store, service, fetch_expected(restricted_users.sisu.uri, service)) is None
        store.close()
        yield outcome.output


def test_a_complete_import_needs_no_more(import_output: str) -> None:
    """With these permissions everything is imported, including splits and dead letters, and no access is denied."""
    assert "permissions violation" not in import_output.lower()
    assert "refused" not in import_output
    assert "denied" not in import_output
    assert "purge_failed" not in import_output
    assert '"dead_letters_published"' in import_output


def test_the_files_are_up_to_date() -> None:
    """The files in deploy/ are what generate_permissions.py generates from the built-in table."""
    generator = runpy.run_path(str(ROOT / "deploy" / "generate_permissions.py"))
    assert generator["nats_users"](SERVICES) == NATS_USERS
    assert generator["redis_users"](SERVICES) == REDIS_USERS


async def is_denied(uri: str, user: str, subject: str) -> bool:
    """Return whether NATS denies this user to publish on a subject.

    A second message, on a subject that is always denied, shows when the result of the first one is known.
    """
    errors: list[str] = []

    async def record(error: Exception) -> None:
        errors.append(str(error).lower())

    connection = await nats.connect(as_user(uri, user), error_cb=record)

    try:
        await connection.publish(subject, b"{}")
        await connection.publish("always.denied", b"{}")
        await wait_until_async(lambda: any("always.denied" in error for error in errors), "the second error")
        return any(f'publish to "{subject.lower()}"' in error for error in errors)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("ack_collector", "ORI_PERSON_CHANNEL"),
        ("ack_collector", "POST_UPDATE"),
        ("ack_collector", "SCHEDULER_STATUS_CHANNEL"),
        ("ack_collector", "DEAD_LETTER.ORI_PERSON_CHANNEL.x"),
        ("ack_collector", "$JS.API.STREAM.PURGE.IMPORTER"),
        ("ack_collector", "$JS.API.CONSUMER.MSG.NEXT.IMPORTER.mankeli"),
        ("mankeli", "ORI_PERSON_CHANNEL"),
        ("mankeli", "POST_UPDATE"),
        ("mankeli", "DEAD_LETTER.ORI_PERSON_CHANNEL.x"),
        ("mankeli", "$JS.API.STREAM.PURGE.IMPORTER"),
        ("mankeli", "$JS.API.STREAM.DELETE.IMPORTER"),
        ("mankeli", "$JS.API.CONSUMER.DELETE.IMPORTER.mankeli"),
        ("mankeli", "$JS.API.CONSUMER.MSG.NEXT.IMPORTER_FEEDBACK.ack-collector"),
        ("producer", "SCHEDULER_STATUS_CHANNEL"),
        ("producer", "$JS.API.CONSUMER.MSG.NEXT.IMPORTER_FEEDBACK.ack-collector"),
        ("producer", "$JS.API.STREAM.DELETE.IMPORTER"),
    ],
)
async def test_other_access_to_nats_is_denied(restricted_nats: Server, user: str, subject: str) -> None:
    """Only the producer sends chunks, only mankelis send feedback, only collectors read it, no user deletes streams."""
    assert await is_denied(restricted_nats.uri, user, subject)


async def test_necessary_access_to_nats_is_allowed(restricted_nats: Server) -> None:
    """The check for denied access returns False for what a user may publish."""
    assert not await is_denied(restricted_nats.uri, "producer", "ORI_PERSON_CHANNEL")
    assert not await is_denied(restricted_nats.uri, "mankeli", "SCHEDULER_STATUS_CHANNEL")


async def test_a_worker_cannot_have_a_reply_written_over_a_dead_letter(restricted_nats: Server) -> None:
    """NATS checks no permission for the subject of a reply; from the workers' account it leads nowhere."""
    uri, subject = restricted_nats.uri, keys.dead_letter_subject(CHANNELS[0], "x")
    async with connected(as_user(uri, "producer"), name="producer") as broker:
        await broker.publish(keys.DEAD_LETTER_STREAM, subject, b"the only copy", "1")
        worker = await nats.connect(as_user(uri, "mankeli"))
        jetstream = worker.jetstream()
        await jetstream.add_consumer(keys.CHUNK_STREAM, ConsumerConfig(durable_name="w", filter_subject=CHANNELS[0]))
        fetch = f"$JS.API.CONSUMER.MSG.NEXT.{keys.CHUNK_STREAM}.w"
        await broker.publish(keys.CHUNK_STREAM, CHANNELS[0], b"{}", "2")
        for request, data in (
            (f"$JS.API.STREAM.INFO.{keys.CHUNK_STREAM}", b""),
            (f"$JS.API.CONSUMER.INFO.{keys.CHUNK_STREAM}.w", b""),
            (fetch, b'{"batch":1,"no_wait":true}'),
            (fetch, b'{"batch":1,"no_wait":true}'),
            (keys.FEEDBACK_SUBJECT, b"{}"),
        ):
            await worker.publish(request, data, reply=subject)
        await worker.flush()
        # It has done what it was asked, in order: the feedback is there.
        await wait_until_async(lambda: _has_feedback(broker), "the last request is carried out")
        stored = await broker.dead_letters.get(subject)
        assert stored
        assert stored.data == b"the only copy"
        await worker.close()


async def _has_feedback(broker: Broker) -> bool:
    return await count(broker.jetstream, keys.FEEDBACK_STREAM) == 1


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("mankeli", ("SET", "LATEST_PERSON_ORDINAL", "1")),
        ("mankeli", ("GET", "LATEST_PERSON_ORDINAL")),
        ("mankeli", ("SET", "CURRENT_EXECUTION_HASH", "x")),
        ("mankeli", ("HSET", "LATEST_PERSON_ORDINAL_CHUNKS", "0", "1")),
        ("mankeli", ("PUBLISH", "CURRENT_EXECUTION_HASH", "x")),
        ("mankeli", ("FLUSHALL",)),
        ("mankeli", ("CLIENT", "PAUSE", "1")),
        ("mankeli", ("CLIENT", "KILL", "TYPE", "normal")),
        ("mankeli", ("CLIENT", "LIST")),
        ("ack_collector", ("SET", "LATEST_PERSON_ORDINAL", "1")),
        ("ack_collector", ("SET", "LATEST_PERSON_ORDINAL_SCHEDULED", "1")),
        ("ack_collector", ("SET", "CURRENT_EXECUTION_HASH", "x")),
        ("ack_collector", ("DEL", "IMPORTER_PRODUCER_LOCK")),
        ("ack_collector", ("FLUSHALL",)),
        ("ack_collector", ("CONFIG", "GET", "*")),
        ("ack_collector", ("CLIENT", "PAUSE", "1")),
        ("operator", ("CLIENT", "KILL", "TYPE", "normal")),
        ("producer", ("FLUSHALL",)),
        ("producer", ("KEYS", "*")),
        ("producer", ("CONFIG", "GET", "*")),
        ("producer", ("SET", "FOREIGN_KEY", "x")),
        ("producer", ("CLIENT", "LIST")),
        ("default", ("GET", "LATEST_PERSON_ORDINAL")),
    ],
)
def test_other_access_to_redis_is_denied(restricted_redis: Server, user: str, command: tuple[Any, ...]) -> None:
    """Mankelis read one key, collectors change no ordinal, and no user flushes, lists or changes foreign keys."""
    client = redis.Redis.from_url(as_user(restricted_redis.uri, user))
    with pytest.raises((redis.exceptions.NoPermissionError, redis.exceptions.AuthenticationError)):
        client.execute_command(*command)


def test_nobody_logs_in_to_redis_as_default(restricted_redis: Server) -> None:
    """The default user keeps its rights for the replay of the append-only file, and no password lets it in."""
    for password in ("", "change-me-default"):
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis(port=restricted_redis.port, username="default", password=password).get("x")


def test_a_missing_permission_is_reported(restricted_nats: Server, restricted_redis: Server) -> None:
    """A producer with a mankeli's permissions in Redis ends with exit code 2 and names the denied script."""
    outcome = run(
        "producer",
        "--once",
        NATS_URI=as_user(restricted_nats.uri, "producer"),
        REDIS_URI=as_user(restricted_redis.uri, "mankeli"),
        SIS_API_URL="http://127.0.0.1:1",
        PORT="0",
    )
    assert outcome.code == 2, outcome.output
    assert re.search(r"Redis denied (record_heartbeat|hold_lock) for IMPORTER_PRO", outcome.output)
    assert "change-me" not in outcome.output
