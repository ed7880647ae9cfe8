"""The history of runs and services in Redis, for operators. The import does not depend on it."""

from collections.abc import Mapping

from redis.asyncio.client import Pipeline

from shared.model import keys
from shared.model.records import RunRecord, ServiceHistory, ServiceOutcome, decode, decode_all, encode
from shared.store.redis_client import RedisClient

RUNS_KEPT = 100
RUNS_TTL_SECONDS = 90 * 24 * 60 * 60


class RunHistoryStore:
    """The current run, the last runs, and the last outcomes of each service. All methods raise DependencyLostError."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def service_histories(self) -> Mapping[str, ServiceHistory]:
        """Return the history of each service that has one, by its name."""
        stored = await self._client.run_ignoring(
            "reading the history", lambda redis: redis.hgetall(keys.SERVICES), keys.SERVICES
        )
        return decode_all(ServiceHistory, stored)

    async def unfinished_run(self) -> RunRecord | None:
        """Return the run in progress, or the one that a dead producer left behind; None where there is none."""
        stored = await self._client.run_ignoring("reading the run", lambda redis: redis.get(keys.RUN), keys.RUN)
        return decode(RunRecord, stored)

    async def save(self, run: RunRecord | None, outcome: ServiceOutcome | None = None) -> None:
        """Keep the run in progress, and the newest outcome of a service."""
        history = await self._history_with(outcome) if outcome else None

        used = [keys.RUN] * bool(run) + [keys.SERVICES] * bool(history)

        def queue(pipeline: Pipeline) -> None:
            if run:
                pipeline.set(keys.RUN, encode(run), ex=RUNS_TTL_SECONDS)
            if outcome and history:
                pipeline.hset(keys.SERVICES, outcome.service, encode(history))

        await self._client.run_pipeline_ignoring("keeping the run", queue, used, transaction=True)

    async def _history_with(self, outcome: ServiceOutcome) -> ServiceHistory:
        stored = await self._client.run_ignoring(
            "reading the history", lambda redis: redis.hget(keys.SERVICES, outcome.service), keys.SERVICES
        )
        history = decode(ServiceHistory, stored) or ServiceHistory()
        if outcome.result == "settled":
            history.last_success_at = outcome.ended_at
        elif outcome.result != "skipped":
            history.last_failure_at, history.last_failure = outcome.ended_at, outcome.reason
        return history

    async def append(self, run: RunRecord) -> None:
        """Put an ended run at the head of the list. Services that had nothing new, and nothing to say, are left out.

        Repeated after a lost reply it may be there twice; readers take one of each id.
        """
        run.outcomes = [
            outcome
            for outcome in run.outcomes
            if outcome.entities or outcome.result != "settled" or outcome.sisu_behind_at is not None
        ]

        def queue(pipeline: Pipeline) -> None:
            pipeline.lpush(keys.RUNS, encode(run))
            pipeline.ltrim(keys.RUNS, 0, RUNS_KEPT - 1)
            pipeline.expire(keys.RUNS, RUNS_TTL_SECONDS)
            pipeline.delete(keys.RUN)

        used = [keys.RUNS, keys.RUNS, keys.RUNS, keys.RUN]
        await self._client.run_pipeline_ignoring("keeping the run", queue, used, transaction=True)
