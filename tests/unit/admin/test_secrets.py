"""The warnings of `importer check` about secrets that others know, or will."""

import pytest

from admin.checks.secrets import check_secrets
from shared.config.settings import ProducerSettings

SECRET = "s3cret-passw0rd"
KEPT = {
    "nats_uri": f"nats://producer:{SECRET}@127.0.0.1:4222",
    "redis_uri": f"redis://producer:{SECRET}@127.0.0.1:6379/0",
    "sis_api_url": "https://sisu.example.org",
    "sis_api_user": "importer",
    "sis_api_password": SECRET,
}


def warnings(**settings: str) -> dict[str, str]:
    """Return the texts of the findings by their subjects; all are warnings, and show no secret."""
    findings = check_secrets(ProducerSettings(**(KEPT | settings)))  # type: ignore[arg-type]
    assert {finding.result for finding in findings} <= {"warning"}
    assert SECRET not in str(findings)
    return {finding.subject: finding.text for finding in findings}


def test_secrets_that_are_kept_are_not_mentioned() -> None:
    """With passwords of one's own and https:// there is nothing to say."""
    assert warnings() == {}


@pytest.mark.parametrize(
    ("variable", "uri"),
    [
        ("NATS_URI", "nats://producer:change-me-producer@127.0.0.1:4222"),
        ("REDIS_URI", "redis://producer:change-me-producer@127.0.0.1:6379/0"),
        ("REDIS_URI", "redis://producer:change%2Dme%2Dproducer@127.0.0.1:6379/0"),
    ],
)
def test_a_shipped_password_is_named(variable: str, uri: str) -> None:
    """A password of the files in deploy/ is public, however it is encoded."""
    found = warnings(**{variable.lower(): uri})
    assert found.keys() == {variable}
    assert "replace it" in found[variable]


@pytest.mark.parametrize(
    "credentials", [{}, {"sis_api_user": "", "sis_api_password": "", "proxy_token": SECRET}], ids=["Basic", "token"]
)
def test_credentials_over_http_are_named(credentials: dict[str, str]) -> None:
    """Over http:// everyone on the way reads them."""
    empty = {name: None for name, value in credentials.items() if not value}
    assert warnings(**{"sis_api_url": "http://sisu.example.org", **credentials, **empty}).keys() == {"SIS_API_URL"}  # type: ignore[arg-type]


def test_http_without_credentials_is_not_named() -> None:
    """The simulated SISU has none."""
    nothing = {"sis_api_user": None, "sis_api_password": None}
    assert warnings(**{"sis_api_url": "http://sisu.example.org", **nothing}) == {}  # type: ignore[arg-type]
