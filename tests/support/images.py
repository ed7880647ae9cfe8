"""The images that the test containers are made of, and the engine that has them.

`NATS_IMAGE` and `REDIS_IMAGE` name them; a named image is used or pulled, or it is an error. Otherwise the engine's
copy of the official one is used. Where it has none, a pull is tried once, and where that fails an image is built from
the server at hand (tests/containers/); from then on that is the one, so that no test run waits for another pull.
"""

import os
import time
from typing import Any

import docker.errors  # type: ignore[import-untyped]
from docker.utils import parse_repository_tag  # type: ignore[import-untyped]

from demo.server_programs import ServerError
from tests.containers.build import LOCAL_NATS, LOCAL_REDIS, VERSION_LABEL, LocalImage, build

OFFICIAL_NATS = "nats:2.11"
OFFICIAL_REDIS = "redis:7"
_ENGINE_TIMEOUT_SECONDS = 20
_PULL_SECONDS = 180
"""As long as the pull makes progress; without any, _ENGINE_TIMEOUT_SECONDS."""


def engine() -> Any:
    """Connect to the engine of this machine. Raises ServerError."""
    try:
        client = docker.from_env(timeout=_ENGINE_TIMEOUT_SECONDS)
        version = client.version()
    except (docker.errors.DockerException, OSError) as error:
        raise ServerError(f"no Docker engine answers: {error}") from error
    if not client.api.base_url.startswith("http+docker://"):
        raise ServerError("the Docker engine is not on this machine: its data directories and ports would be elsewhere")
    if version.get("Os") != "linux":
        raise ServerError(f"the Docker engine runs {version.get('Os')} containers")
    return client


def _image(client: Any, variable: str, official: str, local: LocalImage) -> str:
    named = os.environ.get(variable)
    image = named or official
    if named == local.tag or (not named and not _present(client, official) and _present(client, local.tag)):
        return build(client, local)  # it was built before: no need to try a pull each time, only to keep it fresh
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
    """Choose, and get if need be, the image for NATS. Raises ServerError."""
    return _image(client, "NATS_IMAGE", OFFICIAL_NATS, LOCAL_NATS)


def redis_image(client: Any) -> str:
    """Choose, and get if need be, the image for Redis. Raises ServerError."""
    return _image(client, "REDIS_IMAGE", OFFICIAL_REDIS, LOCAL_REDIS)


def describe(client: Any, image: str) -> str:
    """Say which image it is, for people: the server where its label tells it, else the image's id."""
    found = client.images.get(image)
    return f"{image} ({found.labels.get(VERSION_LABEL) or found.short_id})"
