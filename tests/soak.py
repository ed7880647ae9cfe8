"""`python -m tests.soak --seconds 60 --seed 1`: faults at random, then none; then the verdict.

Two producers, two collectors and two mankelis, changes that trickle in at SISU, a run every other second, and one fault
after another from the matrix. When it is quiet, all must be imported within a bounded time, the store must be what SISU
has, and every invariant must hold over all that happened. Exit code 0 only if so. The seed decides which faults come;
when exactly each hits is up to the machine.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from tests.faults import invariants
from tests.faults.chaos import Chaos
from tests.faults.history import History
from tests.faults.world import World
from tests.support import servers
from tests.support.tcp_proxy import Mode
from tests.support.waiting import wait_until

SERVICES = ("PERSON", "ORGANISATION", "ENROLMENT", "PLAN", "COUNTRY")
BOUND_SECONDS = 120.0
_TRICKLE_SECONDS = 0.3
_PAUSE_SECONDS = 1.0


def main() -> int:
    """Run the soak; answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    _say(f"seed {options.seed}, {options.seconds:g} s; servers: {servers.choose().description}")
    with ExitStack() as stack:
        world = _world(stack)
        rng = random.Random(options.seed)
        world.history.rejected = frozenset(rng.sample(world.ids("PERSON"), 3) + rng.sample(world.ids("PLAN"), 1))
        chaos = Chaos(world, rng)
        _break(world, chaos, options.seconds, options.seed)
        try:
            _mend_and_wait(world, chaos)
        except AssertionError as error:
            _say(f"FAILED: {error}")
            for name, program in chaos.programs.items():
                _say(f"--- {name}\n{program.output[-3000:]}")
            return 1
        return _judge(world.history, chaos, options.seed)


def _world(stack: ExitStack) -> World:
    choice = servers.choose()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="importer-soak-")))
    return World(
        stack,
        stack.enter_context(choice.nats()),
        stack.enter_context(choice.redis()),
        folder,
        services=SERVICES,
        size=500,
        proxied=True,
        CRON="*/2 * * * * *",
        LOG_LEVEL="INFO",
    )


def _break(world: World, chaos: Chaos, seconds: float, seed: int) -> None:
    """One fault after another, with changes at SISU all the time."""
    began = time.monotonic()
    over = threading.Event()

    def trickle() -> None:
        rng = random.Random(f"{seed}/trickle")
        while not over.wait(_TRICKLE_SECONDS):
            service = rng.choice([service.name for service in world.services if service.api.is_export])
            world.sisu.touch(service, rng.randint(1, 6), rng.getrandbits(32))

    changes = threading.Thread(target=trickle, daemon=True)
    changes.start()
    pauses = random.Random(f"{seed}/pauses")
    while time.monotonic() - began < seconds:
        what, fault = chaos.one()
        _say(f"{time.monotonic() - began:6.1f} s  {what}")
        fault()
        over.wait(pauses.uniform(0, _PAUSE_SECONDS))
    over.set()
    changes.join()


def _mend_and_wait(world: World, chaos: Chaos) -> None:
    """Everything works again; wait until all is imported, and end all programs in order."""
    for proxy in (world.nats_proxy, world.redis_proxy):
        proxy.lose_reply(b"", 0)
        proxy.switch(Mode.PASS)
    world.quiet()
    _say("quiet")

    def imported() -> bool:
        latest = world.sampler.latest()
        return all(
            sample is not None
            and sample.ordinal == (1 if service.one_time else world.sisu.greatest_ordinal(service.name))
            and sample.scheduled == sample.updated
            and not sample.chunks
            for service in world.services
            for sample in [latest.get(service.name)]
        )

    wait_until(imported, "all is imported", BOUND_SECONDS)
    chaos.stop_producers()
    world.completed()


def _judge(history: History, chaos: Chaos, seed: int) -> int:
    restarts = {name: len(program.outcomes) for name, program in chaos.programs.items()}
    _say(
        f"{len(history.pages)} pages, {len(history.messages)} chunks seen, {len(history.processed)} processed, "
        f"{len(history.reports)} reports, {len(history.samples)} states of Redis, {history.samples[-1].epoch} of them "
        f"made to forget, {len(history.kept_dead_letters)} dead letters kept; ends of programs: {restarts}"
    )
    checks = [getattr(invariants, f"check_i{number}") for number in range(1, 10)]
    failed = 0
    for check in checks:
        try:
            check(history, *([BOUND_SECONDS] if check is invariants.check_i7 else []))
        except AssertionError as error:
            failed += 1
            _say(f"BROKEN {str(error)[:2000]}")
        else:
            _say(f"holds: {check.__doc__.splitlines()[0]}")
    _say(f"{'FAILED' if failed else 'passed'}: seed {seed}")
    return 1 if failed else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program for people


if __name__ == "__main__":
    sys.exit(main())
