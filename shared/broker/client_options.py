"""The options of a connection to NATS: servers, credentials, TLS and inbox, as the settings name them."""

import ssl
from typing import Any
from urllib.parse import urlsplit

from shared.config.settings import CommonSettings
from shared.model.permissions import inbox_prefix


def redacted_server_names(settings: CommonSettings) -> str:
    """Return the hosts and ports of NATS_URI, without credentials."""
    each = settings.nats_uri.get_secret_value().split(",")
    return ", ".join(urlsplit(address.strip()).netloc.rpartition("@")[2] for address in each)


def client_options(settings: CommonSettings, name: str) -> dict[str, Any]:
    """Return the options of nats-py's `Client.connect` for the servers and credentials of the settings, as `name`."""
    return {
        "servers": [address.strip() for address in settings.nats_uri.get_secret_value().split(",")],
        "name": name,
        "token": settings.nats_token.get_secret_value() if settings.nats_token else None,
        "user_credentials": str(settings.nats_creds_path) if settings.nats_creds_path else None,
        "tls": _tls(settings),
        # An inbox prefix of its own: a user who may subscribe to all of `_INBOX` receives what others are sent.
        "inbox_prefix": inbox_prefix(name),
    }


def _tls(settings: CommonSettings) -> ssl.SSLContext | None:
    """Return the TLS context, None where no file is set: then TLS is verified against the public authorities."""
    if not settings.nats_ca_path and not settings.nats_cert_path:
        return None
    context = ssl.create_default_context(cafile=settings.nats_ca_path)
    if settings.nats_cert_path:
        context.load_cert_chain(settings.nats_cert_path, settings.nats_key_path)
    return context
