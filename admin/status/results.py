"""How a diagnosis is put into words."""

from datetime import datetime

from admin.status.snapshot import Diagnosis
from admin.text import pluralize

_MINUTE_SECONDS = 60


def healthy(code: str, message: str) -> Diagnosis:
    """Return a diagnosis that needs no action."""
    return Diagnosis(code=code, healthy=True, message=message)


def problem(code: str, message: str, hint: str = "") -> Diagnosis:
    """Return a diagnosis that needs action; the hint says which."""
    return Diagnosis(code=code, healthy=False, message=message, hint=hint)


def with_verb(number: int, noun: str) -> str:
    """Return a count with its verb, like `3 chunks are`."""
    return f"{pluralize(number, noun)} {'is' if number == 1 else 'are'}"


def age(at: datetime, since: datetime) -> str:
    """Return how long ago `since` was, in seconds or minutes."""
    seconds = int((at - since).total_seconds())
    return f"{seconds} s" if seconds < 2 * _MINUTE_SECONDS else f"{seconds // _MINUTE_SECONDS} minutes"
