"""supervisord.conf starts the stan_bridge only where STAN_URI is set."""

import configparser
import os
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("variables", "output"),
    [({}, ""), ({"STAN_URI": ""}, ""), ({"STAN_URI": "nats://stan:4222"}, "-m stan_bridge\n")],
    ids=["unset", "empty", "set"],
)
def test_the_bridge_is_started_only_with_an_address(tmp_path: Path, variables: dict[str, str], output: str) -> None:
    """Without STAN_URI the command ends at once with 0, an expected exit code, and starts no Python."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read(ROOT / "supervisord.conf")
    program = parser["program:stan_bridge"]
    assert "0" in program["exitcodes"].split(",")
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    run = subprocess.run(
        shlex.split(program["command"]),
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, output)
