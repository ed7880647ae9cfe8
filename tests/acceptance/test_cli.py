"""`importer` as an operator types it, against real servers and processes: what it says, does, and exits with."""

import json
from typing import Any

from shared.model import keys
from tests.support.programs import Outcome, ProcessUnderTest, run
from tests.support.running_system import RunningSystem
from tests.support.waiting import wait_until


def importer(running_system: RunningSystem, *arguments: str, **variables: str) -> Outcome:
    """Run one command to its end."""
    return run("admin", *arguments, **running_system.variables | variables)


def answer(running_system: RunningSystem, *arguments: str) -> Any:
    """Return the JSON that a command prints."""
    outcome = importer(running_system, *arguments, "--json")
    assert outcome.output.startswith(("{", "[")), outcome.output
    return json.loads(outcome.output)


def idle_producer(running_system: RunningSystem, **variables: str) -> ProcessUnderTest:
    """Return a producer that has made its first run, with a mankeli."""
    running_system.start_mankeli()
    producer = running_system.start_producer(**variables)
    wait_until(lambda: answer(running_system, "why")["code"] == "idle", "it is idle")
    return producer


def ordinal(running_system: RunningSystem) -> int:
    """Of PERSON."""
    return int(running_system.redis.get("LATEST_PERSON_ORDINAL") or 0)


def test_status_tells_everything(running_system: RunningSystem) -> None:
    """The services with their ordinals, the processes, and the last runs, for people and for programs."""
    idle_producer(running_system)
    status = answer(running_system, "status")
    assert (status["version"], status["diagnosis"]["code"]) == (1, "idle")
    assert [len(status["producers"]), len(status["collectors"]), len(status["services"])] == [1, 1, 26]
    person = status["services"][0]
    assert (person["name"], person["ordinal"]) == ("PERSON", running_system.sisu.greatest_ordinal("PERSON"))
    assert person["lastSuccessAt"]
    assert status["runs"][0]["complete"] is True
    assert sum(outcome["entities"] for outcome in status["runs"][0]["outcomes"]) == 1500
    shown = importer(running_system, "status").output
    assert str(person["ordinal"]) in shown
    assert "1 collector running" in shown


def test_check_finds_everything_in_order(running_system: RunningSystem) -> None:
    """Redis, NATS, the rights in both, streams and each API of SISU; a service that is forbidden is only a warning."""
    running_system.start_mankeli()
    running_system.sisu.forbidden = {"DISCLOSURE"}
    findings = {finding["subject"]: finding["result"] for finding in answer(running_system, "check")}
    assert len(findings) == 2 + 2 + 3 + 1 + 26
    assert findings.pop("SISU DISCLOSURE") == "warning"
    assert set(findings.values()) == {"ok"}


def test_check_names_all_that_is_wrong_at_once(running_system: RunningSystem) -> None:
    """Redis, NATS and SISU are unreachable: three findings, each with its place, and exit code 1."""
    nowhere = {"REDIS_URI": "redis://127.0.0.1:1", "NATS_URI": "nats://127.0.0.1:1", "SERVICES": "PERSON"}
    outcome = importer(running_system, "check", "--json", SIS_API_URL="http://127.0.0.1:1", **nowhere)
    assert outcome.code == 1
    findings = {finding["subject"]: finding for finding in json.loads(outcome.output)}
    assert {name for name, finding in findings.items() if finding["result"] == "error"} == set(findings)
    assert findings.keys() == {"Redis", "NATS", "SISU PERSON"}


def test_check_names_wrong_settings(running_system: RunningSystem) -> None:
    """A setting that is wrong is named with exit code 2, as by the processes."""
    outcome = importer(running_system, "check", FETCH_AMOUNT="many", CRON="whenever")
    assert outcome.code == 2
    assert "FETCH_AMOUNT" in outcome.output
    assert "CRON" in outcome.output


def test_a_health_check_knows_who_is_alive(running_system: RunningSystem) -> None:
    """A collector runs and no producer: the exit codes say so."""
    wait_until(
        lambda: importer(running_system, "check", "--alive", "--process", "ack_collector").code == 0, "a heartbeat"
    )
    assert importer(running_system, "check", "--alive", "--process", "producer").code == 1
    assert importer(running_system, "check", "--alive").code == 1


def test_a_run_is_made_on_request(running_system: RunningSystem) -> None:
    """A run of one service begins now, and imports what changed in it."""
    idle_producer(running_system)
    running_system.sisu.touch("PERSON", 10, seed=1)
    newest = running_system.sisu.greatest_ordinal("PERSON")
    assert importer(running_system, "run", "--service", "PERSON").code == 0
    wait_until(lambda: ordinal(running_system) == newest, "PERSON is imported")
    runs = wait_until(lambda: answer(running_system, "status")["runs"][:-1], "the run is remembered")
    assert (runs[0]["trigger"], runs[0]["services"]) == ("request", 1)


