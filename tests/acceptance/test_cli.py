"""`importer` as an operator uses it, with real servers and processes: its output, effects and exit codes."""

import json
from typing import Any

from shared.model import keys
from tests.support.programs import Outcome, ProcessUnderTest, run
from tests.support.running_system import RunningSystem
from tests.support.waiting import wait_until


def importer(running_system: RunningSystem, *arguments: str, **variables: str) -> Outcome:
    """Run one command to its end."""
    return run("admin", *arguments, **running_system.variables | variables)


def json_output(running_system: RunningSystem, *arguments: str) -> Any:
    """Return the JSON output of a command."""
    outcome = importer(running_system, *arguments, "--json")
    assert outcome.output.startswith(("{", "[")), outcome.output
    return json.loads(outcome.output)


def start_idle_producer(running_system: RunningSystem, **variables: str) -> ProcessUnderTest:
    """Start a producer with a mankeli, and return it after its first run."""
    running_system.start_mankeli()
    producer = running_system.start_producer(**variables)
    wait_until(lambda: json_output(running_system, "why")["code"] == "idle", "it is idle")
    return producer


def ordinal(running_system: RunningSystem) -> int:
    """Return the ordinal of PERSON."""
    return int(running_system.redis.get("LATEST_PERSON_ORDINAL") or 0)


def test_status_shows_services_processes_and_runs(running_system: RunningSystem) -> None:
    """The services with their ordinals, the processes and the last runs are shown as text and as JSON."""
    start_idle_producer(running_system)
    status = json_output(running_system, "status")
    assert (status["version"], status["diagnosis"]["code"]) == (1, "idle")
    assert [len(status["producers"]), len(status["collectors"]), len(status["services"])] == [1, 1, 26]
    person = status["services"][0]
    assert (person["name"], person["ordinal"]) == ("PERSON", running_system.sisu.greatest_ordinal("PERSON"))
    assert person["lastSuccessAt"]
    assert status["runs"][0]["complete"] is True
    assert sum(outcome["entities"] for outcome in status["runs"][0]["outcomes"]) == 1500
    text = importer(running_system, "status").output
    assert str(person["ordinal"]) in text
    assert "1 collector running" in text


def test_check_reports_a_working_installation_as_ok(running_system: RunningSystem) -> None:
    """Redis, NATS, permissions, streams and each service of SISU are ok, and a forbidden service is only a warning."""
    running_system.start_mankeli()
    running_system.sisu.forbidden = {"DISCLOSURE"}
    findings = {finding["subject"]: finding["result"] for finding in json_output(running_system, "check")}
    assert len(findings) == 2 + 2 + 3 + 1 + 26
    assert findings.pop("SISU DISCLOSURE") == "warning"
    assert set(findings.values()) == {"ok"}


def test_check_reports_all_problems_at_once(running_system: RunningSystem) -> None:
    """If Redis, NATS and SISU are unreachable, there are three errors, one for each, and exit code 1."""
    nowhere = {"REDIS_URI": "redis://127.0.0.1:1", "NATS_URI": "nats://127.0.0.1:1", "SERVICES": "PERSON"}
    outcome = importer(running_system, "check", "--json", SIS_API_URL="http://127.0.0.1:1", **nowhere)
    assert outcome.code == 1
    findings = {finding["subject"]: finding for finding in json.loads(outcome.output)}
    assert {name for name, finding in findings.items() if finding["result"] == "error"} == set(findings)
    assert findings.keys() == {"Redis", "NATS", "SISU PERSON"}


def test_check_reports_invalid_settings(running_system: RunningSystem) -> None:
    """Invalid settings are reported by name with exit code 2, as by the processes."""
    outcome = importer(running_system, "check", FETCH_AMOUNT="many", CRON="whenever")
    assert outcome.code == 2
    assert "FETCH_AMOUNT" in outcome.output
    assert "CRON" in outcome.output


def test_the_health_check_reports_which_processes_are_alive(running_system: RunningSystem) -> None:
    """With a collector and no producer, the exit code is 0 for the collector and 1 for the producer."""
    wait_until(
        lambda: importer(running_system, "check", "--alive", "--process", "ack_collector").code == 0, "a heartbeat"
    )
    assert importer(running_system, "check", "--alive", "--process", "producer").code == 1
    assert importer(running_system, "check", "--alive").code == 1


def test_a_requested_run_takes_place(running_system: RunningSystem) -> None:
    """A requested run of one service starts at once, and imports its changes."""
    start_idle_producer(running_system)
    running_system.sisu.touch("PERSON", 10, seed=1)
    newest = running_system.sisu.greatest_ordinal("PERSON")
    assert importer(running_system, "run", "--service", "PERSON").code == 0
    wait_until(lambda: ordinal(running_system) == newest, "PERSON is imported")
    runs = wait_until(lambda: json_output(running_system, "status")["runs"][:-1], "the run is in the history")
    assert (runs[0]["trigger"], runs[0]["services"]) == ("request", 1)


