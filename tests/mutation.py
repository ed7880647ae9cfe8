"""Mutation testing of the protocol: remove its guards, one at a time, and check that a test fails (`make mutate`).

The project itself is never touched: each worker breaks, tests and restores a copy of its own. Writes docs/mutation.md,
and fails where a mutant survives.
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
"""The limit for the tests of one mutant; a mutant that hangs them counts as killed."""

_COPIED = ("producer", "ack_collector", "stan_bridge", "shared", "admin", "demo", "deploy", "tests", "pyproject.toml")
_NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "acceptance", "faults")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?: - .*)?$", re.MULTILINE)
_HEAD = """\
# Mutation testing: why each guard exists

`make mutate` removes the conditions and effects of the protocol, one at a time, in a copy of the project, and runs the
quick tests on the result. It fails where they pass, since then that line could be lost without a failing test. It
generated this page: {mutants} mutants, {killed} killed.

*Killed by* names the first test that fails. The last column is about the model of the protocol
([`tests/protocol`](../tests/protocol)). With all guards, {states} states that {steps} steps lead to, with up to two
faults on the way, keep I1 to I6, and from each of them the import can still be completed (I7; the invariants are in
[reliability.md](reliability.md)). Without this guard there is a state that does not: the column names the invariant and
the faults that lead there ([`state.py`](../tests/protocol/state.py) describes them). A broken I1 is lost data.

| file | without this | killed by | breaks in the model |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Outcome:
    """A mutant, and the test that killed it; None where it survived."""

    mutant: Mutant
    test: str | None


def main() -> int:
    """Test all mutants, or those whose guard contains one of the arguments; then no page is written."""
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
            shutil.copytree(source, target / name, ignore=_NOT_COPIED)
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
    """Return the first test that fails in this copy, or None."""
    # No byte code: Python would mistake two versions of the same size, written within a second, for the same file.
    environment = {**os.environ, "IMPORTER_TEST_SERVERS": "local", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no"]
    command += ["--hypothesis-profile=unshrunk", *tests]
    try:
        run = subprocess.run(  # noqa: PLW1510 - the exit code is the result
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{tests[0]} (hangs)"
    if run.returncode == 0:
        return None
    found = _FAILED.search(run.stdout)
    if run.returncode != 1 or found is None:
        raise RuntimeError(f"pytest failed:\n{run.stdout}\n{run.stderr}")
    return found[1]


def _search() -> Explored:
    explored = [explore(scenario) for _, scenario in scenarios()]
    return Explored(sum(each.states for each in explored), sum(each.steps for each in explored))


def _page(outcomes: Sequence[Outcome], explored: Explored) -> str:
    rows = []
    for outcome in outcomes:
        _, _, removed = str(outcome.mutant.guard).partition(": ")
        file = Path(outcome.mutant.file).name
        rows.append(
            f"| `{file}` | {removed or outcome.mutant.guard} | {_test(outcome)} | {_model(outcome.mutant.guard)} |"
        )
    counts = {
        "mutants": len(outcomes),
        "killed": sum(outcome.test is not None for outcome in outcomes),
        "states": f"{explored.states:,}",
        "steps": f"{explored.steps:,}",
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
