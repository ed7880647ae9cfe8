"""NATS and Redis in containers, by testcontainers, with the interface of the servers that run as processes.

Ports are published on 127.0.0.1 only. The data directory is a mounted directory of this machine, and the server runs
as the user who runs the tests, so that both may write there. Containers are removed by `close()`, else at exit; those
of a test run that was killed are removed by the next one. Ryuk would do the same, but needs one more image.
"""

import atexit
import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import docker.errors  # type: ignore[import-untyped]
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from demo.servers.base import LOG_TAIL_LINES, STOP_SECONDS, PortTakenError, Server
from demo.servers.specs import NATS, REDIS, ServerError

testcontainers_config.ryuk_disabled = True

_HOME = "/importer"
_OWNER_LABEL = "importer-test.owner"
_live: "set[_ContainerServer]" = set()


class _Owner:
    """This process, as a file that is locked while the process lives: a container's label names the file."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="importer-test-", suffix=".lock")  # noqa: SIM115 - until the end
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self.name = self._file.name

    @staticmethod
    def is_dead(name: str) -> bool:
        with contextlib.suppress(FileNotFoundError), open(name, "rb") as file:  # noqa: PTH123 - a label, not a path
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True


_owner = _Owner()


def remove_leftovers(client: Any) -> None:
    """Remove the containers of test runs that have ended."""
    # Another test run may remove one between the listing and the inspection: `ignore_removed`.
    for container in client.containers.list(all=True, filters={"label": _OWNER_LABEL}, ignore_removed=True):
        if _Owner.is_dead(container.labels[_OWNER_LABEL]):
            with contextlib.suppress(docker.errors.APIError):  # another test run removes them at the same time
                container.remove(force=True, v=True)


@atexit.register
def _close_all() -> None:
    for server in list(_live):
        server.close()


class _ContainerServer(Server):
    entrypoint: ClassVar[list[str] | None] = None
    arguments: ClassVar[list[str]]

    def __init__(
        self,
        image: str,
        *,
        config: str = "",
        files: Mapping[str, str | bytes] | None = None,
        tls: bool = False,
        port: int | None = None,
    ) -> None:
        self._image = image
        self._container: DockerContainer | None = None
        super().__init__(config=config, files=files, tls=tls, port=port)
        _live.add(self)

    @property
    def version(self) -> str:
        return f"{self.spec.name} of image {self._image}"

    def _launch(self) -> None:
        if self._running():
            raise ServerError(f"{self} is already running")
        self._write_config("0.0.0.0", _HOME)  # inside the container: the published port is bound to 127.0.0.1
        with self._engine_errors("started"):
            if self._container is not None:
                self._container.get_wrapped_container().start()
                return
            try:
                self._container = self._new_container()
                self._container.start()
            except docker.errors.APIError:
                self._remove()  # another attempt needs a new container, with another port
                raise

    def _new_container(self) -> DockerContainer:
        container = (
            DockerContainer(self._image)
            .with_command(self.arguments)
            .with_volume_mapping(self._home, _HOME, "rw")
            .with_kwargs(
                labels={_OWNER_LABEL: _owner.name},
                user=f"{os.getuid()}:{os.getgid()}",
                entrypoint=self.entrypoint,
            )
        )
        # with_bind_ports accepts no address; docker-py, which receives this dict, does.
        container.ports[f"{self.port}/tcp"] = ("127.0.0.1", self.port)  # type: ignore[assignment]
        return container

    def _running(self) -> bool:
        return self._status() in {"running", "paused"}

    def _status(self) -> str:
        if self._container is None or self._container._container is None:
            return "absent"
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        status: str = wrapped.status
        return status

    def _log_tail(self) -> str:
        if self._container is None or self._container._container is None:
            return "(it was never started)"
        tail: bytes = self._container.get_wrapped_container().logs(tail=LOG_TAIL_LINES)
        return tail.decode(errors="replace")

    def stop(self) -> None:
        with self._engine_errors("stopped"):
            if self._status() == "paused":
                self.resume()  # a paused process does not receive SIGTERM
            if self._running() and self._container is not None:
                self._container.get_wrapped_container().stop(timeout=int(STOP_SECONDS))

    def kill(self) -> None:
        with self._engine_errors("killed"):
            if self._running() and self._container is not None:
                wrapped = self._container.get_wrapped_container()
                wrapped.kill()
                wrapped.wait(timeout=STOP_SECONDS)

    def pause(self) -> None:
        with self._engine_errors("paused"):
            self._required().pause()

    def resume(self) -> None:
        with self._engine_errors("resumed"):
            self._required().unpause()

    def close(self) -> None:
        _live.discard(self)
        with self._engine_errors("removed"):
            self._remove()
        super().close()

    def _required(self) -> Any:
        if self._container is None or not self._running():
            raise ServerError(f"{self} is not running")
        return self._container.get_wrapped_container()

    def _remove(self) -> None:
        if self._container is not None:
            self._container.stop()
            self._container = None

    @contextlib.contextmanager
    def _engine_errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (docker.errors.DockerException, OSError) as error:
            text = str(error)
            taken = "port is already allocated" in text or "address already in use" in text
            raise (PortTakenError if taken else ServerError)(f"{self} could not be {verb}: {text}") from error


class NatsContainer(_ContainerServer):
    """A nats-server with JetStream in a container; otherwise as NatsServer."""

    spec = NATS
    arguments: ClassVar[list[str]] = ["-c", f"{_HOME}/server.conf"]


class RedisContainer(_ContainerServer):
    """A redis-server in a container; otherwise as RedisServer."""

    spec = REDIS
    # Not the official image's entry point, a script that changes the data's owner and the user.
    entrypoint: ClassVar[list[str] | None] = ["redis-server"]
    arguments: ClassVar[list[str]] = [f"{_HOME}/server.conf"]
