"""A simulated SISU: it keeps the contract of the real one's APIs, and breaks it when told to.

In a test: `with SisuSimulator(seed=1, size=500) as sisu:`, where `SIS_API_URL` is `sisu.uri` and
`KORI_PUBLIC_API_URL` is `sisu.kori_public_uri`. As a program:

    python -m demo.sisu --port 0 --seed 1 --size 25000 --latency-ms 0 --trickle-per-second 0

It serves:

    GET  /<ori|kori|ilmo|osuva>/api<path>?since=&limit=   {"entities": [...], "hasMore": ..., "greatestOrdinal": ...}
    GET  /kori/api/cached/codebooks/<urn>                 {urn: item}                                         (public)
    GET  /kori/api/curriculum-periods?universityOrgId=    [...]                                               (public)
    POST /graphql  {"query": ..., "variables": ...}       {"data": {"grade_scales": [...]}}

It is controlled on the same port, without credentials (JSON both ways, 400 with a reason for an invalid request):

    POST /simulator/touch    {"service": "PERSON", "n": 10, "seed": 1}   change entities: {"ids": [...]}
    POST /simulator/put?service=PERSON[&id=...]  the entity itself         insert it: {"ordinal": ...}
    POST /simulator/fault    {"kind": "status", "service": "PERSON", "times": 2, "status": 503, "retry_after": 1}
                             the fields of demo.sisu.faults.Fault; its FaultKind lists the kinds
    POST /simulator/release  {}                                          end all faults
    POST /simulator/latency  {"seconds": 0.05}
    GET  /simulator/requests[?after=N]                the log, without its first N: [the fields of Request]
    GET  /simulator/expected/PERSON[?up_to=ORDINAL]   {id: {"documentState": ..., "sha256": ...}}
    GET  /simulator/counts                            {service: {"entities": ..., "greatestOrdinal": ...}}
"""

import threading
from collections.abc import Iterable, Sequence
from random import Random
from types import TracebackType
from typing import Self

from demo.sisu.backend import Credentials, Request, SisuBackend
from demo.sisu.faults import ArmedFault, Fault, FaultKind
from demo.sisu.http_server import SisuServer, Tls
from demo.sisu.version_log import Page, Version
from shared.model.services import Service

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
]

_ACCEPT_POLL_SECONDS = 0.02
_TRICKLE_SECONDS = 0.2


class SisuSimulator(SisuBackend):
    """A SISU on a loopback port, in threads of this process, while it is used as a context manager.

    Everything is decided by `seed`. `size` is the total number of entities, distributed over `services` (the built-in
    table by default). All ordinals are greater than `first_ordinal`, if it is given.
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
        """The port it listens on; known from the first start on."""
        self._seed = seed
        self._tls = tls
        self._server: SisuServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def uri(self) -> str:
        """Its address for clients."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def kori_public_uri(self) -> str:
        """The address of its public APIs."""
        return f"{self.uri}/kori/api"

    def start(self) -> None:
        """Start listening; after a stop, on the same port again."""
        self.stopping.clear()
        self._server = SisuServer(self, self.port, self._tls)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_ACCEPT_POLL_SECONDS,), name="sisu", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and close all connections. The entities and the log of requests stay."""
        if self._server is None or self._thread is None:
            return
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()
        self._server = self._thread = None

    def trickle(self, per_second: float) -> None:
        """Change `per_second` entities per second, of all exported services, until the simulator is stopped. Blocks."""
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
