"""The worker of the STAN era in Node, with the client library of its time: installed once, started by a test."""

import fcntl
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from demo.servers.child_process import launch
from demo.sisu.simulator import SisuSimulator
from shared.model.services import Api, Service
from tests.support.waiting import wait_until

FOLDER = Path(__file__).with_name("stan_worker")
_INSTALL_SECONDS = 110


def install() -> None:
    """Install its libraries by npm, once. Skips the test without Node; a failure counts where STAN is required."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("there is no Node on this machine")
    with (FOLDER / ".lock").open("w") as lock:  # several test processes need it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (FOLDER / "node_modules" / "node-nats-streaming").exists():
            return
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        installed = subprocess.run(
            command, cwd=FOLDER, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    if installed.returncode:
        is_required = os.environ.get("IMPORTER_TEST_STAN") == "required"
        (pytest.fail if is_required else pytest.skip)(f"npm cannot install the worker: {installed.stderr[-500:]}")


class StanWorker:
    """A running worker. Its store is a file of JSON lines, in the order in which it stored."""

    def __init__(self, folder: Path, client_id: str, services: Sequence[Service], **variables: str) -> None:
        install()
        self.store, self._log = folder / f"{client_id}.jsonl", folder / f"{client_id}.log"
        self.store.touch()
        channels = ",".join(service.channel for service in services)
        with self._log.open("wb") as log:
            self.process = launch(
                ["node", str(FOLDER / "worker.js")],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "CLIENT_ID": client_id, "STORE": str(self.store), "CHANNELS": channels}
                | variables,
            )

    def wait_for(self, text: str, deadline_seconds: float = 30) -> None:
        """Wait until its output contains this text."""

        def written() -> bool:
            assert self.process.poll() is None, f"it has ended:\n{self.output}"
            return text in self.output

        wait_until(written, f"{text!r} is written", deadline_seconds)

    @property
    def output(self) -> str:
        """Return its output so far."""
        return self._log.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """Return what it stored."""
        return [_loads(line) for line in self.store.read_text().split("\n") if line]

    def close(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


def _loads(text: str | bytes) -> Any:
    """Parse JSON with numbers as JavaScript has them: doubles, which round large integers."""
    return json.loads(text, parse_int=float)


def delivered(workers: Sequence[StanWorker]) -> Counter[str]:
    """Return how many entities of each channel these workers stored, repetitions included."""
    return Counter(line["channel"] for worker in workers for line in worker.lines() if "channel" in line)


def differences(workers: Sequence[StanWorker], sisu: SisuSimulator, services: Sequence[Service]) -> list[str]:
    """Return in which services the newest version that a worker stored of each entity is not what SISU has."""
    stored: dict[str, dict[str, Any]] = {}
    for worker in workers:
        for line in worker.lines():
            if "channel" in line:
                stored.setdefault(line["channel"], {})[line["entity"]["id"]] = line["entity"]
    wrong = []
    for service in services:
        entities = stored.get(service.channel, {})
        expected = {version.entity_id: _loads(version.body) for version in sisu.versions(service.name)}
        if service.api is Api.URN:  # the producer gives them an id and a state
            entities = {
                each: {name: value for name, value in entity.items() if name not in ("id", "documentState")}
                for each, entity in entities.items()
            }
            expected = {
                each: {name: value for name, value in entity.items() if name not in ("id", "documentState")}
                for each, entity in expected.items()
            }
        if entities != expected:
            wrong.append(f"{service.name}: {len(entities)} stored, {len(expected)} expected")
    return wrong
