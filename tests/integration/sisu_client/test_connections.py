"""Connections to SISU: reused while they are good, never beyond, and without cookies."""

import socket
import struct
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from demo.sisu.simulator import SisuSimulator, Tls
from shared.model.errors import FetchError, SisuConnectionError, SisuUnauthorizedError
from shared.sisu import session as sessions
from shared.sisu.attempt import Attempt
from tests.integration.sisu_client.harness import PERSON, client_of
from tests.support.certificates import make_certificates
from tests.support.scripted_http import response, scripted_server

PAGE = b'{"entities":[],"hasMore":false,"greatestOrdinal":7}'


def good(connection: socket.socket, _: bytes, __: int) -> bool:
    """Respond well, and keep the connection."""
    connection.sendall(response(PAGE, "Set-Cookie: JSESSIONID=abc; Path=/"))
    return True


async def test_no_cookie_is_kept() -> None:
    """A session cookie would outlive the session, and have good credentials rejected."""
    with scripted_server(good) as server:
        client = client_of(server.uri)
        for _ in range(2):
            await client.fetch(PERSON, 0)
        assert [b"cookie" in head.lower() for _, head in server.requests] == [False, False]


async def test_a_connection_is_kept_alive_and_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection serves all requests, sends at once, and finds out about a peer that is gone."""
    used: list[socket.socket] = []
    use = Attempt.use

    def note(attempt: Attempt, connection: socket.socket, *, is_new: bool = False) -> None:
        used.append(connection)
        use(attempt, connection, is_new=is_new)

    monkeypatch.setattr(Attempt, "use", note)
    with scripted_server(good) as server:
        client = client_of(server.uri)
        for _ in range(3):
            await client.fetch(PERSON, 0)
        assert [number for number, _ in server.requests] == [0, 0, 0]
        assert used[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert used[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert used[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


async def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall may have forgotten it, and would drop the request."""
    monkeypatch.setattr(sessions, "IDLE_MAX_SECONDS", 0.0)
    with scripted_server(good) as server:
        client = client_of(server.uri)
        for _ in range(2):
            await client.fetch(PERSON, 0)
        assert [number for number, _ in server.requests] == [0, 1]


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_reused_connection_that_breaks_costs_no_attempt(how: str) -> None:
    """Closed by the server while the request was on its way: a new one is made at once, without a pause or a log."""

    def script(connection: socket.socket, head: bytes, before: int) -> bool:
        if not before:
            return good(connection, head, before)
        if how == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    with scripted_server(script) as server, capture_logs() as logged:
        client = client_of(server.uri, attempts=1)
        for _ in range(3):
            await client.fetch(PERSON, 0)
        assert [number for number, _ in server.requests] == [0, 0, 1, 1, 2]
    assert [line["event"] for line in logged if line["log_level"] != "debug"] == []


async def test_a_new_connection_that_breaks_is_an_attempt() -> None:
    """Only a connection that was used before is replaced at once: a server that always hangs up is not pestered."""
    with scripted_server(lambda *_: False) as server:
        with pytest.raises(FetchError, match="the connection broke"):
            await client_of(server.uri, attempts=3).fetch(PERSON, 0)
        assert len(server.requests) == 3


async def test_a_second_address_is_tried_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address of a host swallows packets: the second one is tried within one attempt."""
    resolve = socket.getaddrinfo

    def two(host: str, port: int, *_args: object, **_kwargs: object) -> list[object]:
        (found, *_) = resolve("127.0.0.1", port, type=socket.SOCK_STREAM)
        return [(*found[:4], full.getsockname()), found] if host == "sisu.test" else [found]

    with scripted_server(good) as server, socket.socket() as full, socket.socket() as one, socket.socket() as other:
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        for filler in (one, other):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", two)
        client = client_of(server.uri.replace("127.0.0.1", "sisu.test"), attempts=1, sis_timeout_seconds=3)
        assert (await client.fetch(PERSON, 0)).greatest_ordinal == 7


# --- files that are renewed -------------------------------------------------------------------------------------------


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Replace the files, as a renewal does: by new ones of the same names."""
    for name, content in files.items():
        (folder / f"{name}.new").write_bytes(content)
        (folder / f"{name}.new").rename(folder / name)


async def test_renewed_certificates_are_followed(tmp_path: Path) -> None:
    """A new authority signs both sides: without a restart the client trusts it, and shows its own new certificate."""
    write(tmp_path, make_certificates())
    own = {"key_path": tmp_path / "client.key", "cert_path": tmp_path / "client.pem"}
    with SisuSimulator(size=60, tls=_tls(tmp_path)) as sisu:
        port = sisu.port
        client = client_of(sisu, attempts=1, sis_ca_path=tmp_path / "ca.pem", **own)
        assert (await client.fetch(PERSON, 0)).entities
    renewed = make_certificates()
    (tmp_path / "server").mkdir()
    write(tmp_path / "server", renewed)
    with SisuSimulator(size=60, tls=_tls(tmp_path / "server"), port=port):
        with pytest.raises((SisuConnectionError, SisuUnauthorizedError)):
            await client.fetch(PERSON, 0)
        whole = renewed["ca.pem"]
        write(tmp_path, {"ca.pem": whole[: len(whole) // 2]})
        with pytest.raises(SisuConnectionError, match="cannot be loaded"):
            await client.fetch(PERSON, 0)
        write(tmp_path, renewed)
        assert (await client.fetch(PERSON, 0)).entities


def _tls(folder: Path) -> Tls:
    return Tls(folder / "server.pem", folder / "server.key", folder / "ca.pem")


async def test_a_rejected_certificate_fails_the_services_with_credentials(tmp_path: Path) -> None:
    """The server wants the certificate of another authority: an error of its own, that names the variables."""
    write(tmp_path, make_certificates())
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", make_certificates())
    own = {"key_path": tmp_path / "other" / "client.key", "cert_path": tmp_path / "other" / "client.pem"}
    tls = Tls(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    with SisuSimulator(size=60, tls=tls) as sisu:
        # TLS 1.3 tells the client only after it has sent its request, and a reset may overtake that.
        client = client_of(sisu, attempts=6, sis_ca_path=tmp_path / "ca.pem", **own)
        with pytest.raises(
            SisuUnauthorizedError, match=r"rejected our certificate \(.*\): check KEY_PATH and CERT_PATH"
        ):
            await client.fetch(PERSON, 0)
