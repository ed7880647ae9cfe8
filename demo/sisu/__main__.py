"""`python -m demo.sisu`: the simulated SISU as a program.

It prints `listening on http://127.0.0.1:PORT` when it is ready, and ends with its parent (on Linux), or at once on
SIGTERM or SIGINT. `--help` lists the options.
"""

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.sisu.backend import Credentials, parse_names
from demo.sisu.http_server import Tls
from demo.sisu.simulator import SisuSimulator
from shared.model.services import BUILT_IN_TABLE, load_services

_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until the parent ends, or until a signal."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the parent has ended already")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # there is no work to finish
    options = _parse(arguments)
    with _simulator(options) as sisu:
        print(f"listening on {sisu.uri}", flush=True)  # noqa: T201 - so its parent learns the port
        sisu.trickle(options.trickle_per_second)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.sisu", description="A simulated SISU on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--seed", type=int, default=1, help="decides all entities and changes")
    parser.add_argument("--size", type=int, default=25_000, help="number of entities, of all services together")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="delay of each response")
    parser.add_argument("--trickle-per-second", type=float, default=0.0, help="number of changes per second")
    parser.add_argument("--services-file", type=Path, default=BUILT_IN_TABLE, help="another table of services")
    parser.add_argument("--services", default="", help="serve only these services, separated by commas")
    parser.add_argument("--forbidden", default="", help="respond with 403 for these services, separated by commas")
    for name in ("user", "password", "api-key", "token"):
        parser.add_argument(f"--{name}", help="credentials to require")
    parser.add_argument("--cert", type=Path, help="a certificate, for TLS")
    parser.add_argument("--key", type=Path, help="its key")
    parser.add_argument("--client-ca", type=Path, help="require client certificates signed by this authority")
    options = parser.parse_args(arguments)
    if (options.cert is None) != (options.key is None):
        parser.error("--cert and --key require each other")
    return options


def _simulator(options: argparse.Namespace) -> SisuSimulator:
    table = load_services(options.services_file)
    known = [service.name for service in table]
    try:
        served = parse_names(options.services, known) or set(known)
        forbidden = parse_names(options.forbidden, known)
    except ValueError as error:
        sys.exit(str(error))
    return SisuSimulator(
        seed=options.seed,
        size=options.size,
        services=[service for service in table if service.name in served],
        port=options.port,
        latency_seconds=options.latency_ms / 1000,
        credentials=Credentials(options.user, options.password, options.api_key, options.token),
        forbidden=forbidden,
        tls=Tls(options.cert, options.key, options.client_ca) if options.cert else None,
    )


if __name__ == "__main__":
    main()
