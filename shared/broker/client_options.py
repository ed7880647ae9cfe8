"""The options of a connection to NATS: servers, credentials, TLS and inbox, as the settings name them."""

import ssl
from typing import Any

from shared.broker.client import NatsClient
from shared.config.nats_address import NatsAddress
from shared.config.settings import CommonSettings
from shared.model.permissions import inbox_prefix


def make_client(settings: CommonSettings) -> NatsClient:
    """Return a client that is not connected, and that reads the files of the settings for each attempt to connect."""
    files = (settings.nats_ca_path, settings.nats_cert_path, settings.nats_key_path)
    return NatsClient(lambda: _tls(settings), demands_tls=_address(settings).demands_tls or any(files))


def redacted_server_names(settings: CommonSettings) -> str:
    """Return the hosts and ports of NATS_URI, without credentials."""
    return _address(settings).redacted


def client_options(settings: CommonSettings, name: str) -> dict[str, Any]:
    """Return the options of nats-py's `Client.connect` for the servers and credentials of the settings, as `name`."""
    address = _address(settings)
    token = settings.nats_token.get_secret_value() if settings.nats_token else None
    return {
        "servers": [server.uri for server in address.servers],
        "name": name,
        # NATS_TOKEN takes precedence over what NATS_URI has.
        "user": address.user if token is None else None,
        "password": address.password if token is None else None,
        "token": token if token is not None else address.token,
        "user_credentials": str(settings.nats_creds_path) if settings.nats_creds_path else None,
        # An inbox prefix of its own: a user who may subscribe to all of `_INBOX` receives what others are sent.
        "inbox_prefix": inbox_prefix(name),
    }


def _address(settings: CommonSettings) -> NatsAddress:
    return NatsAddress.parse(settings.nats_uri.get_secret_value())


def _tls(settings: CommonSettings) -> ssl.SSLContext | None:
    """Return the TLS context, None where no file is set: then TLS is verified against the public authorities.

    Raises OSError where a file cannot be used, since it is being replaced, for example.
    """
    if not settings.nats_ca_path and not settings.nats_cert_path:
        return None
    context = ssl.create_default_context(cafile=settings.nats_ca_path)
    if settings.nats_cert_path:
        context.load_cert_chain(settings.nats_cert_path, settings.nats_key_path)
    return context
