"""Servers that let each process in as a user of its own, with the rights of deploy/ and no more."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from demo.servers import Server
from demo.sisu import SisuSimulator

ROOT = Path(__file__).parents[2]
NATS_USERS = (ROOT / "deploy" / "nats-users.conf").read_text()
REDIS_USERS = (ROOT / "deploy" / "redis-users.acl").read_text()


def as_user(uri: str, name: str) -> str:
    """The address, with the user's name and password from the files in deploy/."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=f"{name}:change-me-{name}@{parts.netloc}"))


@dataclass(frozen=True)
class Guarded:
    """Such a NATS and such a Redis, and a simulated SISU."""

    nats_uri: str
    redis_uri: str
    sisu: SisuSimulator

    def variables(self, user: str) -> dict[str, str]:
        """The settings of a process that comes as this user."""
        return {
            "NATS_URI": as_user(self.nats_uri, user),
            "REDIS_URI": as_user(self.redis_uri, user),
            "SIS_API_URL": self.sisu.uri,
            "KORI_PUBLIC_API_URL": self.sisu.kori_public_uri,
            "PORT": "0",
            "COLLECTOR_PORT": "0",
        }


@pytest.fixture
def guarded(guarded_nats: Server, guarded_redis: Server) -> Iterator[Guarded]:
    """Both servers, with a SISU."""
    with SisuSimulator(size=600) as sisu:
        yield Guarded(guarded_nats.uri, guarded_redis.uri, sisu)
