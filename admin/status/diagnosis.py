"""The diagnosis: what the import is doing, or why it is not progressing, in one message. Pure, from a snapshot.

`importer why` and the dashboard show it. The causes are checked in the order in which one hides the next: what is
unreachable, whether a producer is active at all, what that producer waits for, and, for a batch in flight, where its
chunks are.
"""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from admin.status.queues import Consumer, Queues
from admin.status.results import age, healthy, problem, with_verb
from admin.status.snapshot import Diagnosis, ServiceStatus, Snapshot
from admin.status.stan_diagnosis import diagnose_stan
from admin.text import pluralize
from shared.model.records import BatchState, ProducerState, RunRecord

STALLED_SECONDS = 5.0
"""A batch in which nothing settles for longer is diagnosed."""

STARTING_SECONDS = 2.0
"""How long a producer may take until it holds a free lock and has reported that."""


def add_diagnosis(snapshot: Snapshot, timezone: ZoneInfo) -> None:
    """Add the diagnosis to a snapshot, and the time zone of its times."""
    snapshot.timezone = timezone.key
    snapshot.diagnosis = diagnose(snapshot, timezone)
    if snapshot.throughput and not snapshot.diagnosis.healthy:
        snapshot.throughput.batch_ends_at = None  # unknown


def diagnose(snapshot: Snapshot, timezone: ZoneInfo) -> Diagnosis:
    """Return the diagnosis, with times in this time zone."""
    if snapshot.redis_error:
        return problem("redis_unreachable", "Redis is unreachable.", snapshot.redis_error)
    state = snapshot.active
    if state is None:
        return _without_producer(snapshot)
    if snapshot.nats_error:
        return problem("nats_unreachable", "NATS is unreachable.", snapshot.nats_error)
    if state.batch:
        return _diagnose_batch(snapshot, state, state.batch)
    return _between_batches(snapshot, state, timezone)


def _without_producer(snapshot: Snapshot) -> Diagnosis:
    starting = any(
        (snapshot.at - process.started_at).total_seconds() < STARTING_SECONDS for process in snapshot.producers
    )
    if starting:
        return healthy("starting", "A producer is starting.")
    if snapshot.lock_held:
        return problem(
            "lock_held",
            "Another producer holds the lock, and its heartbeat has expired.",
            "It died less than 15 seconds ago, and a stand-by will take over; or it is cut off from Redis.",
        )
    return problem("no_producer", "No producer is running.", "Start it: supervisorctl start producer")


def _between_batches(snapshot: Snapshot, state: ProducerState, timezone: ZoneInfo) -> Diagnosis:
    if state.phase == "paused" or (snapshot.paused and state.phase == "idle"):
        note = snapshot.paused
        who = f" by {note.by}: {note.reason or 'no reason given'}" if note else ""
        return problem("paused", f"The import is paused{who}.", "Resume it: importer resume")
    if state.sisu_backoff:
        backoff = state.sisu_backoff
        return problem(
            "sisu_backoff",
            f"SISU fails for {backoff.service}: {backoff.reason}; the next attempt is at "
            f"{_clock(backoff.until, timezone)}.",
        )
    if state.phase == "idle":
        when = f"; the next run starts at {_clock(state.next_run_at, timezone)}" if state.next_run_at else ""
        return _after_run(snapshot, when) or healthy("idle", f"No run is in progress{when}.")
    if state.phase == "retrying":
        return healthy("retrying", "Dead letters are being sent again.")
    return healthy("fetching", f"Fetching {state.service or 'changes'} from SISU.")


def _after_run(snapshot: Snapshot, when: str) -> Diagnosis | None:
    """Return why the last run was incomplete; None where it was not, or was only interrupted."""
    last = snapshot.runs[0] if snapshot.runs else None
    if last is None:
        return None
    if last.complete is not False:
        return _sisu_behind(last)
    # A failure explains what was skipped after it.
    unsettled = [
        outcome
        for result in ("failed", "forbidden", "skipped")
        for outcome in last.outcomes
        if outcome.result == result
    ]
    if not unsettled:
        return None
    return problem(
        "run_incomplete",
        f"The last run was incomplete: {pluralize(len(unsettled), 'service')} not settled{when}.",
        unsettled[0].reason or "",
    )


