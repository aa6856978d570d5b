# SPDX-License-Identifier: LGPL-2.1-or-later
"""monitor(): the changes of state of containers, as lxc-monitor reports them.

Not monitor.py: a module of that name would take the place of the function in lxc.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import _lxc
from ._init import read_at, seconds
from .errors import LXCError, TimedOut

if TYPE_CHECKING:
    from . import Path, Text

__all__ = ["Monitor", "StateChange"]

PROGRAM = "lxc-monitor"
PACKAGE = "lxc (Debian, Ubuntu, Fedora, EPEL, Alpine)"
# A shell that becomes lxc-monitor when it is told to.
WAIT_AND_RUN = 'read -r go && exec "$@" </dev/null'
READY = 10.0  # seconds in which it is to be subscribed
ATTEMPTS = 3  # lxc-monitord, which it talks to, may be about to end
LONGEST_NAME = 200  # bytes
SPECIAL = frozenset(r".[]\^$*+?{}()|")
SAYS = "' changed state to ["
CONNECTED, CONNECTING = "03", "02"  # as /proc/net/unix has it


class StateChange(NamedTuple):
    """A container is in another state than before.

    name is the container's, state one of lxc.get_wait_states(), such as "RUNNING", and
    time when that was heard of, in seconds as time.time() has them.
    """

    name: str
    state: str
    time: float


def checked_name(name: Text) -> str:
    if not isinstance(name, (str, bytes)):
        raise TypeError(f"a container's name is a str, not {name!r}")
    data = os.fsencode(name)
    if data in (b"", b".", b"..") or len(data) > LONGEST_NAME:
        raise ValueError(f"{name!r} is no container's name")
    if any(byte in data for byte in (b"/", b"\0", b"\n")):
        raise ValueError(f"{name!r} is no container's name")
    return os.fsdecode(data)


def expression(names: Sequence[str]) -> str:
    """The POSIX regular expression of names that lxc-monitor is to report."""
    if not names:
        return ".*"
    # What is not special in one may not be escaped.
    escaped = ("".join(f"\\{c}" if c in SPECIAL else c for c in n) for n in names)
    return f"({'|'.join(escaped)})"


class Monitor:
    """The changes of state of containers, from when it was made.  See lxc.monitor().

    Iterating gives each StateChange as it comes, and ends with close().
    """

    def __init__(self, names: Sequence[Text], config_path: Path | None) -> None:
        self._fds: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._buffer = b""
        self._reading = threading.Lock()
        self.names = tuple(checked_name(name) for name in names)
        path = config_path or _lxc.get_global_config_item("lxc.lxcpath")
        self.config_path = os.path.abspath(os.fsdecode(path))
        _living.add(self)
        try:
            for attempt in range(1, ATTEMPTS + 1):
                self._spawn()
                if self._is_subscribed(last=attempt == ATTEMPTS):
                    break
                self._end()
        except BaseException:
            self.close()
            raise

    # --- The program ------------------------------------------------------------------

    def _spawn(self) -> None:
        """Start lxc-monitor so that it does not outlive this process.

        It has a pipe for which the kernel kills it when the other end is closed, as the
        end of this process does.  Until that is set up it waits, and ends if it waits
        in vain.
        """
        leash, self._leash = self._pipe()
        go, start = self._pipe()
        self._output, output = self._pipe()
        self._errors = os.memfd_create("lxc-monitor", os.MFD_CLOEXEC)
        self._fds.append(self._errors)
        command = [PROGRAM, "-P", self.config_path, "-n", expression(self.names)]
        found = self._find_program()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", WAIT_AND_RUN, "sh", found, *command[1:]],
            stdin=go,
            stdout=output,
            stderr=self._errors,
            pass_fds=(leash,),
            cwd="/",
            start_new_session=True,  # Ctrl-C is for this process
        )
        fcntl.fcntl(leash, fcntl.F_SETOWN, self._process.pid)
        fcntl.fcntl(leash, F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(leash, fcntl.F_GETFL)
        fcntl.fcntl(leash, fcntl.F_SETFL, flags | fcntl.FASYNC)
        os.write(start, b"go\n")
        for fd in (leash, go, start, output):
            self._fds.remove(fd)
            os.close(fd)
        os.set_blocking(self._output, False)

    def _pipe(self) -> tuple[int, int]:
        pair = os.pipe()
        self._fds += pair
        return pair

    def _find_program(self) -> str:
        for directory in os.get_exec_path():
            path = os.path.join(directory, PROGRAM)
            if os.access(path, os.X_OK):
                return os.path.abspath(path)
        raise FileNotFoundError(
            2,
            f"lxc.monitor() needs this program: install the package {PACKAGE}",
            PROGRAM,
        )

    # --- Whether it is subscribed -----------------------------------------------------

    def _is_subscribed(self, *, last: bool) -> bool:
        """Wait until lxc-monitord reports to it; False if that was about to end.

        It does so from when it has accepted the connection.  lxc-monitor is connected
        before; only accepted are those that no longer wait for it.
        """
        assert self._process is not None
        deadline = time.monotonic() + READY
        directory = os.open(
            f"/proc/{self._process.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
        try:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    break
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    if self._is_accepted(directory):
                        return True
                time.sleep(0.002)
            else:
                raise self._error(f"lxc-monitord did not answer in {seconds(READY)}")
        finally:
            os.close(directory)
        if last:
            raise self._ended()
        return False

    def _is_accepted(self, directory: int) -> bool:
        sockets = {
            target[len("socket:[") : -1]
            for target in links(directory)
            if target.startswith("socket:[")
        }
        # In this order: what is connected by now waits to be accepted, or was.
        connected = any(
            line[5] == CONNECTED and line[6] in sockets
            for line in unix_sockets(directory)
        )
        return connected and not any(
            line[5] == CONNECTING and line[7:] and line[7].startswith("@lxc/")
            for line in unix_sockets(directory)
        )

    # --- Reading ----------------------------------------------------------------------

    def next_change(self, timeout: float | None = None) -> StateChange:
        """Wait for the next change of state and return it.

        timeout is in seconds, None for ever.  TimedOut when there was none by then;
        ValueError after close(); LXCError when lxc-monitor has ended.
        """
        if timeout is not None and timeout < 0:
            timeout = None
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._reading.acquire(timeout=-1 if timeout is None else timeout):
            raise self._late(timeout)
        try:
            while (change := self._take()) is None:
                if self._closed:
                    raise ValueError("this monitor is closed")
                if not self._await(deadline):
                    raise self._late(timeout)
            return change
        finally:
            self._reading.release()
            if self._closed:
                self._close_fds()

    def _await(self, deadline: float | None) -> bool:
        """Read what comes next; False if nothing does by then."""
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        # Rounded up: it would spin through the last millisecond.
        if not poll.poll(None if left is None else int(left * 1000) + 1 if left else 0):
            return False
        try:
            data = os.read(self._output, 1 << 16)
        except BlockingIOError:
            return True
        if not data and not self._closed:
            raise self._ended()
        self._buffer += data
        return True

    def _take(self) -> StateChange | None:
        """The next change of what was read, None if there is no whole one."""
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            name, said, state = os.fsdecode(line).rpartition(SAYS)
            if not said or not name.startswith("'") or not state.endswith("]"):
                continue
            if not self.names or name[1:] in self.names:
                return StateChange(name[1:], state[:-1], time.time())
        return None

    def __iter__(self) -> Iterator[StateChange]:
        return self

    def __next__(self) -> StateChange:
        try:
            return self.next_change()
        except ValueError:
            raise StopIteration from None

    # --- Errors -----------------------------------------------------------------------

    def _error(self, reason: str) -> LXCError:
        return LXCError("monitor", ", ".join(self.names) or "*", reason, found=reason)

    def _late(self, timeout: float | None) -> LXCError:
        reason = f"no change of state in {seconds(timeout)}"
        return TimedOut("monitor", ", ".join(self.names) or "*", reason, found=reason)

    def _ended(self) -> LXCError:
        assert self._process is not None
        status = self._process.wait()
        said = os.fsdecode(os.pread(self._errors, 4096, 0)).strip()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return self._error(f"lxc-monitor has ended ({how}){': ' if said else ''}{said}")

    # --- The end ----------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def close(self) -> None:
        """End it: nothing of it stays.  May be called again, and by another thread."""
        self._closed = True
        _living.discard(self)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        self._close_fds()

    def _end(self) -> None:
        """Prepare another attempt."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        self._buffer = b""
        while self._fds:
            os.close(self._fds.pop())

    def _close_fds(self) -> None:
        # Who reads meanwhile closes them afterwards.
        if not self._reading.acquire(blocking=False):
            return
        try:
            while self._fds:
                os.close(self._fds.pop())
        finally:
            self._reading.release()

    def _forget(self) -> None:
        """In a forked child: the program is the parent's."""
        self._closed = True
        self._reading = threading.Lock()
        if self._process is not None and self._process.returncode is None:
            self._process.returncode = 0  # as it cannot be waited for
        self._close_fds()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            self.close()


F_SETSIG = getattr(fcntl, "F_SETSIG", 10)
_living: weakref.WeakSet[Monitor] = weakref.WeakSet()


def _forget_all() -> None:
    for monitor in list(_living):
        monitor._forget()
    _living.clear()


os.register_at_fork(after_in_child=_forget_all)


# --- /proc ----------------------------------------------------------------------------


def links(directory: int) -> list[str]:
    """What the descriptors of a process are, of a directory in /proc."""
    fds = os.open("fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    found = []
    try:
        for name in os.listdir(fds):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(name, dir_fd=fds))
    finally:
        os.close(fds)
    return found


def unix_sockets(directory: int) -> list[list[str]]:
    """The lines of /proc/net/unix: state, inode and path are fields 5, 6 and 7."""
    lines = os.fsdecode(read_at(directory, "net/unix")).splitlines()[1:]
    return [fields for line in lines if len(fields := line.split(None, 7)) >= 7]
