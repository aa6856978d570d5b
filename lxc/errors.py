# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why a call said no: LXCError, and the checks that find a reason afterwards.

liblxc's own reasons are in its log, see _messages.py; often it has none.  Which class
an error is of is for a check to say, never for the text of a line.
"""

from __future__ import annotations

import errno
import os

from . import _lxc

TYPE_CHECKING = False  # of typing, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from . import Container
    from ._messages import Message

    Text = Union[str, None]
    Heard = tuple[Text, Text, str, bool, bool, float]
    Kind = Callable[..., "LXCError"]
    Finding = tuple[Kind, str]

__all__ = [
    "AlreadyExists",
    "AlreadyRunning",
    "Frozen",
    "LXCError",
    "LXCOSError",
    "NoSuchItem",
    "NotDefined",
    "NotRunning",
    "PermissionDenied",
    "TimedOut",
]


class LXCError(Exception):
    """An operation on a container failed.

    operation is the method's name, container the container's name and reason a
    sentence without its full stop.  messages is a tuple of what liblxc's log said of
    the call, errors only: named tuples of level, text, category, place (file, function
    and line of liblxc's source) and foreign.  found is what a check afterwards found,
    or None.  foreign: liblxc's messages may be about another call, made at the same
    time by another thread.

    Classic methods return False or -1 instead of raising, unless the Container is a
    strict one, and leave one of these in Container.last_error.
    """

    def __init__(
        self,
        operation: str,
        container: str,
        reason: str,
        *,
        messages: tuple[Message, ...] = (),
        found: str | None = None,
    ) -> None:
        Exception.__init__(self, operation, container, reason)
        self.operation = operation
        self.container = container
        self.reason = reason
        self.messages = messages
        self.found = found

    @property
    def foreign(self) -> bool:
        """Whether liblxc's messages may be about another call."""
        return any(message.foreign for message in self.messages)

    def __str__(self) -> str:
        return f"{self.operation} of {self.container!r} failed: {self.reason}"

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self.operation, self.container, self.reason)
        return type(self), given, self.__dict__

    def _alike(self) -> LXCError:
        """Another of the same, which nobody has raised."""
        make, given, state = self.__reduce__()[:3]
        alike: LXCError = make(*given)
        alike.__dict__.update(state)
        return alike


class LXCOSError(LXCError, OSError):
    """An operation failed for which there is an errno: an OSError as well."""

    _errno: int | None = None

    def __init__(
        self,
        operation: str,
        container: str,
        reason: str,
        errno: int | None = None,
        *,
        messages: tuple[Message, ...] = (),
        found: str | None = None,
    ) -> None:
        LXCError.__init__(
            self, operation, container, reason, messages=messages, found=found
        )
        OSError.__init__(self, self._errno if errno is None else errno, reason)

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self.operation, self.container, self.reason, self.errno)
        return type(self), given, self.__dict__


class NotRunning(LXCOSError, ProcessLookupError):
    """A container would have to run for that, and does not."""

    _errno = errno.ESRCH


class NotDefined(NotRunning, KeyError):
    """There is no such container; one that is not there does not run either."""


class NoSuchItem(LXCError, KeyError):
    """There is no such configuration or cgroup item, or not now."""


class NotRunningItem(NotRunning, NoSuchItem):
    """An item that only a running container has."""


class Frozen(LXCOSError, BlockingIOError):
    """A container is frozen: nothing in it would run before unfreeze()."""

    _errno = errno.EAGAIN


class AlreadyExists(LXCOSError, FileExistsError):
    """There is a container of that name already."""

    _errno = errno.EEXIST


class AlreadyRunning(LXCOSError):
    """A container would have to be stopped for that, and runs.

    EBUSY, as for a mounted file system: no class of its own belongs to that number, and
    those of EEXIST and EAGAIN mean other things, AlreadyExists and Frozen.
    """

    _errno = errno.EBUSY


