# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the process, signal, thread and leak tests share.

It is imported by the programs that these tests run in processes of their own, too: so
it needs nothing but the standard library and lxc.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lxc
from lxc import _lxc

# The heap in bytes from which the launcher makes the calls: 0 has it make them all.
if "LXC_TESTS_HEAP" in os.environ:
    _lxc._launcher(int(os.environ["LXC_TESTS_HEAP"]))

TESTS = str(Path(__file__).resolve().parent)
CGROUPS = Path("/sys/fs/cgroup")

# Enough for a busy machine with two processors; a hang is much longer.
PATIENCE = 40.0

# Where subordinate ids begin.
FIRST_ID = 100000

# liblxc's version, for what differs between its releases.
LIBLXC = tuple(int(n) for n in re.findall(r"\d+", lxc.version)[:3])


# --- Attaching ------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What attach_wait() returned, and what the program wrote."""

    status: int
    out: str
    err: str


def attach(
    container: lxc.Container, run: Callable[..., Any], *payload: Any, **options: Any
) -> Outcome:
    """attach_wait() with pipes for output and error: what is small enough for them."""
    with Pipe() as out, Pipe() as err:
        options = {"stdout": out.writer, "stderr": err.writer, **options}
        status = container.attach_wait(run, *payload, **options)
        return Outcome(status, out.text(), err.text())


def command(container: lxc.Container, *argv: str, **options: Any) -> Outcome:
    """Run a command in a container."""
    return attach(container, lxc.attach_run_command, list(argv), **options)


def shell(container: lxc.Container, script: str, **options: Any) -> Outcome:
    """Run a shell script in a container."""
    return command(container, "sh", "-c", script, **options)


def refused(call: Callable[[], object]) -> str | None:
    """The reason that a call raises, of the newer ones that do not return False."""
    try:
        call()
    except lxc.LXCError as error:
        return error.reason
    return None


def alike(one: Any, other: Any) -> bool:
    """Whether two errors are the same but for having been raised."""
    return (type(one), one.args, vars(one)) == (type(other), other.args, vars(other))


class Pipe:
    """A pipe whose text can be read when the writers are done."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *exception: object) -> None:
        for number in (self.reader, self.writer):
            with contextlib.suppress(OSError):
                os.close(number)

    def text(self) -> str:
        os.close(self.writer)
        with open(self.reader, errors="replace", closefd=False) as file:
            return file.read()


def rootfs(container: lxc.Container) -> Path:
    """The container's root directory on the host."""
    return Path(container.get_config_item("lxc.rootfs.path").rpartition(":")[2])


def shift_owners(directory: Path, first: int) -> None:
    """Give what belongs to the host's users to those of an idmapped container."""
    for parent, directories, files in os.walk(directory):
        for name in (".", *directories, *files):
            path = os.path.join(parent, name)
            found = os.lstat(path)
            if found.st_uid < first:
                mode = found.st_mode & 0o7777
                os.lchown(path, found.st_uid + first, found.st_gid + first)
                # chown() takes the setuid bit away.
                if not os.path.islink(path):
                    os.chmod(path, mode)


def build_library(source: Path, text: str) -> Path:
    """A library made of a C source, to be preloaded."""
    library = source.with_suffix(".so")
    source.write_text(text)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"],
        check=True,
        timeout=60,
    )
    return library


# --- liblxc itself --------------------------------------------------------------------


def liblxc_list(call: str, path: bytes) -> list[str] | None:
    """The names of list_all_containers() and its like; None for an error."""
    names = ctypes.POINTER(ctypes.c_char_p)()
    function = getattr(ctypes.CDLL("liblxc.so.1"), call)
    count = function(ctypes.c_char_p(path), ctypes.byref(names), None)
    return None if count < 0 else [os.fsdecode(names[n] or b"") for n in range(count)]


# Which member of struct lxc_container, in words of the machine.
GET_INTERFACES, GET_IPS = 37, 38


def _liblxc_strings(
    container: lxc.Container, member: int, *arguments: Any
) -> tuple[str, ...]:
    library = ctypes.CDLL("liblxc.so.1")
    library.lxc_container_new.restype = ctypes.c_void_p
    path = os.fsencode(container.get_config_path())
    handle = library.lxc_container_new(os.fsencode(container.name), path)
    offset = member * ctypes.sizeof(ctypes.c_void_p)
    types = [ctypes.c_int if isinstance(a, int) else ctypes.c_char_p for a in arguments]
    function = ctypes.CFUNCTYPE(
        ctypes.POINTER(ctypes.c_char_p), ctypes.c_void_p, *types
    ).from_address(handle + offset)
    found = []
    strings = function(handle, *arguments)
    while strings and (string := strings[len(found)]) is not None:
        found.append(os.fsdecode(string))
    library.lxc_container_put(ctypes.c_void_p(handle))
    return tuple(found)


