"""Telling mankelis that a run is complete, unless their work after an earlier one still goes on."""

import structlog

from producer.publisher import Publisher
from shared import keys
from shared.broker import BrokerRefusedError
from shared.errors import DependencyLostError
from shared.events import Event
from shared.redis_client import Scripts, redis_errors

log = structlog.get_logger()

EXPIRY_SECONDS = 60 * 60
"""After this long without POST_UPDATE_FINISH the answer counts as lost."""


class PostUpdate:
    """Sends POST_UPDATE. Its end is noted by the ack_collector, which hears POST_UPDATE_FINISH."""

    def __init__(self, scripts: Scripts, publisher: Publisher) -> None:
        self._scripts = scripts
        self._publisher = publisher

    async def send(self, run_id: str) -> None:
        """Publish POST_UPDATE for a run, or skip it while another post-update runs.

        Raises DependencyLostError. A crash between the two steps costs this post-update; the first complete run after
        the expiry sends the next one. One that the broker refuses is logged, and the next complete run sends another.
        """
        verdict = await self._scripts.call("start_post_update", [keys.POST_UPDATE_RUNNING], [run_id, EXPIRY_SECONDS])
        if verdict == "RUNNING":
            log.info(Event.POST_UPDATE_SKIPPED)
            return
        try:
            await self._publisher.publish_post_update(run_id)
        except BrokerRefusedError as error:
            with redis_errors("the post-update that was not sent"):
                await self._scripts.redis.delete(keys.POST_UPDATE_RUNNING)
            log.error(Event.POST_UPDATE_REFUSED, reason=str(error))
            return
        log.info(Event.POST_UPDATE_SENT)
        try:
            await self._publisher.take_back_post_updates()
        except DependencyLostError as error:  # a connection that is really lost ends the process by itself
            log.warning(Event.POST_UPDATES_KEPT, reason=str(error))
