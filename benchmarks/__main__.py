"""`python -m benchmarks`, or `make bench`: measure, print each goal beside the measured value, and keep the results.

`--full` measures more, longer and more often. `--only NAME` measures one scenario and keeps nothing.
"""

import argparse
import sys
import time

from rich.console import Console

from benchmarks import plots, report
from benchmarks.goals import Results
from benchmarks.rig import BenchmarkRig
from benchmarks.scenarios import FULL, SCENARIOS, SHORT
from demo.servers.specs import ServerError


def main() -> int:
    """Run the benchmark, and return the exit code, which does not depend on whether goals were met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure how fast the importer is.")
    parser.add_argument("--full", action="store_true", help="measure more, longer and more often: a quarter of an hour")
    parser.add_argument("--only", action="append", help="measure only this scenario, and keep nothing", metavar="NAME")
    parser.add_argument("--plots", action="store_true", help="only redraw the plots and tables of the kept results")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130)
    if options.plots:
        _keep(report.load())
        return 0
    profile = FULL if options.full else SHORT
    scenarios = [scenario for scenario in SCENARIOS if not options.only or scenario.__name__ in options.only]
    with BenchmarkRig() as rig:
        results: Results = {"profile": profile.name, "machine": report.machine(rig)}
        for scenario in scenarios:
            started = time.monotonic()
            results[scenario.__name__] = scenario(rig, profile)
            console.print(f"{scenario.__name__}: {time.monotonic() - started:.0f} s", highlight=False)
    report.show(results, console)
    if options.only:
        console.print_json(data={name: results[name] for name in options.only})
    else:
        _keep(results)
    return 0


def _keep(results: Results) -> None:
    report.save(results)
    plots.draw_all(results, report.FOLDER)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerError as error:
        sys.exit(f"benchmarks: {error}")
