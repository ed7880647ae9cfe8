"""A SISU that is made up: it keeps the contract of the real one's APIs, and breaks it when it is told to.

In a test: `with SisuSimulator(seed=1, size=500) as sisu:`, and `SIS_API_URL` is `sisu.uri`, `KORI_PUBLIC_API_URL`
`sisu.kori_public_uri`. As a program:

    python -m demo.sisu --port 0 --seed 1 --size 25000 --latency-ms 0 --trickle-per-second 0

It prints `listening on http://127.0.0.1:PORT` when it is ready, and ends with its parent (on Linux), or at once on
SIGTERM or SIGINT. `--help` tells the other options.

What it serves:

    GET  /<ori|kori|ilmo|osuva>/api<path>?since=&limit=   {"entities": [...], "hasMore": ..., "greatestOrdinal": ...}
    GET  /kori/api/cached/codebooks/<urn>                 {urn: item}                                         (public)
    GET  /kori/api/curriculum-periods?universityOrgId=    [...]                                               (public)
    POST /graphql  {"query": ..., "variables": ...}       {"data": {"grade_scales": [...]}}

What it is told on the same port, without credentials (JSON both ways, 400 with a reason for what makes no sense):

    POST /simulator/touch    {"service": "PERSON", "n": 10, "seed": 1}   change entities: {"ids": [...]}
    POST /simulator/put?service=PERSON[&id=...]  the entity itself         insert it: {"ordinal": ...}
    POST /simulator/fault    {"kind": "status", "service": "PERSON", "times": 2, "status": 503, "retry_after": 1}
                             the fields of demo.sisu_faults.Fault; its FaultKind lists the kinds
    POST /simulator/release  {}                                          end all faults
    POST /simulator/latency  {"seconds": 0.05}
    GET  /simulator/requests[?after=N]                the log, without its first N: [the fields of Request]
    GET  /simulator/expected/PERSON[?up_to=ORDINAL]   {id: {"documentState": ..., "sha256": ...}}
    GET  /simulator/counts                            {service: {"entities": ..., "greatestOrdinal": ...}}
"""

import argparse
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from demo.sisu_backend import Credentials, Request, SisuBackend, parse_names
from demo.sisu_faults import ArmedFault, Fault, FaultKind
from demo.sisu_http import SisuServer, Tls
from demo.sisu_store import Page, Version
from shared.services import BUILT_IN_TABLE, Service, load_services

__all__ = [
    "ArmedFault",
    "Credentials",
    "Fault",
    "FaultKind",
    "Page",
    "Request",
    "SisuSimulator",
    "Tls",
    "Version",
    "main",
]

_ACCEPT_POLL_SECONDS = 0.02
_TRICKLE_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1


class SisuSimulator(SisuBackend):
    """A SISU on a loopback port, in threads of this process, while it is used as a context manager.

    All of it is decided by `seed`. `size` is the number of all entities together, spread over `services` (the built-in
    table, or any other). Ordinals begin behind `first_ordinal`, if it is given.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        size: int = 25_000,
        services: Sequence[Service] | None = None,
        port: int = 0,
        latency_seconds: float = 0.0,
        credentials: Credentials | None = None,
        forbidden: Iterable[str] = (),
        tls: Tls | None = None,
        first_ordinal: int | None = None,
    ) -> None:
        super().__init__(seed, size, services, first_ordinal)
        self.latency_seconds = latency_seconds
        self.credentials = credentials or Credentials()
        self.forbidden = set(forbidden)
        self.port = port
        """Where it listens; known from the first start on."""
        self._seed = seed
        self._tls = tls
        self._server: SisuServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def uri(self) -> str:
        """Where clients find it."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def kori_public_uri(self) -> str:
        """Where clients find what is public."""
        return f"{self.uri}/kori/api"

    def start(self) -> None:
        """Listen; again on the same port after a stop."""
        self.stopping.clear()
        self._server = SisuServer(self, self.port, self._tls)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_ACCEPT_POLL_SECONDS,), name="sisu", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Listen no more, and end all connections. What it knows stays."""
        if self._server is None or self._thread is None:
            return
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()
        self._server = self._thread = None

    def trickle(self, per_second: float) -> None:
        """Go on changing so many entities a second, of any service that is exported, until it is stopped. Blocks."""
        rng = Random(f"{self._seed}/trickle")
        due = 0.0
        while not self.stopping.wait(_TRICKLE_SECONDS):
            due += per_second * _TRICKLE_SECONDS
            sizes = {name: self.counts()[name][0] for name, service in self.services.items() if service.api.is_export}
            for name in rng.choices(list(sizes), list(sizes.values()), k=int(due)):
                self.touch(name, 1, rng.getrandbits(32))
            due -= int(due)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until the parent ends, or a signal comes."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the parent has ended already")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # there is nothing to be finished
    options = _options(arguments)
    with _simulator(options) as sisu:
        print(f"listening on {sisu.uri}", flush=True)  # noqa: T201 - that is how its parent learns the port
        sisu.trickle(options.trickle_per_second)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.sisu", description="A simulated SISU on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=25_000, help="how many entities, all services together")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long each answer is held back")
    parser.add_argument("--trickle-per-second", type=float, default=0.0, help="how many changes go on arriving")
    parser.add_argument("--services-file", type=Path, default=BUILT_IN_TABLE, help="another table of services")
    parser.add_argument("--services", default="", help="only these, with commas")
    parser.add_argument("--forbidden", default="", help="services that are answered with 403, with commas")
    for name in ("user", "password", "api-key", "token"):
        parser.add_argument(f"--{name}", help="credentials to demand")
    parser.add_argument("--cert", type=Path, help="a certificate, for TLS")
    parser.add_argument("--key", type=Path, help="its key")
    parser.add_argument("--client-ca", type=Path, help="demand certificates of clients, signed by this authority")
    options = parser.parse_args(arguments)
    if (options.cert is None) != (options.key is None):
        parser.error("--cert and --key go together")
    return options


def _simulator(options: argparse.Namespace) -> SisuSimulator:
    table = load_services(options.services_file)
    known = [service.name for service in table]
    try:
        chosen = parse_names(options.services, known) or set(known)
        forbidden = parse_names(options.forbidden, known)
    except ValueError as error:
        sys.exit(str(error))
    return SisuSimulator(
        seed=options.seed,
        size=options.size,
        services=[service for service in table if service.name in chosen],
        port=options.port,
        latency_seconds=options.latency_ms / 1000,
        credentials=Credentials(options.user, options.password, options.api_key, options.token),
        forbidden=forbidden,
        tls=Tls(options.cert, options.key, options.client_ca) if options.cert else None,
    )


if __name__ == "__main__":
    main()
