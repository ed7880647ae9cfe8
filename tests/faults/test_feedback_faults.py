"""Feedback that is invalid, contradictory or late: it changes nothing, and the collector keeps running."""

from typing import Any

import orjson
import pytest

from tests.faults.conftest import MakeRig
from tests.faults.harness.history import Sample
from tests.faults.harness.rig import FaultRig
from tests.faults.harness.supervisor import Supervised
from tests.support.waiting import wait_until

CHANNEL = "ORI_PERSON_CHANNEL"


def _report(**fields: Any) -> bytes:
    return orjson.dumps(fields)


def _invalid_reports(execution: str, size: int) -> dict[str, bytes]:
    """Return invalid reports on the outstanding chunk "0" of this size, by what is wrong with them."""
    valid: dict[str, Any] = {
        "status": "OK",
        "executionHash": execution,
        "chunkId": "0",
        "channel": CHANNEL,
        "amount": size,
    }
    wrong = {
        "another status": {"status": "ok"},
        "status null": {"status": None},
        "status of another type": {"status": ["OK"]},
        "of an older execution": {"executionHash": "0" * 24},
        "execution of another type": {"executionHash": 7},
        "execution in capitals": {"executionHash": execution.upper().replace("0", "A")},
        "execution with a newline": {"executionHash": execution + "\n"},
        "unknown chunk": {"chunkId": "99"},
        "half of a chunk that is not split": {"chunkId": "0.0"},
        "chunk of another type": {"chunkId": 0},
        "chunk that is a path": {"chunkId": "0/../1"},
        "chunk with leading zeros": {"chunkId": "00"},
        "unknown channel": {"channel": "NOBODY"},
        "channel of another service": {"channel": "OSUVA_PLAN_CHANNEL"},
        "channel of another type": {"channel": {"name": CHANNEL}},
        "amount as a string": {"amount": str(size)},
        "fractional amount": {"amount": size + 0.5},
        "whole amount as a fraction": {"amount": float(size)},
        "negative amount": {"amount": -size},
        "amount of zero": {"amount": 0},
        "one less": {"amount": size - 1},
        "one more": {"amount": size + 1},
        "huge amount": {"amount": 2**53 + 1},
        "amount beyond 64 bits": {"amount": 0},
        "boolean amount": {"amount": True},
        "amount null": {"amount": None},
        "FAIL of an older execution": {"status": "FAIL", "executionHash": "f" * 24, "stack": "x"},
        "FAIL of an unknown chunk": {"status": "FAIL", "chunkId": "98", "stack": "x"},
    }
    reports = {name: _report(**(valid | fields)) for name, fields in wrong.items()}
    reports["amount beyond 64 bits"] = _report(**valid).replace(b'"amount":%d' % size, b'"amount":' + b"9" * 400)
    for name in valid:
        reports[f"without {name}"] = _report(**{field: value for field, value in valid.items() if field != name})
    reports |= {
        "empty": b"",
        "not JSON": b"{",
        "not UTF-8": b"\xff\xfe\x00",
        "a list": orjson.dumps([valid]),
        "a string": b'"OK"',
        "a number": b"1e400",
        "null": b"null",
        "NaN": b"NaN",
        "deeply nested": b"[" * 100_000,
        "large": b" " * 900_000,
    }
    return reports


def _stalled_batch(rig: FaultRig) -> tuple[Supervised, Supervised, Sample]:
    """Start a collector, and a mankeli that is paused while all chunks of a batch are outstanding."""
    collector = rig.start_collector()
    mankeli = rig.start_mankeli(ack_wait_seconds=30)
    mankeli.program.pause()
    rig.start_producer()
    rig.wait_for_chunks(5)
    rig.wait_for_sample()
    return collector, mankeli, rig.sampler.latest()["PERSON"]


def test_invalid_feedback_changes_nothing(make_rig: MakeRig) -> None:
    """I3: whatever is wrong with a report, the ledger and the counters do not change."""
    rig = make_rig(PANIC_TIMEOUT_SECONDS="60")
    collector, mankeli, before = _stalled_batch(rig)
    assert before.execution
    for name, data in _invalid_reports(before.execution, before.chunks["0"]).items():
        rig.recorder.publish("SCHEDULER_STATUS_CHANNEL", data)
        rig.wait_until_feedback_is_handled()
        assert rig.sampler.latest()["PERSON"] is before, name
    assert not collector.outcomes, collector.output
    mankeli.program.resume()
    rig.check(rig.producer)


@pytest.mark.parametrize("first", ["FAIL", "OK"])
def test_contradictory_feedback(make_rig: MakeRig, first: str) -> None:
    """OK after FAIL, or FAIL after OK: the first report counts, the second changes nothing."""
    rig = make_rig(PANIC_TIMEOUT_SECONDS="60")
    collector, mankeli, before = _stalled_batch(rig)
    fields = {"executionHash": before.execution, "chunkId": "0", "channel": CHANNEL}
    fail = _report(status="FAIL", amount=0, stack="changed its mind", **fields)
    if first == "FAIL":  # the OK follows when the mankeli is resumed, while the halves are outstanding
        rig.recorder.publish("SCHEDULER_STATUS_CHANNEL", fail)
        rig.wait_until_feedback_is_handled()
        assert {"0.0", "0.1"} <= rig.sampler.latest()["PERSON"].chunks.keys()
        mankeli.program.resume()
    else:
        mankeli.program.resume()
        rig.wait_for_ordinal()
        rig.recorder.publish("SCHEDULER_STATUS_CHANNEL", fail)
    rig.check(rig.producer)
    events = ('"feedback_duplicate"',) if first == "FAIL" else ('"feedback_duplicate"', '"feedback_stale"')
    wait_until(lambda: any(event in collector.output for event in events), "the second report has no effect")


def test_fail_after_ok_within_the_batch(make_rig: MakeRig) -> None:
    """FAIL for a settled chunk, while others are outstanding: it stays settled."""
    rig = make_rig(services=("PERSON",), size=60, PANIC_TIMEOUT_SECONDS="60")
    collector = rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.2")
    rig.start_producer()
    settled = rig.wait_for_settled_chunk()
    fail = {"status": "FAIL", "amount": 0, "chunkId": settled.chunk, "executionHash": settled.execution}
    rig.recorder.publish("SCHEDULER_STATUS_CHANNEL", _report(channel=CHANNEL, **fail))
    collector.wait_for('"feedback_duplicate"')
    rig.check(rig.producer)


def test_all_feedback_repeated_in_another_order(make_rig: MakeRig) -> None:
    """All reports of a run are repeated in reverse during the next run, and once more after it: nothing changes."""
    rig = make_rig()
    collector = rig.start_collector()
    rig.reject(rig.ids()[17])
    rig.finish()
    reports = [report.data for report in rig.history.reports]
    rig.sisu.touch("PERSON", 80, seed=1)
    producer = rig.start_producer()
    for data in reversed(reports):
        rig.recorder.publish("SCHEDULER_STATUS_CHANNEL", data)
    rig.check(producer)
    last = rig.sampler.latest()
    for report in list(rig.history.reports):
        rig.recorder.publish("SCHEDULER_STATUS_CHANNEL", report.data)
    rig.wait_until_feedback_is_handled()
    assert rig.sampler.latest() == last
    assert not collector.outcomes
