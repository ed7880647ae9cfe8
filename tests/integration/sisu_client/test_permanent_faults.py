"""Permanent faults are not retried: denied requests, redirects, and responses that break the contract."""

from typing import Any

import pytest

from demo.sisu.simulator import Credentials, SisuSimulator
from shared.model.errors import FetchError, ServiceForbiddenError, SisuUnauthorizedError
from tests.integration.sisu_client.harness import PERSON, PLAN, SCALES, SECRET, USER, client_of


async def test_rejected_credentials_fail_the_service_at_once(sisu: SisuSimulator) -> None:
    """A 401 has its own error after one request, which names the variables of the credentials."""
    sisu.credentials = Credentials(user="importer", password="right")
    with pytest.raises(SisuUnauthorizedError, match=r"\(401\): check SIS_API_USER and SIS_API_PASSWORD"):
        await client_of(sisu, **USER).fetch(PERSON, 0)
    with pytest.raises(SisuUnauthorizedError, match=r"\(401\): .*none is set"):
        await client_of(sisu).fetch(PLAN, 0)
    assert len(sisu.requests) == 2


async def test_a_forbidden_service_has_its_own_error(sisu: SisuSimulator) -> None:
    """A 403 fails only that service, after one request; others can still be fetched."""
    sisu.forbidden = {"PERSON"}
    client = client_of(sisu)
    with pytest.raises(ServiceForbiddenError, match=r"PERSON: .* returned 403.*/persons/v1/export"):
        await client.fetch(PERSON, 0)
    assert (await client.fetch(PLAN, 0)).entities
    assert len(sisu.requests) == 2


@pytest.mark.parametrize("status", [201, 204, 304, 400, 404, 405, 410])
async def test_any_other_status_is_final(sisu: SisuSimulator, status: int) -> None:
    """A status that is neither a success nor a transient fault is not retried."""
    sisu.fault("status", service="PERSON", status=status, times=None)
    with pytest.raises(FetchError, match=f"returned {status} for /persons/v1/export"):
        await client_of(sisu).fetch(PERSON, 0)
    assert len(sisu.requests) == 1


@pytest.mark.parametrize("location", ["http://[bad/", "http://bad:port/"])
async def test_a_redirect_that_leads_nowhere_fails_the_service(sisu: SisuSimulator, location: str) -> None:
    """A Location header that is not an address fails the service, and is no unexpected error."""
    sisu.fault("status", service="PERSON", status=302, headers={"Location": location}, times=None)
    with pytest.raises(FetchError):
        await client_of(sisu).fetch(PERSON, 0)


async def test_a_redirect_does_not_quote_credentials(sisu: SisuSimulator) -> None:
    """The error names the host of the Location header, without the credentials in it."""
    location = f"http://importer:{SECRET}@elsewhere.example.org/login"
    sisu.fault("status", service="PERSON", status=302, headers={"Location": location})
    with pytest.raises(FetchError, match=r"redirects to elsewhere\.example\.org: check the address"):
        await client_of(sisu).fetch(PERSON, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(sisu: SisuSimulator, status: int) -> None:
    """A redirect is an error that names its target, so that credentials are not sent to another server."""
    with SisuSimulator(size=100) as other:
        location = f"{other.uri}/ori/api/persons/v1/export?token={SECRET}"
        sisu.fault("status", service="PERSON", status=status, headers={"Location": location})
        with pytest.raises(FetchError, match=rf"redirects to 127\.0\.0\.1:{other.port}: check the address"):
            await client_of(sisu, **USER).fetch(PERSON, 0)
        assert other.requests == []


@pytest.mark.parametrize(
    ("kind", "details", "error"),
    [
        ("no_progress", {}, "never end"),
        ("empty_page", {"progress": False}, "never end"),
        ("ordinal_null", {}, "greatestOrdinal"),
        ("ordinal_string", {}, "greatestOrdinal"),
        ("ordinal_missing", {}, "greatestOrdinal"),
        ("not_a_list", {}, "entities"),
    ],
)
async def test_a_broken_contract_is_not_retried(
    sisu: SisuSimulator, kind: str, details: dict[str, Any], error: str
) -> None:
    """A response of another shape fails the service after one request, with the reason."""
    sisu.fault(kind, service="PERSON", times=None, **details)
    with pytest.raises(FetchError, match=f"PERSON: SISU at .*{error}"):
        await client_of(sisu).fetch(PERSON, 0)
    assert len(sisu.requests) == 1


async def test_errors_of_graphql_are_final(sisu: SisuSimulator) -> None:
    """A GraphQL response with errors is an error, though its status is 200."""
    sisu.fault("graphql_errors", times=None)
    with pytest.raises(FetchError, match="the GraphQL response reports errors"):
        await client_of(sisu).fetch(SCALES, 0)
    assert len(sisu.requests) == 1


@pytest.mark.parametrize("kind", ["empty_page", "twice", "inclusive", "too_many"])
async def test_harmless_oddities_are_accepted(sisu: SisuSimulator, kind: str) -> None:
    """An empty page with progress, one that is longer than requested, and one that repeats an entity are valid."""
    since = sisu.versions("PERSON")[3].ordinal
    fault = sisu.fault(kind, service="PERSON")
    batch = await client_of(sisu, fetch_amount=5).fetch(PERSON, since)
    assert batch.greatest_ordinal > since
    assert fault.hits == len(sisu.requests) == 1


async def test_a_huge_ordinal_is_invalid(sisu: SisuSimulator) -> None:
    """An ordinal above the valid range fails the service after one request."""
    sisu.fault("ordinal_huge", service="PERSON")
    with pytest.raises(FetchError, match="greatestOrdinal 9007199254740993 is above"):
        await client_of(sisu).fetch(PERSON, 0)
    assert len(sisu.requests) == 1
