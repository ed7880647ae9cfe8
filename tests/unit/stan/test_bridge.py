"""What the bridge decides, step by step: its own parts, between stand-ins for JetStream, STAN and Redis that record.

The same bridge runs on real servers in tests/acceptance and tests/faults.
"""

import json
import time
from dataclasses import dataclass, field

import pytest

from shared.model import keys
from shared.model.errors import BrokerRejectedError, DependencyLostError
from shared.runtime.shutdown import Stop
from stan_bridge import bridge as module
from stan_bridge.bridge import Bridge
from stan_bridge.messages import InvalidReportError, Report

EXECUTION, OTHER = "9f" * 12, "00" * 12
CHANNEL = "ORI_PERSON_CHANNEL"


@dataclass
class Message:
    """A chunk from JetStream."""

    chunk_id: str
    size: int = 3
    execution: str = EXECUTION
    attempt: int = 1
    subject: str = CHANNEL
    body: bytes | None = None
    acknowledged: bool = False
    released: bool = False

    @property
    def data(self) -> bytes:
        entities = ",".join('{"id":"x"}' for _ in range(self.size))
        text = f'{{"executionHash":"{self.execution}","chunkId":"{self.chunk_id}","entities":[{entities}]}}'
        return self.body if self.body is not None else text.encode()

    @property
    def message_id(self) -> str:
        return keys.message_id(self.execution, self.chunk_id, self.attempt)

    def header(self, name: str) -> str:
        return {keys.EXECUTION_HEADER: self.execution, keys.CHUNK_HEADER: self.chunk_id}[name]

    async def acknowledge(self) -> None:
        self.acknowledged = True

    async def nak(self) -> None:
        self.released = True

    async def keep(self) -> None:
        """Nothing to record."""


