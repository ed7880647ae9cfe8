"""Which rights the user of a command has, and which of those lack that `importer` or the producer needs.

Whether this user is the producer's or an operator's nobody says, so it is judged by what it may: one who may do some of
what only the producer does is taken for the producer, and whatever that one lacks is an error. Of one who may do none
of it, an operator, the same is a warning. `redis_rights` and `nats_rights` look, and change nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from operating.findings import Finding

_SHOWN = 6


class Need(Enum):
    """Who needs a right."""

    IMPORTER = auto()
    """The command line, and the producer with its page."""
    PRODUCER = auto()
    PRODUCER_ALONE = auto()
    """The same, and nobody else has it: it tells the producer's user from an operator's."""


@dataclass(frozen=True)
class Right:
    """A right as one writes it into the server's list of users."""

    need: Need
    rule: str


@dataclass(frozen=True)
class Lack:
    """What a user may not."""

    rights: Sequence[Right]
    is_producer: bool
    """Whether it may do some of what only the producer does."""

    @property
    def of_importer(self) -> bool:
        """Whether even `importer` needs some of it."""
        return any(right.need is Need.IMPORTER for right in self.rights)


def finding(server: str, lack: Lack, file: str) -> Finding:
    """What to say of it. `file` has the rights that are needed."""
    subject = f"rights in {server}"
    if not lack.rights:
        return Finding(subject=subject, result="ok", text="this user may do all that the producer does")
    where = f"see Rights in README.md, and {file}"
    lacking = _shown(right.rule for right in lack.rights)
    if lack.of_importer:
        text = f"this user lacks {lacking}; the producer and `importer` need that: {where}"
        return Finding(subject=subject, result="error", text=text)
    if lack.is_producer:
        return Finding(subject=subject, result="error", text=f"the producer's user lacks {lacking}: {where}")
    text = f"enough for an operator; a producer could not work as this user, which lacks {lacking}: {where}"
    return Finding(subject=subject, result="warning", text=text)


def _shown(rules: Iterable[str]) -> str:
    each = list(dict.fromkeys(rules))
    more = f" and {len(each) - _SHOWN} more" if len(each) > _SHOWN else ""
    return ", ".join(each[:_SHOWN]) + more