def test_without_a_producer_a_request_waits(running_system: RunningSystem) -> None:
    """The request is stored, and exit code 1 shows that no producer has taken it yet."""
    outcome = importer(running_system, "run")
    assert (outcome.code, "no producer is active" in outcome.output) == (1, True)
    assert running_system.redis.hexists("IMPORTER_RUN_REQUESTS", "*")


def test_a_pause_lasts_until_it_is_ended(running_system: RunningSystem) -> None:
    """While paused nothing is started, not even by a new producer; after the pause everything is imported."""
    running_system.start_mankeli()
    assert importer(running_system, "pause", "--why", "upgrade").code == 0
    producer = running_system.start_producer()
    producer.wait_for('"paused"')
    assert ordinal(running_system) == 0
    wait_until(lambda: ": upgrade." in importer(running_system, "why").output, "the diagnosis shows the pause")
    assert importer(running_system, "resume").output == "Resumed.\n"
    producer.wait_for('"next_run_scheduled"')
    running_system.assert_all_is_stored()
    assert importer(running_system, "resume").output == "The import was not paused.\n"


def test_a_service_is_imported_again_after_a_rewind(running_system: RunningSystem) -> None:
    """The ordinal moves back, the rewind is recorded with its reason, and the next run imports everything again."""
    producer = start_idle_producer(running_system)
    newest = ordinal(running_system)
    rewound = json_output(running_system, "rewind", "PERSON", "--reason", "a backup was restored")
    assert (rewound["fromOrdinal"], rewound["toOrdinal"], rewound["reason"]) == (newest, 0, "a backup was restored")
    assert ordinal(running_system) == 0
    assert importer(running_system, "run").code == 0
    wait_until(lambda: ordinal(running_system) == newest, "PERSON is imported again")
    assert '"ordinal_rewound"' in producer.output
    assert '"ordinal_lost"' not in producer.output, "nothing was lost"
    too_late = importer(running_system, "rewind", "--undo")
    assert (too_late.code, "nothing is left to undo" in too_late.output) == (1, True)


def test_a_rewind_can_be_undone(running_system: RunningSystem) -> None:
    """Before the next run, the old ordinal can be restored once."""
    start_idle_producer(running_system)
    newest = ordinal(running_system)
    assert importer(running_system, "rewind", "PERSON", "--to", "5").code == 0
    assert ordinal(running_system) == 5
    assert importer(running_system, "rewind", "--undo").code == 0
    assert ordinal(running_system) == newest
    assert importer(running_system, "rewind", "--undo").output == "importer: No rewind to undo.\n"


def test_a_rewind_never_goes_forward(running_system: RunningSystem) -> None:
    """A rewind that would skip changes is a conflict, and an unknown service is a usage error."""
    outcome = importer(running_system, "rewind", "PERSON", "--to", "12")
    assert (outcome.code, "would skip changes" in outcome.output) == (1, True)
    assert ordinal(running_system) == 0
    assert importer(running_system, "rewind", "UNKNOWN").code == 2


def test_a_rewind_during_a_batch_is_rejected_or_waits(running_system: RunningSystem) -> None:
    """During a batch, a rewind without --wait is rejected, and one with --wait takes place after the batch."""
    mankeli = running_system.start_mankeli("--delay-seconds", "3600")
    running_system.start_producer(SERVICES="PERSON")
    wait_until(lambda: running_system.redis.hlen("LATEST_PERSON_ORDINAL_CHUNKS"), "a batch is in flight")
    wait_until(
        lambda: "in flight" in importer(running_system, "rewind", "PERSON", "--to", "0").output,
        "the rewind is rejected",
    )
    mankeli.close()
    running_system.start_mankeli()
    message, json_line = importer(running_system, "rewind", "PERSON", "--wait", "--json").output.splitlines()
    assert message == "importer: waiting for the batch of PERSON that is in flight"
    rewound = json.loads(json_line)
    assert rewound["fromOrdinal"] == running_system.sisu.greatest_ordinal("PERSON")


def test_a_plan_publishes_and_stores_nothing(running_system: RunningSystem) -> None:
    """A plan counts the entities that an import would fetch, and changes nothing."""
    plan = json_output(running_system, "plan", "PERSON")
    assert plan["entities"] == len(running_system.sisu.expected("PERSON"))
    assert plan["ordinal"] == running_system.sisu.greatest_ordinal("PERSON")
    assert ordinal(running_system) == 0
    assert not running_system.redis.exists("LATEST_PERSON_ORDINAL_EXECUTION")


