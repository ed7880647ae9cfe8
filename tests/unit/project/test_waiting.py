"""The helpers that wait: they fail at their deadline, with a description of what they waited for."""

import asyncio

import pytest

from tests.support.waiting import wait_until, wait_until_async

SHORT_SECONDS = 0.2


async def hang() -> bool:
    """Wait until cancelled."""
    await asyncio.Event().wait()
    return True


def test_a_wait_that_times_out_fails_with_the_description() -> None:
    """The message contains what was waited for, and the last result."""
    with pytest.raises(AssertionError, match=r"timed out after 0\.2 s: the moon is blue \(the last result was \[\]\)"):
        wait_until(list, "the moon is blue", SHORT_SECONDS)


@pytest.mark.parametrize("condition", [hang, lambda: False])
async def test_an_async_wait_times_out_even_if_the_condition_hangs(condition: object) -> None:
    """The deadline holds for the condition itself, too."""
    with pytest.raises(AssertionError, match=r"timed out after 0\.2 s: the moon is blue"):
        await wait_until_async(condition, "the moon is blue", SHORT_SECONDS)  # type: ignore[call-overload]


async def test_a_wait_returns_the_result_of_the_condition() -> None:
    """The result of a plain or async condition is returned, and an error of it is raised, even its own time-out."""

    async def three() -> int:
        return 3

    async def time_out() -> None:
        raise TimeoutError("its own")

    assert wait_until(lambda: 3, "three") == 3
    assert await wait_until_async(lambda: 3, "three") == 3
    assert await wait_until_async(three, "three") == 3
    with pytest.raises(TimeoutError, match="its own"):
        await wait_until_async(time_out, "nothing")
