"""Invalid settings: what each variable does not accept, and that all mistakes are reported at once."""

from pathlib import Path

import pytest

from shared.config.settings import CollectorSettings, ProducerSettings, read_settings
from tests.unit.conftest import SetEnvironment, reported_errors

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NATS_URI", "nats.example.org"),
        ("NATS_URI", "http://nats.example.org"),
        ("NATS_URI", "nats://"),
        ("NATS_URI", "nats://host:port"),
        ("NATS_URI", "nats://host:65536"),
        ("NATS_URI", "nats://one:4222,two:4222"),
        ("NATS_URI", "nats://one:4222,"),
        ("NATS_URI", "nats://[host"),
        ("NATS_CREDS_PATH", "/nowhere"),
        ("NATS_CREDS_PATH", __file__),
        ("NATS_CA_PATH", "/nowhere"),
        ("NATS_CA_PATH", __file__),
        ("NATS_REPLICAS", "0"),
        ("NATS_REPLICAS", "6"),
        ("NATS_REPLICAS", "three"),
        ("REDIS_URI", "redis.example.org:6379"),
        ("REDIS_URI", "http://redis.example.org"),
        ("REDIS_URI", "redis://host:port"),
        ("REDIS_URI", "redis://[host"),
        ("REDIS_URI", "redis://[host]"),
        ("REDIS_URI", "redis://::1"),
        ("REDIS_URI", "redis://host:65536"),
        ("REDIS_URI", "redis://host:-1"),
        ("REDIS_URI", "redis://one,two"),
        ("REDIS_URI", "redis://host/prod"),
        ("REDIS_URI", "redis://host/-1"),
        ("REDIS_URI", "redis://host/0/1"),
        ("REDIS_URI", "redis://host/0?db=1"),
        ("REDIS_URI", "redis://host/0#1"),
        ("REDIS_URI", "redis://:57#Wc903z@host"),
        ("REDIS_URI", "redis://:57?Wc903z@host"),
        ("REDIS_URI", "redis://:57/Wc903z@host"),
        ("REDIS_URI", "redis://:57 Wc903z@host"),
        ("REDIS_URI", "redis+sentinel://one,,two/mymaster"),
        ("HTTP_HOST", "[::1]"),
        ("HTTP_HOST", "::g"),
        ("HTTP_HOST", "127.0.0"),
        ("HTTP_HOST", "127.0.0.1:3002"),
        ("HTTP_HOST", "http://localhost"),
        ("HTTP_HOST", "a host"),
        ("HTTP_ALLOWED_HOSTS", "importer.example.org:3002"),
        ("HTTP_ALLOWED_HOSTS", "https://importer.example.org"),
        ("HTTP_ALLOWED_HOSTS", "*"),
        ("HTTP_ALLOWED_HOSTS", "one.example.org,-"),
        ("REDIS_URI", "redis+sentinel://host:26379"),
        ("REDIS_URI", "redis+sentinel:///mymaster"),
        ("REDIS_URI", "redis+sentinel://host:port/mymaster"),
        ("REDIS_URI", "redis+sentinel://host/mymaster/zero"),
        ("SERVICES_FILE", "/nowhere"),
        ("SERVICES_FILE", "/"),
        ("SERVICES_FILE", __file__),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("SIS_API_URL", "sisu.example.org"),
        ("SIS_API_URL", "ftp://sisu.example.org"),
        ("SIS_API_URL", "https://"),
        ("SIS_API_URL", "https://sisu.example.org:port"),
        ("SIS_API_URL", "https://user:password@sisu.example.org"),
        ("SIS_API_URL", "https://sisu.example.org/?limit=1"),
        ("SIS_API_URL", "https://sisu.example.org/#top"),
        ("SIS_API_URL", "https://sisu.example.org/a b"),
        ("KORI_PUBLIC_API_URL", "sisu.example.org"),
        ("PROXY_TOKEN", "two words"),
        ("PROXY_TOKEN", "token\n"),
        ("PROXY_TOKEN", "tökén"),
        ("API_KEY", "key"),
        ("SIS_API_PASSWORD", "password"),
        ("KEY_PATH", "/nowhere"),
        ("CERT_PATH", "/nowhere"),
        ("SIS_CA_PATH", "/nowhere"),
        ("SIS_CA_PATH", __file__),
        ("SIS_TIMEOUT_SECONDS", "0"),
        ("SIS_TIMEOUT_SECONDS", "-1"),
        ("SIS_TIMEOUT_SECONDS", "5m"),
        ("SIS_TIMEOUT_SECONDS", "inf"),
        ("SIS_TIMEOUT_SECONDS", "nan"),
        ("SIS_TIMEOUT_SECONDS", "1e300"),
        ("FETCH_AMOUNT", "0"),
        ("FETCH_AMOUNT", "1.5"),
        ("FETCH_AMOUNT", "many"),
        ("FETCH_AMOUNT_MAX", "0"),
        ("FETCH_AMOUNT_MAX", "999"),
        ("MAX_CHUNK_SIZE", "0"),
        ("MAX_CHUNK_SIZE", "-5"),
        ("PANIC_TIMEOUT_SECONDS", "0"),
        ("PANIC_TIMEOUT_SECONDS", "inf"),
        ("UPDATE_RETRY_LIMIT", "-1"),
        ("DEAD_LETTER_LIMIT", "-1"),
        ("DEAD_LETTER_LIMIT", "5%"),
        ("CRON", "hourly"),
        ("CRON", "60 * * * *"),
        ("CRON", "0 0 30 2 *"),
        ("TIMEZONE", "Helsinki"),
        ("TIMEZONE", "../etc/hosts"),
        ("TIMEZONE", "Europe"),
        ("SERVICES", "PERSONS"),
        ("SERVICES", "PERSON,person"),
    ],
)
def test_an_invalid_value_is_reported(environment: SetEnvironment, name: str, value: str) -> None:
    """A variable with an invalid value is reported by its name, and no other variable is."""
    environment(**{name: value})
    assert reported_errors().keys() == {name}


