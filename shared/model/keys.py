"""The name of every key, channel, stream and subject, as pure functions and constants. Nothing else builds one.

The names in Redis are those that the system always had, so that existing scripts keep working.
"""

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote

# --- Redis -----------------------------------------------------------------------------------------------------------

CURRENT_EXECUTION_HASH = "CURRENT_EXECUTION_HASH"
"""String, and the pub/sub channel on which mankelis learn of a change of it. While a service travels over STAN it is a
wave: the execution, a colon and a nonce."""

STAN_MANKELI_LOCK = "lock.MIGRATIONS_LOCK"
"""String: a lock that mankelis of the STAN era take at their start. The importer does not use it."""

POST_UPDATE_RUNNING = "POST_UPDATE_RUNNING"
"""String: the run whose post-update is running. Expires."""

PRODUCER_LOCK = "IMPORTER_PRODUCER_LOCK"
"""String: the token of the one active producer. Expires."""

PAUSED = "IMPORTER_PAUSED"
"""String: who paused the import, when and why, as JSON; deleting the key resumes it."""

RUN_REQUESTS = "IMPORTER_RUN_REQUESTS"
"""Hash: a service's name, or `*` for all → who requested a run of it, as JSON."""

RETRY_REQUESTS = "IMPORTER_DEAD_LETTER_RETRIES"
"""Hash: subject of a dead letter → who requested to send it again, and the outcome, as JSON. Its fields have ids of
entities: personal data. Expires a day after the last outcome."""

PROCESSES = "IMPORTER_PROCESSES"
"""Sorted set: the processes, by when their heartbeat expires, in milliseconds of Redis's clock."""

RUN = "IMPORTER_RUN"
"""String: the run in progress, as JSON; after a producer died, the run that it did not finish."""

RUNS = "IMPORTER_RUNS"
"""List: the last ended runs, newest first, as JSON. Expires."""

SERVICES = "IMPORTER_SERVICES"
"""Hash: a service's name → its last success and failure, as JSON."""

REWINDS = "IMPORTER_REWINDS"
"""List: the rewinds, newest first, as JSON."""


def process(process_id: str) -> str:
    """Return the key of a process's last record. String, JSON, expires."""
    return f"IMPORTER_PROCESS:{process_id}"


@dataclass(frozen=True)
class ServiceKeys:
    """The keys of one service, all beginning with that of its ordinal."""

    ordinal: str
    """String: the ordinal."""

    @property
    def scheduled(self) -> str:
        """String: entities of this execution."""
        return f"{self.ordinal}_SCHEDULED"

    @property
    def updated(self) -> str:
        """String: entities settled in this execution."""
        return f"{self.ordinal}_UPDATED"

    @property
    def failed(self) -> str:
        """String: of those settled, how many are dead letters."""
        return f"{self.ordinal}_FAILED"

    @property
    def execution(self) -> str:
        """String: the execution that owns the ledger and the counters."""
        return f"{self.ordinal}_EXECUTION"

    @property
    def chunks(self) -> str:
        """Hash, the ledger: chunkId → size, outstanding chunks only."""
        return f"{self.ordinal}_CHUNKS"

    @property
    def errors(self) -> str:
        """Hash: chunkId → error text of a single entity that failed."""
        return f"{self.ordinal}_ERRORS"

    @property
    def progress(self) -> str:
        """Pub/sub channel: this service's ledger changed. Says how many chunks are outstanding now, or `split`."""
        return f"{self.ordinal}_PROGRESS"

    @property
    def companion_keys(self) -> frozenset[str]:
        """All its keys but the ordinal."""
        return frozenset((self.scheduled, self.updated, self.failed, self.execution, self.chunks, self.errors))


def codebook_cache(url: str) -> str:
    """Return the key of the response of the URN codebook at `url`. String, expires after an hour."""
    return f"IMPORTER_CODEBOOK:{url}"


# --- NATS ------------------------------------------------------------------------------------------------------------

CHUNK_STREAM = "IMPORTER"
FEEDBACK_STREAM = "IMPORTER_FEEDBACK"
DEAD_LETTER_STREAM = "IMPORTER_DEAD_LETTERS"

FEEDBACK_SUBJECT = "SCHEDULER_STATUS_CHANNEL"
POST_UPDATE_SUBJECT = "POST_UPDATE"
POST_UPDATE_FINISH_SUBJECT = "POST_UPDATE_FINISH"
DEAD_LETTER_SUBJECTS = "DEAD_LETTER.>"

COLLECTOR_CONSUMER = "ack-collector"

STAN_CONSUMER = "stan-bridge"
"""The stan_bridge's consumer of the chunks that travel over STAN, and its durable name on STAN."""
STAN_POST_UPDATE_CONSUMER = "stan-bridge-post-update"

EXECUTION_HEADER = "Importer-Execution"
CHUNK_HEADER = "Importer-Chunk"
"""Headers of each chunk that repeat what its body says, for a mankeli that cannot parse it."""

_TOKEN_MAX_CHARACTERS = 200
_DEAD_LETTER_SUBJECT = re.compile(r"""(DEAD_LETTER\.[^.\s]+\.)[^.\s"']+""")


def dead_letter_subject(channel: str, entity_id: str) -> str:
    """Return the subject on which the newest failure of this entity is kept: its id, encoded as one token.

    A to Z, digits and ``-_:`` stay readable; all else, the dot and the wildcards among it, is percent-encoded as
    UTF-8. An id too long for a subject (a server's control line has 4,096 bytes) is replaced by its digest.
    """
    token = quote(entity_id, safe=":").replace(".", "%2E").replace("~", "%7E")
    if not token or len(token) > _TOKEN_MAX_CHARACTERS:
        token = "sha256:" + hashlib.sha256(entity_id.encode()).hexdigest()
    return f"DEAD_LETTER.{channel}.{token}"


def redact_entity_ids(text: str) -> str:
    """Return a text without the entities' ids in subjects of dead letters: they are personal data."""
    return _DEAD_LETTER_SUBJECT.sub(r"\1…", text)


def is_dead_letter_subject(subject: str) -> bool:
    """Return whether it is the subject of one dead letter: not a wildcard, and not another subject."""
    found = _DEAD_LETTER_SUBJECT.fullmatch(subject)
    return found is not None and not set("*>") & set(subject)


def dead_letter_subjects(channel: str | None) -> str:
    """Return the wildcard for all dead letters of a channel, or of all channels."""
    return f"DEAD_LETTER.{channel}.>" if channel else DEAD_LETTER_SUBJECTS


def message_id(execution: str, chunk_id: str, attempt: int) -> str:
    """Return the Nats-Msg-Id of a chunk: the broker drops a repeated publish, but not a new attempt."""
    return f"{execution}:{chunk_id}:{attempt}"


# --- Identities ------------------------------------------------------------------------------------------------------

EXECUTION_HASH = re.compile(r"[0-9a-f]{24}", re.ASCII)
CHUNK_ID = re.compile(r"[0-9]{1,9}(\.[01]){0,40}", re.ASCII)
"""A path: the chunk's number in its batch, then which half was taken at each split."""


def halves(chunk_id: str) -> tuple[str, str]:
    """Return the ids of the two chunks that a split makes of this one; the first takes the larger half."""
    return f"{chunk_id}.0", f"{chunk_id}.1"
