"""Sizes and waves: a report that names no chunk identifies one piece, whatever happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stan_bridge.sizes import can_fit, choose_sizes, divisions
from stan_bridge.waves import Chunk, Piece, Waves, execution_of, wave_hash

EXECUTION = "9f" * 12
CHANNEL = "ORI_PERSON_CHANNEL"
LARGE = 10_000_000


def anything(_: object) -> bool:
    """Let every division fit."""
    return True


def chunk(chunk_id: str, size: int = 100, entity_bytes: int = 10) -> Chunk:
    """Return a chunk of this many entities."""
    return Chunk(CHANNEL, chunk_id, [entity_bytes] * size)


def started(*chunks: Chunk, max_piece_bytes: int = LARGE) -> Waves:
    """Return waves that have these chunks, and a first wave."""
    waves = Waves(EXECUTION, max_piece_bytes)
    for each in chunks:
        waves.add(each)
    waves.start_wave("1", 1)
    return waves


@given(st.integers(1, 400))
def test_a_division_keeps_all_entities_in_distinct_sizes(count: int) -> None:
    """Every division adds up to the chunk, and its pieces are not empty and differ in size."""
    for sizes in divisions(count):
        assert sum(sizes) == count
        assert min(sizes) > 0
        assert len(set(sizes)) == len(sizes)


@given(st.integers(1, 200), st.sets(st.integers(1, 200)))
def test_chosen_sizes_are_unused_and_found_where_there_are_any(count: int, used: set[int]) -> None:
    """Sizes are never used twice; where none are chosen, none are possible."""
    sizes = choose_sizes(count, used, anything)
    possible = [each for each in divisions(count) if not set(each) & used]
    assert (sizes in possible) if possible else sizes is None


def test_the_first_pieces_of_a_wave() -> None:
    """The first chunk goes whole, the others in two pieces, the most even first."""
    pieces = started(*(chunk(str(number)) for number in range(4))).place()
    assert [piece.size for piece in pieces] == [100, 51, 49, 52, 48, 53, 47]


def test_some_fifty_chunks_fit_into_a_wave() -> None:
    """Fifty chunks of a hundred fit; the rest waits for the next wave."""
    waves = started(*(chunk(str(number)) for number in range(60)))
    pieces = waves.place()
    assert len({piece.chunk_id for piece in pieces}) == 50
    assert not waves.needs_wave
    for piece in pieces:
        waves.store(piece)
    assert waves.needs_wave
    waves.start_wave("2", 1)
    assert len({piece.chunk_id for piece in waves.place()}) == 10


def test_single_entities_go_one_per_wave() -> None:
    """There is one piece of size 1 in a wave."""
    waves = started(chunk("0", 1), chunk("1", 1))
    [first] = waves.place()
    assert waves.store(first) == "stored"
    waves.start_wave("2", 1)
    [second] = waves.place()
    assert {first.chunk_id, second.chunk_id} == {"0", "1"}


def test_a_chunk_is_stored_with_its_last_piece() -> None:
    """One of two pieces settles nothing; the other one settles the chunk, and what comes later is late."""
    waves = started(chunk("0"), chunk("1"))
    whole, first, second = waves.place()
    assert waves.store(first) == "partial"
    assert waves.has("1")
    assert waves.store(first) == "late"
    assert waves.store(second) == "stored"
    assert not waves.has("1")
    assert [waves.store(second), waves.fail(first)] == ["late", "late"]
    assert waves.store(whole) == "stored"
    assert waves.unsettled == 0


def test_pieces_of_two_waves_do_not_add_up() -> None:
    """A chunk is stored only where all pieces of one wave are."""
    waves = started(chunk("0"), chunk("1"))
    _, first, second = waves.place()
    waves.store(first)
    waves.mark_broken()
    waves.start_wave("2", 2)
    again = [piece for piece in waves.place() if piece.chunk_id == "1"]
    assert len(again) == 2
    assert waves.store(again[1]) == "partial"
    assert waves.store(second) == "stored", "the first wave's pieces are complete now"


def test_a_broken_wave_is_followed_by_one_with_everything_unsettled() -> None:
    """Workers drop the pieces of an old wave, so a new one has all chunks that are not settled."""
    waves = started(chunk("0"), chunk("1"), chunk("2"))
    pieces = waves.place()
    waves.store(pieces[0])
    assert not waves.needs_wave
    waves.mark_broken()
    waves.add(chunk("3", 7))
    assert waves.needs_wave
    assert waves.place() == []
    waves.start_wave("2", 2)
    assert {piece.chunk_id for piece in waves.place()} == {"1", "2", "3"}
    assert waves.attempt == 2


def test_a_report_names_a_piece_exactly() -> None:
    """Another wave, channel or size names no piece; neither does a failure with another piece's name."""
    waves = started(chunk("0"))
    [piece] = waves.place()
    wave = wave_hash(EXECUTION, "1")
    assert waves.find(wave, CHANNEL, 100) == piece
    assert waves.find(wave, CHANNEL, 99) is None
    assert waves.find(wave, "OTHER", 100) is None
    assert waves.find(EXECUTION, CHANNEL, 100) is None
    assert waves.find_failed(wave, CHANNEL, "0/0+100") == piece
    assert waves.find_failed(wave, CHANNEL, "1/0+100") is None
    assert waves.find_failed(wave, "OTHER", "0/0+100") is None
    assert waves.find_failed(wave_hash(EXECUTION, "2"), CHANNEL, "0/0+100") is None


