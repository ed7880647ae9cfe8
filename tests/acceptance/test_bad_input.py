"""Both programs with invalid input or unavailable servers: one clear line, the right exit code, no secret."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.servers.processes import Server, free_port
from demo.sisu.simulator import Credentials, SisuSimulator
from tests.conftest import MakeServer
from tests.support import servers
from tests.support.programs import Outcome, ProcessUnderTest, run

PRODUCER, COLLECTOR = ("producer", "--once"), ("ack_collector",)
BOTH = pytest.mark.parametrize("program", [PRODUCER, COLLECTOR], ids=["producer", "ack_collector"])
SECRET = "s3cret-t0ken"
QUICK_SECONDS = 15.0
"""Enough for a start and a rejection on a busy machine."""


def variables(**others: str) -> dict[str, str]:
    """Return the settings that both programs need, with addresses that are not connected to, and `others`."""
    needed = {
        "NATS_URI": "nats://127.0.0.1:1",
        "REDIS_URI": "redis://127.0.0.1:1",
        "SIS_API_URL": "http://127.0.0.1:1",
        "KORI_PUBLIC_API_URL": "http://127.0.0.1:1",
        "PORT": "0",
        "COLLECTOR_PORT": "0",
        "LOG_LEVEL": "DEBUG",
    }
    return needed | others


def reason_of(outcome: Outcome, code: int) -> str:
    """Return the reason in the last log line of a program that ended with this exit code and no other error."""
    assert outcome.code == code, outcome.output
    assert "Traceback" not in outcome.output
    assert SECRET not in outcome.output
    last = outcome.events[-1]
    assert (last["event"], last["level"], last["exit_code"]) == ("process_failed", "error", code)
    assert [event["event"] for event in outcome.events].count("process_failed") == 1
    reason: str = last["reason"]
    return reason


@BOTH
def test_every_invalid_setting_is_reported_in_one_message(program: tuple[str, ...]) -> None:
    """All mistakes are reported at once, by the names of the variables, with exit code 2 and no traceback."""
    invalid = {
        "NATS_URI": f"nats://importer:{SECRET}@host:port",
        "REDIS_URI": f"http://:{SECRET}@host",
        "NATS_REPLICAS": "many",
        "NATS_CA_PATH": "/nowhere",
        "SERVICES_FILE": "/nowhere",
        "LOG_LEVEL": "LOUD",
        "LOG_FORMAT": "xml",
    }
    only_of_producer = {
        "SIS_API_URL": f"https://importer:{SECRET}@host",
        "KORI_PUBLIC_API_URL": "sisu",
        "PROXY_TOKEN": f"{SECRET}\n",
        "API_KEY": SECRET,
        "SIS_API_PASSWORD": SECRET,
        "SIS_CA_PATH": "/nowhere",
        "SIS_TIMEOUT_SECONDS": "never",
        "FETCH_AMOUNT": "0",
        "MAX_CHUNK_SIZE": "-1",
        "PANIC_TIMEOUT_SECONDS": "inf",
        "UPDATE_RETRY_LIMIT": "-1",
        "DEAD_LETTER_LIMIT": "few",
        "CRON": "hourly",
        "TIMEZONE": "Helsinki",
    }
    expected = invalid | (only_of_producer if program == PRODUCER else {})
    outcome = run(*program, **(invalid | only_of_producer))
    assert outcome.code == 2
    for name in expected:
        assert outcome.output.count(f"  {name}") == 1, name
    if program == COLLECTOR:
        assert "SIS_API" not in outcome.output
    assert outcome.output.count("the configuration cannot be used") == 1
    assert "Traceback" not in outcome.output
    assert SECRET not in outcome.output


@BOTH
def test_an_empty_environment_is_reported(program: tuple[str, ...]) -> None:
    """A program that starts without any variable reports the required ones."""
    outcome = run(*program)
    assert outcome.code == 2
    missing = ["NATS_URI", "REDIS_URI"] + (["SIS_API_URL"] if program == PRODUCER else [])
    assert [
        name for name in ("NATS_URI", "REDIS_URI", "SIS_API_URL") if f"{name} is not set" in outcome.output
    ] == missing
    assert "Traceback" not in outcome.output


def test_an_unknown_service_is_reported() -> None:
    """A subset with a service that the table does not have is rejected before any connection is made."""
    outcome = run(*PRODUCER, **variables(SERVICES="PERSON,PERSONS"))
    assert outcome.code == 2
    assert "SERVICES: unknown: PERSONS" in outcome.output


@BOTH
def test_an_invalid_table_is_reported(program: tuple[str, ...], tmp_path: Path) -> None:
    """An error in SERVICES_FILE is reported with the file's name."""
    table = tmp_path / "services.toml"
    table.write_text('[[service]]\nname = "PERSON"\n')
    outcome = run(*program, **variables(SERVICES_FILE=str(table)))
    assert outcome.code == 2
    assert f"SERVICES_FILE: the services table {table} cannot be used" in outcome.output
    assert "Traceback" not in outcome.output


