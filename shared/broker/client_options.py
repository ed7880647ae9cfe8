"""The options of a connection to NATS: servers, credentials, TLS and inbox, as the settings name them."""

import ssl
from typing import Any

from shared.broker.client import NatsClient
from shared.config.nats_address import NatsAddress
from shared.config.nats_login import NatsLogin
from shared.config.settings import CommonSettings
from shared.config.tls_files import TlsFiles
from shared.model.permissions import inbox_prefix


def make_client(settings: CommonSettings) -> NatsClient:
    """Return a client that is not connected, and that reads the files of the settings for each attempt to connect."""
    return make_login_client(_login(settings))


def make_login_client(login: NatsLogin) -> NatsClient:
    """Return a client as `make_client` does, for the files of a login."""
    files = login.tls
    demands_tls = login.address.demands_tls or any((files.ca_path, files.cert_path, files.key_path))
    return NatsClient(lambda: _tls(files), demands_tls=demands_tls)


def redacted_server_names(settings: CommonSettings) -> str:
    """Return the hosts and ports of NATS_URI, without credentials."""
    return _address(settings).redacted


def client_options(settings: CommonSettings, name: str) -> dict[str, Any]:
    """Return the options of nats-py's `Client.connect` for the servers and credentials of the settings, as `name`."""
    return login_options(_login(settings), name)


def login_options(login: NatsLogin, name: str) -> dict[str, Any]:
    """Return the options of nats-py's `Client.connect` for the servers and credentials of a login, as `name`."""
    address, token = login.address, login.token.get_secret_value() if login.token else None
    return {
        "servers": [server.uri for server in address.servers],
        "name": name,
        # A token of its own takes precedence over what the address has.
        "user": address.user if token is None else None,
        "password": address.password if token is None else None,
        "token": token if token is not None else address.token,
        "user_credentials": str(login.creds_path) if login.creds_path else None,
        # An inbox prefix of its own: a user who may subscribe to all of `_INBOX` receives what others are sent.
        "inbox_prefix": inbox_prefix(name),
    }


def _login(settings: CommonSettings) -> NatsLogin:
    files = TlsFiles(settings.nats_ca_path, settings.nats_cert_path, settings.nats_key_path)
    return NatsLogin(_address(settings), settings.nats_token, settings.nats_creds_path, files)


def _address(settings: CommonSettings) -> NatsAddress:
    return NatsAddress.parse(settings.nats_uri.get_secret_value())


def _tls(files: TlsFiles) -> ssl.SSLContext | None:
    """Return the TLS context, None where no file is set: then TLS is verified against the public authorities.

    Raises OSError where a file cannot be used, since it is being replaced, for example.
    """
    if not files.ca_path and not files.cert_path:
        return None
    context = ssl.create_default_context(cafile=files.ca_path)
    if files.cert_path:
        context.load_cert_chain(files.cert_path, files.key_path)
    return context
