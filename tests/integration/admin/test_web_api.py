"""The API of the page, as anybody may try it: who may do what, and what nobody may."""

import json
import socket
import time

import pytest
import requests

from shared.model import keys
from shared.model.records import BatchState, ProcessRecord, ProducerState, encode, now
from tests.support.programs import ProcessUnderTest
from tests.support.running_system import RunningSystem

TOKEN = "correct-horse-battery-staple"
TIMEOUT_SECONDS = 20
ACTIONS = (
    "/api/run",
    "/api/pause",
    "/api/resume",
    "/api/rewind/PERSON",
    "/api/rewind-undo",
    "/api/dead-letters/retry",
    "/api/dead-letters/drop",
    "/force_update",
    "/reset/PERSON",
)
SECRETS = ("/api/dead-letters", "/api/dead-letters/show?subject=DEAD_LETTER.X.y")


@pytest.fixture
def address(running_system: RunningSystem) -> str:
    """Of a producer that stands by, which serves the page like any other."""
    running_system.redis.set(keys.PRODUCER_LOCK, "of another", ex=600)
    running_system.redis.set("LATEST_PERSON_ORDINAL", "500")
    return start(running_system, EXPLORER_TOKEN=TOKEN)


def start(running_system: RunningSystem, **variables: str) -> str:
    """Start a producer, and answer its address."""
    producer: ProcessUnderTest = running_system.start_producer(**variables)
    producer.wait_for('"standing_by"')
    [served] = [json.loads(line) for line in producer.output.splitlines() if '"http_listening"' in line]
    return f"http://127.0.0.1:{served['port']}"


def post(url: str, body: object = None, **headers: str) -> requests.Response:
    """POST JSON."""
    return requests.post(url, json=body, headers=headers, timeout=TIMEOUT_SECONDS)


def bearer(token: str = TOKEN) -> dict[str, str]:
    """Return the header of somebody who has a token."""
    return {"Authorization": f"Bearer {token}"}


def state(running_system: RunningSystem) -> dict[str, object]:
    """All that an action could change."""
    redis = running_system.redis
    return {
        "ordinal": redis.get("LATEST_PERSON_ORDINAL"),
        "paused": redis.get(keys.PAUSED),
        "runs": redis.hgetall(keys.RUN_REQUESTS),
        "retries": redis.hgetall(keys.RETRY_REQUESTS),
        "rewinds": redis.lrange(keys.REWINDS, 0, -1),
    }


