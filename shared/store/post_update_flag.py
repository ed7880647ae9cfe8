"""POST_UPDATE_RUNNING: which run's post-update is running. The producer sets it, the ack_collector clears it."""

from typing import Literal, cast

from shared.model import keys
from shared.store.redis_errors import ForeignContentError
from shared.store.scripts import Scripts

EXPIRY_SECONDS = 60 * 60
"""After this long without POST_UPDATE_FINISH the report counts as lost."""

StartReply = Literal["STARTED", "RUNNING"]
"""RUNNING: another run's post-update is still running; nothing changed."""


class PostUpdateFlag:
    """The flag. Both methods raise DependencyLostError."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def start(self, run_id: str) -> StartReply:
        """Set the flag for a run, unless another run holds it; repeated for the same run it is STARTED again."""
        try:
            reply = await self._scripts.call("start_post_update", [keys.POST_UPDATE_RUNNING], [run_id, EXPIRY_SECONDS])
        except ForeignContentError as error:
            self._scripts.client.log_ignored(error)
            return "STARTED"  # a post-update too many is harmless, and none at all is not
        return cast("StartReply", reply)

    async def clear(self) -> None:
        """Clear the flag, so that the next complete run may send POST_UPDATE."""
        await self._scripts.client.run(
            "clearing POST_UPDATE_RUNNING", lambda redis: redis.delete(keys.POST_UPDATE_RUNNING)
        )
