"""The settings: which ones are required, the defaults of the others, and how values are parsed."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from shared.config.settings import CollectorSettings, ProducerSettings, read_settings
from shared.model.services import BUILT_IN_TABLE, load_services
from tests.unit.conftest import SetEnvironment, reported_errors

SECRET = "s3cret"
COMMON_DEFAULTS = {
    "nats_token": None,
    "nats_creds_path": None,
    "nats_ca_path": None,
    "nats_replicas": 1,
    "services_file": BUILT_IN_TABLE,
    "http_host": "127.0.0.1",
    "log_level": "INFO",
    "log_format": None,
}
COLLECTOR_DEFAULTS = {"collector_port": 3003}
PRODUCER_DEFAULTS = {
    "port": 3002,
    "kori_public_api_url": "https://sisu.helsinki.fi/kori/api",
    "root_org_id": "hy-university-root-id",
    "proxy_token": None,
    "api_key": None,
    "sis_api_user": None,
    "sis_api_password": None,
    "key_path": None,
    "cert_path": None,
    "sis_ca_path": None,
    "sis_timeout_seconds": 300,
    "fetch_amount": 1000,
    "fetch_amount_max": None,
    "max_chunk_size": 100,
    "panic_timeout_seconds": 60,
    "update_retry_limit": 6,
    "dead_letter_limit": None,
    "cron": "0 * * * *",
    "timezone": ZoneInfo("Europe/Helsinki"),
    "services": [],
}


def test_the_producer_requires_three_settings(environment: SetEnvironment) -> None:
    """With the three addresses set, every other setting has its documented default."""
    environment()
    settings = read_settings(ProducerSettings)
    for name, default in (COMMON_DEFAULTS | PRODUCER_DEFAULTS).items():
        assert getattr(settings, name) == default, name


def test_the_collector_ignores_the_settings_of_the_producer(environment: SetEnvironment) -> None:
    """The ack_collector needs no address of SISU, and is not affected by invalid variables of the producer."""
    environment(SIS_API_URL=None, FETCH_AMOUNT="none", CRON="hourly")
    settings = read_settings(CollectorSettings)
    for name, default in (COMMON_DEFAULTS | COLLECTOR_DEFAULTS).items():
        assert getattr(settings, name) == default, name


def test_missing_settings_are_reported(environment: SetEnvironment) -> None:
    """In an empty environment, each required variable is reported as missing."""
    environment(NATS_URI=None, REDIS_URI=None, SIS_API_URL=None)
    assert reported_errors() == {
        "NATS_URI": "  NATS_URI is not set",
        "REDIS_URI": "  REDIS_URI is not set",
        "SIS_API_URL": "  SIS_API_URL is not set",
    }
    assert reported_errors(CollectorSettings).keys() == {"NATS_URI", "REDIS_URI"}


def test_an_empty_variable_counts_as_not_set(environment: SetEnvironment) -> None:
    """An empty variable gets its default, and is reported as missing if it is required."""
    environment(**{name.upper(): "" for name in COMMON_DEFAULTS | PRODUCER_DEFAULTS})
    settings = read_settings(ProducerSettings)
    for name, default in (COMMON_DEFAULTS | PRODUCER_DEFAULTS).items():
        assert getattr(settings, name) == default, name
    environment(SIS_API_URL="")
    assert reported_errors().keys() == {"SIS_API_URL"}


def test_a_certificate_with_its_key_is_accepted(environment: SetEnvironment, certificates: Path) -> None:
    """Readable certificates of a client and of an authority are accepted."""
    environment(
        KEY_PATH=str(certificates / "client.key"),
        CERT_PATH=str(certificates / "client.pem"),
        API_KEY=SECRET,
        SIS_CA_PATH=str(certificates / "ca.pem"),
        NATS_CA_PATH=str(certificates / "ca.pem"),
    )
    assert read_settings(ProducerSettings).cert_path == certificates / "client.pem"


def test_settings_cannot_be_changed(environment: SetEnvironment) -> None:
    """The settings are frozen after they were read."""
    environment()
    settings = read_settings(ProducerSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.fetch_amount = 1  # type: ignore[misc]


def test_harmless_variants_of_values_are_accepted(environment: SetEnvironment) -> None:
    """The case of the log level, spaces around names and a slash at the end of an address make no difference."""
    environment(
        LOG_LEVEL="debug",
        LOG_FORMAT="console",
        SERVICES="PLAN, PERSON ,",
        SIS_API_URL="https://sisu.example.org/base/",
        NATS_URI="nats://one:4222, tls://two",
        TIMEZONE="UTC",
        CRON="*/5 8-16 * * mon-fri",
        SIS_TIMEOUT_SECONDS="0.5",
        UPDATE_RETRY_LIMIT="0",
        DEAD_LETTER_LIMIT="0",
    )
    settings = read_settings(ProducerSettings)
    assert settings.log_level == "DEBUG"
    assert settings.services == ["PLAN", "PERSON"]
    assert settings.sis_api_url == "https://sisu.example.org/base"
    assert settings.timezone == ZoneInfo("UTC")
    assert settings.sis_timeout_seconds == 0.5
    assert (settings.update_retry_limit, settings.dead_letter_limit) == (0, 0)


def test_services_are_chosen_from_the_configured_table(environment: SetEnvironment, tmp_path: Path) -> None:
    """A subset is chosen from the operator's own table, and all services of that table stay known."""
    table = tmp_path / "services.toml"
    rows = [
        f'[[service]]\nname = "{name}"\napi = "ORI"\nchannel = "{name}"\nkey = "K_{name}"\npath = "/{name}"\n'
        for name in ("A", "B")
    ]
    table.write_text("\n".join(rows))
    environment(SERVICES_FILE=str(table), SERVICES="B")
    settings = read_settings(ProducerSettings)
    assert [service.name for service in settings.chosen_services()] == ["B"]
    assert [service.name for service in settings.service_table()] == ["A", "B"]


def test_without_a_subset_all_services_are_chosen(environment: SetEnvironment) -> None:
    """If SERVICES is not set, all services of the table are imported."""
    environment()
    assert read_settings(ProducerSettings).chosen_services() == load_services()
