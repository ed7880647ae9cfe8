"""`python -m demo`: one whole import on this machine, with everything real but SISU and the mankelis.

NATS and Redis as embedded servers, unless NATS_URI and REDIS_URI name others; a simulated SISU; mankelis that store
into SQLite; and the producer and collectors under supervisord, by the same supervisord.conf as in production. When a
run is complete, the store is compared with what SISU has: exit code 0 if they agree, 1 if not, or if it took too long.

Kill what you like meanwhile, the verdict must not change: supervisord brings back the producer and the collectors, and
this program its mankelis. `DEMO=stay` lets it run on, with changes trickling in and a run every 15 seconds;
`DEMO_REJECT` has ids of entities that its mankelis reject then, with commas.
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

from demo.compare import compare, fetch_expected
from demo.owned import launch
from demo.servers import NatsServer, RedisServer
from demo.store import Store
from demo.view import Board, choose_view, final_table
from shared.errors import ImporterError
from shared.keys import ServiceKeys
from shared.services import Service, load_services

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".demo"
ENTITIES = 25_000
MANKELIS = 2
LIMIT_SECONDS = 600.0
_MANKELI_ACK_WAIT_SECONDS = 10
_EVERY_15_SECONDS = "*/15 * * * * *"
_TRICKLE_PER_SECOND = 5
_PAGE_LATENCY_MILLISECONDS = 100
"""A SISU that answers at once would leave nothing to watch."""
_TICK_SECONDS = 0.1
_STOP_SECONDS = 60.0

console = Console(width=None if sys.stdout.isatty() else 110)


@contextlib.contextmanager
def world(*, stay: bool) -> Iterator[dict[str, str]]:
    """NATS, Redis and a simulated SISU; what the programs need to find them, as environment variables."""
    with contextlib.ExitStack() as stack:
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
        stack.callback(_end, simulator)
        assert simulator.stdout
        sisu_uri = simulator.stdout.readline().removeprefix("listening on ").strip()
        if not sisu_uri:
            raise ImporterError("the simulated SISU did not start")
        yield {
            "NATS_URI": nats_uri,
            "REDIS_URI": redis_uri,
            "SIS_API_URL": sisu_uri,
            "KORI_PUBLIC_API_URL": f"{sisu_uri}/kori/api",
            "EXPLORER_TOKEN": os.environ.get("EXPLORER_TOKEN") or secrets.token_urlsafe(16),
        }


@contextlib.contextmanager
def mankelis(environment: dict[str, str], db: Path, rejected: Sequence[str] = ()) -> Iterator[None]:
    """Some mankelis, which reject entities with these ids; one that dies is replaced."""
    command = [sys.executable, "-m", "demo.mankeli", "--db", str(db)]
    command += ["--ack-wait-seconds", str(_MANKELI_ACK_WAIT_SECONDS)]
    command += [word for entity in rejected for word in ("--fail-id", entity)]
    over = threading.Event()

    def start() -> "subprocess.Popen[bytes]":
        return launch(command, env=os.environ | environment, cwd=ROOT, stdout=subprocess.DEVNULL)

    processes = [start() for _ in range(MANKELIS)]

    def replace() -> None:
        while not over.wait(_TICK_SECONDS):
            for number, process in enumerate(processes):
                if process.poll() is not None:
                    processes[number] = start()

    keeper = threading.Thread(target=replace, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        for process in processes:
            _end(process)


@contextlib.contextmanager
def supervisord(environment: dict[str, str]) -> Iterator["queue.SimpleQueue[dict[str, object] | None]"]:
    """The real supervisord.conf; the log events of its programs, and None at the end of them."""
    process = launch(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(ROOT / "supervisord.conf")],
        at_owners_death=signal.SIGTERM,
        env=os.environ
        | {"ACK_COLLECTOR_PROCS": "2", "CRON": _EVERY_15_SECONDS, "LOG_FORMAT": "json"}
        | environment
        | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"},
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
        _end(process)
        reader.join()


def watch(board: Board, events: "queue.SimpleQueue[dict[str, object] | None]", redis_uri: str, *, stay: bool) -> bool:
    """Show how it goes until a run is complete, or for ever. Answers whether one was."""
    deadline = time.monotonic() + LIMIT_SECONDS
    client = redis.Redis.from_url(redis_uri, decode_responses=True)
    with choose_view(console) as view:
        while stay or (not board.complete_runs and time.monotonic() < deadline):
            with contextlib.suppress(queue.Empty):
                event = events.get(timeout=_TICK_SECONDS)
                if event is None:
                    console.print("supervisord has ended; .demo/log tells why")
                    break
                board.take(event)
            with contextlib.suppress(redis.RedisError):
                _read_counters(client, board)
            view.show(board)
    return board.complete_runs > 0


def _read_counters(client: "redis.Redis", board: Board) -> None:
    services = load_services()
    keys = [ServiceKeys(service.key) for service in services]
    names = [name for key in keys for name in (key.scheduled, key.updated, key.ordinal, key.failed)]
    values = [int(value or 0) for value in client.mget(names)]
    for number, service in enumerate(services):
        board.services[service.name].count(*values[4 * number : 4 * number + 3])


def verdict(services: Sequence[Service], sisu_uri: str, db: Path) -> bool:
    """Compare the store with SISU, service by service, and say what differs. Answers whether nothing does."""
    store = Store(db)
    differences = [compare(store, service, fetch_expected(sisu_uri, service)) for service in services]
    store.close()
    for difference in filter(None, differences):
        console.print(f"[red]{difference}[/]")
    return not any(differences)


def _end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    """Run the demo; answers the exit code."""
    stay = os.environ.get("DEMO") == "stay"
    services = load_services()
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    db = HOME / "store.sqlite"
    board = Board.of(service.name for service in services)
    with world(stay=stay) as environment:
        (HOME / "env").write_text("".join(f"export {name}={value}\n" for name, value in environment.items()))
        console.print(
            f"NATS {environment['NATS_URI']}  Redis {environment['REDIS_URI']}  SISU {environment['SIS_API_URL']}"
        )
        if stay:
            port = os.environ.get("PORT") or "3002"
            console.print(f"The page: http://127.0.0.1:{port}/, with the token {environment['EXPLORER_TOKEN']}")
            console.print("In another terminal: . .venv/bin/activate; . .demo/env; importer status --watch")
        rejected = [entity for entity in os.environ.get("DEMO_REJECT", "").split(",") if entity and stay]
        with (
            mankelis(environment, db, rejected),
            supervisord(environment) as events,
            contextlib.suppress(KeyboardInterrupt),
        ):
            complete = watch(board, events, environment["REDIS_URI"], stay=stay)
        if stay:
            return 0
        board.count_delivered(Store(db).delivered())
        console.print(final_table(board))
        if not complete:
            console.print(f"[red]no run was complete within {LIMIT_SECONDS:.0f} s; .demo/log tells why[/]")
            return 1
        agrees = verdict(services, environment["SIS_API_URL"], db)
    console.print("[green]the store holds what SISU serves[/]" if agrees else "[red]the store differs from SISU[/]")
    return 0 if agrees else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ImporterError as error:
        sys.exit(f"demo: {error}")
