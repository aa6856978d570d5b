# SPDX-License-Identifier: LGPL-2.1-or-later
"""stats() and info(): what a container uses, and what it is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import stat
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING, Any, Union

from . import _lxc
from ._init import Watch, failure, get
from ._waiting import addresses
from .errors import LXCError, NotDefined

if TYPE_CHECKING:
    from . import Container
    from ._init import Init

__all__ = ["Info", "InterfaceStats", "Stats", "find_info", "find_stats"]

Interface = Union[IPv4Interface, IPv6Interface]
Number = Union[int, None]
NO_LIMIT = 1 << 60  # cgroup v1 has the largest multiple of a page instead


@dataclasses.dataclass(frozen=True)
class InterfaceStats:
    """What went through an interface, as the container sees it."""

    bytes_received: int
    bytes_sent: int
    packets_received: int
    packets_sent: int


@dataclasses.dataclass(frozen=True)
class Stats:
    """What a container uses and has used since it was started.

    A number is None where the host does not count it, and a limit also where there is
    none.  Processes that were attached count as the container's.
    """

    cpu_user: float | None
    """Seconds that its processes ran for themselves, on all processors."""
    cpu_system: float | None
    """Seconds that the kernel ran for them."""
    memory: int | None
    """Bytes, with what the kernel caches for it."""
    memory_peak: int | None
    """The most bytes that it had at a time, since its start."""
    memory_limit: int | None
    """Bytes."""
    swap: int | None
    """Bytes that are swapped out."""
    pids: int | None
    """Processes and threads."""
    pids_limit: int | None
    """The most that there may be."""
    block_read_bytes: int | None
    """Bytes that came from block devices, of all in sum.  Kernels since some 6.10 count
    none in cgroup v1, unless the container has a limit there."""
    block_written_bytes: int | None
    """Bytes that went there.  cgroup v1 does not count what was written later by the
    kernel, out of its cache."""
    block_reads: int | None
    """Operations."""
    block_writes: int | None
    """Operations."""
    network_bytes_received: int | None
    """In sum of all interfaces but "lo", as are the three that follow; None where the
    container shares the network of this process."""
    network_bytes_sent: int | None
    network_packets_received: int | None
    network_packets_sent: int | None
    interfaces: Mapping[str, InterfaceStats]
    """By name, "lo" too; empty where the network is shared."""

    def to_dict(self) -> dict[str, Any]:
        """The same as json.dumps() takes it."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Info:
    """What a container is and how it does."""

    name: str
    lxcpath: str
    state: str
    """One of lxc.get_wait_states(), such as "RUNNING"."""
    init_pid: int | None
    """On the host; None when it is stopped, as is memory."""
    addresses: Mapping[str, tuple[Interface, ...]]
    """By interface, see Container.addresses(); empty when it is stopped, or where this
    user cannot see them."""
    autostart: bool
    """Whether it is started with the host (lxc.start.auto)."""
    groups: tuple[str, ...]
    """The groups that it is started with (lxc.group)."""
    unprivileged: bool
    """Whether its users are others than the host's (lxc.idmap)."""
    rootfs: str | None
    """Where its root filesystem is, as liblxc has it after the kind; None without one.
    """
    rootfs_kind: str | None
    """What that is on, such as "dir", "overlay", "lvm" or "zfs"."""
    memory: int | None
    """Bytes, as in Stats; None also where the host does not count it."""

    def to_dict(self) -> dict[str, Any]:
        """The same as json.dumps() takes it: addresses are texts."""
        found = dataclasses.asdict(self)
        found["addresses"] = {k: list(map(str, v)) for k, v in self.addresses.items()}
        found["groups"] = list(self.groups)
        return found


# --- Cgroups --------------------------------------------------------------------------


