"""The addresses of NATS: taken apart once, decoded, and never quoted in an error."""

import pytest

from shared.broker.client_options import client_options, redacted_server_names
from shared.config.nats_address import NatsAddress, NatsServerAddress
from tests.support.brokers import settings_for
from tests.unit.conftest import SetEnvironment, reported_errors

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("uri", "servers", "redacted"),
    [
        ("nats://host", ["nats://host:4222"], "host:4222"),
        ("nats://host/", ["nats://host:4222"], "host:4222"),
        ("tls://u:p@host:5222", ["tls://host:5222"], "host:5222"),
        ("nats://one:1, tls://two", ["nats://one:1", "tls://two:4222"], "one:1, two:4222"),
        ("nats://[::1]", ["nats://[::1]:4222"], "[::1]:4222"),
        ("nats://u:p@[2001:db8::1]:5222", ["nats://[2001:db8::1]:5222"], "[2001:db8::1]:5222"),
    ],
)
def test_servers(uri: str, servers: list[str], redacted: str) -> None:
    """Host and port of each server are separated from the credentials; the default port is 4222."""
    options = client_options(settings_for(uri), "test")
    assert options["servers"] == servers
    assert redacted_server_names(settings_for(uri)) == redacted


def test_a_server_of_ipv6_has_no_brackets_in_its_host() -> None:
    """Brackets belong to the notation of an address, and not to the host."""
    assert NatsAddress.parse("nats://[::1]:1").servers == (NatsServerAddress("nats", "::1", 1),)


@pytest.mark.parametrize(
    ("login", "user", "password", "token"),
    [
        ("", None, None, None),
        ("user:password@", "user", "password", None),
        ("user:@", "user", "", None),
        (":password@", "", "password", None),
        ("token@", None, None, "token"),
        ("us%65r:p%2F%3F%23%2C%40%3A%25@", "user", "p/?#,@:%", None),
        ("user:p@ss@", "user", "p@ss", None),
        ("user:%C3%A4@", "user", "ä", None),
        ("to%2Fken@", None, None, "to/ken"),
    ],
)
def test_credentials_are_decoded(login: str, user: str | None, password: str | None, token: str | None) -> None:
    """User, password and token are plain text for the client, however they had to be written."""
    options = client_options(settings_for(f"nats://{login}one:4222,nats://{login}two:4222"), "test")
    assert (options["user"], options["password"], options["token"]) == (user, password, token)
    assert options["servers"] == ["nats://one:4222", "nats://two:4222"]


def test_one_login_is_for_all_servers() -> None:
    """A user and password need be written only once."""
    options = client_options(settings_for("nats://one,nats://user:password@two"), "test")
    assert (options["user"], options["password"]) == ("user", "password")


def test_a_token_of_its_own_takes_precedence() -> None:
    """NATS_TOKEN is used in place of what NATS_URI has."""
    options = client_options(settings_for("nats://user:password@host", nats_token="token"), "test")
    assert (options["user"], options["password"], options["token"]) == (None, None, "token")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("nats://ho st:4222", "must be nats://host:4222 or"),
        ("nats://host:0", "must be nats://host:4222 or"),
        (f"nats://u:{SECRET}@one,nats://u:{SECRET}2@two", "must have the same user and password for all servers"),
        (f"nats://u:1/{SECRET}@host:4222", "must not have anything after the port; in a user or password, write / as"),
        (f"nats://u:1?{SECRET}@host:4222", "must not have anything after the port; in a user or password, write / as"),
        (f"nats://u:1#{SECRET}@host:4222", "must not have anything after the port; in a user or password, write / as"),
        (f"nats://u:{SECRET}/x@host:4222", "its port must be a number; in a user or password, write / as %2F"),
        (f"nats://u:{SECRET},x@host:4222", "write / as %2F, ? as %3F, # as %23, , as %2C"),
        (f"nats://u:{SECRET}%FF@host:4222", "has a user or password that is not UTF-8"),
    ],
)
def test_mistakes_are_told_without_a_secret(environment: SetEnvironment, uri: str, reason: str) -> None:
    """What would fail later is reported at start, under the variable's name, and quotes nothing."""
    environment(NATS_URI=uri)
    told = reported_errors()
    assert told.keys() == {"NATS_URI"}
    assert reason in told["NATS_URI"]
    assert SECRET not in told["NATS_URI"]


def test_repr_shows_no_secret() -> None:
    """The parsed address does not show what it keeps."""
    for login in (f"user:{SECRET}", SECRET):
        assert SECRET not in repr(NatsAddress.parse(f"nats://{login}@host"))
