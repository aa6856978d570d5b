# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting for what a container has or does: addresses, a port, the end of its boot."""

from __future__ import annotations

import contextlib
import operator
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, NamedTuple

from . import FAMILIES, Container, _lxc
from ._init import INTERVAL, Init, Watch, seconds
from ._netlink import Network, open_inside, read, read_apart
from .errors import LXCError, NotRunning, PermissionDenied, TimedOut

if TYPE_CHECKING:
    from ._netlink import Interface
    from .process import Command

__all__ = [
    "addresses",
    "wait_for",
    "wait_for_ips",
    "wait_for_port",
    "wait_until_booted",
]


def checked_family(family: str | int | None) -> str | None:
    if family is not None and family not in FAMILIES:
        raise ValueError(
            f"{family!r} is no address family: use 'inet', 'inet6', "
            "socket.AF_INET or socket.AF_INET6"
        )
    return FAMILIES.get(family)


# --- Addresses ------------------------------------------------------------------------


class Sight:
    """A look into the network namespace of one init after the other.

    As a context manager it closes its socket.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._init: Init | None = None
        self._socket: socket.socket | None = None

    def network(self, init: Init) -> Network | None:
        """What is there now; None for what only liblxc can tell."""
        if init is not self._init:
            self.close()
            self._init = init
            if os.geteuid() == 0:
                with contextlib.suppress(PermissionError):
                    self._socket = open_inside(init)
        if self._socket is None:
            return None
        try:
            return read(self._socket)
        except OSError:
            self.close()  # with what others have sent to it
            return Network([], [])

    def usable(
        self, init: Init, interface: str | None, family: str | None
    ) -> tuple[tuple[str, ...], str]:
        """The addresses that count, and in words what else is there."""
        network = self.network(init)
        if network is not None:
            return network.usable(interface, family), network.describe()
        raw = self.watch.container
        ips = self.watch.ask(lambda: _lxc.Container.get_ips(raw, interface, family))
        return ips, "no interface has one that counts"

    def close(self) -> None:
        self._init = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Sight:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def wait_for_ips(
    container: Container,
    timeout: float | None,
    interface: str | bytes | None,
    family: str | int | None,
) -> tuple[str, ...]:
    """Container.wait_for_ips()."""
    wanted = os.fsdecode(interface) if interface else None
    kind = checked_family(family)
    there = "its network was not seen"
    with Watch(container, "wait_for_ips", timeout) as watch, Sight(watch) as sight:
        for init in watch:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                ips, there = sight.usable(init, wanted, kind)
                if ips:
                    return ips
        named = {None: "", "inet": "IPv4 ", "inet6": "IPv6 "}[kind]
        on = f" on {wanted}" if wanted else ""
        raise watch.timed_out(f"it has no {named}address{on}: {there}")


def addresses(
    container: Container, operation: str = "addresses"
) -> dict[str, tuple[Interface, ...]]:
    """Container.addresses()."""
    with Watch(container, operation, 0) as watch, Sight(watch) as sight:
        for init in watch:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                network = sight.network(init)
                if network is None:
                    network = read_apart(container, operation)
                return network.by_interface()
        raise watch.stopped()


# --- Ports ----------------------------------------------------------------------------

LISTENS = b"0A"


class Listener(NamedTuple):
    """A TCP socket that listens."""

    port: int
    families: frozenset[str]


BOTH = frozenset(("inet", "inet6"))


def listeners(init: Init) -> list[Listener]:
    """The TCP sockets that listen in an init's network namespace."""
    found = []
    for name in ("net/tcp", "net/tcp6"):
        try:
            lines = init.read(name).splitlines()[1:]
        except ProcessLookupError:
            if name == "net/tcp" or not init.alive():
                raise
            continue  # a kernel without IPv6
        for fields in map(bytes.split, lines):
            if fields[3] == LISTENS:
                address, _, port = fields[1].partition(b":")
                found.append(Listener(int(port, 16), families(address)))
    return found


def families(address: bytes) -> frozenset[str]:
    """For whom a socket on an address of /proc/PID/net/tcp or tcp6 listens."""
    if len(address) == 8:
        return frozenset(("inet",))
    # Four words, each in the machine's byte order.
    words = (int(address[i : i + 8], 16) for i in range(0, 32, 8))
    found = IPv6Address(b"".join(w.to_bytes(4, sys.byteorder) for w in words))
    if found == IPv6Address("::"):
        return BOTH
    return frozenset(("inet",) if found.ipv4_mapped else ("inet6",))


