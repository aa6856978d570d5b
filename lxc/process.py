# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands in a container: what run(), popen() and their asyncio forms do.

A command is run by the launcher, a program: so subprocess and asyncio do the rest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union

from . import _lxc, errors
from ._arguments import LARGEST_ID, variables, words
from ._messages import Message, forward, is_error, parse, sentence
from ._streams import flush
from .errors import Frozen, LXCError, NotRunning, why_not_running

if TYPE_CHECKING:
    from . import Container
    from .errors import Kind

    Word = Union[str, bytes, os.PathLike[str], os.PathLike[bytes]]
    Command = Union[Word, Sequence[Word]]
    Environment = Union[Mapping[str, Any], Mapping[bytes, Any]]
    # What the launcher says: what, a number, and the pid of who said it.
    Said = tuple[str, int, int]

T = TypeVar("T")
P = TypeVar("P", bound="subprocess.Popen[Any]")

__all__ = ["Launch", "completed", "popen", "run", "set_pipes"]

# How long the launcher may take to end what it has to, in seconds: it does so at once
# but where the container is frozen.
PATIENCE = 5.0
# How long a Ctrl-C waits for a command to end by itself, as subprocess does.
GRACE = 0.25
# What the preparation may take at least, whatever the timeout.
LEAST = 0.1

# What the launcher is told of the host: nobody in the container is to find more.
KEPT = ("HOME", "LANG", "PATH", "TMPDIR")
KEPT_FAMILIES = ("ASAN_", "LC_", "LD_", "LXC_", "UBSAN_", "XDG_")


# --- Users and groups of the container ------------------------------------------------

LARGEST_FILE = 16 << 20  # bytes, of passwd and of group


class Identity(NamedTuple):
    """What a command runs as; ids is None for what liblxc makes it, which is root."""

    ids: tuple[int, int, list[int]] | None
    name: bytes | None
    home: bytes


class Account(NamedTuple):
    """A line of the container's passwd."""

    name: bytes
    uid: int
    gid: int
    home: bytes


class Accounts:
    """The container's own users and groups, as its files beneath its root have them.

    getpwnam() in there would load the container's libraries into a process of ours.
    """

    def __init__(self, container: Container, operation: str) -> None:
        self.container = container
        self.operation = operation

    def lines(self, path: str) -> Iterator[list[bytes]]:
        """The fields of each line of a file in the container."""
        pid = self.container.init_pid
        if pid <= 0:
            raise self.error(NotRunning, "it is not running")
        try:
            fd = _lxc._open_beneath(pid, path)
        except FileNotFoundError:
            return
        except OSError as error:
            reason = f"its /{path} cannot be read: {error.strerror}"
            raise self.error(LXCError, reason) from None
        with open(fd, "rb") as file:
            # The number may have been given to another process meanwhile.
            if self.container.init_pid != pid:
                raise self.error(NotRunning, "it was stopped")
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise self.error(
                LXCError, f"its /{path} is larger than {LARGEST_FILE >> 20} MiB"
            )
        # What is behind a NUL cannot be in an environment.
        for line in data.replace(b"\0", b"").split(b"\n"):
            yield line.split(b":")

    def error(self, kind: Kind, reason: str) -> LXCError:
        name = self.container.name
        error = kind(self.operation, name, reason, found=reason)
        self.container.last_error = error
        return error

    def user(self, wanted: str | int) -> Account | None:
        name = os.fsencode(wanted) if isinstance(wanted, str) else None
        for fields in self.lines("etc/passwd"):
            if len(fields) < 6 or name not in (None, fields[0]):
                continue
            with contextlib.suppress(ValueError):
                account = Account(
                    fields[0], number(fields[2]), number(fields[3]), fields[5]
                )
                if name is not None or account.uid == wanted:
                    return account
        return None

    def group(self, wanted: str | int) -> int:
        """A group's number."""
        if isinstance(wanted, int):
            return wanted
        for fields in self.lines("etc/group"):
            if len(fields) >= 3 and fields[0] == os.fsencode(wanted):
                with contextlib.suppress(ValueError):
                    return number(fields[2])
        raise KeyError(f"getgrnam(): name not found: {wanted!r}")

    def groups_of(self, name: bytes, first: int) -> list[int]:
        """The groups that a user is a member of, as initgroups() has them."""
        found = {first: None}
        for fields in self.lines("etc/group"):
            if len(fields) >= 4 and name in fields[3].split(b","):
                with contextlib.suppress(ValueError):
                    found[number(fields[2])] = None
        return list(found)


