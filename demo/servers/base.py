"""The common interface of the servers that the demo and the tests own, whatever they run in: see `Server`."""

import contextlib
import random
import shutil
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from demo.servers.specs import ServerError, ServerSpec

READY_SECONDS = 20.0
STOP_SECONDS = 10.0
LOG_TAIL_LINES = 15
_POLL_SECONDS = 0.02
_PORT_ATTEMPTS = 20
_PORT_TAKEN = ("address already in use", "port is already allocated", "could not create server tcp listening socket")


def free_port() -> int:
    """Return a loopback port that is free now.

    It is not one that the kernel would choose: those serve outgoing connections too, and a client that retries while
    the server is down can be given the server's port, and connect to itself.
    """
    first_ephemeral = 32768
    with contextlib.suppress(OSError, ValueError):
        first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    for _ in range(_PORT_ATTEMPTS):
        with contextlib.suppress(OSError):
            return _bind(random.randrange(10_000, max(first_ephemeral, 20_000)))
    return _bind(0)


def _bind(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do, so that old connections do not matter
        probe.bind(("127.0.0.1", port))
        bound_port: int = probe.getsockname()[1]
        return bound_port


class PortTakenError(ServerError):
    """Another process has the port."""


class Server(ABC):
    """A server that a test or the demo owns, whatever it runs in. Every method returns only when it has taken effect.

    `port` and `uri` are known before the start, for clients that must find no server there. As a context manager it is
    started on entry and closed on exit. `config` is appended to the configuration; in it `$PORT` stands for the port
    and `$FILES` for the folder, as the server sees it, that `files` (certificates, ACLs) are written to.
    """

    spec: ClassVar[ServerSpec]

    def __init__(
        self,
        *,
        config: str = "",
        files: Mapping[str, str | bytes] | None = None,
        tls: bool = False,
        port: int | None = None,
    ) -> None:
        self.config = config
        self.tls = tls
        self.port = port or free_port()
        self._may_change_port = port is None
        self._home = Path(tempfile.mkdtemp(prefix=f"importer-{self.spec.name}-"))
        self.data.mkdir()
        (self._home / "files").mkdir()
        for name, content in (files or {}).items():
            (self._home / "files" / name).write_bytes(content.encode() if isinstance(content, str) else content)

    @property
    def uri(self) -> str:
        """The address, without credentials: nats://127.0.0.1:port or redis://127.0.0.1:port/0; with TLS, tls://, rediss://."""
        return self.spec.uri(self.port, tls=self.tls)

    @property
    def data(self) -> Path:
        """The data directory, on this machine; touch it only while the server is down."""
        return self._home / "data"

    def start(self) -> None:
        """Start it with the data in `data`, and wait until it is ready. Raises ServerError with the end of its log."""
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            try:
                self._claim_port()
                self._launch()
                self.ready()
            except PortTakenError:
                if attempt == _PORT_ATTEMPTS or not self._may_change_port:
                    raise
                self.port = free_port()
            except ServerError:
                self.kill()
                raise
            else:
                self._may_change_port = False  # clients know it from now on
                return

    def _claim_port(self) -> None:
        # Otherwise the server that has the port could report that it is ready, before ours has ended.
        try:
            _bind(self.port)
        except OSError as error:
            raise PortTakenError(f"{self} cannot start: {error.strerror}") from error

    def ready(self, deadline_seconds: float = READY_SECONDS) -> None:
        """Wait until the server itself reports that it is ready. Raises ServerError at the deadline or if it ended."""
        deadline = time.monotonic() + deadline_seconds
        while True:
            is_ready = False
            with contextlib.suppress(OSError):
                is_ready = self.spec.probe(self.port, self.tls)
            if not self._running():
                tail = self._log_tail()
                taken = any(message in tail.lower() for message in _PORT_TAKEN)
                raise (PortTakenError if taken else ServerError)(f"{self} ended:\n{tail}")
            if is_ready:
                return
            if time.monotonic() > deadline:
                raise ServerError(f"{self} is not ready after {deadline_seconds:g} s:\n{self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def restart(self) -> None:
        """Stop it in order and start it again, on the same port, with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Kill it and remove its data."""
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return f"{self.version} at {self.uri}"

    def _write_config(self, host: str, home_as_seen: str) -> None:
        text = self.spec.config(self.port, host, f"{home_as_seen}/data", self.tls) + self.config + "\n"
        text = text.replace("$PORT", str(self.port)).replace("$FILES", f"{home_as_seen}/files")
        (self._home / "server.conf").write_text(text, encoding="utf-8")

    @property
    @abstractmethod
    def version(self) -> str:
        """The name and version of the server, for people."""

    @abstractmethod
    def _launch(self) -> None:
        """Start it, without waiting until it is ready; it is not running yet."""

    @abstractmethod
    def _running(self) -> bool: ...

    @abstractmethod
    def _log_tail(self) -> str: ...

    @abstractmethod
    def stop(self) -> None:
        """Send SIGTERM, and wait until it has stopped; it may be paused or stopped already. The data stays."""

    @abstractmethod
    def kill(self) -> None:
        """Send SIGKILL, and wait; it may be paused or dead already. The data stays as it is at that moment."""

    @abstractmethod
    def pause(self) -> None:
        """Let it accept connections without ever replying (SIGSTOP, or the like)."""

    @abstractmethod
    def resume(self) -> None:
        """End a pause."""
