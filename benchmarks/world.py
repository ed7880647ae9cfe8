"""The processes of a benchmark: NATS and Redis, ready-made pages, null mankelis, collectors, producers; and their cost.

All on this machine. NATS, Redis and what is attached to them live for the whole benchmark; every measurement begins
with empty streams and an empty Redis.
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
import orjson
import redis
import requests
from nats.js.api import AckPolicy, ConsumerConfig

from benchmarks.mankeli import CONSUMER
from demo.owned import launch
from demo.servers import NatsServer, RedisServer
from shared import keys
from shared.services import load_services

ROOT = Path(__file__).parent.parent
NEVER = "0 0 1 1 *"
_DEADLINE_SECONDS = 900.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CHANNELS = [service.channel for service in load_services()]


class _Nats(NatsServer):
    @property
    def pid(self) -> int:
        return self._required().pid


class _Redis(RedisServer):
    @property
    def pid(self) -> int:
        return self._required().pid


def processor_seconds(pid: int) -> float:
    """What a process has used of the processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def memory_mb(pid: int, what: str = "VmHWM") -> float:
    """The peak of a process's resident memory, or `VmRSS`: what it has now."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Program:
    """`python -m <module>`, running, with what it has printed so far."""

    module: str
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    peak_mb: float = 0.0
    _condition: threading.Condition = field(default_factory=threading.Condition)

    def read(self) -> None:
        """Take what it prints, until its end; to be run in a thread."""
        assert self.process.stdout
        for line in self.process.stdout:
            with self._condition:
                self.lines.append(line)
                self.peak_mb = max(self.peak_mb, self._peak_mb())  # while it lives
                self._condition.notify_all()
        with self._condition:
            self._condition.notify_all()

    def _peak_mb(self) -> float:
        with contextlib.suppress(OSError):
            return memory_mb(self.process.pid)
        return 0.0

    def wait_for(self, text: str, deadline_seconds: float = _DEADLINE_SECONDS) -> str:
        """The first line with this text, once it is there."""
        deadline = time.monotonic() + deadline_seconds
        with self._condition:
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                if self.process.poll() is not None and not self._condition.wait(0.2):
                    raise RuntimeError(f"{self.module} ended without {text!r}:\n{''.join(self.lines[-20:])}")
                heard = self._condition.wait(min(1.0, max(0.0, deadline - time.monotonic())))
                if not heard and time.monotonic() > deadline:
                    raise RuntimeError(f"{self.module}: no {text!r} within {deadline_seconds:g} s")

    def has(self, text: str) -> bool:
        """Whether it has printed this."""
        return any(text in line for line in self.lines)

    def wait_a_little(self, text: str, seconds: float) -> None:
        """Wait until it has printed this, or so long."""
        deadline = time.monotonic() + seconds
        with self._condition:
            while not self.has(text) and (left := deadline - time.monotonic()) > 0:
                self._condition.wait(left)

    def still_runs(self) -> None:
        """Raise RuntimeError if it does not."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.module} ended:\n{''.join(self.lines[-20:])}")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log events of a name so far."""
        return [orjson.loads(line) for line in self.lines if f'"event": "{name}"' in line]


def at(event: Mapping[str, Any]) -> float:
    """When an event was logged, as `time.time`."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


class World:
    """Everything that a measurement needs, and what it costs. A context manager."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.nats = _Nats()
        self.redis_server = _Redis()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.nats)
        self._stack.enter_context(self.redis_server)
        self.redis = redis.Redis.from_url(self.redis_server.uri, decode_responses=True)
        with self.collectors(1):
            pass  # it makes the streams
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

    async def _purge(self) -> None:
        client = await nats.connect(self.nats.uri)
        for stream in (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM):
            await client.jetstream().purge_stream(stream)
        await client.close()

    def clean(self) -> None:
        """Empty the streams and Redis, both of our own."""
        asyncio.run(self._purge())
        self.redis.flushall()

    @contextlib.contextmanager
    def program(self, module: str, *arguments: object, **variables: object) -> Iterator[Program]:
        """A program that runs during the body."""
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
        process = launch(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        program = Program(module, process)
        reader = threading.Thread(target=program.read, daemon=True)
        reader.start()
        try:
            yield program
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            reader.join()

    @contextlib.contextmanager
    def collectors(self, number: int) -> Iterator[list[Program]]:
        """Collectors at work."""
        with contextlib.ExitStack() as stack:
            programs = [stack.enter_context(self.program("ack_collector")) for _ in range(number)]
            for program in programs:
                program.wait_for('"started"')
            yield programs

    @contextlib.contextmanager
    def mankeli(self, *arguments: object) -> Iterator[Program]:
        """A null mankeli at work."""
        with self.program("benchmarks.mankeli", "--nats-uri", self.nats.uri, *arguments) as program:
            program.wait_for("ready")
            yield program

    @contextlib.contextmanager
    def pages(self, *arguments: object) -> Iterator["PagesProgram"]:
        """Ready-made pages being served."""
        with self.program("benchmarks.pages", *arguments) as program:
            yield PagesProgram(program, program.wait_for("http://").strip())


@dataclass(frozen=True)
class PagesProgram:
    """The process that serves pages, and where."""

    program: Program
    uri: str

    @property
    def variables(self) -> dict[str, str]:
        """What the producer needs to find it."""
        return {"SIS_API_URL": self.uri, "KORI_PUBLIC_API_URL": f"{self.uri}/kori/api"}

    def asked(self) -> list[tuple[str, float]]:
        """What it was asked since this was asked last, and when."""
        answer: list[tuple[str, float]] = requests.get(f"{self.uri}/asked", timeout=30).json()
        return answer
