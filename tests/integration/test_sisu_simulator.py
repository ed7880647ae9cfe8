"""The simulator keeps the contract of SISU's APIs to the letter. How it breaks it: test_sisu_simulator_faults.py."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import requests

from demo.sisu import Credentials, SisuSimulator, Tls
from producer.answers import read_answer
from shared.services import Api, Service, load_services
from tests.support.certificates import make_certificates
from tests.support.waiting import wait_until

SERVICES = load_services()
EXPORTS = [service for service in SERVICES if service.api.is_export]
ONE_TIME = [service for service in SERVICES if not service.api.is_export]
PERSONS = f"/ori/api{SERVICES[0].path}"
TIMEOUT_SECONDS = 20

MakeSisu = Callable[..., SisuSimulator]


@pytest.fixture(scope="module")
def sisu() -> Iterator[SisuSimulator]:
    """A SISU that no test changes."""
    with SisuSimulator(seed=3, size=1_200) as simulator:
        yield simulator


@pytest.fixture
def make_sisu() -> Iterator[MakeSisu]:
    """Start a small SISU of this test's own."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(SisuSimulator(**{"size": 300, **options}))


def path(service: Service) -> str:
    return f"/{service.api.lower()}/api{service.path}"


def get(sisu: SisuSimulator, where: str, headers: Mapping[str, str] | None = None, **params: int) -> requests.Response:
    return requests.get(sisu.uri + where, params=params, headers=headers, timeout=TIMEOUT_SECONDS)


def post(sisu: SisuSimulator, where: str, json: object) -> requests.Response:
    return requests.post(sisu.uri + where, json=json, timeout=TIMEOUT_SECONDS)


def fetch_one_time(sisu: SisuSimulator, service: Service) -> requests.Response:
    if service.api is Api.GRAPHQL:
        return post(sisu, "/graphql", {"query": service.query, "variables": {}})
    root = service.path.replace("{ROOT_ORG_ID}", "hy-university-root-id")
    return requests.get(sisu.kori_public_uri + root, timeout=TIMEOUT_SECONDS)


class _Page(msgspec.Struct):
    entities: list[msgspec.Raw]
    hasMore: bool  # noqa: N815
    greatestOrdinal: int  # noqa: N815


def fetch_all(sisu: SisuSimulator, service: Service, limit: int) -> list[bytes]:
    """Page from 0 to the end; all entities in the order in which they came."""
    since, entities, has_more = 0, [], True
    with requests.Session() as session:
        while has_more:
            parameters = {"since": since, "limit": limit}
            body = session.get(sisu.uri + path(service), params=parameters, timeout=TIMEOUT_SECONDS).content
            page = msgspec.json.decode(body, type=_Page)
            assert len(page.entities) == limit or not page.hasMore
            assert page.greatestOrdinal > since
            entities += [bytes(entity) for entity in page.entities]
            since, has_more = page.greatestOrdinal, page.hasMore
    assert since == sisu.greatest_ordinal(service.name)
    return entities


