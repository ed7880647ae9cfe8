"""Faults of what is between the importer and workers of the STAN era: the bridge, STAN itself, and those workers."""

import shutil
from collections.abc import Callable

import pytest

from demo.servers.processes import Server
from tests.conftest import MakeServer
from tests.faults.conftest import MakeRig, slow
from tests.faults.harness.invariants import check_i10
from tests.faults.harness.stan_rig import SHORT_HEARTBEATS, StanRig
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

MakeStanRig = Callable[..., StanRig]

CRASH_POINTS = [
    ("after-take", 3),
    slow("before-wave", 2),
    ("after-wave", 2),
    slow("before-piece", 4),
    ("after-piece", 4),
    slow("after-piece", 1),
    ("on-report", 5),
    slow("before-feedback", 4),
    ("after-feedback", 4),
]


@pytest.fixture
def make_stan_rig(make_rig: MakeRig, make_stan: MakeServer) -> MakeStanRig:
    """Make a rig with a STAN of its own, or with the options of `make_rig`."""

    def make(*, stan: Server | None = None, **options: object) -> StanRig:
        rig = make_rig(kind=StanRig, stan=stan or make_stan(streaming=SHORT_HEARTBEATS), **options)
        assert isinstance(rig, StanRig)
        return rig

    return make


def test_without_a_fault_nothing_is_delivered_twice(make_stan_rig: MakeStanRig) -> None:
    """I10 and all other invariants hold for an import, changes, and a second import that fetches a codebook again."""
    rig = make_stan_rig(services=("PERSON", "PLAN", "COUNTRY"), PANIC_TIMEOUT_SECONDS="10")
    rig.start_collector()
    for _ in range(3):
        rig.start_mankeli()
    rig.finish()
    rig.sisu.touch("PERSON", 30, seed=1)
    check_i10(rig.check())
    assert rig.bridge
    rig.bridge.stop()
    assert [outcome.code for outcome in rig.bridge.outcomes] == [0]


@pytest.mark.parametrize(("crash_point", "occurrence"), CRASH_POINTS, ids=str)
@pytest.mark.parametrize("how", ["killed", slow("paused")])
def test_a_bridge_that_ends_anywhere_loses_nothing(
    make_stan_rig: MakeStanRig, crash_point: str, occurrence: int, how: str
) -> None:
    """After kill -9 or SIGSTOP at any step another bridge goes on, and no ordinal passes what is not stored."""
    rig = make_stan_rig(size=120)
    rig.start_collector()
    bridge = rig.start_bridge(crash_point, occurrence, *(["--pause"] if how == "paused" else []))
    for _ in range(2):
        rig.start_mankeli("--delay-seconds", "0.02")
    producer = rig.start_producer()
    if how == "paused":
        bridge.program.wait_paused()
        rig.start_bridge(wait=False)
        rig.wait_for_ordinal()
        bridge.program.resume()
    rig.check(producer)
    if how == "killed":
        assert bridge.outcomes[0].code == -9, bridge.output


def test_two_bridges(make_stan_rig: MakeStanRig) -> None:
    """The second bridge stands by; when the first one is killed it takes over, and all is imported."""
    rig = make_stan_rig(size=150)
    rig.start_collector()
    first = rig.start_bridge()
    second = rig.start_bridge(wait=False)
    second.wait_for('"stan_standing_by"')
    rig.start_mankeli("--delay-seconds", "0.03")
    producer = rig.start_producer()
    rig.wait_for_chunks(5)
    first.kill()
    second.wait_for('"started"')
    rig.check(producer)


@pytest.mark.parametrize("how", ["killed", slow("restarted"), "wiped"])
def test_stan_restarts(make_stan_rig: MakeStanRig, how: str) -> None:
    """STAN is killed, restarted or loses its store in the middle of a batch: what is missing is sent again."""
    rig = make_stan_rig(size=150)
    rig.start_collector()
    for _ in range(2):
        rig.start_mankeli("--delay-seconds", "0.03")
    producer = rig.start_producer()
    rig.wait_for_chunks(8)
    if how == "restarted":
        rig.stan.restart()
    else:
        rig.stan.kill()
        if how == "wiped":
            shutil.rmtree(rig.stan.data)
            rig.stan.data.mkdir()
        rig.stan.start()
    rig.check(producer)


@pytest.mark.parametrize("seconds", [1.5, slow(12.0)])
def test_stan_is_paused(make_stan_rig: MakeStanRig, seconds: float) -> None:
    """STAN is paused, for less or for longer than a session lasts: all is imported once it is back."""
    rig = make_stan_rig(size=150)
    rig.start_collector()
    for _ in range(2):
        rig.start_mankeli("--delay-seconds", "0.03")
    producer = rig.start_producer()
    rig.wait_for_chunks(8)
    rig.stan.pause()
    rig.sleep_during_fault(seconds)
    rig.stan.resume()
    rig.check(producer)


