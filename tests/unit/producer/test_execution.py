"""The state machine of an execution: each rule, and the precedence of the rules."""

import pytest

from producer.batch.execution import Execution, ExecutionLimits, PublishChunks, PublishReason, Settled, Wait
from shared.model.chunking import Slice
from shared.model.errors import ExecutionFailedError, SupersededError
from shared.model.ledger_state import Progress

PANIC_SECONDS = 60.0
RETRIES = 2


def new_execution(*sizes: int, dead_letter_limit: int | None = None) -> Execution:
    """Return an execution over chunks of these sizes, of which nothing is published yet."""
    chunks, start = {}, 0
    for number, size in enumerate(sizes):
        chunks[str(number)] = Slice(start, start + size)
        start += size
    return Execution(chunks, ExecutionLimits(PANIC_SECONDS, RETRIES, dead_letter_limit))


def progress(
    execution: Execution,
    outstanding: dict[str, int],
    /,
    failed: int = 0,
    errors: dict[str, str] | None = None,
    **others: object,
) -> Progress:
    """Return the progress in the ledger of this execution if exactly these chunks are outstanding."""
    scheduled = sum(execution.sizes.values())
    fields: dict[str, object] = {
        "execution": execution.hash,
        "scheduled": scheduled,
        "updated": scheduled - sum(outstanding.values()),
        "failed": failed,
        "outstanding": outstanding,
        "errors": errors or {},
    }
    return Progress(**fields | others)


def published_execution(*sizes: int, dead_letter_limit: int | None = None) -> Execution:
    """Return an execution all of whose chunks were published at second 0."""
    execution = new_execution(*sizes, dead_letter_limit=dead_letter_limit)
    assert isinstance(execution.next_step(progress(execution, execution.sizes), 0.0), PublishChunks)
    return execution


def test_the_first_step_publishes_all_chunks() -> None:
    """The chunks are published in the order of the entities, as the first attempt; the next step is to wait."""
    execution = new_execution(100, 100, 7)
    assert execution.next_step(progress(execution, execution.sizes), 0.0) == PublishChunks(
        {"0": Slice(0, 100), "1": Slice(100, 200), "2": Slice(200, 207)}, 1, PublishReason.FIRST
    )
    assert execution.next_step(progress(execution, execution.sizes), 0.0) == Wait()


def test_each_execution_has_a_hash_of_its_own() -> None:
    """The hashes of executions have 24 hex digits and never repeat."""
    hashes = {new_execution(1).hash for _ in range(100)}
    assert len(hashes) == 100
    assert all(len(each) == 24 and int(each, 16) >= 0 for each in hashes)


def test_an_empty_ledger_with_consistent_counters_is_settled() -> None:
    """A settled execution passes on the error texts of the rejected entities."""
    execution = published_execution(100, 1)
    assert execution.next_step(progress(execution, {}, failed=1, errors={"1": "bad"}), 1.0) == Settled({"1": "bad"})


def test_an_execution_without_entities_is_settled_at_once() -> None:
    """Nothing is published for a batch without entities."""
    execution = new_execution()
    assert execution.next_step(progress(execution, {}), 0.0) == Settled({})


@pytest.mark.parametrize(
    "others",
    [
        {"scheduled": 100},
        {"updated": 100},
        {"updated": 102},
        {"failed": 1},
        {"errors": {"1": "bad"}},
        {"scheduled": -1, "updated": -1},
    ],
)
def test_an_empty_ledger_with_inconsistent_counters_fails(others: dict[str, object]) -> None:
    """Counters that do not add up show that Redis lost data, so the ordinal must not advance."""
    execution = published_execution(100, 1)
    with pytest.raises(ExecutionFailedError, match="do not add up"):
        execution.next_step(progress(execution, {}, **others), 1.0)


@pytest.mark.parametrize(
    "chunk", [{"foo": 5}, {"2": 7}, {"1": 6}, {"0.2": 50}, {"0.0": 49}, {"1.x": 1}, {"-1": 7}, {"\ufffd": 1}, {"": 1}]
)
def test_a_chunk_that_it_never_had_is_given_up(chunk: dict[str, int]) -> None:
    """A ledger that was changed by hand ends the execution, and nothing is published."""
    execution = published_execution(100, 7)
    with pytest.raises(ExecutionFailedError, match="changed by hand"):
        execution.next_step(progress(execution, {"0": 100} | chunk), 1.0)


@pytest.mark.parametrize("chunk", ["foo", "2", "0", "1.0"])
def test_an_error_text_of_no_entity_is_given_up(chunk: str) -> None:
    """An error text belongs to a chunk of one entity; with any other the batch is not settled."""
    execution = published_execution(100, 1)
    with pytest.raises(ExecutionFailedError, match="changed by hand"):
        execution.next_step(progress(execution, {}, failed=1, errors={chunk: "bad"}), 1.0)


@pytest.mark.parametrize("outstanding", [{}, {"0": 100}])
def test_the_ledger_of_another_execution_is_superseded(outstanding: dict[str, int]) -> None:
    """A ledger of another execution ends this one, settled or not; this rule precedes all others."""
    execution = published_execution(100)
    for failed in (0, 100):
        with pytest.raises(SupersededError):
            execution.next_step(progress(execution, outstanding, failed=failed, execution="2b" * 12), 1.0)


def test_the_halves_of_a_split_are_published_once() -> None:
    """Only the halves are published, in order, and as part of the same attempt."""
    execution = published_execution(100, 7)
    outstanding = {"1": 7, "0.1": 50, "0.0": 50}
    assert execution.next_step(progress(execution, outstanding), 1.0) == PublishChunks(
        {"0.0": Slice(0, 50), "0.1": Slice(50, 100)}, 1, PublishReason.SPLIT
    )
    assert execution.next_step(progress(execution, outstanding), 2.0) == Wait()


