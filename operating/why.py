"""Why it is as it is: a verdict in a sentence. Pure, from a snapshot; `importer why` and the page show it.

The causes are looked at in the order in which one hides the next: what cannot be reached, whether a producer is at work
at all, what that producer waits for, and, for a batch in flight, where its chunks are.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from operating.snapshot import Snapshot, Verdict
from shared.records import BatchState, ProducerState

STILL_SECONDS = 5.0
"""A batch in which nothing settles for longer is looked into."""

STARTING_SECONDS = 2.0
"""Until a producer that starts has the lock, if it is to be had, and has said so."""


def judge(snapshot: Snapshot, timezone: ZoneInfo) -> None:
    """Put the verdict into a snapshot, and the time zone that its times are told in."""
    snapshot.timezone = timezone.key
    snapshot.verdict = explain(snapshot, timezone)
    if snapshot.pace and not snapshot.verdict.well:
        snapshot.pace.batch_ends_at = None  # nobody knows


def explain(snapshot: Snapshot, timezone: ZoneInfo) -> Verdict:
    """The verdict. Times in its sentence are of this time zone."""
    if snapshot.redis_error:
        return _bad("redis_unreachable", "Redis is unreachable.", snapshot.redis_error)
    state = snapshot.active
    if state is None:
        return _without_producer(snapshot)
    if snapshot.nats_error:
        return _bad("nats_unreachable", "NATS is unreachable.", snapshot.nats_error)
    if state.batch:
        return _of_batch(snapshot, state, state.batch)
    return _between_batches(snapshot, state, timezone)


def _without_producer(snapshot: Snapshot) -> Verdict:
    starting = [
        beat for beat in snapshot.producers if (snapshot.at - beat.started_at).total_seconds() < STARTING_SECONDS
    ]
    if starting:
        return Verdict(code="starting", well=True, sentence="A producer is starting.")
    if snapshot.lock_held:
        return _bad(
            "lock_held",
            "Another producer holds the lock, and gives no sign of life.",
            "It died less than 15 seconds ago, and one that stands by takes over; or it is cut off from Redis.",
        )
    return _bad("no_producer", "No producer is running.", "Start it: supervisorctl start producer")


def _between_batches(snapshot: Snapshot, state: ProducerState, timezone: ZoneInfo) -> Verdict:
    if state.phase == "paused" or (snapshot.paused and state.phase == "idle"):
        note = snapshot.paused
        who = f" by {note.by}: {note.why or 'no reason given'}" if note else ""
        return _bad("paused", f"The import is paused{who}.", "importer resume lets it go on.")
    if state.sisu_wait:
        wait = state.sisu_wait
        return _bad(
            "sisu_wait",
            f"SISU answers {wait.service} with {wait.reason}; it is asked again at {_clock(wait.until, timezone)}.",
        )
    if state.phase == "idle":
        when = f", the next run begins at {_clock(state.next_run_at, timezone)}" if state.next_run_at else ""
        return Verdict(code="idle", well=True, sentence=f"Nothing is to be done{when}.")
    if state.phase == "retrying":
        return Verdict(code="retrying", well=True, sentence="Dead letters are being sent again.")
    return Verdict(code="fetching", well=True, sentence=f"SISU is being asked for {state.service or 'changes'}.")


def _of_batch(snapshot: Snapshot, state: ProducerState, batch: BatchState) -> Verdict:
    """Where the chunks of the batch in flight are."""
    service = snapshot.service(batch.service)
    queues = snapshot.queues
    still_seconds = (snapshot.at - batch.changed_at).total_seconds()
    if still_seconds < STILL_SECONDS or service is None or queues is None:
        if state.phase == "retrying":
            return Verdict(
                code="retrying", well=True, sentence=f"A dead letter of {batch.service} is being sent again."
            )
        return Verdict(code="moving", well=True, sentence=f"{batch.service} is being imported.")
    settled = f"{service.updated} of {service.scheduled} entities are settled"
    feedback = queues.feedback
    waiting = feedback.waiting + feedback.unacknowledged if feedback else 0
    if waiting and not snapshot.collectors:
        return _bad(
            "no_collector",
            f"{count(waiting, 'report')} of mankelis {_are(waiting)} unread because no collector runs; {settled}.",
            "Start one: supervisorctl start ack_collector:*",
        )
    takers = [consumer for consumer in queues.mankelis if consumer.takes(service.channel)]
    unacknowledged = sum(consumer.unacknowledged for consumer in takers)
    chunks = queues.of(service.channel)
    if chunks and not unacknowledged and not any(consumer.attached for consumer in takers):
        return _bad(
            "no_mankeli",
            f"No mankeli is attached to {service.channel}: {count(chunks, 'chunk')} {_are(chunks)} waiting; {settled}.",
            "Start mankelis, and see that they consume this channel of the stream IMPORTER.",
        )
    if unacknowledged:
        redelivered = sum(consumer.redelivered for consumer in takers)
        again = f", {redelivered} of them redelivered" if redelivered else ""
        # What lies in the stream for longer than the batch is not of it.
        oldest_at = max(queues.oldest_chunk_at or batch.begun_at, batch.begun_at)
        minutes = _age(snapshot.at, oldest_at)
        return _bad(
            "with_mankelis",
            f"{count(unacknowledged, 'chunk')} {_are(unacknowledged)} with mankelis, the oldest for {minutes}{again}; "
            f"{settled}.",
            "Are they at work, or stuck? Their logs tell. A chunk that is redelivered was given up by one of them.",
        )
    return _bad(
        "unaccounted",
        f"{count(service.outstanding_chunks, 'chunk')} {_are(service.outstanding_chunks)} neither with the broker nor "
        f"reported; {settled}.",
        f"The producer sends them again after {state.panic_timeout_seconds:g} s without progress. If that repeats, "
        "mankelis acknowledge chunks without sending feedback.",
    )


def _bad(code: str, sentence: str, advice: str = "") -> Verdict:
    return Verdict(code=code, well=False, sentence=sentence, advice=advice)


def count(number: int, noun: str) -> str:
    """So many of a thing."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _clock(moment: datetime, timezone: ZoneInfo) -> str:
    """To the minute where it is a full one, as cron's times mostly are."""
    local = moment.astimezone(timezone)
    return f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"


def _age(at: datetime, since: datetime) -> str:
    seconds = int((at - since).total_seconds())
    return f"{seconds} s" if seconds < 2 * _MINUTE else f"{seconds // _MINUTE} minutes"


_MINUTE = 60