@BOTH
@pytest.mark.parametrize(
    ("authorization", "credentials", "token"),
    [
        ("token: right", "", {"NATS_TOKEN": SECRET}),
        ("token: right", "", {}),
        ("user: importer, password: right", f"importer:{SECRET}@", {}),
    ],
    ids=["wrong token", "no token", "wrong password"],
)
def test_credentials_that_nats_rejects_are_reported(
    redis_uri: str,
    make_nats: MakeServer,
    program: tuple[str, ...],
    authorization: str,
    credentials: str,
    token: dict[str, str],
) -> None:
    """Wrong credentials for NATS end a program at once, with the address and the variables to check."""
    port = make_nats(config=f"authorization {{ {authorization} }}").port
    uri = f"nats://{credentials}127.0.0.1:{port}"
    outcome = run(*program, **variables(NATS_URI=uri, REDIS_URI=redis_uri, **token))
    reason = reason_of(outcome, 2)
    assert reason.startswith(f"NATS at 127.0.0.1:{port} rejected the credentials: check NATS_TOKEN")
    assert outcome.seconds < QUICK_SECONDS


@BOTH
@pytest.mark.parametrize(
    "credentials", [f":{SECRET}@", f"importer:{SECRET}@", ""], ids=["wrong", "unknown user", "none"]
)
def test_credentials_that_redis_rejects_are_reported(
    make_redis: MakeServer, program: tuple[str, ...], credentials: str
) -> None:
    """A wrong or missing password for Redis ends a program at once, with the variable to check."""
    port = make_redis(config="requirepass right").port
    outcome = run(*program, **variables(REDIS_URI=f"redis://{credentials}127.0.0.1:{port}/0"))
    reason = reason_of(outcome, 2)
    assert reason.startswith("Redis denied the first contact with 127.0.0.1:")
    assert "check REDIS_URI" in reason
    assert outcome.seconds < QUICK_SECONDS


@BOTH
def test_a_stream_that_is_configured_differently_is_reported(
    make_nats: MakeServer, redis_uri: str, program: tuple[str, ...]
) -> None:
    """A stream that was created with other settings ends a program, with the difference."""
    server = make_nats()
    with ProcessUnderTest("ack_collector", **variables(NATS_URI=server.uri, REDIS_URI=redis_uri)) as first:
        first.wait_for('"started"')
    outcome = run(*program, **variables(NATS_URI=server.uri, REDIS_URI=redis_uri, NATS_REPLICAS="3"))
    reason = reason_of(outcome, 2)
    assert "the NATS stream IMPORTER is not configured as required: num_replicas is 1, must be 3" in reason


class Unreachable:
    """Programs whose dependencies are not running. All of them wait at the same time, to save minutes."""

    def __init__(self, stack: ExitStack, nats: Server, redis: Server, port: int) -> None:
        self.port = port
        running = {"NATS_URI": nats.uri, "REDIS_URI": redis.uri}
        nowhere = f"127.0.0.1:{port}"
        cases = {
            "nats": running | {"NATS_URI": f"nats://importer:{SECRET}@{nowhere}"},
            "redis": running | {"REDIS_URI": f"redis://:{SECRET}@{nowhere}"},
            "sisu": running | {"SIS_API_URL": f"http://{nowhere}", "SERVICES": "PERSON,PLAN", "PROXY_TOKEN": SECRET},
        }
        self._programs = {
            (program, dependency): stack.enter_context(ProcessUnderTest(*program, **variables(**addresses)))
            for dependency, addresses in cases.items()
            for program in (PRODUCER, COLLECTOR)
            if (program, dependency) != (COLLECTOR, "sisu")
        }

    def outcome(self, program: tuple[str, ...], dependency: str) -> Outcome:
        """Return the outcome of a program without this dependency."""
        return self._programs[program, dependency].outcome(90)


