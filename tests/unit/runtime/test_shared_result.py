"""Many requests within a second cost one computation, and an error is shared like a result."""

import asyncio

import pytest

from shared.runtime.shared_result import SharedResult


class Counted:
    """A computation that ends when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def compute(self) -> int:
        self.calls += 1
        await self.may_end.wait()
        if self.error:
            raise self.error
        return self.calls


async def test_concurrent_callers_share_a_computation() -> None:
    """All of them wait for the one that is under way."""
    counted = Counted()
    shared = SharedResult(counted.compute)
    callers = [asyncio.create_task(shared.get()) for _ in range(50)]
    await asyncio.sleep(0)
    counted.may_end.set()
    assert await asyncio.gather(*callers) == [1] * 50


async def test_a_result_is_kept_for_a_second() -> None:
    """From its end on; then it is computed again."""
    counted, now = Counted(), [100.0]
    counted.may_end.set()
    shared = SharedResult(counted.compute, clock=lambda: now[0])
    assert [await shared.get(), await shared.get()] == [1, 1]
    now[0] += 0.9
    assert await shared.get() == 1
    now[0] += 0.1
    assert await shared.get() == 2


async def test_an_error_is_kept_for_a_second_too() -> None:
    """What fails is not retried as fast as requests come."""
    counted, now = Counted(), [100.0]
    counted.may_end.set()
    counted.error = ValueError("broken")
    shared = SharedResult(counted.compute, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            await shared.get()
    assert counted.calls == 1
    now[0] += 1
    counted.error = None
    assert await shared.get() == 2


async def test_a_caller_that_is_gone_cancels_nothing() -> None:
    """The others still get the result."""
    counted = Counted()
    shared = SharedResult(counted.compute)
    gone, waiting = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    gone.cancel()
    counted.may_end.set()
    assert await waiting == 1
