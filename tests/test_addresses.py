# SPDX-License-Identifier: LGPL-2.1-or-later
"""get_ips() and get_interfaces(): what liblxc itself says, without its fork."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import create_busybox, destroy, start_and_settle
from support import (
    children,
    descriptors,
    liblxc_get_interfaces,
    liblxc_get_ips,
    process_status,
    rootfs,
    run,
)
from test_unprivileged import free_ids, map_ids, subordinate_ids

import lxc
from lxc import _lxc

pytestmark = pytest.mark.containers

SETUP = """
link add eth0 type veth peer name eth1
link add p2p0 type veth peer name p2p1
link add nothing type veth peer name down
link add link eth0 name lan0 type macvlan
link set lo up
link set eth0 up
link set eth1 up
link set p2p0 up
link set p2p1 up
link set lan0 up
link set nothing up
addr add 198.51.100.200/24 dev eth0
addr add 198.51.100.30/24 dev eth0
addr add 192.0.2.9/24 dev eth0 label eth0:one
addr add 203.0.113.5/32 dev eth1
addr add 198.51.100.30/32 dev lan0
addr add 203.0.113.77/32 dev down
addr add 10.9.0.1 peer 10.9.0.2/32 dev p2p0
addr add 127.0.0.9/8 dev lo
addr add 127.0.0.10/8 dev lo label lo:x
addr add 2001:db8::7/64 dev eth0 nodad
addr add 2001:db8::ffff/64 dev eth0 nodad
addr add 2001:db8::7/128 dev lan0 nodad
addr add fe80::9/64 dev eth1 nodad
addr add 2001:db8:1::1 peer 2001:db8:1::2/128 dev p2p0 nodad
addr add fd00::1/128 dev lo nodad
"""
INTERFACES = [
    *(None, "lo", "lo:x", "eth0", "eth0:one", "eth0:two", "eth1", "p2p0", "lan0"),
    *("nothing", "down", "none-such", "", "eth", "eth00", "x" * 300),
]
FAMILIES = [None, "inet", "inet6", "inet7", ""]


def ip_inside(container: lxc.Container, commands: str) -> None:
    """Give commands to the host's ip, in the container's network namespace."""
    subprocess.run(
        ["nsenter", "-t", str(container.init_pid), "-n", "ip", "-batch", "-"],
        input=commands,
        text=True,
        check=True,
    )


def keep_addresses(container: lxc.Container) -> None:
    """The DHCP client of busybox containers would take the addresses away again."""
    (rootfs(container) / "bin" / "udhcpc").unlink()


@pytest.fixture(scope="module", params=["privileged", "idmapped"])
def container(request: pytest.FixtureRequest, lxcpath: str) -> Iterator[lxc.Container]:
    """A running container with interfaces and addresses of many kinds."""
    first = free_ids()
    with subordinate_ids("root", first):
        container = create_busybox(f"t{os.getpid()}-{request.param}-ips", lxcpath)
        if request.param == "idmapped":
            map_ids(container, first)
        keep_addresses(container)
        start_and_settle(container)
        ip_inside(container, SETUP)
        yield container
        destroy(container)


def test_addresses_are_those_that_liblxc_finds(container: lxc.Container) -> None:
    raw = _lxc.Container(container.name, container.get_config_path())
    found = set()
    for query in (
        *itertools.product(INTERFACES, FAMILIES, (0,)),
        *itertools.product((None, "eth1"), (None, "inet6"), (-1, *range(1, 8))),
    ):
        expected = liblxc_get_ips(container, *query)
        assert raw.get_ips(*query) == expected, query
        found |= set(expected)
    # Not only nothing was compared with nothing.
    assert {"10.9.0.1", "127.0.0.10", "192.0.2.9", "2001:db8:1::1", "fe80::9"} <= found
    assert "10.9.0.2" not in found


def test_all_addresses_in_order_and_as_often_as_they_are_there(
    container: lxc.Container,
) -> None:
    assert container.get_ips() == (
        *("10.9.0.1", "127.0.0.10", "192.0.2.9", "198.51.100.200", "198.51.100.30"),
        *("198.51.100.30", "2001:db8:1::1", "2001:db8::7", "2001:db8::7"),
        *("2001:db8::ffff", "203.0.113.5", "203.0.113.77"),
    )
    assert container.get_ips() == liblxc_get_ips(container)


def test_interfaces_are_those_that_liblxc_finds(container: lxc.Container) -> None:
    found = container.get_interfaces()
    assert found == liblxc_get_interfaces(container)
    assert found == tuple(sorted(set(found)))
    assert {"lo", "lo:x", "eth0:one", "nothing", "down", "lan0"} <= set(found)


def test_more_than_one_message_of_the_kernel_is_read(
    make: Callable[..., lxc.Container],
) -> None:
    container = make(start=True)
    lines = [f"link add v{n} type veth peer name w{n}" for n in range(40)]
    lines += [
        f"addr add 10.{n // 256}.{n % 256}.1/32 dev v{n % 40}" for n in range(900)
    ]
    ip_inside(container, "\n".join(lines))
    found = container.get_ips()
    assert len(found) == 900
    assert found == liblxc_get_ips(container)
    assert len(container.get_interfaces()) == 81
    assert container.get_interfaces() == liblxc_get_interfaces(container)


def test_what_changes_all_the_time_can_be_read(
    make: Callable[..., lxc.Container],
) -> None:
    container = make(start=True)
    assert container.init_pid > 0
    ip_inside(container, "link add eth0 type veth peer name eth1\n")
    ip_inside(container, "addr add 198.51.100.1/32 dev eth0\n")
    turn = "addr add 198.51.100.2/32 dev eth0\naddr del 198.51.100.2/32 dev eth0\n"
    turn += "link add x0 type veth peer name x1\nlink del x0\n"
    process = subprocess.Popen(
        [
            *("nsenter", "-t", str(container.init_pid), "-n"),
            *("sh", "-c", f"while :; do printf '{turn}'; done | ip -batch -"),
        ],
        start_new_session=True,
    )
    try:
        for _ in range(300):
            found = container.get_ips()
            assert "198.51.100.1" in found
            assert set(found) <= {"198.51.100.1", "198.51.100.2"}
            assert {"lo", "eth0", "eth1"} <= set(container.get_interfaces())
    finally:
        os.killpg(process.pid, 9)
        process.wait()


# --- Whose network it is --------------------------------------------------------------


def test_a_container_in_the_hosts_network_has_its_addresses(
    make: Callable[..., lxc.Container],
) -> None:
    container = make(config={"lxc.net.0.type": "none"})
    # Not its init, which would set the host's interfaces up as it likes them.
    assert container.start(cmd=["/bin/sleep", "600"])
    assert "lxcbr0" in container.get_interfaces()
    assert container.get_interfaces() == liblxc_get_interfaces(container)
    for query in itertools.product((None, "lo", "lxcbr0"), FAMILIES[:3], (0, 1)):
        assert container.get_ips(*query) == liblxc_get_ips(container, *query)


def test_a_container_in_anothers_network_has_its_addresses(
    make: Callable[..., lxc.Container], container: lxc.Container
) -> None:
    config = {"lxc.namespace.share.net": str(container.init_pid)}
    sharing = make(config=config)
    keep_addresses(sharing)
    sharing.clear_config_item("lxc.net")
    assert sharing.save_config()
    assert sharing.start()
    assert sharing.get_ips() == liblxc_get_ips(sharing) == container.get_ips()
    assert sharing.get_interfaces() == container.get_interfaces()


def test_an_idmapped_container_in_the_hosts_network_is_as_liblxc_sees_it(
    make: Callable[..., lxc.Container],
) -> None:
    """liblxc cannot leave the container's user namespace again to get there."""
    first = free_ids()
    with subordinate_ids("root", first):
        container = map_ids(make(), first)
        assert container.set_config_item("lxc.net.0.type", "none")
        # sysfs can only be mounted by the owner of the network.
        assert container.set_config_item("lxc.mount.auto", "")
        if not container.start(cmd=["/bin/sleep", "600"]):
            pytest.skip("such a container does not start here")
        assert container.get_interfaces() == liblxc_get_interfaces(container)
        assert container.get_ips() == liblxc_get_ips(container)
        container.stop()


