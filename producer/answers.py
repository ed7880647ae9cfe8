"""What SISU answers, checked and turned into batches. Pure: bytes in, a batch out, or an error that says what is wrong.

An export's entities stay the bytes that SISU wrote: `msgspec.Raw` cuts a page into entities without building objects.
Errors never quote the answer, which has personal data.
"""

from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from shared.errors import ImporterError
from shared.messages import Entity
from shared.services import Api, Service

ONE_TIME_ORDINAL = 1
"""The ordinal of a one-time service once all of it is settled."""

GREATEST_ORDINAL = 2**53 - 1
"""The largest integer that every reader of JSON takes exactly (RFC 8259, 6). A wrong ordinal that was stored would skip
everything up to it, so one that no real SISU comes near is not believed."""

_UTF8_DECODER = getincrementaldecoder("utf-8")
_PIECE_BYTES = 64 * 1024


class BadAnswerError(ImporterError):
    """The answer is not what the API's contract says. Asking again will not help."""


class UnreadableAnswerError(ImporterError):
    """The answer is no JSON: cut off, or a page of some proxy. Asking again may help."""


@dataclass(frozen=True)
class Batch:
    """What one fetch returned."""

    service: Service
    since: int
    """The ordinal that it was fetched from."""
    greatest_ordinal: int
    """The ordinal to store when all of it is settled."""
    has_more: bool
    entities: Sequence[Entity]


class _Page(msgspec.Struct):
    entities: list[msgspec.Raw]
    hasMore: bool  # noqa: N815 - SISU's name
    greatestOrdinal: int  # noqa: N815 - SISU's name


class _GraphqlAnswer(msgspec.Struct):
    data: dict[str, list[msgspec.Raw]] | None = None
    errors: list[msgspec.Raw] | None = None


def read_answer(service: Service, since: int, body: bytes) -> Batch:
    """The batch in an answer of the service's API. Raises BadAnswerError or UnreadableAnswerError."""
    _check_utf8(body)
    try:
        if service.api.is_export:
            return _export(service, since, body)
        return Batch(service, since, ONE_TIME_ORDINAL, has_more=False, entities=_one_time(service, body))
    except msgspec.ValidationError as error:
        raise BadAnswerError(f"the answer has another shape than {service.api} has: {error}") from None
    except RecursionError:
        raise BadAnswerError("the answer is nested deeper than a parser takes") from None
    except msgspec.DecodeError:
        raise UnreadableAnswerError("the answer is not JSON, or was cut off") from None


def _check_utf8(body: bytes) -> None:
    """Raise UnreadableAnswerError if it is not: msgspec passes strings on unchecked, and every mankeli would fail.

    Piece by piece, for the text is not wanted: that of a whole page is twice its size and takes six times as long.
    """
    decoder, view = _UTF8_DECODER(), memoryview(body)
    try:
        for start in range(0, len(body), _PIECE_BYTES):
            decoder.decode(view[start : start + _PIECE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        try:
            body.decode()  # it knows the place in the whole
        except UnicodeDecodeError as error:
            raise UnreadableAnswerError(f"the answer is not UTF-8 (byte {error.start})") from None


def _export(service: Service, since: int, body: bytes) -> Batch:
    page = msgspec.json.decode(body, type=_Page)
    if page.greatestOrdinal < since:
        raise BadAnswerError(f"greatestOrdinal {page.greatestOrdinal} is before since={since}: ordinals went back")
    if page.greatestOrdinal > GREATEST_ORDINAL:
        raise BadAnswerError(
            f"greatestOrdinal {page.greatestOrdinal} is above 2^53 - 1, more than JSON carries exactly"
        )
    if page.hasMore and page.greatestOrdinal == since:
        raise BadAnswerError(f"hasMore is true, but greatestOrdinal stays at {since}: that would never end")
    return Batch(service, since, page.greatestOrdinal, page.hasMore, page.entities)


def _one_time(service: Service, body: bytes) -> Sequence[Entity]:
    if service.api is Api.URN:
        # Not an export: these are made into entities here, so they do not travel as they were.
        items = msgspec.json.decode(body, type=dict[str, dict[str, msgspec.Raw]])
        return [_codebook_entity(item) for item in items.values()]
    if service.api is Api.GRAPHQL:
        answer = msgspec.json.decode(body, type=_GraphqlAnswer)
        if answer.errors or answer.data is None or service.path not in answer.data:
            raise BadAnswerError(f"the GraphQL answer reports errors, or has no field {service.path}")
        return answer.data[service.path]
    return msgspec.json.decode(body, type=list[msgspec.Raw])


def _codebook_entity(item: dict[str, msgspec.Raw]) -> Entity:
    if not bytes(item.get("urn", b"")).startswith(b'"'):
        raise BadAnswerError("an item of the codebook has no urn that is a text")
    return Entity(msgspec.json.encode(item | {"id": item["urn"], "documentState": Entity(b'"ACTIVE"')}))
