"""Helpers for messages that operators read."""


def pluralize(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun, like `1 chunk` or `1,200 chunks`; `many` is an irregular plural."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
