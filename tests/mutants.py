"""The mutants of `make mutate`: each removes one condition or effect from the scripts or from the producer's rules.

Guards that the model has, too, have its names for them (tests/protocol/model.py).
"""

from dataclasses import dataclass
from pathlib import Path

from tests.protocol.model import Guard

ROOT = Path(__file__).parents[1]

_LEDGER = (
    "tests/integration/store/test_ledger.py",
    "tests/integration/store/test_ledger_ordinal.py",
    "tests/protocol/test_against_redis.py",
)
_RULES = ("tests/unit/producer/test_execution.py", "tests/protocol/test_against_redis.py")
_WAVES = ("tests/unit/stan/test_waves.py",)

TESTS = {
    "shared/store/lua/begin_execution.lua": _LEDGER,
    "shared/store/lua/announce_execution.lua": _LEDGER,
    "shared/store/lua/settle_chunk.lua": _LEDGER,
    "shared/store/lua/split_chunk.lua": _LEDGER,
    "shared/store/lua/fail_entity.lua": _LEDGER,
    "shared/store/lua/advance_ordinal.lua": _LEDGER,
    "shared/store/lua/read_progress.lua": _LEDGER,
    "shared/store/lua/hold_lock.lua": ("tests/integration/producer/test_lock.py",),
    "shared/store/lua/release_lock.lua": ("tests/integration/producer/test_lock.py",),
    "shared/store/lua/start_post_update.lua": ("tests/integration/producer/test_post_update.py",),
    "shared/store/lua/rewind_ordinal.lua": ("tests/integration/store/test_operator_requests.py",),
    "shared/store/lua/record_heartbeat.lua": ("tests/integration/store/test_heartbeat.py",),
    "producer/batch/execution.py": _RULES,
    "shared/store/lua/start_wave.lua": ("tests/integration/store/test_current_execution.py",),
    "stan_bridge/sizes.py": _WAVES,
    "stan_bridge/waves.py": _WAVES,
    "stan_bridge/bridge.py": ("tests/unit/stan/test_bridge.py",),
}
"""The tests that must kill the mutants of a file, the quickest first."""


