"""The security settings of NATS, each with a server that requires it: accepted with it, a clear error without it."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import nats
import pytest

from demo.servers.processes import Server
from demo.sisu.simulator import SisuSimulator
from shared.model import keys
from tests.conftest import MakeServer
from tests.support.brokers import connected
from tests.support.certificates import write_certificates
from tests.support.nats_jwt import Nsc
from tests.support.programs import ProcessUnderTest, run
from tests.support.startup_errors import BOTH, QUICK_SECONDS, last_word, variables

SECRET = "s3cret-t0ken"
NSC, FOREIGN = Nsc(), Nsc()
CHANNEL = "ORI_PERSON_CHANNEL"
TLS = 'tls {{ cert_file: "$FILES/{server}.pem", key_file: "$FILES/{server}.key", {more} }}'
VERIFY = 'ca_file: "$FILES/ca.pem", verify: true'
CREDENTIALS = "check NATS_TOKEN, NATS_CREDS_PATH, NATS_URI"


class Requirement(NamedTuple):
    """What a server requires, and the settings that it accepts; values ending in pem, key and creds are file names."""

    config: str
    settings: Mapping[str, str]
    tls: bool = False
    login: str = ""


REQUIREMENTS = {
    "token": Requirement(f"authorization {{ token: {SECRET} }}", {"NATS_TOKEN": SECRET}),
    "password": Requirement(f"authorization {{ user: importer, password: {SECRET} }}", {}, login=f"importer:{SECRET}@"),
    "credentials file": Requirement(NSC.server_config(), {"NATS_CREDS_PATH": "right.creds"}),
    "private authority": Requirement(TLS.format(server="server", more=""), {"NATS_CA_PATH": "ca.pem"}, tls=True),
    "certificate that expired": Requirement(TLS.format(server="expired-server", more=""), {}, tls=True),
    "client certificate": Requirement(
        TLS.format(server="server", more=VERIFY),
        {"NATS_CA_PATH": "ca.pem", "NATS_CERT_PATH": "client.pem", "NATS_KEY_PATH": "client.key"},
        tls=True,
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with certificates and credentials files: a valid one, a foreign one and an expired one."""
    folder = write_certificates(tmp_path_factory.mktemp("files"))
    (folder / "right.creds").write_text(NSC.credentials())
    (folder / "foreign.creds").write_text(FOREIGN.credentials())
    (folder / "expired.creds").write_text(NSC.credentials(expires=int(time.time()) - 60))
    return folder


def start_nats(make_nats: MakeServer, requirement: Requirement, files: Path) -> Server:
    """Start a NATS with this requirement."""
    certificates = {path.name: path.read_bytes() for path in files.iterdir()} if requirement.tls else {}
    return make_nats(config=requirement.config, tls=requirement.tls, files=certificates)


def with_paths(settings: Mapping[str, str], files: Path) -> dict[str, str]:
    """Return the settings with the absolute paths of the files."""
    return {name: str(files / value) if name.endswith("_PATH") else value for name, value in settings.items()}


def with_login(uri: str, login: str) -> str:
    """Return the address with this login."""
    return uri.replace("://", f"://{login}")


@pytest.mark.parametrize("name", [name for name in REQUIREMENTS if name != "certificate that expired"])
async def test_the_required_settings_are_accepted(make_nats: MakeServer, files: Path, name: str) -> None:
    """With the settings that the server requires, the connection works and messages are stored."""
    requirement = REQUIREMENTS[name]
    server = start_nats(make_nats, requirement, files)
    settings = {variable.lower(): value for variable, value in with_paths(requirement.settings, files).items()}
    async with connected(with_login(server.uri, requirement.login), **settings) as broker:
        await broker.publish(keys.CHUNK_STREAM, CHANNEL, b"{}", "1")
        assert (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).state.messages == 1


