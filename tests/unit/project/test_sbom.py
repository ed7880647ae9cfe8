"""The bill of materials lists what production installs."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def load_generator() -> Any:
    """Import the program, which belongs to no package."""
    spec = spec_from_file_location("generate_sbom", ROOT / "deploy" / "generate_sbom.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_locked_package_is_listed_with_its_hashes() -> None:
    """No package and no hash of `requirements.lock` is missing, and there are no others."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    listed = load_generator().bill(lock)["components"]
    assert [f"{each['name']}=={each['version']}" for each in listed] == re.findall(
        r"^[a-z0-9.-]+==\S+", lock, re.MULTILINE
    )
    hashes = [digest["content"] for each in listed for file in each["externalReferences"] for digest in file["hashes"]]
    assert hashes == re.findall(r"--hash=sha256:([0-9a-f]{64})", lock)