def test_nobody_acts_without_the_token(running_system: RunningSystem, address: str) -> None:
    """No token, a wrong one, one in the address or in a cookie: refused, and nothing has changed."""
    before = state(running_system)
    for path in (*ACTIONS, *SECRETS):
        method = "POST" if path in ACTIONS else "GET"
        for headers in (
            {},
            bearer("wrong"),
            {"token": "wrong"},
            {"Cookie": f"token={TOKEN}"},
            {"Authorization": TOKEN},
        ):
            answer = requests.request(method, address + path, headers=headers, timeout=TIMEOUT_SECONDS)
            assert answer.status_code == 401, (path, headers)
        separator = "&" if "?" in path else "?"
        answer = requests.request(method, f"{address}{path}{separator}token={TOKEN}", timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 401, path
    assert state(running_system) == before


def test_another_site_cannot_act(running_system: RunningSystem, address: str) -> None:
    """Not even with the token, which it cannot have; and no browser would let it read or ask with it."""
    before = state(running_system)
    for path in ACTIONS:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            assert post(address + path, **bearer(), **headers).status_code == 403, (path, headers)
    preflight = requests.options(address + "/api/pause", timeout=TIMEOUT_SECONDS, headers={"Origin": "https://x"})
    assert not any(name.lower().startswith("access-control") for name in preflight.headers)
    assert state(running_system) == before


def test_nothing_is_done_by_get(running_system: RunningSystem, address: str) -> None:
    """Following a link changes nothing, token or not."""
    before = state(running_system)
    for path in ACTIONS:
        assert requests.get(address + path, headers=bearer(), timeout=TIMEOUT_SECONDS).status_code == 405, path
    assert state(running_system) == before


def test_without_a_configured_token_nothing_can_be_done(running_system: RunningSystem) -> None:
    """The answer says which variable to set; an empty token opens nothing."""
    running_system.redis.set(keys.PRODUCER_LOCK, "of another", ex=600)
    address = start(running_system)
    for headers in ({}, bearer(""), bearer(TOKEN)):
        answer = post(address + "/api/pause", **headers)
        assert (answer.status_code, "EXPLORER_TOKEN is not set" in answer.text) == (403, True)
    assert not running_system.redis.exists(keys.PAUSED)


def test_the_actions_do_what_they_say(running_system: RunningSystem, address: str) -> None:
    """With the token in either header, as the page or an older script sends it."""
    assert post(address + "/api/pause", {"reason": "upgrade"}, **bearer()).status_code == 200
    assert json.loads(running_system.redis.get(keys.PAUSED))["reason"] == "upgrade"
    assert post(address + "/api/resume", token=TOKEN).status_code == 200
    assert not running_system.redis.exists(keys.PAUSED)
    assert post(address + "/api/run", {"services": ["PERSON"]}, **bearer()).status_code == 200
    assert post(address + "/force_update", token=TOKEN).status_code == 200
    assert sorted(running_system.redis.hkeys(keys.RUN_REQUESTS)) == ["*", "PERSON"]
    assert post(address + "/reset/person", token=TOKEN).json()["fromOrdinal"] == 500
    assert not running_system.redis.exists("LATEST_PERSON_ORDINAL")
    assert post(address + "/api/rewind-undo", **bearer()).json()["toOrdinal"] == 500
    assert post(address + "/api/rewind/PERSON", {"to": 200}, **bearer()).status_code == 200
    assert running_system.redis.get("LATEST_PERSON_ORDINAL") == "200"
    assert post(address + "/api/dead-letters/retry", {"subjects": ["DEAD_LETTER.X.y"]}, **bearer()).status_code == 200
    assert running_system.redis.hkeys(keys.RETRY_REQUESTS) == ["DEAD_LETTER.X.y"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/reset/NOBODY", None, 404, "the table has PERSON"),
        ("/api/rewind/PERSON", {"to": 501}, 409, "would skip changes"),
        ("/api/rewind/PERSON", {"to": -5}, 409, "they begin at 0"),
        ("/api/dead-letters/retry", {"subjects": []}, 409, "name dead letters"),
        ("/api/dead-letters/retry", {"subjects": ["DEAD_LETTER.>"]}, 409, "name dead letters"),
        ("/api/rewind/PERSON", {"to": "all"}, 400, "invalid body"),
        ("/api/rewind/PERSON", {"too": 1}, 400, "invalid body"),
        ("/api/run", {"services": ["NOBODY"]}, 404, "the table has PERSON"),
        ("/api/rewind-undo", None, 409, "No rewind to undo"),
        ("/api/pause", {"reason": "x" * 70_000}, 413, "must not exceed 65536 bytes"),
    ],
)
def test_what_cannot_be_is_told(
    running_system: RunningSystem, address: str, path: str, body: object, status: int, words: str
) -> None:
    """Each refusal has a status and a sentence, and changes nothing."""
    before = state(running_system)
    answer = post(address + path, body, **bearer())
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert state(running_system) == before


def test_no_service_is_rewound_under_a_batch_of_it(running_system: RunningSystem, address: str) -> None:
    """While a producer settles a batch of a service, that one stays as it is, and others may be rewound."""
    batch = BatchState(
        service="PERSON",
        execution="0" * 24,
        since=500,
        greatest_ordinal=600,
        entities=9,
        chunks=1,
        started_at=now(),
        changed_at=now(),
    )
    busy = ProcessRecord(
        process_id="producer:busy",
        kind="producer",
        host="elsewhere",
        pid=1,
        version="0",
        started_at=now(),
        last_heartbeat_at=now(),
        producer=ProducerState(phase="settling", service="PERSON", batch=batch),
    )
    running_system.redis.set(keys.process(busy.process_id), encode(busy))
    running_system.redis.zadd(keys.PROCESSES, {busy.process_id: now().timestamp() * 1000 + 600_000})
    running_system.redis.set("LATEST_PLAN_ORDINAL", "7")
    for path in ("/reset/PERSON", "/api/rewind/PERSON"):
        answer = post(address + path, **bearer())
        assert (answer.status_code, "in flight" in answer.json()["error"]) == (409, True), answer.text
    assert running_system.redis.get("LATEST_PERSON_ORDINAL") == "500"
    assert post(address + "/reset/PLAN", **bearer()).status_code == 200
    assert not running_system.redis.exists("LATEST_PLAN_ORDINAL")