def test_a_stopped_container_has_none(stopped: lxc.Container) -> None:
    assert stopped.get_ips() == liblxc_get_ips(stopped) == ()
    assert stopped.get_interfaces() == liblxc_get_interfaces(stopped) == ()


def test_root_without_capabilities_gets_what_liblxc_gets(
    container: lxc.Container,
) -> None:
    drop = ("setpriv", "--inh-caps", "-all", "--bounding-set", "-all")
    program = """
    from support import liblxc_get_interfaces, liblxc_get_ips
    found = [c.get_ips(), liblxc_get_ips(c), c.get_interfaces()]
    report([*found, process_status()["CapEff"]])
    """
    python = (*drop, sys.executable)
    ours, theirs, interfaces, capabilities = run(container, program, python=python)
    assert int(capabilities, 16) == 0
    assert ours == theirs == interfaces == []


# --- What the process notices ---------------------------------------------------------


def test_it_does_not_matter_that_sigchld_is_ignored(container: lxc.Container) -> None:
    """liblxc's own call then loses its child, and says that there is nothing."""
    program = """
    from support import liblxc_get_ips
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    report([len(liblxc_get_ips(c)), len(c.get_ips()), len(c.get_interfaces())])
    """
    assert run(container, program) == [0, 12, len(container.get_interfaces())]


