"""The helpers that wait: they end at their deadline, and say what they waited for."""

import asyncio

import pytest

from tests.support.waiting import wait_until, wait_until_async

SHORT_SECONDS = 0.2


async def hang() -> bool:
    await asyncio.Event().wait()
    return True


def test_waiting_in_vain_fails_with_the_description() -> None:
    """The message says what was waited for, and what was there instead."""
    with pytest.raises(AssertionError, match=r"timed out after 0.2 s: the moon is blue \(the last result was \[\]\)"):
        wait_until(list, "the moon is blue", SHORT_SECONDS)


@pytest.mark.parametrize("condition", [hang, lambda: False])
async def test_waiting_in_a_loop_ends_even_if_the_condition_hangs(condition: object) -> None:
    """The deadline holds for the condition, too."""
    with pytest.raises(AssertionError, match=r"timed out after 0\.2 s: the moon is blue"):
        await wait_until_async(condition, "the moon is blue", SHORT_SECONDS)  # type: ignore[call-overload]


async def test_waiting_answers_what_the_condition_answered() -> None:
    """Plain or async; and what it raises is raised, a time-out of its own too."""

    async def three() -> int:
        return 3

    async def time_out() -> None:
        raise TimeoutError("its own")

    assert wait_until(lambda: 3, "three") == 3
    assert await wait_until_async(lambda: 3, "three") == 3
    assert await wait_until_async(three, "three") == 3
    with pytest.raises(TimeoutError, match="its own"):
        await wait_until_async(time_out, "nothing")
