"""Takes the guards of the protocol away, one at a time, and sees whether the tests notice: `make mutate`.

The project itself is never touched: each worker breaks, tests and mends a copy of its own. Writes docs/mutation.md, and
fails where a mutant survives.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutants import MUTANTS, ROOT, TESTS, Mutant
from tests.protocol.guards import in_words
from tests.protocol.model import Guard
from tests.protocol.search import Explored, explore, scenarios

REPORT = ROOT / "docs" / "mutation.md"
WORKERS = 2
LIMIT_SECONDS = 180.0
"""For the tests of one mutant; one that has not ended by then hangs, and so is noticed."""

_COPIED = ("producer", "ack_collector", "shared", "operating", "demo", "deploy", "tests", "pyproject.toml")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "acceptance", "faults")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?: - .*)?$", re.MULTILINE)
_HEAD = """\
# What each guard is there for

`make mutate` takes the conditions and effects of the protocol away, one at a time, in a copy of the project, and runs
the quick tests against what is left. It fails where they pass: then nobody would notice if that line were lost one day.
This page is what it wrote: {mutants} mutants, {noticed} noticed.

*Fails* names the first test that notices. The last column is about the model of the protocol
([`tests/protocol`](../tests/protocol)). With all guards, {worlds} worlds that {steps} steps lead to, with up to two
faults on the way, keep I1 to I6, and in each of them the import can still be completed (I7; the invariants are in
[reliability.md](reliability.md)). Without this guard there is a world that does not: named are the invariant and the
faults that it takes ([`world.py`](../tests/protocol/world.py) says what they are). I1 is data that is lost.

| file | without this | fails | in the model breaks |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Outcome:
    """A mutant, and the test that noticed it; None where none did."""

    mutant: Mutant
    test: str | None


def main() -> int:
    """Try all mutants, or those whose guard contains one of the arguments; then no page is written."""
    started_seconds, words = time.monotonic(), sys.argv[1:]
    mutants = [mutant for mutant in MUTANTS if not words or any(word in str(mutant.guard) for word in words)]
    with tempfile.TemporaryDirectory(prefix="importer-mutation-") as home:
        copies = [_copy(Path(home) / str(number)) for number in range(WORKERS)]
        if failed := _run(copies[0], sorted({test for tests in TESTS.values() for test in tests})):
            _say(f"the tests fail without any mutant: {failed}")
            return 1
        outcomes = list(_try_all(mutants, copies))
    survivors = [outcome.mutant for outcome in outcomes if outcome.test is None]
    if not words:
        REPORT.write_text(_page(outcomes, _search()), encoding="utf-8")
    _say(f"{len(outcomes)} mutants, {len(survivors)} survived, {time.monotonic() - started_seconds:.0f} s")
    return 1 if survivors else 0


def _copy(target: Path) -> Path:
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=_LEFT_OUT)
        else:
            shutil.copy(source, target / name)
    return target


def _try_all(mutants: Sequence[Mutant], copies: Sequence[Path]) -> Iterator[Outcome]:
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def attempt(mutant: Mutant) -> Outcome:
        copy = free.get()
        try:
            return _try(mutant, copy)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        for outcome in pool.map(attempt, mutants):
            _say(f"{outcome.mutant.guard}: {outcome.test or 'SURVIVED'}")
            yield outcome


def _try(mutant: Mutant, copy: Path) -> Outcome:
    broken = copy / mutant.file
    text = broken.read_text(encoding="utf-8")
    try:
        broken.write_text(mutant.applied(text), encoding="utf-8")
        for test in TESTS[mutant.file]:
            if failed := _run(copy, [test]):
                return Outcome(mutant, failed)
        return Outcome(mutant, None)
    finally:
        broken.write_text(text, encoding="utf-8")


def _run(copy: Path, tests: Sequence[str]) -> str | None:
    """The first test that fails in this copy."""
    # No byte code: two versions of a file within a second and of one size would be taken for the same.
    environment = {**os.environ, "IMPORTER_TEST_SERVERS": "local", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no"]
    command += ["--hypothesis-profile=unshrunk", *tests]
    try:
        run = subprocess.run(  # noqa: PLW1510 - the exit code is the answer
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{tests[0]} (does not end)"
    if run.returncode == 0:
        return None
    found = _FAILED.search(run.stdout)
    if run.returncode != 1 or found is None:
        raise RuntimeError(f"pytest could not do its work:\n{run.stdout}\n{run.stderr}")
    return found[1]


def _search() -> Explored:
    seen = [explore(scenario) for _, scenario in scenarios()]
    return Explored(sum(each.worlds for each in seen), sum(each.steps for each in seen))


def _page(outcomes: Sequence[Outcome], searched: Explored) -> str:
    rows = []
    for outcome in outcomes:
        _, _, taken_away = str(outcome.mutant.guard).partition(": ")
        file = Path(outcome.mutant.file).name
        rows.append(
            f"| `{file}` | {taken_away or outcome.mutant.guard} | {_test(outcome)} | {_model(outcome.mutant.guard)} |"
        )
    counts = {
        "mutants": len(outcomes),
        "noticed": sum(outcome.test is not None for outcome in outcomes),
        "worlds": f"{searched.worlds:,}",
        "steps": f"{searched.steps:,}",
    }
    return _HEAD.format(**counts) + "\n".join(rows) + "\n"


def _test(outcome: Outcome) -> str:
    if outcome.test is None:
        return "**nothing**"
    file, _, name = outcome.test.partition("::")
    return f"`{name.partition('[')[0] or file}`"


def _model(guard: Guard | str) -> str:
    return in_words(guard) if isinstance(guard, Guard) else ""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
