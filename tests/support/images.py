"""The images of the test containers, and the Docker engine that has them.

`NATS_IMAGE` and `REDIS_IMAGE` name them; a named image must be present or pulled. Otherwise the engine's copy of the
official image is used. If there is none, one pull is tried, and if that fails an image is built from the local server
(tests/containers/); later test runs use that image, so that none of them waits for another pull.
"""

import os
import time
from typing import Any

import docker.errors  # type: ignore[import-untyped]
from docker.utils import parse_repository_tag  # type: ignore[import-untyped]

from demo.servers.specs import ServerError
from tests.containers.build import LOCAL_NATS, LOCAL_REDIS, VERSION_LABEL, LocalImage, build

OFFICIAL_NATS = "nats:2.11"
OFFICIAL_REDIS = "redis:7"
_ENGINE_TIMEOUT_SECONDS = 20
_PULL_SECONDS = 180
"""The limit of a pull that makes progress; without progress it is _ENGINE_TIMEOUT_SECONDS."""


def engine() -> Any:
    """Connect to the engine of this machine. Raises ServerError."""
    try:
        client = docker.from_env(timeout=_ENGINE_TIMEOUT_SECONDS)
        version = client.version()
    except (docker.errors.DockerException, OSError) as error:
        raise ServerError(f"no Docker engine responds: {error}") from error
    if not client.api.base_url.startswith("http+docker://"):
        raise ServerError("the Docker engine is not on this machine: its data directories and ports would be elsewhere")
    if version.get("Os") != "linux":
        raise ServerError(f"the Docker engine runs {version.get('Os')} containers")
    return client


def _image(client: Any, variable: str, official: str, local: LocalImage) -> str:
    named = os.environ.get(variable)
    image = named or official
    if named == local.tag or (not named and not _present(client, official) and _present(client, local.tag)):
        return build(client, local)  # it was built before: no pull, but a new build if the server has changed
    if _present(client, image):
        return image
    try:
        return _pull(client, image)
    except ServerError:
        if named:
            raise
        return build(client, local)


def _present(client: Any, image: str) -> bool:
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        return False
    return True


def _pull(client: Any, image: str) -> str:
    deadline = time.monotonic() + _PULL_SECONDS
    name, tag = parse_repository_tag(image)
    try:
        for progress in client.api.pull(name, tag=tag or "latest", stream=True, decode=True):
            if "error" in progress:
                raise ServerError(f"{image} cannot be pulled: {progress['error']}")
            if time.monotonic() > deadline:
                raise ServerError(f"{image} cannot be pulled within {_PULL_SECONDS} s")
    except (docker.errors.DockerException, OSError) as error:
        raise ServerError(f"{image} cannot be pulled: {error}") from error
    return image


def nats_image(client: Any) -> str:
    """Return the image for NATS, pulled or built if necessary. Raises ServerError."""
    return _image(client, "NATS_IMAGE", OFFICIAL_NATS, LOCAL_NATS)


def redis_image(client: Any) -> str:
    """Return the image for Redis, pulled or built if necessary. Raises ServerError."""
    return _image(client, "REDIS_IMAGE", OFFICIAL_REDIS, LOCAL_REDIS)


def describe_image(client: Any, image: str) -> str:
    """Return a description of the image: its server if a label names it, else the image's id."""
    found = client.images.get(image)
    return f"{image} ({found.labels.get(VERSION_LABEL) or found.short_id})"