class PermissionDenied(LXCOSError, PermissionError):
    """This user may not do that."""

    _errno = errno.EACCES


class TimedOut(LXCOSError, TimeoutError):
    """It did not happen in the time that was given."""

    _errno = errno.ETIMEDOUT


# --- What was said --------------------------------------------------------------------


def disk_full(operation: str, container: str, reason: str, **named: Any) -> LXCError:
    return LXCOSError(operation, container, reason, errno.ENOSPC, **named)


# The cases that the extension itself tells apart.
KINDS: dict[str | None, Kind] = {
    None: LXCError,
    "disk full": disk_full,
    "not defined": NotDefined,
    "not running": NotRunning,
    "exists": AlreadyExists,
    "denied": PermissionDenied,
    "frozen": Frozen,
    "timed out": TimedOut,
}
NO_CONTROL = PermissionDenied, "no permission to control it"
NOT_DEFINED = NotDefined, "it is not defined"
STOPPED = NotRunning, "it was stopped meanwhile"
RUNNING = AlreadyRunning, "it is running"
# From which level on what is said of calls that succeed goes to logging, too; None: not
# at all.  See log_forward().
forward_level: str | None = None

SILENCE = "liblxc refused, and gave no reason"


def find_error(
    container: Container, operation: str, about: Any = None, heard: Heard | None = None
) -> LXCError:
    """The error that this thread's last call failed with, which is to be the next thing
    that is asked of the extension, or heard what that said of it.

    about is the argument that matters, see CHECKS.
    """
    own, why, text, shared, overlaps, since = heard or _lxc._heard()
    messages = find_messages(container, text, shared, overlaps, since)
    said = None
    if messages:
        from ._messages import forward, is_error, sentence

        forward(container.name, messages)
        messages = tuple(filter(is_error, messages))
        said = sentence(messages)
    if why == "not running":
        kind, found = why_not_running(container)
    elif own is not None:
        kind, found = KINDS[why], own
        # reboot2() says itself what became of it.
        may_be_stopped = why is None and operation in NEEDS_RUNNING - {"reboot2"}
        if may_be_stopped and was_stopped(container):
            kind, found = STOPPED
    elif operation in ("attach", "attach_wait") and was_stopped(container):
        kind, found = why_not_running(container) if not container.running else STOPPED
    elif finding := look(container, operation, about):
        kind, found = finding
        if said is not None and (operation in REFUSES or kind is disk_full):
            reason = f"{found}: {said}"
            return kind(
                operation, container.name, reason, messages=messages, found=found
            )
    elif said is not None:
        return LXCError(operation, container.name, said, messages=messages)
    else:
        try:
            kind, found = suspect(container, operation)
        except OSError:
            kind, found = LXCError, SILENCE  # as in look()
    return kind(operation, container.name, found, messages=messages, found=found)


def find_messages(
    container: Container, text: str, shared: bool, overlaps: bool, since: float
) -> tuple[Message, ...]:
    """What liblxc's log said of the call, and the container's own, if it has one."""
    try:
        file = _lxc.Container.get_config_item(container, "lxc.log.file")
    except (KeyError, RuntimeError):
        file = ""
    if not text and not file:
        return ()
    try:
        from ._messages import own_lines, parse
    except (ImportError, OSError):
        return ()  # as in look()

    messages = parse(text, container.name, shared=shared, overlaps=overlaps)
    if file and since:
        messages += own_lines(file, container.name, since)
    return messages


# --- What can be seen afterwards ------------------------------------------------------

