"""The dashboard behind a real nginx, as Debian ships it: on another port, below a path, with TLS."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from shared.model import keys
from tests.acceptance.test_dashboard import TIMEOUT_MILLISECONDS, TOKEN, save_token, start_dashboard
from tests.support.browser import browsing, open_page
from tests.support.certificates import make_self_signed
from tests.support.nginx import nginx
from tests.support.running_system import RunningSystem
from tests.support.waiting import wait_until

SERVERS = {
    "another port": "server { listen 127.0.0.1:$PORT; location / { proxy_pass $TARGET; } }",
    "a path": "server { listen 127.0.0.1:$PORT; location /importer/ { proxy_pass $TARGET; } }",
    "TLS": "server { listen 127.0.0.1:$PORT ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; "
    "location / { proxy_pass $TARGET; } }",
}
"""What nginx does with `proxy_pass` alone; it sends the target's address as the Host."""


@pytest.mark.parametrize("kind", SERVERS)
def test_the_page_works_behind_nginx(running_system: RunningSystem, tmp_path: Path, kind: str) -> None:
    """All files load, the status is live, and an action of the page has its effect."""
    running_system.redis.set(keys.PRODUCER_LOCK, "of another", ex=600)
    _, target = start_dashboard(running_system)
    with nginx(tmp_path / "nginx", SERVERS[kind].replace("$TARGET", target), make_self_signed()) as proxy:
        scheme, path = ("https" if kind == "TLS" else "http"), ("importer/" if kind == "a path" else "")
        with browsing(ignore_https_errors=True) as page:
            missing: list[str] = []
            page.on("response", lambda response: missing.append(response.url) if response.status >= 400 else None)
            open_page(page, f"{scheme}://127.0.0.1:{proxy.port}/{path}")
            expect(page.locator("#connection")).to_have_text("live", timeout=TIMEOUT_MILLISECONDS)
            pause(page)
            wait_until(lambda: running_system.redis.exists(keys.PAUSED), "the import is paused")
            assert missing == []


def pause(page: Page) -> None:
    save_token(page, TOKEN)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Confirm").click()
    expect(page.locator("#action-result")).to_have_text("Import paused.", timeout=TIMEOUT_MILLISECONDS)


def test_the_page_reconnects_after_a_502(running_system: RunningSystem, tmp_path: Path) -> None:
    """While the producer is restarted behind it nginx returns 502; afterwards the page is live by itself."""
    running_system.redis.set(keys.PRODUCER_LOCK, "of another", ex=600)
    producer, target = start_dashboard(running_system)
    port = re.findall(r":(\d+)/", target)[0]
    with (
        nginx(tmp_path / "nginx", SERVERS["another port"].replace("$TARGET", target)) as proxy,
        browsing() as page,
    ):
        statuses: list[int] = []
        page.on("response", lambda response: statuses.append(response.status))
        open_page(page, f"http://127.0.0.1:{proxy.port}/")
        expect(page.locator("#connection")).to_have_text("live", timeout=TIMEOUT_MILLISECONDS)
        producer.terminate()
        producer.outcome()
        expect(page.locator("#connection")).to_have_text("disconnected, reconnecting…", timeout=TIMEOUT_MILLISECONDS)
        with page.expect_response(lambda response: response.status == 502, timeout=TIMEOUT_MILLISECONDS):
            pass
        start_dashboard(running_system, PORT=port)
        expect(page.locator("#connection")).to_have_text("live", timeout=TIMEOUT_MILLISECONDS)
        assert 502 in statuses


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:3002"}, 200),
        ({"Host": "producer"}, 200),
        ({"Host": "[::1]:3002"}, 200),
        ({"Host": "importer.example.org"}, 200),
        ({"Host": "IMPORTER.example.org:443"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "importer.example.org.evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:3002"}, 421),
        ({"Host": "x@importer.example.org"}, 421),
    ],
)
def test_foreign_hosts_are_rejected(running_system: RunningSystem, headers: Mapping[str, str], status: int) -> None:
    """A name that another site could have resolved to this machine is rejected on every path, unless it is allowed."""
    _, target = start_dashboard(running_system, HTTP_ALLOWED_HOSTS="importer.example.org")
    for path in ("", "api/status", "healthz", "metrics", "static/page.js"):
        response = requests.get(target + path, headers=headers, timeout=20)
        assert response.status_code == status, path
        assert response.headers["X-Frame-Options"] == "DENY"
    if status == 421:
        assert "HTTP_ALLOWED_HOSTS" in response.json()["error"]
