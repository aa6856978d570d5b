# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes on around a Python function that runs inside a container.

The extension calls prepare() before it forks and, in the attached process, what
prepare() returned.  Everything that is needed there is imported here: inside, the files
are the container's.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable

from . import _lxc
from ._streams import flush

TYPE_CHECKING = False  # of typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

__all__ = ["prepare", "run"]

FAILED = 255


def prepare() -> Callable[[Callable[..., object], tuple[object, ...], bool], int]:
    """Flush the standard streams, lest the child write their buffers again."""
    flush()
    known = b"".join(b"%b=%b\0" % pair for pair in os.environb.items())
    return lambda *call: run(known, *call)


def run(
    known: bytes,
    function: Callable[..., object],
    arguments: tuple[object, ...],
    threaded: bool,
) -> int:
    """Call the function in the attached process; return its exit status."""
    try:
        if threaded:
            renew_streams()
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


# --- Streams --------------------------------------------------------------------------

# The streams of before: were they freed, they would write their buffers.
_abandoned: list[object] = []


def renew_streams() -> None:
    """Have new streams in the place of those that another thread may have locked.

    A thread that was printing at the fork, or waiting for input, is not here to give
    the lock of the stream's buffer back, which nothing makes new.
    """
    renewed: dict[int, object] = {}

    def renew(stream: Any) -> Any:
        if id(stream) not in renewed:
            renewed[id(stream)] = anew(stream)
        return renewed[id(stream)]

    for name in ("stdin", "stdout", "stderr"):
        for each in (name, f"__{name}__"):
            setattr(sys, each, renew(getattr(sys, each)))
    logging = sys.modules.get("logging")
    for reference in list(getattr(logging, "_handlerList", ())):
        handler = reference()
        if "stream" in getattr(handler, "__dict__", ()):
            handler.stream = renew(handler.stream)


def anew(stream: Any) -> Any:
    """A stream like that one, to the same file; the stream where it cannot be had."""
    buffer: Any = getattr(stream, "buffer", None)
    kind: Any = type(buffer)
    modes: dict[Any, str] = {io.BufferedReader: "r", io.BufferedWriter: "w"}
    if type(stream) is not io.TextIOWrapper or kind not in modes:
        return stream
    try:
        raw = io.FileIO(buffer.raw.fileno(), modes[kind], closefd=False)
        new: Any = io.TextIOWrapper(
            kind(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            newline="\n",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
    except (OSError, ValueError):
        return stream  # it is closed
    with contextlib.suppress(AttributeError):
        raw.name = buffer.raw.name
        new.mode = stream.mode
    _abandoned.append(stream)
    return new
