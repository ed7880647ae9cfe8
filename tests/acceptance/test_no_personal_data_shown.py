"""What a producer and a collector show to anybody, and `importer` to operators: dead letters are counted, not named."""

import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import requests

from demo.servers.processes import free_port
from demo.sisu.simulator import Credentials, SisuSimulator
from shared.model import keys
from shared.model.records import RetryRequest, decode, encode
from tests.conftest import MakeServer
from tests.support.leaks import ERROR_TEXT, SECRETS, leaks, personal_data
from tests.support.programs import ProcessUnderTest, run
from tests.support.running_system import NO_RUN_SOON
from tests.support.waiting import wait_until

BAD_STUDENT, LARGE_STUDENT = "014567891", "014567892"
"""Ids that are student numbers: one is rejected, the other is too large for a message."""
MAX_PAYLOAD_BYTES = 64 * 1024
ANYBODY = ("/metrics", "/healthz", "/readyz")
"""What each process shows to whoever asks."""
TIMEOUT_SECONDS = 20


def add_students(sisu: SisuSimulator, twin: SisuSimulator) -> None:
    """Two more persons, with ordinals that are right: those that a twin of this SISU gives to its next entities."""
    person = json.loads(next(iter(sisu.expected("PERSON").values()))[1])
    for number, more in ((BAD_STUDENT, {}), (LARGE_STUDENT, {"text": "x" * MAX_PAYLOAD_BYTES})):
        metadata = person["metadata"] | {"modificationOrdinal": twin.put("PERSON", {"id": number})}
        student = person | {"id": number, "studentNumber": number, "metadata": metadata} | more
        assert sisu.put("PERSON", student) == metadata["modificationOrdinal"]


class Shown:
    """A producer and a collector that have made a run and go on, and all that they show to anybody."""

    def __init__(self, stack: ExitStack, sisu: SisuSimulator, nats_uri: str, redis_uri: str, folder: Path) -> None:
        to_nats_and_redis = {"NATS_URI": nats_uri, "NATS_TOKEN": SECRETS["NATS"], "REDIS_URI": redis_uri}
        self.variables = to_nats_and_redis | {
            "SIS_API_URL": sisu.uri,
            "KORI_PUBLIC_API_URL": sisu.kori_public_uri,
            "PROXY_TOKEN": SECRETS["SISU"],
            "EXPLORER_TOKEN": SECRETS["page"],
            "SERVICES": "PERSON",
            "CRON": NO_RUN_SOON,
            "LOG_LEVEL": "DEBUG",
            "PORT": "0",
            "COLLECTOR_PORT": "0",
        }
        self.redis = stack.enter_context(redis.Redis.from_url(redis_uri, decode_responses=True))
        self.collector = stack.enter_context(ProcessUnderTest("ack_collector", **self.variables))
        self.collector.wait_for('"started"')
        told = ("--db", str(folder / "store.db"), "--fail-id", BAD_STUDENT)
        stack.enter_context(ProcessUnderTest("demo.mankeli", *told, **to_nats_and_redis)).wait_for("ready")
        self.producer = stack.enter_context(ProcessUnderTest("producer", **self.variables))
        self.producer.wait_for('"run_finished"')

    def ask(
        self, path: str, body: object = None, *, of: ProcessUnderTest | None = None, **headers: str
    ) -> requests.Response:
        """GET, or POST a body: from the producer, or another program."""
        program = of or self.producer
        [port] = re.findall(r'"port": (\d+), "event": "http_listening"', program.output)
        method = "GET" if body is None else "POST"
        return requests.request(
            method, f"http://127.0.0.1:{port}{path}", json=body, headers=headers, timeout=TIMEOUT_SECONDS, stream=True
        )

    def seen(self) -> dict[str, str]:
        """Return what is visible without the token and what commands print, by source, once the producer is idle."""
        wait_until(lambda: self.ask("/api/status").json()["diagnosis"]["code"] == "idle", "it is idle")
        pages = [
            ("producer", self.producer, path)
            for path in (*ANYBODY, "/", "/static/page.js", "/static/page.css", "/api/status")
        ]
        pages += [("collector", self.collector, path) for path in ANYBODY]
        seen = {}
        for name, program, path in pages:
            with self.ask(path, of=program) as answer:
                assert answer.status_code == 200, (name, path, answer.text)
                seen[name + path] = f"{answer.headers}\n{answer.text}"
        with self.ask("/api/events") as answer:
            lines = answer.iter_lines(decode_unicode=True)
            seen["event"] = next(line for line in lines if line.startswith("data: "))
        for command in ("status", "why", "check"):
            outcome = run("admin", command, "--json", **self.variables)
            assert outcome.code == 0, outcome.output
            seen[command] = outcome.output
        return seen

    def retry(self, subjects: list[str]) -> list[RetryRequest]:
        """Have dead letters sent again, as an operator does, and wait for what comes of it."""
        answer = self.ask("/api/dead-letters/retry", {"subjects": subjects}, token=SECRETS["page"])
        assert (answer.status_code, answer.text) == (200, '{"ok":true}')

        def outcomes() -> list[RetryRequest]:
            notes = [decode(RetryRequest, text) for text in self.redis.hgetall(keys.RETRY_REQUESTS).values()]
            return [note for note in notes if note and note.outcome]

        return wait_until(lambda: found if len(found := outcomes()) == len(subjects) else None, "all are dealt with")


