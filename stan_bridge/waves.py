"""Which piece a report of a worker on STAN is about, although it names none. Pure: no network, no clock.

A report of success names the value of CURRENT_EXECUTION_HASH, the channel and the number of entities, nothing else. So
the bridge makes that value: a **wave** is ``<executionHash>:<nonce>``, and within a wave no two **pieces** of a channel
have the same size. Then (wave, channel, size) names one piece for good, and late or repeated reports are harmless.

A chunk travels as one piece if its size is unused in the wave, else as two of uneven unused sizes. One that finds no
sizes waits for the next wave. A worker drops what belongs to another wave than the newest one, without a report, so a
new wave takes along every chunk that is not settled: it is started when the pieces of the current one are all settled,
or when there is reason to believe that some of them are lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from stan_bridge.sizes import Sizes, can_fit, choose_sizes

Effect = Literal["stored", "failed", "partial", "late", "unknown"]
"""What a report leads to: its chunk is stored or has failed; one of two pieces is stored; the chunk was settled
before; or it names no piece."""


def wave_hash(execution: str, nonce: str) -> str:
    """Return the value of CURRENT_EXECUTION_HASH for a wave."""
    return f"{execution}:{nonce}"


def execution_of(current: str) -> str:
    """Return the execution that a value of CURRENT_EXECUTION_HASH belongs to."""
    return current.partition(":")[0]


@dataclass(frozen=True)
class Chunk:
    """A chunk: where it goes, and how large its entities are."""

    channel: str
    chunk_id: str
    entity_bytes: Sequence[int]

    @property
    def size(self) -> int:
        """The number of entities."""
        return len(self.entity_bytes)


@dataclass(frozen=True)
class Piece:
    """The entities of a chunk from `start` up to, but excluding, `stop`, in one wave."""

    wave: str
    channel: str
    chunk_id: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """The number of entities, which no other piece of the wave and channel has."""
        return self.stop - self.start

    @property
    def name(self) -> str:
        """What the message calls it, and a report of a failure repeats."""
        return f"{self.chunk_id}/{self.start}+{self.size}"


@dataclass
class _Wave:
    hash: str
    attempt: int
    used: dict[str, set[int]] = field(default_factory=dict)
    """Channel → sizes; none is ever used again."""
    pieces: dict[tuple[str, int], Piece] = field(default_factory=dict)
    """(channel, size) → the piece."""
    placed: set[str] = field(default_factory=set)
    """The ids of the chunks whose pieces it has."""


class Waves:
    """The waves of one execution. `max_piece_bytes` limits the entities of a piece, with a comma after each."""

    def __init__(self, execution: str, max_piece_bytes: int) -> None:
        self.execution = execution
        self._max_piece_bytes = max_piece_bytes
        self._waves: dict[str, _Wave] = {}
        self._current: _Wave | None = None
        self._waiting: dict[str, Chunk] = {}
        """Not in the current wave; in the order of arrival."""
        self._unsettled: dict[str, Chunk] = {}
        self._remaining: dict[tuple[str, str], set[Piece]] = {}
        """(wave, chunkId) → its pieces that are not stored."""
        self._is_broken = False

    @property
    def attempt(self) -> int:
        """The newest attempt of the core that the current wave belongs to; 0 without a wave."""
        return self._current.attempt if self._current else 0

    @property
    def unsettled(self) -> int:
        """How many chunks are not settled."""
        return len(self._unsettled)

    @property
    def pieces_out(self) -> int:
        """How many pieces of the current wave have not been reported."""
        if not self._current:
            return 0
        return sum(len(self._remaining[self._current.hash, chunk]) for chunk in self._current.placed)

    def has(self, chunk_id: str) -> bool:
        """Return whether this chunk is here and not settled."""
        return chunk_id in self._unsettled

    def can_fit(self, chunk: Chunk) -> bool:
        """Return whether a chunk fits into one or two messages."""
        return can_fit(chunk.size, self._fits(chunk))

    def add(self, chunk: Chunk) -> None:
        """Take a chunk, which is neither here nor too large; it waits for `place`."""
        self._unsettled[chunk.chunk_id] = self._waiting[chunk.chunk_id] = chunk

    def mark_broken(self) -> None:
        """Note that pieces of the current wave may be lost: the next wave is due at once."""
        self._is_broken = self._current is not None

    @property
    def needs_wave(self) -> bool:
        """Whether a new wave is due: the current one may have lost pieces, or has no more to wait for and no room."""
        if self._is_broken or not self._current:
            return bool(self._unsettled)
        has_room = any(self._sizes(self._current, chunk) for chunk in self._waiting.values())
        return bool(self._waiting) and not has_room and not self._current.placed

    def start_wave(self, nonce: str, attempt: int) -> str:
        """Start a new wave, which takes along all that is not settled; return its hash."""
        wave = _Wave(wave_hash(self.execution, nonce), attempt)
        self._waves[wave.hash] = self._current = wave
        self._waiting = dict(self._unsettled)
        self._is_broken = False
        return wave.hash

    def place(self) -> list[Piece]:
        """Return the pieces of the waiting chunks that find sizes in the current wave; they are to be sent."""
        if not self._current or self._is_broken:
            return []
        placed: list[Piece] = []
        for chunk in list(self._waiting.values()):
            if sizes := self._sizes(self._current, chunk):
                placed += self._place(self._current, chunk, sizes)
        return placed

    def _place(self, wave: _Wave, chunk: Chunk, sizes: Sizes) -> Iterator[Piece]:
        del self._waiting[chunk.chunk_id]
        wave.placed.add(chunk.chunk_id)
        stops = list(accumulate(sizes))
        pieces = {
            Piece(wave.hash, chunk.channel, chunk.chunk_id, stop - size, stop)
            for size, stop in zip(sizes, stops, strict=True)
        }
        wave.used.setdefault(chunk.channel, set()).update(sizes)
        wave.pieces |= {(piece.channel, piece.size): piece for piece in pieces}
        self._remaining[wave.hash, chunk.chunk_id] = pieces
        return iter(sorted(pieces, key=lambda piece: piece.start))

    def _sizes(self, wave: _Wave, chunk: Chunk) -> Sizes | None:
        return choose_sizes(chunk.size, wave.used.get(chunk.channel, ()), self._fits(chunk))

    def _fits(self, chunk: Chunk) -> "_Fits":
        return _Fits(chunk.entity_bytes, self._max_piece_bytes)

    # --- reports -----------------------------------------------------------------------------------------------------

    def find(self, wave: str, channel: str, size: int) -> Piece | None:
        """Return the piece that a report of success names."""
        known = self._waves.get(wave)
        return known.pieces.get((channel, size)) if known else None

    def find_failed(self, wave: str, channel: str, name: str) -> Piece | None:
        """Return the piece that a report of a failure names, by wave, channel and the name that the message had."""
        known = self._waves.get(wave)
        pieces = known.pieces.values() if known else ()
        return next((piece for piece in pieces if piece.channel == channel and piece.name == name), None)

    def store(self, piece: Piece) -> Effect:
        """Note that a worker stored a piece."""
        remaining = self._remaining[piece.wave, piece.chunk_id]
        if piece not in remaining or piece.chunk_id not in self._unsettled:
            remaining.discard(piece)
            return "late"
        remaining.discard(piece)
        if remaining:
            return "partial"
        self._settle(piece.chunk_id)
        return "stored"

    def fail(self, piece: Piece) -> Effect:
        """Note that a worker failed on a piece: its whole chunk has failed, and the core splits it."""
        if piece.chunk_id not in self._unsettled:
            return "late"
        self._settle(piece.chunk_id)
        return "failed"

    def forget(self, chunk_id: str) -> None:
        """Drop a chunk that will not be reported by this process."""
        if chunk_id in self._unsettled:
            self._settle(chunk_id)

    def _settle(self, chunk_id: str) -> None:
        del self._unsettled[chunk_id]
        self._waiting.pop(chunk_id, None)
        if self._current:
            self._current.placed.discard(chunk_id)


class _Fits:
    """Whether the pieces of a division fit, from the sizes of the entities in bytes."""

    def __init__(self, entity_bytes: Sequence[int], max_bytes: int) -> None:
        self._offsets = [0, *accumulate(size + 1 for size in entity_bytes)]
        self._max_bytes = max_bytes

    def __call__(self, sizes: Sizes) -> bool:
        stops = list(accumulate(sizes))
        return all(
            self._offsets[stop] - self._offsets[stop - size] <= self._max_bytes
            for size, stop in zip(sizes, stops, strict=True)
        )