def wait_for_port(
    container: Container, port: int, timeout: float | None, family: str | int | None
) -> None:
    """Container.wait_for_port()."""
    wanted = operator.index(port)
    if not 0 < wanted < 1 << 16:
        raise ValueError(f"{port!r} is no port: these are 1 to 65535")
    kind = checked_family(family)
    there: list[Listener] = []
    with Watch(container, "wait_for_port", timeout) as watch:
        for init in watch:
            with contextlib.suppress(ProcessLookupError):
                there = listeners(init)
                for each in there:
                    if each.port == wanted and (kind is None or kind in each.families):
                        return
        ports = sorted({each.port for each in there})
        listening = f"listening are {', '.join(map(str, ports))}" if ports else ""
        over = f" over {'IPv6' if kind == 'inet6' else 'IPv4'}" if kind else ""
        raise watch.timed_out(
            f"nothing listens on port {wanted}{over}: "
            f"{listening or 'nothing listens at all'}"
        )


# --- The end of its boot --------------------------------------------------------------

# An init that is none of those known, or has no children, is taken to have booted when
# it has been so for that long, in seconds: a process becomes it by and by.
SETTLED = 0.5
STARTED = ("running", "degraded", "maintenance")
ASK_SYSTEMD = ("systemctl", "is-system-running")
ASK_JOBS = ("systemctl", "--no-legend", "--plain", "list-jobs")
MOST_NAMED = 10
BOOT_ACTIONS = ("sysinit", "boot", "bootwait", "wait")
NOBODY: frozenset[int] = frozenset()
DEFAULT_BOOT = ("/etc/init.d/rcS",)  # busybox without an inittab
LARGEST_INITTAB = 1 << 20
OPENRC = "run/openrc"


class Boot:
    """What one init has come to."""

    def __init__(self, container: Container, watch: Watch, init: Init) -> None:
        self.container = container
        self.watch = watch
        self.init = init
        self.waits_for = "it has not begun to boot"
        self._children = NOBODY
        self._settled: tuple[object, float] = (None, 0.0)

    def look(self) -> str | None:
        """How it has booted, None if it has not yet."""
        name = self.init.read("comm").strip()
        if name == b"systemd":
            return self.look_at_systemd()
        if name in (b"init", b"busybox", b"linuxrc", b"openrc-init"):
            return self.look_at_init()
        self.waits_for = f"its init is {os.fsdecode(name)!r}"
        return self.settle(name)

    def settle(self, what: object) -> str | None:
        """ "running" if it has been so for a while."""
        now = time.monotonic()
        if self._settled[0] != what:
            self._settled = (what, now)
        return "running" if now - self._settled[1] >= SETTLED else None

    # systemd

    def look_at_systemd(self) -> str | None:
        said = self.run(ASK_SYSTEMD)
        if said in STARTED:
            return said
        self.waits_for = f"systemd is {said or 'silent'!r}"
        return None

    def run(self, command: Command, limit: float | None = None) -> str:
        """What a command prints, if it does in time."""
        # Commands ask the monitor, and cannot be interrupted then.
        self.watch.state()
        try:
            done = Container.run(
                self.container,
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self.watch.patience() if limit is None else limit,
            )
        except (subprocess.TimeoutExpired, NotRunning, BlockingIOError):
            return ""  # it is frozen or reboots: the next look will see that
        return os.fsdecode(done.stdout).strip()

    def jobs(self) -> str:
        """What systemd is still starting, in words."""
        lines = [x.split() for x in self.run(ASK_JOBS, limit=1.0).splitlines()]
        running = [x[1] for x in lines if len(x) == 4 and x[3] == "running"]
        return named(running or [x[1] for x in lines if len(x) == 4])

    # What reads /etc/inittab, and OpenRC, which is begun from there

    def look_at_init(self) -> str | None:
        if not self.init_has_booted():
            return None
        starting = self.openrc_starts()
        if starting is None:
            return "running"
        self.waits_for = starting
        return None

    def init_has_booted(self) -> bool:
        """Whether init is done with what it waits for, and goes on to the rest.

        It has children then, none of which is a command of its boot.  Twice: between
        two such commands there is none, and what it has just forked looks like itself.
        """
        before, self._children = self._children, NOBODY
        commands = self.boot_commands()
        own = self.init.read("comm")
        children = self.children_of(self.init.pid)
        found = set()
        for child in children:
            inner = [child]
            if read_of(child, "comm") == own:
                # sysvinit's has a child for each command, which waits for it.
                inner = self.children_of(child) or inner
            for pid in inner:
                line = command_line(pid)
                if any(f" {command} " in f" {line} " for command in commands):
                    self.waits_for = f"init waits for {line!r}"
                    self._settled = (None, 0.0)
                    return False
            if inner == [child]:
                found.add(child)
        if not children:
            self.waits_for = "init has begun nothing"
            return self.settle("no children") is not None
        self._children = frozenset(found)
        return bool(self._children & before)

    def children_of(self, pid: int) -> list[int]:
        self.init.stat()  # or the number may be another's
        text = read_of(pid, f"task/{pid}/children")
        return list(map(int, text.split()))

    def boot_commands(self) -> list[str]:
        """The commands of its inittab that init waits for."""
        text = self.file("etc/inittab")
        if text is None:
            return list(DEFAULT_BOOT)
        found = []
        for line in text.splitlines():
            fields = line.strip().split(":", 3)
            if len(fields) == 4 and fields[2] in BOOT_ACTIONS and line[:1] != "#":
                found.append(plain(fields[3].partition("#")[0].strip().lstrip("-")))
        return [command for command in found if command]

    def file(self, path: str) -> str | None:
        """A file of the container, None if there is none that can be read."""
        try:
            fd = _lxc._open_beneath(self.init.pid, path)
        except OSError:
            return None
        with open(fd, "rb") as file:
            return os.fsdecode(file.read(LARGEST_INITTAB))

    def exists(self, path: str) -> bool:
        """Whether the container has something of that name, a directory perhaps."""
        try:
            os.close(_lxc._open_beneath(self.init.pid, path))
        except FileNotFoundError:
            return False
        except OSError:
            return True  # it is no file, or may not be read
        return True

    def openrc_starts(self) -> str | None:
        """What OpenRC is still starting, in words; None if nothing, or without it."""
        level = self.file(f"{OPENRC}/softlevel")
        if level is None:
            return None
        level = level.strip()
        if level in ("", "sysinit", "boot"):
            return f"OpenRC is at runlevel {level or 'none'!r}"
        if self.exists(f"{OPENRC}/rc.starting"):
            return f"OpenRC is starting runlevel {level!r}"
        return None


