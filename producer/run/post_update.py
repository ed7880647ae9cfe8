"""POST_UPDATE: tell mankelis that a run is complete, unless an earlier post-update is still running."""

import structlog

from producer.batch.publisher import Publisher
from shared.model.errors import BrokerRejectedError, DependencyLostError
from shared.runtime.events import Event
from shared.store.post_update_flag import PostUpdateFlag

log = structlog.get_logger()


class PostUpdate:
    """Sends POST_UPDATE. The ack_collector, which receives POST_UPDATE_FINISH, clears the flag."""

    def __init__(self, flag: PostUpdateFlag, publisher: Publisher) -> None:
        self._flag = flag
        self._publisher = publisher

    async def send(self, run_id: str) -> None:
        """Publish POST_UPDATE for a run, or skip it while another post-update is running.

        Raises DependencyLostError. A crash between the two steps costs this post-update; the first complete run after
        the flag expired sends the next one. One that the broker rejects is logged, and the next complete run sends
        another.
        """
        if await self._flag.start(run_id) == "RUNNING":
            log.info(Event.POST_UPDATE_SKIPPED)
            return
        try:
            await self._publisher.publish_post_update(run_id)
        except BrokerRejectedError as error:
            await self._flag.clear()
            log.error(Event.POST_UPDATE_REJECTED, reason=str(error))
            return
        log.info(Event.POST_UPDATE_SENT)
        try:
            await self._publisher.purge_old_post_updates()
        except DependencyLostError as error:  # a connection that is really lost ends the process by itself
            log.warning(Event.POST_UPDATE_PURGE_FAILED, reason=str(error))