def test_no_fork_is_made(container: lxc.Container) -> None:
    program = """
    import ctypes
    from support import liblxc_get_ips
    forks = []
    handler = ctypes.CFUNCTYPE(None)(lambda: forks.append(1))
    library = ctypes.CDLL(None)  # which has one or the other, glibc and musl
    register = getattr(library, "__register_atfork", None) or library.pthread_atfork
    register(handler, None, None, None)
    c.get_ips(), c.get_interfaces()
    report([len(forks), liblxc_get_ips(c) == c.get_ips(), len(forks)])
    """
    assert run(container, program) == [0, True, 1]


def network_of_this_thread() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_nothing_of_the_thread_and_the_process_changes(
    container: lxc.Container,
) -> None:
    def state() -> Any:
        status = process_status("thread-self")
        return (
            network_of_this_thread(),
            descriptors(),
            children(),
            [status[key] for key in ("SigBlk", "CapEff", "Threads")],
        )

    before = state()
    for query in ((), ("none-such",), ("eth0", "inet6", 3)):
        container.get_ips(*query)
        container.get_interfaces()
        assert state() == before


def test_threads_ask_at_once_and_stay_where_they_are(
    container: lxc.Container, shared: lxc.Container
) -> None:
    expected = {c.name: (c.get_ips(), c.get_interfaces()) for c in (container, shared)}
    home = network_of_this_thread()
    wrong: list[Any] = []

    def ask(number: int) -> None:
        try:
            listed = (container, shared)[number % 2]
            c = lxc.Container(listed.name, listed.get_config_path())
            for _ in range(40):
                found = (c.get_ips(), c.get_interfaces())
                if found != expected[c.name] or network_of_this_thread() != home:
                    wrong.append((found, network_of_this_thread()))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        subprocess.run(["true"], check=True)
        assert container.attach_wait(lxc.attach_run_command, ["true"]) == 0
        with contextlib.suppress(ChildProcessError):
            assert os.waitpid(-1, os.WNOHANG) == (0, 0)
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_small_stack_is_enough(container: lxc.Container) -> None:
    expected, found = container.get_ips(), []
    before = threading.stack_size(64 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(container.get_ips()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert found == [expected]


def test_asked_from_inside_it_is_as_stopped(container: lxc.Container) -> None:
    """The command sockets are the host's, as with liblxc."""
    assert container.attach_wait(lambda: len(container.get_ips())) == 0


def test_closed_standard_streams_stay_closed(container: lxc.Container) -> None:
    program = """
    for number in range(3):
        os.close(number)
    report([len(c.get_ips()), [os.path.exists(f"/proc/self/fd/{n}") for n in range(3)]])
    """
    assert run(container, program) == [12, [False] * 3]


def test_it_costs_the_same_at_any_heap_size(
    container: lxc.Container, record_property: Callable[[str, object], None]
) -> None:
    """A fork of this heap takes some 10 ms."""
    program = """
    import ctypes, mmap
    size = 256 << 20
    heap = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    ctypes.CDLL(None).madvise(
        ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(heap))),
        ctypes.c_size_t(size), 15)  # MADV_NOHUGEPAGE
    for offset in range(0, size, 4096):
        heap[offset] = 1
    from support import liblxc_get_ips
    times = [[], []]
    for _ in range(20):
        for call, found in zip((c.get_ips, lambda: liblxc_get_ips(c)), times):
            begin = time.perf_counter()
            assert call()
            found.append(time.perf_counter() - begin)
    report([sorted(found)[10] for found in times])
    """
    ours, theirs = run(container, program)
    record_property("get_ips with 256 MiB in use", f"{ours * 1e3:.2f} ms")
    assert ours < theirs / 4
