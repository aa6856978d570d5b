#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compare this binding with C, python3-lxc and the lxc-* commands, all in one run.

Each is a process that lives as long as a row does and does what it is told, in turn, so
that neither the start of an interpreter nor a change of the machine's load favours one
of them.  README.rst says more.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import os
import platform
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import breakeven
from lab import (
    BRIDGE,
    SIGNALS,
    Lab,
    User,
    Worker,
    floor,
    laboratory,
    ordinary_user,
    output,
    python,
    remove_cgroups,
)
from rows import ROWS, Row

PEER = "/usr/lib/python3/dist-packages"
TOLERANCE = 1.1  # how far a figure may miss its goal
NOISE = 0.03  # a smaller change of a row is none, however sure it is
SURE = 3  # standard errors
LIVES = 7  # pairs of processes in which two builds are compared
FEWEST = 5  # measurements of a row, however long they take

COLUMNS = {"base": "base", "c": "C", "peer": "python3-lxc", "cli": "lxc-*"}
TITLES = ("operation", *COLUMNS.values(), "ours", "x", "+-", "goal", "")
LINE = "{:<31}{:>10}{:>10}{:>12}{:>10}{:>10}{:>7}{:>6}{:>9}  {}"
CHANGES = "{:<31}{:>12}{:>12}{:>9}{:>8}  {}"
CHANGED = """
Medians; x: ours over before, measurement by measurement, in several pairs of processes.
slower, faster: beyond three standard errors (+-) and 3 %."""
NOTE = """
Medians.  x: ours as a multiple of the base, or of C where there is no other base: that
is C with a small heap, or lxc-attach under subprocess.  +-: the standard error.  near:
within 10 % of the goal.  A call that Ctrl-C cannot end takes two seconds."""


class Cost(NamedTuple):
    """What one operation costs, in its unit or as a multiple of the base."""

    median: float
    error: float  # the median's standard error

    @classmethod
    def of(cls, figures: list[float]) -> Cost:
        middle = median(figures)
        if len(figures) == 1 or not math.isfinite(sum(figures)):
            return cls(middle, 0.0)
        low, _, high = quantiles(figures, n=4)
        # A median has 1.253 times a mean's error; a quartile is 0.674 sigma away.
        sigma = (high - low) / (2 * 0.674)
        return cls(middle, 1.253 * sigma / math.sqrt(len(figures)))

    def data(self) -> dict[str, float | None]:
        """For JSON, which has no infinity."""
        pairs = self._asdict().items()
        return {name: x if math.isfinite(x) else None for name, x in pairs}

    def over(self, base: Cost) -> Cost:
        ratio = self.median / base.median
        relative = math.hypot(self.error / self.median, base.error / base.median)
        return Cost(ratio, ratio * relative)


class Result(NamedTuple):
    """What a row has come to."""

    row: Row
    costs: dict[str, Cost]  # of base, c, peer, cli and ours, as far as there are any
    rounds: int

    @property
    def ratio(self) -> Cost | None:
        base = self.costs.get("base", self.costs.get("c"))
        if self.row.limit is not None or base is None:
            return None
        return self.costs["ours"].over(base)

    @property
    def verdict(self) -> str:
        if self.row.limit is not None:
            found, goal = self.costs["ours"].median, self.row.limit
        elif self.row.goal is not None and self.ratio is not None:
            found, goal = self.ratio.median, self.row.goal
        else:
            return ""
        if found <= goal:
            return "met"
        return "near" if found <= goal * TOLERANCE else "missed"

    def line(self) -> str:
        row, ratio, goal = self.row, self.ratio, ""
        costs = (self.costs.get(name) for name in (*COLUMNS, "ours"))
        cells = ["" if cost is None else show(cost.median, row.unit) for cost in costs]
        if row.limit is not None:
            goal = show(row.limit, row.unit)
        elif row.goal is not None:
            goal = f"{row.goal:g}x"
        numbers = ("", "") if ratio is None else (f"{x:.2f}" for x in ratio)
        return LINE.format(row.name, *cells, *numbers, goal, self.verdict).rstrip()

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": self.row.name,
            "unit": self.row.unit,
            "goal": self.row.goal,
            "limit": self.row.limit,
            "heap": self.row.heap,
            "rounds": self.rounds,
            "verdict": self.verdict,
            "ratio": self.ratio and self.ratio.data(),
        }
        return {**found, **{name: cost.data() for name, cost in self.costs.items()}}


def show(figure: float, unit: str) -> str:
    if math.isinf(figure):
        return "never"
    if unit != "s":
        return f"{figure:.0f}" if unit == "" else f"{figure:.2f} {unit}"
    if figure >= 1e-3:
        return f"{figure * 1e3:.4g} ms"
    return f"{figure * 1e6:.3g} us"


