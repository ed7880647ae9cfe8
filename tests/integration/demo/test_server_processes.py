"""Servers as local processes: the right program, a port of their own, and an end with their owner."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.servers.processes import free_port
from demo.servers.specs import NATS, REDIS, ServerError, ServerSpec, find_binary
from tests.support.waiting import wait_until


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_no_server_outlives_an_owner_that_was_killed() -> None:
    """A server ends when its owner gets SIGKILL, even if it was started from a thread that has ended."""
    code = (
        "import sys, threading\nfrom demo.servers.processes import NatsServer\nserver = NatsServer()\n"
        "thread = threading.Thread(target=server.start)\nthread.start()\nthread.join()\n"
        "server.ready()\nprint(server._process.pid, server.data.parent, flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid, home = owner.stdout.readline().split()
        assert b"nats-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not _is_running(int(pid)), "the server has ended")
    shutil.rmtree(home)


def _is_running(pid: int) -> bool:
    try:
        return b"nats-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("program", [NATS, REDIS], ids=lambda program: program.name)
def test_a_server_that_is_too_old_is_skipped(
    program: ServerSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An old server that is first on the PATH does not hide the right one; if it is the only one, the error says so."""
    old = tmp_path / program.name
    old.write_text("#!/bin/sh\necho 'old-server: v1.9.10'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    binary, _ = find_binary(program)
    assert binary != old
    monkeypatch.setattr("demo.servers.specs._candidates", lambda _name: iter([old]))
    with pytest.raises(ServerError, match=r"pip install .*; passed over: .* \(1\.9\.10\)"):
        find_binary(program)


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    """A port of the ephemeral range is not used, since a client that reconnects could connect to itself."""
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not ephemeral.exists():
        pytest.skip("this system does not report its range of ephemeral ports")
    first = int(ephemeral.read_text().split()[0])
    assert all(free_port() < first for _ in range(50))
