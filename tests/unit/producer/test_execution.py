"""The life of an execution as a state machine: each rule, and which rule comes first."""

import pytest

from producer.batch.execution import Execution, ExecutionLimits, PublishChunks, PublishReason, Settled, Wait
from shared.model.chunking import Slice
from shared.model.errors import ExecutionFailedError, SupersededError
from shared.model.ledger_state import Progress

PANIC_SECONDS = 60.0
RETRIES = 2


def execution(*sizes: int, dead_letter_limit: int | None = None) -> Execution:
    """Return an execution over chunks of these sizes."""
    chunks, start = {}, 0
    for number, size in enumerate(sizes):
        chunks[str(number)] = Slice(start, start + size)
        start += size
    return Execution(chunks, ExecutionLimits(PANIC_SECONDS, RETRIES, dead_letter_limit))


def progress(
    of: Execution, outstanding: dict[str, int], failed: int = 0, errors: dict[str, str] | None = None, **others: object
) -> Progress:
    """Return what the ledger of this execution says when just these chunks are outstanding."""
    scheduled = sum(of.sizes.values())
    fields: dict[str, object] = {
        "execution": of.hash,
        "scheduled": scheduled,
        "updated": scheduled - sum(outstanding.values()),
        "failed": failed,
        "outstanding": outstanding,
        "errors": errors or {},
    }
    return Progress(**fields | others)


def begun(*sizes: int, dead_letter_limit: int | None = None) -> Execution:
    """Return an execution all of whose chunks were published at second 0."""
    of = execution(*sizes, dead_letter_limit=dead_letter_limit)
    assert isinstance(of.next_step(progress(of, of.sizes), 0.0), PublishChunks)
    return of


def test_first_all_chunks_are_published() -> None:
    """In the order of the entities, as the first attempt; then there is nothing to do but wait."""
    of = execution(100, 100, 7)
    assert of.next_step(progress(of, of.sizes), 0.0) == PublishChunks(
        {"0": Slice(0, 100), "1": Slice(100, 200), "2": Slice(200, 207)}, 1, PublishReason.FIRST
    )
    assert of.next_step(progress(of, of.sizes), 0.0) == Wait()


def test_each_execution_has_a_hash_of_its_own() -> None:
    """24 hex digits, never the same."""
    hashes = {execution(1).hash for _ in range(100)}
    assert len(hashes) == 100
    assert all(len(each) == 24 and int(each, 16) >= 0 for each in hashes)


def test_an_empty_ledger_with_counters_that_agree_is_settled() -> None:
    """The error texts of what was rejected are handed on."""
    of = begun(100, 1)
    assert of.next_step(progress(of, {}, failed=1, errors={"1": "bad"}), 1.0) == Settled({"1": "bad"})


def test_no_entities_are_settled_at_once() -> None:
    """There is nothing to publish."""
    of = execution()
    assert of.next_step(progress(of, {}), 0.0) == Settled({})


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
def test_an_empty_ledger_whose_counters_do_not_add_up_is_given_up(others: dict[str, object]) -> None:
    """Redis lost something: nothing may advance by it."""
    of = begun(100, 1)
    with pytest.raises(ExecutionFailedError, match="do not add up"):
        of.next_step(progress(of, {}, **others), 1.0)


@pytest.mark.parametrize("outstanding", [{}, {"0": 100}])
def test_another_executions_ledger_is_none_of_ours(outstanding: dict[str, int]) -> None:
    """However it looks, settled or not, it is given up; that comes before every other rule."""
    of = begun(100)
    for failed in (0, 100):
        with pytest.raises(SupersededError):
            of.next_step(progress(of, outstanding, failed=failed, execution="2b" * 12), 1.0)


def test_the_halves_of_a_split_are_published_once() -> None:
    """Only they, in order, and as part of the same attempt."""
    of = begun(100, 7)
    outstanding = {"1": 7, "0.1": 50, "0.0": 50}
    assert of.next_step(progress(of, outstanding), 1.0) == PublishChunks(
        {"0.0": Slice(0, 50), "0.1": Slice(50, 100)}, 1, PublishReason.SPLIT
    )
    assert of.next_step(progress(of, outstanding), 2.0) == Wait()


def test_without_progress_everything_outstanding_is_sent_again() -> None:
    """After the panic time-out and not before, under the next attempt number."""
    of = begun(100, 7)
    outstanding = {"1": 7}
    assert of.next_step(progress(of, outstanding), 10.0) == Wait()
    assert of.next_step(progress(of, outstanding), 10.0 + PANIC_SECONDS - 0.1) == Wait()
    assert of.next_step(progress(of, outstanding), 10.0 + PANIC_SECONDS) == PublishChunks(
        {"1": Slice(100, 107)}, 2, PublishReason.RESENT
    )


