"""Credentials that are wrong or were changed, and certificates that are no longer valid."""

import datetime as dt
from pathlib import Path

import pytest

from tests.conftest import MakeServer
from tests.faults.conftest import MakeWorld
from tests.support.certificates import make_certificates
from tests.support.programs import Outcome
from tests.support.waiting import wait_until


@pytest.mark.slow
def test_a_token_that_is_changed_while_all_run(make_world: MakeWorld) -> None:
    """NATS comes back with another token: both programs end with 2 and say which variables to check."""
    world = make_world(size=150)
    collector = world.start_collector()
    world.start_mankeli("--delay-seconds", "0.03")
    producer = world.start_producer()
    world.wait_for_chunks(8)
    world.nats.stop()
    world.nats.config = "authorization { token: another }\n"
    world.nats.start()
    for program in (producer, collector):
        outcome = program.wait_done(30)
        assert outcome.code == 2, outcome.output
        assert "NATS_TOKEN" in outcome.events[-1]["reason"]
    world.nats.stop()
    world.nats.config = "\n"
    world.nats.start()
    world.start_collector()
    world.check()


def test_a_password_of_redis_that_is_changed(make_world: MakeWorld) -> None:
    """Redis comes back with a password: both programs end with 2 and say which variable to check."""
    world = make_world(size=150)
    collector = world.start_collector()
    mankeli = world.start_mankeli("--delay-seconds", "0.03")
    producer = world.start_producer()
    world.wait_for_chunks(8)
    world.redis.kill()
    world.redis.config = "requirepass another\n"
    world.redis.start()
    for program in (producer, collector):
        outcome = program.wait_done(30)
        assert outcome.code == 2, outcome.output
        assert "REDIS_URI" in outcome.events[-1]["reason"]
    mankeli.stop()
    world.redis.kill()
    world.redis.config = "\n"
    world.redis.start()
    world.start()
    world.check()


@pytest.mark.parametrize("program", ["producer", "ack_collector"])
def test_a_certificate_that_has_expired(
    make_nats: MakeServer, make_world: MakeWorld, tmp_path: Path, program: str
) -> None:
    """The certificate of NATS is no longer valid: exit code 2, soon, with that reason."""
    files = make_certificates(valid_for=dt.timedelta(minutes=-1))
    (tmp_path / "ca.pem").write_bytes(files["ca.pem"])
    tls = make_nats(
        files=files, tls=True, config='tls { cert_file: "$FILES/server.pem", key_file: "$FILES/server.key" }\n'
    )
    world = make_world(size=60)
    changed = {"NATS_URI": tls.uri, "NATS_CA_PATH": str(tmp_path / "ca.pem")}
    if program == "producer":
        ended: Outcome = world.produce(deadline_seconds=20, **changed)
    else:
        collector = world.start_collector(wait=False, **changed)
        wait_until(lambda: collector.outcomes, "it has ended")
        ended = collector.outcomes[0]
    assert ended.code == 2, ended.output
    assert "certificate has expired" in ended.events[-1]["reason"]
