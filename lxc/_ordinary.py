# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an ordinary user lacks to start a container: looked for when that failed."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import _lxc
from .errors import LXCError

if TYPE_CHECKING:
    from . import Container
    from .errors import Finding

__all__ = ["why_not_started"]

SUBORDINATE = {"u": "/etc/subuid", "g": "/etc/subgid"}
USERNET = "/etc/lxc/lxc-usernet"
CGROUPS = "/sys/fs/cgroup"


def why_not_started(container: Container) -> Finding | None:
    """The first step that was left out; None where all seem to be done."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    for look in (why_no_ids, why_no_network, why_no_cgroup):
        if (found := look(container, user)) is not None:
            return LXCError, found
    return None


def items(container: Container, key: str) -> list[str]:
    try:
        value = _lxc.Container.get_config_item(container, key)
    except KeyError:
        return []
    return [line for line in value.split("\n") if line]


def lines(path: str, separator: str | None = None) -> Iterator[list[str]]:
    """The fields of each line of a file that need not be there."""
    try:
        with open(path, errors="surrogateescape") as file:
            for line in file:
                yield line.strip().split(separator)
    except OSError:
        return


def why_no_ids(container: Container, user: str) -> str | None:
    maps = items(container, "lxc.idmap")
    if not maps:
        return (
            "it has no lxc.idmap, without which an ordinary user cannot start it: add "
            "one of the user's ids in /etc/subuid and /etc/subgid"
        )
    for each in maps:
        kind, _, first, count = each.split()
        own = {"u": os.geteuid(), "g": os.getegid()}[kind]
        if not is_allowed(SUBORDINATE[kind], user, int(first), int(count), own):
            return (
                f"{SUBORDINATE[kind]} does not give the user {user} the {count} ids "
                f"from {first} on, which lxc.idmap has: add '{user}:{first}:{count}'"
            )
    return None


def is_allowed(path: str, user: str, first: int, count: int, own: int) -> bool:
    if (first, count) == (own, 1):
        return True
    for fields in lines(path, ":"):
        if len(fields) == 3 and fields[0] in (user, str(os.geteuid())):
            begin, size = fields[1:]
            if begin.isdigit() and size.isdigit():
                begins, ends = int(begin), int(begin) + int(size)
                if begins <= first and first + count <= ends:
                    return True
    return not os.path.exists(path)  # they may come from elsewhere


def why_no_network(container: Container, user: str) -> str | None:
    names = {user, *(f"@{name}" for name in groups())}
    for n in range(len(items(container, "lxc.net"))):
        if items(container, f"lxc.net.{n}.type") != ["veth"]:
            continue
        for bridge in items(container, f"lxc.net.{n}.link"):
            if not any(
                len(fields) == 4
                and fields[0] in names
                and fields[1:3] == ["veth", bridge]
                and fields[3] != "0"
                for fields in lines(USERNET)
            ):
                return (
                    f"{USERNET} does not let the user {user} connect to {bridge}: add "
                    f"'{user} veth {bridge} 10'"
                )
    return None


def groups() -> Iterator[str]:
    for number in {os.getegid(), *os.getgroups()}:
        try:
            yield grp.getgrgid(number).gr_name
        except KeyError:
            continue


def why_no_cgroup(container: Container, user: str) -> str | None:
    """Where there is cgroup2 alone; what liblxc needs of others, it says itself."""
    if not os.path.exists(f"{CGROUPS}/cgroup.controllers"):
        return None
    for fields in lines("/proc/self/cgroup", ":"):
        path = CGROUPS + ":".join(fields[2:])
        if fields[0] == "0" and not os.access(path, os.W_OK):
            return (
                f"the cgroup {path} is not the user {user}'s: start it in one that is, "
                "with 'systemd-run --user --scope -p Delegate=yes'"
            )
    return None
