"""The API of the dashboard: which requests are allowed with and without the token, and which never are."""

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
    """Start a producer that stands by, which serves the dashboard like any other, and return its address."""
    running_system.redis.set(keys.PRODUCER_LOCK, "another producer", ex=600)
    running_system.redis.set("LATEST_PERSON_ORDINAL", "500")
    return start(running_system, EXPLORER_TOKEN=TOKEN)


def start(running_system: RunningSystem, **variables: str) -> str:
    """Start a producer, and return its address."""
    producer: ProcessUnderTest = running_system.start_producer(**variables)
    producer.wait_for('"standing_by"')
    [served] = [json.loads(line) for line in producer.output.splitlines() if '"http_listening"' in line]
    return f"http://127.0.0.1:{served['port']}"


def post(url: str, body: object = None, **headers: str) -> requests.Response:
    """POST JSON."""
    return requests.post(url, json=body, headers=headers, timeout=TIMEOUT_SECONDS)


def bearer(token: str = TOKEN) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def state(running_system: RunningSystem) -> dict[str, object]:
    """Return everything in Redis that an action could change."""
    redis = running_system.redis
    return {
        "ordinal": redis.get("LATEST_PERSON_ORDINAL"),
        "paused": redis.get(keys.PAUSED),
        "runs": redis.hgetall(keys.RUN_REQUESTS),
        "retries": redis.hgetall(keys.RETRY_REQUESTS),
        "rewinds": redis.lrange(keys.REWINDS, 0, -1),
    }


def test_actions_without_the_token_are_unauthorized(running_system: RunningSystem, address: str) -> None:
    """A request with no token, a wrong one, or one in the address or in a cookie gets 401 and changes nothing."""
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
            response = requests.request(method, address + path, headers=headers, timeout=TIMEOUT_SECONDS)
            assert response.status_code == 401, (path, headers)
        separator = "&" if "?" in path else "?"
        response = requests.request(method, f"{address}{path}{separator}token={TOKEN}", timeout=TIMEOUT_SECONDS)
        assert response.status_code == 401, path
    assert state(running_system) == before


def test_cross_site_requests_are_forbidden(running_system: RunningSystem, address: str) -> None:
    """A request from another site gets 403 even with the token, and browsers are not told to allow one."""
    before = state(running_system)
    for path in ACTIONS:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            assert post(address + path, **bearer(), **headers).status_code == 403, (path, headers)
    preflight = requests.options(address + "/api/pause", timeout=TIMEOUT_SECONDS, headers={"Origin": "https://x"})
    assert not any(name.lower().startswith("access-control") for name in preflight.headers)
    assert state(running_system) == before


def test_no_action_is_done_by_get(running_system: RunningSystem, address: str) -> None:
    """A GET of an action's path, such as by following a link, gets 405 and changes nothing, even with the token."""
    before = state(running_system)
    for path in ACTIONS:
        assert requests.get(address + path, headers=bearer(), timeout=TIMEOUT_SECONDS).status_code == 405, path
    assert state(running_system) == before


def test_without_a_configured_token_all_actions_are_disabled(running_system: RunningSystem) -> None:
    """The response says which variable to set, and an empty token is not accepted either."""
    running_system.redis.set(keys.PRODUCER_LOCK, "another producer", ex=600)
    address = start(running_system)
    for headers in ({}, bearer(""), bearer(TOKEN)):
        response = post(address + "/api/pause", **headers)
        assert (response.status_code, "EXPLORER_TOKEN is not set" in response.text) == (403, True)
    assert not running_system.redis.exists(keys.PAUSED)


def test_each_action_has_its_effect(running_system: RunningSystem, address: str) -> None:
    """The token is accepted in both headers: that of the dashboard and that of older scripts."""
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
    ("path", "body", "status", "text"),
    [
        ("/reset/UNKNOWN", None, 404, "the table has PERSON"),
        ("/api/rewind/PERSON", {"to": 501}, 409, "would skip changes"),
        ("/api/rewind/PERSON", {"to": -5}, 409, "they begin at 0"),
        ("/api/dead-letters/retry", {"subjects": []}, 409, "name dead letters"),
        ("/api/dead-letters/retry", {"subjects": ["DEAD_LETTER.>"]}, 409, "name dead letters"),
        ("/api/rewind/PERSON", {"to": "all"}, 400, "invalid body"),
        ("/api/rewind/PERSON", {"too": 1}, 400, "invalid body"),
        ("/api/run", {"services": ["UNKNOWN"]}, 404, "the table has PERSON"),
        ("/api/rewind-undo", None, 409, "No rewind to undo"),
        ("/api/pause", {"reason": "x" * 70_000}, 413, "must not exceed 65536 bytes"),
    ],
)
def test_an_invalid_request_is_reported(
    running_system: RunningSystem, address: str, path: str, body: object, status: int, text: str
) -> None:
    """An error response has a status and a message, and the request changes nothing."""
    before = state(running_system)
    response = post(address + path, body, **bearer())
    assert (response.status_code, text in response.json()["error"]) == (status, True), response.text
    assert state(running_system) == before


def test_a_service_with_a_batch_in_flight_is_not_rewound(running_system: RunningSystem, address: str) -> None:
    """While a batch of a service is settled, its ordinal cannot be rewound, and those of other services can."""
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
        response = post(address + path, **bearer())
        assert (response.status_code, "in flight" in response.json()["error"]) == (409, True), response.text
    assert running_system.redis.get("LATEST_PERSON_ORDINAL") == "500"
    assert post(address + "/reset/PLAN", **bearer()).status_code == 200
    assert not running_system.redis.exists("LATEST_PLAN_ORDINAL")


def test_a_body_that_is_not_text_is_invalid(address: str) -> None:
    """A body that is not UTF-8 is an error of the client, not a defect."""
    headers = bearer() | {"Content-Type": "application/json"}
    response = requests.post(
        address + "/api/pause", data=b'{"reason":"\xff"}', headers=headers, timeout=TIMEOUT_SECONDS
    )
    assert (response.status_code, response.json()) == (400, {"error": "invalid body: it is not UTF-8"})


def test_a_form_of_another_page_is_not_accepted(address: str) -> None:
    """A content type that a form can send without a preflight request gets 415."""
    response = requests.post(address + "/api/pause", data={"reason": "x"}, headers=bearer(), timeout=TIMEOUT_SECONDS)
    assert response.status_code == 415


def test_the_status_is_public(address: str) -> None:
    """The status is versioned JSON, needs no token and contains none, and is neither cached nor framed."""
    response = requests.get(address + "/api/status", timeout=TIMEOUT_SECONDS)
    status = response.json()
    assert (status["version"], status["services"][0]["ordinal"]) == (1, 500)
    assert status["diagnosis"]["code"] in ("lock_held", "starting")
    assert response.headers["Cache-Control"] == "no-store"
    page = requests.get(address, timeout=TIMEOUT_SECONDS)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert TOKEN not in page.text + response.text


def test_events_report_changes(running_system: RunningSystem, address: str) -> None:
    """A client of the event stream receives a change at once, and a pause without the operator's name."""
    with requests.get(address + "/api/events", stream=True, timeout=TIMEOUT_SECONDS) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = response.iter_lines()
        first = json.loads(next(line for line in lines if line.startswith(b"data: "))[6:])
        assert first["paused"] is None
        running_system.redis.set(keys.PAUSED, '{"by":"ada","at":"2026-01-01T00:00:00Z","reason":""}')
        statuses = (json.loads(line[6:]) for line in lines if line.startswith(b"data: "))
        assert next(status for status in statuses if status["paused"])["paused"]["by"] == "an operator"


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
