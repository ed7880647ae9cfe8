"""`importer check`: whether everything that an import needs is there; each finding says what to do about it.

Nothing is changed: missing streams are reported, and created by the producer when it starts.
"""

from collections.abc import Sequence

from admin.checks.finding import Finding
from admin.checks.permissions import report
from admin.checks.permissions.nats import probe_nats
from admin.checks.permissions.redis import probe_redis
from admin.checks.secrets import check_secrets
from admin.connections import Connections, connect
from admin.status.queues import read_queues
from shared.broker.connection import MIN_MAX_PAYLOAD_BYTES
from shared.broker.operator_connection import OperatorConnection
from shared.broker.streams import StreamStatus
from shared.config.settings import ProducerSettings
from shared.model.errors import ConfigurationError, ImporterError, ServiceForbiddenError
from shared.model.services import Service
from shared.sisu.client import SisuClient
from shared.store.codebook_cache import CodebookCache
from shared.store.heartbeat import read_processes
from shared.store.redis_client import RedisClient, require_single_server

_REDIS_MIN_VERSION = (6, 2)


async def check(settings: ProducerSettings) -> list[Finding]:
    """Check the secrets, Redis, NATS and every API of SISU that the chosen services use.

    Blocks while they respond. What is unreachable is a finding; raises ConfigurationError for an invalid services
    table.
    """
    async with connect(settings) as connections:
        findings = check_secrets(settings)
        findings += await _check_redis(settings, connections.redis)
        findings += await _check_nats(settings, connections)
        if settings.stan_uri:
            # Imported only here: an installation without STAN loads nothing of it.
            from admin.checks.stan import check_stan  # noqa: PLC0415

            findings += await check_stan(settings, connections.redis)
        findings += await _check_sisu(settings, connections.redis)
    return findings


async def check_alive(redis: RedisClient, kind: str | None) -> list[Finding]:
    """Check whether processes of a kind, or of both, report heartbeats. Raises DependencyLostError."""
    processes = await read_processes(redis)
    findings = []
    for wanted in [kind] if kind else ["producer", "ack_collector"]:
        number = sum(process.kind == wanted for process in processes)
        text = f"{number} running" if number else "not running"
        findings.append(Finding(subject=wanted, result="ok" if number else "error", text=text))
    return findings


async def _check_redis(settings: ProducerSettings, redis: RedisClient) -> list[Finding]:
    try:
        await redis.run("the first contact", lambda client: client.ping())
        await require_single_server(redis)
        missing, other = await probe_redis(redis, settings.service_table())
        permissions = report.make_finding("Redis", missing, "deploy/redis-users.acl")
        if other:
            return [Finding(subject="Redis", result="error", text=f"rejects writes: {other}"), permissions]
        return [await _check_redis_server(redis), permissions]
    except ImporterError as error:
        return [Finding(subject="Redis", result="error", text=str(error))]


async def _check_redis_server(redis: RedisClient) -> Finding:
    try:
        info = await redis.run("reading its version", lambda client: client.info("server"))
        memory = await redis.run("reading its limits", lambda client: client.info("memory"))
    except ConfigurationError:
        return Finding(
            subject="Redis", result="warning", text="responds; its version is unknown, since this user lacks +info"
        )
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < _REDIS_MIN_VERSION:
        return Finding(subject="Redis", result="error", text=f"{version} is too old: 6.2 is required")
    policy = memory.get("maxmemory_policy")
    if memory.get("maxmemory") and policy != "noeviction":
        text = f"{version} may evict keys (maxmemory-policy {policy}): set it to noeviction"
        return Finding(subject="Redis", result="warning", text=text)
    return Finding(subject="Redis", result="ok", text=f"{version} responds")


async def _check_nats(settings: ProducerSettings, connections: Connections) -> list[Finding]:
    nats = connections.nats
    if nats is None:
        return [Finding(subject="NATS", result="error", text=connections.nats_error or "")]
    if nats.max_payload_bytes < MIN_MAX_PAYLOAD_BYTES:
        text = f"max_payload is {nats.max_payload_bytes} bytes: {MIN_MAX_PAYLOAD_BYTES} are the minimum"
        return [Finding(subject="NATS", result="error", text=text)]
    text = f"{nats.server_version} responds; messages of up to {nats.max_message_bytes} bytes fit"
    findings = [Finding(subject="NATS", result="ok", text=text)]
    try:
        missing = await probe_nats(nats, settings.chosen_services())
    except ImporterError as error:
        return [Finding(subject="NATS", result="error", text=str(error))]
    findings.append(report.make_finding("NATS", missing, "deploy/nats-users.conf"))
    if missing.affects_importer:
        return findings  # the next checks would get no reply
    return findings + await _check_streams(settings, nats) + await _check_consumers(settings.chosen_services(), nats)


async def _check_streams(settings: ProducerSettings, nats: OperatorConnection) -> list[Finding]:
    channels = [service.channel for service in settings.service_table()]
    try:
        statuses = await nats.read_stream_statuses(channels, settings.nats_replicas)
    except ImporterError as error:
        return [Finding(subject="streams", result="error", text=str(error))]
    return [_stream_finding(status) for status in statuses]


def _stream_finding(status: StreamStatus) -> Finding:
    """Report whether a stream is as required, and nothing in it expires by itself."""
    subject = f"stream {status.name}"
    if not status.exists:
        text = "does not exist yet: the first process that starts creates it"
        return Finding(subject=subject, result="warning", text=text)
    if status.mismatches:
        return Finding(subject=subject, result="error", text="; ".join(status.mismatches))
    if status.missing_subjects:
        text = f"lacks {', '.join(status.missing_subjects)}: the producer adds them when it starts"
        return Finding(subject=subject, result="warning", text=text)
    if status.max_age_seconds:
        text = f"drops messages after {status.max_age_seconds:g} s (max_age), processed or not: set it to 0"
        return Finding(subject=subject, result="warning", text=text)
    return Finding(subject=subject, result="ok", text="configuration OK")


async def _check_consumers(services: Sequence[Service], nats: OperatorConnection) -> list[Finding]:
    """Check whether there are consumers of the chunks and of the feedback."""
    try:
        queues = await read_queues(nats.api)
    except ImporterError as error:
        return [Finding(subject="consumers", result="error", text=str(error))]
    unconsumed = [
        service.channel for service in services if not any(each.matches(service.channel) for each in queues.mankelis)
    ]
    findings = []
    if unconsumed:
        text = f"no consumer for {', '.join(unconsumed)}: have mankelis been started?"
        findings.append(Finding(subject="mankelis", result="warning", text=text))
    else:
        findings.append(Finding(subject="mankelis", result="ok", text="each channel has a consumer"))
    if queues.feedback is None:
        text = "the consumer ack-collector does not exist yet: the first process that starts creates it"
        findings.append(Finding(subject="collectors", result="warning", text=text))
    return findings


async def _check_sisu(settings: ProducerSettings, redis: RedisClient) -> list[Finding]:
    """Fetch one entity of each service: reachable, authorised, and a valid response."""
    sisu = SisuClient(settings, CodebookCache(redis), attempts=1)
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
            text = f"responds ({'an entity' if batch.entities else 'nothing'} after ordinal 0)"
            findings.append(Finding(subject=subject, result="ok", text=text))
    return findings
