"""How tests are run: `async def` ones in an event loop of their own, and each with a limit on its time.

A conftest hands its hook's call here. The marker `limit(seconds)` sets another limit than the default.
"""

import asyncio
import contextlib
import inspect
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

DEFAULT_LIMIT_SECONDS = 120.0
_GRACE_SECONDS = 10.0
"""What an async test has for cleaning up after its limit, before it is cut off wherever it is."""


def run_test(function: pytest.Function) -> None:
    """Call the test with its fixtures. Fails it at its limit."""
    marker = function.get_closest_marker("limit")
    seconds = float(marker.args[0]) if marker else DEFAULT_LIMIT_SECONDS
    arguments = {name: function.funcargs[name] for name in function._fixtureinfo.argnames}
    is_async = inspect.iscoroutinefunction(function.obj)
    with _alarm(seconds + (_GRACE_SECONDS if is_async else 0)):
        if is_async:
            asyncio.run(_limited(function.obj(**arguments), seconds))
        else:
            function.obj(**arguments)


async def _limited(test: Any, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds) as limit:
            await test
    except TimeoutError:
        if limit.expired():
            pytest.fail(f"the test took longer than its limit of {seconds:g} s")
        raise


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer"):
        yield  # no such signal on this system: CI's own limit has to do
        return

    def cut_off(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"the test was cut off after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, cut_off)
    outer_seconds, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, outer_seconds)
        signal.signal(signal.SIGALRM, before)