def liblxc_get_interfaces(container: lxc.Container) -> tuple[str, ...]:
    """What liblxc's own get_interfaces() returns."""
    return _liblxc_strings(container, GET_INTERFACES)


def liblxc_get_ips(
    container: lxc.Container,
    interface: str | None = None,
    family: str | None = None,
    scope: int = 0,
) -> tuple[str, ...]:
    """What liblxc's own get_ips() returns."""
    texts = (None if x is None else x.encode() for x in (interface, family))
    return _liblxc_strings(container, GET_IPS, *texts, scope)


# --- Processes ------------------------------------------------------------------------


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for a condition and return its value; the last one if it stays false."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


def process_status(pid: int | str = "self") -> dict[str, str]:
    """The fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (x.partition(":") for x in lines)}


def signals_of(pid: int | str = "self") -> dict[str, str]:
    """What a process ignores, catches and blocks."""
    status = process_status(pid)
    return {key: status[key] for key in ("SigIgn", "SigCgt", "SigBlk")}


def signal_set(mask: str) -> set[int]:
    """The signals in a mask of /proc/PID/status that C programs may have.

    32 and 33 are the C library's own.
    """
    bits = int(mask, 16)
    return {number for number in range(1, 32) if bits >> (number - 1) & 1}


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return process_status(pid)["State"][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children() -> list[int]:
    """The children of this process, zombies too."""
    found = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError):
            text = Path(f"/proc/self/task/{thread}/children").read_text()
            found += [int(pid) for pid in text.split()]
    return found


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1


def monitor_of(container: lxc.Container) -> int:
    """The pid of the liblxc process that watches a container and answers for it."""
    return int(process_status(container.init_pid)["PPid"])


def cgroups_of(name: str) -> list[str]:
    """The cgroups that carry a container's name, in all hierarchies."""
    found = []
    for hierarchy in (CGROUPS, *(p for p in CGROUPS.iterdir() if p.is_dir())):
        found += [str(path) for path in hierarchy.glob(f"lxc.*.{name}*")]
    return sorted(found)


def cgroup_limit() -> str:
    """A limit of a controller that containers have on this host."""
    unified = CGROUPS / "cgroup.controllers"
    if (CGROUPS / "pids").exists() or (
        unified.exists() and "pids" in unified.read_text().split()
    ):
        return "pids.max"
    return "hugetlb.2MB.max"


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process that is stopped meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: process_status(pid)["State"][0] == "T")
        yield
    finally:
        # It may have been resumed, and have ended since.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def resume_later(pid: int, seconds: float) -> subprocess.Popen[bytes]:
    """Resume a stopped process from outside: no thread of ours could if all hang."""
    return subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {pid}"])


# --- Measuring ------------------------------------------------------------------------


