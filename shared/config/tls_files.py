"""Files for TLS, as the settings name them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the authority to trust instead of the public ones, and the client's certificate and key."""

    ca_path: Path | None = None
    cert_path: Path | None = None
    key_path: Path | None = None


NO_TLS_FILES = TlsFiles()
