"""Which user may do what in NATS and Redis: one table each.

`deploy/generate_permissions.py` writes the users files from these tables, and `importer check` probes them. A new
key, subject or command needs a row here; the tests run every process and every command as its shipped user.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.model import keys
from shared.model.services import Service

API_PREFIX = "$JS.API."
"""What the subjects of requests to JetStream begin with."""


class User(StrEnum):
    """The users of an installation: one for each kind of process, and `operator` for the command line."""

    PRODUCER = "producer"
    ACK_COLLECTOR = "ack_collector"
    MANKELI = "mankeli"
    OPERATOR = "operator"
    STAN_BRIDGE = "stan_bridge"
    STAN_MANKELI = "stan_mankeli"
    """A mankeli of the STAN era."""
    STAN_SERVER = "stan_server"
    """A nats-streaming-server that is attached to this NATS; it has no user in Redis."""


SHIPPED_PASSWORD_PREFIX = "change-me-"  # noqa: S105 - a placeholder
"""What the passwords in the users files begin with, until they are replaced."""

_P, _C, _M, _O = User.PRODUCER, User.ACK_COLLECTOR, User.MANKELI, User.OPERATOR
_B, _W, _S = User.STAN_BRIDGE, User.STAN_MANKELI, User.STAN_SERVER
STAN_CLUSTER = "importer-nats"
"""The cluster id in the shipped users; with another STAN_CLUSTER_ID, replace it in the files."""


# --- NATS ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NatsPermission:
    """A subject, which may have wildcards, and the users who may publish on it."""

    users: frozenset[User]
    subject: str
    can_be_probed: bool = True
    """Whether a probe of it is certain to have no effect: see `shared/broker/permission_probe.py`."""


_STREAMS = (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM)
_COLLECTOR = f"{keys.FEEDBACK_STREAM}.{keys.COLLECTOR_CONSUMER}"


def inbox_prefix(name: str) -> str:
    """Return the prefix of the subjects on which the importer's client of this name receives replies."""
    return f"_INBOX_{name}"


def nats_permissions(services: Sequence[Service]) -> list[NatsPermission]:
    """Return who may publish where, for these services. What is not listed is denied."""
    messages = [*(service.channel for service in services), keys.POST_UPDATE_SUBJECT, keys.DEAD_LETTER_SUBJECTS]
    api: list[tuple[set[User], str, bool]] = [
        ({_P, _C, _M, _O, _B}, f"STREAM.INFO.{keys.CHUNK_STREAM}", True),
        ({_P, _C, _O, _B}, f"STREAM.INFO.{keys.FEEDBACK_STREAM}", True),
        ({_P, _C, _O, _B}, f"STREAM.INFO.{keys.DEAD_LETTER_STREAM}", True),
        ({_P, _O}, f"CONSUMER.LIST.{keys.CHUNK_STREAM}", True),
        ({_P, _C, _O, _B}, f"CONSUMER.INFO.{_COLLECTOR}", True),
        ({_P, _O}, f"STREAM.MSG.GET.{keys.DEAD_LETTER_STREAM}", True),
        ({_P, _O}, f"STREAM.MSG.DELETE.{keys.DEAD_LETTER_STREAM}", True),
        *(({_P}, f"STREAM.CREATE.{stream}", True) for stream in _STREAMS),
        ({_P}, f"STREAM.UPDATE.{keys.CHUNK_STREAM}", True),
        ({_P}, f"CONSUMER.DURABLE.CREATE.{_COLLECTOR}", True),
        ({_P}, f"CONSUMER.CREATE.{_COLLECTOR}", False),
        ({_P}, f"STREAM.PURGE.{keys.CHUNK_STREAM}", False),
        ({_C}, f"CONSUMER.MSG.NEXT.{_COLLECTOR}", False),
        *(
            ({_M}, f"CONSUMER.{request}.{keys.CHUNK_STREAM}.>", False)
            for request in ("INFO", "CREATE", "DURABLE.CREATE", "MSG.NEXT")
        ),
        *(
            ({_B}, f"CONSUMER.{request}.{keys.CHUNK_STREAM}.{consumer}", False)
            for consumer in (keys.STAN_CONSUMER, keys.STAN_POST_UPDATE_CONSUMER)
            for request in ("INFO", "CREATE", "DURABLE.CREATE", "MSG.NEXT")
        ),
        ({_B}, f"CONSUMER.DELETE.{keys.CHUNK_STREAM}.{keys.STAN_POST_UPDATE_CONSUMER}", False),
    ]
    return [
        *(NatsPermission(frozenset({_P}), subject) for subject in messages),
        *(NatsPermission(frozenset(users), API_PREFIX + request, probe) for users, request, probe in api),
        NatsPermission(frozenset({_C}), f"$JS.ACK.{_COLLECTOR}.>", can_be_probed=False),
        NatsPermission(frozenset({_M}), f"$JS.ACK.{keys.CHUNK_STREAM}.>", can_be_probed=False),
        *(
            NatsPermission(frozenset({_B}), f"$JS.ACK.{keys.CHUNK_STREAM}.{consumer}.>", can_be_probed=False)
            for consumer in (keys.STAN_CONSUMER, keys.STAN_POST_UPDATE_CONSUMER)
        ),
        NatsPermission(frozenset({_M, _B}), keys.FEEDBACK_SUBJECT, can_be_probed=False),
        NatsPermission(frozenset({_M, _B}), keys.POST_UPDATE_FINISH_SUBJECT, can_be_probed=False),
        *_stan_permissions(),
    ]


