"""Waiting in tests: for a condition, with a deadline, never for a time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

_POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], T], description: str, deadline_seconds: float = 20) -> T:
    """Wait until `condition` answers something true, and answer that. What it raises is raised.

    Not for code that runs beside an event loop: see `wait_until_async`.
    """
    deadline = time.monotonic() + deadline_seconds
    while not (answer := condition()):
        _check_deadline(deadline, description, deadline_seconds, answer)
        time.sleep(_POLL_SECONDS)
    return answer


@overload
async def wait_until_async(
    condition: Callable[[], Awaitable[T]], description: str, deadline_seconds: float = 20
) -> T: ...


@overload
async def wait_until_async(condition: Callable[[], T], description: str, deadline_seconds: float = 20) -> T: ...


async def wait_until_async(
    condition: Callable[[], Awaitable[T] | T], description: str, deadline_seconds: float = 20
) -> T:
    """Do as `wait_until` does, for a condition that may be async, and let the event loop go on meanwhile.

    A condition that itself hangs is cut off at the deadline.
    """
    deadline = time.monotonic() + deadline_seconds
    answer: T | None = None
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline_seconds) as limit:
            while True:
                asked = condition()
                answer = await asked if inspect.isawaitable(asked) else asked
                if answer:
                    return answer
                _check_deadline(deadline, description, deadline_seconds, answer)
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        if not limit.expired():
            raise  # the condition's own
        raise AssertionError(_message(description, deadline_seconds, answer)) from None


def _check_deadline(deadline: float, description: str, deadline_seconds: float, answer: object) -> None:
    if time.monotonic() > deadline:
        raise AssertionError(_message(description, deadline_seconds, answer))


def _message(description: str, deadline_seconds: float, answer: object) -> str:
    return f"waited {deadline_seconds:g} s in vain: {description} (the last answer was {answer!r})"