@dataclass
class Surroundings:
    """JetStream, STAN and Redis, as the bridge uses them."""

    current: str = EXECUTION
    sent: list[dict[str, object]] = field(default_factory=list)
    feedback: list[dict[str, object]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    max_data_bytes: int = 1_000_000
    is_replaced: bool = False
    is_full: bool = False

    async def read(self) -> str:
        return self.current

    async def start_wave(self, execution: str, wave: str) -> str:
        if self.current.partition(":")[0] != execution:
            return "STALE"
        self.current = wave
        return "STARTED"

    async def check(self) -> None:
        if self.is_replaced:
            raise DependencyLostError("replaced")

    async def publish(self, *arguments: object) -> None:
        if len(arguments) == 2:
            self.sent.append(json.loads(arguments[1]))  # type: ignore[arg-type]
            return
        if self.is_full:
            raise BrokerRejectedError("full")
        self.feedback.append(json.loads(arguments[2]))  # type: ignore[arg-type]
        self.ids.append(str(arguments[3]))


class Harness:
    """A bridge that is driven step by step."""

    def __init__(self) -> None:
        self.around = Surroundings()
        self.bridge = Bridge(None, self.around, self.around, self.around, Stop())  # type: ignore[arg-type]

    async def take(self, *messages: Message) -> None:
        """Let chunks arrive, and send what is to be sent."""
        self.bridge._arrived.extend(messages)  # type: ignore[arg-type]
        await self.bridge.dispatch()
        await self.flush()

    async def flush(self) -> None:
        """Send the feedback that is due, and what became possible by it."""
        while not self.bridge._reports.empty():
            await self.bridge._send_feedback(*self.bridge._reports.get_nowait())
        await self.bridge.dispatch()

    async def report(self, piece: dict[str, object], *, ok: bool = True, **others: object) -> None:
        """Report a piece as a worker would."""
        entities = piece["entities"]
        assert isinstance(entities, list)
        fields = {"wave": piece["executionHash"], "channel": CHANNEL, "is_stored": ok}
        fields |= {"amount": len(entities) if ok else 0, "piece_name": "" if ok else piece["piece"], "stack": "why"}
        self.bridge.take_report(Report(**fields | others))  # type: ignore[arg-type]
        await self.flush()


@pytest.fixture
async def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Return a bridge that announces a wave without a pause."""
    monkeypatch.setattr(module, "_ANNOUNCEMENT_SECONDS", 0)
    return Harness()


async def test_a_chunk_from_one_side_to_the_other_and_back(harness: Harness) -> None:
    """It goes under a wave, is reported under its execution, and is acknowledged after its feedback."""
    message = Message("3.0")
    await harness.take(message)
    [piece] = harness.around.sent
    assert str(piece["executionHash"]).startswith(f"{EXECUTION}:")
    assert harness.around.current == piece["executionHash"]
    assert not message.acknowledged
    assert harness.bridge.pieces_out == 1
    await harness.report(piece)
    [feedback] = harness.around.feedback
    assert (feedback["status"], feedback["executionHash"], feedback["chunkId"]) == ("OK", EXECUTION, "3.0")
    assert feedback["amount"] == 3
    assert message.acknowledged
    assert harness.bridge.pieces_out == 0


async def test_a_chunk_of_another_execution_is_discarded(harness: Harness) -> None:
    """It is acknowledged without feedback, and disturbs no wave."""
    message = Message("0", execution=OTHER)
    await harness.take(message)
    assert message.acknowledged
    assert harness.around.sent == []
    assert harness.around.current == EXECUTION


async def test_a_late_chunk_does_not_disturb_the_current_execution(harness: Harness) -> None:
    """It is discarded alone: what is out of the current execution is still reported."""
    current, late = Message("0"), Message("0", execution=OTHER)
    await harness.take(current)
    await harness.take(late)
    assert late.acknowledged
    assert not current.acknowledged
    await harness.report(harness.around.sent[0])
    assert [each["executionHash"] for each in harness.around.feedback] == [EXECUTION]


async def test_an_execution_that_ends_meanwhile(harness: Harness) -> None:
    """Where another execution is current when a wave is due, all chunks of this one are discarded."""
    first, second = Message("0", 1), Message("1", 1)
    await harness.take(first, second)
    harness.around.current = OTHER
    await harness.report(harness.around.sent[0])
    assert len(harness.around.sent) == 1
    assert second.acknowledged
    assert harness.around.current == OTHER


async def test_a_replaced_session_starts_no_wave(harness: Harness) -> None:
    """A bridge that was paused finds out that it was replaced before it disturbs its successor."""
    harness.around.is_replaced = True
    with pytest.raises(DependencyLostError):
        await harness.take(Message("0"))
    assert harness.around.current == EXECUTION


async def test_a_failure(harness: Harness) -> None:
    """It fails its whole chunk, with the worker's error text; the other piece is late."""
    messages = [Message("0", 10), Message("1", 10)]
    await harness.take(*messages)
    whole, first, second = harness.around.sent
    await harness.report(first, ok=False)
    [feedback] = harness.around.feedback
    assert (feedback["status"], feedback["chunkId"], feedback["stack"]) == ("FAIL", "1", "why")
    await harness.report(second)
    await harness.report(whole)
    assert [each["chunkId"] for each in harness.around.feedback] == ["1", "0"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"wave": f"{OTHER}:a"},
        {"wave": EXECUTION},
        {"channel": "OTHER"},
        {"amount": 4},
        {"is_stored": False, "piece_name": ""},
        {"is_stored": False, "piece_name": "1/0+3"},
    ],
)
async def test_a_report_that_names_no_piece(harness: Harness, wrong: dict[str, object]) -> None:
    """Another execution, channel or size, or a failure without its piece's name, changes nothing."""
    await harness.take(Message("0"))
    with pytest.raises(InvalidReportError):
        await harness.report(harness.around.sent[0], **wrong)
    assert harness.around.feedback == []


