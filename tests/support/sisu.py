"""Asking a simulated SISU, as its own tests do."""

from collections.abc import Mapping

import msgspec
import requests

from demo.sisu import SisuSimulator
from shared.services import Service, load_services

SERVICES = load_services()
PERSONS = f"/ori/api{SERVICES[0].path}"
TIMEOUT_SECONDS = 20


class Page(msgspec.Struct):
    """What an export answers."""

    entities: list[msgspec.Raw]
    hasMore: bool  # noqa: N815 - SISU's name
    greatestOrdinal: int  # noqa: N815 - SISU's name


def path(service: Service) -> str:
    """Where an export is."""
    return f"/{service.api.lower()}/api{service.path}"


def get(sisu: SisuSimulator, where: str, headers: Mapping[str, str] | None = None, **params: int) -> requests.Response:
    """Ask on a connection of its own."""
    return requests.get(sisu.uri + where, params=params, headers=headers, timeout=TIMEOUT_SECONDS)


def post(sisu: SisuSimulator, where: str, json: object) -> requests.Response:
    """Send JSON on a connection of its own."""
    return requests.post(sisu.uri + where, json=json, timeout=TIMEOUT_SECONDS)
