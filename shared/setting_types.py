"""The kinds of values that settings have: how each is read from a text, and what is wrong with one that is none.

Pydantic adds the name of the variable. No message here quotes a value, since some are secrets.
"""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, FilePath, SecretStr, ValidationInfo

from shared import redis_client
from shared.errors import ConfigurationError
from shared.services import choose_services, load_services

_TOKEN_LEAST_CHARACTERS = 16
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def _split(address: str) -> SplitResult:
    """The parts of an address. The port is not looked at: an address for Sentinel has several."""
    try:
        return urlsplit(address)
    except ValueError:
        raise ValueError("is not an address") from None  # the error quotes what may have a password


def _split_one(address: str) -> SplitResult:
    parts = _split(address)
    try:
        _ = parts.port
    except ValueError:
        # Where a password has a slash, what stands before it looks like the port, and the error quotes it.
        raise ValueError(
            "is not an address: its port must be a number, and / in a password be written as %2F"
        ) from None
    return parts


def _http_address(value: str) -> str:
    parts = _split_one(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address like https://sisu.example.org")
    if parts.username or parts.password:
        raise ValueError("must not contain a user or password: SIS_API_USER and SIS_API_PASSWORD are for that")
    if parts.query or parts.fragment or not value.isprintable() or " " in value:
        raise ValueError("must be an address without spaces, ? and #: paths and parameters are added to it")
    return value.rstrip("/")


def _nats_uri(value: SecretStr) -> SecretStr:
    for address in value.get_secret_value().split(","):
        parts = _split_one(address.strip())
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise ValueError("must be nats://host:4222 or tls://host:4222, several separated by commas")
    return value


def _redis_uri(value: SecretStr) -> SecretStr:
    uri = value.get_secret_value()
    parts = _split(uri)
    if parts.scheme not in redis_client.SCHEMES:
        raise ValueError("must begin with redis://, rediss://, redis+sentinel:// or rediss+sentinel://")
    is_sentinel = parts.scheme in redis_client.SENTINEL_SCHEMES
    if is_sentinel and not (parts.netloc.rpartition("@")[2] and parts.path.strip("/")):
        raise ValueError("must name hosts and the master: redis+sentinel://host:26379,host:26379/mymaster")
    try:
        redis_client.make_redis(uri)  # connects nowhere
    except ValueError as error:
        raise ValueError("is not an address that redis-py understands: redis://user:password@host:6379/0") from error
    return value


def _cron(value: str) -> str:
    try:
        CronSim(value, _ANY_TIME)
    except CronSimError as error:
        raise ValueError(f"is not a cron expression: {error}") from error
    return value


def _timezone(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError("must be a time zone of the IANA database, like Europe/Helsinki") from error


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _TOKEN_LEAST_CHARACTERS:
        raise ValueError(f"is too easy to guess: {_TOKEN_LEAST_CHARACTERS} characters at least")
    return value


def _header(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ValueError("travels in an HTTP header: letters, digits and signs of ASCII only, no space, no line break")
    return value


def _authority(path: Path) -> Path:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise ValueError("has no certificate that can be read") from error
    return path


def fits_key(key: str) -> AfterValidator:
    """The certificate of a client, for the key in the file that the variable `key`, which stands before it, names."""

    def check(path: Path | None, info: ValidationInfo) -> Path | None:
        if path and info.data.get(key):  # else that is what is wrong
            try:
                # A password that is given, and wrong, or OpenSSL would ask for one on the terminal.
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, info.data[key], password="")
            except OSError as error:
                raise ValueError(
                    f"has no certificate that can be read and fits the key in {key.upper()}, "
                    "which must have no password"
                ) from error
        return path

    return AfterValidator(check)


def _credentials(path: Path) -> Path:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError("cannot be read") from error
    if b"BEGIN NATS USER JWT" not in content or b"BEGIN USER NKEY SEED" not in content:
        raise ValueError("is no credentials file of NATS")
    return path


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _usable_table(path: Path) -> Path:
    _ = _as_value_error(load_services, path)
    return path


def known_services(names: list[str], info: ValidationInfo) -> list[str]:
    if "services_file" in info.data:  # else it is wrong itself
        _ = _as_value_error(choose_services, load_services(info.data["services_file"]), names)
    return names


def _as_value_error(check: Callable[..., object], *arguments: object) -> object:
    """What `check` answers, with its ConfigurationError as pydantic wants it."""
    try:
        return check(*arguments)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error


def goes_with(*others: str) -> AfterValidator:
    """These variables are set where this one is. Those of them that are wrong themselves are no matter here."""

    def check(value: Any, info: ValidationInfo) -> Any:
        missing = [other.upper() for other in others if info.data.get(other, value) is None]
        if value is not None and missing:
            raise ValueError(f"needs {' and '.join(missing)} too")
        return value

    return AfterValidator(check)


def demanded_by(other: str) -> AfterValidator:
    """This variable is set where the other one is. To be combined with `validate_default`."""

    def check(value: Any, info: ValidationInfo) -> Any:
        if value is None and info.data.get(other) is not None:
            raise ValueError(f"is needed by {other.upper()}, and is not set")
        return value

    return AfterValidator(check)


def at_least(other: str) -> AfterValidator:
    """This number is not smaller than the other one. One that is wrong itself is no matter here."""

    def check(value: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get(other)
        if value is not None and least is not None and value < least:
            raise ValueError(f"must be at least {other.upper()}")
        return value

    return AfterValidator(check)


def upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


HttpAddress = Annotated[str, AfterValidator(_http_address)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header)]
ExplorerToken = Annotated[SecretStr, AfterValidator(_header), AfterValidator(_long_enough)]
NatsUri = Annotated[SecretStr, AfterValidator(_nats_uri)]
RedisUri = Annotated[SecretStr, AfterValidator(_redis_uri)]
NatsCredentials = Annotated[FilePath, AfterValidator(_credentials)]
Authority = Annotated[FilePath, AfterValidator(_authority)]
ServicesFile = Annotated[FilePath, AfterValidator(_usable_table)]
Names = Annotated[list[str], BeforeValidator(_names)]
CronExpression = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[ZoneInfo, BeforeValidator(_timezone)]
Seconds = Annotated[float, Field(gt=0, le=24 * 60 * 60)]
"""A day at most: more is a mistake, and timers cannot take any number."""
