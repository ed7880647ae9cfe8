"""The metrics of both processes for Prometheus: every series that an alert uses exists from the start."""

import re

import requests

from tests.support.programs import ProcessUnderTest
from tests.support.running_system import RunningSystem
from tests.support.waiting import wait_until

TIMEOUT_SECONDS = 20


def scrape(program: ProcessUnderTest) -> dict[str, float]:
    """Return the value of each series that a program serves."""
    program.wait_for('"http_listening"')
    port = re.findall(r'"port": (\d+), "event": "http_listening"', program.output)[0]
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_SECONDS).text
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def test_the_series_of_alerts_exist_before_their_first_event(running_system: RunningSystem) -> None:
    """The counters of alerts start at 0, since one that appears with its first count would show no increase."""
    producer = running_system.start_producer(SERVICES="PERSON,PLAN")
    producer.wait_for('"run_started"')
    series = scrape(producer)
    for service in ("PERSON", "PLAN"):
        assert series[f'importer_service_failures_total{{service="{service}"}}'] == 0
        for reason in ("rejected", "too large"):
            assert series[f'importer_dead_letters_total{{reason="{reason}",service="{service}"}}'] == 0
    series = scrape(running_system.collector)
    assert series['importer_feedback_invalid_total{reason="amount is not the chunk\'s size"}'] == 0
    assert series['importer_feedback_total{result="SETTLED"}'] == 0


def test_a_collector_reports_that_its_consumer_is_up(running_system: RunningSystem) -> None:
    """The metric is 1 once the consumer has responded, before any mankeli has reported anything."""
    wait_until(lambda: scrape(running_system.collector)["importer_feedback_consumer_up"] == 1, "the consumer is up")


def test_a_new_producer_restores_the_time_of_the_last_success(running_system: RunningSystem) -> None:
    """The time of a service's last success survives a restart of the producer, and so does its alert."""
    running_system.start_mankeli()
    assert running_system.import_once(SERVICES="PERSON").code == 0
    running_system.redis.set("IMPORTER_PAUSED", '{"by":"ada","at":"2026-01-01T00:00:00Z"}')
    producer = running_system.start_producer(SERVICES="PERSON,PLAN")
    producer.wait_for('"run_started"')
    series = scrape(producer)
    name = "importer_service_last_success_timestamp_seconds"
    assert series[f'{name}{{service="PERSON"}}'] > 1_700_000_000
    assert f'{name}{{service="PLAN"}}' not in series


def test_histograms_only_count_successes(running_system: RunningSystem) -> None:
    """A failed attempt at SISU and a failed batch are not counted in the histograms of durations."""
    rejected = list(running_system.sisu.expected("PERSON"))[:3]
    running_system.start_mankeli(*(argument for entity in rejected for argument in ("--fail-id", entity)))
    running_system.sisu.fault("status", service="PERSON", status=500, times=1)
    producer = running_system.start_producer(SERVICES="PERSON", DEAD_LETTER_LIMIT="0")
    producer.wait_for('"run_finished"')
    series = scrape(producer)
    assert series['importer_fetch_seconds_count{service="PERSON"}'] >= 1
    assert series['importer_fetch_retries_total{reason="500",service="PERSON"}'] == 1
    assert (
        series['importer_fetch_seconds_count{service="PERSON"}']
        == series['importer_fetch_response_bytes_count{service="PERSON"}']
    )
    assert 'importer_batch_settle_seconds_count{service="PERSON"}' not in series
    assert series['importer_service_failures_total{service="PERSON"}'] == 1
    assert series['importer_runs_total{result="incomplete"}'] == 1
