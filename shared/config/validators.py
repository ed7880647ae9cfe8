"""The types of settings: how each is parsed from a text, and the error for one that is not valid.

Pydantic adds the name of the variable. No message here quotes a value, since some are secrets.
"""

import ipaddress
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, FilePath, SecretStr, ValidationInfo

from shared.config.nats_address import NatsAddress
from shared.config.redis_address import RedisAddress
from shared.model.errors import ConfigurationError
from shared.model.services import choose_services, load_services

_TOKEN_MIN_CHARACTERS = 16
_QUOTES = set("\"'`\u201c\u201d\u2018\u2019")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*", re.IGNORECASE | re.ASCII)
_DIGITS_ONLY = re.compile(r"[0-9.]+", re.ASCII)
_FILE_CONTENTS = ("-----BEGIN", "LS0tLS1CRUdJTi")
"""What PEM files begin with, as they are and in Base64."""
_PATH_MAX_CHARACTERS = 1024
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def _split(address: str) -> SplitResult:
    """Split an address. Errors of urllib are left out of the chain, since they may quote a password."""
    try:
        parts = urlsplit(address)
    except ValueError:
        raise ValueError("is not an address") from None
    try:
        _ = parts.port
    except ValueError:
        # Where a password has a slash, what precedes it looks like the port.
        raise ValueError(
            "is not an address: its port must be a number, and / in a password be written as %2F"
        ) from None
    return parts


