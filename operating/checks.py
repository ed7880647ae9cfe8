"""`importer check`: whether everything that an import needs is there, each finding with what to do about it.

Nothing is changed: streams that are missing are reported, and made by the producer when it starts.
"""

from collections.abc import Sequence

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import StreamConfig
from redis.asyncio import Redis

from operating import rights
from operating.connections import Connections, connections
from operating.findings import Finding
from operating.nats_rights import look_at_nats
from operating.queues import read_queues
from operating.redis_rights import look_at_redis
from producer.sisu import CodebookCache, SisuClient
from shared.broker import LEAST_MAX_PAYLOAD_BYTES
from shared.errors import ConfigurationError, ImporterError, ServiceForbiddenError
from shared.heartbeat import read_beats
from shared.messages import HEADERS_MAX_BYTES
from shared.redis_client import redis_errors
from shared.services import Service
from shared.settings import ProducerSettings
from shared.streams import differences, stream_configs

_REDIS_LEAST = (6, 2)


async def check(settings: ProducerSettings) -> list[Finding]:
    """Look at Redis, NATS and every API of SISU that the chosen services use."""
    async with connections(settings) as connected:
        findings = await _redis(settings, connected)
        findings += await _nats(settings, connected)
        findings += await _sisu(settings, connected)
    return findings


async def alive(connected: Connections, kind: str | None) -> list[Finding]:
    """Whether processes of a kind, or of both, give signs of life."""
    beats = await read_beats(connected.scripts.redis)
    findings = []
    for wanted in [kind] if kind else ["producer", "ack_collector"]:
        number = sum(beat.kind == wanted for beat in beats)
        findings.append(Finding(subject=wanted, result="ok" if number else "error", text=f"{number or 'none'} alive"))
    return findings


async def _redis(settings: ProducerSettings, connected: Connections) -> list[Finding]:
    redis = connected.scripts.redis
    try:
        with redis_errors("the first contact"):
            await redis.ping()
        lack, other = await look_at_redis(redis, settings.service_table())
        found = rights.finding("Redis", lack, "deploy/redis-users.acl")
        if other:
            text = f"it would refuse to work: {other}"
            return [Finding(subject="Redis", result="error", text=text), found]
        return [await _redis_server(redis), found]
    except ImporterError as error:
        return [Finding(subject="Redis", result="error", text=str(error))]


async def _redis_server(redis: Redis) -> Finding:
    try:
        with redis_errors("the look at it"):
            info = await redis.info("server")
            memory = await redis.info("memory")
    except ConfigurationError:
        return Finding(
            subject="Redis", result="warning", text="answers; its version is hidden, for this user lacks +info"
        )
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < _REDIS_LEAST:
        return Finding(subject="Redis", result="error", text=f"{version} is too old: 6.2 is needed")
    policy = memory.get("maxmemory_policy")
    if memory.get("maxmemory") and policy != "noeviction":
        text = f"{version} may throw keys away (maxmemory-policy {policy}): set it to noeviction"
        return Finding(subject="Redis", result="warning", text=text)
    return Finding(subject="Redis", result="ok", text=f"{version} answers")


async def _nats(settings: ProducerSettings, connected: Connections) -> list[Finding]:
    client = connected.nats
    if client is None:
        return [Finding(subject="NATS", result="error", text=connected.nats_error or "")]
    if client.max_payload < LEAST_MAX_PAYLOAD_BYTES:
        text = f"max_payload is {client.max_payload} bytes: {LEAST_MAX_PAYLOAD_BYTES} are needed at least"
        return [Finding(subject="NATS", result="error", text=text)]
    version = str(client.connected_server_version).strip("<>").rpartition(" ")[2]
    body_bytes = client.max_payload - HEADERS_MAX_BYTES
    findings = [Finding(subject="NATS", result="ok", text=f"{version} answers; messages of {body_bytes} bytes fit")]
    try:
        lack = await look_at_nats(client, connected.nats_complaints, settings.chosen_services())
    except ImporterError as error:
        return [Finding(subject="NATS", result="error", text=str(error))]
    findings.append(rights.finding("NATS", lack, "deploy/nats-users.conf"))
    if lack.of_importer:
        return findings  # what comes next would not be answered
    return findings + await _streams(settings, client) + await _consumers(settings.chosen_services(), connected)


async def _streams(settings: ProducerSettings, client: Client) -> list[Finding]:
    findings = []
    channels = [service.channel for service in settings.service_table()]
    for config in stream_configs(channels, settings.nats_replicas):
        subject = f"stream {config.name}"
        try:
            actual = (await client.jetstream(timeout=5).stream_info(str(config.name))).config
        except nats.js.errors.NotFoundError:
            text = "is not there yet: the first process that starts makes it"
            findings.append(Finding(subject=subject, result="warning", text=text))
        except (nats.errors.Error, TimeoutError) as error:
            text = f"cannot be read ({type(error).__name__}): is JetStream enabled, and may this user use its API?"
            findings.append(Finding(subject=subject, result="error", text=text))
        else:
            findings.append(_configured(subject, actual, config))
    return findings


def _configured(subject: str, actual: StreamConfig, wanted: StreamConfig) -> Finding:
    """Whether a stream is as it must be, and nothing in it vanishes by itself."""
    if wrong := "; ".join(differences(actual, wanted)):
        return Finding(subject=subject, result="error", text=wrong)
    if actual.max_age:
        text = f"drops what is older than {actual.max_age:g} s (max_age), whether or not it was dealt with: set it to 0"
        return Finding(subject=subject, result="warning", text=text)
    return Finding(subject=subject, result="ok", text="is as it must be")


async def _consumers(services: Sequence[Service], connected: Connections) -> list[Finding]:
    """Whether somebody takes the chunks and the feedback."""
    try:
        queues = await read_queues(connected.need_nats())
    except ImporterError as error:
        return [Finding(subject="consumers", result="error", text=str(error))]
    untaken = [
        service.channel for service in services if not any(each.takes(service.channel) for each in queues.mankelis)
    ]
    findings = []
    if untaken:
        text = f"no consumer takes {', '.join(untaken)}: have mankelis been started?"
        findings.append(Finding(subject="mankelis", result="warning", text=text))
    else:
        findings.append(Finding(subject="mankelis", result="ok", text="each channel has a consumer"))
    if queues.feedback is None:
        text = "the consumer ack-collector is not there yet: the first process that starts makes it"
        findings.append(Finding(subject="collectors", result="warning", text=text))
    return findings


async def _sisu(settings: ProducerSettings, connected: Connections) -> list[Finding]:
    """One entity of each service is asked for: reachable, authorised, and answering as it should."""
    sisu = SisuClient(settings, CodebookCache(connected.scripts.redis), attempts=1)
    findings = []
    for service in settings.chosen_services():
        subject = f"SISU {service.name}"
        try:
            batch = await sisu.fetch(service, 0, limit=1)
        except ServiceForbiddenError as error:
            findings.append(Finding(subject=subject, result="warning", text=f"{error}; it will be skipped"))
        except ImporterError as error:
            findings.append(Finding(subject=subject, result="error", text=str(error)))
        else:
            text = f"answers ({'an entity' if batch.entities else 'nothing'} after ordinal 0)"
            findings.append(Finding(subject=subject, result="ok", text=text))
    return findings
