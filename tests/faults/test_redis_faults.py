"""Redis dies, loses data, or restarts with older data."""

import shutil
from pathlib import Path

import pytest
import redis

from shared.model import keys
from tests.faults.conftest import MakeRig, slow
from tests.faults.harness import invariants
from tests.faults.harness.rig import BOUND_SECONDS, FaultRig
from tests.support.waiting import wait_until


def _restore(rig: FaultRig, copy: Path) -> None:
    rig.redis.kill()
    shutil.rmtree(rig.redis.data)
    shutil.copytree(copy, rig.redis.data)
    rig.mark_data_loss()
    rig.redis.start()


def test_redis_is_killed_with_an_append_only_file(make_rig: MakeRig) -> None:
    """With an append-only file a killed Redis loses nothing, and the import continues."""
    rig = make_rig()
    rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.03")
    producer = rig.start_producer()
    rig.wait_for_chunks(8)
    rig.redis.kill()
    rig.redis.start()
    rig.check(producer)


@pytest.mark.parametrize("how", ["killed without an append-only file", slow("flushed")])
def test_redis_loses_everything(make_rig: MakeRig, how: str) -> None:
    """Redis loses everything during a batch: all is imported again, and the producer logs a lost ordinal."""
    rig = make_rig(redis_config="appendonly no")
    rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.1")
    producer = rig.start_producer()
    rig.wait_for_ordinal()
    rig.redis.kill()  # a FLUSHALL while the sampler reads would belong to neither epoch
    rig.mark_data_loss()
    if how == "flushed":
        shutil.rmtree(rig.redis.data)
        rig.redis.data.mkdir()
    rig.redis.start()
    rig.check(producer)
    # A producer that was restarted in the meantime did not know the lost ordinal.
    assert '"ordinal_lost"' in producer.output or len(producer.outcomes) > 1


@pytest.mark.parametrize("moment", ["before-advance", "after-advance"])
def test_redis_is_rolled_back_to_the_previous_batch(make_rig: MakeRig, tmp_path: Path, moment: str) -> None:
    """I1: the counters of the previous batch, which agree, are restored; the undelivered batch is not passed.

    No mankeli receives a chunk of the second batch before Redis is restored to the end of the first one.
    """
    rig = make_rig(PANIC_TIMEOUT_SECONDS="3")
    rig.start_collector()
    mankeli = rig.start_mankeli()
    producer = rig.start_producer(moment, 1, "--pause")
    producer.program.wait_paused()
    shutil.copytree(rig.redis.data, tmp_path / "older")
    mankeli.program.pause()
    producer.program.resume()
    first = rig.history.messages[0].execution
    rig.wait_for_message_of_another_execution(first)
    with producer.paused():  # until the sampler has read the restored values, which the producer would replace at once
        _restore(rig, tmp_path / "older")
        rig.wait_for_sample()
        assert rig.sampler.latest()["PERSON"].execution in (first, None)
    rig.sleep_during_fault(1.0)
    mankeli.program.resume()
    rig.check(producer)
    assert '"service_restarted"' in producer.output or len(producer.outcomes) > 1


@pytest.mark.slow
def test_redis_is_rolled_back_repeatedly(make_rig: MakeRig, tmp_path: Path) -> None:
    """I1: whatever older data Redis restarts with, at any moment, no undelivered entity is passed."""
    rig = make_rig(size=150)
    rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.02")
    producer = rig.start_producer()
    for number in range(3):
        rig.wait_for_chunks(len(rig.history.messages) + 4)
        shutil.copytree(rig.redis.data, tmp_path / str(number))
        rig.wait_for_chunks(len(rig.history.messages) + 6)
        with producer.paused():  # a run that ends in the meantime would not read the restored values
            _restore(rig, tmp_path / str(number))
    rig.check(producer)


STATUS = (keys.RUN, keys.RUNS, keys.SERVICES, keys.PROCESSES, keys.REWINDS, keys.RUN_REQUESTS, keys.RETRY_REQUESTS)


def test_keys_of_the_status_of_another_type(make_rig: MakeRig) -> None:
    """All keys that serve only the status have another type: everything is imported, and each is logged once."""
    rig = make_rig(size=60)
    with redis.Redis(port=rig.redis.port) as client:
        for key in STATUS:
            client.xadd(key, {"foreign": "1"})
        rig.start()
        producer = rig.start_producer()
        rig.check(producer)
        assert {client.type(key) for key in (keys.RUNS, keys.SERVICES, keys.PROCESSES)} == {b"stream"}
    assert len(producer.outcomes) == 1
    ignored = [event["key"] for event in producer.outcomes[0].events if event["event"] == "redis_key_ignored"]
    assert sorted(set(ignored)) == sorted(ignored)
    assert {keys.RUNS, keys.SERVICES, keys.PROCESSES, keys.RUN_REQUESTS, keys.RETRY_REQUESTS} <= set(ignored)


def test_an_ordinal_of_another_type(make_rig: MakeRig) -> None:
    """Its service fails by the key's name, and the others are imported; without the key, it is imported, too."""
    rig = make_rig(size=60)
    rig.start()
    with redis.Redis(port=rig.redis.port) as client:
        client.xadd("LATEST_DISCLOSURE_ORDINAL", {"foreign": "1"})
        outcome = rig.produce(SERVICES="PERSON,DISCLOSURE,PLAN")
        assert outcome.code == 1, outcome.output
        [failed] = [event for event in outcome.events if event["event"] == "service_failed"]
        assert failed["service"] == "DISCLOSURE"
        assert failed["reason"] == "LATEST_DISCLOSURE_ORDINAL in Redis has another type: delete or rename it"
        assert rig.ordinal("PERSON")
        assert rig.ordinal("PLAN")
    rig.check()


@pytest.mark.parametrize(("chunk", "size"), [("foo", "5"), ("999", "1")])
def test_a_foreign_chunk_in_the_ledger(make_rig: MakeRig, chunk: str, size: str) -> None:
    """The execution is given up, and neither program ends; the next run imports everything."""
    rig = make_rig(size=100)
    collector = rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.1")
    producer = rig.start_producer()
    rig.wait_for_chunks(3)
    with redis.Redis(port=rig.redis.port) as client:
        client.hset("LATEST_PERSON_ORDINAL_CHUNKS", chunk, size)
    rig.end_faults()
    wait_until(lambda: producer.output.count('"service_failed"') == 1, "the service has failed")
    rig.finish(producer=producer)
    # The chunk itself breaks I4, for as long as it is there.
    rig.history.samples = [sample for sample in rig.history.samples if chunk not in sample.chunks]
    invariants.check_all(rig.history, BOUND_SECONDS)
    assert [outcome.code for outcome in producer.outcomes] == [1, 0]
    assert not collector.outcomes
    assert '"crashed"' not in producer.output