def read_of(pid: int, name: str) -> bytes:
    """A file in the /proc of a process that may be gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read(1 << 16)
    return b""


def command_line(pid: int) -> str:
    return plain(os.fsdecode(read_of(pid, "cmdline").replace(b"\0", b" ")))


def plain(command: str) -> str:
    """A command as far as it can be compared: without a shell's quotes."""
    return " ".join(re.sub("[\"']", "", command).split())


def named(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def wait_until_booted(container: Container, timeout: float | None) -> str:
    """Container.wait_until_booted()."""
    boot: Boot | None = None
    with Watch(container, "wait_until_booted", timeout) as watch:
        for init in watch:
            if boot is None or boot.init is not init:
                boot = Boot(container, watch, init)
            with contextlib.suppress(ProcessLookupError):
                state = boot.look()
                if state is not None:
                    return state
        reason = "it has not booted"
        if boot is not None:
            reason = boot.waits_for
            if reason.startswith("systemd") and (jobs := boot.jobs()):
                reason += f": it is starting {jobs}"
        raise watch.timed_out(reason)


# --- Whatever -------------------------------------------------------------------------


def wait_for(
    container: Container,
    condition: Callable[[], Any] | Command,
    timeout: float | None,
    interval: float,
) -> Any:
    """Container.wait_for()."""
    if interval < 0:
        raise ValueError(f"interval is a number of seconds, not {interval!r}")
    if callable(condition):
        return wait_for_call(container, condition, timeout, interval)
    return wait_for_command(container, condition, timeout, interval)


def wait_for_call(
    container: Container,
    condition: Callable[[], Any],
    timeout: float | None,
    interval: float,
) -> Any:
    watch = Watch(container, "wait_for", timeout)
    while not (value := condition()):
        left = watch.left()
        if left == 0:
            after = f"after {seconds(timeout)} {condition!r} returns {value!r}"
            raise watch.error(TimedOut, after)
        time.sleep(interval if left is None else min(interval, left))
    return value


def wait_for_command(
    container: Container, command: Command, timeout: float | None, interval: float
) -> Any:
    said = "it was not run"
    with Watch(container, "wait_for", timeout) as watch:
        for _ in watch:
            watch.state()  # commands ask the monitor, and cannot be interrupted then
            try:
                done = Container.run(
                    container,
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    timeout=watch.patience(),
                )
            except subprocess.TimeoutExpired:
                said = "it has not ended"
                continue
            except NotRunning:
                continue  # the watch knows whether it reboots
            except BlockingIOError:
                said = "it could not be run"
                continue
            except PermissionDenied:
                raise
            except LXCError as error:
                # What it was attached to is gone, perhaps, as when it reboots.
                said = f"it could not be run: {error.reason}"
                continue
            if done.returncode == 0:
                return done
            said = how_it_ended(done)
            left = watch.left()
            pause = max(0.0, interval - INTERVAL)
            time.sleep(pause if left is None else min(pause, left))
        raise watch.timed_out(f"{command!r} has not succeeded: {said}")


def how_it_ended(done: subprocess.CompletedProcess[Any]) -> str:
    lines = os.fsdecode(done.stderr).strip().splitlines()
    last = f" ({lines[-1][:200]})" if lines else ""
    if done.returncode < 0:
        return f"signal {-done.returncode} ended it{last}"
    return f"its exit status is {done.returncode}{last}"
