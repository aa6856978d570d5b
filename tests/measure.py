# SPDX-License-Identifier: LGPL-2.1-or-later
"""Print what the tests measure: stalls, times to KeyboardInterrupt, leaks of attaches.

    python tests/measure.py [arguments for pytest]

It runs the tests that record something and prints it as a table, worst first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SELECTED = [
    *("test_signals.py", "test_threads.py", "test_leaks.py", "-k"),
    "keyboard_interrupt or thread_runs or many_attaches",
]


class Table:
    """A plugin that collects what tests recorded with record_property()."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.rows += report.user_properties

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        def worst_first(row: tuple[str, Any]) -> tuple[str, float]:
            what, value = row
            return what.split(":")[0], -value if isinstance(value, float) else 0.0

        terminalreporter.section("measured")
        for what, value in sorted(self.rows, key=worst_first):
            terminalreporter.write_line(f"{value!s:>8}  {what}")


def main() -> int:
    names = [str(HERE / name) if name.endswith(".py") else name for name in SELECTED]
    return int(pytest.main(["-q", *names, *sys.argv[1:]], plugins=[Table()]))


if __name__ == "__main__":
    sys.exit(main())
