"""`python -m tests.soak --seconds 60 --seed 1`: random faults for some time, then the check of all invariants.

Two producers, two collectors and two mankelis run, with a steady trickle of changes at SISU, a run every other second,
and one random fault after another. After the last fault, everything must be imported within a bounded time, the store
must equal SISU, and every invariant must hold for all that happened; otherwise the exit code is 1. The seed decides
which faults come; the exact moment of each depends on the machine.

With `--sisu` only SISU fails, for up to 15 seconds at a time: it refuses, hangs, lies and comes back. Then, beside all
invariants, no process may have ended: nothing but time heals such a fault.
"""

import argparse
import functools
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from demo.servers.processes import StanServer
from tests.faults.harness import invariants
from tests.faults.harness.chaos import Chaos
from tests.faults.harness.history import History
from tests.faults.harness.rig import FaultRig
from tests.faults.harness.stan_rig import SHORT_HEARTBEATS, StanRig
from tests.support import servers
from tests.support.tcp_proxy import Mode
from tests.support.waiting import wait_until

SERVICES = ("PERSON", "ORGANISATION", "ENROLMENT", "PLAN", "COUNTRY")
BOUND_SECONDS = 120.0
_TRICKLE_SECONDS = 0.3
_PAUSE_SECONDS = 1.0
Choose = Callable[[], tuple[str, Callable[[], None]]]
"""Chooses a fault: returns its description, and a function that injects and ends it."""


def main() -> int:
    """Run the soak, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--stan", action="store_true", help="with mankelis of the STAN era, and two stan_bridges")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--sisu", action="store_true", help="faults of SISU only, which must not end a process")
    options = parser.parse_args()
    _say(f"seed {options.seed}, {options.seconds:g} s; servers: {servers.choose().description}")
    with ExitStack() as stack:
        rig = _make_rig(stack, is_stan=options.stan)
        rng = random.Random(options.seed)
        rig.history.rejected = frozenset(rng.sample(rig.ids("PERSON"), 3) + rng.sample(rig.ids("PLAN"), 1))
        chaos = Chaos(rig, rng)
        choose = chaos.choose_sisu_fault if options.sisu else chaos.choose_fault
        _inject_faults(rig, choose, options.seconds, options.seed)
        try:
            _end_faults_and_wait(rig)
            if options.sisu:
                ended = {
                    name: program.outcomes[-1].code for name, program in chaos.programs.items() if program.outcomes
                }
                assert not ended, f"processes ended, with these exit codes: {ended}"
            chaos.stop_producers()
            rig.record_completion()
        except AssertionError as error:
            _say(f"FAILED: {error}")
            for name, program in chaos.programs.items():
                _say(f"--- {name}\n{program.output[-3000:]}")
            return 1
        return _evaluate(rig.history, chaos, options.seed)


def _make_rig(stack: ExitStack, *, is_stan: bool) -> FaultRig:
    choice = servers.choose()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="importer-soak-")))
    make = FaultRig
    if is_stan:
        make = functools.partial(StanRig, stan=stack.enter_context(StanServer(streaming=SHORT_HEARTBEATS)))  # type: ignore[assignment]
    return make(
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


def _inject_faults(rig: FaultRig, choose: Choose, seconds: float, seed: int) -> None:
    """Inject one fault after another, with a trickle of changes at SISU."""
    started_seconds = time.monotonic()
    over = threading.Event()

    def trickle() -> None:
        rng = random.Random(f"{seed}/trickle")
        while not over.wait(_TRICKLE_SECONDS):
            service = rng.choice([service.name for service in rig.services if service.api.is_export])
            rig.sisu.touch(service, rng.randint(1, 6), rng.getrandbits(32))

    changes = threading.Thread(target=trickle, daemon=True)
    changes.start()
    pauses = random.Random(f"{seed}/pauses")
    while time.monotonic() - started_seconds < seconds:
        description, fault = choose()
        _say(f"{time.monotonic() - started_seconds:6.1f} s  {description}")
        fault()
        over.wait(pauses.uniform(0, _PAUSE_SECONDS))
    over.set()
    changes.join()


def _end_faults_and_wait(rig: FaultRig) -> None:
    """End the faults, and wait until everything is imported."""
    for proxy in (rig.nats_proxy, rig.redis_proxy, rig.sisu_proxy):
        proxy.lose_reply(b"", 0)
        proxy.switch(Mode.PASS)
    rig.end_faults()
    _say("the faults have ended")

    def imported() -> bool:
        latest = rig.sampler.latest()
        return all(
            sample is not None
            and sample.ordinal == (1 if service.one_time else rig.sisu.greatest_ordinal(service.name))
            and sample.scheduled == sample.updated
            and not sample.chunks
            for service in rig.services
            for sample in [latest.get(service.name)]
        )

    wait_until(imported, "everything is imported", BOUND_SECONDS)


def _evaluate(history: History, chaos: Chaos, seed: int) -> int:
    restarts = {name: len(program.outcomes) for name, program in chaos.programs.items()}
    _say(
        f"{len(history.pages)} pages, {len(history.messages)} chunks seen, {len(history.processed)} processed, "
        f"{len(history.reports)} reports, {len(history.samples)} samples of Redis, which lost data "
        f"{history.samples[-1].epoch} times, {len(history.kept_dead_letters)} dead letters; restarts: {restarts}"
    )
    checks = [getattr(invariants, f"check_i{number}") for number in range(1, 10)]
    failed = 0
    for check in checks:
        try:
            check(history, *([BOUND_SECONDS] if check is invariants.check_i7 else []))
        except AssertionError as error:
            failed += 1
            _say(f"broken: {str(error)[:2000]}")
        else:
            _say(f"holds: {check.__doc__.splitlines()[0]}")
    _say(f"{'FAILED' if failed else 'passed'}: seed {seed}")
    return 1 if failed else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the program's output


if __name__ == "__main__":
    sys.exit(main())
