"""What the user of NATS_URI may do, found out without doing it.

Publishing is refused by an error on the connection, which the client hears of and survives. What is allowed arrives and
is in vain: a message demands to be stored by a stream whose name cannot be, and a request to JetStream's API has a body
that no server can read, and that would ask for nothing if it were taken for an empty one. That is why the right to
purge is not looked at: an empty request empties the stream, and nats-server 2.15 takes such a body for that.

What is refused stands in the server's log, so a user who looks like an operator is asked for a few of a producer's
rights only.
"""

import re
from collections.abc import Sequence

import nats.errors
from nats.aio.client import Client

from operating.rights import Lack, Need, Right
from shared import keys
from shared.broker import inbox_prefix
from shared.errors import DependencyLostError
from shared.services import Service

_FLUSH_SECONDS = 5
_NO_STREAM = {"Nats-Expected-Stream": "no.stream"}
"""No stream has a dot in its name."""
_NO_REQUEST = b"not JSON"
_API = "$JS.API."
_STREAMS = (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM)
_COLLECTOR = f"{keys.FEEDBACK_STREAM}.{keys.COLLECTOR_CONSUMER}"
_LOOKS = [
    *(f"{_API}STREAM.INFO.{stream}" for stream in _STREAMS),
    f"{_API}CONSUMER.LIST.{keys.CHUNK_STREAM}",
    f"{_API}CONSUMER.INFO.{_COLLECTOR}",
    f"{_API}STREAM.MSG.GET.{keys.DEAD_LETTER_STREAM}",
    f"{_API}STREAM.MSG.DELETE.{keys.DEAD_LETTER_STREAM}",
]
_CHANGES = [
    *(f"{_API}STREAM.CREATE.{stream}" for stream in _STREAMS),
    f"{_API}CONSUMER.DURABLE.CREATE.{_COLLECTOR}",
]
_NOBODY = "importer-check"
"""Stands for any token."""
_IMPORTERS_INBOX = f"{inbox_prefix('operator')}.{_NOBODY}"
_PRODUCERS_INBOX = f"{inbox_prefix('producer')}.{_NOBODY}"
_REFUSAL = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)


async def look_at_nats(client: Client, complaints: Sequence[Exception], services: Sequence[Service]) -> Lack:
    """What the user lacks for these services. `complaints` is where the client's errors appear.

    Raises DependencyLostError.
    """
    messages = [*(service.channel for service in services), keys.POST_UPDATE_SUBJECT]
    letters = [keys.dead_letter_subject(service.channel, _NOBODY) for service in services]
    few = [messages[0], messages[-1], letters[0]]
    refused = await _refused(client, complaints, [*_LOOKS, *few], _IMPORTERS_INBOX)
    is_producer = not refused.issuperset(_publish(few))
    if is_producer:
        refused |= await _refused(client, complaints, [*messages, *letters, *_CHANGES], _PRODUCERS_INBOX)
    looked_at = [
        *((Need.IMPORTER, rule) for rule in [_subscribe(_IMPORTERS_INBOX), *_publish(_LOOKS)]),
        *((Need.PRODUCER_ALONE, rule) for rule in _publish([*messages, *letters])),
        *((Need.PRODUCER, rule) for rule in [*_publish(_CHANGES), _subscribe(_PRODUCERS_INBOX)]),
    ]
    lacking = [Right(need, rule.replace(f".{_NOBODY}", ".>")) for need, rule in looked_at if rule in refused]
    return Lack(lacking, is_producer)


def _subscribe(subject: str) -> str:
    return f"subscribe {subject}"


def _publish(subjects: Sequence[str]) -> list[str]:
    return [f"publish {subject}" for subject in subjects]


async def _refused(client: Client, complaints: Sequence[Exception], subjects: Sequence[str], inbox: str) -> set[str]:
    """Which of these are refused. The server answers in order, so nothing comes after the answer to the flush."""
    heard = len(complaints)
    try:
        await client.subscribe(inbox)
        for subject in subjects:
            if subject.startswith(_API):
                await client.publish(subject, _NO_REQUEST)
            else:
                await client.publish(subject, headers=_NO_STREAM)
        # nats-py takes the PONG that ends its connecting, if that comes late, for the answer to the first flush.
        await client.flush(_FLUSH_SECONDS)
        await client.flush(_FLUSH_SECONDS)
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise DependencyLostError(f"NATS is lost (the look at the user's rights): {type(error).__name__}") from error
    found = [_REFUSAL.search(str(error)) for error in complaints[heard:]]
    told = {(each[1].lower(), each[2].lower()) for each in found if each}  # the client writes errors in lower case
    refused = {
        rule for subject, rule in zip(subjects, _publish(subjects), strict=True) if ("publish", subject.lower()) in told
    }
    return refused | ({_subscribe(inbox)} if ("subscription", inbox.lower()) in told else set())
