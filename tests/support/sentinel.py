"""A real Sentinel beside a test: `redis-server --sentinel`, a local process whatever the other servers run in."""

import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis, RedisError

from demo.owned import launch
from demo.server_programs import REDIS, find_binary
from demo.servers import free_port
from tests.support.waiting import wait_until

MASTER = "importer"
_STOP_SECONDS = 10
_NEVER_MS = 60 * 60 * 1000


class Sentinel:
    """Watches over the Redis at a loopback port, under the name MASTER. Raises ServerError where there is no binary.

    It makes a replica the master when it is told to, and not by itself.
    """

    def __init__(self, master_port: int, password: str = "") -> None:
        self._binary, _ = find_binary(REDIS)
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="importer-sentinel-")
        login = f"sentinel auth-pass {MASTER} {password}\n" if password else ""
        self._config = Path(self._folder.name) / "sentinel.conf"
        self._config.write_text(
            f'port {self.port}\nbind 127.0.0.1\nprotected-mode no\ndir "{self._folder.name}"\n'
            f"sentinel monitor {MASTER} 127.0.0.1 {master_port} 1\n{login}"
            f"sentinel down-after-milliseconds {MASTER} {_NEVER_MS}\n"
            f"sentinel failover-timeout {MASTER} 4000\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self) -> Redis:
        """A client for the Sentinel itself."""
        return Redis(port=self.port, decode_responses=True, socket_timeout=5)

    def master_port(self) -> int:
        """Of the Redis that is the master now."""
        with self.ask() as client:
            return int(client.sentinel_get_master_addr_by_name(MASTER)[1])

    def knows_a_replica(self) -> bool:
        """Whether there is one that could take over."""
        with self.ask() as client:
            replicas = client.sentinel_slaves(MASTER)
        return any(one["master-link-status"] == "ok" and not one["is_sdown"] for one in replicas)

    def fail_over(self) -> None:
        """Have a replica made the master; returns at once."""
        with self.ask() as client:
            client.sentinel_failover(MASTER)

    def __enter__(self) -> Self:
        with (Path(self._folder.name) / "log").open("wb") as log:
            self._process = launch([str(self._binary), str(self._config), "--sentinel"], stdout=log, stderr=log)
        wait_until(self._answers, "the Sentinel answers")
        return self

    def _answers(self) -> bool:
        try:
            with self.ask() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)
        self._folder.cleanup()