def test_a_body_that_is_no_text_is_refused(address: str) -> None:
    """Bytes that are no UTF-8 are a mistake of who sent them, and no defect."""
    headers = bearer() | {"Content-Type": "application/json"}
    answer = requests.post(address + "/api/pause", data=b'{"reason":"\xff"}', headers=headers, timeout=TIMEOUT_SECONDS)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid body: it is not UTF-8"})


def test_a_form_of_another_page_is_no_json(address: str) -> None:
    """What a form can send without asking first is refused."""
    answer = requests.post(address + "/api/pause", data={"reason": "x"}, headers=bearer(), timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 415


def test_the_status_is_public_and_names_nobody(address: str) -> None:
    """Versioned JSON for anybody who may reach the port, kept by no cache, framed by no site."""
    answer = requests.get(address + "/api/status", timeout=TIMEOUT_SECONDS)
    status = answer.json()
    assert (status["version"], status["services"][0]["ordinal"]) == (1, 500)
    assert status["diagnosis"]["code"] in ("lock_held", "starting")
    assert answer.headers["Cache-Control"] == "no-store"
    page = requests.get(address, timeout=TIMEOUT_SECONDS)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert TOKEN not in page.text + answer.text


def test_events_tell_of_changes(running_system: RunningSystem, address: str) -> None:
    """Whoever listens hears of a change within moments, and of a pause without the name of who made it."""
    with requests.get(address + "/api/events", stream=True, timeout=TIMEOUT_SECONDS) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        first = json.loads(next(line for line in lines if line.startswith(b"data: "))[6:])
        assert first["paused"] is None
        running_system.redis.set(keys.PAUSED, '{"by":"ada","at":"2026-01-01T00:00:00Z","reason":""}')
        heard = (json.loads(line[6:]) for line in lines if line.startswith(b"data: "))
        assert next(status for status in heard if status["paused"])["paused"]["by"] == "an operator"


def test_wrong_tokens_are_logged_and_slowed(running_system: RunningSystem) -> None:
    """Each takes a second to be rejected; the log tells of them, and has none of the tokens."""
    running_system.redis.set(keys.PRODUCER_LOCK, "of another", ex=600)
    producer = running_system.start_producer(EXPLORER_TOKEN=TOKEN)
    producer.wait_for('"standing_by"')
    [served] = [json.loads(line) for line in producer.output.splitlines() if '"http_listening"' in line]
    address = f"http://127.0.0.1:{served['port']}"
    began = time.monotonic()
    assert post(address + "/api/pause", **bearer("a-wrong-guess")).status_code == 401
    assert time.monotonic() - began >= 1
    producer.wait_for('"token_rejected"')
    [line] = [json.loads(line) for line in producer.output.splitlines() if '"token_rejected"' in line]
    assert (line["client"], line["count"], line["level"]) == ("127.0.0.1", 1, "warning")
    assert "a-wrong-guess" not in producer.output
    assert post(address + "/api/pause").status_code == 401  # a page without a token yet
    assert producer.output.count('"token_rejected"') == 1
    assert post(address + "/api/pause", **bearer()).status_code == 200


def test_what_is_not_http_has_the_security_headers(address: str) -> None:
    """Also the response that no application made."""
    port = int(address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as client:
        client.sendall(b"not HTTP at all\r\n\r\n")
        response = b"".join(iter(lambda: client.recv(4096), b""))
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"x-frame-options: DENY" in response
    assert b"content-security-policy: " in response


@pytest.mark.parametrize("site", [{}, {"Sec-Fetch-Site": "same-origin"}])
def test_an_action_through_a_proxy_that_replaces_the_host(address: str, site: dict[str, str]) -> None:
    """The origin is an address, or the browser itself says that it is the same site."""
    origin = "https://importer.example.org" if site else "http://10.1.2.3:8080"
    assert post(address + "/api/pause", Origin=origin, **site, **bearer()).status_code == 200
