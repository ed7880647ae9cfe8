"""Asking a (simulated) SISU over real HTTP: every kind of API, every way to authenticate, every way to fail."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from structlog.testing import capture_logs

from demo.sisu import Credentials, SisuSimulator, Tls
from producer.answers import Batch
from producer.http import authentication, retry_after_seconds
from producer.sisu import ATTEMPTS, CodebookCache, SisuClient
from shared import keys
from shared.errors import (
    ConfigurationError,
    FetchError,
    ImporterError,
    ServiceForbiddenError,
    SisuUnreachableError,
)
from shared.redis_client import make_redis as connect
from shared.services import Service, load_services
from shared.settings import ProducerSettings
from tests.support.certificates import make_certificates
from tests.support.waiting import wait_until_async

SERVICES = {service.name: service for service in load_services()}
PERSON, PLAN, COUNTRY = SERVICES["PERSON"], SERVICES["PLAN"], SERVICES["COUNTRY"]
SCALES, PERIODS = SERVICES["GRAPHQL_GRADE_SCALES"], SERVICES["CURRICULUM_PERIOD"]
EXPORTS = [SERVICES[name] for name in ("PERSON", "ORGANISATION", "ENROLMENT", "PLAN")]
SECRET = "s3cret"
USER = {"sis_api_user": "importer", "sis_api_password": SECRET}

MakeClient = Callable[..., SisuClient]


class NoCache:
    """Codebooks are asked for each time."""

    async def get(self, url: str) -> bytes | None:
        """Nothing."""

    async def put(self, url: str, answer: bytes) -> None:
        """Forget it."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings and no proxies of the one who runs the tests."""
    for name in (*ProducerSettings.model_fields, "http_proxy", "https_proxy", "all_proxy", "requests_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def sisu() -> Iterator[SisuSimulator]:
    with SisuSimulator(seed=7, size=600) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ca.pem`, and the server's and the client's certificates and keys."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, content in make_certificates().items():
        (folder / name).write_bytes(content)
    return folder


def settings_for(uri: str, **others: Any) -> ProducerSettings:
    addresses = {"sis_api_url": uri, "kori_public_api_url": f"{uri}/kori/api"}
    return ProducerSettings(**{"nats_uri": "nats://unused", "redis_uri": "redis://unused", **addresses, **others})


def client_of(sisu: SisuSimulator | str, cache: Any = None, attempts: int = ATTEMPTS, **others: Any) -> SisuClient:
    uri = sisu if isinstance(sisu, str) else sisu.uri
    return SisuClient(settings_for(uri, **others), cache or NoCache(), first_pause_seconds=0.001, attempts=attempts)


def bodies(batch: Batch) -> list[bytes]:
    return [bytes(entity) for entity in batch.entities]


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


# --- what is asked, and what comes back ------------------------------------------------------------------------------


@pytest.mark.parametrize("service", EXPORTS, ids=lambda service: service.name)
async def test_an_export_is_read_page_by_page_to_its_end(sisu: SisuSimulator, service: Service) -> None:
    """From ordinal 0 on, each page begins where the one before ended, and together they are all, byte for byte."""
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
    """After the last ordinal there is nothing, and no more."""
    last = sisu.greatest_ordinal("PLAN")
    batch = await client_of(sisu).fetch(PLAN, last)
    assert (bodies(batch), batch.greatest_ordinal, batch.has_more) == ([], last, False)


@pytest.mark.parametrize("service", [COUNTRY, SCALES, PERIODS], ids=lambda service: service.name)
async def test_a_one_time_service_is_read_at_once(sisu: SisuSimulator, service: Service) -> None:
    """A codebook, a GraphQL field and a public list are each one batch of all that there is."""
    batch = await client_of(sisu).fetch(service, 0)
    assert bodies(batch) == [body for _, body in sisu.expected(service.name).values()]
    assert batch.entities
    assert (batch.greatest_ordinal, batch.has_more) == (1, False)


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda service: service.name)
async def test_every_service_of_the_table_has_its_address(sisu: SisuSimulator, service: Service) -> None:
    """All 26 services are found where the simulator serves them."""
    await client_of(sisu).fetch(service, 0)
    assert [(request.service, request.status) for request in sisu.requests] == [(service.name, 200)]


async def test_the_organisation_is_that_of_the_settings(sisu: SisuSimulator) -> None:
    """The root organisation stands in the address of the services that want it."""
    assert bodies(await client_of(sisu, root_org_id="another-university").fetch(PERIODS, 0)) == []


async def test_requests_are_made_one_at_a_time(sisu: SisuSimulator) -> None:
    """However many batches are asked for at once, SISU gets one request after another."""
    sisu.latency_seconds = 0.1
    client = client_of(sisu)
    await asyncio.gather(*(client.fetch(PERSON, since) for since in range(4)))
    arrived = [request.time_seconds for request in sisu.requests]
    assert all(after - before >= 0.1 for before, after in itertools.pairwise(arrived))


# --- who asks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demanded", "settings"),
    [
        (Credentials(user="importer", password=SECRET), USER),
        (Credentials(user="käyttäjä", password="s€cret"), {"sis_api_user": "käyttäjä", "sis_api_password": "s€cret"}),
        (Credentials(token=SECRET), {"proxy_token": SECRET}),
    ],
    ids=["password", "password beyond ASCII", "token"],
)
async def test_credentials_open_the_door(sisu: SisuSimulator, demanded: Credentials, settings: dict[str, str]) -> None:
    """With the credentials of the settings SISU answers, without them it does not."""
    sisu.credentials = demanded
    assert (await client_of(sisu, **settings).fetch(PERSON, 0)).entities
    with pytest.raises(ConfigurationError):
        await client_of(sisu).fetch(PERSON, 0)


@pytest.mark.parametrize("api_key", [None, SECRET])
async def test_a_client_certificate_opens_the_door(certificates: Path, api_key: str | None) -> None:
    """A SISU that demands a certificate, and a key with it, gets both; without the certificate it hangs up."""
    tls = Tls(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem")
    own = {"key_path": certificates / "client.key", "cert_path": certificates / "client.pem"}
    with SisuSimulator(size=300, tls=tls, credentials=Credentials(api_key=api_key)) as sisu:
        trusting = {"sis_ca_path": certificates / "ca.pem"}
        assert (await client_of(sisu, **trusting, **own, api_key=api_key).fetch(PERSON, 0)).entities
        assert (await client_of(sisu, **trusting, **own, api_key=api_key).fetch(SCALES, 0)).entities
        # A server that closes at once may be quicker than its refusal; see tests/integration/test_security_sisu.py.
        with pytest.raises((ConfigurationError, FetchError)):
            await client_of(sisu, **trusting).fetch(PERSON, 0)


@pytest.mark.parametrize(
    ("settings", "headers", "blamed"),
    [
        ([], {}, "none is set"),
        (["user"], {"Authorization": "Basic aW1wb3J0ZXI6czNjcmV0"}, "SIS_API_USER and SIS_API_PASSWORD"),
        (["token"], {"Authorization": f"Bearer {SECRET}", "token": SECRET}, "PROXY_TOKEN"),
        (["certificate"], {}, "KEY_PATH and CERT_PATH"),
        (["certificate", "key"], {"X-Api-Key": SECRET}, "API_KEY, KEY_PATH and CERT_PATH"),
        (["user", "certificate", "key", "token"], {"Authorization": "Basic aW1wb3J0ZXI6czNjcmV0"}, "SIS_API_USER and"),
        (["certificate", "key", "token"], {"X-Api-Key": SECRET}, "API_KEY, KEY_PATH and CERT_PATH"),
        (["certificate", "token"], {}, "KEY_PATH and CERT_PATH"),
    ],
)
def test_the_first_way_to_authenticate_that_applies_is_taken(
    certificates: Path, settings: list[str], headers: dict[str, str], blamed: str
) -> None:
    """Password before certificate before token, one of them only, and the variables that it comes from are known."""
    ways: dict[str, dict[str, object]] = {
        "user": USER,
        "certificate": {"key_path": certificates / "client.key", "cert_path": certificates / "client.pem"},
        "key": {"api_key": SECRET},
        "token": {"proxy_token": SECRET},
    }
    chosen = {name: value for way in settings for name, value in ways[way].items()}
    auth, variables = authentication(settings_for("https://sisu.example.org", **chosen))
    request = requests.Request("GET", "https://sisu.example.org").prepare()
    auth(request)
    assert dict(request.headers) == headers
    assert blamed in variables


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers everything with 500, and the headers that it got."""
    got: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(dict(self.headers))
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("service", [PERIODS, COUNTRY], ids=lambda service: service.name)
@pytest.mark.parametrize("way", ["user", "token", "netrc"])
async def test_the_public_api_gets_no_credentials(
    recorder: tuple[str, list[dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    service: Service,
    way: str,
) -> None:
    """What needs no credentials gets none, be it those of the settings or those in somebody's .netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login importer password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    uri, got = recorder
    settings = {"user": USER, "token": {"proxy_token": SECRET}, "netrc": {}}[way]
    with pytest.raises(FetchError):
        await client_of("https://elsewhere.example.org", kori_public_api_url=uri, **settings).fetch(service, 0)
    assert len(got) == 6
    assert {name.lower() for headers in got for name in headers} <= {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
    }


# --- what may pass ---------------------------------------------------------------------------------------------------

PASSING = [
    pytest.param("status", {"status": 500}, id="500"),
    pytest.param("status", {"status": 502}, id="502"),
    pytest.param("status", {"status": 503}, id="503"),
    pytest.param("status", {"status": 504}, id="504"),
    pytest.param("status", {"status": 429}, id="429"),
    pytest.param("html", {}, id="a web page"),
    pytest.param("truncated", {}, id="cut off"),
    pytest.param("truncated", {"after_bytes": 0}, id="nothing"),
    pytest.param("truncated", {"honest_length": False}, id="shorter than announced"),
    pytest.param("truncated", {"honest_length": False, "after_bytes": 0}, id="nothing of what was announced"),
    pytest.param("reset", {}, id="reset"),
    pytest.param("reset", {"after_bytes": 0}, id="reset before the body"),
    pytest.param("invalid_utf8", {}, id="bad UTF-8"),
]


@pytest.mark.parametrize(("kind", "details"), PASSING)
async def test_a_fault_that_passes_is_outlived(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """After five bad answers the sixth counts, and nothing of the bad ones is left in it."""
    sisu.fault(kind, service="PERSON", times=5, **details)
    batch = await client_of(sisu).fetch(PERSON, 0)
    assert bodies(batch) == [body for _, body in sisu.expected("PERSON").values()]
    assert len(sisu.requests) == 6


@pytest.mark.parametrize(("kind", "details"), PASSING)
async def test_a_fault_that_does_not_pass_is_given_up(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """After six attempts the service has failed, with the address, the reason and the number of attempts."""
    armed = sisu.fault(kind, service="PERSON", times=None, **details)
    with pytest.raises(FetchError, match=r"PERSON: SISU at http://127.0.0.1:\d+: .* \(6 attempts\)"):
        await client_of(sisu).fetch(PERSON, 0)
    assert armed.hits == 6


@pytest.mark.parametrize("service", [COUNTRY, SCALES, PERIODS], ids=lambda service: service.name)
@pytest.mark.parametrize("kind", ["html", "truncated", "invalid_utf8"])
async def test_one_time_services_are_asked_again_too(sisu: SisuSimulator, service: Service, kind: str) -> None:
    """Every kind of API has the same patience."""
    sisu.fault(kind, service=service.name)
    assert (await client_of(sisu).fetch(service, 0)).entities
    assert len(sisu.requests) == 2


async def test_pauses_grow(sisu: SisuSimulator, pauses: list[float]) -> None:
    """Each pause between attempts is twice the one before."""
    sisu.fault("status", service="PERSON", times=None)
    client = SisuClient(settings_for(sisu.uri), NoCache())  # type: ignore[arg-type]
    with pytest.raises(FetchError):
        await client.fetch(PERSON, 0)
    assert pauses == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("asked", [0, 7, 900])
async def test_retry_after_in_seconds_is_honoured(
    sisu: SisuSimulator, pauses: list[float], status: int, asked: int
) -> None:
    """SISU is given the seconds that it asks for, in place of the usual pause."""
    sisu.fault("status", service="PERSON", status=status, retry_after=asked)
    await client_of(sisu).fetch(PERSON, 0)
    assert pauses == [asked]


async def test_retry_after_as_a_date_is_honoured(sisu: SisuSimulator, pauses: list[float]) -> None:
    """SISU is given the time up to the moment that it names; one in the past is now."""
    sisu.fault("status", service="PERSON", status=503, retry_after_date_seconds=100)
    sisu.fault("status", service="PERSON", status=503, retry_after_date_seconds=-100)
    await client_of(sisu).fetch(PERSON, 0)
    ahead, past = pauses
    assert 95 < ahead <= 100
    assert past == 0


@pytest.mark.parametrize(
    "header", [{"retry_after": 901}, {"retry_after": "9" * 400}, {"retry_after_date_seconds": 3600}]
)
async def test_a_wait_longer_than_a_run_is_refused(sisu: SisuSimulator, header: dict[str, Any]) -> None:
    """Asked to wait for more than a quarter of an hour, the service fails at once and says so."""
    sisu.fault("status", service="PERSON", status=503, times=None, **header)
    with pytest.raises(FetchError, match=r"answers 503 and asks to wait \d+ s, longer than a run waits"):
        await client_of(sisu).fetch(PERSON, 0)
    assert len(sisu.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("-5", 0),
        ("0", 0),
        (" 7 ", 7),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Mon, 99 Jan 2001 00:00:00 GMT", None),
    ],
)
def test_any_retry_after_is_understood_or_ignored(header: str | None, seconds: float | None) -> None:
    """What is neither seconds nor a date is as if it were not there, and nothing asks for less than no time."""
    assert retry_after_seconds(header) == seconds


async def test_an_endless_number_is_longer_than_any_wait() -> None:
    """A number of seconds that no float can hold is a long time, and no crash."""
    assert (retry_after_seconds("9" * 400) or 0) > 15 * 60


@pytest.mark.parametrize("how", ["asked to wait", "hanging"])
async def test_a_fetch_can_be_abandoned(sisu: SisuSimulator, how: str) -> None:
    """A long pause or a request without an answer ends with the one who waits, and the next fetch is not held up."""
    if how == "hanging":
        sisu.fault("hang", service="PERSON")
    else:
        sisu.fault("status", service="PERSON", status=503, retry_after=900)
    client = client_of(sisu)
    fetching = asyncio.create_task(client.fetch(PERSON, 0))
    await wait_until_async(lambda: sisu.requests, "SISU is asked")
    fetching.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert (await client.fetch(PLAN, 0)).entities


@pytest.mark.parametrize(
    ("kind", "details"), [("hang", {}), ("drip", {"pause_seconds": 0.02})], ids=["hanging", "dripping"]
)
async def test_no_attempt_takes_longer_than_it_may(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """A SISU that says nothing, or a byte now and then for ever, is given up after the time that the settings allow."""
    sisu.fault(kind, service="PERSON", times=None, **details)
    async with asyncio.timeout(5):
        with pytest.raises(FetchError, match=r"no answer within 0\.3 s|took too long"):
            await client_of(sisu, attempts=2, sis_timeout_seconds=0.3).fetch(PERSON, 0)
    assert len([request for request in sisu.requests if request.fault == kind]) == 2


async def test_a_slow_answer_within_its_time_is_read(sisu: SisuSimulator) -> None:
    """An answer that takes long, but not too long, is as good as a quick one."""
    sisu.latency_seconds = 0.3
    assert (await client_of(sisu, sis_timeout_seconds=5).fetch(PERSON, 0)).entities
    assert len(sisu.requests) == 1


@pytest.mark.parametrize("service", [PERSON, COUNTRY], ids=lambda service: service.name)
async def test_nobody_there_is_told_apart(sisu: SisuSimulator, service: Service) -> None:
    """Where nobody listens the error says so, and that other services need not be tried."""
    sisu.stop()
    with pytest.raises(SisuUnreachableError, match=rf"{service.name}: SISU at .*: no connection: Connection refused"):
        await client_of(sisu).fetch(service, 0)


async def test_an_unknown_host_is_told() -> None:
    """A name that nobody knows is named."""
    with pytest.raises(SisuUnreachableError, match=r"SISU at http://sisu\.invalid: no connection: "):
        await client_of("http://sisu.invalid", attempts=1).fetch(PERSON, 0)


async def test_a_sisu_that_comes_back_is_found(sisu: SisuSimulator, pauses: list[float]) -> None:
    """Attempts go on while nobody listens, and reach the one who does then."""
    client = client_of(sisu)
    assert (await client.fetch(PERSON, 0)).entities
    sisu.stop()
    fetching = asyncio.create_task(client.fetch(PERSON, 0))
    await _turn_until(lambda: bool(pauses))
    sisu.start()
    assert (await fetching).entities


# --- what does not pass ----------------------------------------------------------------------------------------------


async def test_refused_credentials_are_a_matter_of_configuration(sisu: SisuSimulator) -> None:
    """A 401 ends everything after one request, and names the variables that the credentials come from."""
    sisu.credentials = Credentials(user="importer", password="right")
    with pytest.raises(ConfigurationError, match=r"\(401\): check SIS_API_USER and SIS_API_PASSWORD"):
        await client_of(sisu, **USER).fetch(PERSON, 0)
    with pytest.raises(ConfigurationError, match=r"\(401\): .*none is set"):
        await client_of(sisu).fetch(PLAN, 0)
    assert len(sisu.requests) == 2


async def test_a_forbidden_service_is_told_apart(sisu: SisuSimulator) -> None:
    """A 403 is that service's alone, after one request; the others are answered."""
    sisu.forbidden = {"PERSON"}
    client = client_of(sisu)
    with pytest.raises(ServiceForbiddenError, match=r"PERSON: .* forbids it \(403\).*/persons/v1/export"):
        await client.fetch(PERSON, 0)
    assert (await client.fetch(PLAN, 0)).entities
    assert len(sisu.requests) == 2


@pytest.mark.parametrize("status", [201, 204, 304, 400, 404, 405, 410])
async def test_any_other_status_is_final(sisu: SisuSimulator, status: int) -> None:
    """What is neither an answer nor a passing fault is not asked for again."""
    sisu.fault("status", service="PERSON", status=status, times=None)
    with pytest.raises(FetchError, match=f"answers {status} for /persons/v1/export"):
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
        ("ordinal_back", {}, "went back"),
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
    with pytest.raises(FetchError, match="the GraphQL answer reports errors"):
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


# --- TLS -------------------------------------------------------------------------------------------------------------


async def test_a_private_authority_is_trusted_where_it_is_named(certificates: Path) -> None:
    """A certificate of a private authority is refused, and accepted with SIS_CA_PATH, for both addresses."""
    tls = Tls(certificates / "server.pem", certificates / "server.key")
    with SisuSimulator(size=300, tls=tls) as sisu:
        with pytest.raises(SisuUnreachableError, match=r"TLS failed: .*certificate verify failed"):
            await client_of(sisu).fetch(PERSON, 0)
        for service in (PERSON, COUNTRY):
            assert (await client_of(sisu, sis_ca_path=certificates / "ca.pem").fetch(service, 0)).entities


async def test_a_certificate_for_another_host_is_refused(certificates: Path) -> None:
    """A trusted authority does not make up for a wrong name."""
    tls = Tls(certificates / "server.pem", certificates / "server.key")
    with SisuSimulator(size=100, tls=tls) as sisu:
        client = client_of(f"https://localhost:{sisu.port}", sis_ca_path=certificates / "ca.pem")
        with pytest.raises(SisuUnreachableError, match=r"TLS failed: .*localhost"):
            await client.fetch(PERSON, 0)


# --- the codebooks' cache --------------------------------------------------------------------------------------------


async def test_a_codebook_is_kept_for_an_hour(sisu: SisuSimulator, redis_uri: str) -> None:
    """Within the hour another start finds the codebook in Redis, and asks SISU nothing."""
    async with connect(redis_uri) as redis:
        first = await client_of(sisu, CodebookCache(redis)).fetch(COUNTRY, 0)
        again = await client_of(sisu, CodebookCache(redis)).fetch(COUNTRY, 0)
        (key,) = await redis.keys()
        assert 3590 < await redis.ttl(key) <= 3600
    assert key == keys.codebook_cache(f"{sisu.kori_public_uri}/cached/codebooks/urn:code:country")
    assert bodies(again) == bodies(first)
    assert len(sisu.requests) == 1


async def test_codebooks_are_not_mixed_up(sisu: SisuSimulator, redis_uri: str) -> None:
    """Each codebook has its own place, and nothing but codebooks is kept."""
    async with connect(redis_uri) as redis:
        client = client_of(sisu, CodebookCache(redis))
        for service in (COUNTRY, SERVICES["EDUCATION_TYPE"], PERSON, PERIODS, SCALES):
            for _ in range(2):
                batch = await client.fetch(service, 0)
                assert bodies(batch) == [body for _, body in sisu.expected(service.name).values()]
        assert len(await redis.keys()) == 2
    assert len(sisu.requests) == 8


@pytest.mark.parametrize("kind", ["html", "truncated", "status"])
async def test_a_bad_codebook_is_not_kept(sisu: SisuSimulator, redis_uri: str, kind: str) -> None:
    """An answer that cannot be used is not there the next time."""
    sisu.fault(kind, service="COUNTRY", times=6)
    async with connect(redis_uri) as redis:
        client = client_of(sisu, CodebookCache(redis))
        with pytest.raises(FetchError):
            await client.fetch(COUNTRY, 0)
        assert await redis.keys() == []
        assert (await client.fetch(COUNTRY, 0)).entities


@pytest.mark.parametrize("kept", ["", "{", "[]", "<html>"])
async def test_what_is_no_codebook_in_redis_is_ignored(sisu: SisuSimulator, redis_uri: str, kept: str) -> None:
    """A cache that holds something else is no obstacle: the codebook is asked for, and replaces it."""
    async with connect(redis_uri) as redis:
        key = keys.codebook_cache(f"{sisu.kori_public_uri}/cached/codebooks/urn:code:country")
        await redis.set(key, kept)
        assert (await client_of(sisu, CodebookCache(redis)).fetch(COUNTRY, 0)).entities
        assert len(await redis.get(key)) > 100


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [USER, {"proxy_token": SECRET}, {"api_key": SECRET}],
    ids=["password", "token", "certificate and key"],
)
@pytest.mark.parametrize("fault", ["none there", "status", "401", "redirect", "html", "truncated", "no_progress"])
async def test_no_secret_is_in_an_error_or_a_log(certificates: Path, settings: dict[str, str], fault: str) -> None:
    """However a request fails, neither the error, nor its causes, nor a line of the log has the credentials."""
    if "api_key" in settings:
        settings = {
            **settings,
            "key_path": str(certificates / "client.key"),
            "cert_path": str(certificates / "client.pem"),
        }
    with SisuSimulator(size=200) as sisu, capture_logs() as logged:
        if fault == "none there":
            sisu.stop()
        elif fault == "401":
            sisu.credentials = Credentials(token="another")
        elif fault == "redirect":
            sisu.fault("status", service="PERSON", status=302, headers={"Location": f"https://x/{SECRET}"})
        else:
            sisu.fault(fault, service="PERSON", times=None)
        with pytest.raises(ImporterError) as failed:
            await client_of(sisu, attempts=2, **settings).fetch(PERSON, 0)
    error: BaseException | None = failed.value
    while error:
        assert SECRET not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__
    assert SECRET not in str(logged)
    assert "aW1wb3J0ZXI6czNjcmV0" not in str(logged)


async def _turn_until(condition: Callable[[], bool]) -> None:
    """As `wait_until_async`, where `asyncio.sleep` is replaced."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.to_thread(lambda: None)
