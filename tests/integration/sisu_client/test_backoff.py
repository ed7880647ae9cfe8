"""How long SISU is left alone between two attempts: the longer of what it asks for and of the client's own pause."""

import pytest

from demo.sisu.simulator import SisuSimulator
from shared.model.errors import FetchError
from shared.sisu.client import SisuClient
from tests.integration.sisu_client.harness import PERSON, NoCache, settings_for

OWN_SECONDS = [1, 2, 4, 8, 16]
"""The client's own pauses, where nothing is asked for."""


@pytest.fixture
def client(sisu: SisuSimulator) -> SisuClient:
    """With the pauses that the product makes."""
    return SisuClient(settings_for(sisu.uri), NoCache())  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("header", [{"retry_after": 0}, {"retry_after": "-5"}, {"retry_after_date_seconds": -100}])
async def test_a_sisu_that_asks_for_no_pause_gets_the_usual_ones(
    sisu: SisuSimulator, client: SisuClient, pauses: list[float], status: int, header: dict[str, int | str]
) -> None:
    """`Retry-After: 0`, or a moment that has passed: it is not asked six times at once, which would help nobody."""
    sisu.fault("status", service="PERSON", times=None, status=status, **header)
    with pytest.raises(FetchError, match=rf"status {status} \(6 attempts\)"):
        await client.fetch(PERSON, 0)
    assert pauses == OWN_SECONDS


async def test_the_longer_pause_counts(sisu: SisuSimulator, client: SisuClient, pauses: list[float]) -> None:
    """Asked for five seconds each time: its own pause is used from where it is longer."""
    sisu.fault("status", service="PERSON", times=None, status=429, retry_after=5)
    with pytest.raises(FetchError):
        await client.fetch(PERSON, 0)
    assert pauses == [5, 5, 5, 8, 16]


async def test_what_was_asked_for_once_is_no_longer_asked_for(
    sisu: SisuSimulator, client: SisuClient, pauses: list[float]
) -> None:
    """A long wait is that attempt's alone; the next pause is the client's own, as grown as it would be."""
    sisu.fault("status", service="PERSON", status=503, retry_after=900)
    sisu.fault("status", service="PERSON", status=503)
    assert (await client.fetch(PERSON, 0)).entities
    assert pauses == [900, 2]
