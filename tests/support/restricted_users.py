"""Servers with one user for each process, who has the permissions of deploy/ and no others."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from demo.servers.processes import Server
from demo.sisu.simulator import SisuSimulator

ROOT = Path(__file__).parents[2]
NATS_USERS = (ROOT / "deploy" / "nats-users.conf").read_text()
REDIS_USERS = (ROOT / "deploy" / "redis-users.acl").read_text()


def as_user(uri: str, name: str) -> str:
    """Return the address with the user's name and password from the files in deploy/."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=f"{name}:change-me-{name}@{parts.netloc}"))


@dataclass(frozen=True)
class RestrictedUsers:
    """A NATS and a Redis with restricted users, and a simulated SISU."""

    nats_uri: str
    redis_uri: str
    sisu: SisuSimulator

    def variables(self, user: str) -> dict[str, str]:
        """Return the settings of a process that logs in as this user."""
        return {
            "NATS_URI": as_user(self.nats_uri, user),
            "REDIS_URI": as_user(self.redis_uri, user),
            "SIS_API_URL": self.sisu.uri,
            "KORI_PUBLIC_API_URL": self.sisu.kori_public_uri,
            "PORT": "0",
            "COLLECTOR_PORT": "0",
        }


@pytest.fixture
def restricted_users(restricted_nats: Server, restricted_redis: Server) -> Iterator[RestrictedUsers]:
    """Yield both servers and a SISU."""
    with SisuSimulator(size=600) as sisu:
        yield RestrictedUsers(restricted_nats.uri, restricted_redis.uri, sisu)
