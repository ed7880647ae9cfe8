"""`python -m demo.mankeli --db PATH`, with NATS_URI, NATS_TOKEN and REDIS_URI in the environment.

It prints `ready` when it is attached, and on SIGTERM finishes the current chunk.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nats.errors
from redis.asyncio import RedisError

from demo.mankeli.store import MankeliStore
from demo.mankeli.worker import Mankeli, MankeliOptions
from shared.broker.client import NatsClient
from shared.model.errors import ImporterError
from shared.model.services import BUILT_IN_TABLE
from shared.runtime.shutdown import Stop
from shared.store.redis_client import RedisClient, make_redis

_GRACE_SECONDS = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a mankeli until it is stopped by a signal, and return the exit code."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    db = options.pop("db")
    return asyncio.run(_run(db, MankeliOptions(**options)))


async def _run(db: Path, options: MankeliOptions) -> int:
    stop = Stop()
    closing = False

    async def closed() -> None:
        if not closing:
            stop.fail(ConnectionError("NATS closed the connection for good"))

    client = NatsClient(lambda: None, demands_tls="tls://" in os.environ["NATS_URI"])
    await client.connect(
        os.environ["NATS_URI"],
        token=os.environ.get("NATS_TOKEN"),
        pending_size=0,
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        ping_interval=10,
        closed_cb=closed,
        error_cb=_ignore,
    )
    redis = RedisClient(make_redis(os.environ["REDIS_URI"]))
    store = MankeliStore(db)
    try:
        return await stop.run_to_completion(Mankeli(options, client, redis, store).run(stop), _GRACE_SECONDS)
    finally:
        closing = True
        await client.close()
        await redis.close()
        store.close()


async def _ignore(_: Exception) -> None:
    """Ignore what the client reports: it reconnects by itself, and calls `closed` when it cannot."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.mankeli", description="A mankeli that stores into SQLite.")
    parser.add_argument("--db", type=Path, required=True, help="the SQLite file")
    parser.add_argument("--services-file", type=Path, default=BUILT_IN_TABLE, help="another table of services")
    parser.add_argument(
        "--ack-wait-seconds", type=float, default=30, help="time until an unacknowledged chunk goes to another mankeli"
    )
    parser.add_argument("--delay-seconds", type=float, default=0, help="delay for each chunk")
    parser.add_argument("--fail-id", action="append", default=[], help="reject chunks with the entity that has this id")
    parser.add_argument("--fail-every", type=int, default=0, help="reject every Nth chunk", metavar="N")
    parser.add_argument("--fail-all", action="store_true", help="reject every chunk")
    parser.add_argument("--silent", action="store_true", help="store chunks, but send no feedback")
    parser.add_argument("--answer-half", action="store_true", help="send feedback for every second chunk only")
    parser.add_argument("--duplicate-feedback", action="store_true", help="send each feedback twice")
    parser.add_argument(
        "--die-after",
        type=int,
        default=0,
        help="die after N chunks: having stored the next one, before its feedback",
        metavar="N",
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ImporterError, OSError, RedisError, nats.errors.Error) as error:
        sys.exit(f"mankeli: {type(error).__name__}: {error}")