class Cgroup:
    """A container's cgroup items: liblxc knows where each is, and which cgroup is the
    whole container's, wherever init or a systemd in there has moved itself.

    It knows nothing of cgroup2 where that has no controllers, but that has cpu.stat.
    """

    def __init__(self, container: Container, init: Init | None = None) -> None:
        self.container = container
        self.unified = None if init is None else unified(container, init)

    def text(self, *names: str) -> str | None:
        """The first item that is there."""
        for name in names:
            with contextlib.suppress(KeyError):
                return _lxc.Container.get_cgroup_item(self.container, name)
        if self.unified is not None:
            for name in names:
                path = os.path.join(self.unified, name)
                with contextlib.suppress(OSError), open(path) as file:
                    return file.read()
        return None

    def number(self, *names: str) -> int | None:
        """The same as a number; None for "max" too, or what cgroup v1 has for it."""
        text = self.text(*names)
        if text is None or not text.strip().isdigit():
            return None
        return int(text)

    def limit(self, *names: str) -> int | None:
        number = self.number(*names)
        return None if number is None or number >= NO_LIMIT else number

    def fields(self, *names: str) -> dict[str, int]:
        """A file of lines that have a name and a number."""
        found = {}
        for line in (self.text(*names) or "").splitlines():
            name, _, value = line.partition(" ")
            if value.isdigit():
                found[name] = int(value)
        return found

    def cpu(self) -> tuple[float | None, float | None]:
        fields = self.fields("cpu.stat")
        if "user_usec" in fields:
            return fields["user_usec"] / 1e6, fields["system_usec"] / 1e6
        # The file of that name in cgroup v1 has other things.
        fields = self.fields("cpuacct.stat")
        if "user" not in fields:
            return None, None
        ticks = os.sysconf("SC_CLK_TCK")
        return fields["user"] / ticks, fields["system"] / ticks

    def swap(self) -> int | None:
        number = self.number("memory.swap.current")
        if number is not None:
            return number
        return self.fields("memory.stat").get("total_swap")

    def block(self) -> dict[str, Number]:
        text = self.text("io.stat")
        if text is not None:
            sums = dict.fromkeys(("rbytes", "wbytes", "rios", "wios"), 0)
            for line in text.splitlines():
                for field in line.split()[1:]:
                    name, _, value = field.partition("=")
                    if name in sums and value.isdigit():
                        sums[name] += int(value)
            found: tuple[Number, ...] = tuple(sums.values())
        else:
            sizes = self.block_v1("io_service_bytes")
            counts = self.block_v1("io_serviced")
            found = (*sizes, *counts)
        names = ("read_bytes", "written_bytes", "reads", "writes")
        return {f"block_{name}": value for name, value in zip(names, found)}

    def block_v1(self, what: str) -> tuple[Number, Number]:
        """Sums of a file of cgroup v1; None where no device has any.

        Newer kernels count nothing in there unless there is a limit.
        """
        for policy in ("throttle", "bfq"):
            # The name without _recursive leaves out the cgroups within.
            name = f"blkio.{policy}.{what}"
            text = self.text(f"{name}_recursive", name)
            if text is not None and len(text.splitlines()) > 1:
                break
        else:
            return None, None
        sums = {"Read": 0, "Write": 0}
        for line in text.splitlines():
            fields = line.split()
            if len(fields) == 3 and fields[1] in sums:
                sums[fields[1]] += int(fields[2])
        return sums["Read"], sums["Write"]

    def memory(self) -> int | None:
        return self.number("memory.current", "memory.usage_in_bytes")


def unified(container: Container, init: Init) -> str | None:
    """The directory of the container's cgroup in cgroup2, as far as that can be told.

    Its init may be in one below: that of a systemd, or lxc.cgroup.dir.container.inner.
    """
    lines = os.fsdecode(init.read("cgroup")).splitlines()
    paths = [line[len("0::") :] for line in lines if line.startswith("0::")]
    mount = unified_mount()
    if not paths or mount is None:
        return None
    own = re.escape(str(get(container, "name")))
    payload = re.match(rf"(.*/lxc\.payload\.{own}(-\d+)?)(/|$)", paths[0])
    if payload is not None:
        return mount + payload[1]
    path = paths[0]
    if path.endswith("/init.scope"):
        path = os.path.dirname(path)
    inner = "".join(items(container, "lxc.cgroup.dir.container.inner"))
    if inner and path.endswith(f"/{inner}"):
        path = path[: -len(inner) - 1]
    return mount + path


