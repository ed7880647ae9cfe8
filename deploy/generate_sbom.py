"""Write the bill of materials of a release: `python deploy/generate_sbom.py requirements.lock > sbom.cdx.json`.

CycloneDX 1.5: each package of the lock file with its version and the hashes of its files. It is made from what is
locked, not from what happens to be installed.
"""

import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGE = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?P<rest>(?:.*\\\n|\s+--hash.*\n)*)", re.MULTILINE
)


def components(lock: str) -> list[dict[str, Any]]:
    """Return the components of a lock file, in its order."""
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{package['name']}@{package['version']}",
            "purl": f"pkg:pypi/{package['name']}@{package['version']}",
            "name": package["name"],
            "version": package["version"],
            # The hashes of a component are those of one file; here each file that may be installed is a reference.
            "externalReferences": [
                {"type": "distribution", "url": f"pkg:pypi/{package['name']}@{package['version']}", "hashes": [digest]}
                for digest in _hashes(package["rest"])
            ],
        }
        for package in _PACKAGE.finditer(lock)
    ]


def _hashes(text: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest} for digest in re.findall(r"--hash=sha256:([0-9a-f]{64})", text)]


def bill(lock: str) -> dict[str, Any]:
    """Return the whole document."""
    own = version("importer-api")
    product = {"type": "application", "bom-ref": "importer-api", "name": "importer-api", "version": own}
    listed = components(lock)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": product},
        "components": listed,
    }


def main() -> None:
    """Print the bill of the lock file that is named."""
    print(json.dumps(bill(Path(sys.argv[1]).read_text(encoding="utf-8")), indent=2))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