def _stan_permissions() -> Iterator[NatsPermission]:
    """Yield who may publish which subjects of STAN: of its protocol, and the channels below its prefix.

    Acknowledgements and replies to heartbeats go to inboxes of the server, which have random names.
    """
    discover = f"_STAN.discover.{STAN_CLUSTER}"
    requests = [f"_STAN.{request}.{STAN_CLUSTER}" for request in ("sub", "unsub", "subclose", "close")]
    channels = [f"_STAN.pub.{STAN_CLUSTER}.{each}" for each in (keys.FEEDBACK_SUBJECT, keys.POST_UPDATE_FINISH_SUBJECT)]
    for subject in (discover, f"{discover}.pings", *requests, "_INBOX.>"):
        yield NatsPermission(frozenset({_B, _W}), subject, can_be_probed=False)
    for subject in channels:
        yield NatsPermission(frozenset({_W}), subject, can_be_probed=False)
    yield NatsPermission(frozenset({_B}), f"_STAN.pub.{STAN_CLUSTER}.>", can_be_probed=False)
    for subject in ("_STAN.>", "_INBOX.>", f"{inbox_prefix(User.STAN_BRIDGE)}.>"):
        yield NatsPermission(frozenset({_S}), subject, can_be_probed=False)


WORKER_SERVICES = (
    f"{API_PREFIX}>",
    f"$JS.ACK.{keys.CHUNK_STREAM}.>",
    keys.FEEDBACK_SUBJECT,
    keys.POST_UPDATE_FINISH_SUBJECT,
)
"""The subjects that the workers' account reaches of the importer's. Within them, permissions apply to each user."""


def nats_inboxes(user: User) -> list[str]:
    """Return the inboxes that a user may subscribe to.

    The producer also has `importer`'s, so that the command line works with the producer's settings. Mankelis use a
    client of their own, whose inbox prefix is `_INBOX` unless it is configured otherwise.
    """
    own_clients = {
        User.MANKELI: ["_INBOX.>"],
        User.STAN_MANKELI: ["_INBOX.>", "_STAN.acks.>"],
        User.STAN_SERVER: ["_STAN.>", "_INBOX.>"],
    }
    if user in own_clients:
        return own_clients[user]
    names = [user, User.OPERATOR] if user is User.PRODUCER else [user]
    return [f"{inbox_prefix(name)}.>" for name in names]


# --- Redis -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RedisPermission:
    """A key, key pattern or channel, and what some users do with it."""

    users: frozenset[User]
    name: str
    """Empty for commands without a key."""
    commands: Sequence[str]
    """Each in the form in which it is used, `*` standing for the name."""
    is_channel: bool = False


SCRIPT = f"EVALSHA {'0' * 40} 1 *"
"""A call of a script. Every script names its keys, and Redis wants the permission to read and write each of them."""

SCRIPT_COMMANDS = ("get", "set", "del", "hset", "hget", "hdel", "hgetall", "hlen", "incrby", "exists", "publish")
"""What the scripts call; Redis checks that as if the user called it."""

CONNECTION_RULES = ("+@connection", "-client", "+client|setname")
"""The rules that let every user connect, authenticate and ping, which shows no data.

The category has CLIENT PAUSE, KILL and LIST, with which one user could stop all others and see their addresses.
"""

