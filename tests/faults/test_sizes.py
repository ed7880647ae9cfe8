"""Entities and messages that are too large, and streams and disks that are full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator

import orjson
import pytest

from demo.servers.processes import Server
from tests.conftest import MakeServer
from tests.faults.conftest import MakeRig, slow
from tests.faults.harness.rig import FaultRig


def _put_entity(rig: FaultRig, name: str, size_bytes: int) -> None:
    entity = {"id": name, "documentState": "ACTIVE", "metadata": {"modificationOrdinal": 0}, "text": "x" * size_bytes}
    rig.sisu.put("PERSON", orjson.dumps(entity))


@pytest.mark.parametrize("max_payload_bytes", [64 * 1024, 1024 * 1024])
def test_an_entity_that_no_message_can_hold(make_rig: MakeRig, max_payload_bytes: int) -> None:
    """I8, I9: it becomes a dead letter, one just below the limit is sent, and the connection stays open."""
    rig = make_rig(nats_config=f"max_payload: {max_payload_bytes}\n", size=60, MAX_CHUNK_SIZE="1000")
    rig.history.max_payload_bytes = max_payload_bytes
    _put_entity(rig, "too-large", max_payload_bytes + 1)
    _put_entity(rig, "just-too-large", max_payload_bytes - 4096 - 200)
    _put_entity(rig, "just-fits", max_payload_bytes - 4096 - 500)
    rig.history.too_large = frozenset({"too-large", "just-too-large"})
    collector = rig.start_collector()
    rig.start_mankeli()
    producer = rig.start_producer()
    history = rig.check(producer)
    assert {dead_letter.reason for dead_letter in history.kept_dead_letters} == {"too large"}
    assert len(producer.outcomes) == 1
    assert not collector.outcomes
    assert max(message.total_bytes for message in history.messages) > max_payload_bytes * 0.9


def test_a_small_max_payload(make_rig: MakeRig) -> None:
    """I9: with messages of at most 64 KiB, chunks have few large entities, and all arrive."""
    rig = make_rig(
        nats_config="max_payload: 65536\n", services=("MODULE",), size=60, MAX_CHUNK_SIZE="1000", FETCH_AMOUNT="1000"
    )
    rig.history.max_payload_bytes = 64 * 1024
    rig.start()
    history = rig.check()
    assert len(history.messages) > 2


def _assert_run_fails(rig: FaultRig) -> None:
    """Run a producer without a mankeli, so that the stream fills up, and assert that the run fails with a reason."""
    outcome = rig.produce(deadline_seconds=30)
    assert outcome.code in (1, 3), outcome.output
    assert '"publish_retried"' in outcome.output
    reasons = [event["reason"] for event in outcome.events if event["event"] in ("service_failed", "process_failed")]
    assert any("NATS" in reason for reason in reasons), reasons
    assert (rig.ordinal("PERSON"), rig.ordinal("PLAN")) == (0, 0)


@pytest.mark.parametrize("limit", [{"max_bytes": 20_000}, slow({"max_msgs": 3})], ids=str)
def test_a_full_stream(make_rig: MakeRig, limit: dict[str, int]) -> None:
    """The broker rejects chunks: the services fail, and no ordinal moves; when there is space, all is imported."""
    rig = make_rig(size=120)
    rig.start_collector()
    rig.limit_stream("IMPORTER", **limit)
    _assert_run_fails(rig)
    rig.limit_stream("IMPORTER", max_bytes=-1, max_msgs=-1)
    rig.start_mankeli()
    rig.check()


@pytest.mark.slow
def test_a_full_store(make_rig: MakeRig) -> None:
    """Another stream fills the broker's store: as with a full stream, all is imported when there is space."""
    rig = make_rig(nats_config="jetstream { max_file_store: 2MB }\n", size=120)
    rig.start_collector()
    rig.fill_store()
    _assert_run_fails(rig)
    rig.empty_store()
    rig.start_mankeli()
    rig.check()


@contextlib.contextmanager
def _tiny_disk(server: Server, size_bytes: int) -> Iterator[None]:
    """Mount a small file system for a server's data. Skips the test if mounting is not permitted."""
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=777", "tmpfs", str(server.data)],
            check=False,
            capture_output=True,
        ).returncode
    ):
        pytest.skip("only root may mount a small file system")
    try:
        yield
    finally:
        server.kill()
        subprocess.run(["umount", str(server.data)], check=True)


@pytest.mark.slow
def test_a_full_disk(make_nats: MakeServer, make_rig: MakeRig) -> None:
    """The broker's disk is full: no undelivered entity is passed; on a larger disk, all is imported."""
    nats = make_nats(start=False)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_tiny_disk(nats, 300_000))
        nats.start()
        rig = make_rig(nats=nats, size=600, FETCH_AMOUNT="400", MAX_CHUNK_SIZE="50")
        rig.start_collector()
        outcome = rig.produce(deadline_seconds=40)
        assert outcome.code in (1, 3), outcome.output
        assert rig.ordinal("PERSON") == 0
        nats.kill()
        stack.close()
        rig.nats.start()
        rig.start_mankeli()
        rig.check()
