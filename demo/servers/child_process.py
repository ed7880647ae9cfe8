"""Child processes that do not outlive their owner, even if the owner is killed outright.

This holds on Linux; elsewhere only an orderly exit of the owner ends them.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Run by Python in front of the program, which then takes over the process and its id. Not a preexec_fn: that runs
# Python between fork and exec, which can deadlock in a process with threads. 1 is PR_SET_PDEATHSIG.
_TRAMPOLINE = """\
import os, sys
owner, number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, number)
    if os.getppid() != owner:
        sys.exit("the owner has ended already")
os.execvp(command[0], command)
"""

# The kernel sends that signal when the *thread* that made the child ends (prctl(2)), so children are made by a thread
# that lives as long as the process, whichever thread calls `launch`.
_launcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="children")


def launch(
    command: Sequence[str], *, at_owners_death: signal.Signals = signal.SIGKILL, **options: Any
) -> "subprocess.Popen[Any]":
    """Start `command` and return its process; `options` are those of subprocess.Popen.

    The process has a session of its own: Ctrl-C reaches only the owner, which ends its children in order. When the
    owner dies, the kernel sends `at_owners_death`.
    """
    trampoline = [sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(os.getpid()), str(int(at_owners_death)), *command]
    options = {"stdin": subprocess.DEVNULL, "start_new_session": True} | options

    def start() -> "subprocess.Popen[Any]":
        return subprocess.Popen(trampoline, **options)

    return _launcher.submit(start).result()


def terminate(process: "subprocess.Popen[Any]", seconds: float) -> None:
    """Send SIGTERM and wait for the end; kill the process if it has not ended after `seconds`."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