# What an operation needs the container to be, where liblxc does not say what it missed.
NEEDS_RUNNING = frozenset(
    (
        "add_device_net",
        "add_device_node",
        "attach",
        "attach_interface",
        "attach_wait",
        "console",
        "console_getfd",
        "console_log",
        "detach_interface",
        "devpts_fd",
        "freeze",
        "init_pidfd",
        "mount",
        "reboot",
        "reboot2",
        "remove_device_node",
        "seccomp_notify_fd_active",
        "set_cgroup_item",
        "umount",
    )
)
NEEDS_STOPPED = frozenset(
    (
        "clone",
        "create",
        "destroy",
        "destroy_with_snapshots",
        "rename",
        "snapshot",
        "snapshot_restore",
        "start",
    )
)
NEEDS_CONTROL = NEEDS_RUNNING | NEEDS_STOPPED | {"shutdown", "stop", "unfreeze"}
# What names a value that liblxc then says more of.
REFUSES = frozenset(("append_config_item", "set_cgroup_item", "set_config_item"))
WRITES = frozenset(("clone", "create", "rename", "save_config", "snapshot"))
NEEDS_DEFINITION = NEEDS_STOPPED - {"create"} | {
    "snapshot_destroy",
    "snapshot_destroy_all",
    "unfreeze",
}


def look(container: Container, operation: str, about: Any) -> Finding | None:
    """What is certainly in the way of an operation, if it can be seen."""
    try:
        return look_closely(container, operation, about)
    except (ImportError, OSError):
        return None  # no descriptor is left, perhaps: the call has failed all the same


def look_closely(container: Container, operation: str, about: Any) -> Finding | None:
    if operation in NEEDS_DEFINITION and not container.defined:
        return NOT_DEFINED
    if operation in NEEDS_CONTROL and not container.controllable:
        return NO_CONTROL
    running = container.running
    if operation in NEEDS_RUNNING and not running:
        return why_not_running(container)
    if operation in NEEDS_STOPPED and running:
        return RUNNING
    if operation == "destroy" and container.snapshot_list():
        return LXCError, "it has snapshots: destroy these first"
    if operation == "start" and os.geteuid() != 0:
        from ._ordinary import why_not_started

        if found := why_not_started(container):
            return found
    check = CHECKS.get(operation)
    if check is not None and about is not None and (found := check(container, about)):
        return found
    path = container.get_config_path()
    if operation == "clone":
        path = os.path.dirname(about)
    if operation in WRITES and os.path.isdir(path):
        if found := why_not_writable(path):
            return found
        if is_full(path):
            return disk_full, f"the disk of {path} is full"
    return None


def why_not_running(container: Container) -> Finding:
    """To a user who may not ask its monitor, a container looks stopped."""
    if not container.controllable:
        return NO_CONTROL
    if container.defined:
        return NotRunning, "it is not running"
    return NOT_DEFINED


PF_EXITING = 4  # of Linux: a process that ends, and waits for what was below it


