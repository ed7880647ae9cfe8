"""The simulator as a program: its options, its control over HTTP, and how it ends."""

import hashlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.sisu.simulator import SisuSimulator
from tests.support.sisu import PERSONS, SERVICES, TIMEOUT_SECONDS, post
from tests.support.waiting import wait_until


@contextmanager
def program(*options: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start the simulator; yield the process and its address."""
    command = [sys.executable, "-m", "demo.sisu", "--size", "300", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:")
            yield process, line.split()[-1]
        finally:
            process.kill()


def control(uri: str, command: str, json: object = None) -> Any:
    """Return the response to a command: a POST with a body, or a GET without one."""
    method = "GET" if json is None else "POST"
    return requests.request(method, f"{uri}/simulator/{command}", json=json, timeout=TIMEOUT_SECONDS).json()


def test_the_program_is_controlled_over_http() -> None:
    """Another process can do everything that a test in the same process can."""
    with program("--seed", "4", "--services", "PERSON,PLAN") as (_, uri):
        counts = control(uri, "counts")
        assert set(counts) == {"PERSON", "PLAN"}
        touched = control(uri, "touch", {"service": "PERSON", "n": 7, "seed": 1})["ids"]
        body = b'{"id":"mine","documentState":"DRAFT"}'
        put = requests.post(f"{uri}/simulator/put?service=PERSON", data=body, timeout=TIMEOUT_SECONDS).json()
        expected = control(uri, "expected/PERSON")
        assert list(expected)[-8:] == [*touched, "mine"]
        assert expected["mine"] == {"documentState": "DRAFT", "sha256": hashlib.sha256(body).hexdigest()}
        assert control(uri, "counts")["PERSON"]["greatestOrdinal"] == put["ordinal"]
        assert list(control(uri, f"expected/PERSON?up_to={put['ordinal'] - 1}"))[-7:] == touched
        assert control(uri, "fault", {"kind": "status", "status": 503, "service": "PERSON"}) == {}
        assert requests.get(uri + PERSONS, timeout=TIMEOUT_SECONDS).status_code == 503
        assert control(uri, "latency", {"seconds": 0.001}) == {}
        assert control(uri, "fault", {"kind": "html", "times": None}) == {}
        assert control(uri, "release", {}) == {}
        assert requests.get(uri + PERSONS, timeout=TIMEOUT_SECONDS).ok
        assert [(request["service"], request["status"]) for request in control(uri, "requests")] == [
            ("PERSON", 503),
            ("PERSON", 200),
        ]
        assert len(control(uri, "requests?after=1")) == 1


@pytest.mark.parametrize(
    ("command", "sent", "status"),
    [
        ("touch", {"service": "UNKNOWN", "n": 1, "seed": 1}, 400),
        ("touch", {}, 400),
        ("fault", {"kind": "sulk"}, 400),
        ("put?service=PERSON", {"name": "no id"}, 400),
        ("dance", {}, 404),
    ],
)
def test_an_invalid_command_is_rejected(command: str, sent: object, status: int) -> None:
    """An invalid command is rejected with a message, and changes nothing."""
    with SisuSimulator(size=1) as sisu:
        before = sisu.counts()
        response = post(sisu, f"/simulator/{command}", sent)
        assert (response.status_code, sisu.counts()) == (status, before)
    assert response.json()["message"]


def test_a_trickle_keeps_changing_entities() -> None:
    """With a trickle, ordinals grow without further commands."""
    with program("--trickle-per-second", "200") as (_, uri):
        before = control(uri, "counts")
        grown = wait_until(
            lambda: [
                name
                for name, count in control(uri, "counts").items()
                if count["greatestOrdinal"] > before[name]["greatestOrdinal"]
            ],
            "something changes",
        )
        assert set(grown) <= {service.name for service in SERVICES if service.api.is_export}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_ends_on_a_signal_during_a_request(number: signal.Signals) -> None:
    """A request that hangs does not delay the end of the program."""
    with program() as (process, uri):
        control(uri, "fault", {"kind": "hang"})
        with socket.create_connection(("127.0.0.1", int(uri.rpartition(":")[2]))) as connection:
            connection.sendall(f"GET {PERSONS} HTTP/1.1\r\n\r\n".encode())
            wait_until(lambda: control(uri, "requests"), "the request hangs")
            process.send_signal(number)
            assert process.wait(timeout=5) == -number


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_the_program_ends_with_its_parent() -> None:
    """If its parent process is killed, the simulator ends, too."""
    parent_script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'demo.sisu', '--size', '1'], stdout=subprocess.PIPE)\n"
        "print(child.pid, child.stdout.readline(), flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent_script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split()[0])
        parent.kill()
    wait_until(lambda: not _is_running(child), "the simulator ends")


def _is_running(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_invalid_options_are_reported() -> None:
    """An invalid option ends the program with an error that names it in its last line."""
    for option, error in (("--services=UNKNOWN", "UNKNOWN"), ("--cert=x", "--key")):
        command = [sys.executable, "-m", "demo.sisu", option]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode != 0
        assert error in result.stderr.splitlines()[-1]