@dataclass(frozen=True)
class Mutant:
    """A file in which `old`, which occurs once, is replaced by `new`; `guard` names what that removes."""

    file: str
    guard: Guard | str
    old: str
    new: str = ""

    def applied(self, text: str) -> str:
        """Return the file's text with the mutation. Raises ValueError where this list no longer matches the code."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has this {text.count(self.old)} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


def _of(file: str, *mutants: tuple[Guard | str, str] | tuple[Guard | str, str, str]) -> list[Mutant]:
    return [Mutant(file, *mutant) for mutant in mutants]


_FENCED = "  return 'FENCED'\nend\n"
_OURS = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then\n  return 'STALE'\nend\n"
_KNOWN = "if not size then\n  return 'DUPLICATE'\nend\n"
_REMOVED = "redis.call('HDEL', KEYS[2], ARGV[2])\n"

_SECOND = "        if not progress.outstanding:\n            return self._settled(progress)\n"
_FIRST = "        self._check_ownership(progress)\n        self._check_failures(progress)\n" + _SECOND

MUTANTS: list[Mutant] = [
    *_of(
        "shared/store/lua/begin_execution.lua",
        (Guard.BEGIN_ORDINAL, "if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[2] then\n" + _FENCED),
        ("begin_execution: no ordinal is 0", "(redis.call('GET', KEYS[1]) or '0')", "redis.call('GET', KEYS[1])"),
        (Guard.BEGIN_CHUNKS_REPLACED, "'DEL', KEYS[6], KEYS[7]", "'DEL', KEYS[7]"),
        (Guard.BEGIN_ERRORS_REPLACED, "'DEL', KEYS[6], KEYS[7]", "'DEL', KEYS[6]"),
        ("begin_execution: the old ledger and error texts are deleted", "redis.call('DEL', KEYS[6], KEYS[7])\n"),
        (
            "begin_execution: the chunks enter the ledger",
            "  redis.call('HSET', KEYS[6], chunk, string.format('%d', size))\n",
        ),
        (Guard.BEGIN_SCHEDULED, "  scheduled = scheduled + size\n"),
        (Guard.BEGIN_EXECUTION, "redis.call('SET', KEYS[2], ARGV[1])\n"),
        ("begin_execution: SCHEDULED is set", "redis.call('SET', KEYS[3], string.format('%d', scheduled))\n"),
        (Guard.BEGIN_UPDATED, "redis.call('SET', KEYS[4], '0')\n"),
        (Guard.BEGIN_FAILED, "redis.call('SET', KEYS[5], '0')\n"),
        (Guard.BEGIN_CURRENT, "redis.call('SET', KEYS[8], ARGV[1])\n"),
        ("begin_execution: mankelis are notified", "redis.call('PUBLISH', KEYS[8], ARGV[1])\n"),
    ),
    *_of(
        "shared/store/lua/announce_execution.lua",
        ("announce_execution: only of the ledger's own execution", _OURS),
        ("announce_execution: mankelis can read it", "redis.call('SET', KEYS[2], ARGV[1])\n"),
        ("announce_execution: mankelis are notified", "redis.call('PUBLISH', KEYS[2], ARGV[1])\n"),
    ),
    *_of(
        "shared/store/lua/settle_chunk.lua",
        (Guard.SETTLE_EXECUTION, _OURS),
        (Guard.SETTLE_KNOWN, _KNOWN, "size = size or ARGV[3]\n"),
        (Guard.SETTLE_SIZE, "if size ~= ARGV[3] then\n  return 'MISMATCH'\nend\n"),
        (Guard.SETTLE_REMOVES, _REMOVED),
        (Guard.SETTLE_COUNTS, "redis.call('INCRBY', KEYS[3], size)\n"),
        ("settle_chunk: by the chunk's size", "'INCRBY', KEYS[3], size", "'INCRBY', KEYS[3], 1"),
        ("settle_chunk: the producer is notified", "redis.call('PUBLISH', ARGV[4], redis.call('HLEN', KEYS[2]))\n"),
        ("settle_chunk: publishes what is outstanding", "redis.call('HLEN', KEYS[2])", "ARGV[2]"),
    ),
    *_of(
        "shared/store/lua/split_chunk.lua",
        (Guard.SPLIT_EXECUTION, _OURS),
        (Guard.SPLIT_KNOWN, _KNOWN, "size = size or 2\n"),
        (Guard.SPLIT_SEVERAL, "if size == 1 then\n  return 'SINGLE'\nend\n"),
        (Guard.SPLIT_REMOVES, _REMOVED),
        (Guard.SPLIT_ADDS, "redis.call('HSET', KEYS[2], ARGV[3], larger, ARGV[4], size - larger)\n"),
        ("split_chunk: the first half is the larger", "math.ceil(size / 2)", "math.floor(size / 2)"),
        ("split_chunk: no entity is lost", ", size - larger)", ", larger)"),
        ("split_chunk: the producer is notified", "redis.call('PUBLISH', ARGV[5], 'split')\n"),
    ),
    *_of(
        "shared/store/lua/fail_entity.lua",
        (Guard.FAIL_EXECUTION, _OURS),
        (Guard.FAIL_KNOWN, _KNOWN, "size = size or '1'\n"),
        (Guard.FAIL_SINGLE, "if size ~= '1' then\n  return 'MISMATCH'\nend\n"),
        (Guard.FAIL_REMOVES, _REMOVED),
        (Guard.FAIL_KEEPS_ERROR, "redis.call('HSET', KEYS[5], ARGV[2], ARGV[3])\n"),
        (Guard.FAIL_COUNTS_UPDATED, "redis.call('INCRBY', KEYS[3], 1)\n"),
        (Guard.FAIL_COUNTS_FAILED, "redis.call('INCRBY', KEYS[4], 1)\n"),
        ("fail_entity: the producer is notified", "redis.call('PUBLISH', ARGV[4], redis.call('HLEN', KEYS[2]))\n"),
        ("fail_entity: publishes what is outstanding", "redis.call('HLEN', KEYS[2])", "ARGV[2]"),
    ),
    *_of(
        "shared/store/lua/advance_ordinal.lua",
        (Guard.ADVANCE_EXECUTION, "if redis.call('GET', KEYS[2]) ~= ARGV[1] then\n" + _FENCED),
        ("advance_ordinal: no ordinal is 0", "redis.call('GET', KEYS[1]) or '0'", "redis.call('GET', KEYS[1])"),
        (Guard.ADVANCE_ORDINAL, "if stored ~= ARGV[2] then", "if false then"),
        ("advance_ordinal: ordinals are compared as text", "if stored ~= ", "if tonumber(stored) ~= 0 + "),
        ("advance_ordinal: repeated, it says ALREADY", "stored == ARGV[3] and 'ALREADY' or 'FENCED'", "'FENCED'"),
        ("advance_ordinal: elsewhere is not ALREADY", "stored == ARGV[3] and 'ALREADY' or 'FENCED'", "'ALREADY'"),
        (Guard.ADVANCE_COUNTERS, "if not scheduled or redis.call('GET', KEYS[4]) ~= scheduled then\n" + _FENCED),
        ("advance_ordinal: counters that are lost do not agree", "if not scheduled or ", "if "),
        (Guard.ADVANCE_LEDGER, "if redis.call('EXISTS', KEYS[5]) == 1 then\n" + _FENCED),
        (Guard.ADVANCE_MOVES, "redis.call('SET', KEYS[1], ARGV[3])\n"),
        (Guard.ADVANCE_ERRORS, "redis.call('DEL', KEYS[6])\n"),
    ),
    *_of(
        "shared/store/lua/read_progress.lua",
        ("read_progress: no execution is empty", "redis.call('GET', KEYS[1]) or ''", "redis.call('GET', KEYS[1])"),
        ("read_progress: SCHEDULED that is lost is -1", "KEYS[2])) or -1", "KEYS[2])) or 0"),
        ("read_progress: UPDATED that is lost is -1", "KEYS[3])) or -1", "KEYS[3])) or 0"),
        ("read_progress: FAILED that is lost is -1", "KEYS[4])) or -1", "KEYS[4])) or 0"),
        ("read_progress: error texts only at the end", "#chunks == 0 and ", ""),
        ("read_progress: error texts at the end", "#chunks == 0 and redis.call('HGETALL', KEYS[6]) or {}", "{}"),
    ),
    *_of(
        "shared/store/lua/hold_lock.lua",
        ("hold_lock: another's lock is not taken", "if holder and holder ~= ARGV[1] then\n  return 'TAKEN'\nend\n"),
        ("hold_lock: one's own lock is renewed", "if holder and holder ~= ARGV[1] then", "if holder then"),
        ("hold_lock: the key is set", "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"),
        ("hold_lock: it expires", ", 'PX', ARGV[2])", ")"),
    ),
    *_of(
        "shared/store/lua/release_lock.lua",
        ("release_lock: another's lock is not released", "~= ARGV[1]", "== ''"),
        ("release_lock: one's own lock is released", "redis.call('DEL', KEYS[1])\n"),
    ),
    *_of(
        "shared/store/lua/start_post_update.lua",
        ("start_post_update: not while another is running", "if running and running ~= ARGV[1] then", "if false then"),
        ("start_post_update: again for the same run", "if running and running ~= ARGV[1] then", "if running then"),
        ("start_post_update: the key is set", "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])\n"),
        ("start_post_update: the key expires", ", 'EX', ARGV[2])", ")"),
    ),
    *_of(
        "shared/store/lua/rewind_ordinal.lua",
        ("rewind_ordinal: from the ordinal that was seen", " ~= ARGV[1] then", " == '' then"),
        ("rewind_ordinal: no ordinal is 0", "(redis.call('GET', KEYS[1]) or '0')", "redis.call('GET', KEYS[1])"),
        ("rewind_ordinal: 0 deletes the key", "if ARGV[2] == '0' then", "if false then"),
        ("rewind_ordinal: the ordinal is deleted", "  redis.call('DEL', KEYS[1])\n"),
        ("rewind_ordinal: the ordinal moves back", "  redis.call('SET', KEYS[1], ARGV[2])\n"),
        ("rewind_ordinal: who did it is kept", "redis.call('LPUSH', KEYS[2], ARGV[3])\n"),
        ("rewind_ordinal: old ones are dropped", "redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)\n"),
    ),
    *_of(
        "shared/store/lua/record_heartbeat.lua",
        ("record_heartbeat: the record is kept", "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])\n"),
        ("record_heartbeat: the record expires", ", 'PX', ARGV[3])", ")"),
        (
            "record_heartbeat: the process is listed",
            "redis.call('ZADD', KEYS[2], now_milliseconds + ARGV[3], ARGV[1])\n",
        ),
        ("record_heartbeat: until its heartbeat expires", "now_milliseconds + ARGV[3]", "now_milliseconds"),
        (
            "record_heartbeat: expired processes are removed",
            "redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_milliseconds)\n",
        ),
        ("record_heartbeat: the list expires", "redis.call('PEXPIRE', KEYS[2], ARGV[3])\n"),
    ),
    *_of(
        "producer/batch/execution.py",
        (Guard.POLL_EXECUTION, "if progress.execution != self.hash:", "if False:"),
        ("producer, rule 2: too many failures are given up", "if progress.failed > max_failures:", "if False:"),
        (
            "producer, rule 2: as many as allowed are not",
            "if progress.failed > max_failures:",
            "if progress.failed >= max_failures:",
        ),
        ("producer, rules 1 and 2 come first", _FIRST, _SECOND + _FIRST.removesuffix(_SECOND)),
        (Guard.POLL_LEDGER, "if not progress.outstanding:", "if progress.scheduled == progress.updated:"),
        (Guard.POLL_COUNTERS, "if counters != (self._entities, self._entities, len(progress.errors)):", "if False:"),
        ("producer, rule 3: SCHEDULED is the batch's", "(self._entities, self", "(progress.scheduled, self"),
        ("producer, rule 3: UPDATED is the batch's", "_entities, self._entities, ", "_entities, progress.updated, "),
        ("producer, rule 3: FAILED is the error texts'", ", len(progress.errors)):", ", progress.failed):"),
        ("producer, rule 4: no foreign chunk", "        self._check_chunks(progress.outstanding)\n"),
        (
            "producer, rule 4: not with another size",
            "self.slice_of(chunk_id).size == size",
            "self.slice_of(chunk_id).size > 0",
        ),
        ("producer, rule 4: no foreign error text", "        self._check_chunks(dict.fromkeys(progress.errors, 1))\n"),
        (Guard.POLL_HALVES, ".keys() - self._published", ".keys() & self.sizes.keys() - self._published"),
        ("producer, rule 5: nothing is published twice", "self._published |= chunk_ids", "pass"),
        ("producer, rule 6: not before its time", "< self._limits.panic_timeout_seconds:", "< 0:"),
        (
            "producer, rule 6: a change is progress",
            "self.changed_at_seconds = self._waiting_since_seconds =",
            "self.changed_at_seconds =",
        ),
        (
            "producer, rule 6: a re-send restarts the wait",
            "1\n        self._waiting_since_seconds = now_seconds\n",
            "1\n",
        ),
        (
            "producer, rule 6: publishing does not count as waiting",
            'starts now."""\n        self._waiting_since_seconds = now_seconds\n',
            'starts now."""\n',
        ),
        (
            "producer, rule 6: not without a limit",
            "if self.consecutive_resends == self._limits.retry_limit:",
            "if False:",
        ),
        ("producer, rule 6: re-sends are counted", "        self.consecutive_resends += 1\n"),
        ("producer, rule 6: progress resets the count", "            self.consecutive_resends = 0\n"),
        ("producer, rule 6: under another attempt number", "        self._attempt += 1\n"),
        (
            "producer, rule 6: everything outstanding",
            "outstanding.keys(), PublishReason.",
            "outstanding.keys() & self.sizes.keys(), PublishReason.",
        ),
    ),
    *_of(
        "shared/store/lua/start_wave.lua",
        (
            "start_wave: only of the current execution",
            (
                "if not current or (current ~= ARGV[1] and "
                "string.sub(current, 1, #ARGV[1] + 1) ~= ARGV[1] .. ':') then\n  return 'STALE'\nend\n"
            ),
        ),
        ("start_wave: not where there is none", "if not current or (", "if current and ("),
        ("start_wave: the execution itself", "current ~= ARGV[1] and ", ""),
        ("start_wave: or a wave of it", "string.sub(current, 1, #ARGV[1] + 1) ~= ARGV[1] .. ':'", "true"),
        ("start_wave: a wave has a colon", "#ARGV[1] + 1) ~= ARGV[1] .. ':'", "#ARGV[1]) ~= ARGV[1]"),
        ("start_wave: workers can read it", "redis.call('SET', KEYS[1], ARGV[2])\n"),
        ("start_wave: workers are notified", "redis.call('PUBLISH', KEYS[1], ARGV[2])\n"),
    ),
    *_of(
        "stan_bridge/sizes.py",
        ("stan_bridge: a size is not used twice in a wave", "if not set(sizes) & set(used) and fits", "if fits"),
        (
            "stan_bridge: the pieces of a chunk differ in size",
            "range((count - 1) // 2, 0, -1)",
            "range(count // 2, 0, -1)",
        ),
        ("stan_bridge: a piece fits into a message", " and fits(sizes)), None)", "), None)"),
    ),
    *_of(
        "stan_bridge/waves.py",
        ("stan_bridge: sizes of earlier pieces count as used", ".update(sizes)", ".update(())"),
        (
            "stan_bridge: a failure is believed only for the piece that it names",
            "if piece.channel == channel and piece.name == name",
            "if piece.channel == channel",
        ),
        ("stan_bridge: a piece belongs to a channel", "if piece.channel == channel and piece", "if piece"),
        ("stan_bridge: a chunk is stored with its last piece", '        if remaining:\n            return "partial"\n'),
        (
            "stan_bridge: a chunk is settled once",
            (
                '        if piece.chunk_id not in self._unsettled:\n            return "late"\n'
                '        self._settle(piece.chunk_id)\n        return "failed"'
            ),
            '        self._settle(piece.chunk_id)\n        return "failed"',
        ),
        (
            "stan_bridge: a new wave takes along what is not settled",
            "self._waiting = dict(self._unsettled)",
            "pass",
        ),
        (
            "stan_bridge: nothing is placed in a broken wave",
            "if not self._current or self._is_broken:\n            return []",
            "if not self._current:\n            return []",
        ),
        ("stan_bridge: a full wave is followed by another once it is settled", " and not self._current.placed", ""),
    ),
    *_of(
        "stan_bridge/bridge.py",
        (
            "stan_bridge: a chunk of another execution than the current one is discarded",
            "if execution_of(await self._current.read()) != chunk.execution:",
            "if False:",
        ),
        ("stan_bridge: a wave that is not current is discarded", '== "STALE":', '== "NEVER":'),
        ("stan_bridge: a replaced session starts no wave", "        await self._session.check()\n"),
        ("stan_bridge: a re-send of the core starts a new wave", "if attempt > execution.waves.attempt:", "if False:"),
        (
            "stan_bridge: a redelivery starts a new wave",
            "if is_redelivered and not was_kept and execution.waves.has(chunk_id):",
            "if False:",
        ),
        (
            "stan_bridge: feedback is confirmed before the chunk is acknowledged",
            "await self._broker.publish(keys.FEEDBACK_STREAM, keys.FEEDBACK_SUBJECT, held.feedback, message_id)",
            "pass",
        ),
        (
            "stan_bridge: a report of another execution is ignored",
            "if execution is None or execution_of(report.wave) != execution.waves.execution:",
            "if execution is None:",
        ),
    ),
]
