# SPDX-License-Identifier: LGPL-2.1-or-later
"""stats() and info(): compared with what the kernel and lxc's own programs say."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import destroy
from support import CGROUPS, cgroups_of, children, descriptors, rootfs, run, wait_until

import lxc

pytestmark = pytest.mark.containers

Make = Callable[..., lxc.Container]

CPU, MEMORY, WRITTEN = 0.5, 64 << 20, 8 << 20
V2_ONLY = (CGROUPS / "cgroup.controllers").exists()


@contextlib.contextmanager
def load(container: lxc.Container, target: str | None = None) -> Iterator[None]:
    """A process inside that has used 0.5 s of CPU, 64 MiB of memory and, of a disk,
    8 MiB."""
    reader, writer = os.pipe()

    def work() -> None:
        memory = bytearray(MEMORY)
        memory[::4096] = b"x" * len(memory[::4096])
        if target is not None:
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
            with mmap.mmap(-1, 1 << 20) as block:
                for _ in range(WRITTEN >> 20):
                    os.write(fd, block)
            os.close(fd)
        while time.process_time() < CPU:
            sum(range(20000))  # the clock is a system call
        os.write(writer, b"x")
        signal.pause()

    pid = container.attach(work)
    os.close(writer)
    try:
        assert os.read(reader, 1), "the load could not be made"
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)


def counted(container: lxc.Container, *items: str) -> int | None:
    """The number in the first cgroup file of a container that is there."""
    for item in items:
        for group in cgroups_of(container.name):
            file = Path(group, item)
            if "payload" in file.parent.name and file.exists():
                return int(file.read_text()) if file.read_text()[0].isdigit() else None
    return None


def test_a_cgroup_is_counted_under_load(running: lxc.Container) -> None:
    # cgroup v1 counts what goes to a device for which there is a limit.
    device = os.stat(rootfs(running)).st_dev
    limit = f"{os.major(device)}:{os.minor(device)} {1 << 40}"
    limited = running.set_cgroup_item("blkio.throttle.write_bps_device", limit)
    before = running.stats()
    with load(running, "/load"):
        after = running.stats()
        memory = counted(running, "memory.current", "memory.usage_in_bytes")
        pids = counted(running, "pids.current")
        info = subprocess.run(
            ["lxc-info", "-H", "-P", running.get_config_path(), "-n", running.name],
            capture_output=True,
            text=True,
            check=True,
        )
    assert before.cpu_user is not None
    assert after.cpu_user is not None
    assert before.cpu_system is not None
    assert after.cpu_system is not None
    used = after.cpu_user + after.cpu_system - before.cpu_user - before.cpu_system
    assert CPU * 0.9 <= used < CPU + 0.7
    if memory is None:
        assert after.memory is None
    else:
        assert after.memory == pytest.approx(memory, abs=4 << 20)
        assert before.memory is not None
        assert after.memory - before.memory >= MEMORY * 0.95
        if after.memory_peak is not None:
            assert after.memory_peak >= after.memory - (4 << 20)
    if pids is not None:
        assert before.pids is not None
        assert after.pids == pids == before.pids + 1
    if limited:
        assert after.block_written_bytes is not None
    if after.block_written_bytes is not None:
        assert after.block_writes is not None
        written = after.block_written_bytes - (before.block_written_bytes or 0)
        assert WRITTEN <= written < WRITTEN + (2 << 20)
        assert after.block_writes > (before.block_writes or 0)
    said = dict(
        (part.strip() for part in line.split(":", 1))
        for line in info.stdout.splitlines()
        if ":" in line
    )
    if "Memory use" in said and after.memory is not None:
        assert int(said["Memory use"]) == pytest.approx(after.memory, abs=4 << 20)


def test_a_cgroup_has_limits(make: Make) -> None:
    container = make(start=True)
    free = container.stats()
    assert (free.memory_limit, free.pids_limit) == (None, None)
    for item, name, value in (
        ("memory.max", "memory_limit", 256 << 20),
        ("memory.limit_in_bytes", "memory_limit", 128 << 20),
        ("pids.max", "pids_limit", 77),
    ):
        if container.set_cgroup_item(item, str(value)):
            assert getattr(container.stats(), name) == value


def no_groups(name: str) -> bool:
    """Remove the cgroups of that name; whether all are gone."""
    tops = [
        group for mount in (CGROUPS, *CGROUPS.iterdir()) for group in mount.glob(name)
    ]
    for top in tops:
        for group in (*sorted(filter(Path.is_dir, top.rglob("*")), reverse=True), top):
            with contextlib.suppress(OSError):
                group.rmdir()
    return not any(top.exists() for top in tops)


@pytest.mark.parametrize(
    "config",
    [
        {"lxc.cgroup.dir": "tests-{}/inner"},
        {
            "lxc.cgroup.dir.container": "tests-{}/limits",
            "lxc.cgroup.dir.container.inner": "ns",
            "lxc.cgroup.dir.monitor": "tests-{}/monitor",
        },
    ],
    ids=["dir", "container and inner"],
)
def test_a_cgroup_may_be_anywhere(make: Make, config: dict[str, str]) -> None:
    container = make()
    for key, value in config.items():
        if not lxc.config_item_is_supported(key):
            pytest.skip(f"this liblxc has no {key}")
        assert container.set_config_item(key, value.format(container.name))
    assert container.start(), container.last_error
    try:
        before = container.stats()
        with load(container):
            after = container.stats()
        assert before.cpu_user is not None
        assert after.cpu_user is not None
        assert after.cpu_user - before.cpu_user > CPU / 2
        if after.memory is not None:
            assert before.memory is not None
            assert after.memory - before.memory >= MEMORY * 0.95
    finally:
        container.stop()
        # Its monitor is in one of them until it has ended.
        assert wait_until(lambda: no_groups(f"tests-{container.name}"))


IN_V2 = (
    *("unshare", "--mount", "--cgroup", "--propagation", "private", "sh", "-e", "-c"),
    "umount --recursive /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; "
    'exec "$@"',
    "sh",
    sys.executable,
)


@pytest.mark.skipif(V2_ONLY, reason="the whole machine has cgroup2 alone")
def test_a_cgroup_of_v2_alone_is_counted(stopped: lxc.Container) -> None:
    program = """
    assert c.start(), c.last_error
    before = c.stats()
    def work():
        while time.process_time() < 0.5:
            sum(range(20000))
    assert c.attach_wait(work) == 0
    after = c.stats()
    controllers = open("/sys/fs/cgroup/cgroup.controllers").read().split()
    c.stop()
    report([before.to_dict(), after.to_dict(), controllers])
    """
    before, after, controllers = run(stopped, program, python=IN_V2)
    used = sum(after[k] - before[k] for k in ("cpu_user", "cpu_system"))
    assert CPU * 0.95 <= used < CPU + 0.7
    for name in ("memory", "pids"):
        assert (after[name] is None) == (name not in controllers)


def test_networks_are_counted(running: lxc.Container) -> None:
    enter = ["nsenter", f"--net=/proc/{running.init_pid}/ns/net"]
    subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
    peer = f"v{os.getpid()}"
    script = f"ip link add {peer} type veth peer name w0 netns {running.init_pid}"
    subprocess.run(script.split(), check=True)
    try:
        subprocess.run(["ip", "link", "set", peer, "up"], check=True)
        subprocess.run([*enter, "ip", "link", "set", "w0", "up"], check=True)
        subprocess.run(
            [*enter, "ip", "address", "add", "192.0.2.1/24", "dev", "w0"], check=True
        )
        before = running.stats()
        # To nobody: what is sent is a question of ARP, some 42 bytes each.
        running.run(["ping", "-c", "2", "-W", "1", "192.0.2.2"], capture_output=True)
        running.run(["ping", "-c", "1", "127.0.0.1"], capture_output=True)
        after = running.stats()
    finally:
        subprocess.run(["ip", "link", "delete", peer], check=True)
    assert set(after.interfaces) == {"lo", "w0"}
    w0 = after.interfaces["w0"]
    assert w0.packets_sent > before.interfaces["w0"].packets_sent
    assert w0.bytes_sent >= 42 * w0.packets_sent
    assert after.interfaces["lo"].packets_sent >= 2
    assert (after.network_bytes_sent, after.network_packets_sent) == (
        *(w0.bytes_sent, w0.packets_sent),
    )
    assert after.network_bytes_received == w0.bytes_received
    assert after.network_packets_received == w0.packets_received


def test_the_hosts_network_is_not_the_containers(stopped: lxc.Container) -> None:
    stopped.clear_config_item("lxc.net")
    assert stopped.set_config_item("lxc.net.0.type", "none")
    assert stopped.start(cmd=("/bin/sleep", "60"))
    stats = stopped.stats()
    assert (stats.interfaces, stats.network_bytes_sent) == ({}, None)
    assert stopped.stop()


def test_what_cannot_be_counted(stopped: lxc.Container, lxcpath: str) -> None:
    with pytest.raises(lxc.NotRunning):
        stopped.stats()
    for call in ("stats", "info"):
        with pytest.raises(lxc.NotDefined):
            getattr(lxc.Container("no-such", lxcpath), call)()


def test_numbers_are_plain_data(running: lxc.Container) -> None:
    stats, info = running.stats(), running.info()
    for found in (stats, info):
        assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.memory = 5  # type: ignore[misc]
        assert set(found.to_dict()) == {f.name for f in dataclasses.fields(found)}
    assert isinstance(stats, lxc.Stats)
    assert isinstance(info, lxc.Info)


def test_what_a_container_is(running: lxc.Container) -> None:
    assert running.set_config_item("lxc.start.auto", "1")
    assert running.set_config_item("lxc.group", ["web", "all"])
    script = "ip link set lo up"
    enter = ["nsenter", f"--net=/proc/{running.init_pid}/ns/net", *script.split()]
    subprocess.run(enter, check=True)
    found = running.info()
    assert (found.name, found.lxcpath) == (running.name, running.get_config_path())
    assert (found.state, found.init_pid) == ("RUNNING", running.init_pid)
    assert ipaddress.IPv4Interface("127.0.0.1/8") in found.addresses["lo"]
    assert found.to_dict()["addresses"]["lo"][0] == "127.0.0.1/8"
    assert (found.autostart, found.groups) == (True, ("web", "all"))
    assert found.unprivileged is False
    assert (found.rootfs, found.rootfs_kind) == (str(rootfs(running)), "dir")
    if running.stats().memory is not None:
        assert found.memory == pytest.approx(running.stats().memory, abs=4 << 20)


def test_what_a_stopped_container_is(stopped: lxc.Container, make: Make) -> None:
    found = stopped.info()
    assert (found.state, found.init_pid, found.memory) == ("STOPPED", None, None)
    assert (found.addresses, found.autostart, found.groups) == ({}, False, ())
    assert stopped.set_config_item("lxc.idmap", ["u 0 100000 1", "g 0 100000 1"])
    assert stopped.info().unprivileged is True
    stopped.clear_config_item("lxc.idmap")
    base = make()
    layer = base.clone(
        f"{base.name}-layer", flags=lxc.LXC_CLONE_SNAPSHOT, bdevtype="overlayfs"
    )
    assert layer
    try:
        info = layer.info()
        assert info.rootfs_kind in ("overlay", "overlayfs")
        assert info.rootfs is not None
        assert info.rootfs.startswith(f"{base.get_config_path()}/{base.name}/rootfs:")
    finally:
        destroy(layer)


def test_systemd_in_a_cgroup_of_its_own_is_counted_as_a_whole(
    running: lxc.Container,
) -> None:
    """As systemd does it, init moves into a cgroup below the container's."""
    moved = []
    for group in cgroups_of(running.name):
        if "payload" in group and "cpuset" not in group:
            inner = Path(group, "init.scope")
            with contextlib.suppress(OSError):
                inner.mkdir()
                (inner / "cgroup.procs").write_text(str(running.init_pid))
                moved.append(inner)
    assert moved
    before = running.stats()
    with load(running):
        after = running.stats()
    assert before.cpu_user is not None
    assert after.cpu_user is not None
    assert after.cpu_user - before.cpu_user > CPU / 2
    if after.memory is not None:
        assert before.memory is not None
        assert after.memory - before.memory >= MEMORY * 0.95


def test_numbers_leave_nothing(shared: lxc.Container) -> None:
    shared.stats()
    shared.info()
    before: tuple[Any, ...] = descriptors(), children()
    shared.stats()
    shared.info()
    assert (descriptors(), children()) == before
