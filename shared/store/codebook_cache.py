"""The cache of URN codebooks in Redis: they are large and seldom change."""

from shared.model import keys
from shared.store.redis_client import RedisClient

_TTL_SECONDS = 60 * 60


class CodebookCache:
    """The responses of URN codebooks, kept for an hour."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def get(self, url: str) -> bytes | None:
        """Return the response that was kept, or None. Raises DependencyLostError."""
        key = keys.codebook_cache(url)
        response = await self._client.run_ignoring("reading a codebook", lambda redis: redis.get(key), key)
        # A replacement character may stand for bytes that are not UTF-8: then it is not what was kept.
        return str(response).encode() if response is not None and "\ufffd" not in response else None

    async def put(self, url: str, response: bytes) -> None:
        """Keep a response that was found valid. Raises DependencyLostError."""
        key = keys.codebook_cache(url)
        await self._client.run("keeping a codebook", lambda redis: redis.set(key, response, ex=_TTL_SECONDS))
