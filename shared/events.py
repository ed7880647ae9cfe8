"""The names of all log events, with what each means. Nothing is logged under another name."""

from enum import StrEnum


class Event(StrEnum):
    """A log event. Its fields are named at the place that logs it."""

    # Processes
    STARTED = "started"
    """The process is connected and at work."""
    STOPPED = "stopped"
    """The process was asked to stop, and has."""
    FAILED = "failed"
    """The process ends with an error: its last word, with the exit code."""
    STANDING_BY = "standing_by"
    """Another producer holds the lock; this one waits for it."""
    LOCK_HELD = "lock_held"
    """This producer is the active one."""
    WAITING_FOR_CRON = "waiting_for_cron"
    """The next run is due at `due`."""
    PAUSED = "paused"
    """An operator paused the import; nothing is begun until it is resumed."""
    RESUMED = "resumed"
    HTTP_SERVED = "http_served"
    """Health and metrics are served at `host` and `port`."""
    HTTP_NOT_SERVED = "http_not_served"
    """They are not; the import goes on without."""

    # NATS
    NATS_DISCONNECTED = "nats_disconnected"
    NATS_RECONNECTED = "nats_reconnected"
    NATS_ERROR = "nats_error"
    """What the client or the server reported; the connection may live on."""
    STREAM_CREATED = "stream_created"
    CONSUMER_CREATED = "consumer_created"
    PUBLISH_RETRIED = "publish_retried"
    """The broker did not confirm a message in time; it is sent again under the same id."""
    FEEDBACK_DEAF = "feedback_deaf"
    """No sign of life from the feedback consumer: it is looked for, and made anew where it is gone."""

    # Runs and services
    RUN_STARTED = "run_started"
    RUN_FINISHED = "run_finished"
    """All services were gone through; `complete` says whether each is fully settled."""
    RUN_REQUESTED = "run_requested"
    """An operator asked for a run of these services, or of all (`*`)."""
    SERVICE_FINISHED = "service_finished"
    """All that SISU had of a service is settled."""
    SERVICE_FAILED = "service_failed"
    """A service could not go on in this run; its ordinal stays where it was."""
    SERVICE_FORBIDDEN = "service_forbidden"
    """SISU answered 403: the service is skipped until the process restarts."""
    SERVICE_STARTED_OVER = "service_started_over"
    """The ledger or the ordinal changed under an execution; the service goes on from the ordinal that Redis has."""
    SERVICE_SKIPPED = "service_skipped"
    """The service was not tried in this run, for the reason given."""
    ORDINAL_LOST = "ordinal_lost"
    """A service that had an ordinal in this process has none any more: all of it is imported anew."""
    ONE_TIME_RESET = "one_time_reset"
    """The one-time services are to be fetched once more, since the producer starts."""

    # Fetching
    FETCHED = "fetched"
    FETCH_RETRIED = "fetch_retried"
    """An attempt at SISU failed in a way that may pass; the next one comes after `pause_seconds`."""

    # Batches
    BATCH_BEGUN = "batch_begun"
    BATCH_SETTLED = "batch_settled"
    """Everything is settled and the ordinal has moved on."""
    CHUNKS_RESENT = "chunks_resent"
    """Nothing had settled for too long; what is outstanding was published once more."""
    CHUNKS_SPLIT = "chunks_split"
    """Mankelis failed on chunks; their halves were published."""
    CHUNKS_TAKEN_BACK = "chunks_taken_back"
    """An execution was given up; what the broker still held of it was removed."""
    DEAD_LETTERS = "dead_letters"
    """Entities of a batch were kept as dead letters."""

    DEAD_LETTER_RETRIED = "dead_letter_retried"
    """An operator had a dead letter sent again; `outcome` says what came of it."""

    # Post-update
    POST_UPDATE_SENT = "post_update_sent"
    POST_UPDATE_SKIPPED = "post_update_skipped"
    POST_UPDATE_FINISHED = "post_update_finished"

    # Feedback
    FEEDBACK_SETTLED = "feedback_settled"
    FEEDBACK_SPLIT = "feedback_split"
    FEEDBACK_FAILED = "feedback_failed"
    """A single entity was rejected by a mankeli."""
    FEEDBACK_DUPLICATE = "feedback_duplicate"
    """Feedback on a chunk that is settled or split already; it changes nothing."""
    FEEDBACK_STALE = "feedback_stale"
    """Feedback of an execution that is not the current one; it changes nothing."""
    FEEDBACK_REFUSED = "feedback_refused"
    """Feedback that is not what the contract says, for the reason given; it changes nothing."""