async def test_a_report_on_the_same_nonce_of_another_execution(harness: Harness) -> None:
    """What belongs to another execution is named so in the log, whatever else it says."""
    await harness.take(Message("0"))
    nonce = str(harness.around.sent[0]["executionHash"]).partition(":")[2]
    with pytest.raises(InvalidReportError, match="another execution"):
        await harness.report(harness.around.sent[0], wave=f"{OTHER}:{nonce}")


async def test_a_resend_of_the_core(harness: Harness) -> None:
    """It starts one new wave with everything that is not settled; all messages of a chunk are acknowledged."""
    first, second, third = Message("0"), Message("1", 5), Message("2", 7)
    await harness.take(first, second, third)
    await harness.report(harness.around.sent[0])
    harness.around.current = EXECUTION  # the core announces it again
    again = [Message("1", 5, attempt=2), Message("2", 7, attempt=2)]
    await harness.take(again[0])
    await harness.take(again[1])
    resent = harness.around.sent[3:]
    assert sorted(str(piece["chunkId"]) for piece in resent) == ["1", "2"]
    assert len({piece["executionHash"] for piece in harness.around.sent}) == 2
    for piece in resent:
        await harness.report(piece)
    assert all(message.acknowledged for message in (first, second, third, *again))


async def test_a_report_of_an_earlier_wave_counts(harness: Harness) -> None:
    """A worker that finishes under the old wave has stored the chunk."""
    await harness.take(Message("0"))
    await harness.take(Message("0", attempt=2))
    old, new = harness.around.sent
    await harness.report(old)
    await harness.report(new)
    assert [each["status"] for each in harness.around.feedback] == ["OK"]


async def test_a_redelivery(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What JetStream delivers again, although it was kept, goes under a new wave; right after sending it does not."""
    await harness.take(Message("0"))
    await harness.take(Message("0"))
    assert len(harness.around.sent) == 1
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 60)
    await harness.take(Message("0"))
    assert len(harness.around.sent) == 2
    assert harness.around.sent[0]["executionHash"] != harness.around.sent[1]["executionHash"]


async def test_a_resend_of_a_settled_chunk(harness: Harness) -> None:
    """Feedback that the broker lost is sent again under the new attempt, without bothering a worker."""
    await harness.take(Message("0"))
    await harness.report(harness.around.sent[0])
    again = Message("0", attempt=2)
    await harness.take(again)
    assert len(harness.around.sent) == 1
    assert [each["chunkId"] for each in harness.around.feedback] == ["0", "0"]
    assert len(set(harness.around.ids)) == 2
    assert again.acknowledged


async def test_feedback_that_is_rejected(harness: Harness) -> None:
    """The chunk is not acknowledged, so JetStream delivers it again."""
    message = Message("0")
    await harness.take(message)
    harness.around.is_full = True
    await harness.report(harness.around.sent[0])
    assert not message.acknowledged


@pytest.mark.parametrize("size", [1, 4])
async def test_a_chunk_that_is_too_large(harness: Harness, size: int) -> None:
    """A chunk that fits into no two pieces fails at once: the core splits it, down to a dead letter."""
    harness.bridge._max_piece_bytes = 5
    message = Message("0", size)
    await harness.take(message)
    [feedback] = harness.around.feedback
    assert feedback["status"] == "FAIL"
    assert "larger" in str(feedback["stack"])
    assert message.acknowledged
    assert harness.around.sent == []


async def test_a_chunk_that_cannot_be_parsed(harness: Harness) -> None:
    """It fails by its headers."""
    await harness.take(Message("5", body=b"{"))
    [feedback] = harness.around.feedback
    assert (feedback["status"], feedback["chunkId"]) == ("FAIL", "5")


async def test_a_new_execution_replaces_the_old_one(harness: Harness) -> None:
    """Chunks of the next batch end what is left of the one before."""
    old = Message("0")
    await harness.take(old)
    harness.around.current = OTHER
    await harness.take(Message("0", execution=OTHER))
    assert old.acknowledged
    assert str(harness.around.sent[1]["executionHash"]).startswith(OTHER)
    with pytest.raises(InvalidReportError):
        await harness.report(harness.around.sent[0])
