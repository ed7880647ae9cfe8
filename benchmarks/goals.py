"""What is aimed at, as data: each goal is a ratio within one run, or a stated bound, beside what was measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Results = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """`measured` finds one value for each repetition; their median is held against the bound."""

    text: str
    scenario: str
    bound: float
    at_most: bool
    measured: Callable[[Results], Sequence[float]]
    """From the figures of the scenario."""
    limit: str
    """What bounds it: said where the goal is missed."""
    unit: str = ""


@dataclass(frozen=True)
class Outcome:
    """A goal beside its measured value."""

    goal: Goal
    value: float
    lowest: float
    highest: float

    @property
    def met(self) -> bool:
        """Whether the median keeps the bound."""
        return self.value <= self.goal.bound if self.goal.at_most else self.value >= self.goal.bound


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]


def _to_bare(name: str) -> Callable[[Results], list[float]]:
    return lambda figures: _ratios(figures["importer"], figures[name])


def _adapted(figures: Results) -> list[float]:
    return _ratios(figures["adapted"], figures["fixed"])


def _to_fetching(figures: Results) -> list[float]:
    return _ratios(figures["50"]["importer"], figures["50"]["fetch"])


def _to_the_slower(figures: Results) -> list[float]:
    slower = [max(fetch, figures["mankeli_seconds"]) for fetch in figures["fetch_seconds"]]
    return _ratios(figures["batch_seconds"], slower)


def _longer(name: str) -> Callable[[Results], list[float]]:
    return lambda figures: _ratios(figures["long"][name], figures["short"][name])


def _hourly(figures: Results) -> list[float]:
    request = median(figures["request_seconds"])
    return [run["seconds"] / (run["requests"] * request) for run in figures["hourly"]]


def _two_collectors(figures: Results) -> list[float]:
    return _ratios(figures["2"], figures["1"])


_CORES = "processes share the cores: "

GOALS = (
    Goal(
        "0 ms a page, null mankelis: of the bare loop, one step after another",
        "throughput",
        0.6,
        False,
        _to_bare("bare"),
        _CORES + "a batch waits for the round through NATS, mankeli, NATS, collector and Redis",
    ),
    Goal(
        "the same, of a bare loop that fetches ahead, as the importer does",
        "throughput",
        0.6,
        False,
        _to_bare("bare_ahead"),
        _CORES + "the bare loop keeps both busy by itself, and the other processes of an import want their part",
    ),
    Goal("50 ms a page: of what fetching alone does", "latency", 0.95, False, _to_fetching, "the join of two batches"),
    Goal(
        "50 ms a page, 50 ms a batch: to the slower of the two",
        "both_slow",
        1.1,
        True,
        _to_the_slower,
        "mankelis idle from a batch's last feedback to the next one's first chunk",
    ),
    Goal(
        "cost per entity, long to short import", "length", 1.1, True, _longer("seconds_per_entity"), "noise of the run"
    ),
    Goal(
        "producer's peak memory, long to short import",
        "length",
        1.1,
        True,
        _longer("producer_peak_mb"),
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
    Goal("feedback a second, one collector", "collectors", 5000, False, lambda figures: figures["1"], "its processor"),
    Goal(
        "two collectors, of one",
        "collectors",
        1.7,
        False,
        _two_collectors,
        "two collectors, NATS and Redis want four cores",
    ),
    Goal("a run with nothing new, to its requests", "nothing_new", 1.15, True, _hourly, "Redis between two requests"),
    Goal(
        "a batch with one bad entity, to a clean one",
        "isolation",
        3,
        True,
        lambda figures: _ratios(figures["failing_batch_seconds"], figures["clean_batch_seconds"]),
        "seven halvings, one after another, each a round through everything",
    ),
    Goal(
        "20 ms a page, FETCH_AMOUNT_MAX=4000: to a fixed 1,000",
        "adaptive",
        1,
        False,
        _adapted,
        "the trials of sizes that do not pay",
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


def judge(results: Results) -> list[Outcome]:
    """Each goal whose scenario was measured."""
    outcomes = []
    for goal in GOALS:
        if goal.scenario in results:
            values = goal.measured(results[goal.scenario])
            outcomes.append(Outcome(goal, median(values), min(values), max(values)))
    return outcomes