@pytest.mark.parametrize("value", ["-1", "65536", "http"])
def test_each_process_validates_only_its_own_port(environment: SetEnvironment, value: str) -> None:
    """An invalid port of the collector is reported by the collector and ignored by the producer."""
    environment(COLLECTOR_PORT=value)
    assert reported_errors(CollectorSettings).keys() == {"COLLECTOR_PORT"}
    assert read_settings(ProducerSettings).port == 3002


@pytest.mark.parametrize(
    ("variables", "reported"),
    [
        ({"SIS_API_USER": "importer"}, "SIS_API_PASSWORD"),
        ({"SIS_API_PASSWORD": SECRET}, "SIS_API_PASSWORD"),
        ({"KEY_PATH": "client.key"}, "CERT_PATH"),
        ({"CERT_PATH": "client.pem"}, "CERT_PATH"),
        ({"KEY_PATH": "server.key", "CERT_PATH": "client.pem"}, "CERT_PATH"),
        ({"KEY_PATH": "client.pem", "CERT_PATH": "client.key"}, "CERT_PATH"),
        ({"KEY_PATH": "locked.key", "CERT_PATH": "client.pem"}, "CERT_PATH"),
        ({"KEY_PATH": __file__, "CERT_PATH": "client.pem"}, "CERT_PATH"),
        ({"API_KEY": SECRET}, "API_KEY"),
        ({"API_KEY": SECRET, "SIS_API_USER": "importer", "SIS_API_PASSWORD": SECRET}, "API_KEY"),
    ],
)
def test_related_settings_must_be_set_together(
    environment: SetEnvironment, certificates: Path, variables: dict[str, str], reported: str
) -> None:
    """Half of an authentication method is rejected, whichever half is missing, and so are halves that do not match."""
    files = {name: str(certificates / value) for name, value in variables.items() if name.endswith("_PATH")}
    environment(**(variables | files))
    assert reported_errors().keys() == {reported}


def test_the_maximum_amount_is_not_below_the_minimum(environment: SetEnvironment) -> None:
    """FETCH_AMOUNT_MAX must be at least FETCH_AMOUNT; an invalid FETCH_AMOUNT is reported once, not twice."""
    environment(FETCH_AMOUNT="2000", FETCH_AMOUNT_MAX="2000")
    assert read_settings(ProducerSettings).fetch_amount_max == 2000
    environment(FETCH_AMOUNT="0", FETCH_AMOUNT_MAX="1500")
    assert reported_errors().keys() == {"FETCH_AMOUNT"}


def test_an_invalid_half_is_not_reported_as_missing(environment: SetEnvironment) -> None:
    """A path to a key that does not exist is reported once, not three times."""
    environment(KEY_PATH="/nowhere", CERT_PATH=__file__, API_KEY=SECRET)
    assert reported_errors().keys() == {"KEY_PATH"}


