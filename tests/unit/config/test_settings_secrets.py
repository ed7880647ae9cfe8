"""No secret in the settings is ever shown, whether the settings are valid or not."""

import logging
from pathlib import Path

import pytest

from shared.config.settings import ProducerSettings, read_settings
from shared.model.errors import ConfigurationError
from tests.unit.conftest import SetEnvironment

SECRET = "s3cret"


@pytest.mark.parametrize(
    "variables",
    [
        {"NATS_URI": f"nats://importer:{SECRET}@host:port"},
        {"NATS_URI": f"nats://importer:1{SECRET}/2{SECRET}@host:4222"},
        {"NATS_URI": f"http://{SECRET}@host:4222"},
        {"NATS_URI": f"nats://{SECRET}@ho\N{ACCOUNT OF}st:4222"},
        {"REDIS_URI": f"redis://:{SECRET}@host:port"},
        {"REDIS_URI": f"redis://:1{SECRET}/2{SECRET}@host:6379"},
        {"REDIS_URI": f"http://:{SECRET}@host:6379"},
        {"REDIS_URI": f"redis://:{SECRET}@ho\N{ACCOUNT OF}st:6379"},
        {"REDIS_URI": f"redis://:1#{SECRET}@host:6379"},
        {"REDIS_URI": f"redis://:{SECRET}#1@host:6379"},
        {"REDIS_URI": f"redis://{SECRET}@host/prod"},
        {"REDIS_URI": f"{SECRET}"},
        {"REDIS_URI": f"redis://:{SECRET}@host:6379 "},
        {"REDIS_URI": f"'redis://:{SECRET}@host:6379'"},
        {"REDIS_URI": f"redis+sentinel://:{SECRET}@host:port/master"},
        {"REDIS_URI": f"redis://:{SECRET}@host:6379/0?socket_timeout=soon"},
        {"SIS_API_URL": f"https://user:{SECRET}@host"},
        {"SIS_API_URL": f"https://user:{SECRET}@host:port"},
        {"SIS_API_URL": f"https://user:1{SECRET}/2{SECRET}@host"},
        {"PROXY_TOKEN": f"{SECRET}\n"},
        {"API_KEY": SECRET},
        {"SIS_API_PASSWORD": SECRET},
        {"NATS_TOKEN": SECRET, "FETCH_AMOUNT": "0"},
    ],
)
def test_a_message_about_mistakes_shows_no_secret(environment: SetEnvironment, variables: dict[str, str]) -> None:
    """For any mistake in a value with a secret, neither the message nor its causes contain the secret."""
    environment(**variables)
    with pytest.raises(ConfigurationError) as raised:
        read_settings(ProducerSettings)
    error: BaseException | None = raised.value
    while error:
        assert SECRET not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_settings_show_no_secret(environment: SetEnvironment, certificates: Path) -> None:
    """Neither repr, str nor a log record of the settings shows a secret, and its value can still be read."""
    environment(
        NATS_URI=f"nats://importer:{SECRET}@host:4222",
        NATS_TOKEN=SECRET,
        REDIS_URI=f"redis://importer:{SECRET}@host:6379",
        PROXY_TOKEN=SECRET,
        API_KEY=SECRET,
        KEY_PATH=str(certificates / "client.key"),
        CERT_PATH=str(certificates / "client.pem"),
        SIS_API_USER="importer",
        SIS_API_PASSWORD=SECRET,
    )
    settings = read_settings(ProducerSettings)
    record = logging.makeLogRecord({"msg": "%s %r", "args": (settings, settings.model_dump())})
    assert SECRET not in repr(settings) + str(settings) + record.getMessage() + settings.model_dump_json()
    assert settings.sis_api_password
    assert settings.sis_api_password.get_secret_value() == SECRET
