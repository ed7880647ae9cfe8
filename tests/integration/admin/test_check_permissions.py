"""`importer check` finds the permissions that are missing, by read-only probes."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
import redis
from nats.js.api import ConsumerConfig, StreamInfo

from admin.checks.permissions.nats import probe_nats
from admin.checks.permissions.redis import probe_redis
from admin.checks.permissions.report import MissingPermissions, make_finding
from shared.broker.collector_consumer import ensure_collector_consumer
from shared.broker.jetstream_api import JetStreamApi
from shared.broker.operator_connection import OperatorConnection
from shared.broker.streams import ensure_stream, stream_configs
from shared.model import keys
from shared.model.permissions import RedisPermission, User, command_rule, redis_permissions
from shared.model.services import load_services
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect_to_redis
from tests.conftest import MakeServer
from tests.support.brokers import settings_for
from tests.support.programs import Outcome, run
from tests.support.restricted_users import NATS_USERS, REDIS_USERS, RestrictedUsers, as_user
from tests.support.waiting import wait_until

SERVICES = load_services()
FILE = "deploy/file"


def check(restricted_users: RestrictedUsers, user: str, **variables: str) -> tuple[Outcome, dict[str, dict[str, str]]]:
    """Run `importer check` as this user; return the outcome and the findings by subject."""
    settings = restricted_users.variables(user) | {"SERVICES": "PERSON,PLAN"} | variables
    outcome = run("admin", "check", "--json", **settings)
    return outcome, {finding["subject"]: finding for finding in json.loads(outcome.output)}


def rules(missing: MissingPermissions) -> set[str]:
    """Return the missing permissions as rules of a users file."""
    return {permission.rule for permission in missing.permissions}


async def missing_in_nats(uri: str, user: str) -> MissingPermissions:
    """Return the permissions that this user is missing in NATS."""
    connection = await OperatorConnection.connect(settings_for(as_user(uri, user)))
    try:
        return await probe_nats(connection, SERVICES)
    finally:
        await connection.close()


async def missing_in_redis(uri: str) -> MissingPermissions:
    """Return the permissions that the user of this address is missing in Redis."""
    async with connect_to_redis(uri) as client:
        missing, other = await probe_redis(RedisClient(client), SERVICES)
    assert other is None
    return missing


def test_the_producers_user_has_all_permissions(restricted_users: RestrictedUsers) -> None:
    """With the shipped permissions and the producer's settings nothing is missing, even before any stream exists."""
    outcome, findings = check(restricted_users, "producer")
    assert outcome.code == 0, outcome.output
    assert {findings[f"permissions in {server}"]["result"] for server in ("Redis", "NATS")} == {"ok"}


def test_missing_permissions_of_an_operator_are_a_warning(restricted_users: RestrictedUsers) -> None:
    """An operator may neither publish chunks nor subscribe to progress, which is a warning and not an error."""
    outcome, findings = check(restricted_users, "operator")
    assert outcome.code == 0, outcome.output
    for server, permission in (("Redis", "~CURRENT_EXECUTION_HASH"), ("NATS", "publish ORI_PERSON_CHANNEL")):
        warning = findings[f"permissions in {server}"]
        assert (warning["result"], permission in warning["text"]) == ("warning", True)
        assert "enough for an operator" in warning["text"]
        assert "docs/operations/permissions.md" in warning["text"]


def test_the_permissions_of_another_process_are_an_error(restricted_users: RestrictedUsers) -> None:
    """With the collector's users neither the producer nor `importer` can work, and what is missing is reported."""
    outcome, findings = check(restricted_users, "ack_collector")
    assert outcome.code == 1
    assert findings["Redis"]["result"] == "warning"
    assert "lacks +multi," in findings["permissions in Redis"]["text"]
    assert (
        "lacks subscribe _INBOX_operator.>, publish $JS.API.CONSUMER.LIST.IMPORTER"
        in findings["permissions in NATS"]["text"]
    )
    assert {findings[f"permissions in {server}"]["result"] for server in ("Redis", "NATS")} == {"error"}


