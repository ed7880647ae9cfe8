"""The backoff between two attempts at SISU: the longer of Retry-After and the client's own backoff."""

import pytest

from demo.sisu.simulator import SisuSimulator
from shared.model.errors import FetchError
from shared.sisu.client import SisuClient
from tests.integration.sisu_client.harness import PERSON, NoCache, settings_for

OWN_SECONDS = [1, 2, 4, 8, 16]
"""The client's own backoffs, without a Retry-After."""


@pytest.fixture
def client(sisu: SisuSimulator) -> SisuClient:
    """Return a client with the backoffs of the product."""
    return SisuClient(settings_for(sisu.uri), NoCache())  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("header", [{"retry_after": 0}, {"retry_after": "-5"}, {"retry_after_date_seconds": -100}])
async def test_an_empty_retry_after_leaves_the_own_backoff(
    sisu: SisuSimulator, client: SisuClient, backoffs: list[float], status: int, header: dict[str, int | str]
) -> None:
    """After `Retry-After: 0`, or a time in the past, the client's own backoffs are used, not six attempts at once."""
    sisu.fault("status", service="PERSON", times=None, status=status, **header)
    with pytest.raises(FetchError, match=rf"status {status} \(6 attempts\)"):
        await client.fetch(PERSON, 0)
    assert backoffs == OWN_SECONDS


async def test_the_longer_backoff_is_used(sisu: SisuSimulator, client: SisuClient, backoffs: list[float]) -> None:
    """With a Retry-After of five seconds each time, the own backoff is used once it is longer than that."""
    sisu.fault("status", service="PERSON", times=None, status=429, retry_after=5)
    with pytest.raises(FetchError):
        await client.fetch(PERSON, 0)
    assert backoffs == [5, 5, 5, 8, 16]


async def test_a_retry_after_applies_to_one_attempt_only(
    sisu: SisuSimulator, client: SisuClient, backoffs: list[float]
) -> None:
    """The backoff after the next attempt is the client's own, as if there had been no Retry-After."""
    sisu.fault("status", service="PERSON", status=503, retry_after=900)
    sisu.fault("status", service="PERSON", status=503)
    assert (await client.fetch(PERSON, 0)).entities
    assert backoffs == [900, 2]