def _http_address(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address like https://sisu.example.org")
    if parts.username or parts.password:
        raise ValueError("must not contain a user or password: SIS_API_USER and SIS_API_PASSWORD are for that")
    if parts.query or parts.fragment or not value.isprintable() or " " in value:
        raise ValueError("must be an address without spaces, ? and #: paths and parameters are appended to it")
    return value.rstrip("/")


def _nats_uri(value: SecretStr) -> SecretStr:
    NatsAddress.parse(value.get_secret_value())
    return value


def _http_host(value: str) -> str:
    """Validate an address to listen on: an IP address, or the name of a host."""
    try:
        ipaddress.ip_address(value.partition("%")[0])
    except ValueError:
        if value.startswith("["):
            raise ValueError("is written without brackets: ::1") from None
        if not _HOST_NAME.fullmatch(value) or _DIGITS_ONLY.fullmatch(value):
            raise ValueError("must be an IP address, such as 127.0.0.1 or ::1, or the name of a host") from None
    return value


def without_remains(value: object, *, is_free_text: bool, is_path: bool) -> object:
    """Validate that nothing around a value was left over from the file that it was copied from.

    Nothing is removed silently: what a shell, Docker and systemd each make of quotation marks differs. `is_path`: it
    must not be what the file holds.
    """
    if not isinstance(value, str) or not value:
        return value
    if is_path and (any(begin in value for begin in _FILE_CONTENTS) or len(value) > _PATH_MAX_CHARACTERS):
        raise ValueError("is the content of a file: write the path of a file that has it")
    if value != value.strip():
        raise ValueError("begins or ends with a space or a line break: remove it")
    if not value.isprintable():
        raise ValueError("has a character that cannot be printed, such as a line break or a tab: remove it")
    ends = [character for character in (value[0], value[-1]) if character in _QUOTES]
    if len(ends) > is_free_text:
        raise ValueError("begins or ends with a quotation mark: write the value without quotation marks")
    return value


def _redis_uri(value: SecretStr) -> SecretStr:
    RedisAddress.parse(value.get_secret_value())
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
    if len(value.get_secret_value()) < _TOKEN_MIN_CHARACTERS:
        raise ValueError(f"is too easy to guess: use at least {_TOKEN_MIN_CHARACTERS} characters")
    return value


def _header(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ValueError("is sent in an HTTP header: only printable ASCII characters, no spaces, no line breaks")
    return value


def _ca_bundle(path: Path) -> Path:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise ValueError("has no certificate that can be read") from error
    return path


def matches_key(key: str) -> AfterValidator:
    """Validate a client certificate against the key in the file that the variable `key`, declared before it, names."""

    def check(path: Path | None, info: ValidationInfo) -> Path | None:
        if path and info.data.get(key):  # otherwise the key itself is invalid, and reported
            try:
                # An empty password, or OpenSSL would ask for one on the terminal.
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
        raise ValueError("is not a NATS credentials file")
    return path


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _host_names(names: list[str]) -> list[str]:
    if not all(_HOST_NAME.fullmatch(name) for name in names):
        raise ValueError("must be names of hosts without ports, separated by commas: importer.example.org")
    return names


def _services_table(path: Path) -> Path:
    _ = _as_value_error(load_services, path)
    return path


def known_services(names: list[str], info: ValidationInfo) -> list[str]:
    """Validate that the services table has all of `names`."""
    if "services_file" in info.data:  # otherwise the table itself is invalid, and reported
        _ = _as_value_error(choose_services, load_services(info.data["services_file"]), names)
    return names


def _as_value_error(check: Callable[..., object], *arguments: object) -> object:
    """Return the result of `check`, with its ConfigurationError as the ValueError that pydantic expects."""
    try:
        return check(*arguments)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error


def requires(*others: str) -> AfterValidator:
    """Validate that these variables are set where this one is. Those that are invalid themselves are ignored here."""

    def check(value: Any, info: ValidationInfo) -> Any:
        missing = [other.upper() for other in others if info.data.get(other, value) is None]
        if value is not None and missing:
            raise ValueError(f"requires {' and '.join(missing)} too")
        return value

    return AfterValidator(check)


def required_by(other: str) -> AfterValidator:
    """Validate that this variable is set where the other one is. To be combined with `validate_default`."""

    def check(value: Any, info: ValidationInfo) -> Any:
        if value is None and info.data.get(other) is not None:
            raise ValueError(f"is required by {other.upper()}, and is not set")
        return value

    return AfterValidator(check)


def requires_redis_tls(path: Path | None, info: ValidationInfo) -> Path | None:
    """Validate that a file for TLS to Redis is set only where REDIS_URI, declared before it, asks for TLS."""
    uri = info.data.get("redis_uri")
    if path and uri and not RedisAddress.parse(uri.get_secret_value()).tls:
        raise ValueError("is for TLS, and REDIS_URI asks for none: write it as rediss://")
    return path


def at_least(other: str) -> AfterValidator:
    """Validate that this number is not smaller than the other one. One that is invalid itself is ignored here."""

    def check(value: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get(other)
        if value is not None and least is not None and value < least:
            raise ValueError(f"must be at least {other.upper()}")
        return value

    return AfterValidator(check)


def is_instance_name(value: str) -> bool:
    """Return whether this can be the name of an instance: short, and safe in a log, a label and a title."""
    return re.fullmatch(r"[A-Za-z0-9._-]{0,40}", value) is not None


def instance_name(value: str) -> str:
    """Return the name of an instance. Raises ValueError if it is none."""
    if not is_instance_name(value):
        raise ValueError("must be at most 40 letters of the alphabet, digits, dots, hyphens and underscores")
    return value


def upper(value: object) -> object:
    """Return a text in upper case, and anything else as it is."""
    return value.upper() if isinstance(value, str) else value


HttpAddress = Annotated[str, AfterValidator(_http_address)]
HttpHost = Annotated[str, AfterValidator(_http_host)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header)]
ExplorerToken = Annotated[SecretStr, AfterValidator(_header), AfterValidator(_long_enough)]
NatsUri = Annotated[SecretStr, AfterValidator(_nats_uri)]
RedisUri = Annotated[SecretStr, AfterValidator(_redis_uri)]
NatsCredentials = Annotated[FilePath, AfterValidator(_credentials)]
CaBundle = Annotated[FilePath, AfterValidator(_ca_bundle)]
ServicesFile = Annotated[FilePath, AfterValidator(_services_table)]
StanName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
"""The id of a STAN cluster or client."""
ServiceNames = Annotated[list[str], BeforeValidator(_names)]
HostNames = Annotated[list[str], BeforeValidator(_names), AfterValidator(_host_names)]
CronExpression = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[ZoneInfo, BeforeValidator(_timezone)]
Seconds = Annotated[float, Field(gt=0, le=24 * 60 * 60)]
"""At most a day: more is a mistake, and timers cannot take arbitrary numbers."""
