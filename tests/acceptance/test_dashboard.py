"""The dashboard in a real browser, served by a real producer: a running import, a stalled one, and the actions.

With SCREENSHOTS=1 the pictures in docs/screenshots are made again.
"""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Scheme, browsing, open_page
from tests.support.programs import ProcessUnderTest
from tests.support.running_system import RunningSystem
from tests.support.waiting import wait_until

TOKEN = "correct-horse-battery-staple"
SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
WIDTHS = {"desktop": 1280, "phone": 390}
TIMEOUT_MILLISECONDS = 30_000


def start_dashboard(running_system: RunningSystem, **variables: str) -> tuple[ProcessUnderTest, str]:
    """Start a producer; return it and the address of its dashboard."""
    producer = running_system.start_producer(EXPLORER_TOKEN=TOKEN, **variables)
    producer.wait_for('"http_listening"')
    port = re.findall(r'"port": (\d+), "event": "http_listening"', producer.output)[0]
    return producer, f"http://127.0.0.1:{port}/"


def take_screenshot(page: Page, name: str) -> None:
    """Keep a screenshot, where SCREENSHOTS is set."""
    if os.environ.get("SCREENSHOTS") == "1":
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png")


def save_token(page: Page, token: str) -> None:
    """Enter the token, as an operator does."""
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Save token").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_running_import_is_shown(running_system: RunningSystem, scheme: Scheme, width: str) -> None:
    """The run, the batch with its bar and the ordinals are updated without a reload."""
    running_system.start_mankeli("--delay-seconds", "0.2")
    _, address = start_dashboard(running_system, FETCH_AMOUNT="50", MAX_CHUNK_SIZE="5")
    with browsing(WIDTHS[width], scheme=scheme) as page:
        open_page(page, address)
        expect(page.locator("#connection")).to_have_text("live", timeout=TIMEOUT_MILLISECONDS)
        expect(page.locator("#run")).to_contain_text("service 1 of 26: PERSON", timeout=TIMEOUT_MILLISECONDS)
        expect(page.locator("#batch-text")).to_contain_text("settled", timeout=TIMEOUT_MILLISECONDS)
        ordinal = page.get_by_role("row", name="PERSON").first.get_by_role("cell").nth(0)
        expect(ordinal).to_have_text(re.compile(r"\d+"), timeout=TIMEOUT_MILLISECONDS)
        take_screenshot(page, f"importing-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            "the page is wider than the screen"
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_cause_of_a_stalled_import_is_shown(running_system: RunningSystem, scheme: Scheme, width: str) -> None:
    """Without mankelis, the diagnosis says so, with what to do."""
    _, address = start_dashboard(running_system, SERVICES="PERSON")
    with browsing(WIDTHS[width], scheme=scheme) as page:
        open_page(page, address)
        expect(page.locator("#message")).to_contain_text("No mankeli is attached", timeout=TIMEOUT_MILLISECONDS)
        expect(page.locator("#hint")).to_contain_text("Start mankelis")
        expect(page.locator("#diagnosis")).to_have_class("problem")
        take_screenshot(page, f"stalled-{width}-{scheme}")


def test_times_are_in_the_time_zone_of_the_importer(running_system: RunningSystem) -> None:
    """A browser in another time zone shows the same hour as the log: midnight in Helsinki."""
    running_system.start_mankeli()
    producer, address = start_dashboard(running_system)
    producer.wait_for('"next_run_scheduled"')
    with browsing(zone="Asia/Tokyo") as page:
        open_page(page, address)
        expect(page.locator("#run")).to_contain_text("the next run starts at 01/01/", timeout=TIMEOUT_MILLISECONDS)
        expect(page.locator("#run")).to_contain_text(", 00:00:00")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_wrong_token_is_rejected(running_system: RunningSystem, width: str) -> None:
    """The page shows the error, and nothing has changed."""
    producer, address = start_dashboard(running_system)
    with browsing(WIDTHS[width]) as page:
        open_page(page, address)
        save_token(page, "wrong")
        page.get_by_role("button", name="Pause", exact=True).click()
        page.get_by_role("button", name="Confirm").click()
        expect(page.locator("#action-result")).to_have_text(
            "Failed: the token is missing or wrong.", timeout=TIMEOUT_MILLISECONDS
        )
        take_screenshot(page, f"wrong-token-{width}")
    assert not running_system.redis.exists("IMPORTER_PAUSED")
    assert TOKEN not in producer.output


def test_an_operator_pauses_resumes_runs_and_rewinds(running_system: RunningSystem) -> None:
    """Each button performs its action, with the reason recorded; the keyboard alone is enough."""
    running_system.start_mankeli()
    producer, address = start_dashboard(running_system)
    producer.wait_for('"next_run_scheduled"')
    with browsing() as page:
        open_page(page, address)
        save_token(page, TOKEN)
        page.get_by_role("button", name="Pause", exact=True).press("Enter")
        page.get_by_label("Reason").fill("upgrade")
        page.keyboard.press("Enter")
        expect(page.locator("#message")).to_have_text(
            "The import is paused by an operator: upgrade.", timeout=TIMEOUT_MILLISECONDS
        )
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("#message")).to_contain_text("No run is in progress", timeout=TIMEOUT_MILLISECONDS)
        page.get_by_role("button", name="Rewind PERSON", exact=True).click()
        page.get_by_label("Reason").fill("a test")
        page.get_by_role("button", name="Confirm").click()
        wait_until(lambda: not running_system.redis.exists("LATEST_PERSON_ORDINAL"), "the ordinal is moved back")
        page.get_by_role("button", name="Run now").click()
        newest = str(running_system.sisu.greatest_ordinal("PERSON"))
        wait_until(lambda: running_system.redis.get("LATEST_PERSON_ORDINAL") == newest, "everything is imported again")
        expect(page.locator("#runs li")).to_have_count(2, timeout=TIMEOUT_MILLISECONDS)
        page.get_by_role("button", name="Pause", exact=True).click()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
    assert not running_system.redis.exists("IMPORTER_PAUSED")


