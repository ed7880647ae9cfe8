"""Credentials that change at run time, and certificates that have expired."""

import datetime as dt
from pathlib import Path

import pytest

from tests.conftest import MakeServer
from tests.faults.conftest import MakeRig
from tests.support.certificates import make_certificates
from tests.support.programs import Outcome
from tests.support.waiting import wait_until


@pytest.mark.slow
def test_a_nats_token_that_changes_at_run_time(make_rig: MakeRig) -> None:
    """NATS restarts with another token: both programs exit with 3, then with 2, and name the variables."""
    rig = make_rig(size=150)
    collector = rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.03")
    producer = rig.start_producer()
    rig.wait_for_chunks(8)
    rig.nats.stop()
    rig.nats.config = "authorization { token: another }\n"
    rig.nats.start()
    for program in (producer, collector):
        program.wait_done(30)
        assert [each.code for each in program.outcomes] == [3, 2], program.output
        assert all("NATS_TOKEN" in each.events[-1]["reason"] for each in program.outcomes)
    rig.nats.stop()
    rig.nats.config = "\n"
    rig.nats.start()
    rig.start_collector()
    rig.check()


def test_a_redis_password_that_changes_at_run_time(make_rig: MakeRig) -> None:
    """Redis restarts with a password: both programs exit with 3, and with 2 when started again."""
    rig = make_rig(size=150)
    collector = rig.start_collector()
    mankeli = rig.start_mankeli("--delay-seconds", "0.03")
    producer = rig.start_producer()
    rig.wait_for_chunks(8)
    rig.redis.kill()
    rig.redis.config = "requirepass another\n"
    rig.redis.start()
    for program in (producer, collector):
        assert program.wait_done(30).code == 2, program.output
        assert [outcome.code for outcome in program.outcomes] == [3, 2]
        # The first one may find out only that Redis is unavailable, if the restart takes long.
        assert "REDIS_URI" in program.outcomes[-1].events[-1]["reason"]
    mankeli.stop()
    rig.redis.kill()
    rig.redis.config = "\n"
    rig.redis.start()
    rig.start()
    rig.check()


@pytest.mark.parametrize("program", ["producer", "ack_collector"])
def test_a_certificate_that_has_expired(make_nats: MakeServer, make_rig: MakeRig, tmp_path: Path, program: str) -> None:
    """The certificate of NATS has expired: the program exits with 3 and that reason: a file may be renewed."""
    files = make_certificates(valid_for=dt.timedelta(minutes=-1))
    (tmp_path / "ca.pem").write_bytes(files["ca.pem"])
    tls = make_nats(
        files=files, tls=True, config='tls { cert_file: "$FILES/server.pem", key_file: "$FILES/server.key" }\n'
    )
    rig = make_rig(size=60)
    variables = {"NATS_URI": tls.uri, "NATS_CA_PATH": str(tmp_path / "ca.pem")}
    if program == "producer":
        outcome: Outcome = rig.produce(deadline_seconds=20, **variables)
    else:
        collector = rig.start_collector(wait=False, **variables)
        wait_until(lambda: collector.outcomes, "the collector has ended")
        outcome = collector.outcomes[0]
    assert outcome.code == 3, outcome.output
    assert "certificate has expired" in outcome.events[-1]["reason"]
