"""Builds images for the tests from the local servers, for machines that cannot pull any.

Run it as `python -m tests.containers.build`; a test run that needs the images builds them itself. They start FROM
scratch and contain one server and the libraries that it is linked to; nothing is downloaded. An existing image is kept
as long as its server is the local one.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors  # type: ignore[import-untyped]

from demo.servers.specs import NATS, REDIS, ServerError, ServerSpec, find_binary

VERSION_LABEL = "importer-test.version"
_FINGERPRINT_LABEL = "importer-test.fingerprint"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class LocalImage:
    """An image that is built here: `place` is the path of the server in it."""

    tag: str
    program: ServerSpec
    dockerfile: str
    place: str


LOCAL_NATS = LocalImage("importer-test-nats:local", NATS, "nats.Dockerfile", "/nats-server")
LOCAL_REDIS = LocalImage("importer-test-redis:local", REDIS, "redis.Dockerfile", "/usr/local/bin/redis-server")


def build(client: Any, image: LocalImage) -> str:
    """Build the image, unless it exists, and return its tag. Raises ServerError."""
    if sys.platform != "linux":
        raise ServerError(f"{image.tag} can only be built on Linux: it contains the server of this machine")
    binary, version = find_binary(image.program)
    dockerfile = (_HERE / image.dockerfile).read_bytes()
    fingerprint = hashlib.sha256(dockerfile + binary.read_bytes()).hexdigest()
    try:
        if client.images.get(image.tag).labels.get(_FINGERPRINT_LABEL) == fingerprint:
            return image.tag
    except docker.errors.ImageNotFound:
        pass
    with tempfile.TemporaryDirectory(prefix="importer-image-") as folder:
        context = Path(folder)
        (context / "Dockerfile").write_bytes(dockerfile)
        _fill(context / "root", binary, image.place)
        labels = {_FINGERPRINT_LABEL: fingerprint, VERSION_LABEL: f"{image.program.name} {version}"}
        try:
            client.images.build(path=folder, tag=image.tag, labels=labels, rm=True, forcerm=True)
        except docker.errors.DockerException as error:
            raise ServerError(f"{image.tag} could not be built: {error}") from error
    return image.tag


def _fill(root: Path, binary: Path, place: str) -> None:
    for source, target in [(binary, place), *((library, str(library)) for library in _libraries(binary))]:
        copy = root / target.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)  # follows links: the linker looks for the name that ldd prints
        copy.chmod(0o755)
    temporary = root / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)


def _libraries(binary: Path) -> list[Path]:
    result = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False)
    missing = re.findall(r"^\s*(\S+) => not found", result.stdout, re.MULTILINE)
    if missing:
        raise ServerError(f"{binary} needs libraries that are missing: {', '.join(missing)}")
    return [Path(name) for name in re.findall(r"(/\S+) \(0x", result.stdout)]  # none for a static binary


def main() -> int:
    """Build both images, and return the exit code."""
    try:
        client = docker.from_env()
        for image in (LOCAL_NATS, LOCAL_REDIS):
            print(build(client, image))  # noqa: T201 - the command's output
    except (docker.errors.DockerException, ServerError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the command's output
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
