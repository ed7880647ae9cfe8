"""The program `python -m producer`: its arguments and its exit code. What it does is in `app.py`."""

from argparse import ArgumentParser
from functools import partial

from producer.app import STOP_GRACE_SECONDS, produce
from shared.config.settings import ProducerSettings
from shared.runtime.process import run_process
from shared.runtime.version import BUILD, VERSION


def main() -> int:
    """Run the producer; return the exit code."""
    parser = ArgumentParser(
        prog="python -m producer", description="Import what changed in SISU. Settings: environment variables."
    )
    parser.add_argument("--version", action="version", version=f"importer-api {VERSION} ({BUILD})")
    parser.add_argument("--once", action="store_true", help="make one run, then exit: 0 fully settled, 1 incomplete")
    arguments = parser.parse_args()
    return run_process("producer", ProducerSettings, partial(produce, once=arguments.once), STOP_GRACE_SECONDS)
