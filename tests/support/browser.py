"""A real browser: Debian's chromium, driven by Playwright. PLAYWRIGHT_CHROMIUM names another program."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from playwright.sync_api import Error, Page, sync_playwright

Scheme = Literal["light", "dark"]


def chromium() -> str:
    """Return its path. Without one the test is skipped, and fails in CI."""
    path = os.environ.get("PLAYWRIGHT_CHROMIUM") or shutil.which("chromium")
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no chromium on this machine")
    return str(path)


@contextmanager
def browsing(
    width: int = 1280,
    height: int = 900,
    scheme: Scheme = "light",
    zone: str = "Europe/Helsinki",
    *,
    ignore_https_errors: bool = False,
) -> Iterator[Page]:
    """Open a page in a new browser. An error in the page's own script fails the test."""
    errors: list[str] = []
    with sync_playwright() as playwright:
        # Without a sandbox: CI runs as root, where chromium's does not start; it sees only our own page.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            timezone_id=zone,
            ignore_https_errors=ignore_https_errors,
        ).new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
        yield page
        browser.close()
    assert errors == []


def open_page(page: Page, address: str) -> None:
    """Open an address. Once more where containers that start or end meanwhile change the networks of this machine."""
    try:
        page.goto(address)
    except Error as error:
        if "ERR_NETWORK_CHANGED" not in str(error):
            raise
        page.goto(address)
