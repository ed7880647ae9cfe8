"""Where TLS is asked for, a server without it is sent nothing in clear text: no password, no command."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.servers.processes import Server
from tests.conftest import MakeServer
from tests.integration.broker.test_example_workers import EXAMPLES, NODE_MODULES
from tests.support.certificates import write_certificates
from tests.support.programs import ROOT, ProcessUnderTest, run
from tests.support.startup_errors import BOTH, QUICK_SECONDS, last_word, variables
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

SECRET = "s3cret-passw0rd"
LOGIN = f"importer:{SECRET}@"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates."""
    return write_certificates(tmp_path_factory.mktemp("files"))


@contextmanager
def recording(server: Server) -> Iterator[TcpProxy]:
    """Record what a server is sent."""
    with TcpProxy(server.port) as proxy:
        proxy.requests = bytearray()
        yield proxy


@pytest.fixture
def plain_nats(make_nats: MakeServer) -> Iterator[TcpProxy]:
    """Start a NATS without TLS that knows the user."""
    with recording(make_nats(config=f"authorization {{ user: importer, password: {SECRET} }}")) as proxy:
        yield proxy


@pytest.fixture
def plain_redis(make_redis: MakeServer) -> Iterator[TcpProxy]:
    """Start a Redis without TLS that knows the user."""
    with recording(make_redis(config=f"user importer on >{SECRET} ~* &* +@all")) as proxy:
        yield proxy


def paths(files: Path, names: Mapping[str, str]) -> dict[str, str]:
    return {name: str(files / value) for name, value in names.items()}


ASKED_FOR = pytest.mark.parametrize(
    ("scheme", "names"),
    [
        ("tls", {}),
        ("tls", {"NATS_CA_PATH": "ca.pem"}),
        ("nats", {"NATS_CA_PATH": "ca.pem"}),
        ("nats", {"NATS_CERT_PATH": "client.pem", "NATS_KEY_PATH": "client.key"}),
    ],
    ids=["tls://", "tls:// and an authority", "an authority", "a client certificate"],
)


@BOTH
@ASKED_FOR
def test_nats(
    plain_nats: TcpProxy,
    redis_uri: str,
    files: Path,
    program: tuple[str, ...],
    scheme: str,
    names: Mapping[str, str],
) -> None:
    """A program ends with a configuration error, and has sent NATS nothing at all."""
    uri = f"{scheme}://{LOGIN}127.0.0.1:{plain_nats.port}"
    outcome = run(*program, **variables(NATS_URI=uri, REDIS_URI=redis_uri), **paths(files, names))
    reason = last_word(outcome, SECRET)
    assert f"NATS at 127.0.0.1:{plain_nats.port} does not demand TLS" in reason
    assert plain_nats.requests == b""
    assert outcome.seconds < QUICK_SECONDS


@BOTH
def test_nats_without_tls(plain_nats: TcpProxy, redis_uri: str, program: tuple[str, ...]) -> None:
    """Where no TLS is asked for there is none: the recording would show a password."""
    uri = f"nats://{LOGIN}127.0.0.1:{plain_nats.port}"
    with ProcessUnderTest(*program, **variables(NATS_URI=uri, REDIS_URI=redis_uri)) as ours:
        wait_until(lambda: SECRET.encode() in (plain_nats.requests or b""), "the password is sent")
        assert SECRET not in ours.output


@ASKED_FOR
def test_the_command_line(
    plain_nats: TcpProxy, redis_uri: str, files: Path, scheme: str, names: Mapping[str, str]
) -> None:
    """`importer` reports it, and has sent NATS nothing at all."""
    uri = f"{scheme}://{LOGIN}127.0.0.1:{plain_nats.port}"
    settings = variables(NATS_URI=uri, REDIS_URI=redis_uri, SERVICES="PERSON") | paths(files, names)
    outcome = run("admin", "check", "--json", **settings)
    assert "does not demand TLS" in outcome.output
    assert SECRET not in outcome.output
    assert plain_nats.requests == b""


