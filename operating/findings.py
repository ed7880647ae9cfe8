"""What `importer check` found, as data."""

from typing import Literal

from shared.records import Record


class Finding(Record, kw_only=True):
    """One thing that was looked at."""

    subject: str
    result: Literal["ok", "warning", "error"]
    text: str
