"""A small installation to break: real NATS and Redis, a simulated SISU, mankelis, and both programs of the product.

Everything is small and every time-out is short, so that thousands of steps and many time-outs fit into seconds.
`recorder` observes what happens, and `invariants` checks it from outside.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import nats.js.errors

from demo.mankeli.comparison import compare, fetch_expected
from demo.mankeli.store import MankeliStore
from demo.servers.processes import Server
from shared.model.services import load_services
from tests.faults.harness import invariants
from tests.faults.harness.history import History, Processed, read_processed
from tests.faults.harness.recorder import Recorder, Sampler, read_dead_letters
from tests.faults.harness.sisu import ONE_TIME_ORDINAL, RecordingSisu
from tests.faults.harness.supervisor import KillableProcess, Supervised
from tests.support.programs import Outcome
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

TABLE = {service.name: service for service in load_services()}
BOUND_SECONDS = 60.0
"""The limit for a run after the faults: far longer than a run takes, and far shorter than a hang."""


class FaultRig:
    """The parts, which a test starts, breaks and restores. The fixture `make_rig` makes it."""

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
            self.sisu_proxy = stack.enter_context(TcpProxy(self.sisu.port))
            for name in ("SIS_API_URL", "KORI_PUBLIC_API_URL"):
                self.variables[name] = self.variables[name].replace(f":{self.sisu.port}", f":{self.sisu_proxy.port}")

    # --- the parts ---------------------------------------------------------------------------------------------------

    def start_collector(
        self, crash_point: str = "none", occurrence: int = 1, *arguments: str, wait: bool = True, **variables: str
    ) -> Supervised:
        """Start an ack_collector. The first process crashes at the crash point, later ones do not."""
        collector = self.supervised(
            lambda number: self.launch("ack_collector", crash_point, occurrence, number, variables, *arguments)
        )
        if wait:
            collector.wait_for('"started"')
        return collector

    def start_mankeli(self, *arguments: str, ack_wait_seconds: float = 2.0) -> Supervised:
        """Start a mankeli, and wait until it is subscribed."""
        arguments = ("--db", str(self.db), "--ack-wait-seconds", str(ack_wait_seconds), *arguments)
        mankeli = self.supervised(lambda _: KillableProcess("demo.mankeli", *arguments, **self.mankeli_variables))
        mankeli.wait_for("ready")
        return mankeli

    def start_producer(
        self, crash_point: str = "none", occurrence: int = 1, *arguments: str, once: bool = True, **variables: str
    ) -> Supervised:
        """Start a producer, for one run or continuously. The first process crashes at the crash point."""
        arguments = (*arguments, "--once") if once else arguments
        self.producer = self.supervised(
            lambda number: self.launch("producer", crash_point, occurrence, number, variables, *arguments)
        )
        return self.producer

    def start(self) -> None:
        """Start a collector and a mankeli."""
        self.start_collector()
        self.start_mankeli()

    def produce(self, *arguments: str, deadline_seconds: float = 60, **variables: str) -> Outcome:
        """Run a producer once, and return the outcome, whatever it is."""
        with self.launch("producer", "none", 1, 1, variables, *arguments, "--once") as producer:
            return producer.outcome(deadline_seconds)

    def launch(
        self,
        program: str,
        crash_point: str,
        occurrence: int,
        number: int = 1,
        variables: dict[str, str] | None = None,
        *arguments: str,
    ) -> KillableProcess:
        """Start a program of the product with the launcher; only the first process crashes at the crash point."""
        crash_point = crash_point if number == 1 else "none"
        command = ("tests.faults.harness.launcher", program, crash_point, str(occurrence), *arguments)
        return KillableProcess(*command, **self.variables | (variables or {}))

    def supervised(self, start: Callable[[int], KillableProcess]) -> Supervised:
        """Restart a program until the end of the test."""
        return self.stack.enter_context(Supervised(start))

    def reject(self, *ids: str) -> Supervised:
        """Start a mankeli that rejects these entities."""
        self.history.rejected |= set(ids)
        return self.start_mankeli(*(word for entity in ids for word in ("--fail-id", entity)))

    # --- what happens -----------------------------------------------------------------------------------------------

    def ordinal(self, service: str = "PERSON") -> int:
        """Return the ordinal of the last sample, 0 if there is none."""
        sample = self.sampler.latest().get(service)
        return (sample.ordinal or 0) if sample else 0

    def wait_for_ordinal(self, service: str = "PERSON", above: int = 0) -> int:
        """Wait until the ordinal exceeds `above`, and return it."""
        return wait_until(lambda: self.ordinal(service) > above and self.ordinal(service), f"an ordinal of {service}")

    def wait_for_chunks(self, count: int) -> None:
        """Wait until this number of chunks was published in total."""
        wait_until(lambda: len(self.history.messages) >= count, f"{count} chunks are published")

    def wait_for_message_of_another_execution(self, execution: str) -> None:
        """Wait until a chunk of another execution than this one was published."""

        def published() -> bool:
            return any(message.execution != execution for message in list(self.history.messages))

        wait_until(published, "a chunk of another execution is published")

    def wait_for_sample(self) -> None:
        """Wait until the sampler has read what Redis holds now."""
        self.sampler.catch_up()

    def wait_until_feedback_is_handled(self) -> None:
        """Wait until no report is pending, and the sampler has read the result."""

        async def pending() -> int:
            consumer = await self.recorder.client.jetstream().consumer_info("IMPORTER_FEEDBACK", "ack-collector")
            return int(consumer.num_pending or 0) + int(consumer.num_ack_pending or 0)

        wait_until(lambda: self.recorder.run(pending()) == 0, "all feedback is handled")
        self.wait_for_sample()

    def wait_for_settled_chunk(self) -> Processed:
        """Wait until a chunk of PERSON is settled, and return it."""

        def settled() -> Processed | None:
            sample = self.sampler.latest().get("PERSON")
            if not sample or not sample.updated:
                return None
            stored = (chunk for chunk in read_processed(self.db) if chunk.execution == sample.execution)
            return next((chunk for chunk in stored if chunk.chunk not in sample.chunks), None)

        chunk = wait_until(settled, "a chunk is settled")
        assert chunk
        return chunk

    @staticmethod
    def wait_for_runs(producer: Supervised, count: int) -> None:
        """Wait until a producer has finished this number of runs."""
        wait_until(lambda: producer.output.count('"run_finished"') >= count, f"{count} runs are finished")

    def limit_stream(self, name: str, **limits: int) -> None:
        """Set limits of a stream, as an operator may."""

        async def limit() -> None:
            jetstream = self.recorder.client.jetstream()
            config = (await jetstream.stream_info(name)).config
            await jetstream.update_stream(config.evolve(**limits))

        self.recorder.run(limit())

    def deny_purge(self, name: str) -> None:
        """Forbid purging a stream, as an operator may."""

        async def deny() -> None:
            jetstream = self.recorder.client.jetstream()
            config = (await jetstream.stream_info(name)).config
            await jetstream.update_stream(config.evolve(deny_purge=True))

        self.recorder.run(deny())

    def fill_store(self) -> None:
        """Fill all storage of the broker with another stream."""

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

    def sleep_during_fault(self, seconds: float) -> None:
        """Let a fault last for this time, which is what the test is about."""
        threading.Event().wait(seconds)

    def ids(self, service: str = "PERSON") -> list[str]:
        """Return the ids of a service's entities, in the order of their ordinals."""
        return [version.entity_id for version in self.sisu.versions(service)]

    def mark_data_loss(self) -> None:
        """Note, while Redis is down, that it loses data or returns with older data."""
        self.sampler.epoch += 1

    # --- the end -----------------------------------------------------------------------------------------------------

    def end_faults(self) -> None:
        """Release the faults of SISU, and note the time at which the last fault ended."""
        self.sisu.release_faults()
        self.history.faults_ended_at_ns = time.time_ns()

    def finish(self, deadline_seconds: float = BOUND_SECONDS, producer: Supervised | None = None) -> Outcome:
        """Wait until `producer`, or a new one, completes a run."""
        if self.history.faults_ended_at_ns is None:
            self.end_faults()
        outcome = (producer or self.start_producer()).wait_done(deadline_seconds)
        assert outcome.code == 0, outcome.output
        self.record_completion()
        return outcome

    def record_completion(self) -> None:
        """Record that a run is complete now, and the final contents of the stores."""
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
        store = MankeliStore(self.db)
        for service in self.services:
            expected = fetch_expected(self.sisu.uri, service)
            deliverable = {entity: digest for entity, digest in expected.items() if entity not in undelivered}
            difference = compare(store, service, deliverable)
            history.differences += [str(difference)] if difference else []
        store.close()

    def check(self, producer: Supervised | None = None, deadline_seconds: float = BOUND_SECONDS) -> History:
        """Wait until `producer`, or a new one, completes a run, and check all invariants."""
        try:
            self.finish(deadline_seconds, producer)
        except AssertionError:
            self.history.processed = read_processed(self.db)
            invariants.check_safety(self.history)  # a broken invariant explains more than the time-out
            raise
        invariants.check_all(self.history, deadline_seconds)
        return self.history