# --- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", EXPORTS, ids=lambda service: service.name)
def test_paging_to_the_end_gives_exactly_what_is_there(sisu: SisuSimulator, service: Service) -> None:
    """Each entity comes once, byte for byte, oldest first, whatever the size of a page."""
    expected = [body for _, body in sisu.expected(service.name).values()]
    for limit in (max(1, len(expected) // 3), len(expected), 10_000):
        assert fetch_all(sisu, service, limit) == expected


@pytest.mark.parametrize("service", ONE_TIME, ids=lambda service: service.name)
def test_what_is_not_exported_comes_at_once(sisu: SisuSimulator, service: Service) -> None:
    """What the producer makes of a codebook, a list or a GraphQL answer is exactly what is expected."""
    batch = read_answer(service, 0, fetch_one_time(sisu, service).content)
    assert [bytes(entity) for entity in batch.entities] == [body for _, body in sisu.expected(service.name).values()]


def test_an_answer_has_three_fields_and_nothing_else(sisu: SisuSimulator) -> None:
    """An export answers entities, hasMore and greatestOrdinal."""
    answer = get(sisu, PERSONS, since=0, limit=2)
    assert answer.headers["Content-Type"] == "application/json"
    assert {key: type(value) for key, value in answer.json().items()} == {
        "entities": list,
        "hasMore": bool,
        "greatestOrdinal": int,
    }


def test_since_is_exclusive(sisu: SisuSimulator) -> None:
    """A page begins after the ordinal that was asked for, and before any later one."""
    first, second, third = (version.ordinal for version in sisu.versions("PERSON")[:3])
    assert get(sisu, PERSONS, since=first, limit=1).json()["greatestOrdinal"] == second
    assert get(sisu, PERSONS, since=second - 1, limit=1).json()["greatestOrdinal"] == second
    assert get(sisu, PERSONS, since=second, limit=1).json()["greatestOrdinal"] == third


def test_after_the_end_there_is_nothing_more(sisu: SisuSimulator) -> None:
    """An empty answer stays where it was asked, be that the end or beyond it."""
    end = sisu.greatest_ordinal("PERSON")
    for since in (end, end + 1_000):
        answer = get(sisu, PERSONS, since=since, limit=10).json()
        assert answer == {"entities": [], "hasMore": False, "greatestOrdinal": since}


def test_ordinals_increase_with_gaps(sisu: SisuSimulator) -> None:
    """No ordinal can be guessed from another one."""
    ordinals = [version.ordinal for version in sisu.versions("PERSON")]
    gaps = {later - earlier for earlier, later in zip(ordinals, ordinals[1:], strict=False)}
    assert min(gaps) > 1
    assert len(gaps) > 5


@pytest.mark.parametrize("parameters", ["since=x", "limit=0", "limit=-1", "since=-1", "limit=1.5"])
def test_nonsense_is_refused(sisu: SisuSimulator, parameters: str) -> None:
    """Parameters that make no sense are the caller's fault."""
    assert get(sisu, f"{PERSONS}?{parameters}").status_code == 400


def test_unknown_addresses_are_not_found(sisu: SisuSimulator) -> None:
    """Each service has one address and one method."""
    assert get(sisu, "/kori/api/persons/v1/export").status_code == 404
    assert post(sisu, PERSONS, {}).status_code == 404
    assert get(sisu, "/graphql").status_code == 404


def test_curriculum_periods_belong_to_a_university(sisu: SisuSimulator) -> None:
    """The list is asked for by the university's id."""
    assert get(sisu, "/kori/api/curriculum-periods?universityOrgId=another").json() == []
    assert get(sisu, "/kori/api/curriculum-periods").status_code == 400


def test_graphql_answers_the_field_that_it_knows(sisu: SisuSimulator) -> None:
    """Another field is an error with status 200, as in GraphQL; no query at all is 400."""
    assert "errors" in post(sisu, "/graphql", {"query": "query { persons { id } }"}).json()
    assert post(sisu, "/graphql", {}).status_code == 400


def test_a_codebook_may_be_asked_for_with_its_urn_encoded(sisu: SisuSimulator) -> None:
    """Colons in a path mean the same in either notation."""
    plain = get(sisu, "/kori/api/cached/codebooks/urn:code:country")
    assert get(sisu, "/kori/api/cached/codebooks/urn%3Acode%3Acountry").content == plain.content


# --- what changes ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_sisu(make_sisu: MakeSisu) -> None:
    """Entities, ordinals and changes are decided by seeds."""
    one, same, other = make_sisu(seed=1), make_sisu(seed=1), make_sisu(seed=2)
    for service in EXPORTS:
        for simulator in (one, same, other):
            simulator.touch(service.name, 4, seed=9)
        assert one.versions(service.name) == same.versions(service.name)
        assert one.versions(service.name) != other.versions(service.name)


def test_what_is_modified_moves_to_the_end(make_sisu: MakeSisu) -> None:
    """Who has read to the end reads just the changes; who begins anew meets each entity once."""
    sisu = make_sisu(services=SERVICES[:1])
    before, end = sisu.expected("PERSON"), sisu.greatest_ordinal("PERSON")
    touched = sisu.touch("PERSON", 120, seed=1)
    after = sisu.expected("PERSON")
    assert len(set(touched)) == 120
    assert [entity["id"] for entity in get(sisu, PERSONS, since=end).json()["entities"]] == touched
    assert [orjson.loads(entity)["id"] for entity in fetch_all(sisu, SERVICES[0], 70)] == list(after)
    assert list(after)[-120:] == touched
    assert {key: after[key] for key in before if key not in touched} == {
        key: value for key, value in before.items() if key not in touched
    }
    assert all(after[key] != before.get(key) for key in touched)
    assert {"DELETED", "ACTIVE"} == {after[key][0] for key in touched}
    assert 0 < len(set(after) - set(before)) < 60


def test_an_entity_that_is_modified_often_is_there_once(make_sisu: MakeSisu) -> None:
    """However many versions there were, only the newest is exported."""
    sisu = make_sisu(services=SERVICES[:1], size=20)
    for seed in range(30):
        sisu.touch("PERSON", 5, seed)
        expected = [body for _, body in sisu.expected("PERSON").values()]
        assert fetch_all(sisu, SERVICES[0], 7) == expected


def test_more_changes_than_entities_are_new_entities(make_sisu: MakeSisu) -> None:
    """As many change as were asked for."""
    sisu = make_sisu(services=SERVICES[:1], size=10)
    assert len(set(sisu.touch("PERSON", 50, seed=1))) == 50
    assert sisu.counts()["PERSON"][0] >= 50


def test_expected_can_be_asked_for_up_to_an_ordinal(make_sisu: MakeSisu) -> None:
    """What an import has to have when it has reached an ordinal."""
    sisu = make_sisu(services=SERVICES[:1])
    versions = sisu.versions("PERSON")
    assert list(sisu.expected("PERSON", up_to=versions[9].ordinal)) == [version.entity_id for version in versions[:10]]


@pytest.mark.parametrize("entity", [b'{ "id":"x.y *", "documentState" : "DRAFT" , "n": 1.0}', {"id": "x.y *"}])
def test_a_given_entity_is_served_as_it_is(make_sisu: MakeSisu, entity: Any) -> None:
    """What a test puts in comes last, byte for byte."""
    sisu = make_sisu()
    end = sisu.greatest_ordinal("PLAN")
    ordinal = sisu.put("PLAN", entity)
    body = entity if isinstance(entity, bytes) else b'{"id":"x.y *"}'
    answer = get(sisu, "/osuva/api/plans/v1/export", since=end)
    assert answer.content == b'{"entities":[%s],"hasMore":false,"greatestOrdinal":%d}' % (body, ordinal)
    assert sisu.expected("PLAN")["x.y *"][1] == body


def test_an_entity_without_an_id_needs_one_to_be_known_by(make_sisu: MakeSisu) -> None:
    """What has no readable id is inserted only under a name of the test's."""
    sisu = make_sisu()
    for bad in (b'"text"', b'{"id": 7}', b"{}"):
        with pytest.raises(ValueError, match="id"):
            sisu.put("PLAN", bad)
        sisu.put("PLAN", bad, entity_id="bad")
        assert sisu.expected("PLAN")["bad"][1] == bad


def test_ordinals_may_begin_anywhere(make_sisu: MakeSisu) -> None:
    """Ordinals that doubles cannot count are possible, without any fault."""
    sisu = make_sisu(services=SERVICES[:1], first_ordinal=2**53)
    answer = get(sisu, PERSONS, since=0, limit=1_000).json()
    assert answer["greatestOrdinal"] == sisu.greatest_ordinal("PERSON") > 2**53


def test_another_table_of_services_is_served(make_sisu: MakeSisu) -> None:
    """Services that are in nobody else's table have addresses and entities, too."""
    sisu = make_sisu(size=20, services=[Service("THING", Api.KORI, "THINGS", "THINGS", "/things/export")])
    assert len(get(sisu, "/kori/api/things/export").json()["entities"]) == 20
    assert get(sisu, PERSONS).status_code == 404


# --- who may read, and what is noted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demanded", "headers"),
    [
        (Credentials(user="sis", password="pä:ss"), {"Authorization": "Basic c2lzOnDDpDpzcw=="}),
        (Credentials(api_key="key"), {"X-Api-Key": "key"}),
        (Credentials(token="abc"), {"Authorization": "Bearer abc"}),
        (Credentials(token="abc"), {"token": "abc"}),
    ],
)
def test_credentials_are_demanded(make_sisu: MakeSisu, demanded: Credentials, headers: dict[str, str]) -> None:
    """Exports and GraphQL answer 401 without the right credentials; what is public asks for none."""
    sisu = make_sisu(credentials=demanded)
    assert get(sisu, PERSONS, headers).status_code == 200
    assert get(sisu, PERSONS).status_code == 401
    assert get(sisu, PERSONS, {name: f"{value}x" for name, value in headers.items()}).status_code == 401
    assert post(sisu, "/graphql", {"query": "{ grade_scales { id } }"}).status_code == 401
    assert get(sisu, "/kori/api/cached/codebooks/urn:code:country").status_code == 200
    sisu.credentials = Credentials(token="rotated")
    assert get(sisu, PERSONS, headers).status_code == 401


def test_some_services_may_be_forbidden(make_sisu: MakeSisu) -> None:
    """A service that the credentials do not reach answers 403, the others answer."""
    sisu = make_sisu(forbidden=["PERSON"])
    assert get(sisu, PERSONS).status_code == 403
    assert get(sisu, "/osuva/api/plans/v1/export").status_code == 200


def test_the_log_has_every_request(make_sisu: MakeSisu) -> None:
    """Who looks at the log after an answer finds it there, with what was served."""
    sisu = make_sisu(forbidden=["PLAN"])
    answer = get(sisu, PERSONS, since=5, limit=3).json()
    get(sisu, "/osuva/api/plans/v1/export", since=5, limit=3)
    get(sisu, "/nowhere")
    served = [(r.service, r.since, r.limit, r.status, r.entities, r.greatest_ordinal) for r in sisu.requests]
    assert served == [
        ("PERSON", 5, 3, 200, 3, answer["greatestOrdinal"]),
        ("PLAN", None, None, 403, 0, None),
        (None, None, None, 404, 0, None),
    ]
    assert sorted(r.time_seconds for r in sisu.requests) == [r.time_seconds for r in sisu.requests]


def test_latency_holds_each_answer_back(make_sisu: MakeSisu) -> None:
    """An answer takes at least as long as was set."""
    sisu = make_sisu(latency_seconds=0.05)
    assert get(sisu, PERSONS).elapsed.total_seconds() >= 0.05


def test_connections_are_kept(make_sisu: MakeSisu) -> None:
    """Several requests go over one connection."""
    sisu = make_sisu()
    with requests.Session() as session:
        for _ in range(3):
            session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS)
        pool = session.adapters["http://"].poolmanager.connection_from_url(sisu.uri)
        assert (pool.num_connections, pool.num_requests) == (1, 3)


