"""The settings of STAN: required by the stan_bridge alone, and checked like those of NATS."""

import pytest

from shared.config.settings import OperatorSettings, ProducerSettings, StanBridgeSettings, read_settings
from shared.model.errors import ConfigurationError
from tests.unit.conftest import SetEnvironment, reported_errors


def test_only_the_bridge_requires_it(environment: SetEnvironment) -> None:
    """Without STAN_URI the other programs do without, and the stan_bridge says what is missing."""
    environment()
    assert read_settings(ProducerSettings).stan_uri is None
    assert read_settings(OperatorSettings).stan_uri is None
    with pytest.raises(ConfigurationError, match="STAN_URI is not set"):
        read_settings(StanBridgeSettings)
    with pytest.raises(ConfigurationError):
        read_settings(ProducerSettings).stan_login()


def test_defaults_are_those_of_the_era(environment: SetEnvironment) -> None:
    """The cluster and the client are the old importer's, and all services travel over STAN."""
    environment(STAN_URI="nats://user:s3cret@stan:4222")
    settings = read_settings(StanBridgeSettings)
    assert (settings.stan_cluster_id, settings.stan_client_id) == ("importer-nats", "importer-api")
    assert settings.stan_post_update
    assert settings.chosen_stan_services() == settings.service_table()
    login = settings.stan_login()
    assert (login.address.user, login.address.password) == ("user", "s3cret")
    assert "s3cret" not in repr(login)
    assert "s3cret" not in repr(settings)


def test_some_services(environment: SetEnvironment) -> None:
    """STAN_SERVICES names those that travel over STAN."""
    environment(STAN_URI="nats://stan:4222", STAN_SERVICES="PLAN, PERSON", STAN_TOKEN="s3cret")
    settings = read_settings(StanBridgeSettings)
    assert [service.name for service in settings.chosen_stan_services()] == ["PERSON", "PLAN"]
    assert "s3cret" not in repr(settings.stan_login())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STAN_URI", "stan:4222"),
        ("STAN_URI", "http://stan"),
        ("STAN_CLUSTER_ID", "importer nats"),
        ("STAN_CLIENT_ID", "host.example.org"),
        ("STAN_CREDS_PATH", "/nowhere"),
        ("STAN_CA_PATH", __file__),
        ("STAN_CERT_PATH", __file__),
        ("STAN_SERVICES", "PERSON,NO_SUCH"),
        ("STAN_POST_UPDATE", "perhaps"),
        ("STAN_MONITOR_URL", "stan:8222"),
        ("STAN_BRIDGE_PORT", "-1"),
    ],
)
def test_mistakes(environment: SetEnvironment, name: str, value: str) -> None:
    """Each mistake names its variable."""
    environment(**{"STAN_URI": "nats://stan:4222"} | {name: value})
    assert name in reported_errors(StanBridgeSettings)
