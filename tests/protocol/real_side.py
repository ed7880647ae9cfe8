"""A real Redis with the real scripts, and the producer's real rules, which do the same as a model's world."""

import asyncio
from collections.abc import Mapping
from typing import Any

import redis

from producer.chunking import Slice
from producer.execution import Execution, Patience, Publish, Settled, Why
from shared import keys
from shared.errors import ServiceFailedError
from shared.ledger import Ledger, Verdict
from shared.redis_client import Scripts, make_redis
from tests.protocol.model import Books, Look
from tests.protocol.world import Act, Fault, Producer, Report, Step

KEY = "LATEST_PERSON_ORDINAL"
NAMES = keys.ServiceKeys(KEY)
PANIC_SECONDS = 60.0


class RealSide:
    """A Redis with the real scripts, and a real `Execution` for each of the model's."""

    def __init__(self, uri: str) -> None:
        self.raw = redis.Redis.from_url(uri)
        self.raw.flushdb()  # on a server that the tests have started
        self._runner = asyncio.Runner()
        self._redis = make_redis(uri)
        self._scripts = Scripts(self._redis)
        self._ledger = Ledger(self._scripts, KEY)
        self._executions: list[Execution] = []
        self._published: list[set[str]] = []
        self._disk: dict[bytes, bytes] = {}
        self._clocks_seconds: list[float] = []
        """One for each execution: its producer may wait while another's time stands still."""

    def close(self) -> None:
        """End both connections."""
        self._runner.run(self._redis.aclose())
        self._runner.close()
        self.raw.close()

    def do(self, step: Step) -> Verdict | Look | None:
        """Do the same here, and answer what came of it."""
        match step.act, step.subject:
            case Act.BEGIN, Producer() as producer:
                execution = self._executions[int(producer.execution)]
                return self._run(self._ledger.begin(execution.hash, producer.since, execution.sizes))
            case Act.LOOK, Producer() as producer:
                return self._look(producer.execution)
            case Act.ADVANCE, Producer() as producer:
                name = self.hash_of(producer.execution)
                return self._run(self._ledger.advance(name, producer.since, producer.since + 1))
            case ((Act.SETTLE | Act.SPLIT | Act.FAIL), Report() as report):
                return self.report(step.act, report)
            case Act.FAULT, Fault() as fault:
                self._suffer(fault)
            case Act.SAVE, None:
                self._disk = {name: self.raw.dump(name) for name in self.raw.scan_iter()}
        return None

    def fetch(self, batch: Mapping[str, int]) -> None:
        """A new execution over this batch."""
        chunks, start = {}, 0
        for name, size in batch.items():
            chunks[name] = Slice(start, start + size)
            start += size
        self._executions.append(Execution(chunks, Patience(PANIC_SECONDS, 1000, None)))
        self._published.append(set())
        self._clocks_seconds.append(0.0)

    def check_published(self, execution: str, chunk: str) -> None:
        """The real producer, too, publishes this chunk, or did so before."""
        assert self._look(execution) is Look.OUTSTANDING
        assert chunk in self._published[int(execution)]

    def panic(self, producer: Producer) -> None:
        """Nothing comes for long, as if the broker had lost all: the producer sends again just what is outstanding."""
        number = int(producer.execution)
        if self._look(producer.execution) is Look.OUTSTANDING:
            self._clocks_seconds[number] += PANIC_SECONDS
            progress = self._run(self._ledger.progress())
            again = self._executions[number].next_step(progress, self._clocks_seconds[number])
            assert isinstance(again, Publish)
            assert (again.chunks.keys(), again.why) == (progress.outstanding.keys(), Why.RESENT)

    def report(self, act: Act, report: Report) -> Verdict:
        """Bring a report to the ledger."""
        name = self.hash_of(report.execution)
        match act:
            case Act.SETTLE:
                return self._run(self._ledger.settle(name, report.chunk, report.amount))
            case Act.SPLIT:
                return self._run(self._ledger.split(name, report.chunk))
            case _:
                return self._run(self._ledger.fail(name, report.chunk, "rejected"))

    def books(self) -> Books:
        """What Redis holds."""
        numbers = {execution.hash: str(number) for number, execution in enumerate(self._executions)} | {"": ""}
        text = {name: (self.raw.get(name) or b"").decode() for name in (NAMES.execution, keys.CURRENT_EXECUTION_HASH)}
        scheduled, updated, failed = (
            None if value is None else int(value)
            for value in self.raw.mget(NAMES.scheduled, NAMES.updated, NAMES.failed)
        )
        return Books(
            ordinal=int(self.raw.get(KEY) or 0),
            execution=numbers[text[NAMES.execution]],
            scheduled=scheduled,
            updated=updated,
            failed=failed,
            chunks=frozenset((name.decode(), int(size)) for name, size in self.raw.hgetall(NAMES.chunks).items()),
            errors=frozenset(name.decode() for name in self.raw.hkeys(NAMES.errors)),
            current=numbers[text[keys.CURRENT_EXECUTION_HASH]],
        )

    def hash_of(self, execution: str) -> str:
        """The real hash of an execution of the model; one that never was has another."""
        number = int(execution)
        return self._executions[number].hash if number < len(self._executions) else "f" * 24

    def _look(self, execution: str) -> Look:
        number = int(execution)
        progress = self._run(self._ledger.progress())
        try:
            answer = self._executions[number].next_step(progress, self._clocks_seconds[number])
        except ServiceFailedError:
            return Look.GIVE_UP
        if isinstance(answer, Publish):
            assert not answer.chunks.keys() & self._published[number], "published twice without a reason"
            self._published[number] |= answer.chunks.keys()
        return Look.SETTLED if isinstance(answer, Settled) else Look.OUTSTANDING

    def _suffer(self, fault: Fault) -> None:
        match fault:
            case Fault.ROLLBACK:
                self.raw.flushdb()
                for name, value in self._disk.items():
                    self.raw.restore(name, 0, value)
            case Fault.LEDGER:
                self.raw.delete(NAMES.chunks)
            case Fault.COUNTER:
                self.raw.set(NAMES.updated, self.raw.get(NAMES.scheduled) or b"")
            case Fault.REWIND:
                ordinal = (self.raw.get(KEY) or b"0").decode()
                rewinding = self._scripts.call("rewind_ordinal", [KEY, keys.REWINDS], [ordinal, "0", "{}", 10])
                assert self._run(rewinding) == "REWOUND"

    def _run(self, what: Any) -> Any:
        return self._runner.run(what)
