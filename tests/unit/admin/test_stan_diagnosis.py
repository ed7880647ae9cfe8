"""The diagnosis of a batch that travels over STAN."""

from datetime import timedelta

import pytest

from admin.status.diagnosis import diagnose
from admin.status.queues import Consumer, Queues
from admin.status.snapshot import Snapshot
from shared.model.records import ProcessRecord, StanBridgeState
from tests.unit.admin.test_diagnosis import AT, CHANNEL, HELSINKI, consumer, process, snapshot


def queues(*channels: str) -> Queues:
    """Return ten chunks with the stan_bridge, whose consumer receives these channels."""
    bridge = Consumer(
        name="stan-bridge", subjects=list(channels), waiting_pulls=1, waiting=0, unacknowledged=10, redelivered=0
    )
    return Queues(
        chunks=10,
        waiting={CHANNEL: 10},
        oldest_chunk_at=AT - timedelta(minutes=3),
        mankelis=[bridge],
        feedback=consumer("ack-collector"),
        dead_letters={},
    )


def stalled(*bridges: StanBridgeState, channel: str = CHANNEL) -> Snapshot:
    """Return a batch that is stalled, with these bridges."""
    shot = snapshot(stalled_seconds=180, queues=queues(channel))
    shot.stan_bridges = [_record(state) for state in bridges]
    return shot


def _record(state: StanBridgeState) -> ProcessRecord:
    record = process("stan_bridge")
    record.stan_bridge = state
    return record


def active(seconds: float | None, *, connected: bool = True) -> StanBridgeState:
    """Return an active bridge that has waited for a report for this time."""
    since = None if seconds is None else AT - timedelta(seconds=seconds)
    return StanBridgeState(phase="active", connected=connected, pieces_out=3, waiting_since=since)


@pytest.mark.parametrize(
    ("bridges", "code", "words"),
    [
        ([], "no_stan_bridge", "No stan_bridge is running"),
        ([StanBridgeState(phase="connecting")], "stan_unreachable", "STAN is unreachable"),
        ([active(None, connected=False)], "stan_unreachable", "STAN is unreachable"),
        ([StanBridgeState(phase="standing_by")], "stan_client_id_taken", "Another client"),
        (
            [active(240)],
            "stan_workers_unresponsive",
            "3 pieces are out over STAN, and nothing was reported for 4 minutes",
        ),
        ([active(240), StanBridgeState(phase="standing_by")], "stan_workers_unresponsive", "3 pieces"),
        ([active(20)], "with_mankelis", "10 chunks are with mankelis"),
    ],
)
def test_why_nothing_settles(bridges: list[StanBridgeState], code: str, words: str) -> None:
    """Each cause between the importer and workers on STAN has a code, a sentence and a hint."""
    diagnosis = diagnose(stalled(*bridges), HELSINKI)
    assert diagnosis.code == code
    assert words in diagnosis.message
    assert diagnosis.hint


def test_a_service_of_jetstream_is_diagnosed_as_ever() -> None:
    """Without the stan_bridge's consumer on its channel, nothing of STAN concerns a service."""
    assert diagnose(stalled(channel="KORI_MODULE_CHANNEL"), HELSINKI).code == "no_mankeli"
