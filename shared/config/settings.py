"""The settings, read once from the environment, validated and frozen.

Each process has a class of its own, so the collector requires nothing that only the producer needs. All problems are
reported at once, in one ConfigurationError with a line for each variable; values are never shown, since some are
secrets.
"""

import os
from typing import Annotated, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo

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
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.config.nats_address import NatsAddress
from shared.config.nats_login import NatsLogin
from shared.config.tls_files import TlsFiles
from shared.config.validators import (
    CaBundle,
    CronExpression,
    ExplorerToken,
    HeaderSecret,
    HostNames,
    HttpAddress,
    HttpHost,
    NatsCredentials,
    NatsUri,
    RedisUri,
    Seconds,
    ServiceNames,
    ServicesFile,
    StanName,
    TimeZone,
    at_least,
    instance_name,
    is_instance_name,
    known_services,
    matches_key,
    required_by,
    requires,
    requires_redis_tls,
    upper,
    without_remains,
)
from shared.model.errors import ConfigurationError
from shared.model.services import BUILT_IN_TABLE, Service, choose_services, load_services

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["json", "console"]
Port = Annotated[int, Field(ge=0, le=65535)]
InstanceName = Annotated[str, AfterValidator(instance_name)]


_FREE_TEXT = frozenset({"sis_api_user", "sis_api_password", "nats_token"})
"""Where a value may begin or end with a quotation mark of its own."""


class CommonSettings(BaseSettings):
    """The settings that every process has."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    nats_uri: NatsUri
    nats_token: SecretStr | None = None
    nats_creds_path: NatsCredentials | None = None
    nats_ca_path: CaBundle | None = None
    nats_key_path: FilePath | None = None
    nats_cert_path: Annotated[
        FilePath | None,
        Field(validate_default=True),
        requires("nats_key_path"),
        required_by("nats_key_path"),
        matches_key("nats_key_path"),
    ] = None
    nats_replicas: Annotated[int, Field(ge=1, le=5)] = 1
    redis_uri: RedisUri
    redis_ca_path: Annotated[CaBundle | None, AfterValidator(requires_redis_tls)] = None
    redis_key_path: FilePath | None = None
    redis_cert_path: Annotated[
        FilePath | None,
        Field(validate_default=True),
        requires("redis_key_path"),
        required_by("redis_key_path"),
        matches_key("redis_key_path"),
        AfterValidator(requires_redis_tls),
    ] = None
    services_file: ServicesFile = BUILT_IN_TABLE
    http_host: HttpHost = "127.0.0.1"
    http_allowed_hosts: Annotated[HostNames, NoDecode] = Field(default_factory=list)
    instance: InstanceName = ""
    log_level: Annotated[LogLevel, BeforeValidator(upper)] = "INFO"
    log_format: LogFormat | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _without_remains(cls, value: object, info: ValidationInfo) -> object:
        name = info.field_name or ""
        return without_remains(value, is_free_text=name in _FREE_TEXT, is_path=name.endswith(("_path", "_file")))

    def redis_tls(self) -> TlsFiles:
        """Return the files for TLS to Redis."""
        return TlsFiles(self.redis_ca_path, self.redis_cert_path, self.redis_key_path)

    def own_hosts(self) -> list[str]:
        """Return the names at which the HTTP port is reached."""
        return [self.http_host, *self.http_allowed_hosts]

    def service_table(self) -> tuple[Service, ...]:
        """Return all services of the table, in its order. Raises ConfigurationError."""
        return load_services(self.services_file)


class CollectorSettings(CommonSettings):
    """The settings of the ack_collector."""

    collector_port: Port = 3003


class StanSettings(CommonSettings):
    """The settings of everything that may concern workers on NATS Streaming (STAN). Without STAN_URI nothing does."""

    stan_uri: NatsUri | None = None
    stan_cluster_id: StanName = "importer-nats"
    stan_client_id: StanName = "importer-api"
    stan_token: SecretStr | None = None
    stan_creds_path: NatsCredentials | None = None
    stan_ca_path: CaBundle | None = None
    stan_key_path: FilePath | None = None
    stan_cert_path: Annotated[
        FilePath | None,
        Field(validate_default=True),
        requires("stan_key_path"),
        required_by("stan_key_path"),
        matches_key("stan_key_path"),
    ] = None
    stan_services: Annotated[ServiceNames, NoDecode, AfterValidator(known_services)] = Field(default_factory=list)
    stan_post_update: bool = True
    stan_monitor_url: HttpAddress | None = None

    def stan_login(self) -> NatsLogin:
        """Return how to log in to STAN. Raises ConfigurationError without STAN_URI."""
        if self.stan_uri is None:
            raise ConfigurationError("STAN_URI is not set")
        files = TlsFiles(self.stan_ca_path, self.stan_cert_path, self.stan_key_path)
        address = NatsAddress.parse(self.stan_uri.get_secret_value())
        return NatsLogin(address, self.stan_token, self.stan_creds_path, files)

    def chosen_stan_services(self) -> tuple[Service, ...]:
        """Return the services that travel over STAN, in the table's order. Raises ConfigurationError."""
        return choose_services(self.service_table(), self.stan_services)


