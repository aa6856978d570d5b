# SPDX-License-Identifier: LGPL-2.1-or-later
"""LXC, Linux's system containers, from Python.

    import lxc

    container = lxc.Container("web", strict=True)
    container.create("busybox", lxc.LXC_CREATE_QUIET)
    container.start()
    print(container.state, container.init_pid)
    container.run(["uname", "-a"], check=True)
    container.stop()
    container.destroy()

A strict object raises LXCError where liblxc says no.  Without strict=True most calls
return False there, as python3-lxc's do, and container.last_error holds the reason.
"""

from __future__ import annotations

import os
import sys
import time

try:
    from . import _lxc, errors
except ImportError as error:
    from ._unusable import why_not_imported

    if (why := why_not_imported(error)) is None:
        raise
    raise ImportError(why, name=error.name, path=error.path) from error

from ._lxc import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    FEATURE_LAZY_PAGES,
    FEATURE_MEM_TRACK,
    LXC_ATTACH_CLEAR_ENV,
    LXC_ATTACH_DEFAULT,
    LXC_ATTACH_DETECT_PERSONALITY,
    LXC_ATTACH_DROP_CAPABILITIES,
    LXC_ATTACH_KEEP_ENV,
    LXC_ATTACH_LSM,
    LXC_ATTACH_LSM_EXEC,
    LXC_ATTACH_LSM_LABEL,
    LXC_ATTACH_LSM_NOW,
    LXC_ATTACH_MOVE_TO_CGROUP,
    LXC_ATTACH_NO_NEW_PRIVS,
    LXC_ATTACH_REMOUNT_PROC_SYS,
    LXC_ATTACH_SET_PERSONALITY,
    LXC_ATTACH_SETGROUPS,
    LXC_ATTACH_TERMINAL,
    LXC_CLONE_ALLOW_RUNNING,
    LXC_CLONE_KEEPBDEVTYPE,
    LXC_CLONE_KEEPMACADDR,
    LXC_CLONE_KEEPNAME,
    LXC_CLONE_MAYBE_SNAPSHOT,
    LXC_CLONE_SNAPSHOT,
    LXC_CREATE_QUIET,
    MIGRATE_DUMP,
    MIGRATE_FEATURE_CHECK,
    MIGRATE_PRE_DUMP,
    MIGRATE_RESTORE,
    features,
    get_global_config_item,
    get_wait_states,
    has_api_extension,
)
from .errors import (
    AlreadyExists,
    AlreadyRunning,
    Frozen,
    LXCError,
    LXCOSError,
    NoSuchItem,
    NotDefined,
    NotRunning,
    PermissionDenied,
    TimedOut,
    find_error,
)
from .network import ContainerNetwork, ContainerNetworkList

# Types are for their checkers: typing alone would take longer than all of lxc.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio.subprocess
    import subprocess
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Literal, Protocol, TypeVar, Union, overload

    from typing_extensions import Unpack

    from ._ephemeral import Ephemeral
    from ._monitor import Monitor, StateChange
    from ._netlink import Interface
    from ._numbers import Info, InterfaceStats, Stats
    from ._options import PopenOptions, RunOptions
    from .errors import Heard
    from .process import Command, Environment, Word

    class HasFileno(Protocol):
        def fileno(self) -> int: ...

    T = TypeVar("T")
    # Whose callers know when it is not None: typeshed's name for that.
    MaybeNone = Any
    Text = Union[str, bytes]
    Path = Union[str, bytes, os.PathLike[str], os.PathLike[bytes]]
    Stream = Union[int, HasFileno, None]

__all__ = [
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "FEATURE_LAZY_PAGES",
    "FEATURE_MEM_TRACK",
    "LXC_ATTACH_CLEAR_ENV",
    "LXC_ATTACH_DEFAULT",
    "LXC_ATTACH_DETECT_PERSONALITY",
    "LXC_ATTACH_DROP_CAPABILITIES",
    "LXC_ATTACH_KEEP_ENV",
    "LXC_ATTACH_LSM",
    "LXC_ATTACH_LSM_EXEC",
    "LXC_ATTACH_LSM_LABEL",
    "LXC_ATTACH_LSM_NOW",
    "LXC_ATTACH_MOVE_TO_CGROUP",
    "LXC_ATTACH_NO_NEW_PRIVS",
    "LXC_ATTACH_REMOUNT_PROC_SYS",
    "LXC_ATTACH_SETGROUPS",
    "LXC_ATTACH_SET_PERSONALITY",
    "LXC_ATTACH_TERMINAL",
    "LXC_CLONE_ALLOW_RUNNING",
    "LXC_CLONE_KEEPBDEVTYPE",
    "LXC_CLONE_KEEPMACADDR",
    "LXC_CLONE_KEEPNAME",
    "LXC_CLONE_MAYBE_SNAPSHOT",
    "LXC_CLONE_SNAPSHOT",
    "LXC_CREATE_QUIET",
    "MIGRATE_DUMP",
    "MIGRATE_FEATURE_CHECK",
    "MIGRATE_PRE_DUMP",
    "MIGRATE_RESTORE",
    "AlreadyExists",
    "AlreadyRunning",
    "Container",
    "ContainerNetwork",
    "ContainerNetworkList",
    "Frozen",
    "Info",
    "InterfaceStats",
    "LXCError",
    "LXCOSError",
    "Monitor",
    "NoSuchItem",
    "NotDefined",
    "NotRunning",
    "PermissionDenied",
    "StateChange",
    "Stats",
    "TimedOut",
    "arch_to_personality",
    "attach_run_command",
    "attach_run_shell",
    "config_item_is_supported",
    "default_config_path",
    "ephemeral",
    "features",
    "get_global_config_item",
    "get_wait_states",
    "has_api_extension",
    "list_containers",
    "log_close",
    "log_forward",
    "log_init",
    "monitor",
    "version",
]

__version__ = "8.0.0.dev0"

version = _lxc.get_version()
default_config_path = get_global_config_item("lxc.lxcpath")

# Classes that few programs name: where each is, to be imported when it is asked for.
LATER = {
    "Info": "_numbers",
    "InterfaceStats": "_numbers",
    "Monitor": "_monitor",
    "StateChange": "_monitor",
    "Stats": "_numbers",
}

if not TYPE_CHECKING:  # or a checker would take every name to be there

    def __getattr__(name: str) -> Any:
        if name not in LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f".{LATER[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """What is public, for dir() and for completion; not the modules used here."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


# Programs written for python3-lxc import the extension by its old name.
sys.modules.setdefault("_lxc", _lxc)

read_config_item = _lxc.Container.get_config_item  # super() takes as long as the call

POLL = 0.01  # seconds between two looks for an address
FAMILIES: Mapping[object, str] = {
    "inet": "inet",
    "inet6": "inet6",
    2: "inet",
    10: "inet6",
}


class _Missing:
    """Stands for a payload that was not given: None is one."""

    def __repr__(self) -> str:
        return "..."


MISSING = _Missing()


def arch_to_personality(arch: Text) -> int:
    """The personality of an architecture, as the personality= of attach takes it.

    KeyError for a name that liblxc does not know.
    """
    return _lxc.arch_to_personality(arch)


def config_item_is_supported(key: Text) -> bool:
    """Whether liblxc knows a configuration item, by its full name.

    True for "lxc.net" and for "lxc.net.0.type" and "lxc.cgroup2.memory.max", which are
    not in liblxc's own table, but can be set.  Wraps lxc_config_item_is_supported.
    """
    if _lxc.config_item_is_supported(key):
        return True
    from ._items import can_be_set

    return can_be_set(os.fsdecode(key))


def attach_run_command(cmd: Text | list[Any] | tuple[Any, list[Any]]) -> int:
    """For attach() and attach_wait(): run a command in the container.

    cmd is a list whose first item is the program, a tuple (program, [argument 0, ...]),
    or one word.  Called in an attached function it replaces the process, and returns
    only if it cannot: 127 if there is no such program, 126 if it cannot be executed.
    """
    return _lxc.attach_run_command(_command(cmd))


def attach_run_shell(payload: object = None) -> int:
    """For attach() and attach_wait(): run the shell of the container's user.

    Wraps lxc_attach_run_shell.
    """
    return _lxc.attach_run_shell(payload)


