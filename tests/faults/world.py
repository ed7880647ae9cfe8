"""A small world to break: real NATS and Redis, a simulated SISU, mankelis, and both programs of the product.

Everything is small and every time is short, so that thousands of steps and many time-outs fit into seconds. Two look
on (`recorder`), and what happened is judged from outside, by `invariants`.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import nats.js.errors

from demo.compare import compare, fetch_expected
from demo.servers import Server
from demo.store import Store
from shared.services import load_services
from tests.faults import invariants
from tests.faults.history import History, Processed, read_processed
from tests.faults.recorder import Recorder, Sampler, read_dead_letters
from tests.faults.sisu import ONE_TIME_ORDINAL, RecordingSisu
from tests.faults.supervisor import Supervised, Victim
from tests.support.programs import Outcome
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

TABLE = {service.name: service for service in load_services()}
BOUND_SECONDS = 60.0
"""For a run after the faults: far above what it takes, far below what a hang would."""


class World:
    """Parts that are started, broken and mended by a test. Made by the fixture `make_world`."""

    def __init__(
        self,
        stack: ExitStack,
        nats: Server,
        redis: Server,
        folder: Path,
        *,
        services: Sequence[str] = ("PERSON", "PLAN"),
        size: int = 200,
        proxied: bool = False,
        **variables: str,
    ) -> None:
        self.stack, self.nats, self.redis, self.db = stack, nats, redis, folder / "store.sqlite"
        self.history = History()
        self.services = [TABLE[name] for name in services]
        self.history.one_time = frozenset(service.name for service in self.services if service.one_time)
        self.sisu = stack.enter_context(RecordingSisu(self.history, size=size, services=self.services))
        self.sampler = stack.enter_context(Sampler(redis.port, self.services, self.history))
        self.recorder = stack.enter_context(Recorder(nats.uri, self.services, self.history))
        self.mankeli_variables = {"NATS_URI": nats.uri, "REDIS_URI": redis.uri}
        self.variables = self.mankeli_variables | {
            "SIS_API_URL": self.sisu.uri,
            "KORI_PUBLIC_API_URL": self.sisu.kori_public_uri,
            "SERVICES": ",".join(services),
            "PORT": "0",
            "COLLECTOR_PORT": "0",
            "CRON": "* * * * * *",
            "FETCH_AMOUNT": "50",
            "MAX_CHUNK_SIZE": "10",
            "PANIC_TIMEOUT_SECONDS": "1",
            "SIS_TIMEOUT_SECONDS": "5",
            "LOG_LEVEL": "DEBUG",
        }
        self.variables |= variables
        if proxied:
            self.nats_proxy = stack.enter_context(TcpProxy(nats.port))
            self.redis_proxy = stack.enter_context(TcpProxy(redis.port))
            self.variables["NATS_URI"] = f"nats://127.0.0.1:{self.nats_proxy.port}"
            self.variables["REDIS_URI"] = f"redis://127.0.0.1:{self.redis_proxy.port}/0"

    # --- the parts ---------------------------------------------------------------------------------------------------

    def start_collector(
        self, point: str = "none", k: int = 1, *arguments: str, wait: bool = True, **variables: str
    ) -> Supervised:
        """An ack_collector; the first one crashes at `point`, those started after it do not."""
        collector = self.supervised(
            lambda number: self.launch("ack_collector", point, k, number, variables, *arguments)
        )
        if wait:
            collector.wait_for('"started"')
        return collector

    def start_mankeli(self, *arguments: str, ack_wait_seconds: float = 2.0) -> Supervised:
        """A mankeli that is attached."""
        arguments = ("--db", str(self.db), "--ack-wait-seconds", str(ack_wait_seconds), *arguments)
        mankeli = self.supervised(lambda _: Victim("demo.mankeli", *arguments, **self.mankeli_variables))
        mankeli.wait_for("ready")
        return mankeli

    def start_producer(
        self, point: str = "none", k: int = 1, *arguments: str, once: bool = True, **variables: str
    ) -> Supervised:
        """A producer: until a run is complete, unless it is to make runs for ever. The first one crashes at `point`."""
        arguments = (*arguments, "--once") if once else arguments
        self.the_producer = self.supervised(
            lambda number: self.launch("producer", point, k, number, variables, *arguments)
        )
        return self.the_producer

    def start(self) -> None:
        """A collector and a mankeli."""
        self.start_collector()
        self.start_mankeli()

    def produce(self, *arguments: str, deadline_seconds: float = 60, **variables: str) -> Outcome:
        """One run of a producer, to its end, whatever that is."""
        with self.launch("producer", "none", 1, 1, variables, *arguments, "--once") as producer:
            return producer.outcome(deadline_seconds)

    def launch(
        self,
        program: str,
        point: str,
        k: int,
        number: int = 1,
        variables: dict[str, str] | None = None,
        *arguments: str,
    ) -> Victim:
        """Start a program of the product, by the launcher; it crashes at `point` if it is the first one."""
        variables = variables or {}
        point = point if number == 1 else "none"
        return Victim("tests.faults.launcher", program, point, str(k), *arguments, **self.variables | variables)

    def supervised(self, start: Callable[[int], Victim]) -> Supervised:
        """Keep a program running until the world ends."""
        return self.stack.enter_context(Supervised(start))

    def reject(self, *ids: str) -> Supervised:
        """A mankeli that fails on these entities."""
        self.history.rejected |= set(ids)
        return self.start_mankeli(*(word for entity in ids for word in ("--fail-id", entity)))

    # --- what is there -----------------------------------------------------------------------------------------------

    def ordinal(self, service: str = "PERSON") -> int:
        """What Redis has, as seen last."""
        sample = self.sampler.latest().get(service)
        return (sample.ordinal or 0) if sample else 0

    def wait_for_ordinal(self, service: str = "PERSON", above: int = 0) -> int:
        """Wait until a batch is through."""
        return wait_until(lambda: self.ordinal(service) > above and self.ordinal(service), f"an ordinal of {service}")

    def wait_for_chunks(self, count: int) -> None:
        """Wait until so many chunks have travelled."""
        wait_until(lambda: len(self.history.messages) >= count, f"{count} chunks have travelled")

    def wait_for_message_of_another_execution(self, execution: str) -> None:
        """Wait until a chunk has travelled that is not of this one."""

        def travelled() -> bool:
            return any(message.execution != execution for message in list(self.history.messages))

        wait_until(travelled, "a chunk of another execution")

    def wait_for_look(self) -> None:
        """Wait until the sampler has seen what Redis holds now."""
        self.sampler.catch_up()

    def wait_until_feedback_is_handled(self) -> None:
        """Wait until no report waits for a collector, and the sampler has seen what came of it."""

        async def waiting() -> int:
            consumer = await self.recorder.client.jetstream().consumer_info("IMPORTER_FEEDBACK", "ack-collector")
            return int(consumer.num_pending or 0) + int(consumer.num_ack_pending or 0)

        wait_until(lambda: self.recorder.run(waiting()) == 0, "all feedback is handled")
        self.wait_for_look()

    def wait_for_settled_chunk(self) -> Processed:
        """Wait until a chunk of PERSON is off the ledger, and answer it."""

        def settled() -> Processed | None:
            sample = self.sampler.latest().get("PERSON")
            if not sample or not sample.updated:
                return None
            done = (chunk for chunk in read_processed(self.db) if chunk.execution == sample.execution)
            return next((chunk for chunk in done if chunk.chunk not in sample.chunks), None)

        chunk = wait_until(settled, "a chunk is settled")
        assert chunk
        return chunk

    @staticmethod
    def wait_for_runs(producer: Supervised, count: int) -> None:
        """Wait until a producer has ended so many runs."""
        wait_until(lambda: producer.output.count('"run_finished"') >= count, f"{count} runs")

    def limit_stream(self, name: str, **limits: int) -> None:
        """Give a stream limits, as an operator may."""

        async def limit() -> None:
            jetstream = self.recorder.client.jetstream()
            config = (await jetstream.stream_info(name)).config
            await jetstream.update_stream(config.evolve(**limits))

        self.recorder.run(limit())

    def fill_store(self) -> None:
        """Have somebody else's stream take all the room that the broker has."""

        async def fill() -> None:
            jetstream = self.recorder.client.jetstream()
            await jetstream.add_stream(name="FILLER", subjects=["FILLER"])
            for size_bytes in (100_000, 1_000):
                with contextlib.suppress(nats.js.errors.APIError):
                    while True:
                        await jetstream.publish("FILLER", os.urandom(size_bytes))

        self.recorder.run(fill())

    def empty_store(self) -> None:
        """Undo `fill_store`."""
        self.recorder.run(self.recorder.client.jetstream().delete_stream("FILLER"))

    def hold(self, seconds: float) -> None:
        """Let a fault last: how long it lasts is what the test is about."""
        threading.Event().wait(seconds)

    def ids(self, service: str = "PERSON") -> list[str]:
        """The entities of a service, in the order of their ordinals."""
        return [version.entity_id for version in self.sisu.versions(service)]

    def forget(self) -> None:
        """From now on Redis may hold less than it did: called while it is down."""
        self.sampler.epoch += 1

    # --- the end -----------------------------------------------------------------------------------------------------

    def quiet(self) -> None:
        """All faults are over."""
        self.sisu.release_faults()
        self.history.quiet_at_ns = time.time_ns()

    def finish(self, deadline_seconds: float = BOUND_SECONDS, producer: Supervised | None = None) -> Outcome:
        """Have a producer, that one or a new one, complete a run."""
        if self.history.quiet_at_ns is None:
            self.quiet()
        outcome = (producer or self.start_producer()).wait_done(deadline_seconds)
        assert outcome.code == 0, outcome.output
        self.completed()
        return outcome

    def completed(self) -> None:
        """Note that a run was complete, now, and what there is in the end."""
        self.history.complete_at_ns = time.time_ns()
        self.sampler.catch_up()
        history = self.history
        history.expected_ordinals = {
            service.name: ONE_TIME_ORDINAL if service.one_time else self.sisu.greatest_ordinal(service.name)
            for service in self.services
        }
        history.processed = read_processed(self.db)
        history.kept_dead_letters = self.recorder.run(read_dead_letters(self.recorder.client))
        undelivered = history.rejected | history.too_large
        store = Store(self.db)
        for service in self.services:
            expected = fetch_expected(self.sisu.uri, service)
            wanted = {entity: digest for entity, digest in expected.items() if entity not in undelivered}
            difference = compare(store, service, wanted)
            history.differences += [str(difference)] if difference else []
        store.close()

    def check(self, producer: Supervised | None = None, deadline_seconds: float = BOUND_SECONDS) -> History:
        """Have a producer, that one or a new one, complete a run, and judge all that happened."""
        try:
            self.finish(deadline_seconds, producer)
        except AssertionError:
            self.history.processed = read_processed(self.db)
            invariants.check_safety(self.history)  # what is broken says more than that nothing went on
            raise
        invariants.check_all(self.history, deadline_seconds)
        return self.history
