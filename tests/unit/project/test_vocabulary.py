"""The project speaks standard English: words of its former private language do not return."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from admin.cli.app import app

ROOT = Path(__file__).parents[3]
PRODUCT = ("producer", "ack_collector", "stan_bridge", "admin", "shared", "deploy", "demo", "benchmarks")
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md", "supervisord.conf", "Makefile", ".ci/run")
SUFFIXES = {".py", ".lua", ".js", ".html", ".css", ".md", ".toml", ".yml", ".json", ".mjs"}

STANDARD = {
    r"wish(es|ed|ing)?": "request, operator request",
    r"bur(y|ied|ies|ying)": "publish dead letters, dead-lettered",
    r"(?<!dead )(?<!dead-)(?<!dead_)letters?(?! of the alphabet)": "dead letter, always both words",
    r"answer(s|ed|ing)?": "return, response, reply, exit code",
    r"verdicts?": "reply, diagnosis",
    r"refus(e|es|ed|ing|al|als)": "invalid, rejected, conflict, denied, unauthorized",
    r"signs? of life|fell silent|beats|beaten": "heartbeat, expired",
    r"heard|deaf|hears?": "subscribed, alive, unresponsive",
    r"st(and|ands|ood) still|standing still": "stalled",
    r"(take|takes|taken|took|taking) (it )?back": "purge, undo",
    r"(give|gives|given|gave|giving) (it )?back": "nak, release",
    r"patience": "limits, timeout",
    r"(?<!study )(?<!study-)rights": "permissions",
    r"complaints?": "errors",
    r"look(s|ed|ing)? (at|around)": "poll, read, refresh, probe, check",
    r"fares?|how it goes|what came of": "status, progress, outcome",
    r"mend(s|ed|ing)?": "fix",
    r"anew": "again, from scratch",
    r"for ever": "continuously, without a limit",
    r"nobody|somebody|whoever": "the passive, or a named actor",
    r"(how|so)-manieth|so many": "nth, N",
    r"in earnest": "in production",
    r"in vain": "until the deadline",
    r"journal": "history",
}
"""What was used, as a regular expression over whole words, and what is used instead."""

EXEMPT = {
    "demo/sisu/data": {r"(?<!study )(?<!study-)rights"},
    "demo/mankeli/store.py": {"journal"},
    "demo/mankeli/": {r"answer(s|ed|ing)?"},
}
"""Where a word has its usual meaning: study rights are entities of SISU, SQLite has a journal, and an option of the
demo's mankeli is named `--answer-half`."""


def texts() -> Iterator[Path]:
    """Return the files of the product and the documentation. The changelog lists the old names on purpose."""
    for folder in (*PRODUCT, "docs"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES)
    yield from (ROOT / page for page in PAGES)


def findings(text: str, exempt: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """Return each line with a word that has a standard one, and the standard one."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = re.sub(r"[_/]", " ", line)
        for pattern, standard in STANDARD.items():
            if pattern not in exempt and (match := re.search(rf"\b({pattern})\b", words, re.IGNORECASE)):
                found.append(f"line {number}: {match[0]!r} → {standard}: {line.strip()[:120]}")
    return found


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_uses_the_standard_terms(path: Path) -> None:
    """Code, comments, messages, the dashboard and the documentation use the terms of the glossary."""
    name = str(path.relative_to(ROOT))
    exempt = set().union(*(words for folder, words in EXEMPT.items() if name.startswith(folder)))
    assert findings(path.read_text(encoding="utf-8"), exempt) == []


def help_texts() -> Iterator[tuple[str, ...]]:
    """Return the arguments that print the help of each command."""
    root = get_command(app)
    yield ()
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        yield (name,)
        yield from ((name, inner) for inner in getattr(command, "commands", {}))


@pytest.mark.parametrize("words", help_texts(), ids=" ".join)
def test_the_help_of_a_command_uses_the_standard_terms(words: tuple[str, ...]) -> None:
    """What `importer … --help` prints is standard English, too."""
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert findings(result.output) == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("A wish for a run.", True),
        ("It answers 3.", True),
        ("a letter's subject", True),
        ("the dead letter's subject", False),
        ("DEAD_LETTER.>", False),
        ("dead-letters", False),
        ("the user's rights", True),
        ("a study right", False),
        ("takes effect", False),
    ],
)
def test_the_check_finds_what_it_should(text: str, *, is_found: bool) -> None:
    """The patterns find whole words only, and leave the standard terms alone."""
    assert bool(findings(text)) is is_found