def test_a_dead_letter_is_retried_after_its_cause_is_fixed(running_system: RunningSystem) -> None:
    """A retried dead letter is stored, or obsolete if its entity has changed since; both are deleted."""
    unchanged, changed = list(running_system.sisu.expected("PERSON"))[:2]
    strict = running_system.start_mankeli("--fail-id", unchanged, "--fail-id", changed)
    producer = running_system.start_producer(SERVICES="PERSON")
    producer.wait_for('"next_run_scheduled"')
    dead_letters = json_output(running_system, "dead-letters", "list")["deadLetters"]
    assert {(dead_letter["id"], dead_letter["count"]) for dead_letter in dead_letters} == {(unchanged, 1), (changed, 1)}
    assert all("told to fail" in dead_letter["error"] for dead_letter in dead_letters)
    assert "1 of 2: --limit shows more" in importer(running_system, "dead-letters", "list", "--limit", "1").output
    whole = json.loads(importer(running_system, "dead-letters", "show", dead_letters[0]["subject"]).output)
    assert "told to fail" in whole["error"]
    assert whole["entity"]["id"] == dead_letters[0]["id"]

    retried = importer(running_system, "dead-letters", "retry", "--service", "PERSON", "--wait")
    assert (retried.code, retried.output.count("rejected again")) == (1, 2), retried.output
    assert {each["count"] for each in json_output(running_system, "dead-letters", "list")["deadLetters"]} == {2}

    strict.close()
    running_system.start_mankeli()
    version = json.loads(running_system.sisu.expected("PERSON")[changed][1])
    version["metadata"]["modificationOrdinal"] = running_system.sisu.greatest_ordinal("PERSON") + 1
    running_system.sisu.put("PERSON", version)
    outcome = importer(running_system, "dead-letters", "retry", "--service", "PERSON", "--wait", "--json")
    assert outcome.code == 0, outcome.output
    assert sorted(json.loads(line)["outcome"] for line in outcome.output.splitlines()) == ["obsolete", "stored"]
    assert json_output(running_system, "dead-letters", "list") == {"total": 0, "deadLetters": []}
    assert importer(running_system, "run").code == 0
    wait_until(
        lambda: ordinal(running_system) == running_system.sisu.greatest_ordinal("PERSON"), "the change is imported"
    )


def test_a_request_that_must_wait_says_why(running_system: RunningSystem) -> None:
    """A request without an active producer or during a pause has exit code 1 and says what it waits for."""
    outcome = importer(running_system, "run")
    assert (outcome.code, outcome.output) == (1, "Run requested; no producer is active now.\n")
    start_idle_producer(running_system, SERVICES="PERSON")
    assert importer(running_system, "pause").code == 0
    outcome = importer(running_system, "run")
    assert (outcome.code, "continues after `importer resume`" in outcome.output) == (1, True), outcome.output
    outcome = importer(running_system, "dead-letters", "retry", "DEAD_LETTER.ORI_PERSON_CHANNEL.unknown")
    assert (outcome.code, "there is no dead letter" in outcome.output) == (1, True), outcome.output


def test_a_dead_letter_is_dropped_for_good(running_system: RunningSystem) -> None:
    """A dropped dead letter is deleted, and without a confirmation or --yes none is dropped."""
    bad = next(iter(running_system.sisu.expected("PERSON")))
    running_system.start_mankeli("--fail-id", bad)
    assert running_system.import_once(SERVICES="PERSON").code == 0
    assert importer(running_system, "dead-letters", "drop", "--service", "PERSON").code == 1
    assert importer(running_system, "dead-letters", "drop", "--service", "PERSON", "--json").code == 2
    assert json_output(running_system, "dead-letters", "list")["total"] == 1
    assert (
        importer(running_system, "dead-letters", "drop", "--service", "PERSON", "--yes").output
        == "Deleted 1 dead letter.\n"
    )
    assert json_output(running_system, "dead-letters", "list")["total"] == 0


def test_a_run_of_services_that_the_producer_does_not_import_does_not_start(running_system: RunningSystem) -> None:
    """The producer logs services that are not its own; a run starts only if the request has one of its own."""
    running_system.start_mankeli()
    producer = running_system.start_producer(SERVICES="PERSON")
    producer.wait_for('"next_run_scheduled"')
    assert importer(running_system, "run", "--service", "PLAN").code == 0
    producer.wait_for('"run_request_unknown_services"')
    wait_until(lambda: not running_system.redis.exists(keys.RUN_REQUESTS), "the request is taken")
    assert importer(running_system, "run", "--service", "PLAN", "--service", "PERSON").code == 0
    wait_until(lambda: producer.output.count('"run_finished"') == 2, "a run of PERSON")
    assert [run["services"] for run in json_output(running_system, "status")["runs"]] == [1, 1]


def test_every_command_explains_itself() -> None:
    """Each command has a --help, which needs no settings."""
    commands = ("status", "why", "check", "services", "plan", "run", "pause", "resume", "rewind")
    for command in (*commands, "dead-letters", "dead-letters list", "dead-letters retry", "dead-letters drop"):
        outcome = run("admin", *command.split(), "--help")
        assert (outcome.code, "Usage: " in outcome.output) == (0, True), outcome.output
