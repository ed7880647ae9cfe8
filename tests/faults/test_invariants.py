"""Every check accepts a correct history and rejects corrupted ones, since a check that cannot fail proves nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.harness import invariants
from tests.faults.harness.deliveries import OBSERVATION_DELAY_NS
from tests.faults.harness.history import DeadLetter, History, Message, Page, Processed, Sample

A, B, C, D = (("a", 1), ("b", 2), ("c", 3), ("d", 4))
FIRST, SECOND = "1" * 24, "2" * 24


def sample(at_ns: int, ordinal: int | None, execution: str | None, *counters: int, **others: object) -> Sample:
    """Return a sample; the counters are SCHEDULED, UPDATED and FAILED."""
    chunks = {"0": counters[0] - counters[1]} if counters[0] > counters[1] else {}
    result = Sample(at_ns, 0, "PERSON", ordinal, execution, counters[0], counters[1], counters[2], chunks)
    return replace(result, **others)  # type: ignore[arg-type]


def message(at_ns: int, execution: str, chunk: str, *entities: str) -> Message:
    """Return the message of a chunk."""
    return Message(at_ns, "PERSON", f"{execution}:{chunk}:1", 500, execution, chunk, entities)


@pytest.fixture
def good() -> History:
    """Return a history of two pages: a, b and c are stored, and d is rejected."""
    return History(
        pages=[Page(1, "PERSON", 0, 2, (A, B)), Page(2, "PERSON", 2, 4, (C, D))],
        messages=[
            message(3, FIRST, "0", "a", "b"),
            message(7, SECOND, "0", "c", "d"),
            message(8, SECOND, "0.0", "c"),
            message(8, SECOND, "0.1", "d"),
        ],
        samples=[
            sample(2, None, FIRST, 2, 0, 0),
            sample(5, None, FIRST, 2, 2, 0),
            sample(6, 2, FIRST, 2, 2, 0),
            sample(7, 2, SECOND, 2, 0, 0),
            sample(8, 2, SECOND, 2, 0, 0, chunks={"0.0": 1, "0.1": 1}),
            sample(10, 2, SECOND, 2, 1, 0, chunks={"0.1": 1}),
            sample(12, 2, SECOND, 2, 2, 1),
            sample(14, 4, SECOND, 2, 2, 1),
        ],
        processed=[Processed(4, "PERSON", FIRST, "0", (A, B)), Processed(9, "PERSON", SECOND, "0.0", (C,))],
        dead_letters=[DeadLetter(13, "PERSON", SECOND, "d", "rejected")],
        kept_dead_letters=[DeadLetter(13, "PERSON", SECOND, "d", "rejected")],
        rejected=frozenset({"d"}),
        faults_ended_at_ns=1,
        complete_at_ns=15,
        expected_ordinals={"PERSON": 4},
    )


def test_a_good_history_passes(good: History) -> None:
    """No check rejects a correct history."""
    invariants.check_all(good, bound_seconds=1)
    invariants.check_i10(good)


def _never_stored(history: History) -> None:
    history.processed[0] = replace(history.processed[0], entities=(A,))


def _stored_too_late(history: History) -> None:
    history.processed[0] = replace(history.processed[0], at_ns=100)


def _stored_by_two_executions(history: History) -> None:
    history.processed[:1] = [Processed(4, "PERSON", FIRST, "0", (A,)), Processed(4, "PERSON", SECOND, "9", (B,))]


def _stored_by_an_earlier_execution(history: History) -> None:
    history.processed[0] = replace(history.processed[0], execution="0" * 24)


def _no_dead_letter(history: History) -> None:
    history.dead_letters.clear()
    history.kept_dead_letters.clear()


def _dead_letter_too_late(history: History) -> None:
    history.kept_dead_letters[0] = replace(history.dead_letters[0], at_ns=20)
    history.dead_letters[0] = replace(history.dead_letters[0], at_ns=20 + OBSERVATION_DELAY_NS)


def _page_skipped(history: History) -> None:
    history.samples.insert(3, sample(6, 4, FIRST, 2, 2, 0))


def _too_much_counted(history: History) -> None:
    history.samples.insert(2, sample(5, None, FIRST, 2, 3, 0, chunks={}))


def _counter_decreased(history: History) -> None:
    history.samples.insert(2, sample(5, None, FIRST, 2, 1, 0))


def _scheduled_changed(history: History) -> None:
    history.samples.insert(2, sample(5, None, FIRST, 3, 2, 0))


def _failed_decreased(history: History) -> None:
    history.samples.append(replace(history.samples[-1], failed=0))


def _counter_missing(history: History) -> None:
    history.samples.append(replace(history.samples[-1], updated=None))


def _counted_but_not_stored(history: History) -> None:
    history.processed[0] = replace(history.processed[0], execution=SECOND, chunk="7")


def _counted_before_it_was_stored(history: History) -> None:
    history.processed[0] = replace(history.processed[0], at_ns=6)


def _more_failed_than_rejected(history: History) -> None:
    history.rejected = frozenset()


def _chunk_lost(history: History) -> None:
    history.samples[0] = replace(history.samples[0], chunks={"0": 1})


def _chunk_and_its_part(history: History) -> None:
    history.samples[4] = replace(history.samples[4], chunks={"0": 1, "0.1": 1})


def _chunk_outstanding_again(history: History) -> None:
    history.samples.append(replace(history.samples[-1], updated=1, failed=0, chunks={"0": 1}))


def _half_with_another_entity(history: History) -> None:
    history.messages[2] = replace(history.messages[2], entities=("x",))


def _ordinal_decreased(history: History) -> None:
    history.samples.append(replace(history.samples[-1], ordinal=2))


def _ordinal_was_lost(history: History) -> None:
    history.samples.append(replace(history.samples[-1], ordinal=None))


def _ordinal_without_page(history: History) -> None:
    history.samples[-1] = replace(history.samples[-1], ordinal=5)


def _two_advances(history: History) -> None:
    history.pages.append(Page(2, "PERSON", 2, 3, (C,)))
    history.samples += [sample(15, 2, FIRST, 2, 2, 0), sample(16, 3, FIRST, 2, 2, 0)]


def _never_complete(history: History) -> None:
    history.complete_at_ns = None


def _complete_too_late(history: History) -> None:
    history.complete_at_ns = 10_000_000_000


def _wrong_final_ordinal(history: History) -> None:
    history.expected_ordinals = {"PERSON": 5}


def _store_differs(history: History) -> None:
    history.differences.append("one is missing")


def _two_dead_letters(history: History) -> None:
    history.kept_dead_letters *= 2


def _dead_letter_of_a_stored_entity(history: History) -> None:
    history.kept_dead_letters.append(replace(history.kept_dead_letters[0], entity="a"))


def _too_large(history: History) -> None:
    history.max_payload_bytes = 499


def _empty_chunk(history: History) -> None:
    history.messages[0] = replace(history.messages[0], entities=())


def _message_twice(history: History) -> None:
    history.messages.append(history.messages[0])


def _chunk_stored_twice(history: History) -> None:
    history.processed.append(replace(history.processed[0], entities=()))


def _version_stored_twice(history: History) -> None:
    history.processed.append(replace(history.processed[0], chunk="5"))


CORRUPTIONS: dict[str, list[Callable[[History], None]]] = {
    "i1": [
        _never_stored,
        _stored_too_late,
        _stored_by_two_executions,
        _stored_by_an_earlier_execution,
        _no_dead_letter,
        _dead_letter_too_late,
        _page_skipped,
    ],
    "i2": [_too_much_counted, _counter_decreased, _scheduled_changed, _failed_decreased, _counter_missing],
    "i3": [_counted_but_not_stored, _counted_before_it_was_stored, _more_failed_than_rejected],
    "i4": [_chunk_lost, _chunk_and_its_part, _chunk_outstanding_again, _half_with_another_entity],
    "i5": [_ordinal_decreased, _ordinal_was_lost],
    "i6": [_ordinal_without_page, _two_advances],
    "i7": [_never_complete, _complete_too_late, _wrong_final_ordinal, _store_differs],
    "i8": [_no_dead_letter, _two_dead_letters, _dead_letter_of_a_stored_entity],
    "i9": [_too_large, _empty_chunk],
    "i10": [_message_twice, _chunk_stored_twice, _version_stored_twice],
}


@pytest.mark.parametrize(
    ("name", "corrupt"), [(name, corrupt) for name, corruptions in CORRUPTIONS.items() for corrupt in corruptions]
)
def test_each_check_rejects_a_corrupted_history(good: History, name: str, corrupt: Callable[[History], None]) -> None:
    """The check of an invariant rejects each kind of history that breaks it."""
    corrupt(good)
    check = getattr(invariants, f"check_{name}")
    with pytest.raises(AssertionError, match=f"^{name.upper()}: "):
        check(good, *([1.0] if name == "i7" else []))


def test_a_message_of_an_earlier_execution_is_rejected(good: History) -> None:
    """A message of an execution after the messages of the next one is rejected."""
    invariants.check_no_zombies(good)
    good.messages.append(good.messages[0])
    with pytest.raises(AssertionError, match=r"^zombie: "):
        invariants.check_no_zombies(good)


def test_values_may_decrease_after_a_data_loss(good: History) -> None:
    """Samples from before a data loss of Redis are not compared with those after it."""
    good.samples.append(sample(20, None, FIRST, 2, 0, 0, epoch=1))
    invariants.check_i2(good)
    invariants.check_i5(good)
    invariants.check_i6(good)
