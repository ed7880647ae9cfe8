"""What each guard is for: the invariant that breaks without it, and the faults that this takes.

test_search.py proves these tables; docs/mutation.md is generated from them.
"""

from tests.protocol.invariants import check_i1, check_i2, check_i3, check_i4, check_i6
from tests.protocol.model import Guard
from tests.protocol.search import Check
from tests.protocol.state import Fault

ENDS = "I7"
"""Not an invariant of a step: the search itself checks it."""

BREAKS: dict[Guard, tuple[Check | str, set[Fault]]] = {
    # Without one of these, data is lost.
    Guard.BEGIN_CHUNKS_REPLACED: (check_i1, {Fault.CRASH, Fault.LEDGER}),
    Guard.BEGIN_UPDATED: (check_i1, {Fault.LEDGER}),
    Guard.SETTLE_EXECUTION: (check_i1, {Fault.CRASH}),
    Guard.SETTLE_KNOWN: (check_i1, {Fault.LEDGER}),
    Guard.SETTLE_SIZE: (check_i1, {Fault.PARTIAL}),
    Guard.SETTLE_REMOVES: (check_i1, {Fault.LEDGER}),
    Guard.SPLIT_KNOWN: (check_i1, {Fault.LEDGER}),
    Guard.SPLIT_REMOVES: (check_i1, {Fault.LEDGER}),
    Guard.SPLIT_ADDS: (check_i1, {Fault.COUNTER}),
    Guard.ADVANCE_ORDINAL: (check_i1, {Fault.REWIND}),
    Guard.POLL_COUNTERS: (check_i1, {Fault.LEDGER, Fault.ROLLBACK}),
    # Without one of these, the values in Redis are wrong, or the wrong process changes them.
    Guard.BEGIN_ORDINAL: (check_i6, {Fault.PAUSE}),
    Guard.BEGIN_EXECUTION: (check_i6, set()),
    Guard.BEGIN_ERRORS_REPLACED: (check_i2, {Fault.CRASH}),
    Guard.BEGIN_SCHEDULED: (check_i2, set()),
    Guard.BEGIN_FAILED: (check_i2, set()),
    Guard.SETTLE_COUNTS: (check_i4, set()),
    Guard.SPLIT_EXECUTION: (check_i3, set()),
    Guard.SPLIT_SEVERAL: (check_i4, set()),
    Guard.FAIL_EXECUTION: (check_i3, {Fault.CRASH}),
    Guard.FAIL_KNOWN: (check_i3, set()),
    Guard.FAIL_REMOVES: (check_i4, set()),
    Guard.FAIL_COUNTS_UPDATED: (check_i4, set()),
    Guard.FAIL_COUNTS_FAILED: (check_i2, set()),
    Guard.ADVANCE_EXECUTION: (check_i6, {Fault.PAUSE}),
    # Without one of these, the import never completes.
    Guard.BEGIN_CURRENT: (ENDS, set()),
    Guard.FAIL_KEEPS_ERROR: (ENDS, set()),
    Guard.ADVANCE_MOVES: (ENDS, set()),
    Guard.POLL_EXECUTION: (ENDS, {Fault.CRASH, Fault.ROLLBACK}),
    Guard.POLL_LEDGER: (ENDS, set()),
    Guard.POLL_HALVES: (ENDS, set()),
}

REDUNDANT_PAIRS: dict[frozenset[Guard], set[Fault]] = {
    # The producer checks it before it advances, and advance_ordinal checks it again: data is lost only without both.
    frozenset({Guard.POLL_EXECUTION, Guard.ADVANCE_EXECUTION}): {Fault.PAUSE},
    frozenset({Guard.POLL_COUNTERS, Guard.ADVANCE_COUNTERS}): {Fault.LEDGER},
    frozenset({Guard.POLL_LEDGER, Guard.ADVANCE_LEDGER}): {Fault.COUNTER},
}

COVERED_BY_TESTS = {
    # No order of events makes a difference; tests/integration/store/test_ledger*.py fail without it (`make mutate`).
    Guard.FAIL_SINGLE: "the collector calls it only where split_chunk has returned SINGLE",
    Guard.ADVANCE_ERRORS: "it protects the people whose data error texts may quote",
}


def in_words(guard: Guard) -> str:
    """Describe what the search finds without this guard."""
    if guard in BREAKS:
        check, faults = BREAKS[guard]
        return _breaks(check, faults)
    for guards, faults in REDUNDANT_PAIRS.items():
        if guard in guards:
            [other] = guards - {guard}
            return f"{_breaks(check_i1, faults)}, if this is missing as well: {other}"
    return f"nothing: {COVERED_BY_TESTS[guard]}"


def _breaks(check: Check | str, faults: set[Fault]) -> str:
    invariant = check if isinstance(check, str) else check.__name__.removeprefix("check_").upper()
    return f"{invariant}: {' and '.join(sorted(fault.name for fault in faults))}" if faults else invariant
