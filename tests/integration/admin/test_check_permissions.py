"""`importer check` finds the rights that are missing, by looking only."""

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
    """Run it as this user; its findings by their subjects."""
    services = {"SERVICES": "PERSON,PLAN"}
    outcome = run("admin", "check", "--json", **restricted_users.variables(user) | services | variables)
    return outcome, {finding["subject"]: finding for finding in json.loads(outcome.output)}


def rules(missing: MissingPermissions) -> set[str]:
    return {permission.rule for permission in missing.permissions}


async def missing_in_nats(uri: str, user: str) -> MissingPermissions:
    connection = await OperatorConnection.connect(settings_for(as_user(uri, user)))
    try:
        return await probe_nats(connection, SERVICES)
    finally:
        await connection.close()


async def missing_in_redis(uri: str) -> MissingPermissions:
    async with connect_to_redis(uri) as client:
        missing, other = await probe_redis(RedisClient(client), SERVICES)
    assert other is None
    return missing


def test_the_producers_user_has_all_rights(restricted_users: RestrictedUsers) -> None:
    """With the shipped rights, and the producer's settings, nothing is missing; nor do streams have to be there."""
    outcome, found = check(restricted_users, "producer")
    assert outcome.code == 0, outcome.output
    assert {found[f"permissions in {server}"]["result"] for server in ("Redis", "NATS")} == {"ok"}


def test_an_operator_is_warned_and_not_refused(restricted_users: RestrictedUsers) -> None:
    """An operator may not publish chunks, nor hear progress: that is said, and no error."""
    outcome, found = check(restricted_users, "operator")
    assert outcome.code == 0, outcome.output
    for server, right in (("Redis", "~CURRENT_EXECUTION_HASH"), ("NATS", "publish ORI_PERSON_CHANNEL")):
        warning = found[f"permissions in {server}"]
        assert (warning["result"], right in warning["text"]) == ("warning", True)
        assert "enough for an operator" in warning["text"]
        assert "docs/operations/permissions.md" in warning["text"]


def test_another_process_rights_are_an_error(restricted_users: RestrictedUsers) -> None:
    """With a collector's users neither the producer nor `importer` can work; it is said what is missing, and soon."""
    outcome, found = check(restricted_users, "ack_collector")
    assert outcome.code == 1
    assert found["Redis"]["result"] == "warning"
    assert "lacks +multi," in found["permissions in Redis"]["text"]
    assert (
        "lacks subscribe _INBOX_operator.>, publish $JS.API.CONSUMER.LIST.IMPORTER"
        in found["permissions in NATS"]["text"]
    )
    assert {found[f"permissions in {server}"]["result"] for server in ("Redis", "NATS")} == {"error"}


