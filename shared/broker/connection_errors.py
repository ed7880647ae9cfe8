"""What an error of a connection to NATS means: which of them end the process, with which reaction, in which words."""

import os

from shared.broker.client import TlsNotOfferedError
from shared.broker.client_options import redacted_server_names
from shared.config.settings import CommonSettings
from shared.model import keys
from shared.model.errors import ConfigurationError, DependencyLostError, ProcessError
from shared.runtime import tls_errors

CHECK_CREDENTIALS = "check NATS_TOKEN, NATS_CREDS_PATH, NATS_URI"
_AUTH_ERRORS = ("authorization violation", "authorization failed", "authentication")


def connection_failure(error: Exception, settings: CommonSettings, *, was_connected: bool) -> ProcessError | None:
    """Return what `error` ends the process with: credentials or certificates were rejected. None: it may pass.

    It is bad configuration only where this process has never been connected and no file is involved. What was valid
    once, or comes from a file, is replaced while the process runs, so a fresh start may succeed.
    """
    server = f"NATS at {redacted_server_names(settings)}"
    if is_auth_error(error):
        is_from_file = bool(settings.nats_creds_path or settings.nats_cert_path)
        message = f"{server} rejected the credentials: {CHECK_CREDENTIALS}"
    elif reason := tls_errors.untrusted_server_reason(error):
        is_from_file = settings.nats_ca_path is not None
        message = f"the certificate of {server} cannot be trusted: {reason}; NATS_CA_PATH names a private authority"
    elif reason := tls_errors.rejected_client_reason(error):
        is_from_file = settings.nats_cert_path is not None
        message = f"{server} rejected our certificate ({reason}): check NATS_CERT_PATH, NATS_KEY_PATH"
    elif isinstance(error, TlsNotOfferedError):
        is_from_file = False
        message = (
            f"{server} does not demand TLS, which tls:// in NATS_URI, NATS_CA_PATH or NATS_CERT_PATH asks for; nothing "
            "was sent to it: configure tls in nats-server, without allow_non_tls, or ask for no TLS"
        )
    else:
        return None
    return (DependencyLostError if was_connected or is_from_file else ConfigurationError)(message)


def is_auth_error(error: Exception | None) -> bool:
    """Return whether the server rejected the credentials."""
    text = str(error or "").lower()
    return any(words in text for words in _AUTH_ERRORS)


def summarize_error(error: Exception | None) -> str:
    """Return an error of nats-py in one line; some have no text, and asyncio's have Python's own words."""
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    text = str(error or "").strip().splitlines()
    return f"{type(error).__name__}: {keys.redact_entity_ids(text[0])}" if text else type(error).__name__
