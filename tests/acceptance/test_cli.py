"""`importer` as an operator types it, against real servers and processes: what it says, does, and exits with."""

import json
from typing import Any

from shared import keys
from tests.support.installation import Installation
from tests.support.programs import Outcome, Program, run
from tests.support.waiting import wait_until


def importer(installation: Installation, *arguments: str, **variables: str) -> Outcome:
    """Run one command to its end."""
    return run("operating", *arguments, **installation.variables | variables)


def answer(installation: Installation, *arguments: str) -> Any:
    """The JSON that a command prints."""
    outcome = importer(installation, *arguments, "--json")
    assert outcome.output.startswith(("{", "[")), outcome.output
    return json.loads(outcome.output)


def idle_producer(installation: Installation, **variables: str) -> Program:
    """A producer that has made its first run, with a mankeli."""
    installation.start_mankeli()
    producer = installation.start_producer(**variables)
    wait_until(lambda: answer(installation, "why")["code"] == "idle", "it is idle")
    return producer


def ordinal(installation: Installation) -> int:
    """Of PERSON."""
    return int(installation.redis.get("LATEST_PERSON_ORDINAL") or 0)


def test_status_tells_everything(installation: Installation) -> None:
    """The services with their ordinals, the processes, and the last runs, for people and for programs."""
    idle_producer(installation)
    status = answer(installation, "status")
    assert (status["version"], status["verdict"]["code"]) == (1, "idle")
    assert [len(status["producers"]), len(status["collectors"]), len(status["services"])] == [1, 1, 26]
    person = status["services"][0]
    assert (person["name"], person["ordinal"]) == ("PERSON", installation.sisu.greatest_ordinal("PERSON"))
    assert person["lastSuccessAt"]
    assert status["runs"][0]["complete"] is True
    assert sum(outcome["entities"] for outcome in status["runs"][0]["outcomes"]) == 1500
    shown = importer(installation, "status").output
    assert str(person["ordinal"]) in shown
    assert "1 collector alive" in shown


def test_check_finds_everything_in_order(installation: Installation) -> None:
    """Redis, NATS, the rights in both, streams and each API of SISU; a service that is forbidden is only a warning."""
    installation.start_mankeli()
    installation.sisu.forbidden = {"DISCLOSURE"}
    findings = {finding["subject"]: finding["result"] for finding in answer(installation, "check")}
    assert len(findings) == 2 + 2 + 3 + 1 + 26
    assert findings.pop("SISU DISCLOSURE") == "warning"
    assert set(findings.values()) == {"ok"}


def test_check_names_all_that_is_wrong_at_once(installation: Installation) -> None:
    """Redis, NATS and SISU are unreachable: three findings, each with its place, and exit code 1."""
    nowhere = {"REDIS_URI": "redis://127.0.0.1:1", "NATS_URI": "nats://127.0.0.1:1", "SERVICES": "PERSON"}
    outcome = importer(installation, "check", "--json", SIS_API_URL="http://127.0.0.1:1", **nowhere)
    assert outcome.code == 1
    findings = {finding["subject"]: finding for finding in json.loads(outcome.output)}
    assert {name for name, finding in findings.items() if finding["result"] == "error"} == set(findings)
    assert findings.keys() == {"Redis", "NATS", "SISU PERSON"}


def test_check_names_wrong_settings(installation: Installation) -> None:
    """A setting that is wrong is named with exit code 2, as by the processes."""
    outcome = importer(installation, "check", FETCH_AMOUNT="many", CRON="whenever")
    assert outcome.code == 2
    assert "FETCH_AMOUNT" in outcome.output
    assert "CRON" in outcome.output


def test_a_health_check_knows_who_is_alive(installation: Installation) -> None:
    """A collector runs and no producer: the exit codes say so."""
    wait_until(
        lambda: importer(installation, "check", "--alive", "--process", "ack_collector").code == 0, "a heartbeat"
    )
    assert importer(installation, "check", "--alive", "--process", "producer").code == 1
    assert importer(installation, "check", "--alive").code == 1


def test_a_run_is_made_on_request(installation: Installation) -> None:
    """A run of one service begins now, and imports what changed in it."""
    idle_producer(installation)
    installation.sisu.touch("PERSON", 10, seed=1)
    newest = installation.sisu.greatest_ordinal("PERSON")
    assert importer(installation, "run", "--service", "PERSON").code == 0
    wait_until(lambda: ordinal(installation) == newest, "PERSON is imported")
    runs = wait_until(lambda: answer(installation, "status")["runs"][:-1], "the run is remembered")
    assert (runs[0]["trigger"], runs[0]["services"]) == ("request", 1)


