"""The settings, read once from the environment, checked, frozen.

Each process has a class of its own, so the collector asks for nothing that only the producer needs. All that is
wrong is reported in one ConfigurationError, a line for each variable; values are never shown, since some are secrets.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    NonNegativeInt,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared import redis_client
from shared.errors import ConfigurationError
from shared.services import BUILT_IN_TABLE, Service, choose_services, load_services

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["json", "console"]

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


def _header(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ValueError("travels in an HTTP header: letters, digits and signs of ASCII only, no space, no line break")
    return value


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _usable_table(path: Path) -> Path:
    _ = _as_value_error(load_services, path)
    return path


def _known_services(names: list[str], info: ValidationInfo) -> list[str]:
    if "services_file" in info.data:  # else it is wrong itself
        _ = _as_value_error(choose_services, load_services(info.data["services_file"]), names)
    return names


def _as_value_error(check: Callable[..., object], *arguments: object) -> object:
    """What `check` answers, with its ConfigurationError as pydantic wants it."""
    try:
        return check(*arguments)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error


def _goes_with(*others: str) -> AfterValidator:
    """These variables are set where this one is. Those of them that are wrong themselves are no matter here."""

    def check(value: Any, info: ValidationInfo) -> Any:
        missing = [other.upper() for other in others if info.data.get(other, value) is None]
        if value is not None and missing:
            raise ValueError(f"goes with {' and '.join(missing)}, which is not set")
        return value

    return AfterValidator(check)


def _demanded_by(other: str) -> AfterValidator:
    """This variable is set where the other one is. To be combined with `validate_default`."""

    def check(value: Any, info: ValidationInfo) -> Any:
        if value is None and info.data.get(other) is not None:
            raise ValueError(f"is not set, and goes with {other.upper()}")
        return value

    return AfterValidator(check)


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


HttpAddress = Annotated[str, AfterValidator(_http_address)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header)]
Seconds = Annotated[float, Field(gt=0, le=24 * 60 * 60)]
"""A day at most: more is a mistake, and timers cannot take any number."""


class CommonSettings(BaseSettings):
    """What both processes need."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    nats_uri: Annotated[SecretStr, AfterValidator(_nats_uri)]
    nats_token: SecretStr | None = None
    nats_creds_path: FilePath | None = None
    nats_ca_path: FilePath | None = None
    nats_replicas: Annotated[int, Field(ge=1, le=5)] = 1
    redis_uri: Annotated[SecretStr, AfterValidator(_redis_uri)]
    services_file: Annotated[FilePath, AfterValidator(_usable_table)] = BUILT_IN_TABLE
    log_level: Annotated[LogLevel, BeforeValidator(_upper)] = "INFO"
    log_format: LogFormat | None = None

    def service_table(self) -> tuple[Service, ...]:
        """All services of the table, in its order."""
        return load_services(self.services_file)


class CollectorSettings(CommonSettings):
    """The settings of the ack_collector."""


class ProducerSettings(CommonSettings):
    """The settings of the producer."""

    sis_api_url: HttpAddress
    kori_public_api_url: HttpAddress = "https://sisu.helsinki.fi/kori/api"
    root_org_id: str = "hy-university-root-id"
    proxy_token: HeaderSecret | None = None
    # The order matters: a variable is checked against those before it.
    sis_api_user: str | None = None
    sis_api_password: Annotated[
        SecretStr | None, Field(validate_default=True), _goes_with("sis_api_user"), _demanded_by("sis_api_user")
    ] = None
    key_path: FilePath | None = None
    cert_path: Annotated[
        FilePath | None, Field(validate_default=True), _goes_with("key_path"), _demanded_by("key_path")
    ] = None
    api_key: Annotated[HeaderSecret | None, _goes_with("key_path", "cert_path")] = None
    sis_ca_path: FilePath | None = None
    sis_timeout_seconds: Seconds = 300
    fetch_amount: PositiveInt = 1000
    max_chunk_size: PositiveInt = 100
    panic_timeout_seconds: Seconds = 60
    update_retry_limit: NonNegativeInt = 6
    dead_letter_limit: NonNegativeInt | None = None
    cron: Annotated[str, AfterValidator(_cron)] = "0 * * * *"
    timezone: Annotated[ZoneInfo, BeforeValidator(_timezone)] = ZoneInfo("Europe/Helsinki")
    services: Annotated[list[str], NoDecode, BeforeValidator(_names), AfterValidator(_known_services)] = Field(
        default_factory=list
    )

    def chosen_services(self) -> tuple[Service, ...]:
        """The services to import, in the table's order."""
        return choose_services(self.service_table(), self.services)


AnySettings = TypeVar("AnySettings", bound=CommonSettings)


def read_settings(kind: type[AnySettings]) -> AnySettings:
    """Read the environment. Raises ConfigurationError with everything that is wrong, a line for each variable."""
    try:
        return kind()
    except ValidationError as error:
        problems = error.errors(include_input=False)
    lines = [_line(str(problem["loc"][0]).upper(), problem["msg"]) for problem in problems]
    raise ConfigurationError("the configuration cannot be used:\n" + "\n".join(f"  {line}" for line in lines))


def _line(name: str, message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{name} is not set" if text == "Field required" else f"{name}: {text}"
