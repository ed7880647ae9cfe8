"""`python -m benchmarks`, or `make bench`: measure, print each goal beside what was measured, and keep the results.

`--full` measures more, longer and more often. `--only NAME` measures one scenario and keeps nothing.
"""

import argparse
import sys
import time

from rich.console import Console

from benchmarks import plots, report
from benchmarks.scenarios import FULL, SCENARIOS, SHORT
from benchmarks.world import World
from demo.server_programs import ServerError


def main() -> int:
    """Run the benchmark; answers the exit code, which does not tell whether goals were met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast the importer is.")
    parser.add_argument("--full", action="store_true", help="more of everything; a quarter of an hour")
    parser.add_argument("--only", action="append", help="this scenario, and keep nothing", metavar="NAME")
    parser.add_argument("--plots", action="store_true", help="draw the plots and tables of the kept results anew")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130)
    if options.plots:
        results = report.load()
        report.save(results)
        plots.draw_all(results, report.FOLDER)
        return 0
    form = FULL if options.full else SHORT
    chosen = [each for each in SCENARIOS if not options.only or each.__name__ in options.only]
    with World() as world:
        results = {"form": form.name, "machine": report.machine(world)}
        for scenario in chosen:
            started = time.monotonic()
            results[scenario.__name__] = scenario(world, form)
            console.print(f"{scenario.__name__}: {time.monotonic() - started:.0f} s", highlight=False)
    report.show(results, console)
    if options.only:
        console.print_json(data={name: results[name] for name in options.only})
    else:
        report.save(results)
        plots.draw_all(results, report.FOLDER)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerError as error:
        sys.exit(f"benchmarks: {error}")