def test_without_a_producer_a_request_waits(installation: Installation) -> None:
    """The request is kept, and the exit code tells that nobody has taken it up yet."""
    outcome = importer(installation, "run")
    assert (outcome.code, "no producer is active" in outcome.output) == (1, True)
    assert installation.redis.hexists("IMPORTER_RUN_REQUESTS", "*")


def test_a_pause_holds_until_it_is_ended(installation: Installation) -> None:
    """While paused nothing is begun, not even by a producer that starts; then all is imported."""
    installation.start_mankeli()
    assert importer(installation, "pause", "--why", "upgrade").code == 0
    producer = installation.start_producer()
    producer.wait_for('"paused"')
    assert ordinal(installation) == 0
    wait_until(lambda: ": upgrade." in importer(installation, "why").output, "why tells of the pause")
    assert importer(installation, "resume").output == "resumed\n"
    producer.wait_for('"waiting_for_cron"')
    installation.assert_all_is_stored()
    assert importer(installation, "resume").output == "it was not paused\n"


def test_a_service_is_imported_anew_after_a_rewind(installation: Installation) -> None:
    """The ordinal goes back, it is kept who did it and why, and the next run brings everything once more."""
    producer = idle_producer(installation)
    newest = ordinal(installation)
    done = answer(installation, "rewind", "PERSON", "--why", "a backup was restored")
    assert (done["fromOrdinal"], done["toOrdinal"], done["why"]) == (newest, 0, "a backup was restored")
    assert ordinal(installation) == 0
    assert importer(installation, "run").code == 0
    wait_until(lambda: ordinal(installation) == newest, "PERSON is imported anew")
    assert '"ordinal_rewound"' in producer.output
    assert '"ordinal_lost"' not in producer.output, "nothing was lost"
    too_late = importer(installation, "rewind", "--undo")
    assert (too_late.code, "imported anew already" in too_late.output) == (1, True)


def test_a_rewind_can_be_taken_back(installation: Installation) -> None:
    """Before the next run the old ordinal can be restored, once."""
    idle_producer(installation)
    newest = ordinal(installation)
    assert importer(installation, "rewind", "PERSON", "--to", "5").code == 0
    assert ordinal(installation) == 5
    assert importer(installation, "rewind", "--undo").code == 0
    assert ordinal(installation) == newest
    assert importer(installation, "rewind", "--undo").output == "importer: there is no rewind to take back\n"


def test_a_rewind_never_goes_forward(installation: Installation) -> None:
    """What would skip changes is refused, and so is a service that does not exist."""
    outcome = importer(installation, "rewind", "PERSON", "--to", "12")
    assert (outcome.code, "would skip changes" in outcome.output) == (1, True)
    assert ordinal(installation) == 0
    assert importer(installation, "rewind", "NOBODY").code == 2


def test_a_rewind_is_refused_while_a_batch_is_in_flight(installation: Installation) -> None:
    """Without --wait it is refused, with it the rewind comes after the batch."""
    mankeli = installation.start_mankeli("--delay-seconds", "3600")
    installation.start_producer(SERVICES="PERSON")
    wait_until(lambda: installation.redis.hlen("LATEST_PERSON_ORDINAL_CHUNKS"), "a batch is in flight")
    wait_until(lambda: "in flight" in importer(installation, "rewind", "PERSON", "--to", "0").output, "it is refused")
    mankeli.close()
    installation.start_mankeli()
    told, json_line = importer(installation, "rewind", "PERSON", "--wait", "--json").output.splitlines()
    assert told == "importer: waiting for the batch of PERSON that is in flight"
    rewound = json.loads(json_line)
    assert rewound["fromOrdinal"] == installation.sisu.greatest_ordinal("PERSON")


def test_a_plan_publishes_and_stores_nothing(installation: Installation) -> None:
    """The walk counts what an import would bring, and leaves everything as it was."""
    found = answer(installation, "plan", "PERSON")
    assert found["entities"] == len(installation.sisu.expected("PERSON"))
    assert found["ordinal"] == installation.sisu.greatest_ordinal("PERSON")
    assert ordinal(installation) == 0
    assert not installation.redis.exists("LATEST_PERSON_ORDINAL_EXECUTION")