def test_stan_is_attached_to_the_same_nats(
    make_stan_rig: MakeStanRig, make_nats: MakeServer, make_stan: MakeServer
) -> None:
    """STAN may use the NATS that has the streams: everything is imported, also when both restart."""
    nats = make_nats()
    stan = make_stan(streaming=f'{SHORT_HEARTBEATS}\n  ns: "{nats.uri}"', attached_to=nats)
    rig = make_stan_rig(stan=stan, nats=nats, size=150)
    rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.03")
    producer = rig.start_producer()
    rig.wait_for_chunks(8)
    rig.nats.kill()
    rig.nats.start()
    rig.check(producer)


def test_silent_drops(make_stan_rig: MakeStanRig) -> None:
    """Workers that drop messages without a word get them again in another wave."""
    rig = make_stan_rig(size=100, PANIC_TIMEOUT_SECONDS="0.7")
    rig.start_collector()
    rig.start_mankeli("--drop-every", "5")
    rig.check()
    assert rig.bridge
    assert '"stan_wave_started"' in rig.bridge.output


def test_all_reports_twice(make_stan_rig: MakeStanRig) -> None:
    """Reports that are sent twice count once, and do not count for another piece."""
    rig = make_stan_rig()
    rig.start_collector()
    for _ in range(2):
        rig.start_mankeli("--report-twice")
    rig.check()


@pytest.mark.parametrize("delay_seconds", [1.5])
def test_workers_that_are_slower_than_their_ack_wait(make_stan_rig: MakeStanRig, delay_seconds: float) -> None:
    """STAN delivers pieces again while they are processed, and the core sends them again: each chunk counts once."""
    rig = make_stan_rig(size=40, PANIC_TIMEOUT_SECONDS="1.2", UPDATE_RETRY_LIMIT="20")
    rig.start_collector()
    for _ in range(3):
        rig.start_mankeli("--delay-seconds", str(delay_seconds), ack_wait_seconds=1)
    rig.check()


def test_unresponsive_workers(make_stan_rig: MakeStanRig) -> None:
    """Workers that receive and never report let the run fail in bounded time; with others, all is imported."""
    rig = make_stan_rig(PANIC_TIMEOUT_SECONDS="0.5", UPDATE_RETRY_LIMIT="2")
    rig.start_collector()
    unresponsive = rig.start_mankeli("--unresponsive")
    outcome = rig.produce(deadline_seconds=20)
    assert outcome.code == 1, outcome.output
    assert rig.ordinal() == 0
    unresponsive.stop()
    rig.start_mankeli()
    rig.check()


def test_a_worker_that_dies_between_storing_and_reporting(make_stan_rig: MakeStanRig) -> None:
    """Its piece goes to another worker, and counts once."""
    rig = make_stan_rig(size=100, PANIC_TIMEOUT_SECONDS="3")
    rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.05")
    worker = rig.start_mankeli("--die-after", "1", ack_wait_seconds=1)
    rig.check()
    wait_until(lambda: len(worker.outcomes) >= 1, "it has died")
    assert worker.outcomes[0].code == -9


@pytest.mark.parametrize("garbage", [b"", b"null", b'{"status":"OK"}', b"\xff\xfe", b'{"status":"FAIL","amount":0}'])
def test_foreign_reports_change_nothing(make_stan_rig: MakeStanRig, garbage: bytes) -> None:
    """Messages on the channel of the reports that are none leave the bridge and the import alone."""
    rig = make_stan_rig(size=60)
    rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.03")
    producer = rig.start_producer()
    rig.wait_for_chunks(3)
    rig.send_over_stan("SCHEDULER_STATUS_CHANNEL", garbage)
    rig.check(producer)
    assert rig.bridge
    rig.bridge.wait_for('"stan_report_unknown"')
    assert rig.bridge.outcomes == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("places", [[37], slow([0, 1, 40, 41, 42, 63, 64, 100])], ids=["one", "several"])
def test_each_rejected_entity_has_one_dead_letter(make_stan_rig: MakeStanRig, places: list[int]) -> None:
    """I8: reports of failures repeat the piece, splits find each rejected entity, and only it is not stored."""
    rig = make_stan_rig(services=("PERSON",), size=160, FETCH_AMOUNT="100", MAX_CHUNK_SIZE="64")
    rig.start_collector()
    rig.reject(*(rig.ids()[place] for place in places))
    rig.check(deadline_seconds=120)
