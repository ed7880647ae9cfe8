"""The performance goals, as data: each is a bound on a ratio within one run, or on a measured value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Results = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """`measured` returns one value for each repetition; their median must keep the bound."""

    text: str
    scenario: str
    bound: float
    at_most: bool
    measured: Callable[[Results], Sequence[float]]
    """From the figures of the scenario."""
    limit: str
    """What limits the value: shown if the goal is missed."""
    unit: str = ""


@dataclass(frozen=True)
class Outcome:
    """A goal with its measured value."""

    goal: Goal
    value: float
    lowest: float
    highest: float

    @property
    def met(self) -> bool:
        """Whether the median keeps the bound."""
        return self.value <= self.goal.bound if self.goal.at_most else self.value >= self.goal.bound


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [numerator / denominator for numerator, denominator in zip(above, below, strict=True)]


def _to_baseline(name: str) -> Callable[[Results], list[float]]:
    return lambda figures: _ratios(figures["importer"], figures[name])


def _to_fixed_page_size(figures: Results) -> list[float]:
    return _ratios(figures["adapted"], figures["fixed"])


def _to_fetching(figures: Results) -> list[float]:
    return _ratios(figures["50"]["importer"], figures["50"]["fetch"])


def _to_the_slower(figures: Results) -> list[float]:
    slower = [max(fetch, figures["mankeli_seconds"]) for fetch in figures["fetch_seconds"]]
    return _ratios(figures["batch_seconds"], slower)


def _long_to_short(name: str) -> Callable[[Results], list[float]]:
    return lambda figures: _ratios(figures["long"][name], figures["short"][name])


def _to_requests(figures: Results) -> list[float]:
    request = median(figures["request_seconds"])
    return [run["seconds"] / (run["requests"] * request) for run in figures["hourly"]]


def _two_to_one_collector(figures: Results) -> list[float]:
    return _ratios(figures["2"], figures["1"])


_CORES = "processes share the cores: "

GOALS = (
    Goal(
        "0 ms a page, null mankelis: of the baseline loop, one step after another",
        "throughput",
        0.6,
        False,
        _to_baseline("baseline"),
        _CORES + "a batch waits for the round trip through NATS, mankeli, NATS, collector and Redis",
    ),
    Goal(
        "the same, of a baseline loop that fetches ahead, as the importer does",
        "throughput",
        0.6,
        False,
        _to_baseline("baseline_ahead"),
        _CORES + "the baseline loop keeps both busy by itself, and the other processes of an import need their share",
    ),
    Goal(
        "50 ms a page: of the rate of fetching alone",
        "latency",
        0.95,
        False,
        _to_fetching,
        "the transition between two batches",
    ),
    Goal(
        "50 ms a page, 50 ms a batch: to the slower of the two",
        "latency_overlap",
        1.1,
        True,
        _to_the_slower,
        "mankelis idle from a batch's last feedback to the next one's first chunk",
    ),
    Goal("cost per entity, long to short import", "length", 1.1, True, _long_to_short("seconds_per_entity"), "noise"),
    Goal(
        "producer's peak memory, long to short import",
        "length",
        1.1,
        True,
        _long_to_short("producer_peak_mb"),
        "the allocator's fragments",
    ),
    Goal(
        "producer's peak memory, pages of 1.9 MB",
        "length",
        120,
        True,
        lambda figures: figures["long"]["producer_peak_mb"],
        "two pages and their chunks",
        "MB",
    ),
    Goal(
        "collector's peak memory",
        "length",
        60,
        True,
        lambda figures: figures["long"]["collector_peak_mb"],
        "imported libraries",
        "MB",
    ),
    Goal(
        "feedback per second, one collector", "collectors", 5000, False, lambda figures: figures["1"], "its processor"
    ),
    Goal(
        "two collectors, to one",
        "collectors",
        1.7,
        False,
        _two_to_one_collector,
        "two collectors, NATS and Redis need four cores",
    ),
    Goal("a run with nothing new, to its requests", "idle_run", 1.15, True, _to_requests, "Redis between two requests"),
    Goal(
        "a batch with one bad entity, to a clean one",
        "isolation",
        3,
        True,
        lambda figures: _ratios(figures["failing_batch_seconds"], figures["clean_batch_seconds"]),
        "seven halvings in sequence, each a round trip through all processes",
    ),
    Goal(
        "20 ms a page, FETCH_AMOUNT_MAX=4000: to a fixed 1,000",
        "adaptive",
        1,
        False,
        _to_fixed_page_size,
        "trials of page sizes that gain nothing",
    ),
    Goal(
        "over STAN: of what the same workers do, fed by a bare publisher of STAN",
        "over_stan",
        0.6,
        False,
        lambda figures: _ratios(figures["importer"], figures["bare"]),
        "each chunk passes two brokers, and STAN writes both ways to its disk",
    ),
    Goal(
        "start-up to the first chunk",
        "start",
        1.2,
        True,
        lambda figures: figures["seconds"],
        "importing libraries",
        "s",
    ),
)


def evaluate_goals(results: Results) -> list[Outcome]:
    """Return the outcome of each goal whose scenario was measured."""
    outcomes = []
    for goal in GOALS:
        if results.get(goal.scenario):  # empty where what it needs is not on this machine
            values = goal.measured(results[goal.scenario])
            outcomes.append(Outcome(goal, median(values), min(values), max(values)))
    return outcomes
