"""Shutting down a process: on a request, on a second request, after the grace time, or because of a failure."""

import asyncio
import os
import signal

import pytest

from shared.model.errors import ConfigurationError, DependencyLostError, ShutdownRequested
from shared.runtime.shutdown import Stop

LONG_SECONDS = 60.0
SHORT_SECONDS = 0.05


async def run_forever() -> int:
    """Wait until cancelled."""
    await asyncio.Event().wait()
    raise AssertionError


class Work:
    """Work that waits for the shutdown request, then until it may finish, and records whether it was cancelled."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self.requested = asyncio.Event()
        self.may_finish = asyncio.Event()
        self.cancelled = False

    async def run(self) -> int:
        """Return 7 once the shutdown was requested and `may_finish` is set."""
        await self._stop.wait()
        self.requested.set()
        try:
            await self.may_finish.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return 7


async def test_a_wait_without_a_request_takes_its_full_time() -> None:
    """An uninterrupted wait returns False when its time is over."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await Stop().wait(SHORT_SECONDS) is False
    assert loop.time() - started >= SHORT_SECONDS * 0.9


@pytest.mark.parametrize("seconds", [None, LONG_SECONDS])
async def test_a_request_ends_every_wait(seconds: float | None) -> None:
    """A wait with or without a time limit returns True at the request, and any later wait returns True at once."""
    stop = Stop()
    assert not stop.requested
    asyncio.get_running_loop().call_soon(stop.request)
    async with asyncio.timeout(5):
        assert await stop.wait(seconds)
        assert await stop.wait(seconds)
    assert stop.requested


async def test_the_exit_code_is_what_the_work_returns() -> None:
    """Work that ends without any request determines the exit code."""

    async def work() -> int:
        return 1

    assert await Stop().run_to_completion(work(), LONG_SECONDS) == 1


async def test_an_error_of_the_work_is_raised() -> None:
    """An error that the work raises is not swallowed."""

    async def work() -> int:
        raise ConfigurationError("wrong")

    with pytest.raises(ConfigurationError, match="wrong"):
        await Stop().run_to_completion(work(), LONG_SECONDS)


async def test_on_a_request_the_work_finishes_what_it_has_started() -> None:
    """Within the grace time the work ends by itself, and its exit code is returned."""
    stop = Stop()
    work = Work(stop)
    finishing = asyncio.create_task(stop.run_to_completion(work.run(), LONG_SECONDS))
    asyncio.get_running_loop().call_soon(stop.request)
    await work.requested.wait()
    work.may_finish.set()
    assert await finishing == 7
    assert not work.cancelled


async def test_after_the_grace_time_the_work_is_cancelled() -> None:
    """Work that takes longer is cancelled; the shutdown was requested, so the exit code is 0."""
    stop = Stop()
    work = Work(stop)
    stop.request()
    async with asyncio.timeout(5):
        assert await stop.run_to_completion(work.run(), SHORT_SECONDS) == 0
    assert work.cancelled


async def test_a_second_request_cancels_the_work_at_once() -> None:
    """A second request does not wait for the grace time."""
    stop = Stop()
    work = Work(stop)
    finishing = asyncio.create_task(stop.run_to_completion(work.run(), LONG_SECONDS))
    asyncio.get_running_loop().call_soon(stop.request)
    await work.requested.wait()
    stop.request()
    async with asyncio.timeout(5):
        assert await finishing == 0
    assert work.cancelled


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_request_a_shutdown(number: signal.Signals) -> None:
    """SIGTERM and SIGINT request a shutdown and raise no exception in the work."""
    stop = Stop()
    work = Work(stop)
    work.may_finish.set()
    finishing = asyncio.create_task(stop.run_to_completion(work.run(), LONG_SECONDS))
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
    async with asyncio.timeout(5):
        assert await finishing == 7