def test_without_a_producer_a_request_waits(running_system: RunningSystem) -> None:
    """The request is kept, and the exit code tells that nobody has taken it up yet."""
    outcome = importer(running_system, "run")
    assert (outcome.code, "no producer is active" in outcome.output) == (1, True)
    assert running_system.redis.hexists("IMPORTER_RUN_REQUESTS", "*")


def test_a_pause_holds_until_it_is_ended(running_system: RunningSystem) -> None:
    """While paused nothing is begun, not even by a producer that starts; then all is imported."""
    running_system.start_mankeli()
    assert importer(running_system, "pause", "--why", "upgrade").code == 0
    producer = running_system.start_producer()
    producer.wait_for('"paused"')
    assert ordinal(running_system) == 0
    wait_until(lambda: ": upgrade." in importer(running_system, "why").output, "why tells of the pause")
    assert importer(running_system, "resume").output == "Resumed.\n"
    producer.wait_for('"next_run_scheduled"')
    running_system.assert_all_is_stored()
    assert importer(running_system, "resume").output == "The import was not paused.\n"


def test_a_service_is_imported_anew_after_a_rewind(running_system: RunningSystem) -> None:
    """The ordinal goes back, it is kept who did it and why, and the next run brings everything once more."""
    producer = idle_producer(running_system)
    newest = ordinal(running_system)
    done = answer(running_system, "rewind", "PERSON", "--reason", "a backup was restored")
    assert (done["fromOrdinal"], done["toOrdinal"], done["reason"]) == (newest, 0, "a backup was restored")
    assert ordinal(running_system) == 0
    assert importer(running_system, "run").code == 0
    wait_until(lambda: ordinal(running_system) == newest, "PERSON is imported anew")
    assert '"ordinal_rewound"' in producer.output
    assert '"ordinal_lost"' not in producer.output, "nothing was lost"
    too_late = importer(running_system, "rewind", "--undo")
    assert (too_late.code, "nothing is left to undo" in too_late.output) == (1, True)


def test_a_rewind_can_be_taken_back(running_system: RunningSystem) -> None:
    """Before the next run the old ordinal can be restored, once."""
    idle_producer(running_system)
    newest = ordinal(running_system)
    assert importer(running_system, "rewind", "PERSON", "--to", "5").code == 0
    assert ordinal(running_system) == 5
    assert importer(running_system, "rewind", "--undo").code == 0
    assert ordinal(running_system) == newest
    assert importer(running_system, "rewind", "--undo").output == "importer: No rewind to undo.\n"


def test_a_rewind_never_goes_forward(running_system: RunningSystem) -> None:
    """What would skip changes is refused, and so is a service that does not exist."""
    outcome = importer(running_system, "rewind", "PERSON", "--to", "12")
    assert (outcome.code, "would skip changes" in outcome.output) == (1, True)
    assert ordinal(running_system) == 0
    assert importer(running_system, "rewind", "NOBODY").code == 2


def test_a_rewind_is_refused_while_a_batch_is_in_flight(running_system: RunningSystem) -> None:
    """Without --wait it is refused, with it the rewind comes after the batch."""
    mankeli = running_system.start_mankeli("--delay-seconds", "3600")
    running_system.start_producer(SERVICES="PERSON")
    wait_until(lambda: running_system.redis.hlen("LATEST_PERSON_ORDINAL_CHUNKS"), "a batch is in flight")
    wait_until(lambda: "in flight" in importer(running_system, "rewind", "PERSON", "--to", "0").output, "it is refused")
    mankeli.close()
    running_system.start_mankeli()
    told, json_line = importer(running_system, "rewind", "PERSON", "--wait", "--json").output.splitlines()
    assert told == "importer: waiting for the batch of PERSON that is in flight"
    rewound = json.loads(json_line)
    assert rewound["fromOrdinal"] == running_system.sisu.greatest_ordinal("PERSON")


def test_a_plan_publishes_and_stores_nothing(running_system: RunningSystem) -> None:
    """The walk counts what an import would bring, and leaves everything as it was."""
    found = answer(running_system, "plan", "PERSON")
    assert found["entities"] == len(running_system.sisu.expected("PERSON"))
    assert found["ordinal"] == running_system.sisu.greatest_ordinal("PERSON")
    assert ordinal(running_system) == 0
    assert not running_system.redis.exists("LATEST_PERSON_ORDINAL_EXECUTION")