def test_a_large_chunk_goes_in_two_pieces() -> None:
    """A chunk that exceeds a message is divided; one whose single entity does cannot go at all."""
    large = chunk("0", 10, 100)
    waves = Waves(EXECUTION, 700)
    assert waves.can_fit(large)
    waves.add(large)
    waves.start_wave("1", 1)
    assert [piece.size for piece in waves.place()] == [6, 4]
    assert not waves.can_fit(chunk("1", 1, 800))
    assert not waves.can_fit(Chunk(CHANNEL, "2", [10, 800, 10]))
    assert not can_fit(2, lambda sizes: sizes != (2,))


def test_the_execution_of_a_wave() -> None:
    """A wave belongs to the execution in front of its colon."""
    assert execution_of(wave_hash(EXECUTION, "a1")) == execution_of(EXECUTION) == EXECUTION
    assert execution_of("") == ""


class Journey(RuleBasedStateMachine):
    """Chunks, waves, losses and reports in any order, beside what really happened to each piece."""

    def __init__(self) -> None:
        super().__init__()
        self.waves = Waves(EXECUTION, 2_000)
        self.sizes: dict[str, int] = {}
        self.sent: dict[tuple[str, str, int], Piece] = {}
        self.order: list[tuple[str, str, int]] = []
        self.stored: set[Piece] = set()
        self.settled: set[str] = set()
        self.nonces = 0

    @rule(size=st.integers(1, 30), entity_bytes=st.integers(1, 90))
    def add(self, size: int, entity_bytes: int) -> None:
        """Add a chunk."""
        new = chunk(str(len(self.sizes)), size, entity_bytes)
        if self.waves.can_fit(new):
            self.sizes[new.chunk_id] = size
            self.waves.add(new)

    @rule()
    def broken(self) -> None:
        """Lose what is out."""
        self.waves.mark_broken()

    @precondition(lambda self: self.waves.needs_wave)
    @rule()
    def wave(self) -> None:
        """Start the wave that is due."""
        self.nonces += 1
        self.waves.start_wave(str(self.nonces), self.nonces)

    @rule()
    def place(self) -> None:
        """Send what finds a place: no two pieces may look alike to a report of success."""
        for piece in self.waves.place():
            named = (piece.wave, piece.channel, piece.size)
            assert named not in self.sent, "a size was used twice in a wave"
            assert piece.chunk_id not in self.settled
            self.sent[named] = piece
            self.order.append(named)

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def stored_report(self, data: st.DataObject) -> None:
        """Report success on any piece ever sent, also late and again: its chunk is stored only if all of it is."""
        wave, channel, size = data.draw(st.sampled_from(self.order))
        piece = self.waves.find(wave, channel, size)
        assert piece == self.sent[wave, channel, size]
        self.stored.add(piece)
        effect = self.waves.store(piece)
        if effect == "stored":
            of_wave = [each for each in self.stored if (each.wave, each.chunk_id) == (wave, piece.chunk_id)]
            assert sum(each.size for each in of_wave) == self.sizes[piece.chunk_id]
            assert piece.chunk_id not in self.settled, "a chunk is settled once"
            self.settled.add(piece.chunk_id)

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def failed_report(self, data: st.DataObject) -> None:
        """Report a failure on any piece ever sent: only its own chunk fails."""
        wave, channel, size = data.draw(st.sampled_from(self.order))
        sent = self.sent[wave, channel, size]
        piece = self.waves.find_failed(wave, channel, sent.name)
        assert piece == sent
        if self.waves.fail(piece) == "failed":
            assert piece.chunk_id not in self.settled
            self.settled.add(piece.chunk_id)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every chunk that is not settled is still here, and can go on."""
        unsettled = self.sizes.keys() - self.settled
        assert self.waves.unsettled == len(unsettled)
        assert all(self.waves.has(each) for each in unsettled)

    def teardown(self) -> None:
        """When all workers report, everything is settled after finitely many waves."""
        for _ in range(2 * len(self.sizes) + 2):
            if not self.waves.unsettled:
                return
            if self.waves.needs_wave:
                self.wave()
            self.place()
            for named in list(self.order):
                piece = self.sent[named]
                if self.waves.store(piece) == "stored":
                    self.settled.add(piece.chunk_id)
        assert not self.waves.unsettled


TestJourney = Journey.TestCase


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_pieces_of_a_chunk_are_contiguous(size: int) -> None:
    """The pieces of a chunk cover it, in order."""
    waves = started(chunk("a", size), chunk("b", size))
    for chunk_id in ("a", "b"):
        pieces = [piece for piece in waves.place() if piece.chunk_id == chunk_id]
        ends = [0, *(piece.stop for piece in pieces)]
        assert [piece.start for piece in pieces] == ends[:-1]