def _sisu_behind(run: RunRecord) -> Diagnosis | None:
    """Return for which service SISU has less than was imported, if there is one."""
    for outcome in run.outcomes:
        if outcome.sisu_behind_at is not None:
            service, ordinal = outcome.service, outcome.sisu_behind_at
            return Diagnosis(
                code="sisu_behind",
                healthy=True,
                message=f"SISU has nothing of {service} after {ordinal}, and our ordinal is {outcome.ordinal}.",
                hint=f"If SISU was restored from a backup: importer rewind {service} --to {ordinal}",
            )
    return None


def _diagnose_batch(snapshot: Snapshot, state: ProducerState, batch: BatchState) -> Diagnosis:
    """Find out where the chunks of the batch in flight are."""
    service, queues = snapshot.service(batch.service), snapshot.queues
    stalled_seconds = (snapshot.at - batch.changed_at).total_seconds()
    if stalled_seconds < STALLED_SECONDS or service is None or queues is None:
        if state.phase == "retrying":
            return healthy("retrying", f"A dead letter of {batch.service} is being sent again.")
        return healthy("importing", f"{batch.service} is being imported.")
    settled = f"{service.updated} of {service.scheduled} entities are settled"
    feedback = queues.feedback
    unread = feedback.waiting + feedback.unacknowledged if feedback else 0
    if unread and not snapshot.collectors:
        return problem(
            "no_collector",
            f"No collector is running: {pluralize(unread, 'report')} of mankelis unread; {settled}.",
            "Start one: supervisorctl start ack_collector:*",
        )
    over_stan = diagnose_stan(snapshot, service.channel, settled)
    return over_stan or _diagnose_chunks(snapshot, state, service, queues, settled)


def _diagnose_chunks(
    snapshot: Snapshot, state: ProducerState, service: ServiceStatus, queues: Queues, settled: str
) -> Diagnosis:
    """Find out whether the chunks wait, are with mankelis, or are missing."""
    assert state.batch
    consumers = [consumer for consumer in queues.mankelis if consumer.matches(service.channel)]
    unacknowledged = sum(consumer.unacknowledged for consumer in consumers)
    chunks = queues.pending_chunks(service.channel)
    if chunks and not unacknowledged and not any(consumer.waiting_pulls for consumer in consumers):
        return problem(
            "no_mankeli",
            f"No mankeli is attached to {service.channel}: {with_verb(chunks, 'chunk')} waiting; {settled}.",
            "Start mankelis, and check that they consume this channel of the stream IMPORTER.",
        )
    if unacknowledged:
        # A message that is older than the batch is not part of it.
        oldest_at = max(queues.oldest_chunk_at or state.batch.started_at, state.batch.started_at)
        return _with_mankelis(consumers, age(snapshot.at, oldest_at), settled)
    return problem(
        "chunks_missing",
        f"{with_verb(service.outstanding_chunks, 'chunk')} neither with the broker nor reported; {settled}.",
        f"The producer sends them again after {state.panic_timeout_seconds:g} s without progress. If that repeats, "
        "mankelis acknowledge chunks without sending feedback.",
    )


def _with_mankelis(consumers: Sequence[Consumer], held_for: str, settled: str) -> Diagnosis:
    unacknowledged = sum(consumer.unacknowledged for consumer in consumers)
    redelivered = sum(consumer.redelivered for consumer in consumers)
    again = f", {redelivered} of them redelivered" if redelivered else ""
    return problem(
        "with_mankelis",
        f"{with_verb(unacknowledged, 'chunk')} with mankelis, the oldest for {held_for}{again}; {settled}.",
        "Are they working, or stuck? Check their logs. A redelivered chunk was given up by one of them.",
    )


def _clock(moment: datetime, timezone: ZoneInfo) -> str:
    """Format a time, without seconds where there are none, as in most of cron's times."""
    local = moment.astimezone(timezone)
    return f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
