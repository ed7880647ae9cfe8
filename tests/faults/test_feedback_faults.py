"""Feedback that no honest mankeli sends, or at the wrong time: it counts nothing, and the collector lives."""

from typing import Any

import orjson
import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.history import Sample
from tests.faults.supervisor import Supervised
from tests.faults.world import World

CHANNEL = "ORI_PERSON_CHANNEL"


def _report(**fields: Any) -> bytes:
    return orjson.dumps(fields)


def _garbage(execution: str, size: int) -> dict[str, bytes]:
    """Of a chunk that is outstanding: everything but the truth."""
    right: dict[str, Any] = {
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
        "execution with more behind": {"executionHash": execution + "\n"},
        "unknown chunk": {"chunkId": "99"},
        "chunk that is a part of none": {"chunkId": "0.0"},
        "chunk of another type": {"chunkId": 0},
        "chunk that is a path elsewhere": {"chunkId": "0/../1"},
        "chunk with zeros before": {"chunkId": "00"},
        "unknown channel": {"channel": "NOBODY"},
        "channel of another service": {"channel": "OSUVA_PLAN_CHANNEL"},
        "channel of another type": {"channel": {"name": CHANNEL}},
        "amount as text": {"amount": str(size)},
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
    told = {name: _report(**(right | fields)) for name, fields in wrong.items()}
    told["amount beyond 64 bits"] = _report(**right).replace(b'"amount":%d' % size, b'"amount":' + b"9" * 400)
    told |= {f"without {name}": _report(**{k: v for k, v in right.items() if k != name}) for name in right}
    told |= {
        "nothing": b"",
        "no JSON": b"{",
        "not UTF-8": b"\xff\xfe\x00",
        "a list": orjson.dumps([right]),
        "a text": b'"OK"',
        "a number": b"1e400",
        "null": b"null",
        "NaN": b"NaN",
        "nested deeply": b"[" * 100_000,
        "large": b" " * 900_000,
    }
    return told


def _standing(world: World) -> tuple[Supervised, Supervised, Sample]:
    """A collector, and a mankeli that stands still while all chunks of a batch are outstanding."""
    collector = world.start_collector()
    mankeli = world.start_mankeli(ack_wait_seconds=30)
    mankeli.program.pause()
    world.start_producer()
    world.wait_for_chunks(5)
    world.wait_for_look()
    return collector, mankeli, world.sampler.latest()["PERSON"]


def test_garbage_changes_nothing(make_world: MakeWorld) -> None:
    """I3: whatever is wrong with a report, the ledger and the counters stay as they are."""
    world = make_world(PANIC_TIMEOUT_SECONDS="60")
    collector, mankeli, before = _standing(world)
    assert before.execution
    for name, data in _garbage(before.execution, before.chunks["0"]).items():
        world.recorder.publish("SCHEDULER_STATUS_CHANNEL", data)
        world.wait_until_feedback_is_handled()
        assert world.sampler.latest()["PERSON"] is before, name
    assert not collector.outcomes, collector.output
    mankeli.program.resume()
    world.check(world.the_producer)


@pytest.mark.parametrize("first", ["FAIL", "OK"])
def test_a_mankeli_that_changes_its_mind(make_world: MakeWorld, first: str) -> None:
    """OK after FAIL, or FAIL after OK: the first one counts, the second changes nothing."""
    world = make_world(PANIC_TIMEOUT_SECONDS="60")
    collector, mankeli, before = _standing(world)
    told = {"executionHash": before.execution, "chunkId": "0", "channel": CHANNEL}
    fail = _report(status="FAIL", amount=0, stack="changed its mind", **told)
    if first == "FAIL":  # its OK comes as soon as it goes on, while the halves are outstanding
        world.recorder.publish("SCHEDULER_STATUS_CHANNEL", fail)
        world.wait_until_feedback_is_handled()
        assert {"0.0", "0.1"} <= world.sampler.latest()["PERSON"].chunks.keys()
        mankeli.program.resume()
    else:
        mankeli.program.resume()
        world.wait_for_ordinal()
        world.recorder.publish("SCHEDULER_STATUS_CHANNEL", fail)
    world.check(world.the_producer)
    collector.wait_for('"feedback_duplicate"' if first == "FAIL" else '"feedback_')


def test_fail_after_ok_within_the_batch(make_world: MakeWorld) -> None:
    """FAIL for chunks that are settled already, while others are outstanding: they stay settled."""
    world = make_world(services=("PERSON",), size=60, PANIC_TIMEOUT_SECONDS="60")
    collector = world.start_collector()
    world.start_mankeli("--delay-seconds", "0.2")
    world.start_producer()
    settled = world.wait_for_settled_chunk()
    fail = {"status": "FAIL", "amount": 0, "chunkId": settled.chunk, "executionHash": settled.execution}
    world.recorder.publish("SCHEDULER_STATUS_CHANNEL", _report(channel=CHANNEL, **fail))
    collector.wait_for('"feedback_duplicate"')
    world.check(world.the_producer)


def test_everything_again_in_another_order(make_world: MakeWorld) -> None:
    """All reports of a run come again during the next one, backwards, and once more after it: nothing changes."""
    world = make_world()
    collector = world.start_collector()
    world.reject(world.ids()[17])
    world.finish()
    reports = [report.data for report in world.history.reports]
    world.sisu.touch("PERSON", 80, seed=1)
    producer = world.start_producer()
    for data in reversed(reports):
        world.recorder.publish("SCHEDULER_STATUS_CHANNEL", data)
    world.check(producer)
    last = world.sampler.latest()
    for report in list(world.history.reports):
        world.recorder.publish("SCHEDULER_STATUS_CHANNEL", report.data)
    world.wait_until_feedback_is_handled()
    assert world.sampler.latest() == last
    assert not collector.outcomes