class Change(NamedTuple):
    """What a row costs in another build of this package, and in this one."""

    row: Row
    before: Cost
    ours: Cost
    ratio: Cost  # of measurements that were made one after the other

    @property
    def verdict(self) -> str:
        change = self.ratio.median - 1
        if not abs(change) > max(NOISE, SURE * self.ratio.error):
            return ""
        return "slower" if change > 0 else "faster"

    def line(self) -> str:
        costs = (show(x.median, self.row.unit) for x in (self.before, self.ours))
        numbers = (f"{x:.3f}" for x in self.ratio)
        return CHANGES.format(self.row.name, *costs, *numbers, self.verdict).rstrip()


class Contestant(NamedTuple):
    """A process, and the operation in its language."""

    column: str
    worker: Worker
    operation: str


def contestants(
    row: Row,
    lab: Lab,
    user: User | None,
    stack: contextlib.ExitStack,
    *,
    builds: bool,
) -> list[Contestant]:
    """New processes for a row, as descriptors that an attach leaks add up.

    Of two builds of this package, the peer is the one before.
    """
    found = []

    def add(column: str, worker: Worker, operation: str, heap: int = 0) -> None:
        stack.enter_context(worker)
        if heap:
            worker.fill(heap)
        found.append(Contestant(column, worker, operation))

    if builds:
        add("before", python(lab, lab.peer, user), row.python, row.heap)
        add("ours", python(lab, lab.ours, user), row.python, row.heap)
        return found
    if row.rival:
        add("base", python(lab, lab.peer), row.rival)
    elif row.heap and row.goal is not None:
        add("base", floor(lab), row.c)
    if row.c:
        add("c", floor(lab, user), row.c, row.heap)
    if row.peer != "":
        add("peer", python(lab, lab.peer, user), row.peer or row.python, row.heap)
    if row.cli:
        add("cli", floor(lab), "run " + row.cli.format(**lab.names))
    add("ours", python(lab, lab.ours, user), row.python, row.heap)
    return found


def take(row: Row, lab: Lab, helper: Worker, contestant: Contestant) -> float:
    """One measurement, with what comes before and after."""
    _, worker, operation = contestant
    if row.before:
        helper.measure(1, row.before)
    # Not the same each time: the kernel's timers would lock on to it.
    time.sleep(row.gap * random.uniform(1, 1.2))
    if row.figure is not None:
        found = row.figure(lab, worker, operation)
    else:
        found = worker.measure(row.batch, operation)
    if row.after:
        helper.measure(1, row.after)
    if row.starts:
        for process in (worker, helper):
            process.return_to_our_cgroups()
        remove_cgroups(lab.stopped)
    return found


def figures_of(
    row: Row, lab: Lab, user: User | None, seconds: float, *, builds: bool = False
) -> dict[str, list[float]]:
    """Let all have their turn for that long.  The first round only warms up."""
    with contextlib.ExitStack() as stack:
        all_of_them = contestants(row, lab, user, stack, builds=builds)
        helper = stack.enter_context(floor(lab))
        figures: dict[str, list[float]] = {x.column: [] for x in all_of_them}
        end = time.monotonic() + seconds * row.times
        done = -1 if row.rounds > 1 else 0
        while done < min(FEWEST, row.rounds) or (
            done < row.rounds and time.monotonic() < end
        ):
            # Whoever comes first pays for what the machine did before.
            for contestant in all_of_them[:: 1 if done % 2 else -1]:
                found = take(row, lab, helper, contestant)
                if done >= 0:
                    figures[contestant.column].append(found)
            done += 1
    return figures


def measure(row: Row, lab: Lab, user: User | None, seconds: float) -> Result:
    figures = figures_of(row, lab, user, seconds)
    costs = {name: Cost.of(x) for name, x in figures.items()}
    return Result(row, costs, len(figures["ours"]))


def compare(row: Row, lab: Lab, user: User | None, seconds: float) -> Change:
    """In several lives, as what a process costs depends on where its memory lies."""
    before: list[float] = []
    ours: list[float] = []
    ratios: list[float] = []
    for _ in range(LIVES):
        figures = figures_of(row, lab, user, seconds / LIVES, builds=True)
        before += figures["before"]
        ours += figures["ours"]
        # What is never, or none at all, has no ratio.
        pairs = zip(figures["ours"], figures["before"])
        found = [x / y for x, y in pairs if y and math.isfinite(x)]
        ratios.append(median(found or [1.0]))
    return Change(row, Cost.of(before), Cost.of(ours), Cost.of(ratios))


# --- What the figures depend on -------------------------------------------------------


def find_ours(peer: str) -> str | None:
    """The directory from which this interpreter would import lxc, if not the peer's."""
    spec = importlib.util.find_spec("lxc")
    if spec is None or spec.origin is None:
        return None
    directory = str(Path(spec.origin).parent.parent)
    return None if directory == peer else directory


