"""SISU refuses for a while: credentials, one service, or everything. The import goes on by itself when it does not."""

from demo.sisu.simulator import Credentials
from tests.faults.conftest import MakeRig
from tests.support.waiting import wait_until


def test_rejected_credentials_fail_the_services_until_they_are_accepted(make_rig: MakeRig) -> None:
    """401: one request in each run, a reason that names the variables for each service, and the process stays."""
    rig = make_rig(size=60, PROXY_TOKEN="right")
    rig.start()
    rig.sisu.credentials = Credentials(token="another")
    producer = rig.start_producer(once=False)
    rig.wait_for_runs(producer, 2)
    runs, requests = producer.output.count('"run_finished"'), len(rig.sisu.requests)
    assert runs <= requests <= runs + 1
    assert {request.status for request in rig.sisu.requests} == {401}
    reason = f"SISU at {rig.sisu.uri} rejected the credentials (401): check PROXY_TOKEN"
    for service in ("PERSON", "PLAN"):
        assert f"{service}: {reason}" in producer.output
    rig.sisu.credentials = Credentials(token="right")
    for service in ("PERSON", "PLAN"):
        wait_until(lambda name=service: rig.ordinal(name) == rig.sisu.greatest_ordinal(name), f"{service} is imported")
    assert not producer.outcomes, "the process stayed"
    producer.stop()
    rig.check()


def test_rejected_credentials_do_not_concern_the_public_api(make_rig: MakeRig) -> None:
    """401: what is read without credentials is imported."""
    rig = make_rig(services=("PERSON", "CURRICULUM_PERIOD"), size=60)
    rig.start()
    rig.sisu.credentials = Credentials(token="another")
    outcome = rig.produce()
    assert outcome.code == 1, outcome.output
    rig.wait_for_sample()
    assert (rig.ordinal("PERSON"), rig.ordinal("CURRICULUM_PERIOD")) == (0, 1)
    rig.sisu.credentials = Credentials()
    rig.check()


def test_a_forbidden_service_is_requested_in_every_run(make_rig: MakeRig) -> None:
    """403: the others are imported, each run tries again, and what is allowed in the end is imported."""
    rig = make_rig(size=60)
    rig.start()
    fault = rig.sisu.fault("status", status=403, service="PERSON", times=None, retry_after=2)
    producer = rig.start_producer(once=False)
    wait_until(lambda: producer.output.count('"run_finished"') >= 2, "two runs are finished")
    assert fault.hits >= 2
    assert producer.output.count('"service_forbidden"') >= 2
    assert '"complete": false' not in producer.output, "what was never read leaves a run complete"
    assert rig.ordinal("PERSON") == 0
    assert rig.ordinal("PLAN") == rig.sisu.greatest_ordinal("PLAN")
    rig.end_faults()
    wait_until(lambda: rig.ordinal("PERSON") == rig.sisu.greatest_ordinal("PERSON"), "it is imported")
    producer.stop()
    rig.check()


def test_a_service_that_was_imported_before_and_is_forbidden_leaves_a_run_incomplete(make_rig: MakeRig) -> None:
    """403 after a success: permissions were lost, and mankelis are not told that all is stored."""
    rig = make_rig(size=60)
    rig.start()
    assert rig.produce().code == 0
    rig.sisu.fault("status", status=403, service="PERSON", times=None)
    outcome = rig.produce()
    assert outcome.code == 1, outcome.output
    assert "post_update_sent" not in outcome.output
    rig.check()


def test_a_long_retry_after_concerns_the_address(make_rig: MakeRig) -> None:
    """One service is told to wait for a day: no other one is requested in this run, and the next run asks again."""
    rig = make_rig(size=60)
    rig.start()
    rig.sisu.fault("status", status=503, retry_after=86400, times=None)
    outcome = rig.produce()
    assert outcome.code == 1, outcome.output
    assert len(rig.sisu.requests) == 1
    assert [event["service"] for event in outcome.events if event["event"] == "service_skipped"] == ["PLAN"]
    rig.check()
