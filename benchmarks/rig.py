"""The processes of a benchmark: NATS, Redis, pages, null mankelis, collectors and producers; and what they use.

All run on this machine. NATS and Redis run for the whole benchmark; every measurement starts with empty streams and an
empty Redis.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import nats
import nats.js.errors
import orjson
import redis
import requests
from nats.js.api import AckPolicy, ConsumerConfig

from benchmarks.mankeli import CONSUMER
from demo.servers.child_process import launch, terminate
from demo.servers.processes import NatsServer, RedisServer
from shared.model import keys
from shared.model.services import load_services

ROOT = Path(__file__).parent.parent
NEVER = "0 0 1 1 *"
_DEADLINE_SECONDS = 900.0
_STOP_SECONDS = 15.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CHANNELS = [service.channel for service in load_services()]


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def memory_mb(pid: int, field_name: str = "VmHWM") -> float:
    """Return the peak of a process's resident memory; with `VmRSS`, the present amount."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field_name):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class BenchmarkProcess:
    """A running `python -m <module>`, with its output so far."""

    module: str
    popen: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    peak_mb: float = 0.0
    _condition: threading.Condition = field(default_factory=threading.Condition)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.popen.pid

    def read(self) -> None:
        """Read its output until its end; run this in a thread."""
        assert self.popen.stdout
        for line in self.popen.stdout:
            with self._condition:
                self.lines.append(line)
                self.peak_mb = max(self.peak_mb, self._peak_mb())  # while it lives
                self._condition.notify_all()
        with self._condition:
            self._condition.notify_all()

    def _peak_mb(self) -> float:
        with contextlib.suppress(OSError):
            return memory_mb(self.pid)
        return 0.0

    def wait_for(self, text: str, deadline_seconds: float = _DEADLINE_SECONDS) -> str:
        """Wait for a line with this text, and return it. Raises RuntimeError at the deadline or if it ends."""
        deadline = time.monotonic() + deadline_seconds
        with self._condition:
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                if self.popen.poll() is not None and not self._condition.wait(0.2):
                    raise RuntimeError(f"{self.module} ended without {text!r}:\n{''.join(self.lines[-20:])}")
                notified = self._condition.wait(min(1.0, max(0.0, deadline - time.monotonic())))
                if not notified and time.monotonic() > deadline:
                    raise RuntimeError(f"{self.module}: no {text!r} within {deadline_seconds:g} s")

    def has(self, text: str) -> bool:
        """Return whether it has printed this text."""
        return any(text in line for line in self.lines)

    def wait_up_to(self, seconds: float, text: str) -> None:
        """Wait until it has printed this text, for at most `seconds`."""
        deadline = time.monotonic() + seconds
        with self._condition:
            while not self.has(text) and (remaining := deadline - time.monotonic()) > 0:
                self._condition.wait(remaining)

    def require_running(self) -> None:
        """Raise RuntimeError if the process has ended."""
        if self.popen.poll() is not None:
            raise RuntimeError(f"{self.module} ended:\n{''.join(self.lines[-20:])}")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return its log events with this name so far."""
        return [orjson.loads(line) for line in self.lines if f'"event": "{name}"' in line]


def parse_timestamp(event: Mapping[str, Any]) -> float:
    """Return when an event was logged, in seconds since the epoch, as `time.time`."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


class BenchmarkRig:
    """The servers and processes that a measurement needs. A context manager."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.nats = NatsServer()
        self.redis_server = RedisServer()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.nats)
        self._stack.enter_context(self.redis_server)
        self.redis = redis.Redis.from_url(self.redis_server.uri, decode_responses=True)
        with self.collectors(1):
            pass  # the collector creates the streams
        asyncio.run(self._add_consumer())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def _add_consumer(self) -> None:
        client = await nats.connect(self.nats.uri)
        config = ConsumerConfig(
            durable_name=CONSUMER, filter_subjects=CHANNELS, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=-1
        )
        await client.jetstream().add_consumer(keys.CHUNK_STREAM, config)
        await client.close()

    @contextlib.contextmanager
    def without_mankelis(self) -> Iterator[None]:
        """Leave the chunks to another consumer during the body: a work queue gives each subject to one."""
        asyncio.run(self._remove_consumers(CONSUMER))
        try:
            yield
        finally:
            asyncio.run(self._remove_consumers(keys.STAN_CONSUMER, keys.STAN_POST_UPDATE_CONSUMER))
            asyncio.run(self._add_consumer())

    async def _remove_consumers(self, *names: str) -> None:
        client = await nats.connect(self.nats.uri)
        for name in names:
            with contextlib.suppress(nats.js.errors.NotFoundError):
                await client.jetstream().delete_consumer(keys.CHUNK_STREAM, name)
        await client.close()

    async def _purge(self) -> None:
        client = await nats.connect(self.nats.uri)
        for stream in (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM):
            await client.jetstream().purge_stream(stream)
        await client.close()

    def clean(self) -> None:
        """Empty the streams and Redis, which both belong to the benchmark."""
        asyncio.run(self._purge())
        self.redis.flushall()

    @contextlib.contextmanager
    def run_module(self, module: str, *arguments: object, **variables: object) -> Iterator[BenchmarkProcess]:
        """Run `python -m <module>` during the body."""
        unset = {"SERVICES", "CRON", "FETCH_AMOUNT", "FETCH_AMOUNT_MAX", "MAX_CHUNK_SIZE", "LOG_LEVEL"}
        environment = {name: value for name, value in os.environ.items() if name not in unset} | {
            "NATS_URI": self.nats.uri,
            "REDIS_URI": self.redis_server.uri,
            "PORT": "0",
            "COLLECTOR_PORT": "0",
            "CRON": NEVER,
            "LOG_FORMAT": "json",
            "PYTHONUNBUFFERED": "1",
            **{name: str(value) for name, value in variables.items()},
        }
        popen = launch(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        process = BenchmarkProcess(module, popen)
        reader = threading.Thread(target=process.read, daemon=True)
        reader.start()
        try:
            yield process
        finally:
            terminate(popen, _STOP_SECONDS)
            reader.join()

    @contextlib.contextmanager
    def collectors(self, number: int) -> Iterator[list[BenchmarkProcess]]:
        """Run collectors during the body."""
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(self.run_module("ack_collector")) for _ in range(number)]
            for process in processes:
                process.wait_for('"started"')
            yield processes

    @contextlib.contextmanager
    def mankeli(self, *arguments: object) -> Iterator[BenchmarkProcess]:
        """Run a null mankeli during the body."""
        with self.run_module("benchmarks.mankeli", "--nats-uri", self.nats.uri, *arguments) as process:
            process.wait_for("ready")
            yield process

    @contextlib.contextmanager
    def pages(self, *arguments: object) -> Iterator["PagesProcess"]:
        """Serve ready-made pages during the body."""
        with self.run_module("benchmarks.pages", *arguments) as process:
            yield PagesProcess(process, process.wait_for("http://").strip())


@dataclass(frozen=True)
class PagesProcess:
    """The process that serves pages, and its address."""

    process: BenchmarkProcess
    uri: str

    @property
    def variables(self) -> dict[str, str]:
        """The producer's environment variables with its address."""
        return {"SIS_API_URL": self.uri, "KORI_PUBLIC_API_URL": f"{self.uri}/kori/api"}

    def take_requests(self) -> list[tuple[str, float]]:
        """Return the requests since the last call, each with its time."""
        taken: list[tuple[str, float]] = requests.get(f"{self.uri}/requests", timeout=30).json()
        return taken
