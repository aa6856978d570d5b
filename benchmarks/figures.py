# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured of an operation other than its time.

Each takes the laboratory, a process that does the operation, and the operation as that
process understands it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lab import PYTHON, Lab, Worker, floor, output

ATTACHES = 2000


def import_seconds(lab: Lab, worker: Worker, operation: str) -> float:
    """How long a new interpreter takes to import lxc."""
    program = """
import sys
from time import perf_counter
sys.path.insert(0, sys.argv[1])
begin = perf_counter()
import lxc
print(perf_counter() - begin)
"""
    return float(output(PYTHON, "-I", "-S", "-c", program, worker.directory))


def descriptors(lab: Lab, worker: Worker, operation: str) -> float:
    """How many descriptors stay open after many operations."""
    directory = f"/proc/{worker.pid}/fd"
    before = len(os.listdir(directory))
    worker.measure(ATTACHES, operation)
    return len(os.listdir(directory)) - before


def kept_memory(lab: Lab, worker: Worker, operation: str) -> float:
    """MiB that only the container's monitor has, when the caller's are others."""
    worker.measure(1, operation)
    worker.rewrite()
    init = output("lxc-info", "-P", lab.path, "-n", lab.stopped, "-pH")
    monitor = status(init, "PPid")
    rollup = Path(f"/proc/{monitor}/smaps_rollup").read_text().splitlines()
    return sum(int(x.split()[1]) for x in rollup if x.startswith("Private_D")) / 1024


def status(pid: str, key: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(x.split()[1] for x in lines if x.startswith(f"{key}:"))


def address_delay(lab: Lab, worker: Worker, expression: str) -> float:
    """Seconds from when a container has an address to when the caller knows of it."""
    with floor(lab) as observer:
        observer.ask(1, "await_address")
        worker.ask("=", expression)
        observer.answer()
        there = time.monotonic()
        # A caller may see it before one that is slower to look.
        return max(float(worker.answer()) - there, 1e-6)


def at_once(lab: Lab, worker: Worker, operation: str) -> float:
    """What many threads take for what one takes in turn, as a part of that."""
    in_turn = worker.measure(1, operation)
    worker.return_to_our_cgroups()
    return worker.measure(1, operation.replace("in_turn", "at_once")) / in_turn


def stall(lab: Lab, worker: Worker, statement: str) -> float:
    """For how long another thread of Python could not run."""
    return worker.value(f"longest_stall({statement!r})")


def interrupt(lab: Lab, worker: Worker, statement: str) -> float:
    """Seconds from a SIGINT to the KeyboardInterrupt."""
    worker.ask("=", f"interrupted({statement!r})")
    time.sleep(0.3)
    sent = time.monotonic()
    os.kill(worker.pid, signal.SIGINT)
    return float(worker.answer()) - sent