def test_a_dead_letter_is_sent_again_when_its_cause_is_gone(installation: Installation) -> None:
    """One letter's entity is as it was: stored. Another's has changed since: obsolete, and closed."""
    same, changed = list(installation.sisu.expected("PERSON"))[:2]
    strict = installation.start_mankeli("--fail-id", same, "--fail-id", changed)
    producer = installation.start_producer(SERVICES="PERSON")
    producer.wait_for('"waiting_for_cron"')
    letters = answer(installation, "dead-letters", "list")["letters"]
    assert {(letter["id"], letter["count"]) for letter in letters} == {(same, 1), (changed, 1)}
    assert all("told to fail" in letter["error"] for letter in letters)
    assert "1 of 2: --limit shows more" in importer(installation, "dead-letters", "list", "--limit", "1").output
    whole = json.loads(importer(installation, "dead-letters", "show", letters[0]["subject"]).output)
    assert "told to fail" in whole["error"]
    assert whole["entity"]["id"] == letters[0]["id"]

    again = importer(installation, "dead-letters", "retry", "--service", "PERSON", "--wait")
    assert (again.code, again.output.count("rejected again")) == (1, 2), again.output
    assert {letter["count"] for letter in answer(installation, "dead-letters", "list")["letters"]} == {2}

    strict.close()
    installation.start_mankeli()
    version = json.loads(installation.sisu.expected("PERSON")[changed][1])
    installation.sisu.put("PERSON", version)
    outcome = importer(installation, "dead-letters", "retry", "--service", "PERSON", "--wait", "--json")
    assert outcome.code == 0, outcome.output
    assert sorted(json.loads(line)["outcome"] for line in outcome.output.splitlines()) == ["obsolete", "stored"]
    assert answer(installation, "dead-letters", "list") == {"total": 0, "letters": []}
    assert importer(installation, "run").code == 0
    wait_until(lambda: ordinal(installation) == installation.sisu.greatest_ordinal("PERSON"), "the change is imported")


def test_a_wish_that_must_wait_says_for_what(installation: Installation) -> None:
    """Exit code 1, and why: nobody is there, or the import is paused."""
    outcome = importer(installation, "run")
    assert (outcome.code, outcome.output) == (1, "asked for; no producer is active now\n")
    idle_producer(installation, SERVICES="PERSON")
    assert importer(installation, "pause").code == 0
    outcome = importer(installation, "run")
    assert (outcome.code, "it begins after `importer resume`" in outcome.output) == (1, True), outcome.output
    refused = importer(installation, "dead-letters", "retry", "DEAD_LETTER.ORI_PERSON_CHANNEL.nobody")
    assert (refused.code, "there is no dead letter" in refused.output) == (1, True), refused.output


def test_a_dead_letter_is_dropped_for_good(installation: Installation) -> None:
    """Dropped letters are gone; without --yes nothing is dropped unasked."""
    bad = next(iter(installation.sisu.expected("PERSON")))
    installation.start_mankeli("--fail-id", bad)
    assert installation.import_once(SERVICES="PERSON").code == 0
    assert importer(installation, "dead-letters", "drop", "--service", "PERSON").code == 1
    assert importer(installation, "dead-letters", "drop", "--service", "PERSON", "--json").code == 2
    assert answer(installation, "dead-letters", "list")["total"] == 1
    assert importer(installation, "dead-letters", "drop", "--service", "PERSON", "--yes").output == "dropped 1\n"
    assert answer(installation, "dead-letters", "list")["total"] == 0


def test_a_run_of_a_service_that_the_producer_does_not_import_is_none(installation: Installation) -> None:
    """The producer says so and makes no run of it, nor of nothing; of what is its own it makes one."""
    installation.start_mankeli()
    producer = installation.start_producer(SERVICES="PERSON")
    producer.wait_for('"waiting_for_cron"')
    assert importer(installation, "run", "--service", "PLAN").code == 0
    producer.wait_for('"run_not_ours"')
    wait_until(lambda: not installation.redis.exists(keys.RUN_REQUESTS), "the request is taken up")
    assert importer(installation, "run", "--service", "PLAN", "--service", "PERSON").code == 0
    wait_until(lambda: producer.output.count('"run_finished"') == 2, "a run of PERSON")
    assert [run["services"] for run in answer(installation, "status")["runs"]] == [1, 1]


def test_every_command_explains_itself() -> None:
    """--help works for each command, and needs no settings."""
    commands = ("status", "why", "check", "services", "plan", "run", "pause", "resume", "rewind")
    for command in (*commands, "dead-letters", "dead-letters list", "dead-letters retry", "dead-letters drop"):
        outcome = run("operating", *command.split(), "--help")
        assert (outcome.code, "Usage: " in outcome.output) == (0, True), outcome.output
