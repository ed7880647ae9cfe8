"""A real Redis with the real scripts, and the producer's real rules: the counterpart of the model."""

import asyncio
from collections.abc import Mapping
from typing import Any

import redis

from producer.batch.execution import Execution, ExecutionLimits, PublishChunks, PublishReason, Settled
from shared.model import keys
from shared.model.chunking import Slice
from shared.model.errors import ServiceFailedError
from shared.store.ledger import Ledger
from shared.store.redis_client import RedisClient, make_redis
from shared.store.scripts import Scripts
from tests.protocol.model import LedgerState, Poll
from tests.protocol.state import Action, Fault, Producer, Report, Step
from tests.support.ledger_fixture import settle_one

KEY = "LATEST_PERSON_ORDINAL"
NAMES = keys.ServiceKeys(KEY)
PANIC_SECONDS = 60.0


class RealSide:
    """A Redis with the real scripts, and a real `Execution` for each one of the model."""

    def __init__(self, uri: str) -> None:
        self.raw = redis.Redis.from_url(uri)
        self.raw.flushdb()  # on a server that the tests have started
        self._runner = asyncio.Runner()
        self._redis = make_redis(uri)
        self._scripts = Scripts(RedisClient(self._redis))
        self._ledger = Ledger(self._scripts, KEY)
        self._executions: list[Execution] = []
        self._published: list[set[str]] = []
        self._disk: dict[bytes, bytes] = {}
        self._clocks_seconds: list[float] = []
        """One clock for each execution: its producer may wait while the clocks of the others are stopped."""

    def close(self) -> None:
        """Close both connections."""
        self._runner.run(self._redis.aclose())
        self._runner.close()
        self.raw.close()

    def apply(self, step: Step) -> str | Poll | None:
        """Apply the same step here, and return the reply or the result of the poll."""
        match step.action, step.subject:
            case Action.BEGIN, Producer() as producer:
                execution = self._executions[int(producer.execution)]
                return self._run(self._ledger.begin(execution.hash, producer.since, execution.sizes))
            case Action.POLL, Producer() as producer:
                return self._poll(producer.execution)
            case Action.ADVANCE, Producer() as producer:
                name = self.hash_of(producer.execution)
                return self._run(self._ledger.advance(name, producer.since, producer.since + 1))
            case ((Action.SETTLE | Action.SPLIT | Action.FAIL), Report() as report):
                return self.apply_report(step.action, report)
            case Action.FAULT, Fault() as fault:
                self._inject(fault)
            case Action.SAVE, None:
                self._disk = {name: self.raw.dump(name) for name in self.raw.scan_iter()}
        return None

    def fetch(self, batch: Mapping[str, int]) -> None:
        """Create a new execution over this batch."""
        chunks, start = {}, 0
        for name, size in batch.items():
            chunks[name] = Slice(start, start + size)
            start += size
        self._executions.append(Execution(chunks, ExecutionLimits(PANIC_SECONDS, 1000, None)))
        self._published.append(set())
        self._clocks_seconds.append(0.0)

    def check_published(self, execution: str, chunk: str) -> None:
        """Check that the real producer publishes this chunk as well, or did so before."""
        assert self._poll(execution) is Poll.OUTSTANDING
        assert chunk in self._published[int(execution)]

    def panic(self, producer: Producer) -> None:
        """Let the panic time-out pass: the producer re-sends exactly what is outstanding."""
        number = int(producer.execution)
        if self._poll(producer.execution) is Poll.OUTSTANDING:
            self._clocks_seconds[number] += PANIC_SECONDS
            progress = self._run(self._ledger.progress())
            step = self._executions[number].next_step(progress, self._clocks_seconds[number])
            assert isinstance(step, PublishChunks)
            assert (step.chunks.keys(), step.reason) == (progress.outstanding.keys(), PublishReason.RESENT)

    def apply_report(self, action: Action, report: Report) -> str:
        """Apply a report to the ledger, and return the reply."""
        name = self.hash_of(report.execution)
        match action:
            case Action.SETTLE:
                return self._run(settle_one(self._ledger, name, report.chunk, report.amount))
            case Action.SPLIT:
                return self._run(self._ledger.split(name, report.chunk))
            case _:
                return self._run(self._ledger.fail(name, report.chunk, "rejected"))

    def ledger(self) -> LedgerState:
        """Return what Redis holds."""
        numbers = {execution.hash: str(number) for number, execution in enumerate(self._executions)} | {"": ""}
        text = {name: (self.raw.get(name) or b"").decode() for name in (NAMES.execution, keys.CURRENT_EXECUTION_HASH)}
        scheduled, updated, failed = (
            None if value is None else int(value)
            for value in self.raw.mget(NAMES.scheduled, NAMES.updated, NAMES.failed)
        )
        return LedgerState(
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
        """Return the real hash of an execution of the model, or another hash for one that never existed."""
        number = int(execution)
        return self._executions[number].hash if number < len(self._executions) else "f" * 24

    def _poll(self, execution: str) -> Poll:
        number = int(execution)
        progress = self._run(self._ledger.progress())
        try:
            step = self._executions[number].next_step(progress, self._clocks_seconds[number])
        except ServiceFailedError:
            return Poll.GIVE_UP
        if isinstance(step, PublishChunks):
            assert not step.chunks.keys() & self._published[number], "published twice without a reason"
            self._published[number] |= step.chunks.keys()
        return Poll.SETTLED if isinstance(step, Settled) else Poll.OUTSTANDING

    def _inject(self, fault: Fault) -> None:
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
                call = self._scripts.call("rewind_ordinal", [KEY, keys.REWINDS], [ordinal, "0", "{}", 10])
                assert self._run(call) == "REWOUND"

    def _run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)
