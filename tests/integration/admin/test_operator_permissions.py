"""The rights that deploy/ gives operators: every command of `importer` works with them."""

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


def done(restricted_users: RestrictedUsers, *arguments: str) -> str:
    """Return what a command that must succeed says."""
    outcome = importer(restricted_users, *arguments)
    assert outcome.code == 0, outcome.output
    return outcome.output


@pytest.fixture
def at_work(restricted_users: RestrictedUsers, tmp_path: Path) -> Iterator[RestrictedUsers]:
    """Return a producer that has made its first run, a collector, and a mankeli that will not store one entity."""
    with ExitStack() as stack:
        bad = next(iter(restricted_users.sisu.expected("PERSON")))

        def start(module: str, *arguments: str, **variables: str) -> ProcessUnderTest:
            user = module.rpartition(".")[2]
            return stack.enter_context(
                ProcessUnderTest(module, *arguments, **restricted_users.variables(user) | variables)
            )

        producer = start("producer", SERVICES="PERSON", CRON=NO_RUN_SOON)
        producer.wait_for('"lock_acquired"')
        start("ack_collector").wait_for('"started"')
        start("demo.mankeli", "--db", str(tmp_path / "store"), "--fail-id", bad).wait_for("ready")
        producer.wait_for('"next_run_scheduled"')
        yield restricted_users


def test_an_operator_sees_and_steers(at_work: RestrictedUsers) -> None:
    """check, status, why, services, plan, run, pause, resume, rewind and its undo."""
    assert "error" not in done(at_work, "check").split()
    assert "permissions in NATS" in done(at_work, "check")
    status = json.loads(done(at_work, "status", "--json"))
    assert (len(status["producers"]), status["services"][0]["ordinal"]) == (1, at_work.sisu.greatest_ordinal("PERSON"))
    assert json.loads(done(at_work, "why", "--json"))["code"] == "idle"
    done(at_work, "services")
    done(at_work, "check", "--alive")
    assert json.loads(done(at_work, "plan", "STUDY_LEVEL", "--json"))["entities"]
    assert json.loads(done(at_work, "plan", "PERSON", "--since", "0", "--json"))["complete"]

    done(at_work, "pause", "--reason", "rights")
    wait_until(lambda: "rights" in importer(at_work, "why").output, "the pause is seen")
    ordinal = at_work.sisu.greatest_ordinal("PERSON")
    rewound: dict[str, Any] = json.loads(done(at_work, "rewind", "PERSON", "--to", "5", "--json"))
    assert (rewound["fromOrdinal"], rewound["toOrdinal"]) == (ordinal, 5)
    assert json.loads(done(at_work, "rewind", "--undo", "--json"))["toOrdinal"] == ordinal
    assert done(at_work, "resume") == "Resumed.\n"
    done(at_work, "run", "--service", "PERSON")
    wait_until(lambda: len(json.loads(done(at_work, "status", "--json"))["runs"]) == 2, "the run is made")


def test_an_operator_deals_with_dead_letters(at_work: RestrictedUsers) -> None:
    """dead-letters list, show, retry --wait and drop."""
    [letter] = json.loads(done(at_work, "dead-letters", "list", "--json"))["deadLetters"]
    assert letter["id"] == next(iter(at_work.sisu.expected("PERSON")))
    assert "told to fail" in json.loads(done(at_work, "dead-letters", "show", letter["subject"]))["error"]
    again = importer(at_work, "dead-letters", "retry", letter["subject"], "--wait")
    assert (again.code, "rejected again" in again.output) == (1, True), again.output
    assert done(at_work, "dead-letters", "drop", "--service", "PERSON", "--yes") == "Deleted 1 dead letter.\n"
    assert json.loads(done(at_work, "dead-letters", "list", "--json"))["total"] == 0


def test_the_producers_settings_will_do(at_work: RestrictedUsers) -> None:
    """On the producer's machine, with its settings in the environment, `importer` needs no others."""
    for command in (["check"], ["status"], ["why"], ["dead-letters", "list"]):
        outcome = importer(at_work, *command, user="producer")
        assert outcome.code == 0, outcome.output
