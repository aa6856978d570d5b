# SPDX-License-Identifier: LGPL-2.1-or-later
"""A container's init as the host sees it, and how to wait for what happens there.

Once its init is known, nothing has to be asked of the container's monitor, which may
not answer: the kernel tells of the init, and says so when it has ended.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from . import _lxc
from .errors import LXCError, NotRunning, TimedOut, why_not_running

if TYPE_CHECKING:
    from . import Container
    from .errors import Kind

    T = TypeVar("T")

__all__ = ["Init", "Watch", "ask", "failure", "find_init", "read_at"]

INTERVAL = 0.02  # seconds between two looks
GRACE = 1.0  # seconds that a monitor has to answer, however short a timeout is
# How long a container may stay stopped that still has a monitor: it reboots, and its
# hooks may be slow; a program that started it in its own process lives on.
REBOOT = 10.0


def failure(container: Container, operation: str, kind: Kind, reason: str) -> LXCError:
    """An error of a method that raises, kept."""
    error = kind(operation, container.name, reason, found=reason)
    container.last_error = error
    return error


# --- Calls that may never return ------------------------------------------------------


class Late(Exception):
    """There was no answer in time."""


def ask(call: Callable[[], T], seconds: float | None) -> T:
    """What a call returns or raises; Late if that takes longer.

    The call is left alone then, in a thread of its own.
    """
    answer: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def make() -> None:
        try:
            answer.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    try:
        thread = threading.Thread(target=make, name="lxc-ask", daemon=True)
        thread.start()
    except RuntimeError:
        # Some subinterpreters have no daemon threads, and one that ends none at all.
        return call()
    if not done.wait(seconds):
        raise Late
    thread.join()
    if errors:
        error = errors.pop()
        try:
            raise error
        finally:
            del error
    return answer[0]


def get(container: Container, name: str) -> Any:
    """A property of liblxc's, whatever a subclass has by that name."""
    return getattr(_lxc.Container, name).__get__(container)


# --- The init -------------------------------------------------------------------------


def read_at(directory: int, name: str) -> bytes:
    """A file of a directory in /proc; ProcessLookupError if the process has ended."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        os.stat("stat", dir_fd=directory)  # or another file is missing
        raise
    with open(fd, "rb") as file:
        return file.read()


class Init:
    """The init of a running container: a directory in /proc, which is of no other
    process even if the number is given away.  As a context manager it is closed.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.directory = os.open(
            f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
        try:
            self.monitor = self.open_monitor()
        except BaseException:
            os.close(self.directory)
            raise

    def open_monitor(self) -> int:
        """The same of its parent, which is the container's monitor; -1 for none."""
        parent = int(self.stat()[1])
        if parent <= 0:
            return -1
        with contextlib.suppress(FileNotFoundError):
            return os.open(
                f"/proc/{parent}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )
        return -1

    def read(self, name: str) -> bytes:
        """A file of its directory; ProcessLookupError if it has ended."""
        try:
            return read_at(self.directory, name)
        except FileNotFoundError:
            raise ProcessLookupError(f"process {self.pid} has ended") from None

    def stat(self) -> list[bytes]:
        """The fields of its stat, from the state on."""
        return self.read("stat").rpartition(b")")[2].split()

    def alive(self) -> bool:
        try:
            return self.stat()[0] not in (b"Z", b"X")
        except ProcessLookupError:
            return False

    def has_monitor(self) -> bool:
        """Whether the container's monitor is there still."""
        if self.monitor < 0:
            return True
        try:
            found = read_at(self.monitor, "stat").rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return found[0] not in (b"Z", b"X")

    def close(self) -> None:
        for name in ("directory", "monitor"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Init:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def find_init(container: Container) -> Init | None:
    """The init of a container, None if it has none; it may block."""
    while (pid := get(container, "init_pid")) > 0:
        try:
            init = Init(pid)
        except (FileNotFoundError, ProcessLookupError):
            if get(container, "init_pid") == pid:
                return None  # it has ended, and its monitor has not seen that yet
            continue
        # The number may have been another's by the time that it was opened.
        if get(container, "init_pid") == pid and init.alive():
            return init
        init.close()
        return None
    return None


# --- Waiting --------------------------------------------------------------------------


class Watch:
    """Looks at a container again and again, until a time is over.

    Iterating gives its init, as it is at each look: at least once, and not where it
    boots anew.  NotRunning is raised when it has stopped, and is not rebooting.  As a
    context manager it closes what it has opened.
    """

    def __init__(
        self, container: Container, operation: str, timeout: float | None
    ) -> None:
        self.container = container
        self.operation = operation
        self.timeout = timeout
        forever = timeout is None or timeout < 0
        self.deadline = None if forever else time.monotonic() + (timeout or 0)
        self.began = False
        self.silent = False
        self.init: Init | None = None
        self._stopped_since: float | None = None

    def left(self) -> float | None:
        """The seconds that are left, at least 0; None for as many as it takes."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - time.monotonic())

    def patience(self) -> float | None:
        """How long to wait for an answer."""
        left = self.left()
        return None if left is None else max(left, GRACE)

    def ask(self, call: Callable[[], T]) -> T:
        """What a call says that may wait for the monitor, or TimedOut."""
        try:
            return ask(call, self.patience())
        except Late:
            self.silent = True
            raise self.timed_out("its monitor does not answer") from None

    def state(self) -> str:
        return str(self.ask(lambda: get(self.container, "state")))

    def __iter__(self) -> Iterator[Init]:
        while True:
            init = self.look()
            if init is not None:
                yield init
            left = self.left()
            if left == 0:
                if init is None:
                    raise self.timed_out("it has no init yet")
                return
            time.sleep(INTERVAL if left is None else min(INTERVAL, left))

    def look(self) -> Init | None:
        """The init that runs now; None if there is none, but will be."""
        if self.init is not None and self.init.alive():
            return self.init
        found = self.ask(lambda: find_init(self.container))
        if found is not None:
            self.forget()
            self.init = found
            self.began = True
            self._stopped_since = None
            return found
        if self.state() == "STOPPED":
            self.check_stopped()
        return None

    def check_stopped(self) -> None:
        """Raise NotRunning unless it reboots."""
        now = time.monotonic()
        if self._stopped_since is None:
            self._stopped_since = now
        if self.init is not None:
            reboots = self.init.has_monitor()
            if reboots and now - self._stopped_since < REBOOT:
                return
            # It may have come up in between.
            if self.state() != "STOPPED":
                return
        raise self.stopped()

    def stopped(self) -> LXCError:
        if self.began:
            return self.error(NotRunning, "it stopped meanwhile")
        return self.error(*why_not_running(self.container))

    def error(self, kind: Kind, reason: str) -> LXCError:
        return failure(self.container, self.operation, kind, reason)

    def timed_out(self, reason: str) -> LXCError:
        """The error of a time that is over; reason says what was there instead."""
        if not self.silent:
            with contextlib.suppress(Late):
                if ask(lambda: get(self.container, "state"), GRACE) == "FROZEN":
                    reason += " (it is frozen)"
        return self.error(TimedOut, f"after {seconds(self.timeout)} {reason}")

    def forget(self) -> None:
        if self.init is not None:
            self.init.close()
            self.init = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.forget()


def seconds(number: float | None) -> str:
    """A number of seconds in words."""
    return "1 second" if number == 1 else f"{number or 0:g} seconds"
