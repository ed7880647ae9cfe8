"""The public pages of both processes and the output of `importer`: dead letters are counted, without their entities."""

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
PUBLIC_PATHS = ("/metrics", "/healthz", "/readyz")
"""The paths that each process serves without a token."""
TIMEOUT_SECONDS = 20


def add_students(sisu: SisuSimulator, twin: SisuSimulator) -> None:
    """Add two persons with the right ordinals: those that a twin of this SISU assigns to its next entities."""
    person = json.loads(next(iter(sisu.expected("PERSON").values()))[1])
    for number, more in ((BAD_STUDENT, {}), (LARGE_STUDENT, {"text": "x" * MAX_PAYLOAD_BYTES})):
        metadata = person["metadata"] | {"modificationOrdinal": twin.put("PERSON", {"id": number})}
        student = person | {"id": number, "studentNumber": number, "metadata": metadata} | more
        assert sisu.put("PERSON", student) == metadata["modificationOrdinal"]


class PublicOutput:
    """A producer and a collector that have finished a run and continue, and everything that they show publicly."""

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
        arguments = ("--db", str(folder / "store.db"), "--fail-id", BAD_STUDENT)
        stack.enter_context(ProcessUnderTest("demo.mankeli", *arguments, **to_nats_and_redis)).wait_for("ready")
        self.producer = stack.enter_context(ProcessUnderTest("producer", **self.variables))
        self.producer.wait_for('"run_finished"')

    def request(
        self, path: str, body: object = None, *, program: ProcessUnderTest | None = None, **headers: str
    ) -> requests.Response:
        """Return the response to a GET, or to a POST of a body, of the producer or another program."""
        program = program or self.producer
        [port] = re.findall(r'"port": (\d+), "event": "http_listening"', program.output)
        method = "GET" if body is None else "POST"
        return requests.request(
            method, f"http://127.0.0.1:{port}{path}", json=body, headers=headers, timeout=TIMEOUT_SECONDS, stream=True
        )

    def read(self) -> dict[str, str]:
        """Return the public pages and the output of commands, by source, once the producer is idle."""
        wait_until(lambda: self.request("/api/status").json()["diagnosis"]["code"] == "idle", "it is idle")
        pages = [
            ("producer", self.producer, path)
            for path in (
                *PUBLIC_PATHS,
                "/",
                "/static/page.js",
                "/static/actions.js",
                "/static/elements.js",
                "/static/page.css",
                "/api/status",
            )
        ]
        pages += [("collector", self.collector, path) for path in PUBLIC_PATHS]
        texts = {}
        for name, program, path in pages:
            with self.request(path, program=program) as response:
                assert response.status_code == 200, (name, path, response.text)
                texts[name + path] = f"{response.headers}\n{response.text}"
        with self.request("/api/events") as response:
            lines = response.iter_lines(decode_unicode=True)
            texts["event"] = next(line for line in lines if line.startswith("data: "))
        for command in ("status", "why", "check"):
            outcome = run("admin", command, "--json", **self.variables)
            assert outcome.code == 0, outcome.output
            texts[command] = outcome.output
        return texts

    def retry(self, subjects: list[str]) -> list[RetryRequest]:
        """Retry dead letters, as an operator does, and return the outcomes."""
        response = self.request("/api/dead-letters/retry", {"subjects": subjects}, token=SECRETS["page"])
        assert (response.status_code, response.text) == (200, '{"ok":true}')

        def outcomes() -> list[RetryRequest]:
            notes = [decode(RetryRequest, text) for text in self.redis.hgetall(keys.RETRY_REQUESTS).values()]
            return [note for note in notes if note and note.outcome]

        return wait_until(lambda: notes if len(notes := outcomes()) == len(subjects) else None, "all are processed")


def count_of(metrics: str, reason: str) -> float:
    """Return the number of dead letters for this reason, as the producer counts them."""
    name = "importer_dead_letters_total"
    return sum(float(count) for count in re.findall(rf'^{name}{{reason="{reason}",.*}} (\S+)$', metrics, re.MULTILINE))


def assert_counted_without_names(texts: dict[str, str], secrets: set[str], kept: tuple[int, int]) -> None:
    """Assert that dead letters are counted, `kept` of each kind, and that nothing identifies their entities."""
    assert (count_of(texts["producer/metrics"], "rejected"), count_of(texts["producer/metrics"], "too large")) == kept
    for snapshot in (
        texts["producer/api/status"].partition("\n")[2],
        texts["event"].removeprefix("data: "),
        texts["status"],
    ):
        assert [service["deadLetters"] for service in json.loads(snapshot)["services"] if service["deadLetters"]] == [2]
    assert "importer_feedback_total" in texts["collector/metrics"]
    assert json.loads(texts["why"])["code"] == "idle"
    # A warning about credentials that travel over http.
    assert {finding["result"] for finding in json.loads(texts["check"])} == {"ok", "warning"}
    for source, text in texts.items():
        assert leaks([text], secrets) == set(), source


def test_no_output_contains_personal_data_or_a_secret(
    make_nats: MakeServer, make_redis: MakeServer, tmp_path: Path
) -> None:
    """Pages, API, metrics and commands only count dead letters; their ids and errors require the token."""
    nats_uri = make_nats(config=f"max_payload: {MAX_PAYLOAD_BYTES}\nauthorization {{ token: {SECRETS['NATS']} }}").uri
    redis_port = make_redis(config=f"requirepass {SECRETS['Redis']}").port
    redis_uri = f"redis://:{SECRETS['Redis']}@127.0.0.1:{redis_port}/0"
    credentials = Credentials(token=SECRETS["SISU"])
    with ExitStack() as stack:
        sisu = stack.enter_context(SisuSimulator(size=300, credentials=credentials))
        add_students(sisu, SisuSimulator(size=300))
        secrets = personal_data(sisu) | set(SECRETS.values()) | {ERROR_TEXT}
        output = PublicOutput(stack, sisu, nats_uri, redis_uri, tmp_path)
        assert_counted_without_names(output.read(), secrets, (1, 1))

        unauthorized = [output.request(path) for path in ("/api/dead-letters", "/api/dead-letters/show?subject=x")]
        assert [response.status_code for response in unauthorized] == [401, 401]
        authorized = output.request("/api/dead-letters", token=SECRETS["page"])
        assert leaks([authorized.text], secrets) == {BAD_STUDENT, LARGE_STUDENT, ERROR_TEXT}, "leaks would be detected"

        notes = output.retry([dead_letter["subject"] for dead_letter in authorized.json()["deadLetters"]])
        assert [note.outcome for note in notes] == ["rejected", "rejected"]
        assert_counted_without_names(output.read(), secrets, (2, 2))
        for program in (output.producer, output.collector):
            program.terminate()
            assert program.outcome().code == 0
        outputs = [
            output.producer.output,
            output.collector.output,
            *map(encode, notes),
            *(each.text for each in unauthorized),
        ]
        assert output.producer.output.count('"dead_letter_retried"') == 2
        assert leaks(outputs, secrets) == set()


@pytest.mark.parametrize(("command", "code"), [("status", 3), ("check", 1)])
def test_unreachable_servers_are_reported_without_secrets(command: str, code: int) -> None:
    """Commands report unreachable servers without the credentials in their addresses."""
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
