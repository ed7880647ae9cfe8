"""A certificate authority for one test run: what it vouches for, and what a client shows for itself."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


_DAY = dt.timedelta(days=1)


def make_certificates(valid_for: dt.timedelta = _DAY) -> dict[str, bytes]:
    """`ca.pem`, valid for a day; `server.pem` and `server.key` for 127.0.0.1; `client.pem` and `client.key`.

    They are valid from two days ago on; with a negative `valid_for`, no longer.
    """
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("importer test authority")
    authority = _builder(ca_name, ca_name, ca_key, _DAY).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), True
    )
    files = {"ca.pem": authority.sign(ca_key, hashes.SHA256()).public_bytes(_PEM)}
    for who in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        leaf = _builder(_name(who), ca_name, key, valid_for).add_extension(address, False)
        files[f"{who}.pem"] = leaf.sign(ca_key, hashes.SHA256()).public_bytes(_PEM)
        files[f"{who}.key"] = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return files


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, valid_for: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - 2 * _DAY, now + valid_for
    )
