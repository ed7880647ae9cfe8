"""Writes the two files that give each process just the rights it needs: `python deploy/make_rights.py`.

`nats-users.conf`, to be included in the configuration of nats-server, and `redis-users.acl`, for Redis's `aclfile`.
They follow from the table of services, so another SERVICES_FILE needs its own: give its path as the argument. The
passwords in them are to be replaced.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from shared import keys
from shared.services import BUILT_IN_TABLE, Service, load_services

FOLDER = Path(__file__).parent
STREAMS = (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM)
_NOTICE = "# Made by deploy/make_rights.py from the table of services. Replace the passwords."
_API = "$JS.API"
_LOOK = [f"{_API}.STREAM.INFO.{stream}" for stream in STREAMS]
_COLLECTOR = f"{keys.FEEDBACK_STREAM}.{keys.COLLECTOR_CONSUMER}"
_WATCH = [
    *_LOOK,
    f"{_API}.CONSUMER.LIST.{keys.CHUNK_STREAM}",
    f"{_API}.CONSUMER.INFO.{_COLLECTOR}",
    f"{_API}.STREAM.MSG.GET.{keys.DEAD_LETTER_STREAM}",
    f"{_API}.STREAM.MSG.DELETE.{keys.DEAD_LETTER_STREAM}",
]
"""For the page and the command line."""


def nats_users(services: Iterable[Service]) -> str:
    """The users of NATS. What is not allowed is forbidden."""
    publish = {
        "producer": [
            *(service.channel for service in services),
            keys.POST_UPDATE_SUBJECT,
            keys.DEAD_LETTER_SUBJECTS,
            *_WATCH,
            *(f"{_API}.STREAM.CREATE.{stream}" for stream in STREAMS),
            f"{_API}.STREAM.PURGE.{keys.CHUNK_STREAM}",
            f"{_API}.CONSUMER.DURABLE.CREATE.{_COLLECTOR}",
            f"{_API}.CONSUMER.CREATE.{_COLLECTOR}",
        ],
        "ack_collector": [
            *_LOOK,
            f"{_API}.CONSUMER.INFO.{_COLLECTOR}",
            f"{_API}.CONSUMER.MSG.NEXT.{_COLLECTOR}",
            f"$JS.ACK.{_COLLECTOR}.>",
        ],
        "mankeli": [
            keys.FEEDBACK_SUBJECT,
            keys.POST_UPDATE_FINISH_SUBJECT,
            f"{_API}.STREAM.INFO.{keys.CHUNK_STREAM}",
            f"{_API}.CONSUMER.INFO.{keys.CHUNK_STREAM}.>",
            f"{_API}.CONSUMER.CREATE.{keys.CHUNK_STREAM}.>",
            f"{_API}.CONSUMER.DURABLE.CREATE.{keys.CHUNK_STREAM}.>",
            f"{_API}.CONSUMER.MSG.NEXT.{keys.CHUNK_STREAM}.>",
            f"$JS.ACK.{keys.CHUNK_STREAM}.>",
        ],
        "operator": _WATCH,
    }
    inboxes = {name: [f"_INBOX_{name}.>"] for name in publish} | {"mankeli": ["_INBOX.>"]}
    # So that `importer`, which hears answers as `operator`, works with the producer's settings, too.
    inboxes["producer"] += inboxes["operator"]
    users = "\n".join(_nats_user(name, subjects, inboxes[name]) for name, subjects in publish.items())
    return f"{_NOTICE}\nauthorization {{\n  users = [\n{users}\n  ]\n}}\n"


def _nats_user(name: str, subjects: list[str], inboxes: list[str]) -> str:
    heard = ", ".join(f'"{inbox}"' for inbox in inboxes)
    allowed = "\n".join(f'          "{subject}"' for subject in subjects)
    return f"""    {{
      user: {name}, password: "change-me-{name}"
      permissions: {{
        subscribe: {{ allow: [{heard}] }}
        publish: {{ allow: [
{allowed}
        ] }}
      }}
    }}"""


def redis_users(services: Iterable[Service]) -> str:
    """The users of Redis, a line each. `default`, who may everything, is switched off."""
    per_service = [keys.ServiceKeys(service.key) for service in services]
    execution = f"~{keys.CURRENT_EXECUTION_HASH}"
    progress = [f"&{k.progress}" for k in per_service]
    of_services = [
        f"~{name}"
        for k in per_service
        for name in (k.ordinal, k.scheduled, k.updated, k.failed, k.execution, k.chunks, k.errors)
    ]
    of_collector = [f"~{name}" for k in per_service for name in (k.updated, k.failed, k.execution, k.chunks, k.errors)]
    # What a client says to connect, and what the scripts do; +@connection lets it do both and see no data.
    scripts = (
        "+@connection +evalsha +script|load +get +set +del +hset +hget +hdel +hgetall +hlen +incrby +exists +publish"
    )
    beat = f"~{keys.PROCESSES} ~{keys.process('*')} +time +zadd +zremrangebyscore +pexpire"
    steered = (keys.PAUSED, keys.RUN_REQUESTS, keys.RETRY_REQUESTS, keys.RUN, keys.RUNS, keys.SERVICES, keys.REWINDS)
    watch = " ".join(f"~{name}" for name in steered) + (
        " +zrange +mget +lrange +hkeys +lpush +ltrim +expire +persist +multi +exec +info"
    )
    codebooks = f"~{keys.codebook_cache('*')}"
    producer = [execution, f"~{keys.POST_UPDATE_RUNNING}", f"~{keys.PRODUCER_LOCK}", codebooks]
    hears = [f"&{keys.CURRENT_EXECUTION_HASH}", "+subscribe +unsubscribe"]
    lines = [
        "user default off",
        _redis_user("producer", [*of_services, *producer, *hears, *progress, scripts, beat, watch]),
        _redis_user("ack_collector", [*of_collector, f"~{keys.POST_UPDATE_RUNNING}", *progress, scripts, beat]),
        _redis_user("mankeli", [execution, *hears, "+@connection +get"]),
        _redis_user("operator", [*of_services, f"~{keys.PRODUCER_LOCK}", codebooks, scripts, beat, watch]),
    ]
    return "\n".join(lines) + "\n"


def _redis_user(name: str, rights: list[str]) -> str:
    return f"user {name} on >change-me-{name} resetkeys resetchannels -@all {' '.join(rights)}"


def main() -> None:
    """Write both files beside this program."""
    services = load_services(Path(sys.argv[1]) if len(sys.argv) > 1 else BUILT_IN_TABLE)
    (FOLDER / "nats-users.conf").write_text(nats_users(services), encoding="utf-8")
    (FOLDER / "redis-users.acl").write_text(redis_users(services), encoding="utf-8")


if __name__ == "__main__":
    main()
