"""Faults at random, for the soak: each a method that breaks something and mends it again, chosen by a seed."""

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from demo.sisu import FaultKind
from tests.faults.supervisor import Supervised, Victim
from tests.faults.test_lost_replies import SCRIPTS, call_of
from tests.faults.world import World
from tests.support.tcp_proxy import Mode, TcpProxy

PRODUCER_POINTS = [
    "after-fetch",
    "before-begin",
    "after-begin",
    "after-publish",
    "after-last-publish",
    "before-bury",
    "after-bury",
    "before-advance",
    "after-advance",
]
COLLECTOR_POINTS = ["before-script", "after-script", "before-split", "after-split", "before-fail", "after-fail"]
SISU_FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "retry_after": 1},
    {"kind": "status", "status": 429, "retry_after": 0},
    {"kind": "status", "status": 404},
    *(
        {"kind": str(kind)}
        for kind in FaultKind
        if kind not in (FaultKind.STATUS, FaultKind.DRIP, FaultKind.GRAPHQL_ERRORS)
    ),
]


class Chaos:
    """Two producers, two collectors and two mankelis of a world, and whatever happens to them."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world, self._rng = world, rng
        self._older: dict[str, Path] = {}
        self._pauses = threading.Event()  # never set: something to wait for
        self._rejected = [word for entity in world.history.rejected for word in ("--fail-id", entity)]
        self._points: dict[str, tuple[str, int]] = {}
        """Where the next one of a program dies, and at which time that it comes there."""
        self._points_of: dict[str, list[str]] = {}
        self.programs: dict[str, Supervised] = {}
        for number in (1, 2):
            self._start(f"ack_collector {number}", COLLECTOR_POINTS)
            self.programs[f"mankeli {number}"] = world.start_mankeli("--delay-seconds", "0.02", *self._rejected)
            self._start(f"producer {number}", PRODUCER_POINTS)

    def _start(self, name: str, points: list[str]) -> None:
        program = name.partition(" ")[0]

        def start(_: int) -> Victim:
            point, k = self._points.pop(name, ("none", 1))
            return self._world.launch(program, point, k)

        self._points_of[name] = points
        self.programs[name] = self._world.supervised(start)

    def stop_producers(self) -> None:
        """End them in order."""
        for name, program in self.programs.items():
            if name.startswith("producer"):
                program.stop()

    def one(self) -> tuple[str, Callable[[], None]]:
        """Choose a fault: what it is, and what makes and mends it."""
        kinds = [
            (6, self._kill),
            (3, self._crash),
            (4, self._pause),
            (2, self._nats_killed),
            (2, self._nats_paused),
            (1, self._nats_wiped),
            (1, self._nats_older),
            (2, self._redis_killed),
            (1, self._redis_paused),
            (1, self._redis_wiped),
            (3, self._redis_older),
            (5, self._network),
            (4, self._lost_reply),
            (6, self._sisu),
            (4, self._reports_again),
            (1, self._silent_mankeli),
        ]
        weights, makers = zip(*kinds, strict=True)
        return self._rng.choices(makers, weights)[0]()

    # --- the faults: each answers what it is going to do, and how ----------------------------------------------------

    def _kill(self) -> tuple[str, Callable[[], None]]:
        name = self._rng.choice(list(self.programs))
        return f"kill -9 {name}", self.programs[name].kill

    def _crash(self) -> tuple[str, Callable[[], None]]:
        name = self._rng.choice(list(self._points_of))
        point, k = self._rng.choice(self._points_of[name]), self._rng.randint(1, 3)

        def crash() -> None:
            self._points[name] = (point, k)
            self.programs[name].kill()

        return f"{name} is started again, to die {point}", crash

    def _pause(self) -> tuple[str, Callable[[], None]]:
        name, seconds = self._rng.choice(list(self.programs)), self._rng.uniform(0.5, 3)

        def pause() -> None:
            with self.programs[name].paused():
                self._hold(seconds)

        return f"{name} stands still for {seconds:.1f} s", pause

    def _nats_killed(self) -> tuple[str, Callable[[], None]]:
        def kill() -> None:
            self._world.nats.kill()
            self._keep("nats", self._world.nats.data)
            self._world.nats.start()

        return "NATS is killed", kill

    def _nats_paused(self) -> tuple[str, Callable[[], None]]:
        seconds = self._rng.uniform(0.5, 4)

        def pause() -> None:
            self._world.nats.pause()
            self._hold(seconds)
            self._world.nats.resume()

        return f"NATS stands still for {seconds:.1f} s", pause

    def _nats_wiped(self) -> tuple[str, Callable[[], None]]:
        return "NATS loses its store", lambda: self._put_back("nats", None)

    def _nats_older(self) -> tuple[str, Callable[[], None]]:
        return "NATS has an older store", lambda: self._put_back("nats", self._older.get("nats"))

    def _redis_killed(self) -> tuple[str, Callable[[], None]]:
        def kill() -> None:
            self._world.redis.kill()
            self._keep("redis", self._world.redis.data)
            self._world.redis.start()

        return "Redis is killed", kill

    def _redis_paused(self) -> tuple[str, Callable[[], None]]:
        seconds = self._rng.uniform(0.5, 3)

        def pause() -> None:
            self._world.redis.pause()
            self._hold(seconds)
            self._world.redis.resume()

        return f"Redis stands still for {seconds:.1f} s", pause

    def _redis_wiped(self) -> tuple[str, Callable[[], None]]:
        return "Redis loses everything", lambda: self._put_back("redis", None)

    def _redis_older(self) -> tuple[str, Callable[[], None]]:
        seconds = self._rng.uniform(0.05, 1.5)

        def older() -> None:
            self._keep("redis", self._world.redis.data)
            self._hold(seconds)
            self._put_back("redis", self._older["redis"])

        return f"Redis goes back by {seconds:.2f} s", older

    def _network(self) -> tuple[str, Callable[[], None]]:
        server, proxy = self._proxy()
        mode = self._rng.choice([Mode.REFUSE, Mode.RESET, Mode.HALF_OPEN, Mode.SLOW])
        seconds = self._rng.uniform(0.2, 4)

        def switch() -> None:
            proxy.switch(mode, delay_seconds=0.003)
            self._hold(seconds)
            proxy.switch(Mode.PASS)

        return f"the network to {server}: {mode} for {seconds:.1f} s", switch

    def _lost_reply(self) -> tuple[str, Callable[[], None]]:
        times = self._rng.randint(1, 3)
        if self._rng.random() < 0.7:
            script = self._rng.choice(SCRIPTS)
            return f"{times} replies to {script} are lost", lambda: self._world.redis_proxy.lose_reply(
                call_of(script), times
            )
        channel = self._rng.choice(self._world.services).channel
        return f"{times} confirmations of {channel} are lost", lambda: self._world.nats_proxy.lose_reply(
            f"HPUB {channel}".encode(), times
        )

    def _sisu(self) -> tuple[str, Callable[[], None]]:
        details, times = self._rng.choice(SISU_FAULTS), self._rng.randint(1, 8)

        def spoil() -> None:
            self._world.sisu.release_faults()
            self._world.sisu.fault(times=times, **details)

        return f"SISU: {details} {times} times", spoil

    def _reports_again(self) -> tuple[str, Callable[[], None]]:
        count, seed = self._rng.randint(5, 60), self._rng.getrandbits(32)

        def again() -> None:
            reports = list(self._world.history.reports)
            some = Random(seed).choices([report.data for report in reports], k=count) if reports else []
            for data in [*some, b"garbage", b'{"status": "OK"}']:
                self._world.recorder.send("SCHEDULER_STATUS_CHANNEL", data)

        return f"{count} reports of any time come again, and garbage", again

    def _silent_mankeli(self) -> tuple[str, Callable[[], None]]:
        def silent() -> None:
            with self._world.start_mankeli("--silent", *self._rejected):
                self._hold(1.0)

        return "a mankeli takes chunks for a second, and never answers", silent

    # --- what they have in common ------------------------------------------------------------------------------------

    def _proxy(self) -> tuple[str, TcpProxy]:
        world = self._world
        return self._rng.choice([("NATS", world.nats_proxy), ("Redis", world.redis_proxy)])

    def _hold(self, seconds: float) -> None:
        self._pauses.wait(seconds)

    def _keep(self, server: str, data: Path) -> None:
        folder = Path(self._world.stack.enter_context(tempfile.TemporaryDirectory(prefix="importer-older-")))
        self._older[server] = folder / "data"
        shutil.copytree(data, self._older[server])

    def _put_back(self, name: str, copy: Path | None) -> None:
        server = self._world.nats if name == "nats" else self._world.redis
        server.kill()
        shutil.rmtree(server.data)
        if copy:
            shutil.copytree(copy, server.data)
        else:
            server.data.mkdir()
        if name == "redis":
            self._world.forget()
        else:
            self._world.history.dead_letters_lost = True
        server.start()
