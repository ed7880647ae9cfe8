"""What one failure of SISU says of other services, in this run and no longer."""

import pytest

from producer.run.sisu_conditions import SisuConditions
from shared.model.errors import (
    FetchError,
    ServiceFailedError,
    ServiceForbiddenError,
    SisuConnectionError,
    SisuNoResponseError,
    SisuUnauthorizedError,
    SisuUnavailableError,
)
from shared.model.services import Api, Service
from shared.sisu.requester import uses_credentials

PERSON, PLAN = (Service(name, Api.ORI, name, name, "/x") for name in ("PERSON", "PLAN"))
COUNTRY = Service("COUNTRY", Api.URN, "COUNTRY", "COUNTRY", "/y", one_time=True)


@pytest.fixture
def conditions() -> SisuConditions:
    """Two addresses: one for what needs credentials, and one for what is public."""
    return SisuConditions(lambda service: "private" if uses_credentials(service) else "public")


def timed_out() -> FetchError:
    """Return the error of a service that hung."""
    error = SisuNoResponseError("no response")
    error.timed_out = True
    return error


def test_rejected_credentials_are_not_sent_again_in_this_run(conditions: SisuConditions) -> None:
    """All services with them fail with the reason; those without are requested; the next run tries again."""
    conditions.record_failure(PERSON, SisuUnauthorizedError("PERSON", "rejected (401)"))
    assert conditions.unrequested_outcome(PLAN) == ("failed", "PLAN: rejected (401)")
    assert conditions.unrequested_outcome(COUNTRY) is None
    conditions.clear()
    assert conditions.unrequested_outcome(PLAN) is None


def test_a_long_pause_concerns_the_address(conditions: SisuConditions) -> None:
    """It is not asked again for another service; another address is."""
    conditions.record_failure(PERSON, SisuUnavailableError("PERSON", "Retry-After 86400 s"))
    assert conditions.unrequested_outcome(PLAN) == ("skipped", "Retry-After 86400 s")
    assert conditions.unrequested_outcome(COUNTRY) is None


@pytest.mark.parametrize("error", [FetchError("404"), SisuNoResponseError("reset"), ServiceForbiddenError("403")])
def test_other_failures_concern_one_service(conditions: SisuConditions, error: ServiceFailedError) -> None:
    """However often they occur: the next service is requested as usual."""
    for _ in range(5):
        conditions.record_failure(PERSON, error)
    assert (conditions.unrequested_outcome(PLAN), conditions.attempts(PLAN)) == (None, None)


def test_an_address_without_a_connection_gets_single_attempts_until_one_succeeds(conditions: SisuConditions) -> None:
    """Any response shows that it is there again."""
    conditions.record_failure(PERSON, SisuConnectionError("refused"))
    assert (conditions.is_unreachable(PLAN), conditions.attempts(PLAN), conditions.attempts(COUNTRY)) == (True, 1, None)
    conditions.record_response(PLAN)
    assert (conditions.is_unreachable(PLAN), conditions.attempts(PLAN)) == (False, None)


def test_three_time_outs_in_a_row_bound_the_rest_of_the_run(conditions: SisuConditions) -> None:
    """The fourth service gets one attempt; a response in between starts the count again."""
    for _ in range(2):
        conditions.record_failure(PERSON, timed_out())
    conditions.record_response(PLAN)
    for _ in range(2):
        conditions.record_failure(PERSON, timed_out())
    assert conditions.attempts(PLAN) is None
    conditions.record_failure(PLAN, timed_out())
    assert (conditions.attempts(PLAN), conditions.unrequested_outcome(PLAN)) == (1, None)
