"""Whose certificate is to blame when TLS fails: theirs, which we do not trust, or ours, which they do not take.

Both are for a person to mend, unlike a connection that merely broke.
"""

import ssl

_REFUSALS = {
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
"""The alerts (RFC 8446, 6.2) by which a server refuses its client. Before TLS 1.3 `handshake_failure` is what one
gets that has no certificate; `decrypt_error` is what another authority of the same name leads to."""


def distrust(error: BaseException | None) -> str | None:
    """Why the server's certificate is not trusted, where that is behind `error`."""
    found = _behind(error)
    return found.verify_message if isinstance(found, ssl.SSLCertVerificationError) else None


def refusal(error: BaseException | None) -> str | None:
    """How the server refused our certificate, or that there is none, where that is behind `error`."""
    found = _behind(error)
    alert = _alert(found) if found else ""
    return alert.lower().replace("_", " ") if alert in _REFUSALS else None


def _behind(error: BaseException | None) -> ssl.SSLError | None:
    """The innermost TLS error of a chain: client libraries wrap it, in several layers; urllib3 as an argument."""
    found = None
    while error is not None:
        if isinstance(error, ssl.SSLError):
            found = error
        inner = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
        error = next((one for one in inner if isinstance(one, BaseException)), None)
    return found


def _alert(error: ssl.SSLError) -> str:
    """Like CERTIFICATE_REQUIRED, of a reason like TLSV13_ALERT_CERTIFICATE_REQUIRED; empty for any other reason."""
    return str(error.reason or "").partition("_ALERT_")[2]
