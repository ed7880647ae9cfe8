"""Real NATS and Redis servers, each a process of its own on a free loopback port, to start, break and repair.

The tests run the same servers in containers, behind the same interface (`Server`). A server never outlives its owner:
even if the owner is killed outright, the kernel ends the server (on Linux; elsewhere only an orderly exit does).
Not for production: the data is in a temporary directory.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from demo.servers.base import LOG_TAIL_LINES, READY_SECONDS, STOP_SECONDS, Server, free_port
from demo.servers.child_process import launch
from demo.servers.specs import NATS, REDIS, STAN, ServerError, find_binary

__all__ = ["NatsServer", "RedisServer", "Server", "ServerError", "StanServer", "free_port"]

STAN_READY = "Streaming Server is ready"
_POLL_SECONDS = 0.02


class _ProcessServer(Server):
    def __init__(
        self,
        *,
        config: str = "",
        files: Mapping[str, str | bytes] | None = None,
        tls: bool = False,
        port: int | None = None,
    ) -> None:
        self._binary, self._version = find_binary(self.spec)
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(config=config, files=files, tls=tls, port=port)

    @property
    def version(self) -> str:
        return f"{self.spec.name} {self._version}"

    @property
    def pid(self) -> int:
        """The id of the running process. Raises ServerError without one."""
        return self._running_process().pid

    def _launch(self) -> None:
        if self._running():
            raise ServerError(f"{self} is running already")
        self._write_config("127.0.0.1", str(self._home))
        config = self._home / "server.conf"
        arguments = [str(config)] if self.spec.name == REDIS.name else ["-c", str(config)]
        with (self._home / "log").open("wb") as log:
            self._process = launch([str(self._binary), *arguments], stdout=log, stderr=log, cwd=self._home)

    def _running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _log_tail(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            lines = (self._home / "log").read_text(encoding="utf-8", errors="replace").splitlines()
            return "\n".join(lines[-LOG_TAIL_LINES:])
        return "(it was never started)"

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)  # a paused process does not handle SIGTERM
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            tail = self._log_tail()
            self.kill()
            raise ServerError(f"{self} did not stop within {STOP_SECONDS:g} s:\n{tail}") from None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        process = self._running_process()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._running_process().send_signal(signal.SIGCONT)

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or not self._running():
            raise ServerError(f"{self} is not running")
        return self._process


class NatsServer(_ProcessServer):
    """A nats-server with JetStream as a local process; `config` is text for its configuration file."""

    spec = NATS


class RedisServer(_ProcessServer):
    """A redis-server as a local process, with an append-only file; the last directive of a kind in `config` wins."""

    spec = REDIS


class StanServer(_ProcessServer):
    """A nats-streaming-server as a local process, with a file store and a NATS of its own.

    `config` is text for the part of NATS in its configuration file, `streaming` for that of STAN: with
    ``ns: "nats://…"`` it has no NATS of its own, and `attached_to` is the one that it uses.
    """

    spec = STAN

    def __init__(self, *, streaming: str = "", attached_to: Server | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._streaming = streaming
        self._attached_to = attached_to

    @property
    def uri(self) -> str:
        """The address for clients: that of the NATS which it uses."""
        return self._attached_to.uri if self._attached_to else super().uri

    def ready(self, deadline_seconds: float = READY_SECONDS) -> None:
        """Wait until STAN itself reports that it is ready: its NATS listens before the store is recovered."""
        deadline = time.monotonic() + deadline_seconds
        while STAN_READY not in (self._home / "log").read_text(encoding="utf-8", errors="replace"):
            if not self._running():
                raise ServerError(f"{self} ended:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self} is not ready after {deadline_seconds:g} s:\n{self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def _write_config(self, host: str, home_as_seen: str) -> None:
        super()._write_config(host, home_as_seen)
        path = self._home / "server.conf"
        path.write_text(path.read_text(encoding="utf-8").replace("$STREAMING", self._streaming), encoding="utf-8")
