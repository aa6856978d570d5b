# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes on around a Python function that runs inside a container.

The extension calls prepare() before it forks and, in the attached process, what
prepare() returned.  Everything that is needed there is imported here: inside, the files
are the container's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable

from . import _lxc
from ._streams import flush

__all__ = ["prepare", "run"]

FAILED = 255


def prepare() -> Callable[[Callable[..., object], tuple[object, ...]], int]:
    """Flush the standard streams, lest the child write their buffers again."""
    flush()
    known = b"".join(b"%b=%b\0" % pair for pair in os.environb.items())
    return lambda function, arguments: run(known, function, arguments)


def run(
    known: bytes,
    function: Callable[..., object],
    arguments: tuple[object, ...],
) -> int:
    """Call the function in the attached process; return its exit status."""
    try:
        adopt_environment(known)
        return exit_status(function(*arguments))
    except SystemExit as error:
        return status_of_exit(error.code)
    except KeyboardInterrupt:
        report()
        flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return FAILED
    except BaseException:
        report()
        return FAILED
    finally:
        flush()


def exit_status(result: object) -> int:
    if result is None:
        return 0
    return result & 0xFF if isinstance(result, int) else FAILED


def status_of_exit(code: object) -> int:
    """The status of sys.exit(code), as the interpreter has it."""
    if code is None or isinstance(code, int):
        return exit_status(code)
    with contextlib.suppress(Exception):
        print(code, file=sys.stderr)
    return 1


def report() -> None:
    """Show the exception as an interpreter does that ends by it."""
    error = sys.exc_info()
    try:
        sys.excepthook(*error)
    except BaseException:
        with contextlib.suppress(Exception):
            traceback.print_exception(*error)


def adopt_environment(known: bytes) -> None:
    """Make os.environ, of which this is known, what liblxc made for this process."""
    new, gone = _lxc._environment(known)
    for entry in gone:
        os.environ.pop(entry.partition("=")[0], None)
    for entry in new:
        name, separator, value = entry.partition("=")
        if name and separator:
            os.environ[name] = value
