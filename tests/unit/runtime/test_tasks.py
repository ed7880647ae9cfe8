"""Coroutines side by side: all to their end, or the first error."""

import asyncio

import pytest

from shared.model.errors import DependencyLostError
from shared.runtime.tasks import cancel_and_wait, run_concurrently


async def test_all_are_run_at_once() -> None:
    """Each coroutine can wait for another one that stands after it."""
    both_here = asyncio.Barrier(3)
    done = []

    async def work(number: int) -> None:
        await both_here.wait()
        done.append(number)

    await run_concurrently(work(number) for number in range(3))
    assert sorted(done) == [0, 1, 2]


async def test_nothing_to_do_is_done() -> None:
    """Without coroutines it returns."""
    await run_concurrently([])


async def test_the_first_error_cancels_the_rest_and_is_raised_itself() -> None:
    """Callers decide by the type of the error, so it is not wrapped, and keeps its cause."""
    cancelled = asyncio.Event()
    cause = OSError("no route")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fails() -> None:
        raise DependencyLostError("lost") from cause

    with pytest.raises(DependencyLostError, match="lost") as raised:
        await run_concurrently([waits(), fails()])
    assert raised.value.__cause__ is cause
    assert cancelled.is_set()


async def test_a_cancellation_from_outside_reaches_all() -> None:
    """When the wait for them is cancelled, so are they."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(run_concurrently([waits()]))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


async def test_a_task_that_swallows_its_cancellation_is_ended_nevertheless() -> None:
    """A library that goes on after the first cancellation does not keep the process alive for ever."""
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


async def test_the_error_of_a_task_that_is_ended_is_of_no_interest() -> None:
    """Whatever a task ends with, nobody waits for it any more."""

    async def fails() -> None:
        raise ValueError

    await cancel_and_wait(asyncio.create_task(fails()))