@pytest.mark.parametrize(
    ("right", "rule"),
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
async def test_what_the_producers_user_lacks_in_redis_is_an_error(
    make_redis: MakeServer, right: str, rule: str | None
) -> None:
    """Each kind of right is named as one writes it into the list of users."""
    users = re.sub(rf" {re.escape(right)}(?= |\n)", "", REDIS_USERS)
    server = make_redis(config="aclfile $FILES/users.acl", files={"users.acl": users})
    missing = await missing_in_redis(as_user(server.uri, "producer"))
    assert rules(missing) == ({rule} if rule else set())
    found = make_finding("Redis", missing, FILE)
    assert found.result == ("error" if rule else "ok")
    assert (rule or "") in found.text


@pytest.mark.parametrize("channel", ["ORI_PERSON_CHANNEL", "OSUVA_PLAN_CHANNEL", "POST_UPDATE", "DEAD_LETTER.>"])
async def test_what_the_producers_user_lacks_in_nats_is_an_error(make_nats: MakeServer, channel: str) -> None:
    """A channel that was forgotten, say of a service that is new in the table, is named."""
    server = make_nats(config=NATS_USERS.replace(f'          "{channel}"\n', ""))
    missing = await missing_in_nats(server.uri, "producer")
    assert rules(missing) >= {f"publish {channel.replace('>', 'ORI_PERSON_CHANNEL.>')}"}
    assert make_finding("NATS", missing, FILE).result == "error"


async def test_every_right_of_the_producer_in_nats_is_looked_at(make_nats: MakeServer) -> None:
    """A user who may publish one channel, and nothing else, lacks whatever else the shipped user has."""
    shipped = NATS_USERS.partition("user: producer")[2].partition("}\n    {")[0]
    rest = {rule for rule in re.findall(r'"([A-Z_$][^"]*)"', shipped) if not rule.startswith("ORI_PERSON_CHANNEL")}
    users = '{user: one, password: change-me-one, permissions: {publish: ["ORI_PERSON_CHANNEL"], subscribe: ["none"]}}'
    server = make_nats(config=f"authorization {{ users = [{users}] }}")
    found = {
        re.sub(r"^\w+ |(?<=DEAD_LETTER\.).*(?=>)", "", rule) for rule in rules(await missing_in_nats(server.uri, "one"))
    }
    assert rest - found == {
        "$JS.API.STREAM.PURGE.IMPORTER",  # it cannot be looked at without danger
        # Which of two requests makes the collectors' consumer depends on the client; the user has both rights.
        "$JS.API.CONSUMER.CREATE.IMPORTER_FEEDBACK.ack-collector",
    }
    assert found <= rest


async def test_every_right_of_the_producer_in_redis_is_looked_at(make_redis: MakeServer) -> None:
    """All commands, keys and channels of the shipped user, but a few that others need."""
    shipped = next(line for line in REDIS_USERS.splitlines() if line.startswith("user producer")).split()
    server = make_redis(config="user nowhere on >change-me-nowhere resetkeys resetchannels +@all")
    found = rules(await missing_in_redis(as_user(server.uri, "nowhere")))
    assert found == {word for word in shipped if word[0] in "~&"}
    # Commands are probed in the forms in which the table has them; the scripts' own are run inside of them.
    commands = {command_rule(command) for each in redis_permissions(SERVICES) for command in each.commands}
    wanted = {word for word in shipped if word[0] == "+"}
    assert wanted - commands == {"+@connection", "+client|setname", "+incrby", "+unsubscribe"}
    assert {command_rule(command) for each in producers() for command in each.commands} <= wanted


async def test_a_redis_that_takes_no_writes_is_an_error(make_redis: MakeServer) -> None:
    """The same look finds a replica, to which the rights are no obstacle."""
    server = make_redis(config="replicaof 127.0.0.1 1")
    async with connect_to_redis(server.uri) as client:
        missing, other = await probe_redis(RedisClient(client), SERVICES)
    assert not missing.permissions
    assert other
    assert "read only" in other


async def test_to_look_changes_nothing(nats_uri: str, redis_uri: str) -> None:
    """To a user who may everything, no key, message, stream or consumer changes, and nobody hears of it."""
    with redis.Redis.from_url(redis_uri, decode_responses=True) as client:
        fill(client)
        before = contents(client)
        hearing = client.pubsub()
        hearing.psubscribe("*")
        wait_until(hearing.get_message, "it is subscribed")
        async with streams_with_messages(nats_uri) as state:
            as_it_was = await state()
            for _ in range(2):
                assert not (await missing_in_redis(redis_uri)).permissions
                assert not (await missing_in_nats(nats_uri, "anybody")).permissions
            assert await state() == as_it_was
        assert contents(client) == before
        client.publish("the end", "")
        assert wait_until(hearing.get_message, "the end is heard")["channel"] == "the end"
        hearing.close()


def producers() -> list[RedisPermission]:
    return [each for each in redis_permissions(SERVICES) if User.PRODUCER in each.users]


def contents(client: redis.Redis) -> dict[str, object]:
    """Every key, with what is in it and for how long."""
    return {key: (client.dump(key), client.pttl(key)) for key in client.scan_iter()}


def fill(client: redis.Redis) -> None:
    """Something in every key that the project has."""
    for service in SERVICES:
        of = keys.ServiceKeys(service.key)
        client.mset(dict.fromkeys([of.ordinal, of.scheduled, of.updated, of.failed, of.execution], "1"))
        client.hset(of.chunks, "0", "1")
        client.hset(of.errors, "f", "text")
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
    letters = [keys.dead_letter_subject(service.channel, "importer-check") for service in SERVICES]
    for subject in [*(service.channel for service in SERVICES), keys.POST_UPDATE_SUBJECT, *letters]:
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
