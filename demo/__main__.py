"""`python -m demo`: one whole import on this machine, with everything real but SISU and the mankelis.

It starts NATS and Redis, unless NATS_URI and REDIS_URI name others; a simulated SISU; mankelis that store into SQLite;
and the producer and collectors under supervisord, with the same supervisord.conf as in production. When a run is
complete, it compares the store with SISU: exit code 0 if they agree, 1 if they differ or the run took too long.

Kill any process meanwhile, the result must not change: supervisord restarts the producer and the collectors, and this
program its mankelis. `DEMO=stay` keeps it running, with a steady trickle of changes and a run every 15 seconds;
`DEMO_REJECT` then lists ids of entities for its mankelis to reject, separated by commas.
`DEMO_STAN=1` sends everything through a nats-streaming-server to mankelis of that era, if one is found.
`.demo/` has the store, the log and, in `.demo/env`, the addresses.
"""

import contextlib
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import redis
from rich.console import Console

from demo.mankeli.comparison import compare, fetch_expected
from demo.mankeli.store import MankeliStore
from demo.progress_view import Progress, choose_view, final_table
from demo.servers.child_process import launch, terminate
from demo.servers.processes import NatsServer, RedisServer, StanServer
from shared.model.errors import ImporterError
from shared.model.keys import ServiceKeys
from shared.model.services import Service, load_services

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".demo"
ENTITIES = 25_000
MANKELIS = 2
LIMIT_SECONDS = 600.0
_MANKELI_ACK_WAIT_SECONDS = 10
_EVERY_15_SECONDS = "*/15 * * * * *"
_TRICKLE_PER_SECOND = 5
_PAGE_LATENCY_MILLISECONDS = 100
"""With a SISU that responds at once there would be nothing to watch."""
_TICK_SECONDS = 0.1
_STOP_SECONDS = 60.0

console = Console(width=None if sys.stdout.isatty() else 110)