def count_of(metrics: str, reason: str) -> float:
    """Dead letters of this kind, as the producer counts them."""
    name = "importer_dead_letters_total"
    return sum(float(count) for count in re.findall(rf'^{name}{{reason="{reason}",.*}} (\S+)$', metrics, re.MULTILINE))


def assert_all_is_told_but_names(seen: dict[str, str], secrets: set[str], kept: tuple[int, int]) -> None:
    """Assert that the dead letters of each kind are counted, `kept` of them, and that nothing names their entities."""
    assert (count_of(seen["producer/metrics"], "rejected"), count_of(seen["producer/metrics"], "too large")) == kept
    for snapshot in (
        seen["producer/api/status"].partition("\n")[2],
        seen["event"].removeprefix("data: "),
        seen["status"],
    ):
        assert [service["deadLetters"] for service in json.loads(snapshot)["services"] if service["deadLetters"]] == [2]
    assert "importer_feedback_total" in seen["collector/metrics"]
    assert json.loads(seen["why"])["code"] == "idle"
    assert {finding["result"] for finding in json.loads(seen["check"])} == {"ok"}
    for where, text in seen.items():
        assert leaks([text], secrets) == set(), where


def test_nothing_that_is_shown_names_a_person_or_a_secret(
    make_nats: MakeServer, make_redis: MakeServer, tmp_path: Path
) -> None:
    """Pages, API, metrics and commands count dead letters; whose they are, and why, only the token opens."""
    nats_uri = make_nats(config=f"max_payload: {MAX_PAYLOAD_BYTES}\nauthorization {{ token: {SECRETS['NATS']} }}").uri
    redis_port = make_redis(config=f"requirepass {SECRETS['Redis']}").port
    redis_uri = f"redis://:{SECRETS['Redis']}@127.0.0.1:{redis_port}/0"
    credentials = Credentials(token=SECRETS["SISU"])
    with ExitStack() as stack:
        sisu = stack.enter_context(SisuSimulator(size=300, credentials=credentials))
        add_students(sisu, SisuSimulator(size=300))
        secrets = personal_data(sisu) | set(SECRETS.values()) | {ERROR_TEXT}
        shown = Shown(stack, sisu, nats_uri, redis_uri, tmp_path)
        assert_all_is_told_but_names(shown.seen(), secrets, (1, 1))

        refused = [shown.ask(path) for path in ("/api/dead-letters", "/api/dead-letters/show?subject=x")]
        assert [answer.status_code for answer in refused] == [401, 401]
        opened = shown.ask("/api/dead-letters", token=SECRETS["page"])
        assert leaks([opened.text], secrets) == {BAD_STUDENT, LARGE_STUDENT, ERROR_TEXT}, "leaks would be found"

        notes = shown.retry([letter["subject"] for letter in opened.json()["deadLetters"]])
        assert [note.outcome for note in notes] == ["rejected", "rejected"]
        assert_all_is_told_but_names(shown.seen(), secrets, (2, 2))
        for program in (shown.producer, shown.collector):
            program.terminate()
            assert program.outcome().code == 0
        outputs = [shown.producer.output, shown.collector.output, *map(encode, notes), *(each.text for each in refused)]
        assert shown.producer.output.count('"dead_letter_retried"') == 2
        assert leaks(outputs, secrets) == set()


@pytest.mark.parametrize(("command", "code"), [("status", 3), ("check", 1)])
def test_what_cannot_be_reached_is_told_without_its_secrets(command: str, code: int) -> None:
    """Nobody is at any of the addresses: the commands say so, and not with which password they would have come."""
    nowhere = f"127.0.0.1:{free_port()}"
    outcome = run(
        "admin",
        command,
        "--json",
        NATS_URI=f"nats://importer:{SECRETS['NATS']}@{nowhere}",
        REDIS_URI=f"redis://importer:{SECRETS['Redis']}@{nowhere}/0",
        SIS_API_URL=f"http://{nowhere}",
        PROXY_TOKEN=SECRETS["SISU"],
        EXPLORER_TOKEN=SECRETS["page"],
        SERVICES="PERSON",
    )
    assert outcome.code == code, outcome.output
    assert json.loads(outcome.output)
    assert "Redis" in outcome.output
    assert leaks([outcome.output], SECRETS.values()) == set()
