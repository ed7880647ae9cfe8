"""The page in a real browser, served by a real producer: while an import runs, while it stands still, and its actions.

With SCREENSHOTS=1 the pictures in docs/screenshots are made anew.
"""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Scheme, browsing
from tests.support.installation import Installation
from tests.support.programs import Program
from tests.support.waiting import wait_until

TOKEN = "correct-horse-battery-staple"
SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
WIDTHS = {"desktop": 1280, "phone": 390}
SECONDS = 30_000
"""As Playwright counts, in milliseconds."""


def serving(installation: Installation, **variables: str) -> tuple[Program, str]:
    """A producer, and the address of its page."""
    producer = installation.start_producer(EXPLORER_TOKEN=TOKEN, **variables)
    producer.wait_for('"http_served"')
    port = re.findall(r'"port": (\d+), "event": "http_served"', producer.output)[0]
    return producer, f"http://127.0.0.1:{port}/"


def shoot(page: Page, name: str) -> None:
    """Keep a picture, if they are wanted."""
    if os.environ.get("SCREENSHOTS") == "1":
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png")


def use_token(page: Page, token: str) -> None:
    """Type it in, as an operator does."""
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Use it").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_shows_an_import_that_runs(installation: Installation, scheme: Scheme, width: str) -> None:
    """The verdict, the run, the batch with its bar, the ordinals: all of it moves by itself."""
    installation.start_mankeli("--delay-seconds", "0.2")
    _, address = serving(installation, FETCH_AMOUNT="50", MAX_CHUNK_SIZE="5")
    with browsing(WIDTHS[width], scheme=scheme) as page:
        page.goto(address)
        expect(page.locator("#link")).to_have_text("live", timeout=SECONDS)
        expect(page.locator("#run")).to_contain_text("service 1 of 26: PERSON", timeout=SECONDS)
        expect(page.locator("#batch-text")).to_contain_text("settled", timeout=SECONDS)
        ordinal = page.get_by_role("row", name="PERSON").first.get_by_role("cell").nth(0)
        expect(ordinal).to_have_text(re.compile(r"\d+"), timeout=SECONDS)
        shoot(page, f"importing-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it is as wide as the screen"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_tells_why_an_import_stands_still(installation: Installation, scheme: Scheme, width: str) -> None:
    """Nobody takes the chunks: that is the first thing on the page."""
    _, address = serving(installation, SERVICES="PERSON")
    with browsing(WIDTHS[width], scheme=scheme) as page:
        page.goto(address)
        expect(page.locator("#sentence")).to_contain_text("No mankeli is attached", timeout=SECONDS)
        expect(page.locator("#verdict")).to_have_class("bad")
        shoot(page, f"standing-still-{width}-{scheme}")


def test_times_are_the_importers_wherever_they_are_read(installation: Installation) -> None:
    """On a holiday in Japan an operator reads the same hour as in the log: midnight in Helsinki."""
    installation.start_mankeli()
    producer, address = serving(installation)
    producer.wait_for('"waiting_for_cron"')
    with browsing(zone="Asia/Tokyo") as page:
        page.goto(address)
        expect(page.locator("#run")).to_contain_text("the next one begins at 01/01/", timeout=SECONDS)
        expect(page.locator("#run")).to_contain_text(", 00:00:00")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_wrong_token_does_nothing(installation: Installation, width: str) -> None:
    """The refusal is told, and nothing has happened."""
    producer, address = serving(installation)
    with browsing(WIDTHS[width]) as page:
        page.goto(address)
        use_token(page, "wrong")
        page.get_by_role("button", name="Pause", exact=True).click()
        page.get_by_role("button", name="Do it").click()
        expect(page.locator("#said")).to_have_text("Refused: the token is missing or wrong.", timeout=SECONDS)
        shoot(page, f"wrong-token-{width}")
    assert not installation.redis.exists("IMPORTER_PAUSED")
    assert TOKEN not in producer.output


def test_an_operator_pauses_resumes_runs_and_rewinds(installation: Installation) -> None:
    """Each button does what it says, with a reason that is kept; the keyboard alone is enough."""
    installation.start_mankeli()
    producer, address = serving(installation)
    producer.wait_for('"waiting_for_cron"')
    with browsing() as page:
        page.goto(address)
        use_token(page, TOKEN)
        page.get_by_role("button", name="Pause", exact=True).press("Enter")
        page.get_by_label("Why").fill("upgrade")
        page.keyboard.press("Enter")
        expect(page.locator("#sentence")).to_have_text("The import is paused by an operator: upgrade.", timeout=SECONDS)
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("#sentence")).to_contain_text("Nothing is to be done", timeout=SECONDS)
        page.get_by_role("button", name="Rewind PERSON", exact=True).click()
        page.get_by_label("Why").fill("a test")
        page.get_by_role("button", name="Do it").click()
        wait_until(lambda: not installation.redis.exists("LATEST_PERSON_ORDINAL"), "the ordinal went back")
        page.get_by_role("button", name="Run now").click()
        newest = str(installation.sisu.greatest_ordinal("PERSON"))
        wait_until(lambda: installation.redis.get("LATEST_PERSON_ORDINAL") == newest, "it is imported anew")
        expect(page.locator("#runs li")).to_have_count(2, timeout=SECONDS)
        page.get_by_role("button", name="Pause", exact=True).click()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
    assert not installation.redis.exists("IMPORTER_PAUSED")


def test_dead_letters_are_shown_on_demand_and_with_the_token_only(installation: Installation) -> None:
    """Ids and entities come only after the token was given, and an entity only when it is asked for."""
    bad = next(iter(installation.sisu.expected("PERSON")))
    installation.start_mankeli("--fail-id", bad)
    producer, address = serving(installation)
    producer.wait_for('"waiting_for_cron"')
    with browsing() as page:
        page.goto(address)
        expect(page.locator("#sentence")).to_contain_text("Nothing is to be done", timeout=SECONDS)
        page.get_by_role("button", name="Show dead letters").click()
        expect(page.locator("#said")).to_contain_text("Refused", timeout=SECONDS)
        assert bad not in page.content()
        use_token(page, TOKEN)
        page.get_by_role("button", name="Show dead letters").click()
        expect(page.get_by_role("row", name=bad)).to_contain_text("rejected: ", timeout=SECONDS)
        expect(page.get_by_role("row", name=bad)).to_contain_text("told to fail")
        expect(page.locator("#said")).to_have_text("1 dead letter.")
        assert "documentState" not in page.content()
        page.get_by_role("button", name=f"Show {bad}").click()
        expect(page.locator("#letter-text")).to_contain_text("documentState", timeout=SECONDS)
        page.keyboard.press("Escape")
        expect(page.locator("#letter-text")).to_have_text("", timeout=SECONDS)
        page.get_by_role("button", name=f"Drop {bad}").click()
        page.get_by_role("button", name="Do it").click()
        expect(page.get_by_role("row", name=bad)).to_have_count(0, timeout=SECONDS)
