"""Real NATS and Redis servers, each a process of its own on a free loopback port, to be started, broken and mended.

The tests run the same servers in containers, behind the same interface (`Server`). A server never outlives its owner:
even where that is killed outright, the kernel ends the server (on Linux; elsewhere only an orderly exit does).
Not for production: data lies in a temporary directory.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping

from demo.owned import launch
from demo.server_base import LOG_TAIL_LINES, STOP_SECONDS, Server, free_port
from demo.server_programs import NATS, REDIS, ServerError, find_binary

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
        self._binary, self._version = find_binary(self.program)
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(config=config, files=files, tls=tls, port=port)

    @property
    def version(self) -> str:
        return f"{self.program.name} {self._version}"

    def _launch(self) -> None:
        if self._running():
            raise ServerError(f"{self} runs already")
        self._write_config("127.0.0.1", str(self._home))
        config = self._home / "server.conf"
        arguments = ["-c", str(config)] if self.program is NATS else [str(config)]
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
        self._process.send_signal(signal.SIGCONT)  # a stopped process takes no SIGTERM
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
        process = self._required()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._required().send_signal(signal.SIGCONT)

    def _required(self) -> subprocess.Popen[bytes]:
        if self._process is None or not self._running():
            raise ServerError(f"{self} does not run")
        return self._process


class NatsServer(_ProcessServer):
    """A nats-server with JetStream as a local process; `config` is text for its configuration file."""

    program = NATS


class RedisServer(_ProcessServer):
    """A redis-server as a local process, with an append-only file; of `config`'s directives the last of a kind wins."""

    program = REDIS
