"""The simulator's responses: the bodies of SISU's APIs, made of ready bytes, and the faults in them."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import format_datetime
from urllib.parse import parse_qs

import orjson

from demo.sisu.backend import SisuBackend
from demo.sisu.data.random_entity import ROOT_ORG_ID
from demo.sisu.faults import HUGE_ORDINAL, Fault, FaultKind
from demo.sisu.version_log import Page
from shared.model.services import Api, Service

JSON = "application/json"
_HTML = (
    b"<!DOCTYPE html><html><head><title>Sisu</title></head><body><h1>Kirjaudu sis\xc3\xa4\xc3\xa4n</h1></body></html>"
)
_DEFAULT_LIMIT = 1000
_MALFORMED = {FaultKind.TRUNCATED, FaultKind.RESET, FaultKind.INVALID_UTF8, FaultKind.NOT_A_LIST}


@dataclass(frozen=True)
class Response:
    """An HTTP response, and what to log about it."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    since: int | None = None
    limit: int | None = None
    entities: int = 0
    greatest_ordinal: int | None = None


def error_response(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error response."""
    return Response(status, orjson.dumps({"status": status, "message": reason}), headers=headers or {})


def respond(backend: SisuBackend, service: Service, query: str, body: bytes, fault: Fault | None) -> Response:
    """Return the response to a request of a service, corrupted if `fault` concerns its content."""
    if service.api.is_export:
        right = _export(backend, service, query, fault)
    else:
        right = _one_time(backend, service, query, body, fault)
    return right if fault is None else _corrupted(right, fault)


def _export(backend: SisuBackend, service: Service, query: str, fault: Fault | None) -> Response:
    parameters = parse_qs(query)
    try:
        since = int(parameters.get("since", ["0"])[0])
        limit = int(parameters.get("limit", [_DEFAULT_LIMIT])[0])
    except ValueError:
        return error_response(400, "since and limit must be integers")
    if since < 0 or limit < 1:
        return error_response(400, "since must not be negative, and limit must be positive")
    kind = fault.kind if fault else None
    max_entities = limit * (fault.factor if fault and kind is FaultKind.TOO_MANY else 1)
    page = backend.page(service.name, since, max_entities, inclusive=kind is FaultKind.INCLUSIVE)
    if fault:
        page = _corrupted_page(backend, service, since, page, fault)
    ordinal = _ordinal(page.greatest_ordinal, since, fault)
    head, tail = (b'{"content":[', b"]}") if kind is FaultKind.NOT_A_LIST else (b"[", b"]")
    has_more = b"true" if page.has_more else b"false"
    body = _joined(b'{"entities":' + head, page.bodies, b'%s,"hasMore":%s%s}' % (tail, has_more, ordinal))
    return Response(
        200, body, since=since, limit=limit, entities=len(page.bodies), greatest_ordinal=page.greatest_ordinal
    )


def _joined(head: bytes, bodies: list[bytes], tail: bytes) -> bytes:
    # In one copy: a page has megabytes, and adding its frame with % takes several times as long as the join.
    if len(bodies) < 2:  # noqa: PLR2004 - a first one and a last one
        return head + b"".join(bodies) + tail
    return b",".join([head + bodies[0], *bodies[1:-1], bodies[-1] + tail])


def _corrupted_page(backend: SisuBackend, service: Service, since: int, page: Page, fault: Fault) -> Page:
    if fault.kind is FaultKind.EMPTY_PAGE:
        room = backend.room_after(service.name, since)
        if fault.progress and not room:
            return page
        return Page([], since + fault.progress, has_more=True)
    if fault.kind is FaultKind.IDLE_PAGE:
        return Page([], since, has_more=False)
    if fault.kind is FaultKind.NO_PROGRESS:
        return Page(page.bodies, since, has_more=True)
    if fault.kind is FaultKind.TWICE:
        return replace(page, bodies=page.bodies + page.bodies[:1])
    return page


def _ordinal(greatest: int, since: int, fault: Fault | None) -> bytes:
    kind = fault.kind if fault else None
    if kind is FaultKind.ORDINAL_MISSING:
        return b""
    if fault and kind is FaultKind.IDLE_PAGE:
        return b',"greatestOrdinal":' + orjson.dumps(fault.ordinal)
    values: dict[FaultKind | None, bytes] = {
        FaultKind.ORDINAL_BACK: b"%d" % (since - 1),
        FaultKind.ORDINAL_NULL: b"null",
        FaultKind.ORDINAL_STRING: b'"%d"' % greatest,
        FaultKind.ORDINAL_HUGE: b"%d" % HUGE_ORDINAL,
    }
    return b',"greatestOrdinal":' + values.get(kind, b"%d" % greatest)


def _one_time(backend: SisuBackend, service: Service, query: str, body: bytes, fault: Fault | None) -> Response:
    versions = backend.versions(service.name)
    listed = b"[%s]" % b",".join(version.body for version in versions)
    if service.api is Api.URN:
        items = [b"%s:%s" % (orjson.dumps(version.entity_id), version.body) for version in versions]
        return Response(200, b"{%s}" % b",".join(items), entities=len(versions))
    if service.api is Api.GRAPHQL:
        if fault and fault.kind is FaultKind.GRAPHQL_ERRORS:
            return Response(200, orjson.dumps({"data": None, "errors": [{"message": "Internal Server Error(s)"}]}))
        return _graphql(service, body, listed, len(versions))
    organisation = parse_qs(query).get("universityOrgId")
    if organisation is None:
        return error_response(400, "universityOrgId is missing")
    if organisation != [ROOT_ORG_ID]:
        return Response(200, b"[]")
    return Response(200, listed, entities=len(versions))


def _graphql(service: Service, body: bytes, listed: bytes, count: int) -> Response:
    try:
        query = orjson.loads(body)["query"]
        known = service.path in query
    except (ValueError, KeyError, TypeError):
        return error_response(400, "a JSON object with a query is expected")
    if not known:
        return Response(200, orjson.dumps({"errors": [{"message": f"Only {service.path} can be queried"}]}))
    return Response(200, b'{"data":{%s:%s}}' % (orjson.dumps(service.path), listed), entities=count)


def _corrupted(right: Response, fault: Fault) -> Response:
    """Return the response with the faults in its content; those of the connection happen in the HTTP server."""
    unread = replace(right, entities=0, greatest_ordinal=None)
    if fault.kind is FaultKind.STATUS:
        return replace(
            unread,
            status=fault.status,
            body=orjson.dumps({"status": fault.status, "message": "simulated"}),
            headers={**fault.headers, **_retry_after(fault)},
        )
    if fault.kind is FaultKind.HTML:
        return replace(unread, body=_HTML, content_type="text/html; charset=utf-8")
    if fault.kind is FaultKind.INVALID_UTF8:
        # The last quotation mark ends a string, a value or a key: append one more byte to its content.
        before, quote, after = right.body.rpartition(b'"')
        return replace(unread, body=before + b"\xff" + quote + after)
    if fault.kind is FaultKind.TRUNCATED and fault.honest_length:
        return replace(unread, body=right.body[: fault.passed_bytes(right.body)])
    if fault.kind in _MALFORMED:
        return unread
    return right


def _retry_after(fault: Fault) -> dict[str, str]:
    if fault.retry_after_date_seconds is not None:
        moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=fault.retry_after_date_seconds)
        return {"Retry-After": format_datetime(moment, usegmt=True)}
    return {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
