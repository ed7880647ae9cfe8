"""Which servers the tests run on: containers where a Docker engine answers and images can be had, else processes.

`IMPORTER_TEST_SERVERS` decides: `containers` (where there can be none, the test run ends), `local`, or empty:
containers where they can be had. Which images: see tests/support/images.py.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

from demo.server_programs import NATS, REDIS, Program, ServerError, find_binary
from demo.servers import NatsServer, RedisServer, Server

SETTING = "IMPORTER_TEST_SERVERS"


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why. The factories take the options of `Server`; what they make is not yet started."""

    kind: str
    nats: Callable[..., Server]
    redis: Callable[..., Server]
    description: str


@functools.cache
def choose() -> Choice:
    """Choose once for the whole test run. Raises ServerError where containers are required and cannot be had."""
    wish = os.environ.get(SETTING, "")
    if wish not in {"", "containers", "local"}:
        raise ServerError(f"{SETTING} must be containers, local or empty, not {wish!r}")
    if wish == "local":
        return local_choice(f"as {SETTING} asks for")
    try:
        return container_choice()
    except ServerError as error:
        if wish == "containers":
            raise ServerError(f"{SETTING} asks for containers, and there can be none: {error}") from error
        return local_choice(str(error))


def local_choice(reason: str) -> Choice:
    """Local processes. Where a binary is missing, the factories say so."""
    versions = ", ".join(_local_version(program) for program in (NATS, REDIS))
    return Choice("local", NatsServer, RedisServer, f"local processes: {versions} ({reason})")


def _local_version(program: Program) -> str:
    try:
        binary, version = find_binary(program)
    except ServerError:
        return f"no {program.name}"
    return f"{program.name} {version} ({binary})"


@functools.cache
def container_choice() -> Choice:
    """Containers. Raises ServerError where there is no engine on this machine, or no image."""
    # Imported only where asked for: these need docker-py, which nothing else does.
    from tests.support import containers, images  # noqa: PLC0415

    client = images.engine()
    nats = images.nats_image(client)
    redis = images.redis_image(client)
    containers.remove_leftovers(client)
    versions = ", ".join(images.describe(client, image) for image in (nats, redis))
    return Choice(
        "containers",
        functools.partial(containers.NatsContainer, nats),
        functools.partial(containers.RedisContainer, redis),
        f"containers: {versions}",
    )
