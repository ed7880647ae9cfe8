"""The plots of docs/performance.md, from the kept results: medians, with whiskers for the whole range."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no window, and no display needed
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

Figures = Mapping[str, Any]
_SIZE_INCHES = (7.0, 3.6)
_DOTS_PER_INCH = 120
_IMPORTER, _OTHER, _THIRD = "#1565c0", "#9e9e9e", "#ef6c00"


def draw_all(results: Figures, folder: Path) -> None:
    """Draw each plot whose scenario was measured, as `<name>.png` in `folder`."""
    for scenario, (name, draw) in _PLOTS.items():
        if scenario in results:
            figure, axes = plt.subplots(figsize=_SIZE_INCHES, layout="constrained")
            draw(axes, results[scenario])
            axes.spines[["top", "right"]].set_visible(False)
            # No date, no version: the same results give the same file.
            figure.savefig(folder / f"{name}.png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
            plt.close(figure)


def _plot_range(
    axes: Axes, positions: Sequence[float], values: Sequence[Sequence[float]], label: str, colour: str
) -> None:
    medians = [median(each) for each in values]
    below = [middle - min(each) for middle, each in zip(medians, values, strict=True)]
    above = [max(each) - middle for middle, each in zip(medians, values, strict=True)]
    axes.errorbar(positions, medians, yerr=(below, above), label=label, color=colour, marker="o", capsize=3)


def _label(axes: Axes, title: str, x_label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def _by_latency(axes: Axes, figures: Figures) -> None:
    latencies = [float(latency) for latency in figures]
    for name, label, colour in (("fetch", "fetching alone", _OTHER), ("importer", "the importer", _IMPORTER)):
        _plot_range(axes, latencies, [each[name] for each in figures.values()], label, colour)
    _label(axes, "Entities per second by SISU's latency for a page of 1,000", "ms per page")


def _by_page_size(axes: Axes, figures: Figures) -> None:
    sizes = [float(size) for size in figures["importer"]]
    _plot_range(axes, sizes, list(figures["importer"].values()), "entities per second", _IMPORTER)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    _label(axes, "Entities per second, and memory, by page size, at 0 ms per page", "entities per page")
    memory = axes.twinx()
    memory.plot(sizes, list(figures["producer_peak_mb"].values()), color=_THIRD, marker="s", linestyle="--")
    memory.set_ylabel("producer's peak, MB (dashed)", color=_THIRD)
    memory.set_ylim(bottom=0)
    memory.spines["top"].set_visible(False)


def _by_collectors(axes: Axes, figures: Figures) -> None:
    _plot_range(axes, [int(number) for number in figures], list(figures.values()), "", _IMPORTER)
    axes.set_xticks([int(number) for number in figures])
    _label(axes, "Feedback per second by the number of collectors", "collectors")


def _memory(axes: Axes, figures: Figures) -> None:
    samples = figures["long"]["memory_mb"]
    seconds = [sample[0] for sample in samples]
    axes.plot(seconds, [sample[1] for sample in samples], label="producer", color=_IMPORTER)
    axes.plot(seconds, [sample[2] for sample in samples], label="ack_collector", color=_THIRD)
    entities = figures["long"]["entities"]
    axes.set_title(f"Resident memory while {entities:,} entities are imported, MB")
    axes.set_xlabel("seconds since the start")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _step_breakdown(axes: Axes, figures: Figures) -> None:
    steps = figures["steps_ms"]
    bars = axes.barh(list(steps), list(steps.values()), color=_IMPORTER)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title("Where a batch of 1,000 entities spends its time, ms")


_PLOTS: Mapping[str, tuple[str, Callable[[Axes, Figures], None]]] = {
    "latency": ("latency", _by_latency),
    "page_size": ("page-size", _by_page_size),
    "collectors": ("collectors", _by_collectors),
    "length": ("memory", _memory),
    "step_breakdown": ("steps", _step_breakdown),
}