def _command(cmd: Any) -> tuple[Any, list[Any]]:
    if isinstance(cmd, tuple):
        return cmd  # the extension checks its form
    if not isinstance(cmd, list):
        return (cmd, [cmd])
    arguments = list(cmd)  # another thread may change the caller's
    if not arguments:
        raise ValueError("the command is an empty list: its first item is the program")
    return (arguments[0], arguments)


def _runner(run: Callable[..., Any], payload: Any) -> tuple[Any, ...]:
    """What attach passes to the extension: its own functions need no Python inside."""
    if run is attach_run_command:
        if payload is MISSING:
            raise TypeError("attach_run_command needs a command as payload")
        return (_lxc.attach_run_command, _command(payload))
    if run is attach_run_shell:
        return (_lxc.attach_run_shell,)
    return (run,) if payload is MISSING else (run, payload)


def _no_word(run: Callable[..., Any], payload: Any) -> str | None:
    """What is wrong with a command that has a word in it which is no text."""
    if run is not attach_run_command or payload is MISSING:
        return None
    words = payload
    if isinstance(payload, tuple):
        if len(payload) != 2 or not isinstance(payload[1], list):
            return None  # the extension says what is wrong with that
        words = [payload[0], *payload[1]]
    for word in words if isinstance(words, list) else [words]:
        if not isinstance(word, (str, bytes, os.PathLike)):
            return f"a word of a command is text or a path, not {word!r}"
    return None


def inside(path: Path, name: Text) -> str:
    """Where the container of that name is, or would be."""
    return os.path.join(os.fsdecode(path), os.fsdecode(name))


