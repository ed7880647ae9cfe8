"""Servers as local processes: the right program, a port that nobody else gets, and none that outlives its owner."""

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
def test_no_process_outlives_an_owner_that_was_killed() -> None:
    """SIGKILL leaves no time to stop a server that was started from a thread that is long gone."""
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
    wait_until(lambda: not _runs(int(pid)), "the server is gone")
    shutil.rmtree(home)


def _runs(pid: int) -> bool:
    try:
        return b"nats-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("program", [NATS, REDIS], ids=lambda program: program.name)
def test_a_server_that_is_too_old_is_passed_over(
    program: ServerSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Debian's nats-server, first on the PATH, does not hide the right one; alone, it is named in the error."""
    old = tmp_path / program.name
    old.write_text("#!/bin/sh\necho 'old-server: v1.9.10'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    binary, _ = find_binary(program)
    assert binary != old
    monkeypatch.setattr("demo.servers.specs._candidates", lambda _name: iter([old]))
    with pytest.raises(ServerError, match=r"pip install .*; passed over: .* \(1\.9\.10\)"):
        find_binary(program)


def test_a_free_port_is_not_one_that_outgoing_connections_get() -> None:
    """Or a client that tries again while its server is down could connect to itself."""
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not ephemeral.exists():
        pytest.skip("this system does not say which ports it gives to outgoing connections")
    first = int(ephemeral.read_text().split()[0])
    assert all(free_port() < first for _ in range(50))
