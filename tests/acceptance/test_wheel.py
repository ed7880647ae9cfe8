"""The wheel works where it is installed: in an environment that has the locked dependencies and no checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check"]
_BUILD = "1a2b3c4"

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command without the settings, the checkout and the virtual environment of the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = kept | variables
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, as `make wheel` does."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("producer", "ack_collector", "stan_bridge", "shared", "admin", "demo"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (copy / "shared" / "build.txt").write_text(f"{_BUILD}\n", encoding="utf-8")
    built = run(sys.executable, *_PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", ".", cwd=copy)
    assert built.returncode == 0, built.stderr
    [found] = (copy / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an empty environment; return its folder of programs.

    The dependencies are those of the tests, by their path: a download would test the network.
    """
    folder = tmp_path_factory.mktemp("installed")
    created = run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    assert created.returncode == 0, created.stderr
    python = folder / "venv" / "bin" / "python"
    installed = run(sys.executable, *_PIP, "--python", str(python), "install", "--no-deps", str(wheel), cwd=folder)
    assert installed.returncode == 0, installed.stderr
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (Path(site) / "dependencies.pth").write_text("\n".join(dependencies), encoding="utf-8")
    return python.parent


def top_level(names: Sequence[str]) -> set[str]:
    """Return what a wheel with these files puts into site-packages."""
    return {name.partition("/")[0] for name in names}


def test_the_wheel_contains_the_product_alone(wheel: Path) -> None:
    """Five packages with their data, and neither the demo nor tests, which docs/operations/deployment.md promises."""
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name for name in top_level(names) if not name.endswith(".dist-info")}
    assert packages == {"producer", "ack_collector", "stan_bridge", "shared", "admin"}
    for data in ("shared/store/lua/settle_chunk.lua", "shared/model/services.toml", "admin/web/static/index.html"):
        assert data in names
    page = (ROOT / "docs" / "operations" / "deployment.md").read_text(encoding="utf-8")
    assert all(f"`{package}`" in page for package in packages)


@pytest.mark.parametrize("program", ["importer", "importer-producer", "importer-collector", "importer-stan-bridge"])
def test_each_program_prints_its_version_and_build(programs: Path, program: str) -> None:
    """`--version` needs no configuration, and runs the code that is installed."""
    result = run(programs / program, "--version", cwd=programs)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("importer-api ")
    assert result.stdout.endswith(f" ({_BUILD})\n")


@pytest.mark.parametrize(
    ("program", "process"), [("importer-producer", "producer"), ("importer-collector", "ack_collector")]
)
def test_an_error_line_says_whose_it_is(programs: Path, program: str, process: str) -> None:
    """Without configuration a process ends with 2; its line has the kind of process, host, pid and instance."""
    result = run(programs / program, cwd=programs, INSTANCE="prod", LOG_FORMAT="json")
    assert result.returncode == 2, result.stderr
    event = json.loads(result.stdout)
    assert (event["process"], event["instance"], event["exit_code"]) == (process, "prod", 2)
    assert event["host"]
    assert isinstance(event["pid"], int)
    assert "REDIS_URI is not set" in event["reason"]
