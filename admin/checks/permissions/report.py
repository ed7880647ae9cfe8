"""Which permissions of a user are missing, and who requires them.

Whether this user is the producer's or an operator's is inferred from what it may do: a user who may do some of what
only the producer does is taken for the producer's, and each missing permission is an error. For a user who may do none
of it, an operator's, the same is a warning.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from admin.checks.finding import Finding
from shared.model.permissions import User

_SHOWN = 6


class RequiredBy(Enum):
    """Who requires a permission."""

    IMPORTER = auto()
    """The command line, and the producer with its dashboard."""
    PRODUCER = auto()
    """The producer alone."""


def required_by(users: frozenset[User]) -> RequiredBy:
    """Return who, of the users that `importer check` runs as, requires what these users may do."""
    return RequiredBy.IMPORTER if User.OPERATOR in users else RequiredBy.PRODUCER


@dataclass(frozen=True)
class Permission:
    """A permission, as it is written into the server's list of users."""

    required_by: RequiredBy
    rule: str


@dataclass(frozen=True)
class MissingPermissions:
    """What a user may not do."""

    permissions: Sequence[Permission]
    is_producer: bool
    """Whether it may do some of what only the producer does."""

    @property
    def affects_importer(self) -> bool:
        """Whether even `importer` requires some of them."""
        return any(permission.required_by is RequiredBy.IMPORTER for permission in self.permissions)


def make_finding(server: str, missing: MissingPermissions, file: str) -> Finding:
    """Report the missing permissions; `file` is the users file that has those which are required."""
    subject = f"permissions in {server}"
    if not missing.permissions:
        return Finding(subject=subject, result="ok", text="this user may do everything that the producer does")
    where = f"see docs/operations/permissions.md, and {file}"
    rules = _shown(permission.rule for permission in missing.permissions)
    if missing.affects_importer:
        text = f"this user lacks {rules}, required by the producer and `importer`: {where}"
        return Finding(subject=subject, result="error", text=text)
    if missing.is_producer:
        return Finding(subject=subject, result="error", text=f"the producer's user lacks {rules}: {where}")
    text = f"enough for an operator; a producer could not work as this user, which lacks {rules}: {where}"
    return Finding(subject=subject, result="warning", text=text)


def _shown(rules: Iterable[str]) -> str:
    each = list(dict.fromkeys(rules))
    more = f" and {len(each) - _SHOWN} more" if len(each) > _SHOWN else ""
    return ", ".join(each[:_SHOWN]) + more
