"""The codebooks' cache on a real Redis: kept for an hour, never mixed up, never bad."""

import pytest

from demo.sisu.simulator import SisuSimulator
from shared.model import keys
from shared.model.errors import FetchError
from shared.store.codebook_cache import CodebookCache
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect
from tests.integration.sisu_client.harness import COUNTRY, PERIODS, PERSON, SCALES, SERVICES, bodies, client_of


async def test_a_codebook_is_kept_for_an_hour(sisu: SisuSimulator, redis_uri: str) -> None:
    """Within the hour another start finds the codebook in Redis, and asks SISU nothing."""
    async with connect(redis_uri) as redis:
        first = await client_of(sisu, CodebookCache(RedisClient(redis))).fetch(COUNTRY, 0)
        again = await client_of(sisu, CodebookCache(RedisClient(redis))).fetch(COUNTRY, 0)
        (key,) = await redis.keys()
        assert 3590 < await redis.ttl(key) <= 3600
    assert key == keys.codebook_cache(f"{sisu.kori_public_uri}/cached/codebooks/urn:code:country")
    assert bodies(again) == bodies(first)
    assert len(sisu.requests) == 1


async def test_codebooks_are_not_mixed_up(sisu: SisuSimulator, redis_uri: str) -> None:
    """Each codebook has its own place, and nothing but codebooks is kept."""
    async with connect(redis_uri) as redis:
        client = client_of(sisu, CodebookCache(RedisClient(redis)))
        for service in (COUNTRY, SERVICES["EDUCATION_TYPE"], PERSON, PERIODS, SCALES):
            for _ in range(2):
                batch = await client.fetch(service, 0)
                assert bodies(batch) == [body for _, body in sisu.expected(service.name).values()]
        assert len(await redis.keys()) == 2
    assert len(sisu.requests) == 8


@pytest.mark.parametrize("kind", ["html", "truncated", "status"])
async def test_a_bad_codebook_is_not_kept(sisu: SisuSimulator, redis_uri: str, kind: str) -> None:
    """An answer that cannot be used is not there the next time."""
    sisu.fault(kind, service="COUNTRY", times=6)
    async with connect(redis_uri) as redis:
        client = client_of(sisu, CodebookCache(RedisClient(redis)))
        with pytest.raises(FetchError):
            await client.fetch(COUNTRY, 0)
        assert await redis.keys() == []
        assert (await client.fetch(COUNTRY, 0)).entities


@pytest.mark.parametrize("kept", ["", "{", "[]", "<html>"])
async def test_what_is_no_codebook_in_redis_is_ignored(sisu: SisuSimulator, redis_uri: str, kept: str) -> None:
    """A cache that holds something else is no obstacle: the codebook is asked for, and replaces it."""
    async with connect(redis_uri) as redis:
        key = keys.codebook_cache(f"{sisu.kori_public_uri}/cached/codebooks/urn:code:country")
        await redis.set(key, kept)
        assert (await client_of(sisu, CodebookCache(RedisClient(redis))).fetch(COUNTRY, 0)).entities
        assert len(await redis.get(key)) > 100
