"""A whole import by workers of the STAN era, through a real nats-streaming-server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.mankeli.store import MankeliStore
from demo.servers.processes import Server
from demo.sisu.simulator import SisuSimulator
from tests.conftest import MakeServer
from tests.support.demo_folder import demo_folder
from tests.support.programs import ROOT, ProcessUnderTest
from tests.support.running_system import SERVICES, RunningSystem


class StanSystem(RunningSystem):
    """A small installation with a running stan_bridge, too."""

    def add_stan(self, stan: Server) -> None:
        """Start a stan_bridge."""
        self.variables |= {"STAN_URI": stan.uri, "STAN_BRIDGE_PORT": "0"}
        self.bridge = self.start_bridge()
        self.bridge.wait_for('"started"')

    def start_bridge(self, **variables: str) -> ProcessUnderTest:
        """Start a stan_bridge, without waiting for it."""
        return self.stack.enter_context(ProcessUnderTest("stan_bridge", **self.variables | variables))

    def start_stan_mankeli(self, client_id: str, *arguments: str) -> ProcessUnderTest:
        """Start a mankeli of the STAN era."""
        command = ("--db", str(self.db), "--client-id", client_id, *arguments)
        mankeli = ProcessUnderTest("demo.stan_mankeli", *command, **self.variables)
        self.stack.enter_context(mankeli).wait_for("ready")
        return mankeli


@pytest.fixture
def stan_system(nats_uri: str, redis_uri: str, make_stan: MakeServer, tmp_path: Path) -> Iterator[StanSystem]:
    """Yield an installation with a STAN of its own."""
    with ExitStack() as stack:
        sisu = stack.enter_context(SisuSimulator(size=1500))
        system = StanSystem(stack, nats_uri, redis_uri, tmp_path / "store.sqlite", sisu)
        system.add_stan(make_stan())
        yield system


def test_everything_is_imported_twice(stan_system: StanSystem) -> None:
    """Two workers store all services; the second run brings only the one-time services, and nothing came twice."""
    for client_id in ("one", "two"):
        stan_system.start_stan_mankeli(client_id)
    first = stan_system.import_once()
    assert first.code == 0, first.output
    stan_system.assert_all_is_stored()
    store = MankeliStore(stan_system.db)
    delivered = store.delivered()
    assert delivered.keys() == {service.name for service in SERVICES}
    second = stan_system.import_once()
    assert second.code == 0, second.output
    again = store.delivered()
    store.close()
    changed = {name for name in again if again[name] != delivered[name]}
    assert changed == {service.name for service in SERVICES if service.one_time}
    stan_system.bridge.terminate()
    outcome = stan_system.bridge.outcome()
    assert outcome.code == 0, outcome.output


@pytest.fixture
def folder_of_the_demo() -> Iterator[Path]:
    """Wait until no other test uses the demo's folder."""
    with demo_folder() as folder:
        yield folder


@pytest.mark.timeout(150)
@pytest.mark.usefixtures("folder_of_the_demo")
def test_the_demo_with_stan(make_stan: MakeServer) -> None:
    """`DEMO_STAN=1 make demo` has the same verdict as without."""
    make_stan(start=False)  # skips where there is none
    environment = {name: value for name, value in os.environ.items() if name not in ("NATS_URI", "REDIS_URI", "DEMO")}
    demo = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=environment | {"DEMO_STAN": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=140,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "the store holds what SISU serves" in demo.stdout