@BOTH
@pytest.mark.parametrize(
    ("name", "settings", "login", "error", "code"),
    [
        ("token", {}, "", f"rejected the credentials: {CREDENTIALS}", 2),
        ("token", {"NATS_TOKEN": "wr0ng"}, "", f"rejected the credentials: {CREDENTIALS}", 2),
        ("password", {}, "", f"rejected the credentials: {CREDENTIALS}", 2),
        ("password", {}, "importer:wr0ng@", f"rejected the credentials: {CREDENTIALS}", 2),
        ("credentials file", {}, "", f"rejected the credentials: {CREDENTIALS}", 2),
        ("credentials file", {"NATS_CREDS_PATH": "foreign.creds"}, "", f"rejected the credentials: {CREDENTIALS}", 3),
        ("credentials file", {"NATS_CREDS_PATH": "expired.creds"}, "", f"rejected the credentials: {CREDENTIALS}", 3),
        ("private authority", {}, "", "cannot be trusted: unable to get local issuer certificate; NATS_CA_PATH", 2),
        ("private authority", {"NATS_CA_PATH": "other-ca.pem"}, "", "cannot be trusted: unable to get local issuer", 3),
        ("certificate that expired", {"NATS_CA_PATH": "ca.pem"}, "", "cannot be trusted: certificate has expired", 3),
        (
            "client certificate",
            {"NATS_CA_PATH": "ca.pem"},
            "",
            "certificate (certificate required): check NATS_CERT",
            2,
        ),
        (
            "client certificate",
            {"NATS_CA_PATH": "ca.pem", "NATS_CERT_PATH": "other-client.pem", "NATS_KEY_PATH": "other-client.key"},
            "",
            "rejected our certificate (unknown ca): check NATS_CERT_PATH, NATS_KEY_PATH",
            3,
        ),
        (
            "client certificate",
            {"NATS_CA_PATH": "ca.pem", "NATS_CERT_PATH": "expired-client.pem", "NATS_KEY_PATH": "expired-client.key"},
            "",
            "rejected our certificate (certificate expired): check NATS_CERT_PATH, NATS_KEY_PATH",
            3,
        ),
    ],
)
def test_missing_or_wrong_settings_are_reported(
    redis_uri: str,
    make_nats: MakeServer,
    files: Path,
    program: tuple[str, ...],
    name: str,
    settings: Mapping[str, str],
    login: str,
    error: str,
    code: int,
) -> None:
    """With missing, wrong or expired settings a program ends at once and says which variables to check.

    The exit code is 3, for a restart, if a file is wrong, since files may be renewed.
    """
    server = start_nats(make_nats, REQUIREMENTS[name], files)
    uri = with_login(server.uri, login)
    outcome = run(*program, **variables(NATS_URI=uri, REDIS_URI=redis_uri, **with_paths(settings, files)))
    reason = last_word(outcome, "wr0ng", SECRET, code=code)
    assert f"NATS at 127.0.0.1:{server.port}" in reason
    assert error in reason
    assert outcome.seconds < QUICK_SECONDS


# --- while connected -------------------------------------------------------------------------------------------------


async def reload(server: Server, config: str, **login: str) -> None:
    """Reload the running server with another configuration, by its system account."""
    path = server.data.parent / "server.conf"
    path.write_text(path.read_text().replace(server.config, config))
    server.config = config
    client = await nats.connect(server.uri, allow_reconnect=False, **login)  # type: ignore[arg-type]
    response = await client.request(f"$SYS.REQ.SERVER.{client._server_info['server_id']}.RELOAD", timeout=10)
    assert b'"error"' not in response.data, response.data
    await client.close()


def start_both(stack: ExitStack, uri: str, redis_uri: str, **others: str) -> list[ProcessUnderTest]:
    """Start a collector, and a producer with a batch in flight that is not consumed; return both."""
    sisu = stack.enter_context(SisuSimulator(size=200))
    settings = variables(NATS_URI=uri, REDIS_URI=redis_uri, SIS_API_URL=sisu.uri, SERVICES="PERSON", **others)
    collector = stack.enter_context(ProcessUnderTest("ack_collector", **settings))
    producer = stack.enter_context(ProcessUnderTest("producer", **settings))
    collector.wait_for('"started"')
    producer.wait_for('"batch_started"')
    return [collector, producer]


def assert_both_end(programs: list[ProcessUnderTest], *secrets: str) -> None:
    """Assert exit code 3: the credentials worked once, so a restart may help, with files that may have been renewed."""
    for program in programs:
        reason = last_word(program.outcome(30), *secrets, code=3)
        assert "closed the connection for good" in reason
        assert reason.endswith(f"; {CREDENTIALS}")


async def test_a_password_that_is_changed_while_connected(make_nats: MakeServer, redis_uri: str) -> None:
    """When NATS reloads its configuration with another password, both programs end, with what to check."""

    def config(password: str) -> str:
        return (
            "accounts { SYS { users: [{ user: sys, password: sys }] }, "
            f"APP {{ jetstream: enabled, users: [{{ user: importer, password: {password} }}] }} }}\n"
            "system_account: SYS"
        )

    server = make_nats(config=config(SECRET))
    with ExitStack() as stack:
        programs = start_both(stack, with_login(server.uri, f"importer:{SECRET}@"), redis_uri)
        await reload(server, config("another"), user="sys", password="sys")
        assert_both_end(programs, SECRET)


async def test_a_user_that_is_revoked_while_connected(make_nats: MakeServer, redis_uri: str, tmp_path: Path) -> None:
    """When an account revokes its users, both programs end, with what to check."""
    credentials, system = tmp_path / "user.creds", tmp_path / "system.creds"
    credentials.write_text(NSC.credentials())
    system.write_text(NSC.system_credentials())
    server = make_nats(config=NSC.server_config())
    with ExitStack() as stack:
        programs = start_both(stack, server.uri, redis_uri, NATS_CREDS_PATH=str(credentials))
        await reload(server, NSC.server_config(revoked=True), user_credentials=str(system))
        assert_both_end(programs, credentials.read_text().splitlines()[1])


def test_a_user_that_expires_while_connected(make_nats: MakeServer, redis_uri: str, tmp_path: Path) -> None:
    """When a user's token expires, both programs end, with what to check."""
    credentials = tmp_path / "user.creds"
    credentials.write_text(NSC.credentials(expires=int(time.time()) + 12))
    server = make_nats(config=NSC.server_config())
    with ExitStack() as stack:
        assert_both_end(start_both(stack, server.uri, redis_uri, NATS_CREDS_PATH=str(credentials)))