def number(text: bytes) -> int:
    """An id in a file; int() would take "1_0" and " 7" too."""
    if not text.isdigit() or len(text) > 10 or int(text) > LARGEST_ID:
        raise ValueError(text)
    return int(text)


def find_identity(
    accounts: Accounts,
    user: str | int | None,
    group: str | int | None,
    extra_groups: Sequence[str | int] | None,
) -> Identity:
    try:
        account = accounts.user(0 if user is None else user)
    except LXCError:
        if user is not None or not accounts.container.running:
            raise
        account = None
    if account is None and isinstance(user, str):
        raise KeyError(f"getpwnam(): name not found: {user!r}")
    if account is None and user is not None and group is None:
        raise ValueError(
            f"the container's /etc/passwd has no user number {user}: give group= too"
        )
    if account is None and not user:
        account = Account(b"root", 0, 0, b"/root")
    home = account.home if account else b"/"
    name = account.name if account else None
    if user is None and group is None and extra_groups is None:
        return Identity(None, name, home)
    uid = account.uid if account else int(user or 0)
    gid = accounts.group(group) if group is not None else account.gid if account else 0
    if extra_groups is not None:
        groups = [accounts.group(each) for each in extra_groups]
    elif account is not None and user is not None:
        groups = accounts.groups_of(account.name, gid)
    else:
        groups = [gid]
    return Identity((uid, gid, groups), name, home)


# --- What the launcher is given -------------------------------------------------------


def launcher_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or name.startswith(KEPT_FAMILIES)
    }


def above_stdio(fd: int) -> int:
    """Where the caller has closed its stdio, ours must not take its place."""
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


