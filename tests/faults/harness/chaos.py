"""Random faults for the soak, chosen by a seed; each breaks something and restores it."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import redis

from demo.servers.processes import Server
from demo.sisu.simulator import FaultKind
from shared.model import keys
from tests.faults.harness.rig import FaultRig
from tests.faults.harness.stan_rig import StanRig
from tests.faults.harness.supervisor import KillableProcess, Supervised
from tests.faults.test_lost_replies import SCRIPTS, script_digest
from tests.support.tcp_proxy import Mode, TcpProxy

PRODUCER_CRASH_POINTS = [
    "after-fetch",
    "before-begin",
    "after-begin",
    "after-publish",
    "after-last-publish",
    "before-dead-letters",
    "after-dead-letters",
    "before-advance",
    "after-advance",
]
COLLECTOR_CRASH_POINTS = [
    "before-script",
    "after-script",
    "before-split",
    "after-split",
    "before-fail",
    "after-fail",
]
BRIDGE_CRASH_POINTS = [
    "after-take",
    "before-wave",
    "after-wave",
    "before-piece",
    "after-piece",
    "on-report",
    "before-feedback",
    "after-feedback",
]
# Without INVALID_UTF8, for which an entity rightly becomes a dead letter: tests/faults/test_sisu_faults.py.
SISU_FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "retry_after": 1},
    {"kind": "status", "status": 429, "retry_after": 0},
    {"kind": "status", "status": 429, "retry_after": 86400},
    {"kind": "status", "status": 503, "retry_after": "Wed, 21 Oct 2026 07:28:00 +9999999999999"},
    *({"kind": "status", "status": status} for status in (302, 401, 403, 404, 408, 421, 423, 425)),
    *({"kind": str(FaultKind.IDLE_PAGE), "ordinal": ordinal} for ordinal in (None, 0, 1)),
    *(
        {"kind": str(kind)}
        for kind in FaultKind
        if kind not in (FaultKind.STATUS, FaultKind.IDLE_PAGE, FaultKind.GRAPHQL_ERRORS, FaultKind.INVALID_UTF8)
    ),
]
STATUS_KEYS = (keys.RUN, keys.RUNS, keys.SERVICES, keys.PROCESSES, keys.RUN_REQUESTS, keys.RETRY_REQUESTS)


class Chaos:
    """Two producers, two collectors and two mankelis of a rig, and the faults that happen to them."""

    def __init__(self, rig: FaultRig, rng: Random) -> None:
        self._rig, self._rng = rig, rng
        self._copies: dict[str, Path] = {}
        """The last copy of each server's data."""
        self._rejected = [word for entity in rig.history.rejected for word in ("--fail-id", entity)]
        self._next_crash: dict[str, tuple[str, int]] = {}
        """Where the next process of a program crashes: crash point and occurrence."""
        self._crash_points: dict[str, list[str]] = {}
        """Where a program can crash."""
        self.programs: dict[str, Supervised] = {}
        for number in (1, 2):
            self._start(f"ack_collector {number}", COLLECTOR_CRASH_POINTS)
            self.programs[f"mankeli {number}"] = rig.start_mankeli("--delay-seconds", "0.02", *self._rejected)
            if isinstance(rig, StanRig):
                self._start(f"stan_bridge {number}", BRIDGE_CRASH_POINTS)
            self._start(f"producer {number}", PRODUCER_CRASH_POINTS)

    def _start(self, name: str, crash_points: list[str]) -> None:
        program = name.partition(" ")[0]

        def start(_: int) -> KillableProcess:
            crash_point, occurrence = self._next_crash.pop(name, ("none", 1))
            return self._rig.launch(program, crash_point, occurrence)

        self._crash_points[name] = crash_points
        self.programs[name] = self._rig.supervised(start)

    def stop_producers(self) -> None:
        """Stop the producers with SIGTERM."""
        for name, program in self.programs.items():
            if name.startswith("producer"):
                program.stop()

    def choose_fault(self) -> tuple[str, Callable[[], None]]:
        """Choose a fault: return its description, and a function that injects and ends it."""
        kinds = [
            (6, self._kill),
            (3, self._crash),
            (4, self._pause),
            *([(3, self._stan_killed), (3, self._stan_paused)] if isinstance(self._rig, StanRig) else []),
            (2, self._nats_killed),
            (2, self._nats_paused),
            (1, self._nats_wiped),
            (1, self._nats_rolled_back),
            (2, self._redis_killed),
            (1, self._redis_paused),
            (1, self._redis_wiped),
            (3, self._redis_rolled_back),
            (5, self._network),
            (4, self._lost_reply),
            (6, self._sisu),
            (3, self._foreign_ledger),
            (1, self._foreign_status),
            (4, self._feedback_repeated),
            (1, self._silent_mankeli),
        ]
        weights, makers = zip(*kinds, strict=True)
        return self._rng.choices(makers, weights)[0]()

    def choose_sisu_fault(self) -> tuple[str, Callable[[], None]]:
        """Choose a fault of SISU that lasts for some seconds; otherwise as `choose_fault`."""
        return self._rng.choices([self._sisu_persistently, self._sisu, self._sisu_unreachable], [6, 3, 2])[0]()

    # --- the faults: each returns its description and a function, as choose_fault does ------------------------------

    def _kill(self) -> tuple[str, Callable[[], None]]:
        name = self._rng.choice(list(self.programs))
        return f"kill -9 {name}", self.programs[name].kill

    def _crash(self) -> tuple[str, Callable[[], None]]:
        name = self._rng.choice(list(self._crash_points))
        crash_point, occurrence = self._rng.choice(self._crash_points[name]), self._rng.randint(1, 3)

        def crash() -> None:
            self._next_crash[name] = (crash_point, occurrence)
            self.programs[name].kill()

        return f"{name} is restarted, to crash {crash_point}", crash

    def _pause(self) -> tuple[str, Callable[[], None]]:
        name, seconds = self._rng.choice(list(self.programs)), self._rng.uniform(0.5, 3)

        def pause() -> None:
            with self.programs[name].paused():
                self._rig.sleep_during_fault(seconds)

        return f"{name} is paused for {seconds:.1f} s", pause

    def _stan_killed(self) -> tuple[str, Callable[[], None]]:
        assert isinstance(self._rig, StanRig)
        stan, is_wiped = self._rig.stan, self._rng.random() < 0.3

        def kill() -> None:
            stan.kill()
            if is_wiped:
                shutil.rmtree(stan.data)
                stan.data.mkdir()
            stan.start()

        return f"STAN is killed{', and its store wiped' if is_wiped else ''}", kill

    def _stan_paused(self) -> tuple[str, Callable[[], None]]:
        assert isinstance(self._rig, StanRig)
        stan, seconds = self._rig.stan, self._rng.uniform(0.5, 6)

        def pause() -> None:
            stan.pause()
            self._rig.sleep_during_fault(seconds)
            stan.resume()

        return f"STAN is paused for {seconds:.1f} s", pause

    def _nats_killed(self) -> tuple[str, Callable[[], None]]:
        def kill() -> None:
            self._rig.nats.kill()
            self._copy_data("nats")
            self._rig.nats.start()

        return "NATS is killed", kill

    def _nats_paused(self) -> tuple[str, Callable[[], None]]:
        seconds = self._rng.uniform(0.5, 4)

        def pause() -> None:
            self._rig.nats.pause()
            self._rig.sleep_during_fault(seconds)
            self._rig.nats.resume()

        return f"NATS is paused for {seconds:.1f} s", pause

    def _nats_wiped(self) -> tuple[str, Callable[[], None]]:
        return "NATS loses its store", lambda: self._replace_data("nats", None)

    def _nats_rolled_back(self) -> tuple[str, Callable[[], None]]:
        return "NATS returns with an older store", lambda: self._replace_data("nats", self._copies.get("nats"))

    def _redis_killed(self) -> tuple[str, Callable[[], None]]:
        def kill() -> None:
            self._rig.redis.kill()
            self._copy_data("redis")
            self._rig.redis.start()

        return "Redis is killed", kill

    def _redis_paused(self) -> tuple[str, Callable[[], None]]:
        seconds = self._rng.uniform(0.5, 3)

        def pause() -> None:
            self._rig.redis.pause()
            self._rig.sleep_during_fault(seconds)
            self._rig.redis.resume()

        return f"Redis is paused for {seconds:.1f} s", pause

    def _redis_wiped(self) -> tuple[str, Callable[[], None]]:
        return "Redis loses everything", lambda: self._replace_data("redis", None)

    def _redis_rolled_back(self) -> tuple[str, Callable[[], None]]:
        seconds = self._rng.uniform(0.05, 1.5)

        def roll_back() -> None:
            self._copy_data("redis")
            self._rig.sleep_during_fault(seconds)
            self._replace_data("redis", self._copies["redis"])

        return f"Redis is rolled back by {seconds:.2f} s", roll_back

    def _network(self) -> tuple[str, Callable[[], None]]:
        server, proxy = self._proxy()
        mode = self._rng.choice([Mode.REFUSE, Mode.RESET, Mode.HALF_OPEN, Mode.SLOW])
        seconds = self._rng.uniform(0.2, 4)

        def switch() -> None:
            proxy.switch(mode, delay_seconds=0.003)
            self._rig.sleep_during_fault(seconds)
            proxy.switch(Mode.PASS)

        return f"the network to {server}: {mode} for {seconds:.1f} s", switch

    def _lost_reply(self) -> tuple[str, Callable[[], None]]:
        times = self._rng.randint(1, 3)
        if self._rng.random() < 0.7:
            script = self._rng.choice(SCRIPTS)
            return f"{times} replies to {script} are lost", lambda: self._rig.redis_proxy.lose_reply(
                script_digest(script), times
            )
        channel = self._rng.choice(self._rig.services).channel
        return f"{times} confirmations of {channel} are lost", lambda: self._rig.nats_proxy.lose_reply(
            f"HPUB {channel}".encode(), times
        )

    def _sisu(self) -> tuple[str, Callable[[], None]]:
        details, times = self._rng.choice(SISU_FAULTS), self._rng.randint(1, 8)

        def arm() -> None:
            self._rig.sisu.release_faults()
            self._rig.sisu.fault(times=times, **details)

        return f"SISU: {details} {times} times", arm

    def _sisu_persistently(self) -> tuple[str, Callable[[], None]]:
        details = self._rng.choice(SISU_FAULTS)
        service = self._rng.choice([None, None, *(service for service in self._rig.services if service.api.is_export)])
        seconds = self._rng.uniform(0.5, 15)

        def arm() -> None:
            fault = self._rig.sisu.fault(times=None, service=service and service.name, **details)
            self._rig.sleep_during_fault(seconds)
            fault.release()

        return f"SISU: {details} for {service.name if service else 'all services'} for {seconds:.1f} s", arm

    def _sisu_unreachable(self) -> tuple[str, Callable[[], None]]:
        mode = self._rng.choice([Mode.REFUSE, Mode.RESET, Mode.HALF_OPEN, Mode.SLOW])
        seconds = self._rng.uniform(0.5, 10)

        def switch() -> None:
            self._rig.sisu_proxy.switch(mode, delay_seconds=0.003)
            self._rig.sleep_during_fault(seconds)
            self._rig.sisu_proxy.switch(Mode.PASS)

        return f"the network to SISU: {mode} for {seconds:.1f} s", switch

    def _foreign_ledger(self) -> tuple[str, Callable[[], None]]:
        service, seconds = self._rng.choice(self._rig.services), self._rng.uniform(0.1, 2)
        ledger = keys.ServiceKeys(service.key)

        def replace() -> None:
            with redis.Redis(port=self._rig.redis.port) as client:
                self._rig.mark_data_loss()
                with client.pipeline() as transaction:
                    transaction.delete(ledger.chunks)
                    transaction.xadd(ledger.chunks, {"foreign": "1"})
                    transaction.execute()
                self._rig.sleep_during_fault(seconds)
                self._rig.mark_data_loss()
                client.delete(
                    ledger.execution, ledger.scheduled, ledger.updated, ledger.failed, ledger.chunks, ledger.errors
                )

        return f"another program uses {ledger.chunks} for {seconds:.1f} s", replace

    def _foreign_status(self) -> tuple[str, Callable[[], None]]:
        def replace() -> None:
            with redis.Redis(port=self._rig.redis.port) as client:
                for key in STATUS_KEYS:
                    client.delete(key)
                    client.xadd(key, {"foreign": "1"})
                self._rig.sleep_during_fault(1.0)
                client.delete(*STATUS_KEYS)

        return "another program uses the keys of the status for a second", replace

    def _feedback_repeated(self) -> tuple[str, Callable[[], None]]:
        count, seed = self._rng.randint(5, 60), self._rng.getrandbits(32)

        def repeat() -> None:
            reports = [report.data for report in self._rig.history.reports.copy()]
            chosen = Random(seed).choices(reports, k=count) if reports else []
            for data in [*chosen, b"garbage", b'{"status": "OK"}']:
                self._rig.recorder.send("SCHEDULER_STATUS_CHANNEL", data)

        return f"{count} earlier reports are repeated, and garbage is sent", repeat

    def _silent_mankeli(self) -> tuple[str, Callable[[], None]]:
        def silent() -> None:
            with self._rig.start_mankeli("--silent", *self._rejected):
                self._rig.sleep_during_fault(1.0)

        return "a mankeli takes chunks for a second and sends no feedback", silent

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _proxy(self) -> tuple[str, TcpProxy]:
        rig = self._rig
        return self._rng.choice([("NATS", rig.nats_proxy), ("Redis", rig.redis_proxy), ("SISU", rig.sisu_proxy)])

    def _server(self, name: str) -> Server:
        return self._rig.nats if name == "nats" else self._rig.redis

    def _copy_data(self, name: str) -> None:
        folder = Path(self._rig.stack.enter_context(tempfile.TemporaryDirectory(prefix="importer-older-")))
        self._copies[name] = folder / "data"
        shutil.copytree(self._server(name).data, self._copies[name])

    def _replace_data(self, name: str, copy: Path | None) -> None:
        server = self._server(name)
        server.kill()
        shutil.rmtree(server.data)
        if copy:
            shutil.copytree(copy, server.data)
        else:
            server.data.mkdir()
        if name == "redis":
            self._rig.mark_data_loss()
        else:
            self._rig.history.dead_letters_lost = True
        server.start()
