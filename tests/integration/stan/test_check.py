"""`importer check` on STAN, and that nothing of STAN is loaded without STAN_URI."""

import subprocess
import sys

import pytest

from admin.checks.stan import check_stan, required_messages
from demo.servers.processes import Server
from demo.servers.specs import ServerError
from shared.broker.stan.session import StanIdentity, StanSession
from shared.config.settings import ProducerSettings
from shared.store.redis_client import RedisClient, make_redis
from tests.conftest import MakeServer

UNUSED = {"nats_uri": "nats://unused", "sis_api_url": "http://unused"}


async def found(redis_uri: str, stan_uri: str, **options: object) -> dict[str, tuple[str, str]]:
    """Return the findings by subject."""
    settings = ProducerSettings(**UNUSED | {"redis_uri": redis_uri, "stan_uri": stan_uri} | options)
    async with make_redis(redis_uri) as redis:
        findings = await check_stan(settings, RedisClient(redis))
    return {finding.subject: (finding.result, finding.text) for finding in findings}


@pytest.fixture
def monitored(make_stan: MakeServer) -> tuple[Server, str]:
    """Start a STAN that shows its limits, which are too low."""
    for _ in range(5):
        try:
            port = _free_port()
            stan = make_stan(config=f'http: "127.0.0.1:{port}"', streaming="store_limits { max_msgs: 50 }")
        except ServerError:
            continue
        return stan, f"http://127.0.0.1:{port}"
    pytest.fail("no free port")


def _free_port() -> int:
    from demo.servers.base import free_port  # noqa: PLC0415 - used here alone

    return free_port()


async def test_a_stan_that_is_fit(redis_uri: str, monitored: tuple[Server, str]) -> None:
    """STAN responds, the client id is free, and limits that are too low for the settings are named."""
    stan, monitor = monitored
    findings = await found(redis_uri, stan.uri, stan_monitor_url=monitor)
    assert findings["STAN"] == ("ok", "responds as the cluster importer-nats")
    assert findings["STAN client id importer-api"] == ("ok", "is free")
    result, text = findings["STAN limits"]
    assert result == "warning"
    assert "keeps 50 messages" in text
    assert "140" in text
    findings = await found(redis_uri, stan.uri, stan_monitor_url=monitor, fetch_amount=100)
    assert findings["STAN limits"][0] == "ok"


async def test_a_client_id_that_is_taken(redis_uri: str, make_stan: MakeServer) -> None:
    """Another client with the id, such as an importer of that era, is an error; its session goes on."""
    stan = make_stan()
    login = ProducerSettings(**UNUSED, redis_uri=redis_uri, stan_uri=stan.uri).stan_login()
    other = await StanSession.connect(login, StanIdentity("importer-nats", "importer-api", "other"))
    findings = await found(redis_uri, stan.uri)
    assert findings["STAN client id importer-api"][0] == "error"
    assert findings["STAN limits"][0] == "warning"
    await other.check()
    await other.close()


async def test_a_stan_that_is_not_there(redis_uri: str, make_stan: MakeServer) -> None:
    """A wrong cluster id, or no server, is one finding."""
    stan = make_stan()
    findings = await found(redis_uri, stan.uri, stan_cluster_id="other")
    assert findings.keys() == {"STAN"}
    assert "cluster id other" in findings["STAN"][1]
    stan.kill()
    assert "cannot be reached" in (await found(redis_uri, stan.uri))["STAN"][1]


def test_how_much_may_be_out() -> None:
    """Two pieces for each chunk, in each attempt."""
    settings = ProducerSettings(**UNUSED, redis_uri="redis://unused", fetch_amount=1000, update_retry_limit=0)
    assert required_messages(settings) == 20


@pytest.mark.parametrize("module", ["producer.main", "ack_collector.main", "admin.cli.app", "demo.mankeli.worker"])
def test_nothing_of_stan_is_loaded(module: str) -> None:
    """No other process imports the client of STAN or the bridge."""
    code = (
        f"import sys, {module}; "
        "print([name for name in sys.modules if 'broker.stan' in name or name.startswith('stan_bridge')])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