class Launch:
    """One command, from its preparation to its begin: the descriptors of it.

    As a context manager it closes them.
    """

    def __init__(
        self,
        container: Container,
        operation: str,
        args: Command,
        *,
        executable: Word | None = None,
        shell: bool = False,
        cwd: Word | None = None,
        env: Environment | None = None,
        user: str | int | None = None,
        group: str | int | None = None,
        extra_groups: Sequence[str | int] | None = None,
        umask: int = -1,
        tty: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.container = container
        self.operation = operation
        self.cwd = cwd
        self.report = self.log = -1
        self._open: list[int] = []
        self._theirs: list[int] = []
        self.program, given = words(args, shell, executable)
        program = os.fsencode(self.program)
        argv = [os.fsencode(word) for word in given]
        environment = None if env is None else variables(env)
        where = _lxc._launcher()
        if where is None:
            raise self.error(
                LXCError,
                "this installation of lxc has no launcher, the program beside its "
                "extension: install the package as a whole",
            )
        self.check_state()
        identity = find_identity(
            Accounts(container, operation), user, group, extra_groups
        )
        added = [b"HOME=" + identity.home]
        if identity.name is not None:
            added += [b"USER=" + identity.name, b"LOGNAME=" + identity.name]
        if tty and (terminal := os.environb.get(b"TERM")):
            added.append(b"TERM=" + terminal)
        try:
            self._connect()
            self._theirs.append(
                container._request(
                    program,
                    argv,
                    environment,
                    added,
                    None if cwd is None else os.fsencode(cwd),
                    identity.ids,
                    umask,
                    tty,
                    self.log,
                )
            )
            self._find_program(where)
        except RuntimeError as error:
            self.close()
            raise self.error(LXCError, str(error)) from None
        except BaseException:
            self.close()
            raise
        self.pass_fds = (*self._theirs, *pass_fds)

    def _connect(self) -> None:
        self.report, theirs = _lxc._socket_pair()
        self._open.append(self.report)
        self._theirs.append(theirs)
        self.log = _lxc._log_file()
        if self.log >= 0:
            self._open.append(self.log)

    def _find_program(self, where: str) -> None:
        """A sealed copy, which the container cannot write to; where it can be run."""
        self.argv = ["lxc-launcher", *map(str, self._theirs)]
        self.executables = [where]
        with contextlib.suppress(OSError):
            sealed = _lxc._launcher_fd()
            self._theirs.append(sealed)
            self.argv.insert(2, str(sealed))
            self.executables.insert(0, f"/proc/self/fd/{sealed}")

    def error(
        self, kind: Kind, reason: str, messages: tuple[Message, ...] = ()
    ) -> LXCError:
        name = self.container.name
        found = None if reason == sentence(messages) else reason
        error = kind(self.operation, name, reason, messages=messages, found=found)
        self.container.last_error = error
        return error

    def check_state(self) -> None:
        state = self.container.state
        if state == "STOPPED":
            raise self.error(*why_not_running(self.container))
        if state in ("FROZEN", "FREEZING"):
            raise self.error(Frozen, "it is frozen: unfreeze() it first")

    # --- Begin ------------------------------------------------------------------------

    def options(self) -> dict[str, Any]:
        """What subprocess needs to know, but for the executable."""
        logs = (self.log,) if self.log >= 0 else ()
        return {"pass_fds": (*self.pass_fds, *logs), "env": launcher_environment()}

    def spawned(self) -> None:
        """The launcher has descriptors of its own now."""
        while self._theirs:
            os.close(self._theirs.pop())

    def judge(self, said: Said | None, status: int | None) -> None:
        """Raise what the launcher's first message means, unless the command began."""
        what, value, _ = said or ("nothing", 0, 0)
        if what == "executed":
            if errors.forward_level is not None:
                self.messages()
            return
        if what in ("exec", "cwd", "user", "fork"):
            filename = {"exec": self.program, "cwd": self.cwd}.get(what)
            named = () if filename is None else (filename,)
            raise OSError(value, os.strerror(value), *named)
        if what == "terminal":
            reason = f"it has no terminal to give: {os.strerror(value)}"
            if value == errno.ENOSPC:
                reason += " (lxc.pty.max is how many it has)"
            raise self.error(LXCError, reason)
        self.check_state()
        if errors.was_stopped(self.container):
            raise self.error(*errors.STOPPED)
        if what == "returned":
            messages = self.messages()
            reason = sentence(messages) or "liblxc could not attach to it"
            raise self.error(LXCError, reason, messages)
        if what == "stale":
            raise self.error(
                LXCError, "its configuration file was changed meanwhile: try again"
            )
        ended = "" if status is None else f" (exit status {status})"
        raise self.error(
            LXCError,
            f"the launcher ended before the command began{ended}: it was killed, or "
            "could not move into the container's cgroup",
            self.messages(),
        )

    def messages(self) -> tuple[Message, ...]:
        """What liblxc said in the launcher."""
        if self.log < 0:
            return ()
        messages = parse(os.fsdecode(os.pread(self.log, 1 << 20, 0)))
        forward(self.container.name, messages)
        return tuple(filter(is_error, messages))

    # --- End --------------------------------------------------------------------------

    def end_all(self) -> None:
        """Have all ended that was run; returns at once, and the launcher ends then."""
        if self.report >= 0:
            _lxc._order(self.report, True)

    def let_go(self) -> None:
        """What the command leaves may go on, unless that was to end."""
        if self.report >= 0:
            _lxc._order(self.report, False)

    def close(self) -> None:
        self.spawned()
        self.let_go()
        self.report = self.log = -1
        while self._open:
            os.close(self._open.pop())

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# --- Waiting with a limit -------------------------------------------------------------


class Aside:
    """A call in a thread of its own, as a container's monitor may keep it waiting.

    done is called there when it has returned; discard with what it returned, if it was
    left by then.
    """

    def __init__(
        self,
        call: Callable[[], Any],
        discard: Callable[[Any], object],
        done: Callable[[], object],
    ) -> None:
        self._lock = threading.Lock()
        self._call, self._discard, self._done = call, discard, done
        self._results: list[Any] = []
        self._errors: list[BaseException] = []
        self._is_left = False
        threading.Thread(target=self._run, name="lxc", daemon=True).start()

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:
            self._errors.append(error)
        del self._call  # the thread is there a little longer than its result
        with self._lock:
            if self._is_left:
                self._clear()
            else:
                self._done()

    def _clear(self) -> None:
        self._errors.clear()
        while self._results:
            self._discard(self._results.pop())

    def leave(self) -> None:
        with self._lock:
            self._is_left = True
            self._clear()

    def take(self) -> Any:
        """What it returned, or raise what it raised: it must be done."""
        if self._errors:
            raise self._errors.pop()
        return self._results.pop()


def limited(
    call: Callable[[], T], deadline: float | None, discard: Callable[[T], object]
) -> T:
    """Make a call that may have to wait for a container's monitor.

    TimeoutExpired when the deadline has passed, if there is one.
    """
    if deadline is None:
        return call()
    done = threading.Event()
    aside = Aside(call, discard, done.set)
    try:
        if not done.wait(max(LEAST, deadline - time.monotonic())):
            raise subprocess.TimeoutExpired((), 0)
    except BaseException:
        aside.leave()
        raise
    result: T = aside.take()
    return result


def forget(_: object) -> None:
    """For results that need no care."""


# --- subprocess -----------------------------------------------------------------------


class Running(subprocess.Popen[Any]):
    """The launcher of run(): to wait for it is to wait for the command's end.

    The launcher itself ends after what the command left, which a timeout is to end as
    well.  Its word also counts where another thread, or the kernel, reaps the children
    of this process.
    """

    launch: Launch
    ended: int | None = None
    """How the command ended, as returncode has it."""

    def wait(self, timeout: float | None = None) -> int:
        if self.ended is None:
            deadline = None if timeout is None else time.monotonic() + timeout
            try:
                self._listen(deadline)
            except KeyboardInterrupt:
                # If it was typed, the command has got it too, and may be about to end.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._listen(time.monotonic() + GRACE)
                raise
        assert self.ended is not None
        return self.ended

    def _listen(self, deadline: float | None) -> None:
        while self.ended is None:
            said = listen(self.launch, self, deadline)
            self.ended = status_of(said, self.pid, self.returncode)


def status_of(said: Said | None, launcher: int, status: int | None) -> int | None:
    """How the command ended, if that was said by the launcher or its own end."""
    if said is None:
        # It always says so: then it was killed, whoever may have reaped it.
        return status or -signal.SIGKILL
    if said[0] == "ended" and said[2] == launcher:
        return os.waitstatus_to_exitcode(said[1])
    return None


def begin(
    launch: Launch,
    args: Command,
    deadline: float | None,
    options: dict[str, Any],
    kind: type[P],
) -> P:
    """Spawn the launcher, and return when the command has begun."""
    for executable in launch.executables:
        try:
            process = kind(
                launch.argv, executable=executable, **launch.options(), **options
            )
            break
        except (PermissionError, FileNotFoundError):
            # Memory that may not be executed, or a host without /proc.
            if executable == launch.executables[-1]:
                raise
    process.args = args
    try:
        launch.spawned()
        said = listen(launch, process, deadline)
        if said is None or said[0] != "executed":
            # It is about to end by itself, after what it has attached.
            bury(process)
            limited(lambda: launch.judge(said, process.returncode), deadline, forget)
        else:
            launch.judge(said, None)
    except BaseException:
        abandon(launch, process)
        raise
    return process


def abandon(launch: Launch, process: subprocess.Popen[Any]) -> None:
    """See a launcher off whose command did not begin, or is not to be heard of."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    launch.end_all()
    bury(process)


def bury(process: subprocess.Popen[Any]) -> None:
    """Wait for the launcher's own end, which is due."""
    try:
        subprocess.Popen.wait(process, PATIENCE)
    except BaseException as error:
        process.kill()
        subprocess.Popen.wait(process)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def listen(
    launch: Launch, process: subprocess.Popen[Any], deadline: float | None
) -> Said | None:
    """The launcher's next message, None if it ended without one."""
    while True:
        wait = 0.5
        if deadline is not None:
            wait = max(0, min(wait, deadline - time.monotonic()))
        # A child that another thread forked may keep a silent socket from ending.
        ended = process.poll() is not None
        try:
            said = _lxc._hear(launch.report, 0 if ended else wait)
        except TimeoutError:
            said = None
        else:
            if said is not None or ended:
                return said
            # There will be nothing more to hear: it is about to end.
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.Popen.wait(process, wait)
        if ended:
            return None
        if deadline is not None and time.monotonic() >= deadline:
            raise subprocess.TimeoutExpired(process.args, 0)


@contextlib.contextmanager
def same_terminal(tty: bool) -> Iterator[None]:
    """A launcher that is killed leaves a terminal as it has set it."""
    settings = None
    if tty:
        with contextlib.suppress(termios.error, OSError):
            settings = termios.tcgetattr(0)
    try:
        yield
    finally:
        if settings is not None:
            with contextlib.suppress(termios.error, OSError):
                if settings != termios.tcgetattr(0):
                    termios.tcsetattr(0, termios.TCSANOW, settings)


def check_descriptors(streams: Mapping[str, Any], pass_fds: Sequence[int]) -> None:
    """Before anything is opened, which could get the number of one that is closed."""
    for name in ("stdin", "stdout", "stderr"):
        given = streams[name]
        fd = given.fileno() if hasattr(given, "fileno") else given
        if isinstance(fd, int) and fd >= 0:
            os.fstat(fd)
    for fd in pass_fds:
        if fd >= 0:
            os.fstat(fd)


def popen(
    container: Container,
    args: Command,
    streams: dict[str, Any],
    options: dict[str, Any],
) -> subprocess.Popen[Any]:
    """Container.popen(): streams is for subprocess.Popen, options for Launch."""
    flush()
    check_descriptors(streams, options["pass_fds"])
    with Launch(container, "popen", args, **options) as launch:
        return begin(launch, args, None, streams, subprocess.Popen)


def run(
    container: Container,
    args: Command,
    streams: dict[str, Any],
    options: dict[str, Any],
    *,
    input: Any,
    capture_output: bool,
    timeout: float | None,
    check: bool,
) -> subprocess.CompletedProcess[Any]:
    """Container.run(): as subprocess.run() does it."""
    flush()
    check_descriptors(streams, options["pass_fds"])
    set_pipes(streams, input, capture_output)
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        with (
            limited(
                lambda: Launch(container, "run", args, **options),
                deadline,
                Launch.close,
            ) as launch,
            same_terminal(options["tty"]),
        ):
            process = begin(launch, args, deadline, streams, Running)
            process.launch = launch
            with process:
                out, err = communicate(launch, process, input, deadline)
    except subprocess.TimeoutExpired as error:
        out, err = error.stdout, error.stderr
        raise subprocess.TimeoutExpired(args, timeout or 0, out, err) from None
    return completed(args, process.wait(), out, err, check)


def communicate(
    launch: Launch, process: Running, input: Any, deadline: float | None
) -> tuple[Any, Any]:
    left = None if deadline is None else max(0, deadline - time.monotonic())
    try:
        return process.communicate(input, timeout=left)
    except BaseException:
        launch.end_all()
        raise
    finally:
        launch.let_go()
        bury(process)


def set_pipes(streams: dict[str, Any], input: Any, capture_output: bool) -> None:
    if input is not None:
        if streams["stdin"] is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        streams["stdin"] = subprocess.PIPE
    if capture_output:
        if streams["stdout"] is not None or streams["stderr"] is not None:
            raise ValueError(
                "stdout and stderr arguments may not be used with capture_output."
            )
        streams["stdout"] = streams["stderr"] = subprocess.PIPE


def completed(
    args: Command, status: int, out: Any, err: Any, check: bool
) -> subprocess.CompletedProcess[Any]:
    if check and status:
        raise subprocess.CalledProcessError(status, args, out, err)
    return subprocess.CompletedProcess(args, status, out, err)
