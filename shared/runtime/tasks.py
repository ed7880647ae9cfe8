"""Helpers for coroutines that run side by side."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_COMPUTATIONS = ThreadPoolExecutor(max_workers=1, thread_name_prefix="computation")
"""Not asyncio's own threads: those may all be waiting for something."""


async def run_concurrently(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of `work` concurrently, and return when all of it is done.

    The first error cancels the rest and is raised itself, not wrapped in a group: callers decide by its type.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__


async def run_in_thread(compute: Callable[[], T]) -> T:
    """Return the result of `compute`, which only computes, without holding up the event loop for more than moments.

    One at a time. Where the wait is cancelled, the computation ends by itself, and its result is discarded.
    """
    return await asyncio.get_running_loop().run_in_executor(_COMPUTATIONS, compute)


async def wait_for_event(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until `event` is set, for at most `seconds` or, with None, without a limit. Return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def cancel_and_wait(*tasks: asyncio.Task[Any], again_seconds: float = 5.0) -> None:
    """Cancel tasks and wait until they have ended, whatever their result.

    A task that keeps running is cancelled again: up to Python 3.11 `asyncio.wait_for`, which redis-py uses for every
    command, can swallow a cancellation (CPython gh-86296). Clean-up that takes longer is interrupted by that.
    """
    unfinished = set(tasks)
    while unfinished:
        for task in unfinished:
            task.cancel()
        _, unfinished = await asyncio.wait(unfinished, timeout=again_seconds)
    # Retrieve the errors, or asyncio would log that they never were.
    await asyncio.gather(*tasks, return_exceptions=True)
