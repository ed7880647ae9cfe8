"""A simulated SISU for the client, and nothing of the environment that the tests run in."""

import asyncio
from collections.abc import Iterator

import pytest

from demo.sisu.simulator import SisuSimulator
from shared.config.settings import ProducerSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings and no proxies of the one who runs the tests."""
    for name in (*ProducerSettings.model_fields, "http_proxy", "https_proxy", "all_proxy", "requests_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def sisu() -> Iterator[SisuSimulator]:
    """Start a SISU of this test's own."""
    with SisuSimulator(seed=7, size=600) as simulator:
        yield simulator


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """All pauses between attempts, which take no time."""
    taken: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        taken.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    return taken