def test_without_progress_everything_outstanding_is_resent() -> None:
    """After the panic time-out, and not before, outstanding chunks are published under the next attempt number."""
    execution = published_execution(100, 7)
    outstanding = {"1": 7}
    assert execution.next_step(progress(execution, outstanding), 10.0) == Wait()
    assert execution.next_step(progress(execution, outstanding), 10.0 + PANIC_SECONDS - 0.1) == Wait()
    assert execution.next_step(progress(execution, outstanding), 10.0 + PANIC_SECONDS) == PublishChunks(
        {"1": Slice(100, 107)}, 2, PublishReason.RESENT
    )


def test_the_panic_timeout_starts_when_everything_is_published() -> None:
    """However long the broker takes to confirm the chunks, mankelis have the whole time-out afterwards."""
    execution = published_execution(100)
    execution.confirm_published(10 * PANIC_SECONDS)
    assert execution.next_step(progress(execution, {"0": 100}), 11 * PANIC_SECONDS - 0.1) == Wait()
    assert isinstance(execution.next_step(progress(execution, {"0": 100}), 11 * PANIC_SECONDS), PublishChunks)


def test_progress_restarts_the_panic_timeout() -> None:
    """Only time without progress counts, not total time, and only consecutive re-sends are counted."""
    execution = published_execution(*[1] * 20)
    outstanding = dict(execution.sizes)
    now = 0.0
    for chunk in list(execution.sizes)[:10]:
        now += PANIC_SECONDS
        step = execution.next_step(progress(execution, dict(outstanding)), now)
        assert isinstance(step, PublishChunks)
        now += PANIC_SECONDS / 2
        del outstanding[chunk]
        assert execution.next_step(progress(execution, dict(outstanding)), now) == Wait()
        assert execution.consecutive_resends == 0


def test_after_too_many_consecutive_re_sends_it_fails() -> None:
    """If nothing settles after all re-sends, the execution fails, and the error states the progress."""
    execution = published_execution(100, 7)
    attempts = []
    for number in range(1, RETRIES + 1):
        step = execution.next_step(progress(execution, {"1": 7}), number * PANIC_SECONDS + 1)
        if number == 1:  # the first poll after chunk 0 has settled is progress
            assert step == Wait()
        else:
            assert isinstance(step, PublishChunks)
            attempts.append(step.attempt)
    assert execution.next_step(progress(execution, {"1": 7}), (RETRIES + 1) * PANIC_SECONDS + 1) == PublishChunks(
        {"1": Slice(100, 107)}, 3, PublishReason.RESENT
    )
    with pytest.raises(ExecutionFailedError, match=r"nor after 2 re-sends: 1 chunks .* 100 of 107 entities"):
        execution.next_step(progress(execution, {"1": 7}), (RETRIES + 2) * PANIC_SECONDS + 1)
    assert attempts == [2]


def test_halves_after_a_re_send_belong_to_the_new_attempt() -> None:
    """The message ids of the halves differ from those that the broker may still remember."""
    execution = published_execution(100)
    execution.next_step(progress(execution, {"0": 100}), PANIC_SECONDS)
    halves = execution.next_step(progress(execution, {"0.0": 50, "0.1": 50}), PANIC_SECONDS + 1)
    assert isinstance(halves, PublishChunks)
    assert (halves.attempt, halves.reason) == (2, PublishReason.SPLIT)


def test_a_split_is_progress() -> None:
    """A split shows that a mankeli is at work, even if it only reports failures."""
    execution = published_execution(100)
    execution.next_step(progress(execution, {"0.0": 50, "0.1": 50}), PANIC_SECONDS - 1)
    assert execution.next_step(progress(execution, {"0.0": 50, "0.1": 50}), PANIC_SECONDS + 1) == Wait()


@pytest.mark.parametrize(
    ("entities", "limit", "max_failures"),
    [(100, None, 10), (200, None, 10), (1000, None, 50), (1000, 3, 3), (1000, 0, 0)],
)
def test_too_many_failures_are_a_broken_mankeli(entities: int, limit: int | None, max_failures: int) -> None:
    """The number of failures up to the dead letter limit is accepted, and one more fails the execution."""
    execution = published_execution(*[1] * entities, dead_letter_limit=limit)
    outstanding = {str(entities - 1): 1}
    assert execution.next_step(progress(execution, outstanding, failed=max_failures), 1.0) == Wait()
    error = f"rejected {max_failures + 1} of {entities} entities, more than {max_failures}"
    with pytest.raises(ExecutionFailedError, match=error):
        execution.next_step(progress(execution, outstanding, failed=max_failures + 1), 1.0)


def test_a_batch_with_too_many_failures_is_not_settled() -> None:
    """The limit of failures holds even if the ledger is empty."""
    execution = published_execution(*[1] * 12)
    errors = {str(number): "bad" for number in range(11)}
    with pytest.raises(ExecutionFailedError, match="broken mankeli"):
        execution.next_step(progress(execution, {}, failed=11, errors=errors), 1.0)


def test_the_time_of_the_last_change_is_known() -> None:
    """The first publication counts as a change, and a re-send does not."""
    execution = new_execution(100)
    assert execution.changed_at_seconds is None
    execution.next_step(progress(execution, {"0": 100}), 5.0)
    execution.next_step(progress(execution, {"0": 100}), 5.0 + PANIC_SECONDS)
    assert (execution.changed_at_seconds, execution.consecutive_resends) == (5.0, 1)
