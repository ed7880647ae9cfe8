"""Real NATS and Redis servers, each a process of its own on a free loopback port, to start, break and repair.

The tests run the same servers in containers, behind the same interface (`Server`). A server never outlives its owner:
even if the owner is killed outright, the kernel ends the server (on Linux; elsewhere only an orderly exit does).
Not for production: the data is in a temporary directory.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping

from demo.servers.base import LOG_TAIL_LINES, STOP_SECONDS, Server, free_port
from demo.servers.child_process import launch
from demo.servers.specs import NATS, REDIS, ServerError, find_binary

__all__ = ["NatsServer", "RedisServer", "Server", "ServerError", "free_port"]


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
        arguments = ["-c", str(config)] if self.spec is NATS else [str(config)]
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
