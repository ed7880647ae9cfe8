"""How a process ends: asked to, asked twice, out of patience, or because something is lost."""

import asyncio
import os
import signal

import pytest

from shared.model.errors import ConfigurationError, DependencyLostError, ShutdownRequested
from shared.runtime.shutdown import Stop

LONG_SECONDS = 60.0
SHORT_SECONDS = 0.05


async def forever() -> int:
    await asyncio.Event().wait()
    raise AssertionError


class Work:
    """Work that waits for the request, then for leave to finish, and remembers how it ended."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self.asked = asyncio.Event()
        self.may_finish = asyncio.Event()
        self.cancelled = False

    async def run(self) -> int:
        await self._stop.wait()
        self.asked.set()
        try:
            await self.may_finish.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return 7


async def test_a_wait_takes_its_time_unless_asked() -> None:
    """A wait that nobody interrupts answers False after its time."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await Stop().wait(SHORT_SECONDS) is False
    assert loop.time() - begun >= SHORT_SECONDS * 0.9


@pytest.mark.parametrize("seconds", [None, LONG_SECONDS])
async def test_a_request_ends_every_wait(seconds: float | None) -> None:
    """A wait with or without an end answers True at the request, and from then on at once."""
    stop = Stop()
    assert not stop.requested
    asyncio.get_running_loop().call_soon(stop.request)
    async with asyncio.timeout(5):
        assert await stop.wait(seconds)
        assert await stop.wait(seconds)
    assert stop.requested


async def test_work_that_ends_by_itself_gives_the_exit_code() -> None:
    """Without any request the exit code is what the work answers."""

    async def work() -> int:
        return 1

    assert await Stop().run_to_completion(work(), LONG_SECONDS) == 1


async def test_what_the_work_raises_is_raised() -> None:
    """An error of the work itself is not swallowed."""

    async def work() -> int:
        raise ConfigurationError("wrong")

    with pytest.raises(ConfigurationError, match="wrong"):
        await Stop().run_to_completion(work(), LONG_SECONDS)


async def test_asked_to_stop_the_work_finishes_what_it_has_in_hand() -> None:
    """Within its grace the work comes to its own end, and its exit code counts."""
    stop = Stop()
    work = Work(stop)
    finishing = asyncio.create_task(stop.run_to_completion(work.run(), LONG_SECONDS))
    asyncio.get_running_loop().call_soon(stop.request)
    await work.asked.wait()
    work.may_finish.set()
    assert await finishing == 7
    assert not work.cancelled


async def test_after_its_grace_the_work_is_cancelled() -> None:
    """Work that takes longer is cut short; that was asked for, so the exit code is 0."""
    stop = Stop()
    work = Work(stop)
    stop.request()
    async with asyncio.timeout(5):
        assert await stop.run_to_completion(work.run(), SHORT_SECONDS) == 0
    assert work.cancelled


async def test_asked_twice_the_work_is_cancelled_at_once() -> None:
    """A second request waits for nothing."""
    stop = Stop()
    work = Work(stop)
    finishing = asyncio.create_task(stop.run_to_completion(work.run(), LONG_SECONDS))
    asyncio.get_running_loop().call_soon(stop.request)
    await work.asked.wait()
    stop.request()
    async with asyncio.timeout(5):
        assert await finishing == 0
    assert work.cancelled


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_only_ask(number: signal.Signals) -> None:
    """SIGTERM and SIGINT are requests to stop, and no exceptions out of nowhere."""
    stop = Stop()
    work = Work(stop)
    work.may_finish.set()
    finishing = asyncio.create_task(stop.run_to_completion(work.run(), LONG_SECONDS))
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
    async with asyncio.timeout(5):
        assert await finishing == 7


async def test_a_failure_ends_the_work_and_is_raised() -> None:
    """Something that is lost cancels the work at once, without any request."""
    stop = Stop()
    work = Work(stop)
    asyncio.get_running_loop().call_soon(stop.fail, DependencyLostError("NATS is lost"))
    with pytest.raises(DependencyLostError, match="NATS is lost"):
        await stop.run_to_completion(work.run(), LONG_SECONDS)
    assert not stop.requested


async def test_only_the_first_failure_counts() -> None:
    """What fails after the first failure, and because of it, is not the reason."""
    stop = Stop()
    stop.fail(ConfigurationError("the token is wrong"))
    stop.fail(DependencyLostError("the connection is closed"))
    with pytest.raises(ConfigurationError, match="the token is wrong"):
        await stop.run_to_completion(forever(), LONG_SECONDS)


async def test_a_failure_while_stopping_is_raised() -> None:
    """Losing something during the grace is an error, though the process was asked to stop."""
    stop = Stop()
    work = Work(stop)
    finishing = asyncio.create_task(stop.run_to_completion(work.run(), LONG_SECONDS))
    asyncio.get_running_loop().call_soon(stop.request)
    await work.asked.wait()
    stop.fail(DependencyLostError("Redis is unavailable"))
    with pytest.raises(DependencyLostError):
        await finishing
    assert work.cancelled


async def test_work_cleans_up_before_the_end() -> None:
    """Cancelled work has done its cleaning up when the process goes on to exit."""
    stop = Stop()
    cleaned = False

    async def work() -> int:
        nonlocal cleaned
        try:
            return await forever()
        finally:
            await asyncio.sleep(0)
            cleaned = True

    stop.fail(DependencyLostError("lost"))
    with pytest.raises(DependencyLostError):
        await stop.run_to_completion(work(), LONG_SECONDS)
    # Cancelled before it began, it has nothing to clean up; begun, it has cleaned up.
    begun = Stop()
    asyncio.get_running_loop().call_later(SHORT_SECONDS, begun.fail, DependencyLostError("lost"))
    with pytest.raises(DependencyLostError):
        await begun.run_to_completion(work(), LONG_SECONDS)
    assert cleaned


async def test_interruptible_work_answers() -> None:
    """Without a request, the work's own answer or error comes through."""

    async def answer() -> str:
        return "answer"

    async def fails() -> str:
        raise ValueError("its own")

    assert await Stop().run_interruptible(answer()) == "answer"
    with pytest.raises(ValueError, match="its own"):
        await Stop().run_interruptible(fails())


async def test_a_request_interrupts_work() -> None:
    """Work whose loss is harmless is cancelled by the request, and ShutdownRequested raised in its place."""
    stop = Stop()
    asyncio.get_running_loop().call_soon(stop.request)
    async with asyncio.timeout(5):
        with pytest.raises(ShutdownRequested):
            await stop.run_interruptible(forever())


async def test_an_interrupted_caller_interrupts_the_work() -> None:
    """Cancelling the one who waits cancels what he waits for."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await forever()
        finally:
            ended.set()

    waiting = asyncio.create_task(Stop().run_interruptible(work()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5):
        await ended.wait()


async def test_background_work_lives_as_long_as_the_body() -> None:
    """What runs beside the body is cancelled, and has ended, when the body is through."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def beside() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with Stop().background(beside(), beside()):
        await begun.wait()
        assert not ended.is_set()
    assert ended.is_set()


async def test_an_error_in_the_background_ends_the_process() -> None:
    """The body need not look after what runs beside it."""
    stop = Stop()

    async def beside() -> None:
        raise DependencyLostError("the lock is lost")

    async def work() -> int:
        async with stop.background(beside()):
            return await forever()

    async with asyncio.timeout(5):
        with pytest.raises(DependencyLostError, match="the lock is lost"):
            await stop.run_to_completion(work(), LONG_SECONDS)
