"""The logs of a complete import with many faults, at LOG_LEVEL=DEBUG, contain no personal data and no secret."""

import json
from pathlib import Path

import nats

from demo.sisu.simulator import Credentials, SisuSimulator
from shared.model import keys
from tests.conftest import MakeServer
from tests.support.leaks import ERROR_TEXT, SECRETS, leaks, personal_data
from tests.support.programs import Outcome, ProcessUnderTest

GARBAGE = "Meikäläinen"
REJECTED = 3


def run_import(sisu: SisuSimulator, nats_uri: str, redis_uri: str, folder: Path) -> tuple[Outcome, Outcome]:
    """Run the producer once with a collector and a mankeli that rejects some persons; return both outcomes."""
    rejected = list(sisu.expected("PERSON"))[:REJECTED]
    to_nats_and_redis = {"NATS_URI": nats_uri, "NATS_TOKEN": SECRETS["NATS"], "REDIS_URI": redis_uri}
    settings = to_nats_and_redis | {
        "SIS_API_URL": sisu.uri,
        "KORI_PUBLIC_API_URL": sisu.kori_public_uri,
        "PROXY_TOKEN": SECRETS["SISU"],
        "FETCH_AMOUNT": "100",
        "LOG_LEVEL": "DEBUG",
        "PORT": "0",
        "COLLECTOR_PORT": "0",
    }
    arguments = [argument for entity_id in rejected for argument in ("--fail-id", entity_id)]
    with (
        ProcessUnderTest("ack_collector", **settings) as collector,
        ProcessUnderTest("demo.mankeli", "--db", str(folder / "store.db"), *arguments, **to_nats_and_redis) as mankeli,
    ):
        collector.wait_for('"started"')
        mankeli.wait_for("ready")
        with ProcessUnderTest("producer", "--once", **settings) as producer:
            produced = producer.outcome()
        collector.terminate()
        return produced, collector.outcome()


async def send_garbage(nats_uri: str) -> None:
    """Send invalid feedback to the collectors, with text that could be personal data in each field."""
    fields = {"status": "OK", "executionHash": "9f" * 12, "chunkId": "0", "channel": "ORI_PERSON_CHANNEL", "amount": 1}
    client = await nats.connect(nats_uri, token=SECRETS["NATS"], allow_reconnect=False)
    for data in (GARBAGE, json.dumps(GARBAGE), *(json.dumps(fields | {name: GARBAGE}) for name in fields)):
        await client.jetstream().publish(keys.FEEDBACK_SUBJECT, data.encode())
    await client.close()


async def make_streams(nats_uri: str, redis_uri: str) -> None:
    """Create the streams before anything is published, as after an earlier start."""
    variables = {"NATS_URI": nats_uri, "NATS_TOKEN": SECRETS["NATS"], "REDIS_URI": redis_uri, "COLLECTOR_PORT": "0"}
    with ProcessUnderTest("ack_collector", **variables) as collector:
        collector.wait_for('"started"')
        collector.terminate()
        assert collector.outcome().code == 0


async def test_no_log_contains_personal_data_or_a_secret(
    make_nats: MakeServer, make_redis: MakeServer, tmp_path: Path
) -> None:
    """Rejected entities, corrupted responses and invalid feedback are logged without their content."""
    nats_uri = make_nats(config=f"authorization {{ token: {SECRETS['NATS']} }}").uri
    redis_port = make_redis(config=f"requirepass {SECRETS['Redis']}").port
    redis_uri = f"redis://:{SECRETS['Redis']}@127.0.0.1:{redis_port}/0"
    await make_streams(nats_uri, redis_uri)
    await send_garbage(nats_uri)
    with SisuSimulator(seed=11, size=2000, credentials=Credentials(token=SECRETS["SISU"])) as sisu:
        for service, kind in (("PERSON", "truncated"), ("STUDY_RIGHT", "not_a_list"), ("ENROLMENT", "ordinal_string")):
            sisu.fault(kind, service=service)
        produced, collected = run_import(sisu, nats_uri, redis_uri, tmp_path)
        secrets = personal_data(sisu) | set(SECRETS.values()) | {ERROR_TEXT, GARBAGE}

    # All of these faults occurred, and were logged.
    assert (produced.code, collected.code) == (1, 0), produced.output
    by_producer = [event["event"] for event in produced.events]
    by_collector = [event["event"] for event in collected.events]
    assert {"batch_started", "fetch_retried", "dead_letters_published"} <= set(by_producer)
    assert by_producer.count("service_failed") == 2
    assert by_collector.count("feedback_failed") == REJECTED
    assert sum(event["count"] for event in collected.events if event["event"] == "feedback_invalid") == 7
    assert {"feedback_settled", "feedback_split"} <= set(by_collector)
    assert {event["level"] for event in produced.events + collected.events} >= {"debug", "info", "warning", "error"}

    outputs = [produced.output, collected.output]
    assert len(secrets) > 2000
    assert leaks([*outputs, f'"error": "{ERROR_TEXT} on a person"'], secrets) == {ERROR_TEXT}, "leaks would be detected"
    assert leaks(outputs, secrets) == set()
