"""Operators, accounts and users of NATS with keys of their own (decentralised authentication), for one test.

The tokens have the format of NATS ADR-14, and only the fields that the server needs.
"""

import base64
import json
import secrets
import time
from dataclasses import dataclass

import nkeys


@dataclass(frozen=True)
class Identity:
    """A key pair, named by its public key."""

    pair: nkeys.KeyPair
    seed: bytes

    @property
    def name(self) -> str:
        """Return the public key."""
        return str(self.pair.public_key.decode())


def identity(prefix: int) -> Identity:
    """Create an identity; `prefix` is one of nkeys.PREFIX_BYTE_*."""
    seed = nkeys.encode_seed(secrets.token_bytes(32), prefix)
    return Identity(nkeys.from_seed(bytearray(seed)), bytes(seed))


def token(issuer: Identity, subject: Identity, nats: dict[str, object], expires: int | None = None) -> str:
    """Return `issuer`'s signed claims about `subject`."""
    claims = {"iss": issuer.name, "sub": subject.name, "iat": int(time.time()), "jti": secrets.token_hex(16)}
    claims |= {"name": "test", "nats": {"version": 2} | nats} | ({"exp": expires} if expires else {})
    text = f"{_encode({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encode(claims)}"
    signature = base64.urlsafe_b64encode(issuer.pair.sign(text.encode())).rstrip(b"=").decode()
    return f"{text}.{signature}"


def _encode(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class Nsc:
    """An operator with an account that has JetStream, and a system account."""

    def __init__(self) -> None:
        self._operator = identity(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = identity(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = identity(nkeys.PREFIX_BYTE_ACCOUNT)
        # Only once: a running server accepts no other token of its operator.
        self._operator_token = token(
            self._operator, self._operator, {"type": "operator", "system_account": self._system.name}
        )

    def server_config(self, *, revoked: bool = False) -> str:
        """Return a configuration that trusts the operator; `revoked`: with all users revoked that exist now."""
        limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1}
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        revocations = {"revocations": {"*": int(time.time())}} if revoked else {}
        account = token(self._operator, self._account, {"type": "account", "limits": limits | storage} | revocations)
        system = token(self._operator, self._system, {"type": "account", "limits": limits})
        return (
            f"operator: {self._operator_token}\nsystem_account: {self._system.name}\nresolver: MEMORY\n"
            f"resolver_preload: {{\n{self._account.name}: {account}\n{self._system.name}: {system}\n}}\n"
        )

    def credentials(self, *, expires: int | None = None) -> str:
        """Return the credentials file of a new user of the account; `expires` is in seconds since 1970."""
        return self._credentials(self._account, expires)

    def system_credentials(self) -> str:
        """Return the credentials file of a new user of the system account, which may reload the server."""
        return self._credentials(self._system, None)

    @staticmethod
    def _credentials(account: Identity, expires: int | None) -> str:
        user = identity(nkeys.PREFIX_BYTE_USER)
        limits = {"subs": -1, "data": -1, "payload": -1}
        jwt = token(account, user, {"type": "user", "pub": {}, "sub": {}} | limits, expires)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
