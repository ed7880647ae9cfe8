"""Which permissions the user of NATS_URI lacks, found out without any effect.

Every denial is written to the server's log, so a user who looks like an operator's is probed for a few of the
producer's permissions only. The permission to purge is not probed: no request for it is certain to be harmless.
"""

from collections.abc import Sequence

from admin.checks.permissions.report import MissingPermissions, Permission, RequiredBy, required_by
from shared.broker.operator_connection import OperatorConnection
from shared.model import keys
from shared.model.permissions import API_PREFIX, User, inbox_prefix, nats_permissions
from shared.model.services import Service

_ANY = "importer-check"
"""Stands for any token where a permission has a wildcard."""


async def probe_nats(connection: OperatorConnection, services: Sequence[Service]) -> MissingPermissions:
    """Return what the user lacks for these services. Raises DependencyLostError."""
    table = [each for each in nats_permissions(services) if User.PRODUCER in each.users and each.can_be_probed]
    importer = [each.subject for each in table if required_by(each.users) is RequiredBy.IMPORTER]
    producer = [
        subject
        for each in table
        if required_by(each.users) is RequiredBy.PRODUCER
        for subject in _concrete(each.subject, services)
    ]
    messages = [subject for subject in producer if not subject.startswith(API_PREFIX)]
    # One service's channel, POST_UPDATE and one dead letter tell the producer's user from an operator's.
    few = [messages[0], keys.POST_UPDATE_SUBJECT, messages[-1]]
    operator_inbox, producer_inbox = (f"{inbox_prefix(user)}.{_ANY}" for user in (User.OPERATOR, User.PRODUCER))
    denied = await connection.denied_permissions([*importer, *few], operator_inbox)
    publish, subscribe = set(denied.publish), set(denied.subscribe)
    is_producer = not publish.issuperset(few)
    if is_producer:
        denied = await connection.denied_permissions(producer, producer_inbox)
        publish |= denied.publish
        subscribe |= denied.subscribe
    required = [
        (RequiredBy.IMPORTER, "subscribe", operator_inbox),
        *((RequiredBy.IMPORTER, "publish", subject) for subject in importer),
        *((RequiredBy.PRODUCER, "publish", subject) for subject in producer),
        (RequiredBy.PRODUCER, "subscribe", producer_inbox),
    ]
    missing = [
        Permission(who, f"{action} {subject.replace(f'.{_ANY}', '.>')}")
        for who, action, subject in required
        if subject in (publish if action == "publish" else subscribe)
    ]
    return MissingPermissions(missing, is_producer)


def _concrete(subject: str, services: Sequence[Service]) -> list[str]:
    """Return subjects without wildcards that a permission stands for."""
    if subject != keys.DEAD_LETTER_SUBJECTS:
        return [subject]
    return [keys.dead_letter_subject(service.channel, _ANY) for service in services]
