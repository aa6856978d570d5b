# SPDX-License-Identifier: LGPL-2.1-or-later
"""The addresses of a container's interfaces, with their prefixes, from the kernel."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import TYPE_CHECKING, NamedTuple, Union

from . import _lxc
from ._init import Init, failure
from .errors import Frozen, LXCError

if TYPE_CHECKING:
    from . import Container

    Interface = Union[IPv4Interface, IPv6Interface]

__all__ = ["Address", "Network", "open_inside", "read_apart"]

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x10, 0x300
IFLA_IFNAME, IFLA_EXT_MASK = 3, 29
RTEXT_FILTER_SKIP_STATS = 8
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL = 1, 2, 3
LARGEST = 1 << 16  # bytes; the kernel's messages get no longer
ATTEMPTS = 5  # where it changes all the time, it is told as it is at last


class Address(NamedTuple):
    """An address of an interface; label is the interface, or its like of "eth0:1"."""

    interface: str
    label: str
    text: str  # with the prefix

    def address(self) -> Interface:
        return ip_interface(self.text)

    def bare(self) -> str:
        return self.text.partition("/")[0]


class Network(NamedTuple):
    """The interfaces of a network namespace, in the kernel's order, and addresses."""

    interfaces: list[str]
    addresses: list[Address]

    def by_interface(self) -> dict[str, tuple[Interface, ...]]:
        return {
            name: tuple(a.address() for a in self.addresses if a.interface == name)
            for name in self.interfaces
        }

    def usable(self, interface: str | None, family: str | None) -> tuple[str, ...]:
        """The addresses that get_ips() has: not "lo", and nothing link-local."""
        found = []
        for each in self.addresses:
            if each.label == "lo" if interface is None else each.label != interface:
                continue
            address = ip_address(each.bare())
            if address.version == 6 and (address.is_link_local or is_local(address)):
                continue
            if family in (None, "inet" if address.version == 4 else "inet6"):
                found.append(each.bare())
        return tuple(sorted(found))

    def describe(self) -> str:
        """What there is, in words."""
        parts = []
        for name in self.interfaces:
            found = [a.text for a in self.addresses if a.interface == name]
            if name != "lo":
                parts.append(f"{name} has {', '.join(found) or 'no address'}")
        return "; ".join(parts) or "there is no interface but lo"


def is_local(address: object) -> bool:
    """Link-local multicast, which liblxc counts among them."""
    return str(address).startswith("ff") and str(address)[3:4] == "2"


# --- What the kernel tells ------------------------------------------------------------


class Interrupted(Exception):
    """It has changed while it was told."""


def dump(sock: socket.socket, kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of a dump: type and contents."""
    header = struct.pack(
        "=LHHLL", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, kind, 0
    )
    sock.send(header + body)
    while True:
        # Root in the container can send to this socket as well.
        data, sender = sock.recvfrom(LARGEST, socket.MSG_DONTWAIT)
        if sender[0] != 0:
            raise OSError("a message that is not the kernel's")
        while len(data) >= 16:
            length, found, flags, _, _ = struct.unpack_from("=LHHLL", data)
            if found == NLMSG_DONE:
                return
            if found == NLMSG_ERROR or not 16 <= length <= len(data):
                raise OSError("the kernel does not tell")
            if flags & NLM_F_DUMP_INTR:
                raise Interrupted
            yield found, data[16:length]
            data = data[(length + 3) & ~3 :]


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if not 4 <= length <= len(data):
            break
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def name_of(data: bytes) -> str:
    return os.fsdecode(data.partition(b"\0")[0])


def read_once(sock: socket.socket) -> Network:
    names: dict[int, str] = {}
    mask = struct.pack("=HHL", 8, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    for kind, data in dump(sock, RTM_GETLINK, bytes(16) + mask):
        if kind == RTM_NEWLINK and len(data) >= 16:
            index = struct.unpack_from("=i", data, 4)[0]
            name = attributes(data[16:]).get(IFLA_IFNAME)
            if name is not None:
                names[index] = name_of(name)
    found = []
    for kind, data in dump(sock, RTM_GETADDR, bytes(8)):
        if kind != RTM_NEWADDR or len(data) < 8:
            continue
        family, prefix, _, _, index = struct.unpack_from("=BBBBI", data)
        values = attributes(data[8:])
        # With a peer IFA_ADDRESS is the peer's.
        raw = values.get(IFA_LOCAL) or values.get(IFA_ADDRESS)
        if raw is None or index not in names:
            continue
        if len(raw) != {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family):
            continue
        label = name_of(values[IFA_LABEL]) if IFA_LABEL in values else names[index]
        text = f"{socket.inet_ntop(family, raw)}/{prefix}"
        found.append(Address(names[index], label, text))
    return Network(list(names.values()), found)


def read(sock: socket.socket) -> Network:
    """What a socket's network namespace has; OSError where the kernel does not tell."""
    for _ in range(ATTEMPTS):
        try:
            return read_once(sock)
        except Interrupted:
            continue
    raise OSError("it changes all the time")


# --- The way in -----------------------------------------------------------------------


def route_socket() -> socket.socket:
    # socket has no constant for it: NETLINK_ROUTE is 0.
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)


def open_inside(init: Init) -> socket.socket:
    """A socket in the network namespace of an init; OSError where one may not.

    A socket stays in the namespace that it was made in: a thread goes there, makes it,
    and ends.  It never comes back, and nothing else runs in it.
    """
    namespace = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=init.directory)
    made: list[socket.socket] = []
    errors: list[BaseException] = []
    setns = ctypes.CDLL(None, use_errno=True).setns

    def go() -> None:
        try:
            if setns(namespace, _lxc.CLONE_NEWNET) < 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            made.append(route_socket())
        except BaseException as error:
            errors.append(error)

    try:
        thread = threading.Thread(target=go, name="lxc-netns")
        thread.start()
        try:
            thread.join()
        finally:
            thread.join()  # it uses the descriptor, whatever interrupted us
    finally:
        os.close(namespace)
    if errors:
        error = errors.pop()
        try:
            raise error
        finally:
            del error
    return made[0]


def read_apart(container: Container, operation: str) -> Network:
    """The same for an ordinary user, who has to join the container's users as well: a
    child does that, and nothing but these two namespaces."""
    result = os.memfd_create("lxc-addresses", os.MFD_CLOEXEC)
    try:

        def look() -> None:
            with route_socket() as sock:
                found = read(sock)
            os.write(result, json.dumps(found).encode())

        status = _lxc.Container.attach_wait(
            container,
            look,
            attach_flags=0,
            namespaces=_lxc.CLONE_NEWUSER | _lxc.CLONE_NEWNET,
        )
        data = os.pread(result, 1 << 24, 0)
    finally:
        os.close(result)
    if status != 0 or not data:
        if container.state in ("FROZEN", "FREEZING"):
            raise failure(
                container, operation, Frozen, "it is frozen: unfreeze() it first"
            )
        raise failure(
            container, operation, LXCError, "its network namespace cannot be joined"
        )
    interfaces, addresses = json.loads(data)
    return Network(interfaces, [Address(*each) for each in addresses])