@pytest.mark.parametrize(
    ("permission", "rule"),
    [
        ("none of them", None),
        ("&LATEST_PLAN_ORDINAL_PROGRESS", "&LATEST_PLAN_ORDINAL_PROGRESS"),
        ("+subscribe", "+subscribe"),
        ("+exec", "+exec"),
        ("~POST_UPDATE_RUNNING", "~POST_UPDATE_RUNNING"),
        ("+script|load", "+script|load"),
        ("~LATEST_PLAN_ORDINAL_CHUNKS", "~LATEST_PLAN_ORDINAL_CHUNKS"),
    ],
)
async def test_a_permission_that_the_producer_is_missing_in_redis_is_an_error(
    make_redis: MakeServer, permission: str, rule: str | None
) -> None:
    """Each kind of permission is reported as the rule that belongs into the users file."""
    users = re.sub(rf" {re.escape(permission)}(?= |\n)", "", REDIS_USERS)
    server = make_redis(config="aclfile $FILES/users.acl", files={"users.acl": users})
    missing = await missing_in_redis(as_user(server.uri, "producer"))
    assert rules(missing) == ({rule} if rule else set())
    finding = make_finding("Redis", missing, FILE)
    assert finding.result == ("error" if rule else "ok")
    assert (rule or "") in finding.text


@pytest.mark.parametrize("channel", ["ORI_PERSON_CHANNEL", "OSUVA_PLAN_CHANNEL", "POST_UPDATE", "DEAD_LETTER.>"])
async def test_a_channel_that_the_producer_may_not_publish_to_is_an_error(make_nats: MakeServer, channel: str) -> None:
    """A channel that was forgotten in the users file, such as that of a new service, is reported."""
    server = make_nats(config=NATS_USERS.replace(f'          "{channel}"\n', ""))
    missing = await missing_in_nats(server.uri, "producer")
    assert rules(missing) >= {f"publish {channel.replace('>', 'ORI_PERSON_CHANNEL.>')}"}
    assert make_finding("NATS", missing, FILE).result == "error"


async def test_every_permission_of_the_producer_in_nats_is_probed(make_nats: MakeServer) -> None:
    """A user who may only publish to one channel is missing all other permissions of the shipped user."""
    shipped = NATS_USERS.partition("user: producer")[2].partition("}\n    {")[0]
    expected = {rule for rule in re.findall(r'"([A-Z_$][^"]*)"', shipped) if not rule.startswith("ORI_PERSON_CHANNEL")}
    users = '{user: one, password: change-me-one, permissions: {publish: ["ORI_PERSON_CHANNEL"], subscribe: ["none"]}}'
    server = make_nats(config=f"authorization {{ users = [{users}] }}")
    missing = {
        re.sub(r"^\w+ |(?<=DEAD_LETTER\.).*(?=>)", "", rule) for rule in rules(await missing_in_nats(server.uri, "one"))
    }
    assert expected - missing == {
        "$JS.API.STREAM.PURGE.IMPORTER",  # it cannot be probed safely
        # Which of two requests creates the collectors' consumer depends on the client; the user may make both.
        "$JS.API.CONSUMER.CREATE.IMPORTER_FEEDBACK.ack-collector",
    }
    assert missing <= expected


async def test_every_permission_of_the_producer_in_redis_is_probed(make_redis: MakeServer) -> None:
    """All commands, keys and channels of the shipped user are probed, but for a few that the client needs itself."""
    shipped = next(line for line in REDIS_USERS.splitlines() if line.startswith("user producer")).split()
    server = make_redis(config="user nowhere on >change-me-nowhere resetkeys resetchannels +@all")
    missing = rules(await missing_in_redis(as_user(server.uri, "nowhere")))
    assert missing == {word for word in shipped if word[0] in "~&"}
    # Commands are probed in the form in which the table has them; the commands of scripts run inside the scripts.
    commands = {command_rule(command) for each in redis_permissions(SERVICES) for command in each.commands}
    shipped_commands = {word for word in shipped if word[0] == "+"}
    assert shipped_commands - commands == {"+@connection", "+client|setname", "+incrby", "+unsubscribe"}
    assert {command_rule(command) for each in producers() for command in each.commands} <= shipped_commands