class StanBridgeSettings(StanSettings):
    """The settings of the stan_bridge."""

    stan_uri: NatsUri
    stan_bridge_port: Port = 3103


class OperatorSettings(StanSettings):
    """The settings of the command line, except for what concerns SISU."""

    timezone: TimeZone = ZoneInfo("Europe/Helsinki")


class ProducerSettings(StanSettings):
    """The settings of the producer."""

    port: Port = 3002
    explorer_token: ExplorerToken | None = None
    sis_api_url: HttpAddress
    kori_public_api_url: HttpAddress = "https://sisu.helsinki.fi/kori/api"
    root_org_id: str = "hy-university-root-id"
    proxy_token: HeaderSecret | None = None
    # The order matters: a variable is checked against those before it.
    sis_api_user: str | None = None
    sis_api_password: Annotated[
        SecretStr | None, Field(validate_default=True), requires("sis_api_user"), required_by("sis_api_user")
    ] = None
    key_path: FilePath | None = None
    cert_path: Annotated[
        FilePath | None,
        Field(validate_default=True),
        requires("key_path"),
        required_by("key_path"),
        matches_key("key_path"),
    ] = None
    api_key: Annotated[HeaderSecret | None, requires("key_path", "cert_path")] = None
    sis_ca_path: CaBundle | None = None
    sis_timeout_seconds: Seconds = 300
    sis_max_response_bytes: PositiveInt = 256 * 1024**2
    fetch_amount: PositiveInt = 1000
    fetch_amount_max: Annotated[PositiveInt | None, at_least("fetch_amount")] = None
    max_chunk_size: PositiveInt = 100
    panic_timeout_seconds: Seconds = 60
    update_retry_limit: NonNegativeInt = 6
    dead_letter_limit: NonNegativeInt | None = None
    cron: CronExpression = "0 * * * *"
    timezone: TimeZone = ZoneInfo("Europe/Helsinki")
    services: Annotated[ServiceNames, NoDecode, AfterValidator(known_services)] = Field(default_factory=list)

    def chosen_services(self) -> tuple[Service, ...]:
        """Return the services to import, in the table's order. Raises ConfigurationError."""
        return choose_services(self.service_table(), self.services)


SettingsT = TypeVar("SettingsT", bound=CommonSettings)


def read_settings(kind: type[SettingsT]) -> SettingsT:
    """Read the environment. Raises ConfigurationError with all problems, a line for each variable."""
    try:
        return kind()
    except ValidationError as error:
        problems = error.errors(include_input=False)
    lines = [_line(str(problem["loc"][0]).upper(), problem["msg"]) for problem in problems]
    raise ConfigurationError("the configuration cannot be used:\n" + "\n".join(f"  {line}" for line in lines))


def read_log_settings() -> tuple[LogLevel, LogFormat | None, str]:
    """Read LOG_LEVEL, LOG_FORMAT and INSTANCE where they are valid, else their defaults: for errors in settings."""
    variables = {name.upper(): value for name, value in os.environ.items()}
    level, log_format = variables.get("LOG_LEVEL", "").upper(), variables.get("LOG_FORMAT")
    return (
        next((known for known in get_args(LogLevel) if known == level), "INFO"),
        next((known for known in get_args(LogFormat) if known == log_format), None),
        variables.get("INSTANCE", "") if is_instance_name(variables.get("INSTANCE", "")) else "",
    )


def _line(name: str, message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{name} is not set" if text == "Field required" else f"{name}: {text}"