@contextlib.contextmanager
def demo_environment(*, stay: bool) -> Iterator[dict[str, str]]:
    """Run NATS, Redis and a simulated SISU during the body; yield the environment variables with their addresses."""
    with contextlib.ExitStack() as stack:
        # Empty otherwise, which is not set: a STAN_URI of this environment is none of the demo's.
        stan_uri = stack.enter_context(StanServer()).uri if os.environ.get("DEMO_STAN") else ""
        nats_uri = os.environ.get("NATS_URI") or stack.enter_context(NatsServer()).uri
        redis_uri = os.environ.get("REDIS_URI") or stack.enter_context(RedisServer()).uri
        options = {
            "--size": ENTITIES,
            "--latency-ms": _PAGE_LATENCY_MILLISECONDS,
            "--trickle-per-second": _TRICKLE_PER_SECOND if stay else 0,
        }
        simulator = launch(
            [sys.executable, "-m", "demo.sisu", *(str(word) for option in options.items() for word in option)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        stack.callback(terminate, simulator, _STOP_SECONDS)
        assert simulator.stdout
        sisu_uri = simulator.stdout.readline().removeprefix("listening on ").strip()
        if not sisu_uri:
            raise ImporterError("the simulated SISU did not start")
        yield {
            "STAN_URI": stan_uri,
            "NATS_URI": nats_uri,
            "REDIS_URI": redis_uri,
            "SIS_API_URL": sisu_uri,
            "KORI_PUBLIC_API_URL": f"{sisu_uri}/kori/api",
            "EXPLORER_TOKEN": os.environ.get("EXPLORER_TOKEN") or secrets.token_urlsafe(16),
        }


@contextlib.contextmanager
def mankelis(environment: dict[str, str], db: Path, rejected: Sequence[str] = ()) -> Iterator[None]:
    """Run mankelis, which reject entities with these ids, during the body; replace each one that dies."""
    module = "demo.stan_mankeli" if environment.get("STAN_URI") else "demo.mankeli"
    command = [sys.executable, "-m", module, "--db", str(db)]
    command += ["--ack-wait-seconds", str(_MANKELI_ACK_WAIT_SECONDS)]
    command += [word for entity in rejected for word in ("--fail-id", entity)]
    stopping = threading.Event()

    def start() -> "subprocess.Popen[bytes]":
        return launch(command, env=os.environ | environment, cwd=ROOT, stdout=subprocess.DEVNULL)

    processes = [start() for _ in range(MANKELIS)]

    def replace_dead() -> None:
        while not stopping.wait(_TICK_SECONDS):
            for number, process in enumerate(processes):
                if process.poll() is not None:
                    processes[number] = start()

    replacer = threading.Thread(target=replace_dead, daemon=True)
    replacer.start()
    try:
        yield
    finally:
        stopping.set()
        replacer.join()
        for process in processes:
            terminate(process, _STOP_SECONDS)


@contextlib.contextmanager
def supervisord(environment: dict[str, str]) -> Iterator["queue.SimpleQueue[dict[str, object] | None]"]:
    """Run supervisord during the body; yield the log events of its programs, with None after the last one."""
    process = launch(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(ROOT / "supervisord.conf")],
        at_owners_death=signal.SIGTERM,
        env=os.environ
        | {"ACK_COLLECTOR_PROCS": "2", "CRON": _EVERY_15_SECONDS, "LOG_FORMAT": "json"}
        | environment
        | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        cwd=HOME,  # where its socket and its pid file are
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    events: queue.SimpleQueue[dict[str, object] | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout
        with (HOME / "log").open("wb", buffering=0) as log:
            for line in process.stdout:
                log.write(line)
                with contextlib.suppress(orjson.JSONDecodeError):  # supervisord's own lines
                    events.put(orjson.loads(line))
        events.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield events
    finally:
        terminate(process, _STOP_SECONDS)
        reader.join()


def watch(
    progress: Progress, events: "queue.SimpleQueue[dict[str, object] | None]", redis_uri: str, *, stay: bool
) -> bool:
    """Show the progress until a run is complete, or continuously if `stay`. Return whether a run was complete."""
    deadline = time.monotonic() + LIMIT_SECONDS
    client = redis.Redis.from_url(redis_uri, decode_responses=True)
    with choose_view(console) as view:
        while stay or (not progress.complete_runs and time.monotonic() < deadline):
            with contextlib.suppress(queue.Empty):
                event = events.get(timeout=_TICK_SECONDS)
                if event is None:
                    console.print("supervisord has ended; see .demo/log")
                    break
                progress.record_event(event)
            with contextlib.suppress(redis.RedisError):
                _read_counters(client, progress)
            view.show(progress)
    return progress.complete_runs > 0


def _read_counters(client: "redis.Redis", progress: Progress) -> None:
    services = load_services()
    keys = [ServiceKeys(service.key) for service in services]
    names = [name for key in keys for name in (key.scheduled, key.updated, key.ordinal, key.failed)]
    values = [int(value or 0) for value in client.mget(names)]
    for number, service in enumerate(services):
        progress.services[service.name].set_counters(*values[4 * number : 4 * number + 3])


def compare_with_sisu(services: Sequence[Service], sisu_uri: str, db: Path) -> bool:
    """Compare the store with SISU, service by service, print the differences, and return whether there are none."""
    store = MankeliStore(db)
    differences = [compare(store, service, fetch_expected(sisu_uri, service)) for service in services]
    store.close()
    for difference in filter(None, differences):
        console.print(f"[red]{difference}[/]")
    return not any(differences)


def main() -> int:
    """Run the demo, and return the exit code."""
    stay = os.environ.get("DEMO") == "stay"
    services = load_services()
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    db = HOME / "store.sqlite"
    progress = Progress.for_services(service.name for service in services)
    with demo_environment(stay=stay) as environment:
        (HOME / "env").touch(mode=0o600)  # it has the token
        (HOME / "env").write_text("".join(f"export {name}={value}\n" for name, value in environment.items()))
        stan = f"  STAN {environment['STAN_URI']}" if environment["STAN_URI"] else ""
        console.print(
            f"NATS {environment['NATS_URI']}  Redis {environment['REDIS_URI']}  SISU {environment['SIS_API_URL']}{stan}"
        )
        if stay:
            port = os.environ.get("PORT") or "3002"
            console.print(f"Dashboard: http://127.0.0.1:{port}/  token {environment['EXPLORER_TOKEN']}")
            console.print("In another terminal: . .venv/bin/activate; . .demo/env; importer status --watch")
        rejected = [entity for entity in os.environ.get("DEMO_REJECT", "").split(",") if entity and stay]
        with (
            mankelis(environment, db, rejected),
            supervisord(environment) as events,
            contextlib.suppress(KeyboardInterrupt),
        ):
            complete = watch(progress, events, environment["REDIS_URI"], stay=stay)
        if stay:
            return 0
        progress.set_delivered(MankeliStore(db).delivered())
        console.print(final_table(progress))
        if not complete:
            console.print(f"[red]no run was complete within {LIMIT_SECONDS:.0f} s; see .demo/log[/]")
            return 1
        agrees = compare_with_sisu(services, environment["SIS_API_URL"], db)
    console.print("[green]the store holds what SISU serves[/]" if agrees else "[red]the store differs from SISU[/]")
    return 0 if agrees else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ImporterError as error:
        sys.exit(f"demo: {error}")