def test_a_stopped_sisu_is_gone_and_comes_back_as_it_was(make_sisu: MakeSisu) -> None:
    """A stop ends kept connections, too; a start is on the same port, with the same entities."""
    sisu = make_sisu()
    with requests.Session() as session:
        before = session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS).content
        sisu.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS)
        sisu.start()
        assert session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS).content == before


def test_tls_with_a_private_authority(make_sisu: MakeSisu, tmp_path: Path) -> None:
    """TLS is verifiable with the authority's certificate, and may demand one of the client, too."""
    for name, content in make_certificates().items():
        (tmp_path / name).write_bytes(content)
    ca, client = str(tmp_path / "ca.pem"), (str(tmp_path / "client.pem"), str(tmp_path / "client.key"))
    open_to_all = make_sisu(tls=Tls(tmp_path / "server.pem", tmp_path / "server.key"))
    strict = make_sisu(tls=Tls(tmp_path / "server.pem", tmp_path / "server.key", client_ca_path=tmp_path / "ca.pem"))
    assert requests.get(open_to_all.uri + PERSONS, verify=ca, timeout=TIMEOUT_SECONDS).ok
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(open_to_all.uri + PERSONS, timeout=TIMEOUT_SECONDS)
    assert requests.get(strict.uri + PERSONS, verify=ca, cert=client, timeout=TIMEOUT_SECONDS).ok
    with pytest.raises(requests.ConnectionError):
        requests.get(strict.uri + PERSONS, verify=ca, timeout=TIMEOUT_SECONDS)


