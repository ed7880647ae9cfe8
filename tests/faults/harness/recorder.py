"""Two passive observers, each in a thread of its own: of the messages in NATS, and of the values in Redis.

They connect to the servers directly, not through a proxy, and reconnect when a server is back. The recorder misses
messages until it has reconnected, but the mankelis' store has what they stored, and the recorder then reads the dead
letters from their stream.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import nats
import nats.errors
import nats.js.errors
import orjson
import redis
from nats.aio.client import Client
from nats.aio.msg import Msg
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.model.services import Service
from tests.faults.harness.history import DeadLetter, History, Message, Report, Sample

_SAMPLE_SECONDS = 0.003
_FEEDBACK_SUBJECT = "SCHEDULER_STATUS_CHANNEL"
_DEAD_LETTERS = "IMPORTER_DEAD_LETTERS"
_READY_SECONDS = 10.0
_RETRY_SECONDS = 0.05

# All services at one moment: for each, five values and its ledger.
_SAMPLE = """
local samples = {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local values = redis.call('MGET', key, key .. '_EXECUTION', key .. '_SCHEDULED', key .. '_UPDATED', key .. '_FAILED')
  values[6] = redis.call('HGETALL', key .. '_CHUNKS')
  for j = 1, 5 do
    values[j] = values[j] or ''
  end
  samples[i] = values
end
return samples
"""


class Recorder:
    """Records every chunk, report and dead letter. It uses core NATS, so it consumes no message of a stream."""

    def __init__(self, uri: str, services: Sequence[Service], history: History) -> None:
        self._uri = uri
        self._services = {service.channel: service.name for service in services}
        self._history = history
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recorder", daemon=True)
        self._client = Client()

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._connect())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            self.run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_READY_SECONDS)

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine in the recorder's loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_READY_SECONDS)

    def publish(self, subject: str, data: bytes) -> None:
        """Publish a message, confirmed by JetStream."""
        self.run(self._client.jetstream().publish(subject, data))

    def send(self, subject: str, data: bytes) -> None:
        """Publish a message without a confirmation, and ignore errors of the connection."""
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            self.run(self._client.publish(subject, data))

    @property
    def client(self) -> Client:
        """Return its connection, which must be used inside `run`."""
        return self._client

    async def _connect(self) -> None:
        await self._client.connect(
            self._uri,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.02,
            ping_interval=1,
            error_cb=_ignore,
            reconnected_cb=self._catch_up,
        )
        for channel in self._services:
            await self._client.subscribe(channel, cb=self._chunk)
        await self._client.subscribe(_FEEDBACK_SUBJECT, cb=self._report)
        await self._client.subscribe("DEAD_LETTER.>", cb=self._dead_letter)
        await self._client.flush()

    async def _chunk(self, message: Msg) -> None:
        headers = message.headers or {}
        try:
            fields = orjson.loads(message.data)
            entities = tuple(str(entity.get("id")) for entity in fields["entities"])
            execution, chunk = str(fields["executionHash"]), str(fields["chunkId"])
        except (ValueError, TypeError, KeyError, AttributeError):
            execution, chunk, entities = "", "", ()
        # As on the wire: NATS/1.0, a line for each header, an empty line.
        head = len(b"NATS/1.0\r\n\r\n") + sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
        self._history.messages.append(
            Message(
                time.time_ns(),
                self._services[message.subject],
                headers.get("Nats-Msg-Id", ""),
                len(message.data) + (head if headers else 0),
                execution,
                chunk,
                entities,
            )
        )

    async def _report(self, message: Msg) -> None:
        self._history.reports.append(Report(time.time_ns(), message.data))

    async def _catch_up(self) -> None:
        self._catching_up = asyncio.create_task(self._read_missed())

    async def _read_missed(self) -> None:
        while not self._client.is_closed:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                self._history.dead_letters += await read_dead_letters(self._client)
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def _dead_letter(self, message: Msg) -> None:
        self._history.dead_letters.append(read_dead_letter(message.data, time.time_ns()))


async def read_dead_letters(client: Client) -> list[DeadLetter]:
    """Return all dead letters of the broker, with the times when it stored them; an empty list without their stream."""
    jetstream = client.jetstream()
    dead_letters = []
    try:
        state = (await jetstream.stream_info(_DEAD_LETTERS)).state
    except nats.js.errors.NotFoundError:
        return []
    for number in range(state.first_seq, state.last_seq + 1 if state.messages else state.first_seq):
        with contextlib.suppress(nats.js.errors.NotFoundError):  # replaced by a newer one
            message = await jetstream.get_msg(_DEAD_LETTERS, number)
            assert message.time
            dead_letters.append(read_dead_letter(message.data or b"", int(message.time.timestamp() * 1_000_000_000)))
    return dead_letters


def read_dead_letter(data: bytes, at_ns: int) -> DeadLetter:
    """Return the dead letter in a message."""
    fields = orjson.loads(data)
    return DeadLetter(at_ns, fields["service"], fields["executionHash"], fields["id"], fields["reason"])


class Sampler:
    """Reads the values of all services from Redis atomically every few milliseconds, and records every change."""

    def __init__(self, port: int, services: Sequence[Service], history: History) -> None:
        self._services = services
        self._history = history
        self._redis = redis.Redis(port=port, decode_responses=True, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))
        self._last: dict[str, tuple[Any, ...]] = {}
        self._over = threading.Event()
        self._sampled = threading.Condition()
        self._count = 0
        self.epoch = 0
        """To be increased while Redis is down and its data is changed."""
        self._thread = threading.Thread(target=self._sample, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_READY_SECONDS)
        self._redis.close()

    def catch_up(self) -> None:
        """Wait until everything that Redis holds now is in the history."""
        with self._sampled:
            goal = self._count + 2
            assert self._sampled.wait_for(lambda: self._count >= goal, _READY_SECONDS), "the sampler cannot read Redis"

    def latest(self) -> Mapping[str, Sample]:
        """Return the last sample of each service."""
        return {sample.service: sample for sample in list(self._history.samples)}

    def _sample(self) -> None:
        script = self._redis.register_script(_SAMPLE)
        keys = [service.key for service in self._services]
        while not self._over.wait(_SAMPLE_SECONDS):
            epoch = self.epoch
            try:
                samples = script(keys=keys)
            except (redis.RedisError, OSError):
                continue  # Redis is unavailable
            at_ns = time.time_ns()
            for service, values in zip(self._services, samples, strict=True):
                self._record(at_ns, epoch, service.name, values)
            with self._sampled:
                self._count += 1
                self._sampled.notify_all()

    def _record(self, at_ns: int, epoch: int, service: str, values: Sequence[Any]) -> None:
        ordinal, execution, scheduled, updated, failed, flat = values
        chunks = dict(zip(flat[::2], map(int, flat[1::2]), strict=True))
        state = (
            epoch,
            _number(ordinal),
            execution or None,
            _number(scheduled),
            _number(updated),
            _number(failed),
            chunks,
        )
        if self._last.get(service) != state:
            self._last[service] = state
            self._history.samples.append(Sample(at_ns, epoch, service, *state[1:]))


def _number(text: str) -> int | None:
    return int(text) if text else None


async def _ignore(_: Exception) -> None:
    """Ignore errors of the connection: the tests cause them."""
