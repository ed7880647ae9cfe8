"""The list of mutants keeps up with the code; whether the tests notice them is what `make mutate` tries."""

import re
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, ROOT, TESTS, Mutant
from tests.protocol.guards import in_words
from tests.protocol.model import Guard

_ACTS = re.compile(r"\bif\b|\bredis\.call\(|\band\b|\bor\b")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.guard))
def test_every_mutant_can_be_made(mutant: Mutant) -> None:
    """What it replaces is in the code once, and something else afterwards."""
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied(text) != text


@pytest.mark.parametrize("script", sorted((ROOT / "shared" / "lua").glob("*.lua")), ids=lambda path: path.stem)
def test_every_condition_and_effect_of_a_script_is_in_a_mutant(script: Path) -> None:
    """A line that decides or changes something, and that no mutant touches, would be one that no test needs."""
    text = script.read_text(encoding="utf-8")
    name = f"shared/lua/{script.name}"
    changed = [mutant.old for mutant in MUTANTS if mutant.file == name]
    idle = [line for line in text.splitlines() if _ACTS.search(line.partition("--")[0]) and not _touched(line, changed)]
    assert not idle
    assert all((ROOT / test).exists() for test in TESTS[name])


def test_every_guard_of_the_model_is_broken_in_the_code_too() -> None:
    """The model has no guard that the code has not, and each is explained."""
    assert {mutant.guard for mutant in MUTANTS if isinstance(mutant.guard, Guard)} == set(Guard)
    assert all(in_words(guard) for guard in Guard)


def _touched(line: str, changed: list[str]) -> bool:
    """Whether a mutant changes some of this line. What is only read is changed by what is done with it."""
    is_read = re.match(r"local \w+ = (tonumber\()?redis\.call\('(GET|HGET|HGETALL|TIME)'", line)
    return bool(is_read) or any(part in line for old in changed for part in old.splitlines() if part != "end")
