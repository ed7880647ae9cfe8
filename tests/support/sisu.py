"""Requests to a simulated SISU, for its own tests."""

from collections.abc import Mapping

import msgspec
import requests

from demo.sisu.simulator import SisuSimulator
from shared.model.services import Service, load_services

SERVICES = load_services()
PERSONS = f"/ori/api{SERVICES[0].path}"
TIMEOUT_SECONDS = 20


class Page(msgspec.Struct):
    """The response of an export."""

    entities: list[msgspec.Raw]
    hasMore: bool  # noqa: N815 - SISU's name
    greatestOrdinal: int  # noqa: N815 - SISU's name


def path(service: Service) -> str:
    """Return the path of an export."""
    return f"/{service.api.lower()}/api{service.path}"


def get(sisu: SisuSimulator, where: str, headers: Mapping[str, str] | None = None, **params: int) -> requests.Response:
    """Send a GET request on a new connection."""
    return requests.get(sisu.uri + where, params=params, headers=headers, timeout=TIMEOUT_SECONDS)


def post(sisu: SisuSimulator, where: str, json: object) -> requests.Response:
    """Send a POST request with JSON on a new connection."""
    return requests.post(sisu.uri + where, json=json, timeout=TIMEOUT_SECONDS)
