"""The shipped supervisord.conf with the shipped users: each process has its own, all from one environment."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from demo.mankeli.comparison import compare, fetch_expected
from demo.mankeli.store import MankeliStore
from shared.config.settings import CollectorSettings, ProducerSettings
from shared.model.services import load_services
from tests.support.descendants import descendants, environment_of
from tests.support.programs import ROOT, ProcessUnderTest
from tests.support.restricted_users import RestrictedUsers, as_user
from tests.support.running_system import NO_RUN_SOON
from tests.support.waiting import wait_until

SECRETS = {
    "SIS_API_USER": "importer",
    "SIS_API_PASSWORD": "s3cret-passw0rd",
    "EXPLORER_TOKEN": "s3cret-explorer-token",
    "PROXY_TOKEN": "s3cret-proxy-token",
    "HTTPS_PROXY": "http://user:s3cret-proxy-passw0rd@127.0.0.1:1",
}
NUMBERS = {"producer": 1, "ack_collector": 2}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def limits_of(pid: int) -> str:
    return Path(f"/proc/{pid}/limits").read_text()


class Installation:
    """supervisord in a directory of its own, and the commands that an operator types there."""

    def __init__(self, stack: ExitStack, users: RestrictedUsers, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        own = {
            f"{process.upper()}_{server}_URI": as_user(uri, process)
            for process in ("producer", "ack_collector")
            for server, uri in (("NATS", users.nats_uri), ("REDIS", users.redis_uri))
        }
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = (
            kept
            | users.variables("operator")
            | own
            | SECRETS
            | {"ACK_COLLECTOR_PROCS": "2", "CRON": NO_RUN_SOON, "LOG_FORMAT": "json", "PATH": path}
        )
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(ROOT / "supervisord.conf")],
                cwd=directory,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        stack.callback(self.stop)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def pids(self, module: str) -> list[int]:
        return [pid for pid, command in descendants(self.process.pid).items() if command[1:3] == ["-m", module]]

    def wait_for_all(self) -> None:
        """Wait until the producer and both collectors have started; before, one that lacks the streams ends again."""

        def have_started() -> bool:
            lines = [line for line in self.log.read_text().splitlines() if '"started"' in line]
            return all(sum(f'"{kind}"' in line for line in lines) == n for kind, n in NUMBERS.items())

        wait_until(have_started, "all have started", 60)

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a command with the whole environment, and return its output."""
        result = subprocess.run(
            command, cwd=cwd or self.directory, env=self.environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, (result.stdout + result.stderr, self.log.read_text())
        return result.stdout


@pytest.fixture
def installation(restricted_users: RestrictedUsers, tmp_path: Path) -> Iterator[Installation]:
    """Start supervisord, and a mankeli with the user of mankelis."""
    with ExitStack() as stack:
        started = Installation(stack, restricted_users, tmp_path / "run")
        mankeli = ProcessUnderTest(
            "demo.mankeli", "--db", str(tmp_path / "store"), **restricted_users.variables("mankeli")
        )
        stack.enter_context(mankeli)
        yield started


def test_everything_is_imported_with_one_user_for_each_process(
    installation: Installation, restricted_users: RestrictedUsers, tmp_path: Path
) -> None:
    """The whole import passes with the shipped permissions, which allow no process what another one does."""
    wait_until(lambda: '"run_finished"' in installation.log.read_text(), "a run has finished", 90)
    log = installation.log.read_text()
    (finished,) = [orjson.loads(line) for line in log.splitlines() if '"run_finished"' in line]
    assert finished["complete"] is True, log
    store = MankeliStore(tmp_path / "store")
    for service in load_services():
        assert compare(store, service, fetch_expected(restricted_users.sisu.uri, service)) is None
    store.close()
    assert "change-me" not in log

    python = sys.executable

    def running() -> tuple[int, int]:
        status = orjson.loads(installation.run(python, "-m", "admin", "status", "--json", cwd=ROOT))
        return len(status["producers"]), len(status["collectors"])

    # A collector that came before the streams was started again.
    wait_until(lambda: running() == (1, 2), "the operator sees a producer and two collectors", 60)
    producers = ("sh", "deploy/run-as.sh", "producer", python, "-m", "admin", "check", "--json")
    findings = {each["subject"]: each["result"] for each in orjson.loads(installation.run(*producers, cwd=ROOT))}
    assert {findings[f"permissions in {server}"] for server in ("NATS", "Redis")} == {"ok"}


def test_collectors_have_no_secret_that_only_the_producer_needs(installation: Installation) -> None:
    """Nor does either process have the other's users; all that the producer needs it has."""
    installation.wait_for_all()
    collectors = [environment_of(pid) for pid in installation.pids("ack_collector")]
    producer = environment_of(installation.pids("producer")[0])

    assert producer.items() >= SECRETS.items()
    assert "change-me-producer" in producer["NATS_URI"]
    assert "change-me-ack_collector" not in str(producer)
    for pid in (*installation.pids("producer"), *installation.pids("ack_collector")):
        # A core file would have the secrets of the process.
        wait_until(lambda pid=pid: re.search(r"Max core file size +0 +0 ", limits_of(pid)), "core files are off", 20)
    for collector in collectors:
        assert "change-me-ack_collector" in collector["NATS_URI"]
        assert "change-me-ack_collector" in collector["REDIS_URI"]
        for secret in (*SECRETS.values(), "change-me-producer", "change-me-operator"):
            assert secret not in collector.values()
            assert secret not in str(collector).replace(SECRETS["SIS_API_USER"], "")


def test_every_secret_of_the_producer_is_withheld_from_collectors() -> None:
    """A new secret in the producer's settings has to be added to run-as.sh."""
    unset = [
        word
        for line in (ROOT / "deploy" / "run-as.sh").read_text().splitlines()
        if line.strip().startswith("unset ")
        for word in line.split()
    ]
    only_producers = ProducerSettings.model_fields.keys() - CollectorSettings.model_fields.keys()
    secret = {name for name in only_producers if "SecretStr" in str(ProducerSettings.model_fields[name])}
    assert secret >= {"sis_api_password", "api_key", "proxy_token", "explorer_token"}
    assert {name.upper() for name in secret} <= set(unset)


def test_nothing_is_written_beside_the_code(installation: Installation) -> None:
    """Socket and pid file are where supervisord was started, and supervisorctl works there."""
    wait_until(lambda: len(installation.pids("ack_collector")) == 2, "two collectors", 30)
    supervisorctl = (sys.executable, "-m", "supervisor.supervisorctl", "-c", str(ROOT / "supervisord.conf"))
    assert (
        "producer"
        in subprocess.run(
            [*supervisorctl, "status"],
            cwd=installation.directory,
            env=installation.environment,
            capture_output=True,
            text=True,
            check=False,  # 3 where a process is not running
        ).stdout
    )
    assert {"supervisord.pid", "supervisor.sock"} <= {path.name for path in installation.directory.iterdir()}
    assert not {"supervisord.pid", "supervisor.sock"} & {path.name for path in ROOT.iterdir()}
