"""The names of all metrics, as data in one place. Labels have few, known values, and never personal data.

Names follow the conventions of Prometheus: base units, `_total` for counters. A process that starts begins at 0;
what it finds in Redis is not added. Histograms observe what succeeded.
"""

from collections.abc import Iterable
from itertools import product

from prometheus_client import Counter, Gauge, Histogram, Info

from shared.runtime.version import BUILD as BUILD_ID
from shared.runtime.version import VERSION

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LAG_SECONDS = (0.001, 0.0025, *_SECONDS)
_BYTES = tuple(1024 * 4**step for step in range(10))

BUILD = Info("importer_build", "The version that runs, and the instance that it belongs to.")


def describe_build(instance: str) -> None:
    """Set the labels of `importer_build_info`. Prometheus has a label `instance` of its own, which is the address."""
    BUILD.info({"version": VERSION, "build": BUILD_ID, "instance_name": instance})


describe_build("")

# --- the producer ----------------------------------------------------------------------------------------------------

ORDINAL = Gauge("importer_ordinal", "The ordinal, as of the last batch of this process.", ["service"])
ENTITIES = Counter("importer_entities_total", "Entities of batches whose ordinal has moved.", ["service"])
BATCHES = Counter("importer_batches_total", "Batches that advanced, or were superseded.", ["service", "result"])
SETTLE_SECONDS = Histogram(
    "importer_batch_settle_seconds",
    "From the start of a batch until its ordinal has moved.",
    ["service"],
    buckets=_SECONDS,
)
FETCH_SECONDS = Histogram(
    "importer_fetch_seconds", "One attempt at SISU that returned a batch.", ["service"], buckets=_SECONDS
)
FETCH_RESPONSE_BYTES = Histogram(
    "importer_fetch_response_bytes", "The size of SISU's responses.", ["service"], buckets=_BYTES
)
FETCH_RETRIES = Counter("importer_fetch_retries_total", "Attempts at SISU that were repeated.", ["service", "reason"])
CHUNKS = Counter("importer_chunks_total", "Chunks published, by reason: first, split or resent.", ["service", "reason"])
DEAD_LETTERS = Counter("importer_dead_letters_total", "Entities kept as dead letters.", ["service", "reason"])
RUNS = Counter("importer_runs_total", "Runs, by result: complete or incomplete.", ["result"])
RUN_SECONDS = Histogram(
    "importer_run_seconds",
    "Runs that were not interrupted.",
    buckets=(1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 8 * 3600, 24 * 3600),
)
LAST_SUCCESS = Gauge(
    "importer_service_last_success_timestamp_seconds",
    "When everything that SISU had of a service was last settled.",
    ["service"],
)
ACTIVE = Gauge("importer_producer_active", "Whether this producer holds the lock: 1, or 0 while it stands by.")
PAUSED = Gauge("importer_paused", "Whether an operator has paused the import: 1 or 0.")
STALLED_SECONDS = Gauge("importer_batch_stalled_seconds", "For how long nothing of the batch in flight has settled.")
SERVICE_FAILURES = Counter(
    "importer_service_failures_total",
    "Services that failed in a run, or that SISU forbids after they were imported.",
    ["service"],
)

# --- the ack_collector -----------------------------------------------------------------------------------------------

FEEDBACK_CONSUMER_UP = Gauge(
    "importer_feedback_consumer_up", "Whether the feedback consumer responds to this collector: 1 or 0."
)
FEEDBACK = Counter("importer_feedback_total", "Feedback, by what the ledger made of it.", ["result"])
FEEDBACK_INVALID = Counter(
    "importer_feedback_invalid_total", "Feedback that broke the contract, by reason.", ["reason"]
)
FEEDBACK_LAG_SECONDS = Histogram(
    "importer_feedback_lag_seconds", "From the broker taking feedback to its effect in Redis.", buckets=_LAG_SECONDS
)

# --- the stan_bridge -------------------------------------------------------------------------------------------------

STAN_PIECES = Counter("importer_stan_pieces_total", "Pieces of chunks that were sent over STAN.")
STAN_WAVES = Counter("importer_stan_waves_total", "Waves that were started.")
STAN_REPORTS = Counter("importer_stan_reports_total", "Reports from STAN, by what they led to.", ["result"])
STAN_PIECES_OUT = Gauge("importer_stan_pieces_out", "Pieces that are with STAN or its workers.")
STAN_WAIT_SECONDS = Histogram(
    "importer_stan_wait_seconds", "From sending a piece over STAN until the report on it.", buckets=_SECONDS
)


def init_series(counter: Counter, *values: Iterable[str]) -> None:
    """Start every combination of these label values at 0.

    Prometheus sees no increase in a series that appears with its first count, so an alert would miss just that one.
    """
    for combination in product(*values):
        counter.labels(*combination)
