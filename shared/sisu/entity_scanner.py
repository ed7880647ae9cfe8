"""Find where entities begin and end in bytes that no JSON parser accepts, and which of them are unreadable. Pure.

Only a page that the strict parser rejected is scanned, so this may be slow: a few megabytes a second. It tracks
strings, escapes and brackets at byte level, and nothing else: in UTF-8, valid or not, the bytes of quotation marks,
backslashes and brackets are never part of another character.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

MAX_DEPTH = 500
"""Entities that are nested deeper are unreadable: parsers give up at about a thousand levels, or crash."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},:]', re.DOTALL)
"""A whole string, or one byte of structure. A quotation mark alone begins a string that does not end."""
_SPACE = b" \t\r\n"
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class ScanError(Exception):
    """The text has no such list, or ends before it does."""


@dataclass(frozen=True)
class ScannedList:
    """A list in a JSON text, cut into its elements."""

    elements: Sequence[bytes]
    envelope: bytes
    """The text with an empty list in its place."""


def scan_list(text: bytes, name: str) -> ScannedList:
    """Cut the list that is the member `name` of the object `text` into its elements. Raises ScanError."""
    tokens = _TOKEN.finditer(text)
    begin = start = _find_list(text, tokens, name)
    elements: list[bytes] = []
    for stop, is_last in _element_ends(tokens):
        elements.append(text[start:stop].strip(_SPACE))
        start = stop + 1
        if is_last:
            break
    else:
        raise ScanError
    if elements == [b""]:
        elements = []
    if not all(elements):
        raise ScanError  # a comma too many
    return ScannedList(elements, text[:begin] + text[start - 1 :])


def _find_list(text: bytes, tokens: Iterator[re.Match[bytes]], name: str) -> int:
    """Return where the list's content begins; the next token is the first after its bracket."""
    key, depth, before = b'"%s"' % name.encode(), 0, (b"", b"")
    for token in tokens:
        word = token.group()
        if word == b"[" and depth == 1 and before == (key, b":"):
            return token.end()
        if word in (b"[", b"{"):
            if depth == 0 and (word == b"[" or text[: token.start()].strip(_SPACE)):
                raise ScanError
            depth += 1
        elif word in (b"]", b"}"):
            depth -= 1
        before = (before[1], word)
    raise ScanError


def _element_ends(tokens: Iterator[re.Match[bytes]]) -> Iterator[tuple[int, bool]]:
    """Yield where each element of a list ends, and whether it is the last one. Raises ScanError."""
    depth = 0
    for token in tokens:
        match token.group():
            case b"[" | b"{":
                depth += 1
            case b"]" if depth == 0:
                yield token.start(), True
                return
            case b"]" | b"}":
                depth -= 1
                if depth < 0:
                    raise ScanError
            case b"," if depth == 0:
                yield token.start(), False
            case b'"':
                raise ScanError


def is_readable(element: bytes) -> bool:
    """Return whether a strict parser accepts an entity: JSON in UTF-8, and not nested too deeply."""
    try:
        msgspec.json.decode(element, type=msgspec.Raw)
        element.decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return not is_too_deep(element)


def is_too_deep(element: bytes) -> bool:
    """Return whether valid JSON is nested deeper than MAX_DEPTH. Takes microseconds for what is not."""
    if element.count(b"[") + element.count(b"{") <= MAX_DEPTH:
        return False
    brackets, levels = element.translate(None, _NOT_BRACKETS), 0
    # Removing the innermost pairs lowers the depth by two levels at most, and n pairs are n levels at most.
    while len(brackets) // 2 + levels > MAX_DEPTH:
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if fewer == brackets or levels > MAX_DEPTH:
            return _depth(element) > MAX_DEPTH
        brackets, levels = fewer, levels + 2
    return False


def _depth(element: bytes) -> int:
    depth = deepest = 0
    for token in _TOKEN.finditer(element):
        if token.group() in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token.group() in (b"]", b"}"):
            depth -= 1
    return deepest
