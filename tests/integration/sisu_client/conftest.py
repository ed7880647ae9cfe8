"""A simulated SISU for the client, and nothing of the environment that the tests run in."""

from collections.abc import Iterator

import pytest

from demo.sisu import SisuSimulator
from shared.settings import ProducerSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings and no proxies of the one who runs the tests."""
    for name in (*ProducerSettings.model_fields, "http_proxy", "https_proxy", "all_proxy", "requests_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def sisu() -> Iterator[SisuSimulator]:
    """A SISU of this test's own."""
    with SisuSimulator(seed=7, size=600) as simulator:
        yield simulator
