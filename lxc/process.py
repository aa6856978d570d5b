# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands in a container: what run(), popen() and their asyncio forms do.

A command is run by the launcher, a program: so subprocess and asyncio do the rest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

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

__all__ = ["Launch", "completed", "popen", "run", "set_pipes"]

# How long a timeout waits for the container to end what it has to, in seconds: longer
# only where that is frozen, or does not want to.
PATIENCE = 5.0

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
        leash: bool = False,
    ) -> None:
        self.container = container
        self.operation = operation
        self.cwd = cwd
        self.leash = self.log = -1
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
            self._connect(leash)
            self._theirs.append(
                container._request(
                    program,
                    argv,
                    environment,
                    added,
                    None if cwd is None else os.fsencode(cwd),
                    identity.ids,
                    umask,
                    self._theirs[1] if leash else -1,
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

    def _connect(self, leash: bool) -> None:
        self.report, theirs = _lxc._socket_pair()
        self._open.append(self.report)
        self._theirs.append(theirs)
        if leash:
            theirs, self.leash = map(above_stdio, os.pipe())
            self._open.append(self.leash)
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

    def judge(self, said: tuple[str, int] | None, status: int | None) -> None:
        """Raise what the launcher's first message means, unless the command began."""
        what, value = said or ("nothing", 0)
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
        """Have all ended that was run; returns at once."""
        if self.leash >= 0 and not self.is_let_go():
            with contextlib.suppress(OSError):
                os.write(self.leash, b"x")

    def is_let_go(self, seconds: float = 0) -> bool:
        """Whether the supervisor has ended, which ends after what it watched."""
        poll = select.poll()
        poll.register(self.leash, 0)  # its other end being closed is POLLERR
        return bool(poll.poll(seconds * 1000))

    def patience(self) -> float:
        """How many seconds to wait for that: nothing ends in a frozen container."""
        return 0 if self.container.state in ("FROZEN", "FREEZING") else PATIENCE

    def close(self) -> None:
        self.spawned()
        while self._open:
            os.close(self._open.pop())
        self.leash = -1

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# --- subprocess -----------------------------------------------------------------------


def begin(
    launch: Launch, args: Command, deadline: float | None, options: dict[str, Any]
) -> subprocess.Popen[Any]:
    """Spawn the launcher, and return when the command has begun."""
    for executable in launch.executables:
        try:
            process = subprocess.Popen(
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
        if said is not None and said[0] != "executed":
            # It is about to end by itself, after what it has attached.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        launch.judge(said, process.returncode)
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
    process.kill()
    process.wait()
    if launch.leash >= 0:
        launch.is_let_go(launch.patience())


def listen(
    launch: Launch, process: subprocess.Popen[Any], deadline: float | None
) -> tuple[str, int] | None:
    """The launcher's first message, None if it ended without one."""
    while True:
        wait = 0.5
        if deadline is not None:
            wait = max(0, min(wait, deadline - time.monotonic()))
        # A child that another thread forked may keep a silent socket from ending.
        ended = process.poll() is not None
        try:
            said = _lxc._hear(launch.report, 0 if ended else wait)
        except TimeoutError:
            if ended:
                return None
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(process.args, 0) from None
            continue
        if said is None and not ended:
            process.wait()
        return said


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


def popen(
    container: Container,
    args: Command,
    streams: dict[str, Any],
    options: dict[str, Any],
) -> subprocess.Popen[Any]:
    """Container.popen(): streams is for subprocess.Popen, options for Launch."""
    flush()
    with Launch(container, "popen", args, **options) as launch:
        return begin(launch, args, None, streams)


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
    set_pipes(streams, input, capture_output)
    deadline = None if timeout is None else time.monotonic() + timeout
    leash = timeout is not None
    with (
        Launch(container, "run", args, leash=leash, **options) as launch,
        same_terminal(options["tty"]),
    ):
        try:
            process = begin(launch, args, deadline, streams)
            with process:
                out, err = communicate(launch, process, input, deadline)
        except subprocess.TimeoutExpired as error:
            out, err = error.stdout, error.stderr
            raise subprocess.TimeoutExpired(args, timeout or 0, out, err) from None
    return completed(args, process.returncode, out, err, check)


def communicate(
    launch: Launch, process: subprocess.Popen[Any], input: Any, deadline: float | None
) -> tuple[Any, Any]:
    left = None if deadline is None else max(0, deadline - time.monotonic())
    try:
        return process.communicate(input, timeout=left)
    except subprocess.TimeoutExpired:
        launch.end_all()
        if process.poll() is not None:
            launch.is_let_go(launch.patience())
        else:
            # It ends after the supervisor, which ends after all that was run.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(launch.patience())
        process.kill()
        process.wait()
        raise
    except BaseException:
        launch.end_all()
        process.kill()
        process.wait()
        raise


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
