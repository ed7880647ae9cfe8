"""The messages that the producer sends, as pure functions from values to bytes.

Entities travel byte for byte as SISU wrote them, so a chunk is put together from slices of SISU's own answer and
never from parsed objects. What mankelis send is read in `ack_collector/feedback.py`.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
import orjson

ENVELOPE_MAX_BYTES = 192
"""More than a chunk has around its entities: the hash, the longest possible chunkId, names and brackets."""

