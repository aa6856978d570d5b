# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was printed before something that prints by itself comes before its output."""

import sys

__all__ = ["flush"]


def flush() -> None:
    """Write out what sys.stdout and sys.stderr hold.

    A stream that is None, closed or broken is left as it is: whoever prints to it next
    is told.  One whose reader is slow blocks, as print() does.
    """
    # Plain, as little as can be: each page that a child touches is copied first.
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105
            stream.flush()
        except Exception:
            pass
