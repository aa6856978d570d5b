# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why a call said no: LXCError, and the checks that find a reason afterwards."""

from __future__ import annotations

import os

from . import _lxc

TYPE_CHECKING = False  # of typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

    from . import Container

__all__ = ["Frozen", "LXCError", "LXCOSError", "NotRunning"]


class LXCError(Exception):
    """An operation on a container failed.

    operation is the method's name, container the container's name and reason a
    sentence without its full stop.  Classic methods return False or -1 instead of
    raising, and leave one of these in Container.last_error.
    """

    def __init__(self, operation: str, container: str, reason: str) -> None:
        super().__init__(operation, container, reason)
        self.operation = operation
        self.container = container
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.operation} of {self.container!r} failed: {self.reason}"


class NotRunning(LXCError):
    """A container would have to run for that, and does not."""


class Frozen(LXCError):
    """A container is frozen: nothing in it would run before unfreeze()."""


class LXCOSError(LXCError, OSError):
    """An operation failed for which liblxc gives an errno: an OSError as well."""

    def __init__(
        self, operation: str, container: str, reason: str, errno: int | None
    ) -> None:
        OSError.__init__(self, errno, reason)
        self.operation = operation
        self.container = container
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.container, self.reason, self.errno)


# What an operation needs the container to be, where liblxc does not say what it missed.
NEEDS_RUNNING = frozenset(
    (
        "add_device_net",
        "add_device_node",
        "attach",
        "attach_interface",
        "attach_wait",
        "checkpoint",
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
        "restore",
        "snapshot",
        "snapshot_restore",
        "start",
    )
)
WRITES = frozenset(("clone", "create", "rename", "save_config", "snapshot"))
NEEDS_DEFINITION = NEEDS_STOPPED - {"create"} | {
    "snapshot_destroy",
    "snapshot_destroy_all",
}


def find_reason(container: Container, operation: str) -> str:
    """What the extension itself says of its last call, or else what a look finds."""
    return _lxc._reason() or _look(container, operation)


def _look(container: Container, operation: str) -> str:
    if operation in NEEDS_DEFINITION and not container.defined:
        return "it is not defined"
    running = container.running
    if operation in NEEDS_RUNNING and not running:
        return "it is not running"
    if operation in NEEDS_STOPPED and running:
        return "it is running"
    if operation == "destroy" and container.snapshot_list():
        return "it has snapshots: destroy these first"
    path = container.get_config_path()
    if operation in WRITES and os.path.isdir(path) and free_bytes(path) < 1 << 16:
        return f"the disk of {path} is full"
    if os.geteuid() != 0 and not os.access(path, os.W_OK):
        return f"no permission to write to {path}"
    if not container.controllable:
        return "no permission to control it"
    return "liblxc refused, and gave no reason"


def free_bytes(path: str) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
