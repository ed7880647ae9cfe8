"""Coroutines side by side."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of `work` at once, to its end.

    The first error cancels the rest and is raised itself, not wrapped in a group: callers decide by its type.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__


async def end(*tasks: asyncio.Task[Any], again_seconds: float = 5.0) -> None:
    """Cancel tasks and wait until they have ended, however they do.

    Cancelled again where one goes on: up to Python 3.11 `asyncio.wait_for`, which redis-py uses for every command, can
    swallow a cancellation (CPython gh-86296). Clean-up that takes longer is interrupted by that.
    """
    unfinished = set(tasks)
    while unfinished:
        for task in unfinished:
            task.cancel()
        _, unfinished = await asyncio.wait(unfinished, timeout=again_seconds)
    await asyncio.gather(*tasks, return_exceptions=True)  # or asyncio would complain of errors that nobody saw