@pytest.fixture(scope="module")
def unreachable() -> Iterator[Unreachable]:
    """Start all programs whose dependencies are not running."""
    with ExitStack() as stack:
        # Separate servers: these programs outlive one test, and other tests empty the shared servers.
        nats, redis = (stack.enter_context(make()) for make in (servers.choose().nats, servers.choose().redis))
        yield Unreachable(stack, nats, redis, free_port())


@BOTH
def test_an_unreachable_nats_is_reported(unreachable: Unreachable, program: tuple[str, ...]) -> None:
    """Without NATS a program ends after half a minute, with the exit code for a restart."""
    outcome = unreachable.outcome(program, "nats")
    assert f"NATS at 127.0.0.1:{unreachable.port} cannot be reached: Connection refused" in reason_of(outcome, 3)
    assert 25 < outcome.seconds < 60


@BOTH
def test_an_unreachable_redis_is_reported(unreachable: Unreachable, program: tuple[str, ...]) -> None:
    """Without Redis a program ends after some seconds, with the exit code for a restart."""
    outcome = unreachable.outcome(program, "redis")
    reason = reason_of(outcome, 3)
    assert reason.startswith("Redis is unavailable (the first contact with 127.0.0.1:")
    assert f"127.0.0.1:{unreachable.port}" in reason
    assert 1 < outcome.seconds < 60


def test_an_unreachable_sisu_is_reported(unreachable: Unreachable) -> None:
    """Without SISU a run is incomplete: one line names the address, and no other service is tried there."""
    outcome = unreachable.outcome(PRODUCER, "sisu")
    assert outcome.code == 1, outcome.output
    (failed,) = [event for event in outcome.events if event["event"] == "service_failed"]
    assert f"PERSON: SISU at http://127.0.0.1:{unreachable.port}: no connection: Connection refused" in failed["reason"]
    (skipped,) = [event for event in outcome.events if event["event"] == "service_skipped"]
    assert skipped["service"] == "PLAN"
    assert outcome.events[-1] | {"event": "run_finished", "complete": False} == outcome.events[-1]
    assert "Traceback" not in outcome.output
    assert SECRET not in outcome.output
    assert outcome.seconds < 80


def test_credentials_that_sisu_rejects_are_reported(nats_uri: str, redis_uri: str) -> None:
    """A 401 fails every service with these credentials after one request, with the reason for each."""
    with SisuSimulator(size=100, credentials=Credentials(token="right")) as sisu:
        addresses = {"NATS_URI": nats_uri, "REDIS_URI": redis_uri, "SIS_API_URL": sisu.uri}
        outcome = run(*PRODUCER, **variables(**addresses, SERVICES="PERSON,PLAN", PROXY_TOKEN=SECRET))
        assert outcome.code == 1, outcome.output
        failed = {event["service"]: event["reason"] for event in outcome.events if event["event"] == "service_failed"}
        reason = f"SISU at {sisu.uri} rejected the credentials (401): check PROXY_TOKEN"
        assert failed == {service: f"{service}: {reason}" for service in ("PERSON", "PLAN")}
        assert len(sisu.requests) == 1
        assert SECRET not in outcome.output


def test_a_service_that_sisu_forbids_is_reported(nats_uri: str, redis_uri: str) -> None:
    """A 403 for a service without an earlier success is logged as an error, and the run is complete without it."""
    with SisuSimulator(size=100, forbidden=["PERSON"]) as sisu:
        addresses = {"NATS_URI": nats_uri, "REDIS_URI": redis_uri, "SIS_API_URL": sisu.uri}
        outcome = run(*PRODUCER, **variables(**addresses, SERVICES="PERSON"))
        assert outcome.code == 0, outcome.output
        (forbidden,) = [event for event in outcome.events if event["event"] == "service_forbidden"]
        assert forbidden["level"] == "error"
        assert "PERSON: " in forbidden["reason"]
        assert len(sisu.requests) == 1


def test_an_unknown_argument_is_reported() -> None:
    """A mistyped argument is reported and not ignored."""
    outcome = run("producer", "--twice", **variables())
    assert outcome.code == 2
    assert "unrecognized arguments: --twice" in outcome.output