async def test_a_failure_ends_the_work_and_is_raised() -> None:
    """A lost dependency cancels the work at once, without any shutdown request."""
    stop = Stop()
    work = Work(stop)
    asyncio.get_running_loop().call_soon(stop.fail, DependencyLostError("NATS is lost"))
    with pytest.raises(DependencyLostError, match="NATS is lost"):
        await stop.run_to_completion(work.run(), LONG_SECONDS)
    assert not stop.requested


async def test_only_the_first_failure_is_raised() -> None:
    """A later failure, which may be a consequence of the first, is not reported as the reason."""
    stop = Stop()
    stop.fail(ConfigurationError("the token is wrong"))
    stop.fail(DependencyLostError("the connection is closed"))
    with pytest.raises(ConfigurationError, match="the token is wrong"):
        await stop.run_to_completion(run_forever(), LONG_SECONDS)


async def test_a_failure_during_the_shutdown_is_raised() -> None:
    """A dependency lost during the grace time is an error, though a shutdown was requested."""
    stop = Stop()
    work = Work(stop)
    finishing = asyncio.create_task(stop.run_to_completion(work.run(), LONG_SECONDS))
    asyncio.get_running_loop().call_soon(stop.request)
    await work.requested.wait()
    stop.fail(DependencyLostError("Redis is unavailable"))
    with pytest.raises(DependencyLostError):
        await finishing
    assert work.cancelled


async def test_cancelled_work_cleans_up_before_the_process_exits() -> None:
    """The clean-up of cancelled work is complete when the shutdown continues."""
    stop = Stop()
    cleaned = False

    async def work() -> int:
        nonlocal cleaned
        try:
            return await run_forever()
        finally:
            await asyncio.sleep(0)
            cleaned = True

    stop.fail(DependencyLostError("lost"))
    with pytest.raises(DependencyLostError):
        await stop.run_to_completion(work(), LONG_SECONDS)
    # Work that was cancelled before it started has nothing to clean up; work that was running has cleaned up.
    later = Stop()
    asyncio.get_running_loop().call_later(SHORT_SECONDS, later.fail, DependencyLostError("lost"))
    with pytest.raises(DependencyLostError):
        await later.run_to_completion(work(), LONG_SECONDS)
    assert cleaned


async def test_uninterrupted_work_returns_its_result() -> None:
    """Without a request, the work's own result or error is passed on."""

    async def succeed() -> str:
        return "result"

    async def fail() -> str:
        raise ValueError("its own")

    assert await Stop().run_interruptible(succeed()) == "result"
    with pytest.raises(ValueError, match="its own"):
        await Stop().run_interruptible(fail())


async def test_a_request_interrupts_interruptible_work() -> None:
    """Interruptible work is cancelled by the request, and ShutdownRequested is raised instead."""
    stop = Stop()
    asyncio.get_running_loop().call_soon(stop.request)
    async with asyncio.timeout(5):
        with pytest.raises(ShutdownRequested):
            await stop.run_interruptible(run_forever())


async def test_cancelling_the_caller_cancels_the_work() -> None:
    """The work does not outlive the task that waits for it."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await run_forever()
        finally:
            ended.set()

    caller = asyncio.create_task(Stop().run_interruptible(work()))
    await started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    async with asyncio.timeout(5):
        await ended.wait()


async def test_background_work_ends_with_the_body() -> None:
    """Work in the background is cancelled when the body is done, and has ended when the context is left."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def background() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with Stop().background(background(), background()):
        await started.wait()
        assert not ended.is_set()
    assert ended.is_set()


async def test_an_error_in_the_background_ends_the_process() -> None:
    """The process fails with the error of its background work, which the body need not check."""
    stop = Stop()

    async def background() -> None:
        raise DependencyLostError("the lock is lost")

    async def work() -> int:
        async with stop.background(background()):
            return await run_forever()

    async with asyncio.timeout(5):
        with pytest.raises(DependencyLostError, match="the lock is lost"):
            await stop.run_to_completion(work(), LONG_SECONDS)