# --- the program -----------------------------------------------------------------------------------------------------


@contextmanager
def program(*options: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    command = [sys.executable, "-m", "demo.sisu", "--size", "300", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:")
            yield process, line.split()[-1]
        finally:
            process.kill()


def ask(uri: str, command: str, json: object = None) -> Any:
    method = "GET" if json is None else "POST"
    return requests.request(method, f"{uri}/simulator/{command}", json=json, timeout=TIMEOUT_SECONDS).json()


def test_the_program_is_controlled_over_http() -> None:
    """All that a test in the same process can do, another process can."""
    with program("--seed", "4", "--services", "PERSON,PLAN") as (_, uri), SisuSimulator(seed=4, size=300) as _:
        counts = ask(uri, "counts")
        assert set(counts) == {"PERSON", "PLAN"}
        touched = ask(uri, "touch", {"service": "PERSON", "n": 7, "seed": 1})["ids"]
        body = b'{"id":"mine","documentState":"DRAFT"}'
        put = requests.post(f"{uri}/simulator/put?service=PERSON", data=body, timeout=TIMEOUT_SECONDS).json()
        expected = ask(uri, "expected/PERSON")
        assert list(expected)[-8:] == [*touched, "mine"]
        assert expected["mine"] == {"documentState": "DRAFT", "sha256": hashlib.sha256(body).hexdigest()}
        assert ask(uri, "counts")["PERSON"]["greatestOrdinal"] == put["ordinal"]
        assert list(ask(uri, f"expected/PERSON?up_to={put['ordinal'] - 1}"))[-7:] == touched
        assert ask(uri, "fault", {"kind": "status", "status": 503, "service": "PERSON"}) == {}
        assert requests.get(uri + PERSONS, timeout=TIMEOUT_SECONDS).status_code == 503
        assert ask(uri, "latency", {"seconds": 0.001}) == {}
        assert ask(uri, "fault", {"kind": "html", "times": None}) == {}
        assert ask(uri, "release", {}) == {}
        assert requests.get(uri + PERSONS, timeout=TIMEOUT_SECONDS).ok
        assert [(r["service"], r["status"]) for r in ask(uri, "requests")] == [("PERSON", 503), ("PERSON", 200)]
        assert len(ask(uri, "requests?after=1")) == 1


@pytest.mark.parametrize(
    ("command", "sent", "status"),
    [
        ("touch", {"service": "NOBODY", "n": 1, "seed": 1}, 400),
        ("touch", {}, 400),
        ("fault", {"kind": "sulk"}, 400),
        ("put?service=PERSON", {"name": "no id"}, 400),
        ("dance", {}, 404),
    ],
)
def test_control_refuses_nonsense(sisu: SisuSimulator, command: str, sent: object, status: int) -> None:
    """What cannot be done is refused with the reason, and nothing is done."""
    before = sisu.counts()
    answer = post(sisu, f"/simulator/{command}", sent)
    assert (answer.status_code, sisu.counts()) == (status, before)
    assert answer.json()["message"]


def test_changes_go_on_arriving() -> None:
    """With a trickle, ordinals grow by themselves."""
    with program("--trickle-per-second", "200") as (_, uri):
        before = ask(uri, "counts")
        grown = wait_until(
            lambda: [
                name
                for name, count in ask(uri, "counts").items()
                if count["greatestOrdinal"] > before[name]["greatestOrdinal"]
            ],
            "something changes",
        )
        assert set(grown) <= {service.name for service in EXPORTS}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_ends_on_a_signal_whatever_it_is_doing(number: signal.Signals) -> None:
    """A request that hangs does not hold it up."""
    with program() as (process, uri):
        ask(uri, "fault", {"kind": "hang"})
        with socket.create_connection(("127.0.0.1", int(uri.rpartition(":")[2]))) as connection:
            connection.sendall(f"GET {PERSONS} HTTP/1.1\r\n\r\n".encode())
            wait_until(lambda: ask(uri, "requests"), "the request hangs")
            process.send_signal(number)
            assert process.wait(timeout=5) == -number


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_the_program_ends_with_its_parent() -> None:
    """Whoever starts it and is killed leaves nothing behind."""
    parent_script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'demo.sisu', '--size', '1'], stdout=subprocess.PIPE)\n"
        "print(child.pid, child.stdout.readline(), flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent_script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split()[0])
        parent.kill()
    wait_until(lambda: not _runs(child), "the simulator ends")


def _runs(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_wrong_options_are_refused() -> None:
    """The program says what is wrong with its options, in one line."""
    for options, complaint in (("--services=NOBODY", "NOBODY"), ("--cert=x", "--key")):
        command = [sys.executable, "-m", "demo.sisu", options]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
        assert run.returncode != 0
        assert complaint in run.stderr.splitlines()[-1]


def test_a_change_while_a_page_is_read_loses_nothing(make_sisu: MakeSisu) -> None:
    """Who pages to the end while entities change has met the newest version of each in the end."""
    sisu = make_sisu(services=SERVICES[:1], size=400)
    touching = threading.Thread(target=lambda: [sisu.touch("PERSON", 10, seed) for seed in range(40)])
    touching.start()
    met: dict[str, bytes] = {}
    since, done = 0, False
    while not done:
        was_touching = touching.is_alive()
        page = msgspec.json.decode(get(sisu, PERSONS, since=since, limit=50).content, type=_Page)
        met |= {orjson.loads(entity)["id"]: bytes(entity) for entity in page.entities}
        since, done = page.greatestOrdinal, not page.hasMore and not was_touching
    assert met == {entity_id: body for entity_id, (_, body) in sisu.expected("PERSON").items()}
