"""Find out which subjects a user of NATS may not publish on, without any effect.

A denied publish is reported as an error on the connection, which the client survives. An allowed one arrives and has
no effect: a message demands to be stored by a stream whose name cannot exist, and a request to JetStream's API has a
body that no server can parse, and that would ask for nothing if it were taken for an empty one. A purge cannot be
probed that way: an empty request purges the whole stream, and nats-server 2.15 takes such a body for an empty one.

Every denial is written to the server's log.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client

from shared.model.errors import DependencyLostError
from shared.model.permissions import API_PREFIX

_FLUSH_SECONDS = 5
_NO_SUCH_STREAM = {"Nats-Expected-Stream": "no.stream"}
"""No stream has a dot in its name."""
_UNPARSABLE_REQUEST = b"not JSON"
_DENIAL = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)


@dataclass(frozen=True)
class DeniedPermissions:
    """What a user may not do, of what was probed."""

    publish: frozenset[str]
    """Subjects."""
    subscribe: frozenset[str]


async def probe(client: Client, errors: Sequence[Exception], subjects: Sequence[str], inbox: str) -> DeniedPermissions:
    """Publish on `subjects` and subscribe to `inbox`, and return what is denied.

    `errors` is the list to which the client's callback appends its errors. Blocks for some seconds at most. Raises
    DependencyLostError.
    """
    seen = len(errors)
    try:
        await client.subscribe(inbox)
        for subject in subjects:
            if subject.startswith(API_PREFIX):
                await client.publish(subject, _UNPARSABLE_REQUEST)
            else:
                await client.publish(subject, headers=_NO_SUCH_STREAM)
        # The server replies in order, so nothing comes after the reply to the flush. Two of them: nats-py takes the
        # PONG that ends its connecting, if that comes late, for the reply to the first one.
        await client.flush(_FLUSH_SECONDS)
        await client.flush(_FLUSH_SECONDS)
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise DependencyLostError(f"NATS is unavailable (probing permissions): {type(error).__name__}") from error
    matches = [_DENIAL.search(str(error)) for error in errors[seen:]]
    denied = {(match[1].lower(), match[2].lower()) for match in matches if match}  # the client lower-cases errors
    return DeniedPermissions(
        publish=frozenset(subject for subject in subjects if ("publish", subject.lower()) in denied),
        subscribe=frozenset({inbox} if ("subscription", inbox.lower()) in denied else ()),
    )
