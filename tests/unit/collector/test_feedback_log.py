"""Lines about feedback that changes nothing: the first at once, then one a second for each kind, with a count."""

import logging

from structlog.testing import capture_logs

from ack_collector.feedback_log import FeedbackLog
from shared.runtime.events import Event


class Clock:
    """A clock that the test sets."""

    now_seconds = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_seconds


def test_what_is_rare_is_logged_at_once() -> None:
    """A message a second has a line each, with its own fields."""
    clock = Clock()
    feedback_log = FeedbackLog(clock)
    with capture_logs() as logged:
        for number in range(3):
            feedback_log.add(Event.FEEDBACK_INVALID, reason="amount", subject=f"s{number}")
            clock.now_seconds += 1
            feedback_log.flush()
    assert logged == [
        {"log_level": "warning", "event": "feedback_invalid", "reason": "amount", "subject": f"s{number}", "count": 1}
        for number in range(3)
    ]


def test_what_is_frequent_is_counted() -> None:
    """The counts of all lines add up to the messages, those of the last second included."""
    clock = Clock()
    feedback_log = FeedbackLog(clock)
    with capture_logs() as logged:
        for number in range(1, 101):
            feedback_log.add(Event.FEEDBACK_INVALID, reason="amount", number=number)
            clock.now_seconds += 1 / 16
            feedback_log.flush()
        assert [line["count"] for line in logged] == [1, 15, 16, 16, 16, 16, 16]
        feedback_log.flush()
        assert len(logged) == 7
        feedback_log.flush(at_once=True)
        feedback_log.flush(at_once=True)
    assert [line["count"] for line in logged] == [1, 15, 16, 16, 16, 16, 16, 4]
    assert logged[-1]["number"] == 100


def test_each_kind_has_its_own_lines() -> None:
    """One reason does not hide another, nor another event."""
    feedback_log = FeedbackLog(Clock())
    with capture_logs() as logged:
        for _ in range(5):
            feedback_log.add(Event.FEEDBACK_INVALID, reason="amount")
            feedback_log.add(Event.FEEDBACK_INVALID, reason="status")
            feedback_log.add(Event.FEEDBACK_STALE, level=logging.INFO, chunk="0")
    assert [(line["event"], line.get("reason"), line["log_level"]) for line in logged] == [
        ("feedback_invalid", "amount", "warning"),
        ("feedback_invalid", "status", "warning"),
        ("feedback_stale", None, "info"),
    ]