def version_of_peer(peer: str) -> str:
    """The version that a package or its metadata says."""
    if peer == PEER:
        return output("dpkg-query", "-W", "-f", "${Version}", "python3-lxc")
    for metadata in Path(peer).glob("python3_lxc-*"):
        return metadata.stem.partition("-")[2]
    return "of an unknown version"


def facts(lab: Lab) -> dict[str, str]:
    with floor(lab) as c, python(lab, lab.peer) as peer, python(lab, lab.ours) as ours:
        liblxc = c.greeting.strip()
        peer_liblxc, _, _ = peer.greeting.split()
        our_liblxc, version, interpreter = ours.greeting.split()
    if not liblxc == peer_liblxc == our_liblxc:
        sys.exit(f"versions of liblxc differ: {liblxc}, {peer_liblxc}, {our_liblxc}")
    cpus, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return {
        "machine": f"{cpus} CPUs, Linux {platform.release()}, load {load:.2f}",
        "liblxc": liblxc,
        "python3-lxc": version_of_peer(lab.peer),
        "ours": "the peer again" if lab.ours == lab.peer else version,
        "Python": interpreter,
    }


def free_memory() -> int:
    """MiB that are to be had."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    line = next(line for line in lines if line.startswith("MemAvailable:"))
    return int(line.split()[1]) // 1024


def parse(names: list[str]) -> tuple[argparse.Namespace, list[Row]]:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add: Callable[..., Any] = parser.add_argument
    add(
        "--ours",
        metavar="DIRECTORY",
        help="where the lxc package to measure is (default: where this Python has it)",
    )
    add(
        "--peer",
        metavar="DIRECTORY",
        default=PEER,
        help="where python3-lxc is (default: %(default)s)",
    )
    add(
        "--seconds",
        type=float,
        default=5,
        help="how long the measurements of a row take (default: %(default)s)",
    )
    add(
        "--only",
        metavar="TEXT",
        default="",
        help=f"only rows with TEXT in their name: {', '.join(names)}",
    )
    add("--skip", metavar="TEXT", help="no rows with TEXT in their name")
    add("--json", metavar="FILE", help="write the results there, too")
    add(
        "--compare",
        metavar="DIRECTORY",
        help="only say what is slower and what is faster than the lxc package there",
    )
    options = parser.parse_args()
    options.peer = os.path.abspath(options.compare or options.peer)
    options.ours = options.ours or find_ours(options.peer)
    if options.ours is None:
        parser.error("this Python has no lxc but Debian's: install ours or use --ours")
    options.ours = os.path.abspath(options.ours)
    if os.geteuid() != 0:
        parser.error("containers need root")
    if not os.path.isdir(os.path.join(options.peer, "lxc")):
        parser.error(f"there is no lxc package in {options.peer}: install python3-lxc")
    if not os.path.isdir(f"/sys/class/net/{BRIDGE}"):
        parser.error(f"there is no bridge {BRIDGE}: start lxc-net")
    rows = [
        row
        for row in ROWS
        if options.only in row.name
        and (options.skip is None or options.skip not in row.name)
    ]
    need = max((3 * row.heap + 1024 for row in rows if row.heap), default=0)
    if free_memory() < need:
        parser.error(f"that takes {need} MiB of memory: say --skip GiB, for instance")
    return options, rows


def print_changes(lab: Lab, rows: list[Row], seconds: float) -> int:
    """1 if there is a row that is slower than before."""
    slower = []
    print(CHANGES.format("operation", "before", "ours", "x", "+-", "").rstrip())
    for row in rows:
        with ordinary_user(lab) if row.user else contextlib.nullcontext() as user:
            change = compare(row, lab, user, seconds)
        print(change.line(), flush=True)
        if change.verdict == "slower":
            slower.append(row.name.strip())
    print(CHANGED)
    if slower:
        print(f"\nslower than before: {', '.join(slower)}", file=sys.stderr)
    return 1 if slower else 0


def main() -> int:
    options, rows = parse([row.name.strip() for row in ROWS])
    for number in SIGNALS:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    results = []
    if options.compare:
        with laboratory(options.peer, options.ours) as lab:
            return print_changes(lab, rows, options.seconds)
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(laboratory(options.peer, options.ours))
        found = facts(lab)
        print(*(f"{key:<13}{value}" for key, value in found.items()), "", sep="\n")
        print(LINE.format(*TITLES))
        for row in rows:
            with ordinary_user(lab) if row.user else contextlib.nullcontext() as user:
                results.append(measure(row, lab, user, options.seconds))
            print(results[-1].line(), flush=True)
        points = breakeven.measure(lab) if not options.only else []
    print(NOTE)
    if options.json:
        data = {
            "facts": found,
            "rows": [result.data() for result in results],
            "break even": points,
        }
        Path(options.json).write_text(json.dumps(data, indent=1) + "\n")
    print(*breakeven.lines(points), sep="\n")
    missed = [x.row.name.strip() for x in results if x.verdict == "missed"]
    if missed:
        print(f"\nmore than 10 % beyond the goal: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
