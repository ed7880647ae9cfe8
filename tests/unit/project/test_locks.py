"""The lock files: production installs what it needs and no more, and tests run with the same versions."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FILES = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")


def locked(file: str) -> dict[str, str]:
    """Return the version of each package of a lock file."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    """Return the names of the packages that these requirements are for."""
    return {re.split(r"[\[<>=;,]", requirement)[0].lower() for requirement in requirements}


def test_production_has_the_dependencies_and_none_of_the_extras() -> None:
    """`requirements.lock` is complete, and has neither tools for tests nor servers for the demo."""
    production = locked("requirements.lock").keys()
    assert names(PROJECT["project"]["dependencies"]) <= production
    extras = PROJECT["project"]["optional-dependencies"]
    assert names([*extras["dev"], *extras["demo"]]) & production == set()


def test_the_build_requirements_are_locked() -> None:
    """The backend that builds the wheel has a hash, as everything else that is installed."""
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]
    assert names(PROJECT["build-system"]["requires"]) <= locked("requirements-build.lock").keys()


def test_tests_run_with_the_versions_of_production() -> None:
    """`requirements-dev.lock` contains the other two files, at the same versions, and all extras."""
    dev = locked("requirements-dev.lock")
    for file in FILES[:2]:
        assert locked(file).items() <= dev.items()
    extras = PROJECT["project"]["optional-dependencies"]
    assert names([*extras["dev"], *extras["demo"]]) <= dev.keys()


@pytest.mark.parametrize("file", FILES)
def test_a_lock_file_has_hashes_and_names_no_host(file: str) -> None:
    """Every package has a hash, and where packages come from is the machine's affair."""
    text = (ROOT / file).read_text(encoding="utf-8")
    assert "://" not in text
    packages = re.split(r"^(?=[a-z0-9.-]+==)", text, flags=re.MULTILINE)[1:]
    assert packages
    assert [package.partition("=")[0] for package in packages if "--hash=sha256:" not in package] == []