class Container(_lxc.Container):
    """A container by its name and lxcpath (config_path, by default liblxc's).

    It need not exist: create() makes it.  Methods that return False, or -1, where
    something is refused leave the reason in last_error; with strict they raise it, an
    LXCError, and what clone() and rename() return is strict as well.  Raises ValueError
    for what can be no name, RuntimeError where liblxc cannot open it.  Several threads
    may use one object.
    """

    strict = False
    """Whether methods raise LXCError where they would return False or -1."""

    def __init__(
        self, name: Text, config_path: Path | None = None, *, strict: bool = False
    ) -> None:
        super().__init__(name, config_path or None)
        if strict:
            self.strict = True

    def _note(
        self, operation: str, result: T, about: Any = None, heard: Heard | None = None
    ) -> T:
        """Keep the reason of a failure, and raise it if that is wanted."""
        if result is False or (result == -1 and operation.startswith("attach")):
            self._failure(operation, about, heard)
            if self.strict:
                raise self.last_error
        elif errors.forward_level is not None:
            from ._messages import forward_heard

            forward_heard(self, heard)
        return result

    def _must(
        self, operation: str, ok: bool, about: Any = None, heard: Heard | None = None
    ) -> None:
        """Raise for what was not done."""
        if not ok:
            raise self._failure(operation, about, heard)
        self._note(operation, ok, about, heard)

    def _is_unfit(self, operation: str, run: Callable[..., Any], payload: Any) -> bool:
        """Whether it cannot be attached; a process of the container would find out."""
        if (reason := _no_word(run, payload)) is None:
            return False
        self.last_error = LXCError(operation, self.name, reason, found=reason)
        if self.strict:
            raise TypeError(reason)
        return True

    def _failure(
        self, operation: str, about: Any = None, heard: Heard | None = None
    ) -> LXCError:
        """The reason of a failure, kept."""
        self.last_error = find_error(self, operation, about, heard)
        return self.last_error

    def _no_item(self, operation: str, key: Any) -> LXCError:
        """Why there is no such item, kept: a KeyError."""
        self.last_error = errors.no_item(self, operation, key)
        return self.last_error

    def _own(self, operation: str, call: Callable[[], T]) -> T:
        """What a call gives, often a descriptor of the caller's own; or LXCOSError."""
        try:
            return call()
        except OSError as error:
            found = self._failure(operation)
            kind = type(found) if isinstance(found, LXCOSError) else LXCOSError
            self.last_error = kind(
                operation,
                self.name,
                found.reason,
                error.errno,
                messages=found.messages,
                found=found.found,
            )
            raise self.last_error from None

    @property
    def last_error(self) -> LXCError | MaybeNone:
        """What the last call of this object that failed, failed for; None if none did.

        It can be raised.  Each time it is another object: one that was raised has a
        traceback, and with that all that its callers have, this container included.
        """
        error = self.__dict__.get("_last_error")
        return None if error is None else error._alike()

    @last_error.setter
    def last_error(self, error: LXCError | None) -> None:
        self.__dict__["_last_error"] = None if error is None else error._alike()

    # --- Networks ---------------------------------------------------------------------

    @property
    def network(self) -> ContainerNetworkList:
        """The interfaces of the configuration, a sequence of ContainerNetwork."""
        own = self.__dict__.get("_network")
        return ContainerNetworkList(self) if own is None else own

    @network.setter
    def network(self, value: ContainerNetworkList) -> None:
        self.__dict__["_network"] = value

    def attach_interface(
        self, src_ifname: Text, dst_ifname: Text | None = None
    ) -> bool:
        """Move the host's interface src_ifname into the container, as dst_ifname.

        Needs root.  Return whether that was done.
        Wraps lxc_container.attach_interface.
        """
        return self._note(
            "attach_interface",
            super().attach_interface(src_ifname, dst_ifname),
            src_ifname,
        )

    def detach_interface(self, ifname: Text, dst_ifname: Text | None = None) -> bool:
        """Move the container's interface ifname to the host, as dst_ifname.

        By default it keeps its name.  Return whether that was done.
        Wraps lxc_container.detach_interface.
        """
        return self._note(
            "detach_interface", super().detach_interface(ifname, dst_ifname), ifname
        )

    def add_device_net(self, name: str, destname: str | None = None) -> bool:
        """Move the host's interface into the running container, as destname.

        Uses the program ip and, for wireless interfaces, iw.  Return False when the
        container is stopped, when there is no such interface or when they fail.
        """
        from ._device import move_interface

        return self._note("add_device_net", move_interface(self, name, destname), name)

    def add_device_node(self, src_path: Path, dest_path: Path | None = None) -> bool:
        """Give the running container the host's device node src_path, as dest_path.

        liblxc looks for dest_path on the host too.  Needs root.  Return whether that
        was done.  On a host with cgroup2 alone liblxc then denies a container that has
        no lxc.cgroup2.devices rules all other devices, /dev/null too: start it with "a"
        as lxc.cgroup2.devices.allow.  Wraps lxc_container.add_device_node.
        """
        return self._note(
            "add_device_node", super().add_device_node(src_path, dest_path), src_path
        )

    def remove_device_node(self, src_path: Path, dest_path: Path | None = None) -> bool:
        """Take a device node from the running container; return whether it was.

        Wraps lxc_container.remove_device_node.
        """
        return self._note(
            "remove_device_node", super().remove_device_node(src_path, dest_path)
        )

    def get_interfaces(self) -> tuple[str, ...]:
        """The names of the network interfaces inside; () when stopped.

        Wraps lxc_container.get_interfaces.
        """
        return super().get_interfaces()

    def get_ips(  # type: ignore[override]  # the raw call has no timeout
        self,
        interface: Text | None = None,
        family: str | int | None = None,
        scope: int | None = 0,
        timeout: float | None = 0,
    ) -> tuple[str, ...]:
        """The addresses inside, of one interface or of all but "lo".

        family is "inet", "inet6", socket.AF_INET or socket.AF_INET6, else ValueError.
        Wait for one for at most timeout seconds (fractions are fine; less than 0: for
        ever), and return () if none came; last_error then says whether it ran all the
        same.  The environment variable LXC_GETIP_TIMEOUT takes the timeout's place.
        Wraps lxc_container.get_ips.
        """
        if family is not None and family not in FAMILIES:
            raise ValueError(
                f"{family!r} is no address family: use 'inet', 'inet6', "
                "socket.AF_INET or socket.AF_INET6"
            )
        wanted = (interface or None, FAMILIES.get(family), scope or 0)
        limit = float(os.environ.get("LXC_GETIP_TIMEOUT", timeout or 0))
        deadline = time.monotonic() + limit
        while True:
            ips = super().get_ips(*wanted)
            if ips or not (limit < 0 or time.monotonic() < deadline):
                break
            time.sleep(POLL)
        if limit > 0 and not ips:
            # Not earlier: a container that reboots is stopped for a moment.
            why = "timed out" if self.running else "not running"
            text = f"it had no address in {limit:g} seconds"
            self._failure("get_ips", heard=(text, why, "", False, False, 0.0))
        return ips

    def addresses(self) -> dict[str, tuple[Interface, ...]]:
        """The addresses inside with their prefixes, by interface.

        Each is an ipaddress.IPv4Interface or IPv6Interface; "lo" and link-local ones
        are among them, and an interface that has none has ().  They are those of the
        host where the container shares its network.  NotRunning when it is stopped.

        An ordinary user's process is forked for it: lxc.Frozen where it is frozen.
        """
        from ._waiting import addresses

        return addresses(self)

    # --- Configuration ----------------------------------------------------------------

    def get_config_item(self, key: Text) -> Any:
        """An item of the configuration in memory: a str, or a list of several values.

        "" when it is not set; NoSuchItem, a KeyError, for an unknown key or an
        interface that is not there.  Wraps lxc_container.get_config_item.
        """
        try:
            value = read_config_item(self, key)
        except KeyError:
            raise self._no_item("get_config_item", key) from None
        if "\n" not in value or not value.endswith("\n"):
            return value
        return value.rstrip("\n").split("\n")

    def set_config_item(self, key: Text, value: Text | Sequence[Text]) -> bool:
        """Replace the whole value of an item in memory, by a str or a list of them.

        Return False, the old value being there again, exactly when liblxc refuses it;
        NoSuchItem, a KeyError, for an unknown key.  save_config() makes it last.
        Setting the type of an interface empties its other items, as in liblxc.
        Wraps lxc_container.set_config_item and clear_config_item.
        """
        if not isinstance(key, str):
            key = os.fsdecode(key)
        if isinstance(value, (list, tuple)):
            value = [item for item in value if item not in ("", b"")] or ""
        elif not isinstance(value, (str, bytes)):
            raise TypeError(
                f"a configuration value is a str or a list of str, not {value!r}"
            )
        try:
            if self._replace_config_item(key, value):
                return True
        except KeyError:
            raise self._no_item("set_config_item", key) from None
        return self._note("set_config_item", False, (key, value))

    def append_config_item(self, key: Text, value: Text) -> bool:
        """Add a value to an item that is a list; set one that is not.

        Return False for an unknown key or a refused value.
        Wraps lxc_container.set_config_item.
        """
        return self._note(
            "append_config_item", super().set_config_item(key, value), (key, value)
        )

    def clear_config_item(self, key: Text) -> bool:
        """Clear an item in memory; False for an unknown key.

        Clearing an interface's type takes the whole interface away.  What an included
        file sets gets a line that clears it; what lxc.include brought stays when that
        is cleared.
        Wraps lxc_container.clear_config_item.
        """
        return self._note("clear_config_item", super().clear_config_item(key), key)

    def clear_config(self) -> None:
        """Forget the configuration in memory; the file stays.

        Wraps lxc_container.clear_config.
        """
        super().clear_config()

    def get_keys(self, key: Text | None = None) -> list[str]:  # type: ignore[override]
        """The keys that can be set below a key, or all.

        NoSuchItem, a KeyError, for an unknown one.  Wraps lxc_container.get_keys.
        """
        try:
            return super().get_keys(key or None).rstrip("\n").split("\n")
        except KeyError:
            raise self._no_item("get_keys", key) from None

    def get_running_config_item(self, key: Text) -> str | None:
        """An item as the running container has it, unsplit; None when stopped or unset.

        Wraps lxc_container.get_running_config_item.
        """
        return super().get_running_config_item(key)

    def load_config(self, path: Path | None = None) -> bool:
        """Add a file, by default the container's own, to the configuration in memory.

        The container's own takes the place of what came from it, if nothing was changed
        since; else call clear_config() first to replace that.  Return whether it could
        be read, which a pipe or a device cannot.
        Wraps lxc_container.load_config.
        """
        file = path or self.config_file_name
        return self._note("load_config", super().load_config(path), file)

    def save_config(self, path: Path | None = None) -> bool:
        """Write the configuration to a file, by default the container's own.

        Return whether that was done; never waits for who reads a pipe.  liblxc changes
        the process's umask meanwhile.
        Wraps lxc_container.save_config.
        """
        from ._create import no_empty_directory

        with no_empty_directory(self.get_config_path(), self.name):
            ok = super().save_config(path)
        return self._note("save_config", ok, path)

    def get_config_path(self) -> str:
        """The lxcpath, the directory in which the container's own is.

        Wraps lxc_container.get_config_path.
        """
        return super().get_config_path()

    def set_config_path(self, path: Path) -> bool:
        """Look for the container in another lxcpath from now on.

        Wraps lxc_container.set_config_path.
        """
        return self._note("set_config_path", super().set_config_path(path))

    def get_cgroup_item(self, key: Text) -> str:
        """A cgroup value such as "pids.max", without its last line break.

        NoSuchItem, a KeyError, when there is none or the container is stopped.
        Wraps lxc_container.get_cgroup_item.
        """
        try:
            return super().get_cgroup_item(key).rstrip("\n")
        except KeyError:
            raise self._no_item("get_cgroup_item", key) from None

    def set_cgroup_item(self, key: Text, value: Text) -> bool:
        """Set a cgroup value of the running container; return whether it was.

        Wraps lxc_container.set_cgroup_item.
        """
        return self._note(
            "set_cgroup_item", super().set_cgroup_item(key, value), (key, value)
        )

    # --- Life and death ---------------------------------------------------------------

    def create(  # type: ignore[override]  # in the raw call args come last
        self,
        template: Path | None = None,
        flags: int | None = 0,
        args: Mapping[str, object] | Sequence[Text] | None = (),
        bdevtype: Text | None = None,
        fssize: int | str | None = 0,
        bdev_specs: Mapping[str, Any] | None = None,
    ) -> bool:
        """Make the container's root filesystem with a template.

        template is a name such as "busybox" or the absolute path of a program, and args
        are its arguments: a mapping {"dist": "debian"} stands for --dist debian.
        flags is 0 or LXC_CREATE_QUIET, bdevtype the kind of storage, such as "dir",
        "lvm", "loop" or "zfs", and fssize its size, in bytes or as text: "2G".  Without
        a template only the configuration is written.

        bdev_specs says more of the storage; all that it lacks has a default:
        {"fstype": "ext4", "fssize": "2G", "dir": "/srv/root",
        "lvm": {"vg": "lxc", "lv": "web", "thinpool": "pool"},
        "zfs": {"zfsroot": "tank/lxc"},
        "rbd": {"rbdname": "web", "rbdpool": "lxc", "rbduser": "admin"}}, where rbduser
        needs liblxc 6.0.6 (NotImplementedError).

        Return whether it was made; a failure leaves what was there before, and
        last_error has what the template said last.  An ordinary user's lxcpath is made
        where it is missing.  Of several processes and threads that create one container
        at a time one does; the others get False, and AlreadyExists as last_error.

        The template runs in a child.  Where stdin and stdout are a terminal it keeps
        that and may ask, unless flags say LXC_CREATE_QUIET; else its stdin is
        /dev/null, and what it says goes on to the caller's stdout and stderr, or with
        LXC_CREATE_QUIET nowhere.  The exception of a signal handler (Ctrl-C) ends the
        template with all that it has started, and takes back what was made.
        Wraps lxc_container.create.
        """
        from ._create import create
        from ._streams import flush

        flush()  # what was printed comes before the template's words
        ok, heard = create(
            self,
            super(),
            template or None,
            flags,
            args,
            bdevtype,
            fssize,
            bdev_specs,
        )
        return self._note("create", ok, template, heard)

    def destroy(self) -> bool:
        """Remove the stopped container from disk, and its configuration from memory.

        False if it is not defined, is running or has snapshots.
        Wraps lxc_container.destroy.
        """
        if not self._note("destroy", super().destroy()):
            return False
        self.clear_config()
        return True

    def destroy_with_snapshots(self) -> None:  # type: ignore[override]
        """Remove the stopped container and its snapshots from disk.

        As destroy() does where it has none.  LXCError if it is not defined or is
        running, or if something that was cloned as a layer over it needs it.
        Wraps lxc_container.destroy_with_snapshots.
        """
        self._must("destroy_with_snapshots", super().destroy_with_snapshots())
        self.clear_config()

    def clone(  # type: ignore[override]  # the raw call returns whether it worked
        self,
        newname: Text,
        config_path: Path | None = None,
        flags: int | None = 0,
        bdevtype: Text | None = None,
        bdevdata: Text | None = None,
        newsize: int | None = 0,
        hookargs: Sequence[Text] | None = (),
    ) -> Container | Literal[False]:
        """Copy the stopped container; return the new Container, or False.

        LXC_CLONE_ALLOW_RUNNING copies a running one, as its files are at the moment.
        With flags=LXC_CLONE_SNAPSHOT and bdevtype="overlayfs" it is a layer over this
        one.  config_path is by default this container's own lxcpath, newsize in bytes;
        hookargs are for clone hooks.  Where there is a directory of that name already
        it must be empty (AlreadyExists as last_error): liblxc removes it if it fails.
        Wraps lxc_container.clone.
        """
        from ._create import made_alone

        path = config_path or self.get_config_path()
        clone = super().clone
        ok, heard = made_alone(
            path,
            newname,
            lambda: clone(
                newname,
                path,
                flags,
                bdevtype or None,
                bdevdata or None,
                newsize,
                hookargs,
            ),
        )
        if not self._note("clone", ok, inside(path, newname), heard):
            return False
        return Container(newname, path, strict=self.strict)

    def rename(self, new_name: Text) -> Container | Literal[False]:  # type: ignore[override]
        """Rename the stopped container on disk; return a new Container, or False.

        This object keeps the old name.  A directory of the new one must be empty, as
        for clone(); what is in the old one and is not the container's goes with it:
        liblxc makes a copy of the container, and destroys it.
        Wraps lxc_container.rename.
        """
        from ._create import made_alone

        path = self.get_config_path()
        rename = super().rename
        ok, heard = made_alone(path, new_name, lambda: rename(new_name))
        if not self._note("rename", ok, inside(path, new_name), heard):
            return False
        return Container(new_name, path, strict=self.strict)

    def snapshot(self, comment_path: Path | None = None) -> str | Literal[False]:
        """Make a snapshot of the stopped container; return its name, or False.

        comment_path is a file with a comment, which is copied.  Snapshots of one
        container are made one after the other, by several processes as well.
        Wraps lxc_container.snapshot.
        """
        from ._create import creating

        snapshot = super().snapshot
        with creating(
            self.get_config_path(), self.name, "snapshot", wait=True
        ) as in_the_way:
            made = False if in_the_way else snapshot(comment_path)
            return self._note("snapshot", made, "hooks", in_the_way)

    def snapshot_list(self) -> tuple[tuple[str, str, str | None, str], ...]:
        """The snapshots: (name, path of the comment, timestamp or None, lxcpath) each.

        KeyError if the container is not defined.  Wraps lxc_container.snapshot_list.
        """
        return super().snapshot_list()

    def snapshot_restore(self, name: Text, newname: Text | None = None) -> bool:
        """Restore a snapshot, in place of this container or as newname.

        Return whether that was done.  A directory of the new name must be empty, as for
        clone().  Wraps lxc_container.snapshot_restore.
        """
        from ._create import creating, made_alone

        restore = super().snapshot_restore
        path = self.get_config_path()
        if not newname or newname == self.name:
            with creating(path, self.name) as in_the_way:
                ok = not in_the_way and restore(name, newname)
                return self._note("snapshot_restore", ok, heard=in_the_way)
        ok, heard = made_alone(path, newname, lambda: restore(name, newname))
        return self._note("snapshot_restore", ok, inside(path, newname), heard)

    def snapshot_destroy(self, name: Text) -> bool:
        """Remove a snapshot; return whether it was.

        Wraps lxc_container.snapshot_destroy.
        """
        return self._note("snapshot_destroy", super().snapshot_destroy(name), name)

    def snapshot_destroy_all(self) -> None:  # type: ignore[override]
        """Remove all snapshots, if there are any; LXCError if that fails.

        Wraps lxc_container.snapshot_destroy_all.
        """
        self._must("snapshot_destroy_all", super().snapshot_destroy_all())

    # --- Running ----------------------------------------------------------------------

    def start(
        self,
        useinit: bool | None = False,
        daemonize: bool | None = True,
        close_fds: bool | None = False,
        cmd: Sequence[Text] | None = (),
    ) -> bool:
        """Start the container with its configuration in memory; return whether it runs.

        cmd takes the place of init; useinit runs it below liblxc's small init.  With
        daemonize=False the call lasts until the container stops; error_num is then the
        exit status of its init, and an exception from a signal handler (Ctrl-C from
        outside) stops it.  close_fds has descriptors closed that it would inherit.
        A forked child makes the call, or for a large process the launcher: nothing of
        this process changes.  Wraps lxc_container.start.
        """
        return self._note("start", super().start(useinit, daemonize, close_fds, cmd))

    def stop(self) -> bool:
        """Kill the container; True also when it is stopped already.

        The kernel lets its init end only when the processes that attach() made are
        reaped: wait for those first, or stop() waits for you.
        Wraps lxc_container.stop.
        """
        return self._note("stop", super().stop())

    def shutdown(self, timeout: float | None = -1, *, kill: bool = False) -> bool:
        """Ask init to halt, and wait for at most timeout seconds (-1: for ever).

        Return whether the container is stopped, and with timeout=0 whether it was
        asked.  With kill, a container that is not stopped by then is killed, as stop()
        does it.  Ctrl-C interrupts.  Wraps lxc_container.shutdown.
        """
        stopped = super().shutdown(timeout)
        if not kill or (stopped and timeout != 0):
            return self._note("shutdown", stopped)
        return self._note("stop", super().stop())

    def reboot(self) -> bool:
        """Ask init to reboot; False when stopped.  Wraps lxc_container.reboot."""
        return self._note("reboot", super().reboot())

    def reboot2(self, timeout: float | None = -1) -> None:  # type: ignore[override]
        """Ask init to reboot, and wait for at most timeout seconds (-1: for ever).

        It has rebooted when it has another init, and runs; timeout=0 does not wait.
        LXCError when it is not running, when time is up, or when it stops instead.
        Ctrl-C interrupts.  Wraps lxc_container.reboot2.
        """
        self._must("reboot2", super().reboot2(timeout))

    def freeze(self) -> bool:
        """Freeze all processes of the container; False when stopped.

        Wraps lxc_container.freeze.
        """
        return self._note("freeze", super().freeze(), "cgroup")

    def unfreeze(self) -> bool:
        """Thaw them; True when stopped.  Wraps lxc_container.unfreeze."""
        return self._note("unfreeze", super().unfreeze())

    def wait(self, state: Text, timeout: float | None = -1) -> bool:
        """Wait at most timeout seconds (-1: for ever) until the container is in state.

        Several states are separated by "|".  Return whether it got there; False at once
        for what is no state.  It looks every 20 ms: shorter states can be missed.
        Ctrl-C interrupts.  Wraps lxc_container.state, again and again.
        """
        if isinstance(state, (str, bytes)):
            state = state.upper()
        return self._note("wait", super().wait(state, timeout))

    def attach(
        self,
        run: Callable[..., Any],
        payload: Any = MISSING,
        /,
        *,
        attach_flags: int | None = LXC_ATTACH_DEFAULT,
        namespaces: int | None = -1,
        personality: int | None = -1,
        initial_cwd: Path | None = None,
        uid: int | None = -1,
        gid: int | None = -1,
        env_policy: int | None = LXC_ATTACH_KEEP_ENV,
        extra_env_vars: Sequence[Text] | None = None,
        extra_keep_env: Sequence[Text] | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        log_fd: Stream = None,
        lsm_label: Text | None = None,
        groups: Iterable[int] | None = None,
    ) -> int:
        """Run something inside, as attach_wait() does, and do not wait for it.

        Return the pid of a process that is this one's own child: wait for it with
        os.waitpid().  -1 when it could not be attached.
        Wraps lxc_container.attach.
        """
        if self._is_unfit("attach", run, payload):
            return -1
        pid = super().attach(
            *_runner(run, payload),
            attach_flags=attach_flags,
            namespaces=namespaces,
            personality=personality,
            initial_cwd=initial_cwd,
            uid=uid,
            gid=gid,
            env_policy=env_policy,
            extra_env_vars=extra_env_vars,
            extra_keep_env=extra_keep_env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            log_fd=log_fd,
            lsm_label=lsm_label,
            groups=groups,
        )
        return self._note("attach", pid)

    def attach_wait(
        self,
        run: Callable[..., Any],
        payload: Any = MISSING,
        /,
        *,
        attach_flags: int | None = LXC_ATTACH_DEFAULT,
        namespaces: int | None = -1,
        personality: int | None = -1,
        initial_cwd: Path | None = None,
        uid: int | None = -1,
        gid: int | None = -1,
        env_policy: int | None = LXC_ATTACH_KEEP_ENV,
        extra_env_vars: Sequence[Text] | None = None,
        extra_keep_env: Sequence[Text] | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        log_fd: Stream = None,
        lsm_label: Text | None = None,
        groups: Iterable[int] | None = None,
    ) -> int:
        """Run something inside and wait for it; return its wait status, 0 for success.

        run is attach_run_command with a command as payload, attach_run_shell, or a
        Python function, called as run() or run(payload) in a child of this process that
        has joined the container.  An int that it returns is its exit status, None is 0,
        an exception prints its traceback and is 255; sys.exit() is honoured.

        -1 stands for an exit status of 255 and for an attach that failed, at once for a
        stopped or frozen container and for a word of a command that is no text;
        last_error says which, and strict raises only for the second, TypeError for such
        a word.

        attach_flags are LXC_ATTACH_* and namespaces CLONE_NEW*, -1 for the container's;
        env_policy is LXC_ATTACH_KEEP_ENV or LXC_ATTACH_CLEAR_ENV, extra_env_vars are
        NAME=VALUE and extra_keep_env names; stdin, stdout and stderr are descriptors or
        files, by default this process's.

        groups are the numbers of its supplementary groups, by default none, and
        lsm_label the AppArmor profile or SELinux context that it gets, if the host has
        one of these: both add their flag, and need liblxc 4.0.7 (NotImplementedError).
        With LXC_ATTACH_TERMINAL the program has a terminal of its own, connected to
        this process's; log_fd, a descriptor or file, gets a copy of what is printed
        there.

        With stdin on a terminal Ctrl-C is the program's; if it dies of that,
        KeyboardInterrupt follows.  Else KeyboardInterrupt ends the program, which has
        0.25 seconds to end by itself.  Wraps lxc_container.attach.
        """
        if self._is_unfit("attach_wait", run, payload):
            return -1
        status = super().attach_wait(
            *_runner(run, payload),
            attach_flags=attach_flags,
            namespaces=namespaces,
            personality=personality,
            initial_cwd=initial_cwd,
            uid=uid,
            gid=gid,
            env_policy=env_policy,
            extra_env_vars=extra_env_vars,
            extra_keep_env=extra_keep_env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            log_fd=log_fd,
            lsm_label=lsm_label,
            groups=groups,
        )
        heard = _lxc._heard() if status else None
        if heard and heard[0] and heard[1] == "ended":
            # The call did not fail, but how that ended is worth keeping.
            self.last_error = LXCError(
                "attach_wait", self.name, heard[0], found=heard[0]
            )
            self._must("attach_wait", True, heard=heard)
            return status
        return self._note("attach_wait", status, heard=heard)

    # --- Numbers ----------------------------------------------------------------------

    def stats(self) -> Stats:
        """What the running container uses, as an lxc.Stats: seconds, bytes and counts.

        These are CPU time, memory, swap, processes, block devices and network, with
        peaks and limits.  A number is None where the host does not count it.
        NotRunning when the container is stopped.
        Wraps lxc_container.get_cgroup_item.
        """
        from ._numbers import find_stats

        return find_stats(self)

    def info(self) -> Info:
        """What the container is, as an lxc.Info, whether it runs or not.

        That is its name, lxcpath, state and init, its addresses, when it is started and
        with whom, its root filesystem and the memory that it uses.  NotDefined for one
        that is not there.
        """
        from ._numbers import find_info

        return find_info(self)

    # --- Waiting ----------------------------------------------------------------------

    def wait_for_ips(
        self,
        timeout: float | None = 30,
        *,
        interface: Text | None = None,
        family: str | int | None = None,
    ) -> tuple[str, ...]:
        """Wait until there is an address inside, and return all that there are then.

        These are what get_ips() gives: of one interface or of all but "lo", without
        link-local ones.  family is "inet", "inet6", socket.AF_INET or socket.AF_INET6,
        else ValueError.

        timeout is in seconds; None, or less than 0, is for ever.  TimedOut says what
        there was instead.  NotRunning where the container is stopped, or stops
        meanwhile; one that reboots is waited for.  Ctrl-C interrupts.
        """
        from ._waiting import wait_for_ips

        return wait_for_ips(self, timeout, interface, family)

    def wait_for_port(
        self,
        port: int,
        timeout: float | None = 30,
        *,
        family: str | int | None = None,
    ) -> None:
        """Wait until something inside listens on a TCP port, on whatever address.

        family is as in wait_for_ips().  A socket on all addresses of IPv6 counts for
        IPv4 too, as that is what the kernel makes of it unless the program says no.
        ValueError for what is no port; timeout and errors are those of wait_for_ips().
        """
        from ._waiting import wait_for_port

        wait_for_port(self, port, timeout, family)

    def wait_until_booted(self, timeout: float | None = 60) -> str:
        """Wait until the container has booted, and say how: "running" if all is well.

        With systemd it is what "systemctl is-system-running" says: "degraded" where a
        unit has failed, "maintenance" where it gave up.  With OpenRC, busybox or
        sysvinit it has booted when that is done with what it begins in turn, by its
        inittab; what respawns is running then.  A program that is none of these has
        booted half a second after it became init.

        TimedOut names what is still starting; timeout and the other errors are those of
        wait_for_ips().
        """
        from ._waiting import wait_until_booted

        return wait_until_booted(self, timeout)

    def wait_for(
        self,
        condition: Callable[[], Any] | Command,
        timeout: float | None = 30,
        *,
        interval: float = 0.05,
    ) -> Any:
        """Wait until something is true, looking every interval seconds.

        condition is a callable, whose first true result is returned, or a command, for
        run(): the CompletedProcess of the first one that succeeds is returned.  What
        the callable raises is raised, and so is what run() does where the command
        cannot be run at all, such as FileNotFoundError.

        A callable may wait for the container's end; for a command NotRunning is raised
        where that has stopped and does not reboot.  A command that is running when time
        is up, or a second after it began, is ended.  TimedOut says how it went last.
        timeout is that of wait_for_ips().
        """
        from ._waiting import wait_for

        return wait_for(self, condition, timeout, interval)

    # --- Commands ---------------------------------------------------------------------

    if TYPE_CHECKING:

        @overload
        def run(
            self,
            args: Command,
            *,
            text: Literal[True],
            encoding: str | None = None,
            errors: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[str]: ...
        @overload
        def run(
            self,
            args: Command,
            *,
            encoding: str,
            text: bool | None = None,
            errors: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[str]: ...
        @overload
        def run(
            self,
            args: Command,
            *,
            errors: str,
            text: bool | None = None,
            encoding: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[str]: ...
        @overload
        def run(
            self,
            args: Command,
            *,
            universal_newlines: Literal[True],
            text: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[str]: ...
        @overload
        def run(
            self,
            args: Command,
            *,
            text: Literal[False] | None = None,
            encoding: None = None,
            errors: None = None,
            universal_newlines: Literal[False] | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[bytes]: ...
        @overload
        def run(
            self,
            args: Command,
            *positional: Any,
            text: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[Any]: ...

    def run(  # type: ignore[misc]
        self,
        args: Command,
        bufsize: int = -1,
        executable: Word | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        preexec_fn: None = None,
        close_fds: bool = True,
        shell: bool = False,
        cwd: Word | None = None,
        env: Environment | None = None,
        universal_newlines: bool | None = None,
        startupinfo: None = None,
        creationflags: int = 0,
        restore_signals: bool = True,
        start_new_session: bool = False,
        pass_fds: Sequence[int] = (),
        *,
        input: Any = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        user: str | int | None = None,
        group: str | int | None = None,
        extra_groups: Sequence[str | int] | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        umask: int = -1,
        pipesize: int = -1,
        process_group: int | None = None,
        tty: bool = False,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command in the container and wait for it, as subprocess.run() does.

        Arguments, results and exceptions are those of subprocess, by position as well.
        args is a program and its arguments, or a program alone: without shell nothing
        takes a str apart.  With shell it is given to the container's /bin/sh.
        executable is the program if that is not args[0], or another shell.  Return a
        subprocess.CompletedProcess, whose returncode is the exit status, or minus the
        signal that ended the command.

        stdin, stdout and stderr are PIPE, DEVNULL, a descriptor or a file, stderr also
        STDOUT; by default this process's.  input is given to stdin, capture_output
        collects stdout and stderr, in bytes; text (or universal_newlines), encoding or
        errors make all of it str.  bufsize and pipesize, in bytes, are of the pipes;
        pipesize needs Python 3.10.  pass_fds are descriptors for the command.
        With check, a status other than 0 raises CalledProcessError.

        cwd is a directory of the container, by default "/".  env is the whole
        environment.  Without it there is nothing of this process's: container=lxc, a
        PATH, lxc.environment, the user's HOME, USER and LOGNAME and, with tty, TERM.
        user, group and extra_groups are names or numbers of the container, read from
        its own /etc/passwd and /etc/group; by default root.  A user that is in there
        brings its group and supplementary groups, which extra_groups replaces.  A
        number that is not needs group.  umask is by default this process's.

        The command leads a session and a process group of its own in any case:
        start_new_session and process_group=0 ask for what it has, and another
        process_group is a PermissionError.  restore_signals is as in subprocess.
        With close_fds=False it gets each inheritable descriptor of this process, unless
        pass_fds names some.  preexec_fn, startupinfo and creationflags are ValueErrors.

        With tty it has a terminal of its own in the container, with the size of the one
        that stdin, stdout or stderr is, or 24 lines of 80 columns.  If stdin is this
        process's terminal, that is raw meanwhile: Ctrl-C is typed inside.

        After timeout seconds, subprocess.TimeoutExpired has the output so far; nothing
        of the command is left then, what it left in the background included, unless
        somebody has frozen the container: that takes up to 5 seconds more.  Without a
        timeout, what is in the background goes on.  A monitor that does not answer
        keeps no call with a timeout.

        The command ignores the signals that this process ignores, but for SIGPIPE, as
        with subprocess.  The exit status is right where SIGCHLD is ignored, too.

        FileNotFoundError and PermissionError for a program, FileNotFoundError and
        NotADirectoryError for a cwd, with that as filename; KeyError for an unknown
        user or group, OverflowError for a number that none has; lxc.NotRunning and
        lxc.Frozen, or another LXCError where it cannot be attached.  A container that
        is frozen while this call attaches keeps it waiting.

        Wraps lxc_container.attach.
        """
        given = locals()
        from ._arguments import split
        from .process import run

        streams, texts, options = split(given)
        return run(
            self,
            args,
            {**streams, **texts},
            options,
            input=input,
            capture_output=capture_output,
            timeout=timeout,
            check=check,
        )

    if TYPE_CHECKING:

        @overload
        def popen(
            self,
            args: Command,
            *,
            text: Literal[True],
            encoding: str | None = None,
            errors: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[PopenOptions],
        ) -> subprocess.Popen[str]: ...
        @overload
        def popen(
            self,
            args: Command,
            *,
            encoding: str,
            text: bool | None = None,
            errors: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[PopenOptions],
        ) -> subprocess.Popen[str]: ...
        @overload
        def popen(
            self,
            args: Command,
            *,
            errors: str,
            text: bool | None = None,
            encoding: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[PopenOptions],
        ) -> subprocess.Popen[str]: ...
        @overload
        def popen(
            self,
            args: Command,
            *,
            universal_newlines: Literal[True],
            text: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            **options: Unpack[PopenOptions],
        ) -> subprocess.Popen[str]: ...
        @overload
        def popen(
            self,
            args: Command,
            *,
            text: Literal[False] | None = None,
            encoding: None = None,
            errors: None = None,
            universal_newlines: Literal[False] | None = None,
            **options: Unpack[PopenOptions],
        ) -> subprocess.Popen[bytes]: ...
        @overload
        def popen(
            self,
            args: Command,
            *positional: Any,
            text: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[PopenOptions],
        ) -> subprocess.Popen[Any]: ...

    def popen(  # type: ignore[misc]
        self,
        args: Command,
        bufsize: int = -1,
        executable: Word | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        preexec_fn: None = None,
        close_fds: bool = True,
        shell: bool = False,
        cwd: Word | None = None,
        env: Environment | None = None,
        universal_newlines: bool | None = None,
        startupinfo: None = None,
        creationflags: int = 0,
        restore_signals: bool = True,
        start_new_session: bool = False,
        pass_fds: Sequence[int] = (),
        *,
        user: str | int | None = None,
        group: str | int | None = None,
        extra_groups: Sequence[str | int] | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        umask: int = -1,
        pipesize: int = -1,
        process_group: int | None = None,
        tty: bool = False,
    ) -> subprocess.Popen[Any]:
        """Begin a command in the container; return a subprocess.Popen.

        The arguments and exceptions are those of run().  The process, with its pid, is
        the program that attaches the command: what send_signal() sends it, it hands on,
        but for SIGSTOP; kill() ends the command and all that it began and that is left;
        it ends as the command does.  When this process dies the command goes on.
        Where SIGCHLD is ignored, or something else reaps the children of this process,
        its returncode is what subprocess makes of that.
        A kill() with tty leaves a terminal raw.  Wraps lxc_container.attach.
        """
        given = locals()
        from ._arguments import split
        from .process import popen

        streams, texts, options = split(given)
        return popen(self, args, {**streams, **texts}, options)

    if TYPE_CHECKING:

        @overload
        async def run_async(
            self,
            args: Command,
            *,
            text: Literal[True],
            encoding: str | None = None,
            errors: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[str]: ...
        @overload
        async def run_async(
            self,
            args: Command,
            *,
            encoding: str,
            text: bool | None = None,
            errors: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[str]: ...
        @overload
        async def run_async(
            self,
            args: Command,
            *,
            errors: str,
            text: bool | None = None,
            encoding: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[str]: ...
        @overload
        async def run_async(
            self,
            args: Command,
            *,
            universal_newlines: Literal[True],
            text: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[str]: ...
        @overload
        async def run_async(
            self,
            args: Command,
            *,
            text: Literal[False] | None = None,
            encoding: None = None,
            errors: None = None,
            universal_newlines: Literal[False] | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[bytes]: ...
        @overload
        async def run_async(
            self,
            args: Command,
            *positional: Any,
            text: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            universal_newlines: bool | None = None,
            **options: Unpack[RunOptions],
        ) -> subprocess.CompletedProcess[Any]: ...

    async def run_async(  # type: ignore[misc]
        self,
        args: Command,
        bufsize: int = -1,
        executable: Word | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        preexec_fn: None = None,
        close_fds: bool = True,
        shell: bool = False,
        cwd: Word | None = None,
        env: Environment | None = None,
        universal_newlines: bool | None = None,
        startupinfo: None = None,
        creationflags: int = 0,
        restore_signals: bool = True,
        start_new_session: bool = False,
        pass_fds: Sequence[int] = (),
        *,
        input: Any = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        user: str | int | None = None,
        group: str | int | None = None,
        extra_groups: Sequence[str | int] | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        umask: int = -1,
        pipesize: int = -1,
        process_group: int | None = None,
        tty: bool = False,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command in the container as run() does, in asyncio.

        The arguments, results and exceptions are those of run(); bufsize means nothing
        here.  Cancelling it does what a timeout does.  asyncio gives input through a
        socket: from there busybox's cat splices, which can hold up who reads its
        output.
        Wraps lxc_container.attach.
        """
        given = locals()
        from ._arguments import split
        from ._async import run

        streams, texts, options = split(given)
        return await run(
            self,
            args,
            streams,
            options,
            input=input,
            capture_output=capture_output,
            timeout=timeout,
            check=check,
            text=texts["text"],
            encoding=texts["encoding"],
            errors=errors,
        )

    async def create_subprocess_exec(
        self,
        program: Word,
        *args: Word,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        limit: int = 1 << 16,
        executable: Word | None = None,
        preexec_fn: None = None,
        close_fds: bool = True,
        cwd: Word | None = None,
        env: Environment | None = None,
        startupinfo: None = None,
        creationflags: int = 0,
        restore_signals: bool = True,
        start_new_session: bool = False,
        pass_fds: Sequence[int] = (),
        user: str | int | None = None,
        group: str | int | None = None,
        extra_groups: Sequence[str | int] | None = None,
        umask: int = -1,
        pipesize: int = -1,
        process_group: int | None = None,
        tty: bool = False,
        universal_newlines: bool = False,
        shell: bool = False,
        bufsize: int = 0,
        encoding: None = None,
        errors: None = None,
        text: bool | None = None,
    ) -> asyncio.subprocess.Process:
        """Begin a command in the container; return an asyncio.subprocess.Process.

        limit is of its streams, in bytes.  The other arguments, and the process, are
        those of popen(), less what asyncio refuses: a ValueError says that its streams
        are in bytes and without a buffer.  Wraps lxc_container.attach.
        """
        given = locals()
        from ._arguments import as_asyncio, split
        from ._async import create_subprocess

        as_asyncio(given, shell=False)
        streams, _, options = split(given)
        streams["limit"] = limit
        return await create_subprocess(
            self, "create_subprocess_exec", (program, *args), streams, options
        )

    async def create_subprocess_shell(
        self,
        cmd: Text,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        limit: int = 1 << 16,
        *,
        executable: Word | None = None,
        preexec_fn: None = None,
        close_fds: bool = True,
        cwd: Word | None = None,
        env: Environment | None = None,
        startupinfo: None = None,
        creationflags: int = 0,
        restore_signals: bool = True,
        start_new_session: bool = False,
        pass_fds: Sequence[int] = (),
        user: str | int | None = None,
        group: str | int | None = None,
        extra_groups: Sequence[str | int] | None = None,
        umask: int = -1,
        pipesize: int = -1,
        process_group: int | None = None,
        tty: bool = False,
        universal_newlines: bool = False,
        shell: bool = True,
        bufsize: int = 0,
        encoding: None = None,
        errors: None = None,
        text: bool | None = None,
    ) -> asyncio.subprocess.Process:
        """Begin a command of the container's shell, /bin/sh, or of executable.

        cmd is a str or bytes; all else is that of create_subprocess_exec().
        Wraps lxc_container.attach.
        """
        given = locals()
        from ._arguments import as_asyncio, split
        from ._async import create_subprocess

        if not isinstance(cmd, (str, bytes)):
            raise ValueError("cmd must be a string")
        as_asyncio(given, shell=True)
        streams, _, options = split(given)
        streams["limit"] = limit
        return await create_subprocess(
            self, "create_subprocess_shell", cmd, streams, options
        )

    def init_pidfd(self) -> int:
        """A pidfd of the container's init: a descriptor that can be waited for.

        It is the caller's to close, and closed on exec.  It becomes readable when the
        container's init ends; signal.pidfd_send_signal() takes it.  Raises LXCOSError,
        which is an OSError, when the container is not running.
        Wraps lxc_container.init_pidfd.
        """
        return self._own("init_pidfd", super().init_pidfd)

    def devpts_fd(self) -> int:
        """A descriptor of the root of the running container's devpts, its /dev/pts.

        It was opened with O_PATH: pass it as dir_fd.  It is the caller's to close, and
        closed on exec.  Raises LXCOSError, which is an OSError, when the container is
        not running or has no devpts of its own.
        Wraps lxc_container.devpts_fd.
        """
        return self._own("devpts_fd", super().devpts_fd)

    def seccomp_notify_fd(self) -> int:
        """A descriptor of the seccomp notifier that this object holds.

        Only an object that started the container in its own process has one, which no
        call here does: see seccomp_notify_fd_active().  It is the caller's to close,
        and closed on exec.  Raises LXCOSError, which is an OSError, with EBADF where
        there is none.  Wraps lxc_container.seccomp_notify_fd.
        """
        return self._own("seccomp_notify_fd", super().seccomp_notify_fd)

    def seccomp_notify_fd_active(self) -> int:
        """A descriptor of the running container's seccomp notifier.

        It is there where the container was started with an lxc.seccomp.profile that has
        notify rules, and an lxc.seccomp.notify.proxy.  It is the caller's to close, and
        closed on exec.  Raises LXCOSError, which is an OSError, where there is none or
        the container is not running.  Wraps lxc_container.seccomp_notify_fd_active.
        """
        return self._own("seccomp_notify_fd_active", super().seccomp_notify_fd_active)

    def set_timeout(self, timeout: int) -> None:
        """Limit how long state and running wait for a monitor that does not answer.

        timeout is in seconds, at least 1, or -1 for no limit, else ValueError.  After
        it, state is what liblxc makes of the silence, and running is True.
        NotImplementedError before liblxc 6.0.0.  Wraps lxc_container.set_timeout.
        """
        super().set_timeout(timeout)

    def console(
        self,
        ttynum: int | None = -1,
        stdinfd: int | None = 0,
        stdoutfd: int | None = 1,
        stderrfd: int | None = 2,
        escape: int | None = 1,
    ) -> bool:
        """Connect descriptors to a terminal of the container (-1: a free one).

        Ctrl-A q leaves it, or the letter of escape's number.  False when stopped,
        ValueError when no terminal is free.  Wraps lxc_container.console.
        """
        return self._note(
            "console", super().console(ttynum, stdinfd, stdoutfd, stderrfd, escape)
        )

    def console_getfd(self, ttynum: int | None = -1) -> int | Literal[False]:
        """A descriptor of a terminal of the container, which is the caller's to close.

        The terminal stays taken until that, or the end of this object.  False when
        stopped, ValueError when none is free.  Wraps lxc_container.console_getfd.
        """
        return self._note("console_getfd", super().console_getfd(ttynum))

    def console_log(
        self,
        clear: bool | None = False,
        read: bool | None = True,
        read_max: int | None = 0,
    ) -> bytes:
        """What the container wrote to its console since it was last read; b"" if none.

        It needs lxc.console.buffer.size.  read_max is the most bytes to read, 0 for
        all; what was read is gone.  clear empties the buffer, after reading it, or with
        read=False without.  LXCOSError, which is an OSError, when the container is not
        running or keeps no such buffer.  Wraps lxc_container.console_log.
        """
        return self._own(
            "console_log",
            lambda: super(Container, self).console_log(clear, read, read_max),
        )

    # --- Mounts and migration ---------------------------------------------------------

    def mount(  # type: ignore[override]
        self,
        source: Path | None,
        target: Path,
        filesystemtype: Text | None = None,
        mountflags: int | None = 0,
        data: Text | None = None,
    ) -> None:
        """Mount a path of the host, source, onto a path of the running container.

        target is made if it is not there.  What is there is refused, as liblxc would
        replace it for good, unless it is a directory and source is one, too.
        filesystemtype, mountflags (MS_BIND is 4096) and data are as in mount(2); source
        is None for what needs none, such as tmpfs.
        Needs root, and a container that was started with lxc.mount.auto =
        shmounts:/some/directory, a mount of the host that is shared: see
        lxc.container.conf(5).  LXCError if it was not mounted.
        Wraps lxc_container.mount.
        """
        self._must(
            "mount",
            super().mount(source, target, filesystemtype, mountflags, data),
            source,
        )

    def umount(  # type: ignore[override]
        self, target: Path, mountflags: int | None = 0
    ) -> None:
        """Unmount a path of the running container.

        mountflags are as in umount2(2): MNT_DETACH is 2.  LXCError if it was not
        unmounted.  Wraps lxc_container.umount.
        """
        self._must("umount", super().umount(target, mountflags))

    def checkpoint(  # type: ignore[override]
        self, directory: Path, stop: bool | None = False, verbose: bool | None = False
    ) -> None:
        """Write the processes of the running container to a directory, with criu.

        The directory is made, and must hold no checkpoint; criu's dump.log is in it,
        longer with verbose.  With stop the container is stopped afterwards.
        Needs root and criu, and a container that criu can take: see lxc-checkpoint(1).
        A signal does not cut it short: an exception of its handler comes afterwards.
        LXCError if it was not done.  Wraps lxc_container.checkpoint.
        """
        from ._migrate import why_not_migrated

        directory = os.path.abspath(directory)
        look = why_not_migrated(self, MIGRATE_DUMP, directory)
        self._must("checkpoint", super().checkpoint(directory, stop, verbose), look)

    def restore(  # type: ignore[override]
        self, directory: Path, verbose: bool | None = False
    ) -> None:
        """Start the stopped container from what checkpoint() wrote.

        criu's restore.log is in the directory.  The container has a monitor that is no
        child of this process, as after start().  LXCError if it was not done.
        Wraps lxc_container.restore.
        """
        from ._migrate import why_not_migrated

        directory = os.path.abspath(directory)
        look = why_not_migrated(self, MIGRATE_RESTORE, directory)
        self._must("restore", super().restore(directory, verbose), look)

    def migrate(  # type: ignore[override]
        self,
        cmd: int,
        directory: Path | None = None,
        verbose: bool | None = False,
        stop: bool | None = False,
        predump_dir: Path | None = None,
        pageserver_address: Text | None = None,
        pageserver_port: int | str | None = None,
        preserves_inodes: bool | None = False,
        action_script: Path | None = None,
        disable_skip_in_flight: bool | None = False,
        ghost_limit: int | str | None = 0,
        features_to_check: int | None = 0,
    ) -> int:
        """A step of a migration, with criu; cmd is one of MIGRATE_*.

        MIGRATE_PRE_DUMP writes memory to the directory while the container runs on,
        MIGRATE_DUMP all that has changed since, and MIGRATE_RESTORE starts it from
        there: these return 0, or raise LXCError.  MIGRATE_FEATURE_CHECK returns those
        of features_to_check, FEATURE_MEM_TRACK and FEATURE_LAZY_PAGES, that criu and
        the kernel have; it needs no directory.

        verbose, stop and the directory are those of checkpoint() and restore().
        predump_dir is a directory of an earlier pre-dump, relative to directory.
        pageserver_address and pageserver_port send memory to a criu page-server.
        preserves_inodes says that files have the same inodes where it is restored;
        action_script is a program that criu calls between its steps.  Half-open TCP
        connections are left out unless disable_skip_in_flight.  ghost_limit is the
        largest deleted file to take along, in bytes or as text: "2M"; 0 is criu's own
        limit.  Wraps lxc_container.migrate.
        """
        from ._migrate import migrate

        return migrate(
            self,
            super(),
            cmd,
            directory,
            {
                "verbose": verbose,
                "stop": stop,
                "predump_dir": predump_dir,
                "pageserver_address": pageserver_address,
                "pageserver_port": pageserver_port,
                "preserves_inodes": preserves_inodes,
                "action_script": action_script,
                "disable_skip_in_flight": disable_skip_in_flight,
                "ghost_limit": ghost_limit,
                "features_to_check": features_to_check,
            },
        )


# --- liblxc's log ---------------------------------------------------------------------


def log_forward(level: str | None = "INFO") -> None:
    """Have all that liblxc says from a level on go to logging.getLogger("lxc").

    level is "TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "ERROR", "CRIT", "ALERT" or
    "FATAL", else ValueError: liblxc then says that much in the whole process, which
    takes longer, and each method hands on what it said, at logging's own level of that
    name (TRACE is 5, NOTICE 25, what is above ERROR is CRITICAL).  None ends it.

    Without this the errors of calls that fail go there, where the program has imported
    logging.  A message's container, category, place and foreign are attributes of its
    LogRecord.  NotImplementedError for a liblxc whose level cannot be changed.
    """
    from ._messages import set_level

    set_level(level)


def log_init(
    name: Text | None = None,
    lxcpath: Path | None = None,
    file: Path | None = None,
    level: str = "ERROR",
    prefix: Text | None = None,
    quiet: bool = False,
) -> None:
    """Have liblxc write a log of its own, for the whole process and its containers.

    Into file, which is made where it is not there; "none" is no file; without a file
    but with a name it is that container's, NAME.log in its directory in lxcpath.  A
    file takes the place of each container's own lxc.log.file.  level is as in
    log_forward(); prefix is the first word of each line, by default "lxc".

    Errors go to stderr as well: with quiet they do not, unless there is a file.  Each
    call begins anew.  The reasons of failures come from that file from then on, if it
    can be read.  Call it before there are threads.

    ValueError for what is no level, OSError where the file cannot be written to.
    Wraps lxc_log_init.
    """
    from ._messages import init

    init(name, lxcpath, file, level, prefix, quiet)


def log_close() -> None:
    """Close the file of log_init(); errors go on to stderr, if they went there.

    Wraps lxc_log_close.
    """
    from ._messages import close

    close()


def ephemeral(
    base: Container | Text | None = None,
    *,
    template: Path = "busybox",
    args: Mapping[str, object] | Sequence[Text] = (),
    name: Text | None = None,
    network: str | bool | None = None,
    wait: Literal["ips", "booted"] | None = None,
    config_path: Path | None = None,
    config: Mapping[str, Text | Sequence[Text]] | None = None,
) -> Ephemeral:
    """A running container for a with statement, which is destroyed when that ends.

        with lxc.ephemeral("base", wait="booted") as container:
            container.run(["make", "check"], check=True)

    It is a layer over the stopped container base, or a new one of a template with args,
    as create() has them.  name is by default one that nobody has.  network is the
    bridge for its first interface, True for "lxcbr0", False or "empty" for none, and by
    default what the base or the template has.  config has items to set before it is
    started.  wait says what to wait for then: "ips" or "booted", as wait_for_ips() and
    wait_until_booted() do it.

    It is stopped and destroyed whatever happens: after an exception or Ctrl-C, when a
    start fails, at the interpreter's end, and after SIGTERM, which meanwhile ends the
    program by SystemExit(143) if the main thread makes it and that has no handler of
    its own.  A forked child never destroys it.

    LXCError where it cannot be made or started; AlreadyExists, where there is one of
    that name, leaves that alone; ValueError for arguments that mean nothing.
    """
    from ._ephemeral import Ephemeral

    return Ephemeral(
        base,
        template=template,
        args=args,
        name=name,
        network=network,
        wait=wait,
        config_path=config_path,
        config=config,
    )


def monitor(*names: Text, config_path: Path | None = None) -> Monitor:
    """Watch containers of an lxcpath change their state: all of them, or those named.

        with lxc.monitor("web") as monitor:
            for change in monitor:
                print(change.name, change.state)

    Return an lxc.Monitor: an iterator over lxc.StateChange, and a context manager.
    Its next_change(timeout) waits for one and raises TimedOut; close() ends it.  What
    happens after this call has returned is reported, each change, in order.  Names are
    exact, and need not be of containers that are there; ValueError for what can be
    none.

    The program lxc-monitor reports: FileNotFoundError names its package.  It ends when
    this process does; lxc-monitord, which that starts, by itself half a minute later.
    In a forked child a Monitor is closed.  LXCError where it cannot begin or has ended.
    """
    from ._monitor import Monitor

    return Monitor(names, config_path)


if TYPE_CHECKING:

    @overload
    def list_containers(
        active: object = True,
        defined: object = True,
        as_object: Literal[False] = False,
        config_path: Path | None = None,
    ) -> tuple[str, ...]: ...
    @overload
    def list_containers(
        active: object,
        defined: object,
        as_object: Literal[True],
        config_path: Path | None = None,
    ) -> tuple[Container, ...]: ...
    @overload
    def list_containers(
        active: object = True,
        defined: object = True,
        *,
        as_object: Literal[True],
        config_path: Path | None = None,
    ) -> tuple[Container, ...]: ...
    @overload
    def list_containers(
        active: object = True,
        defined: object = True,
        as_object: object = False,
        config_path: Path | None = None,
    ) -> tuple[Any, ...]: ...


def list_containers(
    active: object = True,
    defined: object = True,
    as_object: object = False,
    config_path: Path | None = None,
) -> tuple[Any, ...]:
    """The names of the containers of an lxcpath, or Container objects.

    active are those that run, defined those with a configuration.  () for a path that
    is not there.  A picture of a moment: what is broken says so when it is first used.
    Wraps list_all_containers, list_active_containers and list_defined_containers.
    """
    if config_path:
        try:
            os.stat(config_path)
        except OSError:
            return ()
    call = Container._list if as_object else _lxc.list_containers
    try:
        return call(active, defined, config_path or None)
    except ValueError:
        return ()
