"""Certificates for one test run: authorities, and the server and client certificates that they issue."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM
_DAY = dt.timedelta(days=1)
_EXPIRED = dt.timedelta(minutes=-1)


def make_certificates(valid_for: dt.timedelta = _DAY) -> dict[str, bytes]:
    """Create `ca.pem`, valid for a day; `server.pem` and `server.key` for 127.0.0.1; `client.pem` and `client.key`.

    They are valid from two days ago on; with a negative `valid_for` they have expired.
    """
    authority = _Authority("importer test authority")
    return {"ca.pem": authority.pem} | authority.issue("server", valid_for) | authority.issue("client", valid_for)


def write_certificates(folder: Path) -> Path:
    """Write those of `make_certificates`, and some that must be rejected, into `folder`, and return it.

    The same authority issues `expired-server` and `expired-client`; another one, `other-ca.pem`, issues `other-server`
    and `other-client`.
    """
    ours, others = _Authority("importer test authority"), _Authority("another authority")
    files = {"ca.pem": ours.pem, "other-ca.pem": others.pem}
    for owner in ("server", "client"):
        files |= ours.issue(owner) | ours.issue(f"expired-{owner}", _EXPIRED) | others.issue(f"other-{owner}")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def make_self_signed() -> dict[str, bytes]:
    """Create a self-signed `cert.pem` for 127.0.0.1, and `key.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"cert.pem": cert.public_bytes(_PEM), "key.pem": key_pem}


class _Authority:
    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        root = _builder(self._name, self._name, self._key, _DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), True
        )
        self.pem = root.sign(self._key, hashes.SHA256()).public_bytes(_PEM)

    def issue(self, owner: str, valid_for: dt.timedelta = _DAY) -> dict[str, bytes]:
        """Issue a certificate for 127.0.0.1 and its key, as `<owner>.pem` and `<owner>.key`."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        leaf = _builder(_name(owner), self._name, key, valid_for).add_extension(address, False)
        return {
            f"{owner}.pem": leaf.sign(self._key, hashes.SHA256()).public_bytes(_PEM),
            f"{owner}.key": key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        }


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, valid_for: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - 2 * _DAY, now + valid_for
    )
