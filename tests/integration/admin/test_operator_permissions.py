"""The permissions that deploy/ gives operators: every command of `importer` works with them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Outcome, ProcessUnderTest, run
from tests.support.restricted_users import RestrictedUsers
from tests.support.running_system import NO_RUN_SOON
from tests.support.waiting import wait_until


def importer(restricted_users: RestrictedUsers, *arguments: str, user: str = "operator") -> Outcome:
    """Run one command, as an operator."""
    return run("admin", *arguments, **restricted_users.variables(user), SERVICES="PERSON")


def succeed(restricted_users: RestrictedUsers, *arguments: str) -> str:
    """Run one command, check that it succeeds, and return its output."""
    outcome = importer(restricted_users, *arguments)
    assert outcome.code == 0, outcome.output
    return outcome.output


@pytest.fixture
def installation(restricted_users: RestrictedUsers, tmp_path: Path) -> Iterator[RestrictedUsers]:
    """Start a producer, a collector and a mankeli that rejects one entity; yield after the first run."""
    with ExitStack() as stack:
        rejected = next(iter(restricted_users.sisu.expected("PERSON")))

        def start(module: str, *arguments: str, **variables: str) -> ProcessUnderTest:
            user = module.rpartition(".")[2]
            return stack.enter_context(
                ProcessUnderTest(module, *arguments, **restricted_users.variables(user) | variables)
            )

        producer = start("producer", SERVICES="PERSON", CRON=NO_RUN_SOON)
        producer.wait_for('"lock_acquired"')
        start("ack_collector").wait_for('"started"')
        start("demo.mankeli", "--db", str(tmp_path / "store"), "--fail-id", rejected).wait_for("ready")
        producer.wait_for('"next_run_scheduled"')
        yield restricted_users


def test_an_operator_inspects_and_controls_the_import(installation: RestrictedUsers) -> None:
    """The commands check, status, why, services, plan, run, pause, resume, rewind and rewind --undo work."""
    assert "error" not in succeed(installation, "check").split()
    assert "permissions in NATS" in succeed(installation, "check")
    status = json.loads(succeed(installation, "status", "--json"))
    assert (len(status["producers"]), status["services"][0]["ordinal"]) == (
        1,
        installation.sisu.greatest_ordinal("PERSON"),
    )
    assert json.loads(succeed(installation, "why", "--json"))["code"] == "idle"
    succeed(installation, "services")
    succeed(installation, "check", "--alive")
    assert json.loads(succeed(installation, "plan", "STUDY_LEVEL", "--json"))["entities"]
    assert json.loads(succeed(installation, "plan", "PERSON", "--since", "0", "--json"))["complete"]

    succeed(installation, "pause", "--reason", "a test of permissions")
    wait_until(lambda: "a test of permissions" in importer(installation, "why").output, "the pause is shown")
    ordinal = installation.sisu.greatest_ordinal("PERSON")
    rewound: dict[str, Any] = json.loads(succeed(installation, "rewind", "PERSON", "--to", "5", "--json"))
    assert (rewound["fromOrdinal"], rewound["toOrdinal"]) == (ordinal, 5)
    assert json.loads(succeed(installation, "rewind", "--undo", "--json"))["toOrdinal"] == ordinal
    assert succeed(installation, "resume") == "Resumed.\n"
    succeed(installation, "run", "--service", "PERSON")
    wait_until(
        lambda: len(json.loads(succeed(installation, "status", "--json"))["runs"]) == 2,
        "the requested run has finished",
    )


def test_an_operator_manages_dead_letters(installation: RestrictedUsers) -> None:
    """The commands dead-letters list, show, retry --wait and drop work."""
    [dead_letter] = json.loads(succeed(installation, "dead-letters", "list", "--json"))["deadLetters"]
    assert dead_letter["id"] == next(iter(installation.sisu.expected("PERSON")))
    assert "told to fail" in json.loads(succeed(installation, "dead-letters", "show", dead_letter["subject"]))["error"]
    retried = importer(installation, "dead-letters", "retry", dead_letter["subject"], "--wait")
    assert (retried.code, "rejected again" in retried.output) == (1, True), retried.output
    assert succeed(installation, "dead-letters", "drop", "--service", "PERSON", "--yes") == "Deleted 1 dead letter.\n"
    assert json.loads(succeed(installation, "dead-letters", "list", "--json"))["total"] == 0


def test_the_producers_settings_are_sufficient(installation: RestrictedUsers) -> None:
    """On the producer's machine, `importer` works with the producer's settings in the environment."""
    for command in (["check"], ["status"], ["why"], ["dead-letters", "list"]):
        outcome = importer(installation, *command, user="producer")
        assert outcome.code == 0, outcome.output
