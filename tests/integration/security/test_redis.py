"""What Redis can demand of us, each by a server that demands it: we are let in with it, and end clearly without it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.servers.processes import Server
from shared.config.tls_files import TlsFiles
from shared.model.errors import ConfigurationError
from shared.store.redis_client import connect_redis
from tests.conftest import MakeServer
from tests.support.certificates import write_certificates
from tests.support.programs import ProcessUnderTest, run
from tests.support.startup_errors import BOTH, QUICK_SECONDS, last_word, variables
from tests.support.tls_proxy import TlsProxy

SECRET = "s3cret/passw0rd"
ENCODED = "s3cret%2Fpassw0rd"
USERS = (
    f"user default off\nuser importer on >{SECRET} ~* &* +@all\nuser reader on >{SECRET} ~* &* +@read +@connection\n"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates."""
    return write_certificates(tmp_path_factory.mktemp("files"))


@pytest.fixture
def restricted_users(make_redis: MakeServer) -> Server:
    """Return a Redis with users, where nobody is let in without a password."""
    return make_redis(config="aclfile $FILES/users.acl", files={"users.acl": USERS})


class Fronts:
    """TLS before a Redis, of several kinds; the Redis of many machines is built without it."""

    def __init__(self, stack: ExitStack, port: int, files: Path) -> None:
        self.ports = {
            name: stack.enter_context(TlsProxy(port, files / f"{who}.pem", files / f"{who}.key", client_ca)).port
            for name, who, client_ca in (
                ("tls", "server", None),
                ("expired", "expired-server", None),
                ("mutual", "server", files / "ca.pem"),
            )
        }

    def uri(self, name: str) -> str:
        return f"rediss://importer:{ENCODED}@127.0.0.1:{self.ports[name]}/0"


@pytest.fixture
def fronts(restricted_users: Server, files: Path) -> Iterator[Fronts]:
    """Start the restricted Redis, behind TLS."""
    with ExitStack() as stack:
        yield Fronts(stack, restricted_users.port, files)


@pytest.mark.parametrize(("front", "certificate"), [("tls", None), ("mutual", "client")])
async def test_let_in(fronts: Fronts, files: Path, front: str, certificate: str | None) -> None:
    """With the authority, the client certificate where one is demanded, and the user's password we get in."""
    own = (files / f"{certificate}.pem", files / f"{certificate}.key") if certificate else (None, None)
    client = await connect_redis(fronts.uri(front), TlsFiles(files / "ca.pem", *own))
    assert await client.redis.acl_whoami() == "importer"
    await client.close()


async def test_a_certificate_for_another_host_is_refused(fronts: Fronts, files: Path) -> None:
    """A trusted authority does not make up for a wrong name."""
    uri = fronts.uri("tls").replace("127.0.0.1", "localhost")
    with pytest.raises(ConfigurationError, match=r"localhost.*; check REDIS_CA_PATH") as refused:
        await connect_redis(uri, TlsFiles(files / "ca.pem"))
    assert ENCODED not in str(refused.value)


@BOTH
@pytest.mark.parametrize(
    ("front", "shown", "told"),
    [
        ("tls", {}, "unable to get local issuer certificate (_ssl.c"),
        ("tls", {"REDIS_CA_PATH": "other-ca.pem"}, "unable to get local issuer certificate (_ssl.c"),
        ("expired", {"REDIS_CA_PATH": "ca.pem"}, "certificate has expired"),
        ("mutual", {"REDIS_CA_PATH": "ca.pem"}, "check REDIS_CERT_PATH and REDIS_KEY_PATH"),
        ("mutual", {"REDIS_CA_PATH": "ca.pem", "own": "other-client"}, "check REDIS_CERT_PATH and REDIS_KEY_PATH"),
        ("mutual", {"REDIS_CA_PATH": "ca.pem", "own": "expired-client"}, "check REDIS_CERT_PATH and REDIS_KEY_PATH"),
    ],
    ids=["no authority", "another authority", "expired", "no certificate", "untrusted", "expired certificate"],
)
def test_refused_by_tls(
    fronts: Fronts, files: Path, program: tuple[str, ...], front: str, shown: Mapping[str, str], told: str
) -> None:
    """Without a certificate that each side trusts a program ends at once and says which variables to check."""
    names = dict(shown)
    if own := names.pop("own", None):
        names |= {"REDIS_CERT_PATH": f"{own}.pem", "REDIS_KEY_PATH": f"{own}.key"}
    paths = {name: str(files / value) for name, value in names.items()}
    outcome = run(*program, **variables(REDIS_URI=fronts.uri(front), **paths))
    reason = last_word(outcome, SECRET, ENCODED)
    assert reason.startswith("Redis denied the first contact with 127.0.0.1:")
    assert told in reason
    assert "check REDIS_C" in reason
    assert outcome.seconds < QUICK_SECONDS


@BOTH
@pytest.mark.parametrize("login", ["importer:wr0ng@", f"stranger:{ENCODED}@", f":{ENCODED}@", ""])
def test_refused_credentials(restricted_users: Server, program: tuple[str, ...], login: str) -> None:
    """A wrong password, an unknown user, a password without its user, none at all: told at once, never shown."""
    outcome = run(*program, **variables(REDIS_URI=f"redis://{login}127.0.0.1:{restricted_users.port}/0"))
    reason = last_word(outcome, "wr0ng", SECRET, ENCODED)
    assert reason.startswith("Redis denied the first contact with 127.0.0.1:")
    assert reason.endswith("; check REDIS_URI and the user's permissions")
    assert outcome.seconds < QUICK_SECONDS


@BOTH
def test_refused_rights(restricted_users: Server, nats_uri: str, program: tuple[str, ...]) -> None:
    """A user who may only read is let in, and the first command that he may not use is named."""
    uri = f"redis://reader:{ENCODED}@127.0.0.1:{restricted_users.port}/0"
    reason = last_word(run(*program, **variables(REDIS_URI=uri, NATS_URI=nats_uri)), SECRET, ENCODED)
    assert "Redis denied " in reason
    assert reason.endswith("; check REDIS_URI and the user's permissions")


@BOTH
def test_a_password_that_is_changed_while_connected(
    restricted_users: Server, nats_uri: str, program: tuple[str, ...]
) -> None:
    """A Redis that no longer knows the password, and throws us out, ends a program with what to check."""
    uri = f"redis://importer:{ENCODED}@127.0.0.1:{restricted_users.port}/0"
    with ProcessUnderTest(program[0], **variables(REDIS_URI=uri, NATS_URI=nats_uri)) as ours:
        ours.wait_for('"lock_acquired"' if program[0] == "producer" else '"started"')
        restricted_users.stop()
        users = restricted_users.data.parent / "files" / "users.acl"
        users.write_text(USERS.replace(SECRET, "another"))
        restricted_users.start()
        reason = last_word(ours.outcome(40), SECRET, ENCODED)
    assert reason.endswith("; check REDIS_URI and the user's permissions")