def test_all_mistakes_are_reported_in_one_message(environment: SetEnvironment) -> None:
    """Mistakes of every kind, also in variables that are checked together, are reported at once, one line each."""
    invalid = {
        "NATS_URI": "nats",
        "REDIS_URI": "redis",
        "LOG_LEVEL": "LOUD",
        "SIS_API_URL": "sisu",
        "SIS_API_PASSWORD": SECRET,
        "FETCH_AMOUNT": "0",
        "CRON": "hourly",
        "TIMEZONE": "Helsinki",
        "SERVICES": "PERSONS",
    }
    environment(**invalid)
    assert reported_errors().keys() == invalid.keys()


def test_an_invalid_table_is_reported_with_the_other_mistakes(environment: SetEnvironment, tmp_path: Path) -> None:
    """An error in the services file is part of the same message, and SERVICES is not reported because of it."""
    table = tmp_path / "services.toml"
    table.write_text("service = []")
    environment(SERVICES_FILE=str(table), SERVICES="PERSON", MAX_CHUNK_SIZE="0")
    errors = reported_errors()
    assert errors.keys() == {"SERVICES_FILE", "MAX_CHUNK_SIZE"}
    assert f"{table} cannot be used: it lists no service" in errors["SERVICES_FILE"]


SETTABLE = sorted(name.upper() for name in ProducerSettings.model_fields)


@pytest.mark.parametrize("name", SETTABLE)
@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("1 ", "begins or ends with a space or a line break"),
        (" 1", "begins or ends with a space or a line break"),
        ("1\r", "begins or ends with a space or a line break"),
        (" ", "begins or ends with a space or a line break"),
        ("1\N{NO-BREAK SPACE}", "begins or ends with a space or a line break"),
        ("1\t1", "cannot be printed"),
        ("1\r\n1", "cannot be printed"),
        ('"1"', "quotation mark"),
        ("'1'", "quotation mark"),
        ("“1”", "quotation mark"),
    ],
)
def test_spaces_and_quotation_marks_around_a_value_are_rejected(
    environment: SetEnvironment, name: str, value: str, error: str
) -> None:
    """In every variable, by its name and with the reason; nothing is removed silently."""
    environment(**{name: value})
    assert error in reported_errors()[name]


def test_a_password_may_end_with_a_quotation_mark(environment: SetEnvironment) -> None:
    """Only a pair of quotation marks is an error."""
    environment(SIS_API_USER="'ada", SIS_API_PASSWORD='s3cret"')
    password = read_settings(ProducerSettings).sis_api_password
    assert password
    assert password.get_secret_value() == 's3cret"'


@pytest.mark.parametrize("value", ["::1", "::", "127.0.0.1", "0.0.0.0", "localhost", "importer-1.example.org"])
def test_an_address_to_listen_at(environment: SetEnvironment, value: str) -> None:
    """IPv4, IPv6 and names are accepted."""
    environment(HTTP_HOST=value)
    assert read_settings(CollectorSettings).http_host == value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("redis://:57#Wc903z@host", "percent-encoded: write / as %2F, # as %23, ? as %3F"),
        ("redis://host/prod", "the number of a database"),
        ("redis://host/0?db=1", "must not have options"),
    ],
)
def test_the_error_of_an_address_says_what_to_write(environment: SetEnvironment, value: str, error: str) -> None:
    """The message names the remedy, and nothing of the password."""
    environment(REDIS_URI=value)
    message = reported_errors()["REDIS_URI"]
    assert error in message
    assert "57" not in message
    assert "Wc903z" not in message


@pytest.mark.parametrize(
    "name",
    [name.upper() for name in ProducerSettings.model_fields if name.endswith(("_path", "_file"))],
)
@pytest.mark.parametrize(
    "content",
    [
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\\n{SECRET}\\n-----END PRIVATE KEY-----",
        f"LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t{SECRET}",
        SECRET * 400,
    ],
    ids=["PEM", "PEM in one line", "Base64", "something long"],
)
def test_the_content_of_a_file_in_place_of_its_path(environment: SetEnvironment, name: str, content: str) -> None:
    """It is reported as what it is, and not shown: it may be a private key."""
    environment(**{name: content})
    errors = reported_errors(ProducerSettings)
    assert errors[name].endswith(": is the content of a file: write the path of a file that has it")
    assert SECRET not in str(errors)
