"""The settings: what each variable accepts, that all mistakes are told at once, and that no secret is ever shown."""

import logging
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives import serialization

from shared.errors import ConfigurationError
from shared.redis_client import make_redis
from shared.services import BUILT_IN_TABLE, load_services
from shared.settings import CollectorSettings, ProducerSettings, read_settings
from tests.support.certificates import make_certificates

NEEDED = {"NATS_URI": "nats://nats:4222", "REDIS_URI": "redis://redis:6379", "SIS_API_URL": "https://sisu.example.org"}
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

SetEnvironment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> SetEnvironment:
    """Set exactly these variables, beside those that are needed; None leaves a needed one out."""
    for name in ProducerSettings.model_fields | CollectorSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def set_variables(**variables: str | None) -> None:
        for name, value in (NEEDED | variables).items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return set_variables


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates and keys, one of them with a password."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, content in make_certificates().items():
        (folder / name).write_bytes(content)
    key = serialization.load_pem_private_key((folder / "client.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    (folder / "locked.key").write_bytes(locked)
    return folder


def complaints(kind: type[ProducerSettings | CollectorSettings] = ProducerSettings) -> dict[str, str]:
    """What is complained of, by variable."""
    with pytest.raises(ConfigurationError) as refused:
        read_settings(kind)
    head, *lines = str(refused.value).split("\n")
    assert head == "the configuration cannot be used:"
    return {line.split()[0].rstrip(":"): line for line in lines}


def test_the_producer_has_a_default_for_all_but_three(environment: SetEnvironment) -> None:
    """With the three addresses set, everything else is as documented."""
    environment()
    settings = read_settings(ProducerSettings)
    for name, default in (COMMON_DEFAULTS | PRODUCER_DEFAULTS).items():
        assert getattr(settings, name) == default, name


def test_the_collector_needs_nothing_of_the_producers(environment: SetEnvironment) -> None:
    """The ack_collector starts without an address of SISU, even where the producer's variables are wrong."""
    environment(SIS_API_URL=None, FETCH_AMOUNT="none", CRON="hourly")
    settings = read_settings(CollectorSettings)
    for name, default in (COMMON_DEFAULTS | COLLECTOR_DEFAULTS).items():
        assert getattr(settings, name) == default, name


def test_what_must_be_set_is_named(environment: SetEnvironment) -> None:
    """An empty environment is refused with each variable that is needed."""
    environment(NATS_URI=None, REDIS_URI=None, SIS_API_URL=None)
    assert complaints() == {
        "NATS_URI": "  NATS_URI is not set",
        "REDIS_URI": "  REDIS_URI is not set",
        "SIS_API_URL": "  SIS_API_URL is not set",
    }
    assert complaints(CollectorSettings).keys() == {"NATS_URI", "REDIS_URI"}


def test_empty_means_not_set(environment: SetEnvironment) -> None:
    """A variable with an empty value has its default, and is missing where it has none."""
    environment(**{name.upper(): "" for name in COMMON_DEFAULTS | PRODUCER_DEFAULTS})
    settings = read_settings(ProducerSettings)
    for name, default in (COMMON_DEFAULTS | PRODUCER_DEFAULTS).items():
        assert getattr(settings, name) == default, name
    environment(SIS_API_URL="")
    assert complaints().keys() == {"SIS_API_URL"}


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
def test_a_wrong_value_is_named(environment: SetEnvironment, name: str, value: str) -> None:
    """Each variable with a wrong value is refused by its name, and no other is blamed."""
    environment(**{name: value})
    assert complaints().keys() == {name}


@pytest.mark.parametrize("value", ["-1", "65536", "http"])
def test_a_wrong_port_of_the_collector_is_its_own_matter(environment: SetEnvironment, value: str) -> None:
    """Each process is refused for its own port, and does not look at the other one's."""
    environment(COLLECTOR_PORT=value)
    assert complaints(CollectorSettings).keys() == {"COLLECTOR_PORT"}
    assert read_settings(ProducerSettings).port == 3002


@pytest.mark.parametrize(
    ("variables", "blamed"),
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
def test_what_goes_together_is_set_together(
    environment: SetEnvironment, certificates: Path, variables: dict[str, str], blamed: str
) -> None:
    """Half of a way to authenticate is refused, whichever half it is, and so are halves that do not fit."""
    files = {name: str(certificates / value) for name, value in variables.items() if name.endswith("_PATH")}
    environment(**(variables | files))
    assert complaints().keys() == {blamed}


def test_the_most_is_not_below_the_least(environment: SetEnvironment) -> None:
    """FETCH_AMOUNT_MAX begins at FETCH_AMOUNT; a wrong FETCH_AMOUNT is one mistake, not two."""
    environment(FETCH_AMOUNT="2000", FETCH_AMOUNT_MAX="2000")
    assert read_settings(ProducerSettings).fetch_amount_max == 2000
    environment(FETCH_AMOUNT="0", FETCH_AMOUNT_MAX="1500")
    assert complaints().keys() == {"FETCH_AMOUNT"}


def test_a_certificate_with_its_key_is_accepted(environment: SetEnvironment, certificates: Path) -> None:
    """A client's certificate and an authority's are taken where they can be read."""
    environment(
        KEY_PATH=str(certificates / "client.key"),
        CERT_PATH=str(certificates / "client.pem"),
        API_KEY=SECRET,
        SIS_CA_PATH=str(certificates / "ca.pem"),
        NATS_CA_PATH=str(certificates / "ca.pem"),
    )
    assert read_settings(ProducerSettings).cert_path == certificates / "client.pem"


def test_a_wrong_half_is_not_called_missing(environment: SetEnvironment) -> None:
    """A path to a key that is not there is one mistake, not three."""
    environment(KEY_PATH="/nowhere", CERT_PATH=__file__, API_KEY=SECRET)
    assert complaints().keys() == {"KEY_PATH"}


def test_all_mistakes_are_told_in_one_message(environment: SetEnvironment) -> None:
    """Mistakes of every kind, also of variables that are checked together, are named at once, a line for each."""
    wrong = {
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
    environment(**wrong)
    assert complaints().keys() == wrong.keys()


def test_a_wrong_table_is_told_with_the_other_mistakes(environment: SetEnvironment, tmp_path: Path) -> None:
    """What is wrong in the file of services stands in the same message; the subset is not blamed for it."""
    table = tmp_path / "services.toml"
    table.write_text("service = []")
    environment(SERVICES_FILE=str(table), SERVICES="PERSON", MAX_CHUNK_SIZE="0")
    told = complaints()
    assert told.keys() == {"SERVICES_FILE", "MAX_CHUNK_SIZE"}
    assert f"{table} cannot be used: it lists no service" in told["SERVICES_FILE"]


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
    """Whatever is wrong about a value that has a secret, the message does not quote it, nor do its causes."""
    environment(**variables)
    with pytest.raises(ConfigurationError) as refused:
        read_settings(ProducerSettings)
    error: BaseException | None = refused.value
    while error:
        assert SECRET not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_settings_show_no_secret(environment: SetEnvironment, certificates: Path) -> None:
    """Neither repr, str nor a log record of the settings shows a secret, and they keep it nevertheless."""
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


def test_settings_cannot_be_changed(environment: SetEnvironment) -> None:
    """What was read once stays as it was read."""
    environment()
    settings = read_settings(ProducerSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.fetch_amount = 1  # type: ignore[misc]


def test_values_are_read_generously(environment: SetEnvironment) -> None:
    """Case of the log level, spaces around names and a slash at the end of an address do not matter."""
    environment(
        LOG_LEVEL="debug",
        LOG_FORMAT="console",
        SERVICES=" PLAN, PERSON ,",
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


def test_services_are_chosen_from_the_table_that_is_named(environment: SetEnvironment, tmp_path: Path) -> None:
    """A subset is taken of the operator's own table, and all channels of that table stay known."""
    table = tmp_path / "services.toml"
    rows = [
        f'[[service]]\nname = "{n}"\napi = "ORI"\nchannel = "{n}"\nkey = "K_{n}"\npath = "/{n}"\n' for n in ("A", "B")
    ]
    table.write_text("\n".join(rows))
    environment(SERVICES_FILE=str(table), SERVICES="B")
    settings = read_settings(ProducerSettings)
    assert [service.name for service in settings.chosen_services()] == ["B"]
    assert [service.name for service in settings.service_table()] == ["A", "B"]


def test_without_a_subset_all_services_are_chosen(environment: SetEnvironment) -> None:
    """Where SERVICES is not set, the whole table is imported."""
    environment()
    assert read_settings(ProducerSettings).chosen_services() == load_services()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("redis://host", {"host": "host"}),
        ("redis://host:6380/3", {"host": "host", "port": 6380, "db": 3}),
        ("redis://user:p%40ss@host", {"host": "host", "username": "user", "password": "p@ss"}),
    ],
)
def test_an_address_of_redis_is_taken_apart(uri: str, expected: dict[str, object]) -> None:
    """Host, port, database and credentials of redis:// arrive at the client, undoing percent-encoding."""
    options = make_redis(uri).connection_pool.connection_kwargs
    assert {name: options.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("uri", "sentinels", "master", "expected"),
    [
        ("redis+sentinel://one/mymaster", [("one", 26379)], "mymaster", {"db": 0, "password": None}),
        (
            "redis+sentinel://user:p%2Fss@one:1,two:2/mymaster/4",
            [("one", 1), ("two", 2)],
            "mymaster",
            {"db": 4, "username": "user", "password": "p/ss"},
        ),
    ],
)
def test_an_address_of_sentinels_is_taken_apart(
    environment: SetEnvironment,
    uri: str,
    sentinels: list[tuple[str, int]],
    master: str,
    expected: dict[str, object],
) -> None:
    """All sentinels, the name of the master, the database and the master's credentials are read from the address."""
    environment(REDIS_URI=uri)
    address = read_settings(CollectorSettings).redis_uri.get_secret_value()
    pool = make_redis(address).connection_pool
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(options["host"], options["port"]) for options in asked] == sentinels
    assert pool.service_name == master
    assert {name: pool.connection_kwargs.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("uri", "encrypted"), [("redis+sentinel://one/mymaster", False), ("rediss+sentinel://one/mymaster", True)]
)
def test_sentinels_lead_to_an_encrypted_master_where_asked(uri: str, *, encrypted: bool) -> None:
    """rediss+sentinel:// speaks TLS to the master."""
    pool = make_redis(uri).connection_pool
    assert any("SSL" in kind.__name__ for kind in pool.connection_class.__mro__) is encrypted
