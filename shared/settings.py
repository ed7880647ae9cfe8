"""The settings, read once from the environment, checked, frozen.

Each process has a class of its own, so the collector asks for nothing that only the producer needs. All that is
wrong is reported in one ConfigurationError, a line for each variable; values are never shown, since some are secrets.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared import redis_client
from shared.errors import ConfigurationError
from shared.services import BUILT_IN_TABLE, Service, choose_services, load_services

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["json", "console"]

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def _split(address: str) -> SplitResult:
    parts = urlsplit(address)
    _ = parts.port  # raises ValueError where it is not a number
    return parts


def _http_address(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address like https://sisu.example.org")
    if parts.username or parts.password:
        raise ValueError("must not contain a user or password: SIS_API_USER and SIS_API_PASSWORD are for that")
    return value.rstrip("/")


def _nats_uri(value: SecretStr) -> SecretStr:
    for address in value.get_secret_value().split(","):
        parts = _split(address.strip())
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise ValueError("must be nats://host:4222 or tls://host:4222, several separated by commas")
    return value


def _redis_uri(value: SecretStr) -> SecretStr:
    uri = value.get_secret_value()
    parts = urlsplit(uri)
    if parts.scheme not in redis_client.SCHEMES:
        raise ValueError("must begin with redis://, rediss://, redis+sentinel:// or rediss+sentinel://")
    if parts.scheme in redis_client.SENTINEL_SCHEMES and not parts.path.strip("/"):
        raise ValueError("must name the master: redis+sentinel://host:26379,host:26379/mymaster")
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
    except (OSError, ValueError) as error:
        raise ValueError("must be a time zone of the IANA database, like Europe/Helsinki") from error


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


HttpAddress = Annotated[str, AfterValidator(_http_address)]


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
    services_file: FilePath = BUILT_IN_TABLE
    log_level: Annotated[LogLevel, BeforeValidator(_upper)] = "INFO"
    log_format: LogFormat | None = None

    def service_table(self) -> tuple[Service, ...]:
        """All services of the table, in its order. Raises ConfigurationError."""
        return load_services(self.services_file)


class CollectorSettings(CommonSettings):
    """The settings of the ack_collector."""


class ProducerSettings(CommonSettings):
    """The settings of the producer."""

    sis_api_url: HttpAddress
    kori_public_api_url: HttpAddress = "https://sisu.helsinki.fi/kori/api"
    root_org_id: str = "hy-university-root-id"
    proxy_token: SecretStr | None = None
    api_key: SecretStr | None = None
    sis_api_user: str | None = None
    sis_api_password: SecretStr | None = None
    key_path: FilePath | None = None
    cert_path: FilePath | None = None
    sis_ca_path: FilePath | None = None
    sis_timeout_seconds: PositiveFloat = 300
    fetch_amount: PositiveInt = 1000
    max_chunk_size: PositiveInt = 100
    panic_timeout_seconds: PositiveFloat = 60
    update_retry_limit: NonNegativeInt = 6
    dead_letter_limit: NonNegativeInt | None = None
    cron: Annotated[str, AfterValidator(_cron)] = "0 * * * *"
    timezone: Annotated[ZoneInfo, BeforeValidator(_timezone)] = ZoneInfo("Europe/Helsinki")
    services: Annotated[list[str], NoDecode, BeforeValidator(_names)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        together = [
            ("SIS_API_USER", self.sis_api_user, "SIS_API_PASSWORD", self.sis_api_password),
            ("KEY_PATH", self.key_path, "CERT_PATH", self.cert_path),
        ]
        problems = [
            f"{one} and {other} go together: {other if a else one} is missing"
            for one, a, other, b in together
            if (a is None) != (b is None)
        ]
        if self.api_key and not self.cert_path:
            problems.append("API_KEY goes with a client certificate: set KEY_PATH and CERT_PATH")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def chosen_services(self) -> tuple[Service, ...]:
        """The services to import, in the table's order. Raises ConfigurationError."""
        try:
            return choose_services(self.service_table(), self.services)
        except ConfigurationError as error:
            raise ConfigurationError(f"SERVICES: {error}" if self.services else str(error)) from error


AnySettings = TypeVar("AnySettings", bound=CommonSettings)


def read_settings(kind: type[AnySettings]) -> AnySettings:
    """Read the environment. Raises ConfigurationError with everything that is wrong, a line for each variable."""
    try:
        return kind()
    except ValidationError as error:
        lines = [
            line for problem in error.errors(include_input=False) for line in _lines(problem["loc"], problem["msg"])
        ]
    raise ConfigurationError("the configuration cannot be used:\n" + "\n".join(f"  {line}" for line in lines))


def _lines(where: tuple[int | str, ...], message: str) -> list[str]:
    text = message.removeprefix("Value error, ")
    if not where:  # from a check across variables, which names them itself
        return text.split("\n")
    name = str(where[0]).upper()
    return [f"{name} is not set" if text == "Field required" else f"{name}: {text}"]
