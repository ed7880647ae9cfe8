"""A simulated SISU for the client, and an environment without settings and proxies."""

import asyncio
from collections.abc import Iterator

import pytest

from demo.sisu.simulator import SisuSimulator
from shared.config.settings import ProducerSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings and proxies of the environment in which the tests run."""
    for name in (*ProducerSettings.model_fields, "http_proxy", "https_proxy", "all_proxy", "requests_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def sisu() -> Iterator[SisuSimulator]:
    """Start a SISU of this test's own."""
    with SisuSimulator(seed=7, size=600) as simulator:
        yield simulator


@pytest.fixture
def backoffs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of all backoffs between attempts, which take no time."""
    seconds_slept: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        seconds_slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", record)
    return seconds_slept