def test_a_server_that_loses_its_tls(make_nats: MakeServer, redis_uri: str, files: Path) -> None:
    """A NATS that comes back without TLS is sent nothing by the processes that were connected to it."""
    certificates = {path.name: path.read_bytes() for path in files.iterdir()}
    secured = 'tls { cert_file: "$FILES/server.pem", key_file: "$FILES/server.key" }'
    login = f"authorization {{ user: importer, password: {SECRET} }}"
    server = make_nats(config=f"{secured}\n{login}", tls=True, files=certificates)
    with recording(server) as proxy:
        uri = f"tls://{LOGIN}127.0.0.1:{proxy.port}"
        settings = variables(NATS_URI=uri, REDIS_URI=redis_uri, NATS_CA_PATH=str(files / "ca.pem"))
        with ProcessUnderTest("ack_collector", **settings) as ours:
            ours.wait_for('"started"')
            server.stop()
            server.config = login
            proxy.requests = bytearray()
            server.start()
            assert "does not demand TLS" in last_word(ours.outcome(40), SECRET, code=3)
        assert proxy.requests == b""


@BOTH
@pytest.mark.parametrize("names", [{}, {"REDIS_CA_PATH": "ca.pem"}], ids=["public authorities", "an authority"])
def test_redis(plain_redis: TcpProxy, files: Path, program: tuple[str, ...], names: Mapping[str, str]) -> None:
    """With rediss:// a Redis without TLS gets the beginning of a TLS handshake and no command."""
    uri = f"rediss://{LOGIN}127.0.0.1:{plain_redis.port}/0"
    with ProcessUnderTest(*program, **variables(REDIS_URI=uri), **paths(files, names)):
        wait_until(lambda: plain_redis.accepted > 1 and plain_redis.requests, "it has tried more than once", 40)
    assert plain_redis.requests is not None
    assert plain_redis.requests.startswith(b"\x16\x03")  # a TLS record with a handshake
    for word in (SECRET.encode(), b"importer", b"AUTH", b"HELLO", b"PING"):
        assert word not in plain_redis.requests


@BOTH
@pytest.mark.parametrize("name", ["REDIS_CA_PATH", "REDIS_CERT_PATH"])
def test_files_for_tls_to_redis_without_tls(files: Path, program: tuple[str, ...], name: str) -> None:
    """A file for TLS beside redis:// is a mistake, which is named before anything is connected to."""
    names = {"REDIS_CA_PATH": "ca.pem"}
    if name == "REDIS_CERT_PATH":
        names = {"REDIS_CERT_PATH": "client.pem", "REDIS_KEY_PATH": "client.key"}
    outcome = run(*program, **variables(), **paths(files, names))
    assert f"{name}: is for TLS, and REDIS_URI asks for none: write it as rediss://" in last_multiline(outcome.output)
    assert outcome.code == 2


def last_multiline(output: str) -> str:
    return output.replace("\\n", "\n")


WORKERS: Sequence[object] = [
    pytest.param([sys.executable, str(EXAMPLES / "mankeli.py"), "ORI_PERSON_CHANNEL"], id="python"),
    pytest.param([sys.executable, "-m", "demo.mankeli", "--db", "db"], id="demo"),
    pytest.param(
        ["node", "mankeli.mjs", "ORI_PERSON_CHANNEL"],
        id="javascript",
        marks=pytest.mark.skipif(not NODE_MODULES, reason="EXAMPLES_NODE_MODULES is not set"),
    ),
]


@pytest.mark.parametrize("command", WORKERS)
@pytest.mark.parametrize("scheme", ["tls", "nats"])
def test_workers(plain_nats: TcpProxy, redis_uri: str, tmp_path: Path, command: list[str], scheme: str) -> None:
    """The example workers send a password to a server without TLS only if they were told to."""
    if command[0] == "node":
        shutil.copy(EXAMPLES / "mankeli.mjs", tmp_path)
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    uri = f"{scheme}://{LOGIN}127.0.0.1:{plain_nats.port}"
    environment = os.environ | {"NATS_URI": uri, "REDIS_URI": redis_uri, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            if scheme == "nats":
                wait_until(lambda: SECRET.encode() in (plain_nats.requests or b""), "the password is sent", 40)
            else:
                wait_until(
                    lambda: plain_nats.accepted > 1 or process.poll() is not None, "it has tried again, or given up", 40
                )
                assert plain_nats.accepted
                assert plain_nats.requests == b""
        finally:
            process.kill()
