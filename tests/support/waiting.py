"""Waiting in tests: for a condition with a deadline, never for a time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

_POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], T], description: str, deadline_seconds: float = 20) -> T:
    """Wait until `condition` returns something true, and return that. What it raises is raised.

    Not for code that runs in an event loop: see `wait_until_async`.
    """
    deadline = time.monotonic() + deadline_seconds
    while not (result := condition()):
        _check_deadline(deadline, description, deadline_seconds, result)
        time.sleep(_POLL_SECONDS)
    return result


@overload
async def wait_until_async(
    condition: Callable[[], Awaitable[T]], description: str, deadline_seconds: float = 20
) -> T: ...


@overload
async def wait_until_async(condition: Callable[[], T], description: str, deadline_seconds: float = 20) -> T: ...


async def wait_until_async(
    condition: Callable[[], Awaitable[T] | T], description: str, deadline_seconds: float = 20
) -> T:
    """Do the same as `wait_until` for a condition that may be async, without blocking the event loop.

    A condition that hangs is cancelled at the deadline.
    """
    deadline = time.monotonic() + deadline_seconds
    result: T | None = None
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline_seconds) as limit:
            while True:
                value = condition()
                result = await value if inspect.isawaitable(value) else value
                if result:
                    return result
                _check_deadline(deadline, description, deadline_seconds, result)
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        if not limit.expired():
            raise  # the condition's own
        raise AssertionError(_message(description, deadline_seconds, result)) from None


def _check_deadline(deadline: float, description: str, deadline_seconds: float, result: object) -> None:
    if time.monotonic() > deadline:
        raise AssertionError(_message(description, deadline_seconds, result))


def _message(description: str, deadline_seconds: float, result: object) -> str:
    return f"timed out after {deadline_seconds:g} s: {description} (the last result was {result!r})"
