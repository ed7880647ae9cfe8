"""Fixtures for tests of the settings: an environment, certificates to name in it, and the errors that are reported."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from shared.config.settings import (
    CollectorSettings,
    CommonSettings,
    ProducerSettings,
    StanBridgeSettings,
    read_settings,
)
from shared.model.errors import ConfigurationError
from tests.support.certificates import make_certificates

REQUIRED = {
    "NATS_URI": "nats://nats:4222",
    "REDIS_URI": "redis://redis:6379",
    "SIS_API_URL": "https://sisu.example.org",
}
SetEnvironment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> SetEnvironment:
    """Return a function that sets exactly these variables and the required ones; None leaves a required one out."""
    for name in ProducerSettings.model_fields | CollectorSettings.model_fields | StanBridgeSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def set_variables(**variables: str | None) -> None:
        for name, value in (REQUIRED | variables).items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return set_variables


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with certificates and keys, one of which has a password."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, content in make_certificates().items():
        (folder / name).write_bytes(content)
    key = serialization.load_pem_private_key((folder / "client.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    (folder / "locked.key").write_bytes(locked)
    return folder


def reported_errors(kind: type[CommonSettings] = ProducerSettings) -> dict[str, str]:
    """Return the line that is reported for each invalid variable, by variable."""
    with pytest.raises(ConfigurationError) as error:
        read_settings(kind)
    head, *lines = str(error.value).split("\n")
    assert head == "the configuration cannot be used:"
    return {line.split()[0].rstrip(":"): line for line in lines}
