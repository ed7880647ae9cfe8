"""Parse SISU's responses into batches. Pure: bytes in, a batch out, or an error that says what is wrong.

An export's entities stay the bytes that SISU wrote: `msgspec.Raw` cuts a page into entities without building objects.
Where an entity makes that fail, the page is cut by `entity_scanner.py`, and the batch says which ones are unreadable.
Errors never quote the response, which has personal data.
"""

from codecs import getincrementaldecoder
from collections.abc import Sequence

import msgspec

from shared.model.batch import ONE_TIME_ORDINAL, Batch
from shared.model.errors import ImporterError
from shared.model.messages import Entity
from shared.model.services import Api, Service
from shared.sisu.entity_scanner import MAX_DEPTH, ScanError, is_readable, is_too_deep, scan_list

GREATEST_ORDINAL = 2**53 - 1
"""The largest integer that every reader of JSON takes exactly (RFC 8259, 6). A wrong ordinal, once stored, would skip
everything up to it, so one that no real SISU comes near is rejected."""

_DEEP_MIN_BYTES = 2 * MAX_DEPTH
"""What is smaller is not nested too deeply."""

_UTF8_DECODER = getincrementaldecoder("utf-8")
_SLICE_BYTES = 64 * 1024


class InvalidResponseError(ImporterError):
    """The response breaks the API's contract: another attempt will not help."""


class MalformedResponseError(ImporterError):
    """The response is not JSON: cut off, or the page of a proxy. Another attempt may help."""


class LaggingResponseError(ImporterError):
    """The response is older than what was imported before, as of a lagging replica: another attempt may help."""


class _Page(msgspec.Struct):
    entities: list[msgspec.Raw]
    hasMore: bool  # noqa: N815 - SISU's name
    greatestOrdinal: int | None = None  # noqa: N815 - SISU's name


class _GraphqlResponse(msgspec.Struct):
    data: dict[str, list[msgspec.Raw]] | None = None
    errors: list[msgspec.Raw] | None = None


def parse_response(service: Service, since: int, body: bytes) -> Batch:
    """Return the batch in a response of the service's API.

    Raises InvalidResponseError, MalformedResponseError or LaggingResponseError.
    """
    try:
        _check_utf8(body)
        if service.api.is_export:
            return _export(service, since, body)
        return Batch(service, since, ONE_TIME_ORDINAL, has_more=False, entities=_one_time(service, body))
    except msgspec.ValidationError as error:
        raise InvalidResponseError(f"the response does not have the shape of {service.api}: {error}") from None
    except RecursionError:
        return _export_with_unreadable(
            service, since, body, InvalidResponseError("the response is nested too deeply for a parser")
        )
    except msgspec.DecodeError:
        return _export_with_unreadable(
            service, since, body, MalformedResponseError("the response is not JSON, or was cut off")
        )
    except MalformedResponseError as error:
        return _export_with_unreadable(service, since, body, error)


def _check_utf8(body: bytes) -> None:
    """Raise MalformedResponseError if it is not UTF-8: msgspec does not check strings, and every mankeli would fail.

    Slice by slice, since the text is not needed: that of a whole page is twice its size and takes six times as long.
    """
    decoder, view = _UTF8_DECODER(), memoryview(body)
    try:
        for start in range(0, len(body), _SLICE_BYTES):
            decoder.decode(view[start : start + _SLICE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        try:
            body.decode()  # for the position in the whole
        except UnicodeDecodeError as error:
            raise MalformedResponseError(f"the response is not UTF-8 (byte {error.start})") from None


def _export(service: Service, since: int, body: bytes) -> Batch:
    page = msgspec.json.decode(body, type=_Page)
    deep = [
        position
        for position, entity in enumerate(page.entities)
        if len(entity) > _DEEP_MIN_BYTES and is_too_deep(bytes(entity))
    ]
    return _batch(service, since, page, page.entities, deep)


def _export_with_unreadable(service: Service, since: int, body: bytes, error: ImporterError) -> Batch:
    """Return the batch of a page that only some of its entities make unreadable, else raise `error`."""
    if not service.api.is_export:
        raise error from None
    try:
        scanned = scan_list(body, "entities")
        _check_utf8(scanned.envelope)
        page = msgspec.json.decode(scanned.envelope, type=_Page)
    except (ScanError, MalformedResponseError, msgspec.DecodeError, RecursionError):
        raise error from None
    unreadable = [position for position, entity in enumerate(scanned.elements) if not is_readable(entity)]
    if page.entities or not unreadable:
        raise error from None  # `entities` appears twice, or something else is wrong
    return _batch(service, since, page, [Entity(entity) for entity in scanned.elements], unreadable)


def _batch(
    service: Service, since: int, page: _Page, entities: Sequence[Entity], unreadable: Sequence[int] = ()
) -> Batch:
    """Return the batch of a page with these entities. Raises InvalidResponseError or LaggingResponseError."""
    greatest = page.greatestOrdinal
    if not entities and not page.hasMore and (greatest or 0) < since:
        # Nothing new, whatever it says of the ordinal: idle services of SISU are known to return 0 or null.
        return Batch(service, since, since, has_more=False, entities=(), behind=greatest or None)
    if greatest is None:
        raise InvalidResponseError(f"the response does not have the shape of {service.api}: it has no greatestOrdinal")
    if greatest < since:
        raise LaggingResponseError(f"greatestOrdinal {greatest} is before since={since}: ordinals went back")
    if greatest > GREATEST_ORDINAL:
        raise InvalidResponseError(f"greatestOrdinal {greatest} is above 2^53 - 1, more than JSON carries exactly")
    if page.hasMore and greatest == since:
        raise InvalidResponseError(f"hasMore is true, but greatestOrdinal stays at {since}: that would never end")
    return Batch(service, since, greatest, page.hasMore, entities, unreadable)


def _one_time(service: Service, body: bytes) -> Sequence[Entity]:
    if service.api is Api.URN:
        # Not an export: the items are made into entities here, so they do not travel as they were.
        items = msgspec.json.decode(body, type=dict[str, dict[str, msgspec.Raw]])
        return [_codebook_entity(item) for item in items.values()]
    if service.api is Api.GRAPHQL:
        response = msgspec.json.decode(body, type=_GraphqlResponse)
        if response.errors or response.data is None or service.path not in response.data:
            raise InvalidResponseError(f"the GraphQL response reports errors, or has no field {service.path}")
        return response.data[service.path]
    return msgspec.json.decode(body, type=list[msgspec.Raw])


def _codebook_entity(item: dict[str, msgspec.Raw]) -> Entity:
    if not bytes(item.get("urn", b"")).startswith(b'"'):
        raise InvalidResponseError("an item of the codebook has no textual urn")
    return Entity(msgspec.json.encode(item | {"id": item["urn"], "documentState": Entity(b'"ACTIVE"')}))
