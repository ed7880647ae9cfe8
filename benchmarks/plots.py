"""Plots."""

from pathlib import Path
from typing import Any


def draw_all(results: dict[str, Any], folder: Path) -> None:
    """Draw."""
