"""Builds the image of the project, and imports everything from the simulated SISU in a container of it.

Run it as `python -m tests.containers.image`. `IMAGE_BASE` names the base image; without it debootstrap makes one,
since a machine for tests may be unable to pull any. The container has a read-only root file system, a user that the
image does not know, no capabilities, and the network of this machine, where NATS, Redis, SISU and the mankelis run.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson

from demo.__main__ import ROOT, compare_with_sisu, demo_environment, mankelis
from shared.model.services import load_services

IMAGE = "importer-api:test"
BASE = "importer-test-base:local"
_BUILD_SECONDS = 900
_IMPORT_SECONDS = 240
_STOP_SECONDS = 90
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def docker(*arguments: str, seconds: float = 60) -> str:
    """Run the client of the engine; return its output. Raises CalledProcessError."""
    done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=seconds)
    return done.stdout.strip()


def base_image() -> str:
    """Return the base image; make one where none is named and none was made before."""
    if named := os.environ.get("IMAGE_BASE"):
        return named
    if docker("images", "--quiet", BASE):
        return BASE
    with tempfile.TemporaryDirectory(prefix="importer-base-") as folder:
        root = Path(folder) / "root"
        packages = "--include=python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", packages, "bookworm", str(root)]
        subprocess.run(command, check=True, timeout=_BUILD_SECONDS, stdout=subprocess.DEVNULL)
        # pip in the build trusts what this machine trusts.
        (root / _CERTIFICATES.relative_to("/")).write_bytes(_CERTIFICATES.read_bytes())
        (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {_CERTIFICATES}\n", encoding="utf-8")
        subprocess.run(["rm", "-rf", str(root / "var/cache/apt"), str(root / "var/lib/apt/lists")], check=True)
        archive = Path(folder) / "base.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True, timeout=_BUILD_SECONDS)
        docker("import", str(archive), BASE, seconds=_BUILD_SECONDS)
    return BASE


def build(base: str) -> None:
    """Build the image from this checkout."""
    commit = subprocess.run(["git", "describe", "--always"], cwd=ROOT, capture_output=True, text=True, check=True)
    arguments = ["--build-arg", f"BASE={base}", "--build-arg", f"BUILD={commit.stdout.strip()}", "--network", "host"]
    command = ["build", "--quiet", *arguments, "-f", str(ROOT / "Containerfile"), "-t", IMAGE, str(ROOT)]
    docker(*command, seconds=_BUILD_SECONDS)


@contextmanager
def container(environment: Mapping[str, str]) -> Iterator[str]:
    """Run the image during the body, as supervisord with one producer and two collectors; yield the container's id."""
    variables = {
        **environment,
        "ACK_COLLECTOR_PROCS": "2",
        "INSTANCE": "image-test",
        "PORT": "0",
        "COLLECTOR_PORT": "0",
    }
    options = ["--network", "host", "--read-only", "--tmpfs", "/tmp", "--user", "54321:0", "--cap-drop", "ALL"]
    options += ["--security-opt", "no-new-privileges"]
    options += [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    name = docker("run", "--detach", *options, IMAGE)
    try:
        yield name
    finally:
        docker("rm", "--force", name)


def wait_for_import(name: str) -> bool:
    """Wait until a run is complete; return whether one was, before the deadline."""
    deadline = time.monotonic() + _IMPORT_SECONDS
    while time.monotonic() < deadline:
        status = orjson.loads(docker("exec", name, "importer", "status", "--json"))
        if any(run["complete"] for run in status["runs"]):
            return True
        time.sleep(1)
    return False


def main() -> int:
    """Build the image, run an import in it, compare what arrived with SISU; return the exit code."""
    build(base_image())
    size = int(docker("image", "inspect", "--format", "{{.Size}}", IMAGE))
    print(f"{IMAGE}: {size / 1e6:.0f} MB")  # noqa: T201 - the command's output
    with tempfile.TemporaryDirectory(prefix="importer-image-") as folder, demo_environment(stay=False) as environment:
        db = Path(folder) / "store.sqlite"
        with mankelis(environment, db), container(environment) as name:
            complete = wait_for_import(name)
            docker("exec", name, "importer", "check", "--alive")
            docker("stop", "--time", str(_STOP_SECONDS), name, seconds=2 * _STOP_SECONDS)
            logs = docker("logs", name)
        agrees = complete and compare_with_sisu(load_services(), environment["SIS_API_URL"], db)
    print(logs if not agrees else "the store holds what SISU serves, imported in a container")  # noqa: T201 - as above
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
