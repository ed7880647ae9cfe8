"""A finding of `importer check`, as data."""

from typing import Literal

from shared.model.records import Record


class Finding(Record, kw_only=True):
    """The result of one check."""

    subject: str
    result: Literal["ok", "warning", "error"]
    text: str
