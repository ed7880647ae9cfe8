"""`python -m demo.stan_mankeli --db PATH`, with STAN_URI, STAN_TOKEN and REDIS_URI in the environment.

It prints `ready` when its session has started, and `subscribed` once it receives chunks.
"""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr
from redis.asyncio import RedisError

from demo.mankeli.store import MankeliStore
from demo.stan_mankeli.worker import StanMankeli, StanMankeliOptions
from shared.broker.stan.session import StanIdentity, StanSession
from shared.config.nats_address import NatsAddress
from shared.config.nats_login import NatsLogin
from shared.model.errors import ImporterError, ShutdownRequested
from shared.model.services import BUILT_IN_TABLE
from shared.runtime.shutdown import Stop
from shared.store.redis_client import RedisClient, make_redis

_GRACE_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a mankeli until it is stopped by a signal, and return the exit code."""
    options = vars(_parser().parse_args(arguments))
    db, client_id = options.pop("db"), options.pop("client_id")
    return asyncio.run(_run(db, client_id, StanMankeliOptions(**options)))


async def _run(db: Path, client_id: str, options: StanMankeliOptions) -> int:
    stop = Stop()
    token = os.environ.get("STAN_TOKEN")
    login = NatsLogin(NatsAddress.parse(os.environ["STAN_URI"]), SecretStr(token) if token else None)
    cluster_id = os.environ.get("STAN_CLUSTER_ID") or "importer-nats"
    session = await StanSession.connect(login, StanIdentity(cluster_id, client_id, "stan_mankeli", "_INBOX"))
    redis = RedisClient(make_redis(os.environ["REDIS_URI"]))
    store = MankeliStore(db)
    try:
        return await stop.run_to_completion(StanMankeli(options, session, redis, store).run(stop), _GRACE_SECONDS)
    except ShutdownRequested:
        return 0
    finally:
        await session.close()
        await redis.close()
        store.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo.stan_mankeli", description="A mankeli of the STAN era that stores into SQLite."
    )
    default_id = f"{socket.gethostname().replace('.', '-')}-{os.getpid()}"
    parser.add_argument("--db", type=Path, required=True, help="the SQLite file")
    parser.add_argument("--client-id", default=default_id, help="its id on STAN")
    parser.add_argument("--services-file", type=Path, default=BUILT_IN_TABLE, help="another table of services")
    parser.add_argument(
        "--ack-wait-seconds", type=int, default=60, help="time until an unacknowledged message goes to another mankeli"
    )
    parser.add_argument("--delay-seconds", type=float, default=0, help="delay for each message")
    parser.add_argument(
        "--fail-id", action="append", default=[], help="reject messages with the entity that has this id"
    )
    parser.add_argument("--fail-every", type=int, default=0, help="reject every Nth message", metavar="N")
    parser.add_argument("--report-twice", action="store_true", help="send each report twice")
    parser.add_argument("--drop-every", type=int, default=0, help="drop every Nth message silently", metavar="N")
    parser.add_argument("--unresponsive", action="store_true", help="receive messages, and do nothing with them")
    parser.add_argument(
        "--die-after",
        type=int,
        default=0,
        help="die after N messages: having stored the next one, before its report",
        metavar="N",
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ImporterError, OSError, RedisError) as error:
        print(f"stan_mankeli: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - its last words
        sys.exit(3)