def test_a_dead_letter_is_sent_again_when_its_cause_is_gone(running_system: RunningSystem) -> None:
    """One letter's entity is as it was: stored. Another's has changed since: obsolete, and closed."""
    same, changed = list(running_system.sisu.expected("PERSON"))[:2]
    strict = running_system.start_mankeli("--fail-id", same, "--fail-id", changed)
    producer = running_system.start_producer(SERVICES="PERSON")
    producer.wait_for('"next_run_scheduled"')
    letters = answer(running_system, "dead-letters", "list")["deadLetters"]
    assert {(letter["id"], letter["count"]) for letter in letters} == {(same, 1), (changed, 1)}
    assert all("told to fail" in letter["error"] for letter in letters)
    assert "1 of 2: --limit shows more" in importer(running_system, "dead-letters", "list", "--limit", "1").output
    whole = json.loads(importer(running_system, "dead-letters", "show", letters[0]["subject"]).output)
    assert "told to fail" in whole["error"]
    assert whole["entity"]["id"] == letters[0]["id"]

    again = importer(running_system, "dead-letters", "retry", "--service", "PERSON", "--wait")
    assert (again.code, again.output.count("rejected again")) == (1, 2), again.output
    assert {letter["count"] for letter in answer(running_system, "dead-letters", "list")["deadLetters"]} == {2}

    strict.close()
    running_system.start_mankeli()
    version = json.loads(running_system.sisu.expected("PERSON")[changed][1])
    version["metadata"]["modificationOrdinal"] = running_system.sisu.greatest_ordinal("PERSON") + 1
    running_system.sisu.put("PERSON", version)
    outcome = importer(running_system, "dead-letters", "retry", "--service", "PERSON", "--wait", "--json")
    assert outcome.code == 0, outcome.output
    assert sorted(json.loads(line)["outcome"] for line in outcome.output.splitlines()) == ["obsolete", "stored"]
    assert answer(running_system, "dead-letters", "list") == {"total": 0, "deadLetters": []}
    assert importer(running_system, "run").code == 0
    wait_until(
        lambda: ordinal(running_system) == running_system.sisu.greatest_ordinal("PERSON"), "the change is imported"
    )


def test_a_wish_that_must_wait_says_for_what(running_system: RunningSystem) -> None:
    """Exit code 1, and why: nobody is there, or the import is paused."""
    outcome = importer(running_system, "run")
    assert (outcome.code, outcome.output) == (1, "Run requested; no producer is active now.\n")
    idle_producer(running_system, SERVICES="PERSON")
    assert importer(running_system, "pause").code == 0
    outcome = importer(running_system, "run")
    assert (outcome.code, "continues after `importer resume`" in outcome.output) == (1, True), outcome.output
    refused = importer(running_system, "dead-letters", "retry", "DEAD_LETTER.ORI_PERSON_CHANNEL.nobody")
    assert (refused.code, "there is no dead letter" in refused.output) == (1, True), refused.output


def test_a_dead_letter_is_dropped_for_good(running_system: RunningSystem) -> None:
    """Dropped letters are gone; without --yes nothing is dropped unasked."""
    bad = next(iter(running_system.sisu.expected("PERSON")))
    running_system.start_mankeli("--fail-id", bad)
    assert running_system.import_once(SERVICES="PERSON").code == 0
    assert importer(running_system, "dead-letters", "drop", "--service", "PERSON").code == 1
    assert importer(running_system, "dead-letters", "drop", "--service", "PERSON", "--json").code == 2
    assert answer(running_system, "dead-letters", "list")["total"] == 1
    assert (
        importer(running_system, "dead-letters", "drop", "--service", "PERSON", "--yes").output
        == "Deleted 1 dead letter.\n"
    )
    assert answer(running_system, "dead-letters", "list")["total"] == 0


def test_a_run_of_a_service_that_the_producer_does_not_import_is_none(running_system: RunningSystem) -> None:
    """The producer says so and makes no run of it, nor of nothing; of what is its own it makes one."""
    running_system.start_mankeli()
    producer = running_system.start_producer(SERVICES="PERSON")
    producer.wait_for('"next_run_scheduled"')
    assert importer(running_system, "run", "--service", "PLAN").code == 0
    producer.wait_for('"run_request_unknown_services"')
    wait_until(lambda: not running_system.redis.exists(keys.RUN_REQUESTS), "the request is taken up")
    assert importer(running_system, "run", "--service", "PLAN", "--service", "PERSON").code == 0
    wait_until(lambda: producer.output.count('"run_finished"') == 2, "a run of PERSON")
    assert [run["services"] for run in answer(running_system, "status")["runs"]] == [1, 1]


def test_every_command_explains_itself() -> None:
    """--help works for each command, and needs no settings."""
    commands = ("status", "why", "check", "services", "plan", "run", "pause", "resume", "rewind")
    for command in (*commands, "dead-letters", "dead-letters list", "dead-letters retry", "dead-letters drop"):
        outcome = run("admin", *command.split(), "--help")
        assert (outcome.code, "Usage: " in outcome.output) == (0, True), outcome.output
