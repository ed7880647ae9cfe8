"""Which certificate made TLS fail: the server's, which we do not trust, or ours, which the server rejects.

Only a person can fix either, unlike a connection that merely broke.
"""

import ssl

_REJECTIONS = {
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "DECRYPT_ERROR",
    "HANDSHAKE_FAILURE",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
}
"""The alerts (RFC 8446, 6.2) by which a server rejects its client. Before TLS 1.3 a client without a certificate gets
`handshake_failure`; `decrypt_error` is what another authority of the same name leads to."""


def untrusted_server_reason(error: BaseException | None) -> str | None:
    """Return why the server's certificate is not trusted, where that caused `error`, else None."""
    found = _find_ssl_error(error)
    return found.verify_message if isinstance(found, ssl.SSLCertVerificationError) else None


def rejected_client_reason(error: BaseException | None) -> str | None:
    """Return the alert by which the server rejected our certificate, where that caused `error`, else None."""
    found = _find_ssl_error(error)
    alert = _alert(found) if found else ""
    return alert.lower().replace("_", " ") if alert in _REJECTIONS else None


def _find_ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the innermost TLS error of a chain: client libraries wrap it in several layers, urllib3 as an argument."""
    found = None
    while error is not None:
        if isinstance(error, ssl.SSLError):
            found = error
        inner = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
        error = next((one for one in inner if isinstance(one, BaseException)), None)
    return found


def _alert(error: ssl.SSLError) -> str:
    """Return the alert, like CERTIFICATE_REQUIRED, of a reason like TLSV13_ALERT_CERTIFICATE_REQUIRED, else nothing."""
    return str(error.reason or "").partition("_ALERT_")[2]
