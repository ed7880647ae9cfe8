"""The servers that the tests use: containers if a Docker engine and images are available, else local processes.

`IMPORTER_TEST_SERVERS` decides: `containers` (if they are not available, the test run ends), `local`, or empty:
containers if available. tests/support/images.py chooses the images.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

from demo.servers.processes import NatsServer, RedisServer, Server
from demo.servers.specs import NATS, REDIS, ServerError, ServerSpec, find_binary

SETTING = "IMPORTER_TEST_SERVERS"


@dataclass(frozen=True)
class Choice:
    """The kind of servers, and why. The factories take the options of `Server`; they do not start what they return."""

    kind: str
    nats: Callable[..., Server]
    redis: Callable[..., Server]
    description: str


@functools.cache
def choose() -> Choice:
    """Choose once for the whole test run. Raises ServerError if containers are required and not available."""
    setting = os.environ.get(SETTING, "")
    if setting not in {"", "containers", "local"}:
        raise ServerError(f"{SETTING} must be containers, local or empty, not {setting!r}")
    if setting == "local":
        return local_choice(f"{SETTING}=local")
    try:
        return container_choice()
    except ServerError as error:
        if setting == "containers":
            raise ServerError(f"{SETTING} requires containers, which are not available: {error}") from error
        return local_choice(str(error))


def local_choice(reason: str) -> Choice:
    """Choose local processes. If a binary is missing, the factories raise."""
    versions = ", ".join(_local_version(program) for program in (NATS, REDIS))
    return Choice("local", NatsServer, RedisServer, f"local processes: {versions} ({reason})")


def _local_version(program: ServerSpec) -> str:
    try:
        binary, version = find_binary(program)
    except ServerError:
        return f"no {program.name}"
    return f"{program.name} {version} ({binary})"


@functools.cache
def container_choice() -> Choice:
    """Choose containers. Raises ServerError if there is no engine on this machine, or no image."""
    # Imported only here: these need docker-py, which nothing else needs.
    from tests.support import containers, images  # noqa: PLC0415

    client = images.engine()
    nats = images.nats_image(client)
    redis = images.redis_image(client)
    containers.remove_leftovers(client)
    versions = ", ".join(images.describe_image(client, image) for image in (nats, redis))
    return Choice(
        "containers",
        functools.partial(containers.NatsContainer, nats),
        functools.partial(containers.RedisContainer, redis),
        f"containers: {versions}",
    )