_KEYS: Sequence[tuple[set[User], str, Sequence[str]]] = [
    ({_P, _C, _O, _B}, "", ("SCRIPT LOAD x",)),
    ({_P, _O}, "", ("MULTI", "EXEC", "INFO")),
    ({_P, _O}, keys.PAUSED, ("GET *", "SET * x", "DEL *")),
    ({_P, _O}, keys.RUN_REQUESTS, ("HSET * f x",)),
    ({_P}, keys.RUN_REQUESTS, ("HKEYS *", "HDEL * f")),
    ({_P, _O}, keys.RETRY_REQUESTS, ("HGETALL *", "HSET * f x", "PERSIST *")),
    ({_P}, keys.RETRY_REQUESTS, ("EXPIRE * 1",)),
    ({_P, _O}, keys.RUNS, ("LRANGE * 0 -1",)),
    ({_P}, keys.RUNS, ("LPUSH * x", "LTRIM * 0 1", "EXPIRE * 1")),
    ({_P}, keys.RUN, ("GET *", "SET * x", "DEL *")),
    ({_P, _O}, keys.SERVICES, ("HGETALL *",)),
    ({_P}, keys.SERVICES, ("HGET * f", "HSET * f x")),
    ({_P, _O}, keys.REWINDS, ("LRANGE * 0 -1", SCRIPT, "LPUSH * x", "LTRIM * 0 1")),
    ({_P, _O}, keys.PROCESSES, ("ZRANGE * 0 -1",)),
    ({_P, _C, _B}, keys.PROCESSES, (SCRIPT, "TIME", "ZADD * 1 x", "ZREMRANGEBYSCORE * 0 1", "PEXPIRE * 1")),
    ({_P, _O}, keys.process("*"), ("MGET *",)),
    ({_P, _C, _B}, keys.process("*"), (SCRIPT, "DEL *")),
    ({_P, _O}, keys.PRODUCER_LOCK, ("EXISTS *",)),
    ({_P}, keys.PRODUCER_LOCK, (SCRIPT,)),
    ({_P, _O}, keys.codebook_cache("*"), ("GET *", "SET * x")),
    ({_P, _B}, keys.CURRENT_EXECUTION_HASH, (SCRIPT,)),
    ({_M, _B, _W}, keys.CURRENT_EXECUTION_HASH, ("GET *",)),
    ({_W}, keys.STAN_MANKELI_LOCK, ("SET * x", "DEL *")),
    ({_P}, keys.POST_UPDATE_RUNNING, (SCRIPT,)),
    ({_P, _C}, keys.POST_UPDATE_RUNNING, ("DEL *",)),
]


def redis_permissions(services: Sequence[Service]) -> list[RedisPermission]:
    """Return who uses which keys and channels, and how, for these services. What is not listed is denied."""
    return [
        *(RedisPermission(frozenset(users), name, commands) for users, name, commands in _KEYS),
        RedisPermission(frozenset({_P, _B}), keys.CURRENT_EXECUTION_HASH, ("PUBLISH * x",), is_channel=True),
        RedisPermission(frozenset({_M, _W}), keys.CURRENT_EXECUTION_HASH, ("SUBSCRIBE *",), is_channel=True),
        *(permission for service in services for permission in _of_service(keys.ServiceKeys(service.key))),
    ]


def _of_service(names: keys.ServiceKeys) -> Iterator[RedisPermission]:
    for name in (names.ordinal, names.scheduled):
        yield RedisPermission(frozenset({_P, _O}), name, (SCRIPT,))
    for name in (names.updated, names.failed, names.execution, names.chunks, names.errors):
        yield RedisPermission(frozenset({_P, _C, _O}), name, (SCRIPT,))
    yield RedisPermission(frozenset({_P, _O}), names.chunks, ("HLEN *",))
    yield RedisPermission(frozenset({_P}), names.progress, ("SUBSCRIBE *",), is_channel=True)
    yield RedisPermission(frozenset({_C}), names.progress, ("PUBLISH * x",), is_channel=True)


def command_rule(command: str) -> str:
    """Return the rule of Redis's ACL that allows a command, like `+get` or `+script|load`."""
    name, *arguments = command.lower().split()
    return f"+{name}|{arguments[0]}" if name == "script" else f"+{name}"