def was_stopped(container: Container) -> bool:
    """Whether a container that ran stops, or is stopped by now."""
    try:
        if container.state in ("ABORTING", "STOPPED", "STOPPING"):
            return True
        # Its monitor may not have seen yet that init has ended, or is about to.
        with open(f"/proc/{container.init_pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0] in (b"X", b"Z") or bool(int(fields[6]) & PF_EXITING)
    except (FileNotFoundError, ProcessLookupError):
        return True
    except (OSError, RuntimeError):
        return False


def suspect(container: Container, operation: str) -> Finding:
    """What may be in the way where nobody gives a reason."""
    if found := why_not_writable(container.get_config_path()):
        return found
    if not container.controllable:
        return NO_CONTROL
    if operation.startswith("attach"):
        return LXCError, "liblxc could not attach to it"
    return LXCError, SILENCE


def why_not_writable(path: str) -> Finding | None:
    if os.geteuid() == 0 or os.access(path, os.W_OK):
        return None
    return PermissionDenied, f"no permission to write to {path}"


def is_full(path: str) -> bool:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize < 1 << 16


HOOKS = (
    *("autodev", "clone", "destroy", "mount", "post-stop", "pre-mount", "pre-start"),
    *("start", "start-host", "stop"),
)


def check_directory(container: Container, directory: Any) -> Finding | None:
    directory = os.fsdecode(directory)
    if not os.path.lexists(directory):
        return None
    path, name = os.path.split(directory)
    return AlreadyExists, f"there is {name!r} in {path} already"


def check_copy(container: Container, directory: Any) -> Finding | None:
    return check_directory(container, directory) or check_hooks(container)


def check_hooks(container: Container, about: Any = None) -> Finding | None:
    """liblxc copies each hook that is in the container's directory, and fails where the
    copy is there already."""
    inside = os.path.join(container.get_config_path(), container.name, "")
    seen = set()
    for kind in HOOKS:
        try:
            value = _lxc.Container.get_config_item(container, f"lxc.hook.{kind}")
        except KeyError:
            continue
        for hook in value.splitlines():
            name = os.path.basename(hook)
            if hook.startswith(inside) and name in seen:
                return (
                    LXCError,
                    f"two of its hooks are a {name}, of which it copies each",
                )
            if hook.startswith(inside):
                seen.add(name)
    return None


def check_snapshot(container: Container, name: Any) -> Finding | None:
    name = os.fsdecode(name)
    if any(name == each for each, *_ in container.snapshot_list()):
        return None
    return LXCError, f"there is no snapshot {name!r}"


# What a kernel may have, by the first word of a key.
CONTROLLERS = frozenset(
    ("cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma")
)
DELEGATE = (
    "start it where cgroups are delegated, as below systemd-run --user --scope "
    "-p Delegate=yes, or with Delegate=yes in its service"
)


def check_cgroup_item(container: Container, pair: Any) -> Finding | None:
    key, value = pair
    try:
        _lxc.Container.get_cgroup_item(container, key)
    except KeyError:
        return why_no_cgroup_item(container, os.fsdecode(key))
    return LXCError, f"{key!r} cannot be set to {value!r}"


def why_no_cgroup_item(container: Container, key: str) -> Finding:
    controller = key.partition(".")[0]
    if controller in CONTROLLERS and not has_controller(container, controller):
        return (
            LXCError,
            f"its cgroup has no controller {controller!r}, and so no {key!r}: "
            + DELEGATE,
        )
    return LXCError, f"there is no cgroup item {key!r}"


def has_controller(container: Container, controller: str) -> bool:
    """Whether it is among those of the running container's cgroup, if that is known."""
    for names, path in cgroups(container):
        if not names:
            names = read_lines(f"{path}/cgroup.controllers")
            names = " ".join(names).split()
        if controller in names:
            return True
    return False


def read_lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def cgroups(container: Container) -> list[tuple[list[str], str]]:
    """The controllers, none for cgroup2, and the directory of each of its cgroups."""
    found = []
    for line in read_lines(f"/proc/{container.init_pid}/cgroup"):
        _, names, path = line.split(":", 2)
        roots = [f"/sys/fs/cgroup/{names}"]
        if not names:
            roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        for root in roots:
            if os.path.isdir(root):
                found.append(([name for name in names.split(",") if name], root + path))
                break
    return found


def check_freeze(container: Container, about: Any) -> Finding | None:
    """A user may freeze what is in a cgroup of their own."""
    for names, path in cgroups(container):
        file = "freezer.state" if "freezer" in names else "cgroup.freeze"
        file = f"{path}/{file}"
        if (not names or "freezer" in names) and os.path.exists(file):
            if os.access(file, os.W_OK):
                return None
            return PermissionDenied, f"no permission to write to {file}: {DELEGATE}"
    if os.geteuid() == 0:
        return None
    return LXCError, f"its cgroup cannot be frozen: {DELEGATE}"


def no_item(container: Container, operation: str, key: Any) -> LXCError:
    """Why there is no item, which is a KeyError: it is the key, or the state."""
    key = os.fsdecode(key) if key is not None else None
    kind: Kind = NoSuchItem
    if operation == "get_cgroup_item":
        if not container.running:
            why, reason = why_not_running(container)
            if why is not PermissionDenied:
                kind = NotDefined if why is NotDefined else NotRunningItem
        else:
            reason = why_no_cgroup_item(container, key or "")[1]
    elif not is_interface(key or "") and (found := check_item(container, key or "")):
        reason = found[1]
    else:
        reason = why_no_config_item(container, key or "")
    return kind(operation, container.name, reason, found=reason)


def is_interface(key: str) -> bool:
    return key.startswith("lxc.net.") and key[len("lxc.net.") :].isdigit()


def why_no_config_item(container: Container, key: str) -> str:
    words = key.split(".")
    if words[:2] == ["lxc", "net"] and len(words) > 2:
        try:
            _lxc.Container.get_keys(container, ".".join(words[:3]))
        except KeyError:
            return f"it has no network interface {words[2]}"
        return f"its network interface {words[2]} has no {'.'.join(words[3:])!r}"
    try:
        _lxc.Container.get_config_item(container, "lxc.uts.name")
    except KeyError:
        return "it has no configuration in memory"
    return f"{key!r} cannot be read"


def check_value(container: Container, pair: Any) -> Finding | None:
    key, value = pair
    if found := check_item(container, key):
        return found
    return LXCError, f"liblxc refuses {key!r} = {value!r}"


def check_item(container: Container, key: Any) -> Finding | None:
    from ._items import can_be_set

    key = os.fsdecode(key)
    if _lxc.config_item_is_supported(key) or can_be_set(key):
        return None
    return LXCError, f"liblxc knows no item {key!r}"


def check_device(container: Container, path: Any) -> Finding | None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return LXCError, f"the host's {os.fsdecode(path)}: {error.strerror}"
    if mode & 0o170000 in (0o020000, 0o060000):
        return None
    return LXCError, f"the host's {os.fsdecode(path)} is no device"


def check_interface(container: Container, name: Any) -> Finding | None:
    name = os.fsdecode(name)
    if os.path.exists(f"/sys/class/net/{name}"):
        return None
    return LXCError, f"the host has no interface {name!r}"


def check_inner_interface(container: Container, name: Any) -> Finding | None:
    name = os.fsdecode(name)
    if name in container.get_interfaces():
        return None
    return LXCError, f"it has no interface {name!r}"


def check_destination(container: Container, path: Any) -> Finding | None:
    directory = os.path.dirname(os.path.abspath(os.fsdecode(path)))
    if not os.path.isdir(directory):
        return LXCError, f"there is no directory {directory}"
    if not os.access(directory, os.W_OK):
        return PermissionDenied, f"no permission to write to {directory}"
    return None


def check_source(container: Container, path: Any) -> Finding | None:
    if os.path.lexists(path):
        return None
    return LXCError, f"there is no {os.fsdecode(path)}"


def check_checkpoint(
    container: Container, look: Callable[[], Finding | None]
) -> Finding | None:
    return look()


def check_file(container: Container, path: Any) -> Finding | None:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
    except OSError as error:
        kind = PermissionDenied if isinstance(error, PermissionError) else LXCError
        return kind, f"{os.fsdecode(path)}: {error.strerror}"
    return None


# By the argument that the method passes to find_error().
CHECKS = {
    "add_device_net": check_interface,
    "add_device_node": check_device,
    "append_config_item": check_value,
    "attach_interface": check_interface,
    "checkpoint": check_checkpoint,
    "clear_config_item": check_item,
    "clone": check_copy,
    "detach_interface": check_inner_interface,
    "freeze": check_freeze,
    "load_config": check_file,
    "migrate": check_checkpoint,
    "mount": check_source,
    "rename": check_directory,
    "restore": check_checkpoint,
    "save_config": check_destination,
    "set_cgroup_item": check_cgroup_item,
    "set_config_item": check_value,
    "snapshot": check_hooks,
    "snapshot_destroy": check_snapshot,
    "snapshot_restore": check_directory,
}