def test_dead_letters_are_shown_on_demand_and_only_with_the_token(running_system: RunningSystem) -> None:
    """Ids are shown only with the token, and an entity only when it is requested."""
    bad = next(iter(running_system.sisu.expected("PERSON")))
    running_system.start_mankeli("--fail-id", bad)
    producer, address = start_dashboard(running_system)
    producer.wait_for('"next_run_scheduled"')
    with browsing() as page:
        open_page(page, address)
        expect(page.locator("#message")).to_contain_text("No run is in progress", timeout=TIMEOUT_MILLISECONDS)
        page.get_by_role("button", name="Show dead letters").click()
        expect(page.locator("#action-result")).to_contain_text("Failed", timeout=TIMEOUT_MILLISECONDS)
        assert bad not in page.content()
        save_token(page, TOKEN)
        page.get_by_role("button", name="Show dead letters").click()
        expect(page.get_by_role("row", name=bad)).to_contain_text("rejected: ", timeout=TIMEOUT_MILLISECONDS)
        expect(page.get_by_role("row", name=bad)).to_contain_text("told to fail")
        expect(page.locator("#action-result")).to_have_text("1 dead letter.")
        assert "documentState" not in page.content()
        page.get_by_role("button", name=f"Show {bad}").click()
        expect(page.locator("#dead-letter-text")).to_contain_text("documentState", timeout=TIMEOUT_MILLISECONDS)
        page.keyboard.press("Escape")
        expect(page.locator("#dead-letter-text")).to_have_text("", timeout=TIMEOUT_MILLISECONDS)
        page.get_by_role("button", name=f"Drop {bad}").click()
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("row", name=bad)).to_have_count(0, timeout=TIMEOUT_MILLISECONDS)
