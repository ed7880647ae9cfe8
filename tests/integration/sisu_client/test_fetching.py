"""The requests of the client and the batches it returns: every kind of API, over real HTTP."""

import asyncio
import itertools

import pytest

from demo.sisu.simulator import SisuSimulator
from shared.model.services import Service
from tests.integration.sisu_client.harness import COUNTRY, PERIODS, PERSON, PLAN, SCALES, SERVICES, bodies, client_of

EXPORTS = [SERVICES[name] for name in ("PERSON", "ORGANISATION", "ENROLMENT", "PLAN")]


@pytest.mark.parametrize("service", EXPORTS, ids=lambda service: service.name)
async def test_an_export_is_read_page_by_page_to_its_end(sisu: SisuSimulator, service: Service) -> None:
    """From ordinal 0, each page starts where the previous one ended, and together they have all entities unchanged."""
    client = client_of(sisu, fetch_amount=7)
    read: list[bytes] = []
    since, more = 0, True
    while more:
        batch = await client.fetch(service, since)
        assert (batch.service, batch.since, len(batch.entities) <= 7) == (service, since, True)
        read += bodies(batch)
        since, more = batch.greatest_ordinal, batch.has_more
    assert read == [body for _, body in sisu.expected(service.name).values()]
    assert since == sisu.greatest_ordinal(service.name)
    assert {(request.service, request.limit) for request in sisu.requests} == {(service.name, 7)}


async def test_an_export_without_changes_is_empty(sisu: SisuSimulator) -> None:
    """After the last ordinal the page is empty, and there are no further ones."""
    last = sisu.greatest_ordinal("PLAN")
    batch = await client_of(sisu).fetch(PLAN, last)
    assert (bodies(batch), batch.greatest_ordinal, batch.has_more) == ([], last, False)


@pytest.mark.parametrize("service", [COUNTRY, SCALES, PERIODS], ids=lambda service: service.name)
async def test_a_one_time_service_is_read_at_once(sisu: SisuSimulator, service: Service) -> None:
    """A codebook, a GraphQL field and a public list are each fetched as one batch of all entities."""
    batch = await client_of(sisu).fetch(service, 0)
    assert bodies(batch) == [body for _, body in sisu.expected(service.name).values()]
    assert batch.entities
    assert (batch.greatest_ordinal, batch.has_more) == (1, False)


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda service: service.name)
async def test_every_service_of_the_table_can_be_fetched(sisu: SisuSimulator, service: Service) -> None:
    """Each of the 26 services is requested at the address where the simulator serves it."""
    await client_of(sisu).fetch(service, 0)
    assert [(request.service, request.status) for request in sisu.requests] == [(service.name, 200)]


async def test_the_root_organisation_is_taken_from_the_settings(sisu: SisuSimulator) -> None:
    """The configured root organisation is part of the address of a service that requires it."""
    assert bodies(await client_of(sisu, root_org_id="another-university").fetch(PERIODS, 0)) == []


async def test_requests_are_made_one_at_a_time(sisu: SisuSimulator) -> None:
    """If several batches are requested at once, SISU gets one request after another."""
    sisu.latency_seconds = 0.1
    client = client_of(sisu)
    await asyncio.gather(*(client.fetch(PERSON, since) for since in range(4)))
    arrived = [request.time_seconds for request in sisu.requests]
    assert all(after - before >= 0.1 for before, after in itertools.pairwise(arrived))
