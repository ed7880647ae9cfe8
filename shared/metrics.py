"""The names of all metrics, as data in one place. Labels have few, known values."""

from prometheus_client import Counter

FEEDBACK = Counter("importer_feedback_total", "Feedback received, by what it led to.", ["verdict"])
FEEDBACK_REFUSED = Counter(
    "importer_feedback_refused_total", "Feedback that broke the contract, by reason.", ["reason"]
)
