"""Credentials and certificates that are renewed or withdrawn while a process runs."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from demo.servers.processes import Server
from shared.broker.connection import Broker
from shared.model.errors import ConfigurationError, DependencyLostError
from shared.runtime.shutdown import Stop
from tests.conftest import MakeServer
from tests.support.brokers import connected, publish
from tests.support.certificates import make_certificates
from tests.support.nats_jwt import Nsc
from tests.support.waiting import wait_until_async

SECRET = "s3cret-t0ken"
NSC = Nsc()
TLS = 'tls { cert_file: "$FILES/server.pem", key_file: "$FILES/server.key", ca_file: "$FILES/ca.pem", verify: true }'


def write(folder: Path, files: dict[str, bytes]) -> dict[str, Path]:
    """Write the client's files, and return the settings that name them."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {
        "nats_ca_path": folder / "ca.pem",
        "nats_cert_path": folder / "client.pem",
        "nats_key_path": folder / "client.key",
    }


def renew(server: Server, files: dict[str, bytes]) -> None:
    """Restart the server with the certificates of another authority."""
    server.stop()
    for name, content in files.items():
        next(server.data.parent.rglob(name)).write_bytes(content)
    server.start()


async def ending(stop: Stop) -> Exception:
    """Wait for the error that ends the process."""
    async with asyncio.timeout(20):
        return await asyncio.shield(stop._failure)


async def reconnected(broker: Broker) -> None:
    """Wait for the first reconnect, which may be over, and publish a message on the new connection."""
    await wait_until_async(lambda: broker.client.stats["reconnects"] > 0, "it has reconnected")
    await publish(broker, f"{time.monotonic()}")


async def test_a_token_that_is_changed_ends_the_process_for_a_restart(make_nats: MakeServer) -> None:
    """A reconnect that is refused is a lost dependency: a fresh start heals once the server has the right token."""
    server = make_nats(config=f"authorization {{ token: {SECRET} }}")
    stop = Stop()
    async with connected(server.uri, stop, nats_token=SECRET):
        server.stop()
        server.config = "authorization { token: another }"
        server.start()
        error = await ending(stop)
    assert isinstance(error, DependencyLostError)
    assert "rejected the credentials: check NATS_TOKEN" in str(error)
    assert SECRET not in str(error)


async def test_credentials_from_a_file_are_worth_a_restart(make_nats: MakeServer, tmp_path: Path) -> None:
    """An expired file ends even the first connect with exit code 3, and the renewed one is let in."""
    creds = tmp_path / "importer.creds"
    creds.write_text(NSC.credentials(expires=int(time.time()) - 60))
    server = make_nats(config=NSC.server_config())
    error = await _first_connect_ends_with(server.uri, nats_creds_path=creds)
    assert (type(error), error.exit_code) == (DependencyLostError, 3)
    creds.write_text(NSC.credentials())
    async with connected(server.uri, nats_creds_path=creds) as broker:
        await publish(broker, "1")


async def test_a_token_of_the_settings_is_a_matter_of_configuration(make_nats: MakeServer) -> None:
    """What no file can renew ends the first connect with exit code 2."""
    server = make_nats(config=f"authorization {{ token: {SECRET} }}")
    error = await _first_connect_ends_with(server.uri, nats_token="another")
    assert (type(error), error.exit_code) == (ConfigurationError, 2)


@pytest.mark.parametrize("content", ["", "-----BEGIN NATS USER JWT-----\nx\n", None], ids=["empty", "half", "none"])
async def test_a_credentials_file_that_is_half_written_is_read_again(
    make_nats: MakeServer, tmp_path: Path, content: str | None
) -> None:
    """While the file is being replaced, reconnecting goes on, and succeeds with the whole file."""
    creds = tmp_path / "importer.creds"
    creds.write_text(NSC.credentials())
    server = make_nats(config=NSC.server_config())
    stop = Stop()
    async with connected(server.uri, stop, nats_creds_path=creds) as broker:
        if content is None:
            creds.unlink()
        else:
            creds.write_text(content)
        await asyncio.to_thread(server.restart)
        await wait_until_async(lambda: _was_read(broker), "the file was read")
        assert not stop._failure.done()
        assert not broker.is_connected
        creds.write_text(NSC.credentials())
        await wait_until_async(lambda: broker.is_connected, "it is connected again")


def _was_read(broker: Broker) -> bool:
    return any(words in str(broker._last_error) for words in ("credentials", "No such file"))


async def test_renewed_certificates_are_followed(make_nats: MakeServer, tmp_path: Path) -> None:
    """A server and a client with the certificates of a new authority find each other without a restart of ours."""
    old, new = make_certificates(), make_certificates()
    server = make_nats(tls=True, config=TLS, files=old)
    stop = Stop()
    async with connected(server.uri, stop, **write(tmp_path, old)) as broker:
        write(tmp_path, new)
        await asyncio.to_thread(renew, server, new)
        await reconnected(broker)
        assert not stop._failure.done()


@pytest.mark.parametrize("name", ["ca.pem", "client.pem", "client.key"])
async def test_a_certificate_that_is_half_written_is_read_again(
    make_nats: MakeServer, tmp_path: Path, name: str
) -> None:
    """A file that cannot be read for a moment ends nothing."""
    files = make_certificates()
    server = make_nats(tls=True, config=TLS, files=files)
    stop = Stop()
    async with connected(server.uri, stop, **write(tmp_path, files)) as broker:
        (tmp_path / name).write_bytes(files[name][:40])
        await asyncio.to_thread(server.restart)
        await wait_until_async(lambda: broker._last_error is not None, "it was read")
        assert not stop._failure.done()
        write(tmp_path, files)
        await wait_until_async(lambda: broker.is_connected, "it is connected again")


@pytest.mark.parametrize("wrong", ["the server's", "ours"])
async def test_a_certificate_that_is_rejected_while_running(make_nats: MakeServer, tmp_path: Path, wrong: str) -> None:
    """It ends the process for a restart, with what to check."""
    old, new = make_certificates(), make_certificates()
    server = make_nats(tls=True, config=TLS, files=old)
    stop = Stop()
    async with connected(server.uri, stop, **write(tmp_path, old)):
        if wrong == "ours":
            write(tmp_path, new | {"ca.pem": old["ca.pem"]})
            await asyncio.to_thread(server.restart)
        else:
            await asyncio.to_thread(renew, server, new)
        error = await ending(stop)
    assert isinstance(error, DependencyLostError)
    assert ("rejected our certificate" if wrong == "ours" else "cannot be trusted") in str(error)


async def _first_connect_ends_with(uri: str, **others: Any) -> ConfigurationError | DependencyLostError:
    stop = Stop()

    async def work() -> int:
        async with connected(uri, stop, **others):
            return 0

    with pytest.raises((ConfigurationError, DependencyLostError)) as ended:
        await stop.run_to_completion(work(), 60)
    return ended.value
