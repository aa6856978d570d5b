# SPDX-License-Identifier: LGPL-2.1-or-later
"""From which heap on the launcher is quicker than a fork: see spawn.c."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import linear_regression, median
from typing import Any

from lab import Lab, floor, python, remove_cgroups

HEAPS = (0, 8, 16, 32, 64)
ALWAYS, NEVER = 0, 1 << 40
ROUNDS = 15

TRUE = "assert running.attach_wait(lxc.attach_run_command, ['/bin/true']) == 0"
OPERATIONS = {
    "attach_wait": (TRUE, ""),
    "attach_wait, with threads": (TRUE, ""),
    "start": ("assert stopped.start()", "stop_and_wait"),
}


def measure(lab: Lab) -> list[dict[str, Any]]:
    """What each operation takes both ways at each heap, in seconds."""
    return [one(lab, name, heap) for name in OPERATIONS for heap in HEAPS]


def one(lab: Lab, name: str, heap: int) -> dict[str, Any]:
    statement, after = OPERATIONS[name]
    seconds: dict[int, list[float]] = {ALWAYS: [], NEVER: []}
    with python(lab, lab.ours) as worker, floor(lab) as helper:
        worker.fill(heap)
        if "threads" in name:
            worker.measure(1, "idle_thread()")
        for number in range(ROUNDS + 1):
            for threshold, found in seconds.items():
                worker.measure(1, f"lxc._lxc._launcher({threshold})")
                found.append(worker.measure(1 if after else 4, statement))
                if after:
                    helper.measure(1, after)
                    worker.return_to_our_cgroups()
                    remove_cgroups(lab.stopped)
                if number == 0:  # warms up
                    found.clear()
        return {
            "operation": name,
            "heap": heap,
            "own memory": worker.value("own_memory()"),
            "launcher": median(seconds[ALWAYS]),
            "fork": median(seconds[NEVER]),
        }


def crossing(points: list[dict[str, Any]]) -> float:
    """MiB of own memory at which a fork, which costs more with each, takes as long."""
    memory = [point["own memory"] for point in points]
    slope, start = linear_regression(memory, [point["fork"] for point in points])
    return (median(point["launcher"] for point in points) - start) / slope


def lines(points: list[dict[str, Any]]) -> Iterator[str]:
    if points:
        yield "\nBy the launcher, and by a fork, by MiB of the process's own memory:"
    for name in dict.fromkeys(point["operation"] for point in points):
        ours = [point for point in points if point["operation"] == name]
        cells = (
            f"{p['own memory']:.0f}: {p['launcher'] * 1e3:.2f} / {p['fork'] * 1e3:.2f}"
            for p in ours
        )
        yield f"{name:<27}{'  '.join(cells)} ms; even at {crossing(ours):.0f} MiB"
