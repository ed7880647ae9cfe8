"""The demo as a new user runs it, and while its processes are killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.demo_folder import demo_folder
from tests.support.descendants import descendants
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
LOG = ROOT / ".demo" / "log"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start the demo like `make demo`."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("NATS_URI", "REDIS_URI", "DEMO", "DEMO_STAN")
    }
    with demo_folder(), (tmp_path / "output").open("w") as output:
        LOG.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "demo"], cwd=ROOT, stdout=output, stderr=output, env=environment
        )
        process.output = tmp_path / "output"  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def services_finished() -> int:
    """Return the number of services that the producers have reported as finished."""
    lines = LOG.read_text(errors="replace").splitlines() if LOG.exists() else []
    return sum('"service_finished"' in line for line in lines)


def kill_one(demo: "subprocess.Popen[str]", module: str) -> None:
    """Kill a process of the demo that runs `module`, as soon as there is one."""

    def find() -> int | None:
        return next((pid for pid, command in descendants(demo.pid).items() if module in command), None)

    os.kill(wait_until(find, f"a process of {module}"), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes to kill in /proc")
@pytest.mark.timeout(240)
def test_killing_any_process_does_not_change_the_result(demo: "subprocess.Popen[str]") -> None:
    """The demo succeeds even if its producer, a collector and a mankeli are killed during the import."""
    for finished, module in ((1, "producer"), (4, "ack_collector"), (8, "demo.mankeli"), (12, "producer")):
        wait_until(lambda finished=finished: services_finished() >= finished, f"{finished} services", 90)
        kill_one(demo, module)
    assert demo.wait(200) == 0, demo.output.read_text()  # type: ignore[attr-defined]
    output = demo.output.read_text()  # type: ignore[attr-defined]
    assert "the store holds what SISU serves" in output
    assert (ROOT / ".demo" / "env").stat().st_mode & 0o777 == 0o600  # it has the token
    exits = [line for line in LOG.read_text(errors="replace").splitlines() if "SIGKILL" in line]
    assert len(exits) == 3, "supervisord reports that the producer was killed twice and a collector once"


@pytest.mark.timeout(120)
def test_the_demo_imports_everything(demo: "subprocess.Popen[str]") -> None:
    """The demo imports all entities of the 26 services without dead letters, and ends with exit code 0."""
    assert demo.wait(110) == 0, demo.output.read_text()  # type: ignore[attr-defined]
    finished = [
        json.loads(line) for line in LOG.read_text(errors="replace").splitlines() if '"service_finished"' in line
    ]
    assert len({event["service"] for event in finished}) == 26
    assert sum(event["entities"] for event in finished) == 25_000
    assert all(event["dead_letters"] == 0 for event in finished)
