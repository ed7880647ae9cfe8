"""How to log in to a NATS server, as the settings say: for JetStream and for STAN alike."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from shared.config.nats_address import NatsAddress
from shared.config.tls_files import NO_TLS_FILES, TlsFiles


@dataclass(frozen=True)
class NatsLogin:
    """The servers, the credentials and the files for TLS."""

    address: NatsAddress
    token: SecretStr | None = None
    """Takes precedence over the user, password or token of the address."""
    creds_path: Path | None = None
    tls: TlsFiles = NO_TLS_FILES

    @property
    def has_files(self) -> bool:
        """Whether credentials or certificates come from files, which may be replaced while a process runs."""
        return bool(self.creds_path or self.tls.cert_path or self.tls.ca_path)
