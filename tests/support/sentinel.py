"""A real Sentinel for a test: `redis-server --sentinel`, always a local process."""

import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis, RedisError

from demo.servers.child_process import launch
from demo.servers.processes import free_port
from demo.servers.specs import REDIS, find_binary
from tests.support.waiting import wait_until

MASTER = "importer"
_STOP_SECONDS = 10
_NEVER_MS = 60 * 60 * 1000


class Sentinel:
    """Monitors the Redis at a loopback port, under the name MASTER. Raises ServerError if there is no binary.

    It promotes a replica only when `fail_over` is called, not by itself.
    """

    def __init__(self, master_port: int, password: str = "", host: str = "127.0.0.1") -> None:
        self._binary, _ = find_binary(REDIS)
        self.port = free_port()
        self._host = host
        self._folder = tempfile.TemporaryDirectory(prefix="importer-sentinel-")
        login = f"sentinel auth-pass {MASTER} {password}\n" if password else ""
        self._config = Path(self._folder.name) / "sentinel.conf"
        self._config.write_text(
            f'port {self.port}\nbind {host}\nprotected-mode no\ndir "{self._folder.name}"\n'
            f"sentinel monitor {MASTER} 127.0.0.1 {master_port} 1\n{login}"
            f"sentinel down-after-milliseconds {MASTER} {_NEVER_MS}\n"
            f"sentinel failover-timeout {MASTER} 4000\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def client(self) -> Redis:
        """Return a client for the Sentinel itself."""
        return Redis(host=self._host, port=self.port, decode_responses=True, socket_timeout=5)

    def master_port(self) -> int:
        """Return the port of the Redis that is the master now."""
        with self.client() as client:
            return int(client.sentinel_get_master_addr_by_name(MASTER)[1])

    def knows_a_replica(self) -> bool:
        """Return whether there is a replica that can be promoted."""
        with self.client() as client:
            replicas = client.sentinel_slaves(MASTER)
        return any(each["master-link-status"] == "ok" and not each["is_sdown"] for each in replicas)

    def fail_over(self) -> None:
        """Start the promotion of a replica; return at once."""
        with self.client() as client:
            client.sentinel_failover(MASTER)

    def __enter__(self) -> Self:
        with (Path(self._folder.name) / "log").open("wb") as log:
            self._process = launch([str(self._binary), str(self._config), "--sentinel"], stdout=log, stderr=log)
        wait_until(self._responds, "the Sentinel responds")
        return self

    def _responds(self) -> bool:
        try:
            with self.client() as client:
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
