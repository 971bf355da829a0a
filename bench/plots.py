"""Plots of delays as SVG; matplotlib is in the dependency group `bench`."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import percentile

_SIZE_INCHES = (8.0, 3.6)
_PERCENTS = range(1, 101)


def plot_delays(path: Path, title: str, samples: Mapping[str, Sequence[float]]) -> None:
    """Write how many percent of each one's delays, in ms, are at most how long.

    Raises:
        ModuleNotFoundError: Without `uv run --group bench`.
    """
    matplotlib: Any = importlib.import_module("matplotlib")
    figures: Any = importlib.import_module("matplotlib.figure")
    # Equal figures give equal files.
    matplotlib.rcParams["svg.hashsalt"] = "bench"
    figure = figures.Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    for name, values in samples.items():
        if values:
            delays = [max(0.1, percentile(values, percent)) for percent in _PERCENTS]
            axes.step(delays, list(_PERCENTS), where="post", label=name)
    axes.set(title=title, xlabel="at most, ms", ylabel="percent", xscale="log", ylim=(0, 102))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, format="svg", metadata={"Date": None})
