"""A real nginx in front of an HTTP server, with `proxy_pass` and nothing else that it does not do by itself."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.servers.base import free_port
from tests.support.waiting import wait_until

_SBIN = "/usr/sbin"


class Nginx:
    """A running nginx; `port` is where it listens."""

    def __init__(self, binary: str, folder: Path, server: str) -> None:
        self.port = free_port()
        self._folder, self._binary = folder, binary
        temporary = "\n".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
            "events { worker_connections 64; }\n"
            f"http {{ access_log off; {temporary}\n{server.replace('$PORT', str(self.port))}\n}}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [self._binary, "-p", str(self._folder), "-e", str(self._folder / "error.log"), "-c", "nginx.conf"]
        )
        wait_until(self._listens, "nginx listens")

    def stop(self) -> None:
        """Stop it, and wait for its end."""
        if self._process:
            self._process.terminate()
            self._process.wait(20)

    def _listens(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "error.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2):
            return True
        return False


@contextmanager
def nginx(folder: Path, server: str, files: Mapping[str, bytes] | None = None) -> Iterator[Nginx]:
    """Run an nginx with this `server` block, in which `$PORT` is its port. Without nginx the test is skipped."""
    binary = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], _SBIN]))
    if binary is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no nginx on this machine")
    folder.mkdir()
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    proxy = Nginx(str(binary), folder, server)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
