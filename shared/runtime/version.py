"""The version that runs, and the build: the commit that a wheel or an image was made from."""

from importlib.metadata import version
from importlib.resources import files

VERSION = version("importer-api")

_build_file = files("shared") / "build.txt"
BUILD = _build_file.read_text(encoding="utf-8").strip() if _build_file.is_file() else "checkout"
"""What `make wheel` and the Containerfile recorded; a checkout runs whatever it contains."""
