"""What `importer check` finds out about STAN: reachable, its cluster id, the client id, the limits of its channels."""

import asyncio
import json
import urllib.request
from secrets import token_hex
from typing import Any

from admin.checks.finding import Finding
from shared.broker.stan.session import ClientIdTakenError, StanIdentity, StanSession
from shared.config.settings import ProducerSettings
from shared.model.errors import ImporterError
from shared.store.heartbeat import read_processes
from shared.store.redis_client import RedisClient

_CONNECT_SECONDS = 3.0
_MONITOR_SECONDS = 3.0
_NAME = "stan_bridge"
"""The user of STAN_URI is the stan_bridge's, who may subscribe only to the inbox of that name."""


async def check_stan(settings: ProducerSettings, redis: RedisClient) -> list[Finding]:
    """Check STAN as the stan_bridge would use it. Blocks for seconds at most."""
    login = settings.stan_login()
    identity = StanIdentity(settings.stan_cluster_id, f"importer-check-{token_hex(4)}", _NAME)
    try:
        session = await StanSession.connect(login, identity, _CONNECT_SECONDS)
    except ImporterError as error:
        return [Finding(subject="STAN", result="error", text=str(error))]
    await session.close()
    findings = [Finding(subject="STAN", result="ok", text=f"responds as the cluster {settings.stan_cluster_id}")]
    findings.append(await _check_client_id(settings, redis))
    findings.append(await asyncio.to_thread(_check_limits, settings))
    return findings


async def _check_client_id(settings: ProducerSettings, redis: RedisClient) -> Finding:
    """Check whether the client id is free, or a stan_bridge of this installation has it.

    Where none reports a heartbeat the id is taken for a moment: a session that still replies to heartbeats keeps it.
    """
    subject = f"STAN client id {settings.stan_client_id}"
    try:
        states = [process.stan_bridge for process in await read_processes(redis) if process.stan_bridge]
        if any(state.phase == "active" for state in states):
            return Finding(subject=subject, result="ok", text="the running stan_bridge has it")
        identity = StanIdentity(settings.stan_cluster_id, settings.stan_client_id, _NAME)
        session = await StanSession.connect(settings.stan_login(), identity, _CONNECT_SECONDS)
    except ClientIdTakenError:
        text = "another client has it: stop it, such as an importer of the STAN era, or set STAN_CLIENT_ID"
        return Finding(subject=subject, result="error", text=text)
    except ImporterError as error:
        return Finding(subject=subject, result="error", text=str(error))
    await session.close()
    return Finding(subject=subject, result="ok", text="is free")


def _check_limits(settings: ProducerSettings) -> Finding:
    """Check whether a channel holds what may be out at once: a full one drops its oldest messages silently."""
    subject = "STAN limits"
    if settings.stan_monitor_url is None:
        text = "unknown, since STAN_MONITOR_URL is not set: check --max_msgs and --max_bytes (docs/stan.md)"
        return Finding(subject=subject, result="warning", text=text)
    try:
        limits = _read_limits(settings.stan_monitor_url)
    except (OSError, ValueError, KeyError) as error:
        text = f"STAN_MONITOR_URL does not show them: {type(error).__name__}"
        return Finding(subject=subject, result="warning", text=text)
    needed = required_messages(settings)
    if 0 < limits["max_msgs"] < needed:
        text = (
            f"a channel keeps {limits['max_msgs']} messages and drops the oldest silently, delivered or not; up to "
            f"{needed} may be out: raise --max_msgs"
        )
        return Finding(subject=subject, result="warning", text=text)
    if limits["max_age"] > 0:
        text = "a channel drops messages by age, delivered or not: set --max_age 0"
        return Finding(subject=subject, result="warning", text=text)
    return Finding(subject=subject, result="ok", text=f"a channel holds the {needed} messages that may be out")


def required_messages(settings: ProducerSettings) -> int:
    """Return how many messages of a channel may be undelivered: two pieces of each chunk, in each attempt."""
    fetched = settings.fetch_amount_max or settings.fetch_amount
    chunks = -(-fetched // settings.max_chunk_size)
    return 2 * chunks * (settings.update_retry_limit + 1)


def _read_limits(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/streaming/storez", timeout=_MONITOR_SECONDS) as response:  # noqa: S310 - validated
        limits = json.load(response)["limits"]
    return {name: int(limits[name]) for name in ("max_msgs", "max_age")}