def test_the_wait_starts_when_everything_is_published() -> None:
    """However long the broker takes to confirm the chunks, mankelis have the whole of it afterwards."""
    of = begun(100)
    of.confirm_published(10 * PANIC_SECONDS)
    assert of.next_step(progress(of, {"0": 100}), 11 * PANIC_SECONDS - 0.1) == Wait()
    assert isinstance(of.next_step(progress(of, {"0": 100}), 11 * PANIC_SECONDS), PublishChunks)


def test_progress_restarts_the_wait() -> None:
    """It is time without progress that counts, not time in total; re-sends are counted in a row."""
    of = begun(*[1] * 20)
    outstanding = dict(of.sizes)
    now = 0.0
    for chunk in list(of.sizes)[:10]:
        now += PANIC_SECONDS
        again = of.next_step(progress(of, dict(outstanding)), now)
        assert isinstance(again, PublishChunks)
        now += PANIC_SECONDS / 2
        del outstanding[chunk]
        assert of.next_step(progress(of, dict(outstanding)), now) == Wait()
        assert of.consecutive_resends == 0


def test_after_too_many_re_sends_in_a_row_it_is_given_up() -> None:
    """So often it was sent again, and nothing has settled: the message says what stands how."""
    of = begun(100, 7)
    attempts = []
    for number in range(1, RETRIES + 1):
        again = of.next_step(progress(of, {"1": 7}), number * PANIC_SECONDS + 1)
        if number == 1:  # the first look after the settling of chunk 0 is progress
            assert again == Wait()
        else:
            assert isinstance(again, PublishChunks)
            attempts.append(again.attempt)
    assert of.next_step(progress(of, {"1": 7}), (RETRIES + 1) * PANIC_SECONDS + 1) == PublishChunks(
        {"1": Slice(100, 107)}, 3, PublishReason.RESENT
    )
    with pytest.raises(ExecutionFailedError, match=r"nor after 2 re-sends: 1 chunks .* 100 of 107 entities"):
        of.next_step(progress(of, {"1": 7}), (RETRIES + 2) * PANIC_SECONDS + 1)
    assert attempts == [2]


def test_halves_that_come_after_a_re_send_belong_to_the_new_attempt() -> None:
    """Their message ids differ from those that the broker may still remember."""
    of = begun(100)
    of.next_step(progress(of, {"0": 100}), PANIC_SECONDS)
    halves = of.next_step(progress(of, {"0.0": 50, "0.1": 50}), PANIC_SECONDS + 1)
    assert isinstance(halves, PublishChunks)
    assert (halves.attempt, halves.reason) == (2, PublishReason.SPLIT)


def test_a_split_is_progress() -> None:
    """A mankeli is at work, even if on nothing but failures."""
    of = begun(100)
    of.next_step(progress(of, {"0.0": 50, "0.1": 50}), PANIC_SECONDS - 1)
    assert of.next_step(progress(of, {"0.0": 50, "0.1": 50}), PANIC_SECONDS + 1) == Wait()


@pytest.mark.parametrize(
    ("entities", "limit", "most"), [(100, None, 10), (200, None, 10), (1000, None, 50), (1000, 3, 3), (1000, 0, 0)]
)
def test_too_many_failures_are_a_broken_mankeli(entities: int, limit: int | None, most: int) -> None:
    """As many as may be kept as dead letters are fine, one more is not; whatever else would be to do."""
    of = begun(*[1] * entities, dead_letter_limit=limit)
    left = {str(entities - 1): 1}
    assert of.next_step(progress(of, left, failed=most), 1.0) == Wait()
    with pytest.raises(ExecutionFailedError, match=f"rejected {most + 1} of {entities} entities, more than {most}"):
        of.next_step(progress(of, left, failed=most + 1), 1.0)


def test_a_batch_of_failures_is_not_settled() -> None:
    """The limit holds even where the ledger is empty."""
    of = begun(*[1] * 12)
    errors = {str(number): "bad" for number in range(11)}
    with pytest.raises(ExecutionFailedError, match="broken mankeli"):
        of.next_step(progress(of, {}, failed=11, errors=errors), 1.0)


def test_it_tells_when_something_last_changed() -> None:
    """A re-send is no change."""
    of = execution(100)
    assert of.changed_at_seconds is None
    of.next_step(progress(of, {"0": 100}), 5.0)
    of.next_step(progress(of, {"0": 100}), 5.0 + PANIC_SECONDS)
    assert (of.changed_at_seconds, of.consecutive_resends) == (5.0, 1)
