"""The simulator's control over HTTP, for who runs it in a process of its own. `demo.sisu` describes it."""

import hashlib
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs

import orjson

from demo.sisu_answers import Answer, refusal
from demo.sisu_backend import SisuBackend


def control(backend: SisuBackend, method: str, path: str, query: str, sent: bytes) -> Answer:
    """Do what a request to /simulator/ asks for."""
    _, _, command, *rest = path.split("/")
    parameters = {name: values[-1] for name, values in parse_qs(query).items()}
    try:
        if method == "GET":
            result = _read(backend, command, rest, parameters)
        elif method == "POST":
            result = _write(backend, command, parameters, sent)
        else:
            return refusal(405, "GET or POST")
    except (ValueError, KeyError, TypeError) as error:
        return refusal(400, f"{type(error).__name__}: {error}")
    return refusal(404, "no such command") if result is None else Answer(200, orjson.dumps(result))


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


def _write(backend: SisuBackend, command: str, parameters: dict[str, str], sent: bytes) -> Any:
    if command == "put":
        return {"ordinal": backend.put(parameters["service"], sent, entity_id=parameters.get("id"))}
    asked = orjson.loads(sent or b"{}")
    if command == "touch":
        return {"ids": backend.touch(asked["service"], int(asked["n"]), int(asked["seed"]))}
    if command == "fault":
        backend.fault(**asked)
        return {}
    if command == "release":
        backend.release_faults()
        return {}
    if command == "latency":
        backend.latency_seconds = float(asked["seconds"])
        return {}
    return None
