"""Divide a chunk into pieces whose sizes nothing else in a wave has. Pure: only counts."""

from collections.abc import Callable, Collection, Iterator

Sizes = tuple[int, ...]
"""The sizes of the pieces of one chunk, in the order of its entities."""


def divisions(count: int) -> Iterator[Sizes]:
    """Yield every way to divide a chunk of `count` entities: whole, then in two uneven pieces, the most even first."""
    yield (count,)
    for smaller in range((count - 1) // 2, 0, -1):
        yield count - smaller, smaller


def choose_sizes(count: int, used: Collection[int], fits: Callable[[Sizes], bool]) -> Sizes | None:
    """Return the first division whose sizes are unused and whose pieces fit into messages; None without one."""
    return next((sizes for sizes in divisions(count) if not set(sizes) & set(used) and fits(sizes)), None)


def can_fit(count: int, fits: Callable[[Sizes], bool]) -> bool:
    """Return whether some division fits into messages, in a wave in which every size is unused."""
    return any(fits(sizes) for sizes in divisions(count))
