"""The folder of the demo, `.demo`, of which there is one: tests of the demo take turns, also in several processes."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def demo_folder() -> Iterator[Path]:
    """Yield the folder once no other test uses it. Blocks until then."""
    folder = ROOT / ".demo"
    with (ROOT / ".demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