async def test_a_redis_that_rejects_writes_is_an_error(make_redis: MakeServer) -> None:
    """The same probe detects a replica, which rejects writes although no permission is missing."""
    server = make_redis(config="replicaof 127.0.0.1 1")
    async with connect_to_redis(server.uri) as client:
        missing, other = await probe_redis(RedisClient(client), SERVICES)
    assert not missing.permissions
    assert other
    assert "read only" in other


async def test_a_probe_changes_nothing(nats_uri: str, redis_uri: str) -> None:
    """A probe by a user with all permissions changes no key, message, stream or consumer, and publishes nothing."""
    with redis.Redis.from_url(redis_uri, decode_responses=True) as client:
        fill(client)
        keys_before = contents(client)
        subscriber = client.pubsub()
        subscriber.psubscribe("*")
        wait_until(subscriber.get_message, "it is subscribed")
        async with streams_with_messages(nats_uri) as state:
            streams_before = await state()
            for _ in range(2):
                assert not (await missing_in_redis(redis_uri)).permissions
                assert not (await missing_in_nats(nats_uri, "anybody")).permissions
            assert await state() == streams_before
        assert contents(client) == keys_before
        client.publish("the end", "")
        assert wait_until(subscriber.get_message, "the next message")["channel"] == "the end"
        subscriber.close()


def producers() -> list[RedisPermission]:
    """Return the permissions in Redis that the producer needs."""
    return [each for each in redis_permissions(SERVICES) if User.PRODUCER in each.users]


def contents(client: redis.Redis) -> dict[str, object]:
    """Return every key with its content and its time to live."""
    return {key: (client.dump(key), client.pttl(key)) for key in client.scan_iter()}


def fill(client: redis.Redis) -> None:
    """Store something under every key that the project uses."""
    for service in SERVICES:
        names = keys.ServiceKeys(service.key)
        client.mset(dict.fromkeys([names.ordinal, names.scheduled, names.updated, names.failed, names.execution], "1"))
        client.hset(names.chunks, "0", "1")
        client.hset(names.errors, "f", "text")
    client.mset(
        dict.fromkeys([keys.CURRENT_EXECUTION_HASH, keys.POST_UPDATE_RUNNING, keys.PRODUCER_LOCK, keys.PAUSED], "x")
        | {keys.RUN: "{}", keys.process("*"): "{}", keys.codebook_cache("*"): "{}"}
    )
    for key in (keys.RUN_REQUESTS, keys.RETRY_REQUESTS, keys.SERVICES):
        client.hset(key, "f", "before")
    for key in (keys.RUNS, keys.REWINDS):
        client.rpush(key, *"abc")
    client.zadd(keys.PROCESSES, {"a": 0, "b": 1e15})


@asynccontextmanager
async def streams_with_messages(uri: str) -> AsyncIterator[Any]:
    """Create the project's streams with a message on each subject; yield a function that reads their whole state."""
    client = await nats.connect(uri)
    jetstream = client.jetstream()
    configs = stream_configs([service.channel for service in SERVICES], 1)
    for config in configs:
        await ensure_stream(JetStreamApi(client, 5), config)
    await ensure_collector_consumer(JetStreamApi(client, 5))
    await jetstream.add_consumer(keys.CHUNK_STREAM, ConsumerConfig(durable_name="mankeli"))
    dead_letters = [keys.dead_letter_subject(service.channel, "importer-check") for service in SERVICES]
    for subject in [*(service.channel for service in SERVICES), keys.POST_UPDATE_SUBJECT, *dead_letters]:
        await jetstream.publish(subject, b"{}")

    async def state() -> Sequence[object]:
        infos: list[StreamInfo] = await jetstream.streams_info()
        consumers = [await jetstream.consumers_info(str(info.config.name)) for info in infos]
        return [
            sorted((str(info.config), str(info.state)) for info in infos),
            sorted((each.name, str(each.config), each.num_pending) for some in consumers for each in some),
        ]

    try:
        yield state
    finally:
        await client.close()
