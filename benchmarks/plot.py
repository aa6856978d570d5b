#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draw what run.py wrote with --json, as SVG and PNG beside that file.

python benchmarks/plot.py docs/benchmarks.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SERIES = {
    "cli": ("lxc-* command", "s", "#8c8c8c"),
    "peer": ("python3-lxc", "D", "#d1732b"),
    "c": ("C", "|", "#222222"),
    "ours": ("this binding", "o", "#1f6fb4"),
}
HEAPED = ("attach_wait of /bin/true", "start")


def full_names(rows: list[dict[str, Any]]) -> None:
    """What is indented in the table belongs to the row above."""
    above = ""
    for row in rows:
        if row["name"].startswith(" "):
            row["name"] = f"{above}, {row['name'].strip()}"
        else:
            above = row["name"]
        row["of"] = above


def goal(row: dict[str, Any]) -> float | None:
    """The row's goal in its own unit; None where there is none to draw."""
    if row["limit"] is not None:
        return row["limit"] or None
    if row["goal"] is None:
        return None
    return float(row["goal"] * row.get("base", row.get("c"))["median"])


def draw_goals(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """All rows, each as a multiple of its goal."""
    rows = [row for row in rows if goal(row) is not None]
    for number, row in enumerate(rows):
        for name, (_, marker, colour) in SERIES.items():
            median = row.get(name, {}).get("median")
            if median is not None:
                x = max(median / (goal(row) or 1), 1e-3)
                axes.plot(x, number, marker, color=colour, markersize=6)
    for marker, (label, shape, colour) in SERIES.items():
        axes.plot([], [], shape, color=colour, label=label, gid=marker)
    axes.axvspan(1e-3, 1, color="#1f6fb4", alpha=0.08, lw=0)
    axes.axvline(1, color="#1f6fb4", lw=1)
    axes.set_xscale("log")
    axes.set_xlim(1e-3, 3000)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("multiple of the goal: to the left is better, 1 and less is met")
    axes.grid(axis="x", lw=0.3)
    axes.legend(loc="lower right", fontsize=8)


def draw_heaps(axes: Axes, rows: list[dict[str, Any]], operation: str) -> None:
    """What an operation takes from a process of some size."""
    of_it = [
        row for row in rows if row["of"] == operation and "apart" not in row["name"]
    ]
    for name, (label, marker, colour) in SERIES.items():
        points = [(row["heap"], row[name]["median"]) for row in of_it if name in row]
        if points:
            # Where a heap of nothing has a place.
            xs = [max(heap, 8) for heap, _ in points]
            ys = [seconds * 1e3 for _, seconds in points]
            axes.plot(xs, ys, "-" + marker, color=colour, label=label, markersize=6)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = [max(row["heap"], 8) for row in of_it]
    axes.set_xticks(ticks, [f"{row['heap']}" for row in of_it])
    axes.set_xlabel("heap of the calling process, MiB")
    axes.set_ylabel("ms")
    axes.set_title(operation, fontsize=10)
    axes.grid(lw=0.3)


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    file = Path(sys.argv[1])
    data = json.loads(file.read_text())
    rows = data["rows"]
    full_names(rows)
    # The same picture is the same file.
    mpl.rcParams["svg.hashsalt"] = "benchmarks"
    figure = Figure(figsize=(11, 17), layout="constrained")
    grid = figure.add_gridspec(2, len(HEAPED), height_ratios=(4, 1))
    draw_goals(figure.add_subplot(grid[0, :]), rows)
    for number, operation in enumerate(HEAPED):
        draw_heaps(figure.add_subplot(grid[1, number]), rows, operation)
    found = data["facts"]
    figure.suptitle(
        f"liblxc {found['liblxc']}, python3-lxc {found['python3-lxc']}, "
        f"CPython {found['Python']}; {found['machine']}",
        fontsize=9,
    )
    figure.savefig(file.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(file.with_suffix(".png"), dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())
