"""The cache of codebooks on a real Redis: kept for an hour, one entry per codebook, only valid responses."""

import pytest

from demo.sisu.simulator import SisuSimulator
from shared.model import keys
from shared.model.errors import FetchError
from shared.store.codebook_cache import CodebookCache
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect
from tests.integration.sisu_client.harness import COUNTRY, PERIODS, PERSON, SCALES, SERVICES, bodies, client_of


async def test_a_codebook_is_kept_for_an_hour(sisu: SisuSimulator, redis_uri: str) -> None:
    """Within the hour, another client finds the codebook in Redis and makes no request to SISU."""
    async with connect(redis_uri) as redis:
        first = await client_of(sisu, CodebookCache(RedisClient(redis))).fetch(COUNTRY, 0)
        again = await client_of(sisu, CodebookCache(RedisClient(redis))).fetch(COUNTRY, 0)
        (key,) = await redis.keys()
        assert 3590 < await redis.ttl(key) <= 3600
    assert key == keys.codebook_cache(f"{sisu.kori_public_uri}/cached/codebooks/urn:code:country")
    assert bodies(again) == bodies(first)
    assert len(sisu.requests) == 1


async def test_codebooks_are_not_mixed_up(sisu: SisuSimulator, redis_uri: str) -> None:
    """Each codebook has its own entry, and nothing but codebooks is cached."""
    async with connect(redis_uri) as redis:
        client = client_of(sisu, CodebookCache(RedisClient(redis)))
        for service in (COUNTRY, SERVICES["EDUCATION_TYPE"], PERSON, PERIODS, SCALES):
            for _ in range(2):
                batch = await client.fetch(service, 0)
                assert bodies(batch) == [body for _, body in sisu.expected(service.name).values()]
        assert len(await redis.keys()) == 2
    assert len(sisu.requests) == 8


@pytest.mark.parametrize("kind", ["html", "truncated", "status"])
async def test_an_invalid_codebook_is_not_cached(sisu: SisuSimulator, redis_uri: str, kind: str) -> None:
    """A response that cannot be used is not stored in the cache."""
    sisu.fault(kind, service="COUNTRY", times=6)
    async with connect(redis_uri) as redis:
        client = client_of(sisu, CodebookCache(RedisClient(redis)))
        with pytest.raises(FetchError):
            await client.fetch(COUNTRY, 0)
        assert await redis.keys() == []
        assert (await client.fetch(COUNTRY, 0)).entities


@pytest.mark.parametrize("entry", ["", "{", "[]", "<html>"])
async def test_an_invalid_cache_entry_is_ignored(sisu: SisuSimulator, redis_uri: str, entry: str) -> None:
    """An entry that is not a codebook is replaced by a codebook that is fetched from SISU."""
    async with connect(redis_uri) as redis:
        key = keys.codebook_cache(f"{sisu.kori_public_uri}/cached/codebooks/urn:code:country")
        await redis.set(key, entry)
        assert (await client_of(sisu, CodebookCache(RedisClient(redis))).fetch(COUNTRY, 0)).entities
        assert len(await redis.get(key)) > 100
