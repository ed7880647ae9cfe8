"""What does not pass is not asked for again: refusals, redirects, and answers that break the contract."""

from typing import Any

import pytest

from demo.sisu.simulator import Credentials, SisuSimulator
from shared.model.errors import FetchError, ServiceForbiddenError, SisuUnauthorizedError
from tests.integration.sisu_client.harness import PERSON, PLAN, SCALES, SECRET, USER, client_of


async def test_rejected_credentials_fail_the_service_at_once(sisu: SisuSimulator) -> None:
    """A 401 is an error of its own after one request, and names the variables that the credentials come from."""
    sisu.credentials = Credentials(user="importer", password="right")
    with pytest.raises(SisuUnauthorizedError, match=r"\(401\): check SIS_API_USER and SIS_API_PASSWORD"):
        await client_of(sisu, **USER).fetch(PERSON, 0)
    with pytest.raises(SisuUnauthorizedError, match=r"\(401\): .*none is set"):
        await client_of(sisu).fetch(PLAN, 0)
    assert len(sisu.requests) == 2


async def test_a_forbidden_service_is_told_apart(sisu: SisuSimulator) -> None:
    """A 403 is that service's alone, after one request; the others are answered."""
    sisu.forbidden = {"PERSON"}
    client = client_of(sisu)
    with pytest.raises(ServiceForbiddenError, match=r"PERSON: .* returned 403.*/persons/v1/export"):
        await client.fetch(PERSON, 0)
    assert (await client.fetch(PLAN, 0)).entities
    assert len(sisu.requests) == 2


@pytest.mark.parametrize("status", [201, 204, 304, 400, 404, 405, 410])
async def test_any_other_status_is_final(sisu: SisuSimulator, status: int) -> None:
    """What is neither an answer nor a passing fault is not asked for again."""
    sisu.fault("status", service="PERSON", status=status, times=None)
    with pytest.raises(FetchError, match=f"returned {status} for /persons/v1/export"):
        await client_of(sisu).fetch(PERSON, 0)
    assert len(sisu.requests) == 1


@pytest.mark.parametrize("location", ["http://[bad/", "http://bad:port/"])
async def test_a_redirect_that_leads_nowhere_fails_the_service(sisu: SisuSimulator, location: str) -> None:
    """A header that is no address is an answer that cannot be used, and no end of the process."""
    sisu.fault("status", service="PERSON", status=302, headers={"Location": location}, times=None)
    with pytest.raises(FetchError):
        await client_of(sisu).fetch(PERSON, 0)


async def test_a_redirect_does_not_quote_credentials(sisu: SisuSimulator) -> None:
    """The host is told, and not who was to be somebody there."""
    location = f"http://importer:{SECRET}@elsewhere.example.org/login"
    sisu.fault("status", service="PERSON", status=302, headers={"Location": location})
    with pytest.raises(FetchError, match=r"redirects to elsewhere\.example\.org: check the address"):
        await client_of(sisu).fetch(PERSON, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(sisu: SisuSimulator, status: int) -> None:
    """Credentials are not carried elsewhere: a redirect is an error that says where it leads."""
    with SisuSimulator(size=100) as other:
        location = f"{other.uri}/ori/api/persons/v1/export?token={SECRET}"
        sisu.fault("status", service="PERSON", status=status, headers={"Location": location})
        with pytest.raises(FetchError, match=rf"redirects to 127\.0\.0\.1:{other.port}: check the address"):
            await client_of(sisu, **USER).fetch(PERSON, 0)
        assert other.requests == []


@pytest.mark.parametrize(
    ("kind", "details", "complaint"),
    [
        ("no_progress", {}, "never end"),
        ("empty_page", {"progress": False}, "never end"),
        ("ordinal_null", {}, "greatestOrdinal"),
        ("ordinal_string", {}, "greatestOrdinal"),
        ("ordinal_missing", {}, "greatestOrdinal"),
        ("not_a_list", {}, "entities"),
    ],
)
async def test_a_broken_contract_is_not_asked_for_again(
    sisu: SisuSimulator, kind: str, details: dict[str, Any], complaint: str
) -> None:
    """An answer of another shape fails the service after one request, with what is wrong."""
    sisu.fault(kind, service="PERSON", times=None, **details)
    with pytest.raises(FetchError, match=f"PERSON: SISU at .*{complaint}"):
        await client_of(sisu).fetch(PERSON, 0)
    assert len(sisu.requests) == 1


async def test_errors_of_graphql_are_final(sisu: SisuSimulator) -> None:
    """A GraphQL answer with errors is no answer, though its status is 200."""
    sisu.fault("graphql_errors", times=None)
    with pytest.raises(FetchError, match="the GraphQL response reports errors"):
        await client_of(sisu).fetch(SCALES, 0)
    assert len(sisu.requests) == 1


@pytest.mark.parametrize("kind", ["empty_page", "twice", "inclusive", "too_many"])
async def test_oddities_that_lose_nothing_are_accepted(sisu: SisuSimulator, kind: str) -> None:
    """A page that is empty but goes on, or longer than asked, or repeats itself, is a batch."""
    begin = sisu.versions("PERSON")[3].ordinal
    armed = sisu.fault(kind, service="PERSON")
    batch = await client_of(sisu, fetch_amount=5).fetch(PERSON, begin)
    assert batch.greatest_ordinal > begin
    assert armed.hits == len(sisu.requests) == 1


async def test_a_huge_ordinal_is_refused(sisu: SisuSimulator) -> None:
    """An ordinal that no real SISU comes near is not believed, and not asked for again."""
    sisu.fault("ordinal_huge", service="PERSON")
    with pytest.raises(FetchError, match="greatestOrdinal 9007199254740993 is above"):
        await client_of(sisu).fetch(PERSON, 0)
    assert len(sisu.requests) == 1
