"""The simulator's control API over HTTP, for its use as a program. `demo.sisu.simulator` describes it."""

import hashlib
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs

import orjson

from demo.sisu.backend import SisuBackend
from demo.sisu.responses import Response, error_response


def control(backend: SisuBackend, method: str, path: str, query: str, body: bytes) -> Response:
    """Execute a request to /simulator/ and return the response."""
    _, _, command, *rest = path.split("/")
    parameters = {name: values[-1] for name, values in parse_qs(query).items()}
    try:
        if method == "GET":
            result = _read(backend, command, rest, parameters)
        elif method == "POST":
            result = _write(backend, command, parameters, body)
        else:
            return error_response(405, "GET or POST")
    except (ValueError, KeyError, TypeError) as error:
        return error_response(400, f"{type(error).__name__}: {error}")
    return error_response(404, "no such command") if result is None else Response(200, orjson.dumps(result))


def _read(backend: SisuBackend, command: str, rest: list[str], parameters: dict[str, str]) -> Any:
    if command == "counts":
        return {
            name: {"entities": entities, "greatestOrdinal": ordinal}
            for name, (entities, ordinal) in backend.counts().items()
        }
    if command == "requests":
        return [asdict(request) for request in backend.requests[int(parameters.get("after", 0)) :]]
    if command == "expected" and len(rest) == 1:
        up_to = parameters.get("up_to")
        return {
            entity_id: {"documentState": state, "sha256": hashlib.sha256(body).hexdigest()}
            for entity_id, (state, body) in backend.expected(rest[0], int(up_to) if up_to else None).items()
        }
    return None


def _write(backend: SisuBackend, command: str, parameters: dict[str, str], body: bytes) -> Any:
    if command == "put":
        return {"ordinal": backend.put(parameters["service"], body, entity_id=parameters.get("id"))}
    fields = orjson.loads(body or b"{}")
    if command == "touch":
        return {"ids": backend.touch(fields["service"], int(fields["n"]), int(fields["seed"]))}
    if command == "fault":
        backend.fault(**fields)
        return {}
    if command == "release":
        backend.release_faults()
        return {}
    if command == "latency":
        backend.latency_seconds = float(fields["seconds"])
        return {}
    return None
