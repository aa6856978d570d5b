# SPDX-License-Identifier: LGPL-2.1-or-later
"""What python3-lxc lacks: reboot2, the console's log, mounts, seccomp, checkpoints."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import create_bare, open_descriptors, run_python
from support import (
    LIBLXC,
    Program,
    attach,
    build_library,
    rootfs,
    run,
    shell,
    wait_until,
)

import lxc
from lxc import _lxc

pytestmark = pytest.mark.containers

Make = Callable[..., lxc.Container]
MS_BIND = 4096
MNT_DETACH = 2


def failure(call: Callable[[], object]) -> str:
    """What an LXCError says, without its beginning."""
    with pytest.raises(lxc.LXCError) as raised:
        call()
    return str(raised.value).partition(" failed: ")[2]


# --- reboot2 --------------------------------------------------------------------------


def test_reboot2_returns_when_there_is_a_new_init(running: lxc.Container) -> None:
    before = running.init_pid
    running.reboot2(30)
    assert running.state == "RUNNING"
    assert running.init_pid not in (before, -1)


def test_reboot2_without_time_does_not_wait(make: Make) -> None:
    # Nobody in there answers this signal.
    container = make(start=True, config={"lxc.signal.reboot": "SIGWINCH"})
    before = container.init_pid
    began = time.monotonic()
    container.reboot2(0)
    assert time.monotonic() - began < 1
    assert failure(lambda: container.reboot2(0.5)) == "it did not reboot in 0.5 seconds"
    assert 0.4 < time.monotonic() - began < 5
    assert container.init_pid == before


def test_reboot2_says_that_it_stopped_instead(make: Make) -> None:
    container = make(start=True, config={"lxc.signal.reboot": "SIGKILL"})
    assert failure(lambda: container.reboot2(30)) == "it stopped instead"
    assert not container.running


def test_reboot2_knows_a_monitor_that_nobody_reaped(make: Make) -> None:
    """As in a container of programs, whose first process may reap none."""
    container = make(config={"lxc.signal.reboot": "SIGKILL"})
    program = """
    import ctypes
    PR_SET_CHILD_SUBREAPER = 36
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    assert c.start()
    try:
        c.reboot2(10)
    except lxc.LXCError as error:
        report([error.reason, len(children())])
    """
    assert run(container, program) == ["it stopped instead", 1]


def test_signals_neither_end_nor_extend_reboot2(make: Make) -> None:
    container = make(start=True, config={"lxc.signal.reboot": "SIGWINCH"})
    program = """
    rings = []
    signal.signal(signal.SIGALRM, lambda *_: rings.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    began = time.monotonic()
    try:
        c.reboot2(1)
    except lxc.LXCError as error:
        report([time.monotonic() - began, len(rings), error.reason])
    """
    seconds, rings, reason = run(container, program)
    assert 0.9 < seconds < 3
    assert rings > 3
    assert reason == "it did not reboot in 1 seconds"


def test_reboot2_can_be_interrupted(make: Make) -> None:
    container = make(start=True, config={"lxc.signal.reboot": "SIGWINCH"})
    program = """
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        c.reboot2()
    except KeyboardInterrupt:
        report("interrupted")
    """
    assert run(container, program) == "interrupted"


# --- console_log ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def logging_config() -> dict[str, str]:
    return {"lxc.console.buffer.size": "64KB"}


def test_console_log_takes_bytes_out(
    make: Make, logging_config: dict[str, str]
) -> None:
    container = make(start=True, config=logging_config)
    assert wait_until(container.console_log)
    time.sleep(0.2)
    container.console_log(clear=True)
    assert container.console_log() == b""
    assert shell(container, r"printf 'ab\000\377cd' >/dev/console").status == 0
    assert wait_until(lambda: container.console_log(read_max=3)) == b"ab\0"
    assert container.console_log() == b"\xffcd"
    assert container.console_log() == b""
    for options, taken in (
        ({"clear": True, "read": False}, b""),
        ({"clear": True}, b"more"),
        ({"clear": True, "read_max": 2}, b"mo"),
    ):
        assert shell(container, "printf more >/dev/console").status == 0
        time.sleep(0.2)
        assert container.console_log(**options) == taken
        assert container.console_log() == b""


def test_console_log_without_a_buffer_says_so(shared: lxc.Container) -> None:
    with pytest.raises(lxc.LXCOSError) as raised:
        shared.console_log()
    assert raised.value.errno == errno.EFAULT
    assert raised.value.reason == "it was started without lxc.console.buffer.size"


@pytest.mark.parametrize("most", [-1, 1 << 64])
def test_console_log_refuses_odd_sizes(shared: lxc.Container, most: int) -> None:
    with pytest.raises(OverflowError):
        shared.console_log(read_max=most)


def test_console_log_with_nothing_to_do_is_refused(shared: lxc.Container) -> None:
    with pytest.raises(ValueError, match="nothing to do"):
        shared.console_log(read=False)
    with pytest.raises(ValueError, match="nothing to do"):
        shared.console_log(None, 0)


# --- mount and umount -----------------------------------------------------------------


@pytest.fixture
def mountable(make: Make, tmp_path: Path) -> Iterator[lxc.Container]:
    """A running container that shares a mount with the host."""
    os.chmod(tmp_path, 0o755)
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        subprocess.run(["mount", "--make-shared", place], check=True)
        container = make()
        assert container.append_config_item("lxc.mount.auto", f"shmounts:{place}")
        assert container.save_config()
        assert container.start()
        assert container.wait("RUNNING", 10)
        yield container
        container.stop()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("threads", [False, True])
def test_mount_shows_a_directory_of_the_host(
    mountable: lxc.Container, tmp_path: Path, threads: bool
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("from outside")
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    if threads:
        thread.start()
    try:
        mountable.mount(source, "/mnt/new", mountflags=MS_BIND)
        assert shell(mountable, "cat /mnt/new/file").out == "from outside"
        mountable.umount("/mnt/new")
        assert shell(mountable, "ls /mnt/new").out == ""
        # liblxc's 1 is no success.
        assert failure(lambda: mountable.umount("/mnt/new"))
    finally:
        over.set()
        if threads:
            thread.join()


def test_mount_by_a_program_that_ignores_its_children(
    mountable: lxc.Container,
) -> None:
    program = """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    c.mount("/etc", "/mnt/new", mountflags=4096)
    c.umount("/mnt/new")
    report(children())
    """
    assert run(mountable, program) == []


def test_flags_that_do_not_fit_are_refused(shared: lxc.Container) -> None:
    most = (1 << 8 * struct.calcsize("l")) - 1
    for flags in (-1, most + 1):
        with pytest.raises(OverflowError):
            shared.mount("/etc", "/mnt", None, flags)
        with pytest.raises(OverflowError):
            shared.umount("/mnt", flags)
    assert failure(lambda: shared.umount("/mnt", most))


def test_mount_takes_type_and_data(mountable: lxc.Container) -> None:
    mountable.mount(None, "/mnt/memory", "tmpfs", 0, "size=64k")
    assert "size=64k" in shell(mountable, "grep /mnt/memory /proc/mounts").out
    mountable.umount("/mnt/memory", MNT_DETACH)
    assert shell(mountable, "grep /mnt/memory /proc/mounts").out == ""


def test_mount_says_what_it_misses(
    mountable: lxc.Container, shared: lxc.Container, stopped: lxc.Container
) -> None:
    assert failure(lambda: mountable.mount("/no/such", "/mnt", None, MS_BIND)) == (
        "there is no /no/such"
    )
    assert failure(lambda: shared.mount("/etc", "/mnt", None, MS_BIND)) == (
        "it has no lxc.mount.auto = shmounts:/a/shared/mount, which it must start with"
    )
    assert failure(lambda: stopped.mount("/etc", "/mnt")) == "it is not running"
    assert failure(lambda: stopped.umount("/mnt")) == "it is not running"


# What is at the target, and what is mounted there.
AT_TARGET = {
    "file on file": ("echo kept >/t", "/etc/passwd"),
    "directory on file": ("echo kept >/t", "/etc"),
    "type on file": ("echo kept >/t", None),
    "file on directory": ("mkdir /t; echo kept >/t/f", "/etc/passwd"),
    "file on an empty directory": ("mkdir -m 711 /t", "/etc/passwd"),
    "directory on a link": ("mkdir /kept; ln -s kept /t", "/etc"),
    "directory on a pipe": ("mkfifo /t", "/etc"),
}


@pytest.mark.parametrize("case", AT_TARGET)
def test_mount_replaces_nothing(mountable: lxc.Container, case: str) -> None:
    make, source = AT_TARGET[case]
    look = "ls -ldn /t; ls -ln /t; cat /t/f /t || :"
    if "pipe" in case:
        look = "ls -ldn /t"
    assert shell(mountable, f"cd /; {make}").status == 0
    before = shell(mountable, look)
    for path in ("/t", "t", "/etc/../t"):
        kind, flags = ("tmpfs", 0) if source is None else (None, MS_BIND)
        reason = failure(lambda: mountable.mount(source, path, kind, flags))  # noqa: B023
        assert reason == (
            f"there is something at {path}, which liblxc would replace: only a "
            "directory can be mounted there, onto a directory"
        )
    assert shell(mountable, look) == before


def test_mount_onto_a_directory_and_onto_nothing(mountable: lxc.Container) -> None:
    assert (
        shell(mountable, "mkdir -p /full/inner; echo kept >/full/inner/f").status == 0
    )
    mountable.mount("/etc", "/full", mountflags=MS_BIND)
    assert shell(mountable, "cat /full/passwd").status == 0
    mountable.umount("/full")
    assert shell(mountable, "cat /full/inner/f").out == "kept\n"
    mountable.mount("/etc/passwd", "/new/file", mountflags=MS_BIND)
    assert shell(mountable, "grep -c root /new/file").status == 0
    mountable.umount("/new/file")


@pytest.mark.parametrize("where", ["set", "file", "include", "loaded"])
def test_shmounts_without_a_path_is_refused(
    stopped: lxc.Container, tmp_path: Path, where: str
) -> None:
    line = "lxc.mount.auto = proc:mixed shmounts:\n"
    (tmp_path / "more.conf").write_text(line)
    if where == "set":
        assert stopped.append_config_item("lxc.mount.auto", "proc:mixed shmounts:")
    elif where == "loaded":
        assert stopped.load_config(tmp_path / "more.conf")
    else:
        with open(stopped.config_file_name, "a") as file:
            file.write(line if where == "file" else f"lxc.include = {tmp_path}\n")
        stopped = lxc.Container(stopped.name, stopped.get_config_path())
    assert not stopped.start()
    assert stopped.last_error is not None
    assert stopped.last_error.reason == (
        "lxc.mount.auto = shmounts: lacks a path, and would hang: use "
        "shmounts:/a/shared/mount"
    )
    assert stopped.set_config_item("lxc.mount.auto", "proc:mixed")
    if where != "include":
        assert stopped.start()


# --- seccomp --------------------------------------------------------------------------


def test_seccomp_notify_fd_active_is_the_callers_own(
    make: Make, tmp_path: Path
) -> None:
    if not lxc.has_api_extension("seccomp_notify"):
        with pytest.raises(OSError, match="failed"):
            make(start=True).seccomp_notify_fd_active()
        return
    os.chmod(tmp_path, 0o755)
    profile = tmp_path / "profile"
    profile.write_text("2\ndenylist\n[all]\nswapoff notify\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as proxy:
        proxy.bind(str(tmp_path / "proxy"))
        proxy.listen()
        container = make(
            start=True,
            config={
                "lxc.seccomp.profile": str(profile),
                "lxc.seccomp.notify.proxy": f"unix:{tmp_path}/proxy",
            },
        )
        fd = container.seccomp_notify_fd_active()
        try:
            assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            assert "seccomp notify" in os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        container.stop()


@pytest.mark.parametrize("name", ["seccomp_notify_fd", "seccomp_notify_fd_active"])
def test_a_container_without_a_notifier_says_so(
    shared: lxc.Container, name: str
) -> None:
    with pytest.raises(lxc.LXCOSError) as raised:
        getattr(shared, name)()
    if lxc.has_api_extension("seccomp_notify"):
        assert raised.value.errno == errno.EBADF
        assert raised.value.reason == "it has no seccomp notifier"


# --- Snapshots ------------------------------------------------------------------------


@pytest.fixture
def bare(own_path: str, new_name: Callable[[], str]) -> lxc.Container:
    return create_bare(new_name(), own_path)


@pytest.mark.parametrize("snapshots", [0, 1, 3])
def test_destroy_with_snapshots_leaves_nothing(
    bare: lxc.Container, snapshots: int
) -> None:
    for number in range(snapshots):
        assert bare.snapshot() == f"snap{number}"
    bare.destroy_with_snapshots()
    assert not bare.defined
    assert os.listdir(bare.get_config_path()) == []


@pytest.mark.parametrize("snapshots", [0, 1, 3])
def test_snapshot_destroy_all_leaves_the_container(
    bare: lxc.Container, snapshots: int
) -> None:
    for _ in range(snapshots):
        assert bare.snapshot()
    bare.snapshot_destroy_all()
    assert bare.snapshot_list() == ()
    assert bare.defined
    bare.snapshot_destroy_all()
    assert bare.destroy() is True


def test_a_running_container_is_not_destroyed(shared: lxc.Container) -> None:
    assert failure(shared.destroy_with_snapshots) == "it is running"
    assert shared.running
    assert shared.defined


# --- Attach ---------------------------------------------------------------------------


@pytest.mark.parametrize("launcher", [False, True])
@pytest.mark.parametrize("groups", [None, (), (5,), (7, 65533, 5)])
def test_attached_program_has_its_groups(
    shared: lxc.Container, groups: Any, launcher: bool
) -> None:
    if not lxc.features()["groups"]:
        with pytest.raises(NotImplementedError, match="groups needs liblxc 4"):
            shared.attach_wait(lxc.attach_run_command, ["true"], groups=(5,))
        return
    program = f"""
    {"lxc._lxc._launcher(0)" if launcher else "pass"}
    from support import Pipe
    with Pipe() as out:
        status = c.attach_wait(
            lxc.attach_run_command, ["grep", "Groups", "/proc/self/status"],
            groups={groups!r}, stdout=out.writer,
        )
        report([status, out.text()])
    """
    status, out = run(shared, program)
    assert status == 0
    assert sorted(map(int, out.split()[1:])) == sorted(groups or ())


def test_attached_function_has_its_groups(shared: lxc.Container) -> None:
    if not lxc.features()["groups"]:
        return
    found = attach(
        shared, lambda: os.write(1, repr(os.getgroups()).encode()) and 0, groups=[5, 7]
    )
    assert found.out == "[5, 7]"


def test_lsm_label_needs_its_liblxc(shared: lxc.Container) -> None:
    options: dict[str, Any] = {"lsm_label": "unconfined"}
    if lxc.features()["lsm_label"]:
        call = shared.attach_wait(lxc.attach_run_command, ["true"], **options)
        assert call in (0, -1)  # as the host's security module has that label or not
        with pytest.raises(ValueError, match="needs an lsm_label"):
            shared.attach_wait(print, attach_flags=lxc.LXC_ATTACH_LSM_LABEL)
        return
    for given in (options, {"attach_flags": lxc.LXC_ATTACH_LSM_LABEL}):
        with pytest.raises(NotImplementedError, match="lsm_label needs liblxc 4"):
            shared.attach_wait(lxc.attach_run_command, ["true"], **given)


def test_lsm_label_leaves_stdin_as_it_is(shared: lxc.Container) -> None:
    """Without a security module liblxc closes descriptor 0 of its caller."""
    if not lxc.features()["lsm_label"]:
        return
    program = """
    before = [os.readlink("/proc/self/fd/0"), fcntl.fcntl(0, fcntl.F_GETFD)]
    statuses = []
    for _ in range(3):
        pid = c.attach(lxc.attach_run_command, ["true"], lsm_label="unconfined")
        statuses.append(pid > 0 and os.waitpid(pid, 0)[1])
        statuses.append(
            c.attach_wait(lxc.attach_run_command, ["true"], lsm_label="unconfined")
        )
    after = [os.readlink("/proc/self/fd/0"), fcntl.fcntl(0, fcntl.F_GETFD)]
    report([before == after, len(set(map(bool, statuses)))])
    """
    assert run(shared, program) == [True, 1]


@pytest.mark.parametrize("flag", [0, lxc.LXC_ATTACH_NO_NEW_PRIVS])
def test_no_new_privs(shared: lxc.Container, flag: int) -> None:
    found = shell(
        shared,
        "grep NoNewPrivs /proc/self/status",
        attach_flags=lxc.LXC_ATTACH_DEFAULT | flag,
    )
    assert found.out.split() == ["NoNewPrivs:", str(int(bool(flag)))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": range(5000)}, "too many"),
        ({"groups": [-1]}, "no group number"),
        ({"groups": [None]}, "no group number"),
        ({"groups": [1 << 32]}, "no user or group number"),
        ({"log_fd": 1}, "LXC_ATTACH_TERMINAL"),
        (
            {"log_fd": 999, "attach_flags": lxc.LXC_ATTACH_TERMINAL},
            "log_fd: descriptor 999 is not usable",
        ),
    ],
)
def test_odd_options_are_refused(
    shared: lxc.Container, options: dict[str, Any], message: str
) -> None:
    if "groups" in options and not lxc.features()["groups"]:
        return
    before = open_descriptors()
    with pytest.raises(ValueError, match=message):
        shared.attach_wait(lxc.attach_run_command, ["true"], **options)
    assert open_descriptors() == before


@pytest.mark.parametrize("launcher", [False, True])
def test_log_fd_gets_what_is_printed_on_the_terminal(
    shared: lxc.Container, tmp_path: Path, launcher: bool
) -> None:
    log = tmp_path / "log"
    program = f"""
    {"lxc._lxc._launcher(0)" if launcher else "pass"}
    with open({str(log)!r}, "wb") as log:
        report(c.attach_wait(
            lxc.attach_run_command, ["sh", "-c", "tty; echo said; exit 3"],
            attach_flags=lxc.LXC_ATTACH_DEFAULT | lxc.LXC_ATTACH_TERMINAL, log_fd=log,
        ))
    """
    with Program(shared, program, terminal=True) as child:
        assert child.next() == 3 << 8
        child.finish()
    assert b"said" in log.read_bytes()
    assert b"/dev/pts/" in log.read_bytes()


# --- Storage --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bdev_specs": {"size": 1}}, ValueError, "'size' is none of"),
        ({"bdev_specs": {"lvm": {"pool": "p"}}}, ValueError, "'pool' is none of"),
        ({"bdev_specs": {"lvm": "vg"}}, TypeError, "must be a mapping"),
        ({"bdev_specs": "lvm"}, TypeError, "must be a mapping"),
        ({"bdev_specs": {"fstype": 5}}, TypeError, "fstype"),
        ({"bdev_specs": {"dir": "a\0"}}, ValueError, "null"),
        ({"bdev_specs": {"fssize": 1}, "fssize": 2}, ValueError, "given twice"),
        ({"fssize": "2X"}, ValueError, "is no size"),
        ({"fssize": "-1"}, ValueError, "is no size"),
        ({"fssize": "16E"}, ValueError, "below 2"),
        ({"fssize": -1}, ValueError, "below 2"),
        ({"fssize": 1.5}, TypeError, "integer"),
    ],
)
def test_odd_storage_is_refused(
    tmp_path: Path, options: dict[str, Any], error: type, message: str
) -> None:
    container = lxc.Container("c", str(tmp_path))
    with pytest.raises(error, match=message):
        container.create("busybox", **options)
    assert not list(tmp_path.iterdir())


def test_create_in_another_directory(
    own_path: str, new_name: Callable[[], str], tmp_path: Path
) -> None:
    os.chmod(tmp_path, 0o755)
    container = lxc.Container(new_name(), own_path)
    root = tmp_path / "elsewhere"
    assert container.create(
        "busybox",
        lxc.LXC_CREATE_QUIET,
        bdevtype="dir",
        bdev_specs={"dir": str(root)},
    )
    assert (root / "bin" / "busybox").exists()
    assert container.destroy()


# --- Questions to liblxc --------------------------------------------------------------


def test_wait_states_are_those_that_wait_knows(shared: lxc.Container) -> None:
    states = lxc.get_wait_states()
    assert {"STOPPED", "RUNNING", "FROZEN"} <= set(states)
    assert len(states) == 8
    for state in states:
        assert shared.wait(state, 0) is (state == "RUNNING")


def test_api_extensions() -> None:
    assert lxc.has_api_extension("devpts_fd") is True
    assert lxc.has_api_extension(b"devpts_fd") is True
    assert lxc.has_api_extension("none such") is False
    with pytest.raises(TypeError):
        lxc.has_api_extension(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("lxc.net", True),
        ("lxc.net.0.type", True),
        ("lxc.net.17.veth.pair", True),
        ("lxc.net.0.macvlan.mode", True),
        ("lxc.net.0.none-such", False),
        ("lxc.cgroup2.memory.max", True),
        ("lxc.namespace.share.net", True),
        ("lxc.uts.name", True),
        ("lxc.include", True),
        ("none-such", False),
        ("", False),
    ],
)
def test_config_items_are_known_by_their_full_names(key: str, known: bool) -> None:
    assert lxc.config_item_is_supported(key) is known
    assert lxc.config_item_is_supported(key.encode()) is known


def test_the_raw_layer_asks_for_exact_names() -> None:
    assert _lxc.config_item_is_supported("lxc.net") is True
    assert _lxc.config_item_is_supported("lxc.net.0.type") is False


# --- Checkpoints ----------------------------------------------------------------------

# criu itself cannot work on every kernel: another program of its name says what it is
# asked, or fails as it is told.
CRIU = """#!/bin/sh
echo "$@" >>"{place}/asked"
case "$*" in *--version*) echo "Version: 4.0"; exit 0 ;; esac
if [ "$1" = check ]; then case "$*" in *{feature}*) exit 0 ;; *) exit 1 ;; esac; fi
{then}
"""
FAILS = """
while [ $# -gt 0 ]; do [ "$1" = -o ] && log="$2"; shift; done
cat >"$log" <<END
(00.1) Will dump/restore TCP connections
(00.1) Error (criu/some.c:1): no such luck
(00.2)      1: Error (criu/some.c:1): no such luck
(00.2)      1: Error (criu/more.c:2): so there is no more
(00.3) Error (criu/cr-dump.c:3): Dumping FAILED.
(00.4) Error (criu/late.c:4): cannot tidy up
END
exit 1
"""
SAID = (
    "criu failed: (criu/some.c:1): no such luck; (criu/more.c:2): so there is no more"
)

# liblxc 4 dumps nothing without cgroup v1: it looks for the freezer there.
NO_FREEZER = (
    "failed getting freezer path"
    if LIBLXC < (5, 0) and Path("/sys/fs/cgroup/cgroup.controllers").exists()
    else ""
)

Criu = Callable[..., Path]


@pytest.fixture
def criu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Criu:
    def criu(then: str, feature: str = "nothing") -> Path:
        place = tmp_path / "bin"
        place.mkdir()
        program = place / "criu"
        program.write_text(CRIU.format(place=place, feature=feature, then=then))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
        return place / "asked"

    return criu


def python_for_criu() -> tuple[str, ...]:
    """An interpreter that liblxc lets call criu.

    Before that it enters the root of the cgroups.  The one that a cgroup namespace sees
    in cgroup2 takes no process once its children were given controllers: so another
    namespace, whose root is where this process is.
    """
    for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if Path(place, "cgroup.type").exists():  # a true root has no type
            # Not over the other one: mount(2) refuses the same file system there.
            script = f'umount -l {place} && mount -t cgroup2 none {place} && exec "$@"'
            unshare = ("unshare", "--cgroup", "--mount")
            return (*unshare, "sh", "-c", script, "sh", sys.executable)
    return (sys.executable,)


FAILING = """
before = descriptors()
try:
    {call}
except lxc.LXCError as error:
    report([error.reason, descriptors() - before, children()])
"""


def run_failing(container: lxc.Container, call: str) -> str:
    """The reason of a call that fails and leaves nothing behind."""
    program = FAILING.format(call=call)
    reason, *left = run(container, program, python=python_for_criu())
    assert left == [0, []]
    return str(reason)


@pytest.mark.parametrize(
    ("call", "log"),
    [
        ("c.checkpoint({place!r})", "dump.log"),
        ("c.migrate(lxc.MIGRATE_PRE_DUMP, {place!r})", "pre-dump.log"),
        ("c.migrate(lxc.MIGRATE_DUMP, {place!r})", "dump.log"),
    ],
)
def test_checkpoint_says_what_criu_said(
    running: lxc.Container, criu: Criu, tmp_path: Path, call: str, log: str
) -> None:
    asked = criu(FAILS)
    place = tmp_path / "checkpoint"
    reason = run_failing(running, call.format(place=str(place)))
    if NO_FREEZER:
        assert reason == NO_FREEZER
        return
    assert reason == f"{SAID} (see {place}/{log})"
    assert f"-D {place}" in asked.read_text()
    assert running.running


def test_restore_says_what_criu_said(
    stopped: lxc.Container, criu: Criu, tmp_path: Path
) -> None:
    criu(FAILS)
    (tmp_path / "inventory.img").touch()
    reason = run_failing(stopped, f"c.restore({str(tmp_path)!r})")
    assert reason == f"{SAID} (see {tmp_path}/restore.log)"
    assert stopped.state == "STOPPED"


def test_a_dump_outlives_a_signal(
    running: lxc.Container, criu: Criu, tmp_path: Path
) -> None:
    """A handler is no end of criu, and Ctrl-C comes when it is done."""
    criu("sleep 1; exit 0")
    if NO_FREEZER:
        reason = run_failing(running, f"c.checkpoint({str(tmp_path / 'a')!r})")
        assert reason == NO_FREEZER
        return
    program = f"""
    rings = []
    signal.signal(signal.SIGALRM, lambda *_: rings.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    try:
        c.checkpoint({str(tmp_path / "a")!r})
    except KeyboardInterrupt:
        first = time.monotonic() - began
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    c.checkpoint({str(tmp_path / "b")!r})
    signal.setitimer(signal.ITIMER_REAL, 0)
    report([first, len(rings), children()])
    """
    first, rings, left = run(running, program, python=python_for_criu())
    assert first > 0.9
    assert rings > 4
    assert left == []


def test_a_second_checkpoint_needs_another_directory(
    running: lxc.Container, tmp_path: Path
) -> None:
    (tmp_path / "inventory.img").touch()
    assert failure(lambda: running.checkpoint(tmp_path)) == (
        f"there is a checkpoint in {tmp_path}: give another directory"
    )


def test_restore_says_what_it_misses(
    stopped: lxc.Container, shared: lxc.Container, tmp_path: Path
) -> None:
    assert failure(lambda: stopped.restore(tmp_path)) == (
        f"there is no checkpoint in {tmp_path}"
    )
    assert failure(lambda: shared.restore(tmp_path)) == "it is running"


def test_a_cleared_configuration_is_read_again(
    running: lxc.Container, criu: Criu, tmp_path: Path
) -> None:
    """liblxc crashes without one, or takes another signal than what it has."""
    criu(FAILS)
    for number, call in enumerate(("c.checkpoint", "c.migrate")):
        given = [*([lxc.MIGRATE_DUMP] * number), str(tmp_path / f"{number}")]
        call = f"(c.clear_config(), {call}(*{given!r}))"
        assert run_failing(running, call).startswith(NO_FREEZER or SAID)
    before = running.init_pid
    running.clear_config()
    running.reboot2(30)
    assert running.init_pid != before


def test_a_container_without_a_configuration_is_not_dumped(
    running: lxc.Container, criu: Criu, tmp_path: Path
) -> None:
    asked = criu(FAILS)
    config = Path(running.get_config_path(), running.name, "config")
    config.rename(tmp_path / "config")
    try:
        container = lxc.Container(running.name, running.get_config_path())
        assert container.running
        assert failure(lambda: container.checkpoint(tmp_path / "checkpoint")) == (
            "it is not defined"
        )
        assert not asked.exists()
    finally:
        (tmp_path / "config").rename(config)


def test_without_criu_that_is_the_reason(
    shared: lxc.Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for call in (
        lambda: shared.checkpoint(tmp_path / "c"),
        lambda: shared.migrate(lxc.MIGRATE_PRE_DUMP, tmp_path / "p"),
        lambda: shared.migrate(lxc.MIGRATE_FEATURE_CHECK, features_to_check=1),
    ):
        assert failure(call) == "there is no program criu in PATH: install it"


def test_a_feature_that_criu_has_is_found(shared: lxc.Container, criu: Criu) -> None:
    criu("exit 1", feature="mem_dirty_track")
    both = lxc.FEATURE_MEM_TRACK | lxc.FEATURE_LAZY_PAGES
    for asked in (lxc.FEATURE_MEM_TRACK, both, both | 1 << 20):
        found = shared.migrate(lxc.MIGRATE_FEATURE_CHECK, features_to_check=asked)
        assert found == lxc.FEATURE_MEM_TRACK
    none = shared.migrate(
        lxc.MIGRATE_FEATURE_CHECK, features_to_check=lxc.FEATURE_LAZY_PAGES
    )
    assert none == 0


def criu_works() -> bool:
    done = shutil.which("criu") and subprocess.run(
        ["criu", "check"], check=False, capture_output=True, timeout=60
    )
    return bool(done and done.returncode == 0)


# It goes on counting where it was.
COUNTS = "i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep 0.1; done"


def test_a_restored_container_goes_on(stopped: lxc.Container, tmp_path: Path) -> None:
    """With a criu that can; where there is none, the reason says so."""
    for key in ("lxc.apparmor.profile", "lxc.mount.entry"):
        assert stopped.clear_config_item(key)
    for key, value in {"lxc.console.path": "none", "lxc.tty.max": "0"}.items():
        assert stopped.set_config_item(key, value)
    assert stopped.save_config()
    count = rootfs(stopped) / "tmp" / "count"
    place = str(tmp_path / "checkpoint")
    if not criu_works():
        assert stopped.start()
        reason = run_failing(stopped, f"c.checkpoint({place!r})")
        assert reason.startswith(("criu failed", "there is no program criu"))
        assert stopped.running
        return
    # Started in there: criu looks for its cgroups.
    program = f"""
    assert c.start(cmd=("/bin/sh", "-c", {COUNTS!r}))
    assert wait_until(lambda: os.path.exists({str(count)!r}))
    time.sleep(1)
    c.checkpoint({place!r} + "-1")
    states = [c.state]
    c.checkpoint({place!r}, stop=True, verbose=True)
    states.append(c.state)
    before = descriptors()
    c.restore({place!r})
    states.append(c.state)
    monitor = process_status(monitor_of(c))["PPid"]
    status = c.attach_wait(lxc.attach_run_command, ["true"])
    report([states, descriptors() - before, children(), status, monitor])
    """
    states, *left, monitor = run(stopped, program, python=python_for_criu())
    assert states == ["RUNNING", "STOPPED", "RUNNING"]
    assert left == [0, [], 0]
    assert monitor == "1"
    then = int(count.read_text())
    assert then >= 5
    assert wait_until(lambda: then < int(count.read_text() or 0) < then + 50)


MONITOR = r"""
#include <stdbool.h>
#include <dlfcn.h>
#include <unistd.h>

/* As liblxc does: the caller's own child becomes the monitor. */
static bool
restore(void *c, char *directory, bool verbose)
{
    if (fork() == 0) {
        sleep(30);
        _exit(0);
    }
    return true;
}

void *
lxc_container_new(const char *name, const char *path)
{
    void *library = dlopen("liblxc.so.1", RTLD_NOW);
    void *(*make)(const char *, const char *) = dlsym(library, "lxc_container_new");
    void **c = make(name, path);

    if (c)
        c[59] = restore;
    return c;
}
"""


@pytest.mark.parametrize("free", [2, 10])
def test_the_monitor_of_a_restore_has_nothing_of_the_caller(
    tmp_path: Path, free: int
) -> None:
    """However few descriptors there are: two are what the call itself takes."""
    library = build_library(tmp_path / "monitor.c", MONITOR)
    program = f"""
import contextlib, lxc, lxc._migrate, os, resource, sys
mark, found = sys.argv[1], []
c = lxc.Container("c", {str(tmp_path)!r})
assert c.set_config_item("lxc.uts.name", "c")
own = [os.pipe() for _ in range(5)]
for fd in own[0]:
    os.set_inheritable(fd, True)
before = set(os.listdir("/proc"))
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (60, limit[1]))
filled = []
with contextlib.suppress(OSError):
    while True:
        filled.append(os.dup(own[0][0]))
for _ in range({free}):
    os.close(filled.pop())
c.restore({str(tmp_path)!r})
resource.setrlimit(resource.RLIMIT_NOFILE, limit)
new = {{p for p in os.listdir("/proc") if p.isdigit()}} - before
for p in new:
    with contextlib.suppress(OSError):
        if mark in open(f"/proc/{{p}}/cmdline").read():
            found.append(p)
for p in found:
    fds = sorted(os.readlink(f"/proc/{{p}}/fd/{{fd}}").partition(":")[0]
                 for fd in os.listdir(f"/proc/{{p}}/fd"))
    stat = open(f"/proc/{{p}}/stat").read().rpartition(")")[2].split()
    print(p, stat[1] != str(os.getpid()), os.getsid(int(p)) != os.getsid(0), *fds)
try:
    os.waitpid(-1, os.WNOHANG)
    print("a child is left")
except ChildProcessError:
    print("no child")
"""
    # It would last 30 seconds if the monitor kept the pipes.
    began = time.monotonic()
    done = run_python(
        program, str(tmp_path), env={**os.environ, "LD_PRELOAD": str(library)}
    )
    assert time.monotonic() - began < 20
    assert done.returncode == 0, done.stderr
    (pid, other_parent, other_session, *fds), last = (
        line.split(" ") for line in done.stdout.splitlines()
    )
    os.kill(int(pid), signal.SIGKILL)
    assert (other_parent, other_session, last) == ("True", "True", ["no", "child"])
    # liblxc's log, sealed, and the socket that nobody reads any more.
    assert set(fds) <= {"/dev/null", "socket", "/memfd"}
    assert fds.count("/dev/null") == 3
    assert len(fds) <= 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((4, "/d"), "no command of migrate"),
        ((lxc.MIGRATE_DUMP,), "needs a directory"),
        ((lxc.MIGRATE_RESTORE, None), "needs a directory"),
        ((lxc.MIGRATE_FEATURE_CHECK,), "features_to_check is a sum"),
        ((lxc.MIGRATE_DUMP, "/d", *(8 * [None]), 0, 1), "is for MIGRATE_FEATURE_CHECK"),
        ((lxc.MIGRATE_DUMP, "/d", 0, 0, None, "::1"), "go together"),
        ((lxc.MIGRATE_DUMP, "/d", 0, 0, None, None, 27), "go together"),
        ((lxc.MIGRATE_DUMP, "/d", 0, 0, None, "::1", 0), "is no port"),
        ((lxc.MIGRATE_DUMP, "/d", 0, 0, None, "::1", "http"), "is no port"),
        ((lxc.MIGRATE_DUMP, "/d", *(8 * [None]), "2X"), "is no size"),
        ((lxc.MIGRATE_DUMP, "/d", *(8 * [None]), -1), "ghost_limit is a number"),
    ],
)
def test_odd_arguments_of_migrate_are_refused(
    tmp_path: Path, given: tuple[Any, ...], message: str
) -> None:
    container = lxc.Container("c", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        container.migrate(*given)


def test_the_raw_layer_refuses_a_migration_to_nowhere(tmp_path: Path) -> None:
    container = _lxc.Container("c", str(tmp_path))
    with pytest.raises(ValueError, match="needs a directory"):
        container.migrate(lxc.MIGRATE_DUMP)
    assert container.migrate(77, "/d")[0] is False


def test_detach_interface_renames(running: lxc.Container) -> None:
    one, other, peer = (f"{x}{os.getpid() % 10**6}" for x in ("cd", "ce", "cf"))
    subprocess.run(
        ["ip", "link", "add", one, "type", "veth", "peer", "name", peer], check=True
    )
    try:
        assert running.attach_interface(one, "inside") is True
        assert "inside" in running.get_interfaces()
        assert running.detach_interface("inside", other) is True
        assert wait_until(lambda: Path(f"/sys/class/net/{other}").exists())
    finally:
        for name in (one, other):
            subprocess.run(
                ["ip", "link", "del", name], check=False, stderr=subprocess.DEVNULL
            )