class Ticker:
    """A thread that wants to run every two milliseconds; .longest is its longest gap.

    As a context manager it ticks during the body.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._over = threading.Event()
        self._ticking = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def _tick(self) -> None:
        last = time.monotonic()
        self._ticking.set()
        while not self._over.is_set():
            time.sleep(0.002)
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            last = now

    def __enter__(self) -> Ticker:
        self._thread.start()
        self._ticking.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        # One more tick, or a gap that lasts until the end would not be seen.
        time.sleep(0.01)
        self._over.set()
        self._thread.join()


class _Mallinfo2(ctypes.Structure):
    # arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks,
    # keepcost
    _fields_ = [(f"field{number}", ctypes.c_size_t) for number in range(10)]


def allocated() -> int | None:
    """The bytes that malloc() has given out, or None where the C library hides them.

    With PYTHONMALLOC=malloc these are Python's objects, too.
    """
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    mapped, in_use = found.field4, found.field7
    return int(mapped + in_use)


# --- Programs in processes of their own -----------------------------------------------


_PRELUDE = f"""\
import sys
sys.path.append({TESTS!r})
import fcntl, gc, json, os, signal, subprocess, termios, threading, time, weakref
import lxc
from support import (
    Outcome, Pipe, Ticker, alive, allocated, attach, begin, cgroups_of, children,
    command, descriptors, monitor_of, paused, process_status, refused, resume_later,
    rootfs, shell, signal_set, signals_of, wait_until,
)
c, report = begin()
"""


def begin() -> tuple[lxc.Container, Callable[..., None]]:
    """What a program gets: its container, and report() to tell the test something."""
    writer, name, path, *sys.argv[1:] = sys.argv[1:]
    # Out of the way of programs that use low numbers, and of what they attach.
    channel = fcntl.fcntl(int(writer), fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(int(writer))
    # Whoever started the tests in the background ignored SIGINT for us, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def report(value: Any = None) -> None:
        os.write(channel, json.dumps(value).encode() + b"\n")

    return lxc.Container(name, path), report


class Program:
    """A Python program in a process of its own, which has the container as `c`.

    It tells its test values with report(), through a pipe: its streams are free for
    what is tested.  With terminal, these are a terminal that it controls.  python is
    the interpreter's command line, where it is to be run in another way.  The program
    is killed when the `with` statement ends.
    """

    def __init__(
        self,
        container: lxc.Container,
        body: str,
        *args: str,
        terminal: bool = False,
        python: Sequence[str] = (sys.executable,),
        **options: Any,
    ) -> None:
        self._reader, writer = os.pipe()
        self._buffer = b""
        self.ptx: int | None = None
        self.screen = bytearray()
        self.out = self.err = ""
        inherited = options.pop("pass_fds", ())
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        if terminal:
            self.ptx, follower = pty.openpty()
            options.update(stdin=follower, stdout=follower, stderr=follower)
        self.process = subprocess.Popen(
            [
                *(*python, "-c", _PRELUDE + textwrap.dedent(body), str(writer)),
                *(container.name, container.get_config_path(), *args),
            ],
            cwd="/",
            text=True,
            pass_fds=(writer, *inherited),
            start_new_session=True,
            **options,
        )
        os.close(writer)
        if terminal:
            os.close(follower)
            self._drain = threading.Thread(target=self._read_screen, daemon=True)
            self._drain.start()

    def _read_screen(self) -> None:
        # EIO when nobody has the terminal open any more.
        with contextlib.suppress(OSError):
            while data := os.read(self.ptx or 0, 4096):
                self.screen += data

    def __enter__(self) -> Program:
        return self

    def _kill(self) -> None:
        # With what it forked: that may hang, and has the streams open.
        os.killpg(self.process.pid, signal.SIGKILL)

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self._kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        os.close(self._reader)
        if self.ptx is not None:
            # Closed under the thread, the number could soon be another file's.
            self._drain.join(5)
            if not self._drain.is_alive():
                os.close(self.ptx)

    def next(self, seconds: float = PATIENCE) -> Any:
        """The next value that the program reports."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            ready = select.select([self._reader], [], [], max(left, 0))[0]
            data = os.read(self._reader, 65536) if ready else b""
            if not data:
                why = "ended" if ready else f"is silent after {seconds} s"
                raise AssertionError(f"the program {why}\n{self._output()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _output(self) -> str:
        if self.process.poll() is None:
            self._kill()
        if self.ptx is not None:
            self.process.wait()
            return bytes(self.screen).decode(errors="replace")
        return "\n".join(filter(None, self.process.communicate()))

    def expect(self, text: bytes, seconds: float = PATIENCE) -> None:
        """Wait for a text on the terminal, and forget it and what was before it."""
        if not wait_until(lambda: text in self.screen, seconds):
            raise AssertionError(f"no {text!r} on the terminal: {bytes(self.screen)!r}")
        del self.screen[: self.screen.index(text) + len(text)]

    def type(self, data: bytes) -> None:
        """Type on the program's terminal."""
        os.write(self.ptx or 0, data)

    def interrupt(self, after: float = 0.3) -> float:
        """Send SIGINT when the program is busy for a while, and return the time."""
        time.sleep(after)
        now = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return now

    def finish(self, seconds: float = PATIENCE) -> None:
        """Wait for the program's end, which must be a good one."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program hangs\n{self._output()}") from None
        if self.ptx is not None:
            # To the end of what is on the screen; not if another process has it open.
            self._drain.join(1)
        self.out, self.err = out or "", err or ""
        screen = bytes(self.screen).decode(errors="replace")
        assert self.process.returncode == 0, self.err or screen


def run(container: lxc.Container, body: str, *args: str, **options: Any) -> Any:
    """Run a program to its end and return the one value that it reports."""
    with Program(container, body, *args, **options) as program:
        value = program.next()
        program.finish()
        return value
