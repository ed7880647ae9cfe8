"""The list of mutants matches the code; `make mutate` checks whether the tests kill them."""

import re
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, ROOT, TESTS, Mutant
from tests.protocol.guards import in_words
from tests.protocol.model import Guard

_LUA = ROOT / "shared" / "store" / "lua"
SCRIPTS = sorted(_LUA.glob("*.lua"))
_CONDITION_OR_EFFECT = re.compile(r"\bif\b|\bredis\.call\(|\band\b|\bor\b")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.guard))
def test_every_mutant_applies_once(mutant: Mutant) -> None:
    """The replaced text occurs once in the code, and the replacement differs from it."""
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied(text) != text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_condition_and_effect_of_a_script_has_a_mutant(script: Path) -> None:
    """A mutant changes every line that has a condition or an effect, so that a test must need the line."""
    text = script.read_text(encoding="utf-8")
    name = str(script.relative_to(ROOT))
    changed = [mutant.old for mutant in MUTANTS if mutant.file == name]
    without_mutant = [
        line
        for line in text.splitlines()
        if _CONDITION_OR_EFFECT.search(line.partition("--")[0]) and not _touched(line, changed)
    ]
    assert not without_mutant
    assert all((ROOT / test).exists() for test in TESTS[name])


def test_every_guard_of_the_model_has_a_mutant() -> None:
    """The model has no guard that the code lacks, and each guard is explained."""
    assert {mutant.guard for mutant in MUTANTS if isinstance(mutant.guard, Guard)} == set(Guard)
    assert all(in_words(guard) for guard in Guard)


def _touched(line: str, changed: list[str]) -> bool:
    """Return whether a mutant changes this line. Reading lines need none: mutants change the use of the value."""
    is_read = re.match(r"local \w+ = (tonumber\()?redis\.call\('(GET|HGET|HGETALL|TIME)'", line)
    return bool(is_read) or any(part in line for old in changed for part in old.splitlines() if part != "end")