def unified_mount() -> str | None:
    """Where cgroup2 is mounted, whole."""
    with open("/proc/thread-self/mountinfo", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            _, _, _, top, place, *_ = fields.split()
            if rest.startswith("cgroup2 ") and top == "/":
                return place
    return None


# --- Networks -------------------------------------------------------------------------


def network(init: Init) -> dict[str, InterfaceStats] | None:
    """The interfaces of its network, None where that is this process's own."""
    with contextlib.suppress(PermissionError):
        theirs = os.stat("ns/net", dir_fd=init.directory)
        if os.path.samestat(theirs, os.stat("/proc/thread-self/ns/net")):
            return None
    found = {}
    for line in os.fsdecode(init.read("net/dev")).splitlines()[2:]:
        name, _, numbers = line.rpartition(":")
        fields = list(map(int, numbers.split()))
        found[name.strip()] = InterfaceStats(fields[0], fields[8], fields[1], fields[9])
    return found


def sums(interfaces: Mapping[str, InterfaceStats] | None) -> dict[str, Number]:
    return {
        f"network_{field.name}": None
        if interfaces is None
        else sum(getattr(v, field.name) for k, v in interfaces.items() if k != "lo")
        for field in dataclasses.fields(InterfaceStats)
    }


# --- Both -----------------------------------------------------------------------------


def find_stats(container: Container) -> Stats:
    """Container.stats()."""
    with Watch(container, "stats", 0) as watch:
        for init in watch:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                cgroup = Cgroup(container, init)
                interfaces = network(init)
                user, system = cgroup.cpu()
                found = Stats(
                    cpu_user=user,
                    cpu_system=system,
                    memory=cgroup.memory(),
                    memory_peak=cgroup.number(
                        "memory.peak", "memory.max_usage_in_bytes"
                    ),
                    memory_limit=cgroup.limit("memory.max", "memory.limit_in_bytes"),
                    swap=cgroup.swap(),
                    pids=cgroup.number("pids.current"),
                    pids_limit=cgroup.limit("pids.max"),
                    **cgroup.block(),
                    **sums(interfaces),
                    interfaces=interfaces or {},
                )
                if init.alive():
                    return found
        raise watch.stopped()


def find_info(container: Container) -> Info:
    """Container.info()."""
    state = str(get(container, "state"))
    if state == "STOPPED" and not get(container, "defined"):
        raise failure(container, "info", NotDefined, "it is not defined")
    pid = int(get(container, "init_pid"))
    running = state != "STOPPED" and pid > 0
    there: Mapping[str, tuple[Interface, ...]] = {}
    if running:
        # It may stop meanwhile, or be frozen.
        with contextlib.suppress(OSError, LXCError):
            there = addresses(container, "info")
    kind, place = root(container)
    return Info(
        name=str(get(container, "name")),
        lxcpath=_lxc.Container.get_config_path(container),
        state=state,
        init_pid=pid if running else None,
        addresses=there,
        autostart=items(container, "lxc.start.auto") == ["1"],
        groups=tuple(items(container, "lxc.group")),
        unprivileged=bool(items(container, "lxc.idmap")),
        rootfs=place,
        rootfs_kind=kind,
        memory=Cgroup(container).memory() if running else None,
    )


def items(container: Container, key: str) -> list[str]:
    """The values of a configuration item, none where it is not set."""
    with contextlib.suppress(KeyError):
        text = _lxc.Container.get_config_item(container, key)
        return [value for value in text.split("\n") if value]
    return []


def root(container: Container) -> tuple[str | None, str | None]:
    """The kind of a root filesystem, and where that is."""
    place = "".join(items(container, "lxc.rootfs.path"))
    if not place:
        return None, None
    # In memory liblxc keeps the kind to itself; in the file it is before the place.
    with (
        contextlib.suppress(OSError),
        open(get(container, "config_file_name"), errors="surrogateescape") as file,
    ):
        for line in file:
            key, _, value = line.partition("=")
            kind, found, rest = value.strip().partition(":")
            if key.strip() == "lxc.rootfs.path" and found and rest == place:
                return kind, place
    if ":/" in place:
        return "overlay", place
    with contextlib.suppress(OSError):
        if stat.S_ISBLK(os.stat(place).st_mode):
            return "block", place
    return "dir", place
