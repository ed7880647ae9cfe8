"""Concurrent coroutines: all run to their end, or until the first error."""

import asyncio

import pytest

from shared.model.errors import DependencyLostError
from shared.runtime.tasks import cancel_and_wait, run_concurrently


async def test_all_coroutines_run_at_the_same_time() -> None:
    """Each coroutine can wait for another one that comes after it."""
    all_started = asyncio.Barrier(3)
    done = []

    async def work(number: int) -> None:
        await all_started.wait()
        done.append(number)

    await run_concurrently(work(number) for number in range(3))
    assert sorted(done) == [0, 1, 2]


async def test_no_coroutines_are_done_at_once() -> None:
    """An empty list of coroutines returns at once."""
    await run_concurrently([])


async def test_the_first_error_cancels_the_rest_and_is_raised_unchanged() -> None:
    """The error is not wrapped, since callers decide by its type, and it keeps its cause."""
    cancelled = asyncio.Event()
    cause = OSError("no route")

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fail() -> None:
        raise DependencyLostError("lost") from cause

    with pytest.raises(DependencyLostError, match="lost") as raised:
        await run_concurrently([wait(), fail()])
    assert raised.value.__cause__ is cause
    assert cancelled.is_set()


async def test_cancelling_the_caller_cancels_all_coroutines() -> None:
    """The coroutines do not outlive the task that waits for them."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(run_concurrently([wait()]))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again() -> None:
    """A library that ignores the first cancellation does not keep the process alive."""
    cancellations = 0

    async def stubborn() -> None:
        nonlocal cancellations
        while cancellations < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancellations += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await cancel_and_wait(task, again_seconds=0.01)
    assert task.cancelled()
    assert cancellations == 2


async def test_the_error_of_a_cancelled_task_is_ignored() -> None:
    """An error that a task raises while it is cancelled is not raised, since its result is no longer needed."""

    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError from None

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    assert isinstance(task.exception(), ValueError)
