"""NATS dies, is paused, or restarts with less data."""

import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import MakeRig, slow
from tests.faults.harness.invariants import check_no_zombies
from tests.faults.harness.rig import FaultRig


def _start_slow_mankeli(rig: FaultRig) -> None:
    """Start a collector and a slow mankeli, so that a fault hits a batch in flight."""
    rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.03")


@pytest.mark.parametrize("how", ["killed", slow("restarted"), "wiped"])
def test_nats_restarts(make_rig: MakeRig, how: str) -> None:
    """NATS is killed, restarted, or loses its store during a batch: streams are created again, and all is delivered."""
    rig = make_rig(size=150)
    _start_slow_mankeli(rig)
    producer = rig.start_producer()
    rig.wait_for_chunks(8)
    if how == "restarted":
        rig.nats.restart()
    else:
        rig.nats.kill()
        if how == "wiped":
            shutil.rmtree(rig.nats.data)
            rig.nats.data.mkdir()
        rig.nats.start()
    check_no_zombies(rig.check(producer))


@pytest.mark.slow
def test_nats_restarts_with_an_older_store(make_rig: MakeRig, tmp_path: Path) -> None:
    """A restored store redelivers old chunks and feedback, which change nothing."""
    rig = make_rig(size=150)
    _start_slow_mankeli(rig)
    producer = rig.start_producer()
    rig.wait_for_chunks(3)
    rig.nats.kill()
    shutil.copytree(rig.nats.data, tmp_path / "older")
    rig.nats.start()
    rig.wait_for_ordinal(above=rig.wait_for_ordinal())
    rig.nats.kill()
    shutil.rmtree(rig.nats.data)
    shutil.copytree(tmp_path / "older", rig.nats.data)
    rig.nats.start()
    check_no_zombies(rig.check(producer))


@pytest.mark.parametrize("seconds", [1.5, slow(9.0)])
def test_nats_is_paused(make_rig: MakeRig, seconds: float) -> None:
    """NATS is paused, for less or for longer than the time-outs: nothing is sent late, and all is delivered."""
    rig = make_rig(size=150)
    _start_slow_mankeli(rig)
    producer = rig.start_producer()
    rig.wait_for_chunks(8)
    rig.nats.pause()
    rig.sleep_during_fault(seconds)
    rig.nats.resume()
    check_no_zombies(rig.check(producer))


def test_a_purge_that_is_denied(make_rig: MakeRig) -> None:
    """A batch is given up while the stream denies purging: its service fails, no process ends, and all is delivered."""
    rig = make_rig(size=60, UPDATE_RETRY_LIMIT="1")
    collector = rig.start_collector()
    rig.deny_purge("IMPORTER")
    outcome = rig.produce()
    assert outcome.code == 1, outcome.output
    reasons = {event["service"]: event["reason"] for event in outcome.events if event["event"] == "service_failed"}
    assert "nothing settled" in reasons["PERSON"]
    assert {"chunk_purge_failed", "stream_purge_denied"} <= {event["event"] for event in outcome.events}
    rig.start_mankeli()
    rig.check()
    assert not collector.outcomes
