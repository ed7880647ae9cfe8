"""Text that is safe to print: what a terminal would obey is escaped."""

import json
import unicodedata

_HARMLESS = frozenset("\n\t")


def escape_unprintable(text: str) -> str:
    r"""Write control characters, and those that reverse the direction of text, as in JSON: `\u202e`.

    Line breaks and tabs stay. In a JSON document the result is equivalent.
    """
    if text.isprintable():
        return text
    return "".join(character if _is_harmless(character) else json.dumps(character)[1:-1] for character in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character in _HARMLESS or unicodedata.category(character) == "Zs"
