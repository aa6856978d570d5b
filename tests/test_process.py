# SPDX-License-Identifier: LGPL-2.1-or-later
"""run(), popen(), run_async() and create_subprocess_exec(), on real containers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import map_ids, start_and_settle
from support import (
    PATIENCE,
    Program,
    alive,
    children,
    descriptors,
    process_status,
    rootfs,
    run,
    wait_until,
)

import lxc
from lxc import _lxc

GIGABYTE = 1 << 30
LONG = "86401"  # seconds that a command sleeps that is to be ended


@pytest.mark.parametrize("name", ["run", "popen"])
def test_a_container_that_was_never_initialized_runs_nothing(name: str) -> None:
    container = lxc.Container.__new__(lxc.Container)
    with pytest.raises(RuntimeError, match="never initialized"):
        getattr(container, name)(["true"])


@pytest.mark.parametrize("name", ["run_async", "create_subprocess_exec"])
def test_a_container_that_was_never_initialized_awaits_nothing(name: str) -> None:
    container = lxc.Container.__new__(lxc.Container)
    given = (["true"],) if name == "run_async" else ("true",)
    with pytest.raises(RuntimeError, match="never initialized"):
        asyncio.run(getattr(container, name)(*given))


@pytest.fixture
def marker() -> str:
    """A number of seconds to sleep that nobody else sleeps: to find a process by."""
    return f"{LONG}.{os.getpid()}{time.monotonic_ns()}"


def sleeping(marker: str) -> list[int]:
    """The processes of the whole host that sleep that long."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                if line[:2] == [b"sleep", marker.encode()] and alive(int(entry)):
                    found.append(int(entry))
    return found


def output(container: lxc.Container, *args: str, **options: Any) -> str:
    done = container.run(args, capture_output=True, text=True, check=True, **options)
    return str(done.stdout)


def script(container: lxc.Container, text: str, **options: Any) -> str:
    return output(container, "sh", "-c", text, **options)


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < seconds


# --- How it ends ----------------------------------------------------------------------


def test_result(shared: lxc.Container) -> None:
    done = shared.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert done.returncode == 7
    assert done.stdout is done.stderr is None
    args = ["sh", "-c", "echo out; echo err >&2; exit 7"]
    done = shared.run(args, capture_output=True)
    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.args, done.returncode) == (args, 7)
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


@pytest.mark.parametrize("status", [0, 1, 2, 125, 126, 127, 128, 137, 255])
def test_exit_status(shared: lxc.Container, status: int) -> None:
    assert shared.run(["sh", "-c", f"exit {status}"]).returncode == status


@pytest.mark.parametrize("number", [1, 2, 6, 9, 11, 13, 15, 10, 24, 35])
def test_command_that_dies_of_a_signal(shared: lxc.Container, number: int) -> None:
    done = shared.run(["sh", "-c", f"kill -{number} $$; sleep 9"])
    assert done.returncode == -number


def test_forms_of_args(shared: lxc.Container, tmp_path: Path) -> None:
    assert shared.run("true").returncode == 0
    assert shared.run(b"true").returncode == 0
    assert shared.run(Path("/bin/true")).returncode == 0
    assert shared.run(("true",)).returncode == 0
    done = shared.run(
        ["echo", b"a\xff", Path("/b"), "c d", ""], capture_output=True, text=False
    )
    assert done.stdout == b"a\xff /b c d \n"
    with pytest.raises(FileNotFoundError):
        shared.run("echo a")  # no shell takes it apart
    with pytest.raises(TypeError):
        shared.run(["echo", 5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="null"):
        shared.run(["echo", "a\0b"])


def test_text_and_input(shared: lxc.Container) -> None:
    done = shared.run(["cat"], input="gr\xfcn\n", capture_output=True, text=True)
    assert done.stdout == "gr\xfcn\n"
    done = shared.run(
        ["cat"], input="gr\xfcn", stdout=subprocess.PIPE, encoding="latin-1"
    )
    assert done.stdout == "gr\xfcn"
    done = shared.run(["cat"], input="a", capture_output=True, errors="replace")
    assert done.stdout == "a"
    with pytest.raises(ValueError, match="stdin and input"):
        shared.run(["cat"], input=b"", stdin=subprocess.PIPE)
    with pytest.raises(ValueError, match="capture_output"):
        shared.run(["cat"], capture_output=True, stdout=subprocess.PIPE)
    both = ["sh", "-c", "echo a; echo b >&2"]
    done = shared.run(both, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.stdout == b"a\nb\n"


def test_files_keep_owner_and_mode(shared: lxc.Container, tmp_path: Path) -> None:
    # liblxc gives those that it sees to the container's user, with mode 0700.
    log = tmp_path / "log"
    with log.open("wb") as file:
        os.fchmod(file.fileno(), 0o640)
        os.fchown(file.fileno(), 77, 88)
        shared.run(["echo", "x"], stdin=file, stdout=file, stderr=file)
    found = log.stat()
    assert log.read_bytes() == b"x\n"
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (77, 88, 0o640)


def test_check(shared: lxc.Container) -> None:
    args = ["sh", "-c", "echo a; echo b >&2; exit 3"]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        shared.run(args, capture_output=True, check=True)
    error = caught.value
    assert (error.returncode, error.cmd) == (3, args)
    assert (error.stdout, error.stderr) == (b"a\n", b"b\n")
    assert shared.run(["true"], check=True).returncode == 0


# --- What cannot begin ----------------------------------------------------------------


CALLS = ["run", "popen", "run_async", "create_subprocess_exec"]


def attempt(container: lxc.Container, call: str, args: Any, **options: Any) -> Any:
    """Make one of the four calls, to the command's end."""
    if call == "run":
        return container.run(args, **options).returncode
    if call == "popen":
        with container.popen(args, **options) as begun:
            return begun.wait()
    if call == "run_async":
        return asyncio.run(container.run_async(args, **options)).returncode

    async def create() -> int:
        begun = await container.create_subprocess_exec(*args, **options)
        return await begun.wait()

    return asyncio.run(create())


@pytest.mark.parametrize("call", CALLS)
def test_command_or_directory_that_is_not_there(
    shared: lxc.Container, call: str
) -> None:
    before = descriptors(), len(children())
    for args, options, kind, filename in (
        (["no-such"], {}, FileNotFoundError, "no-such"),
        (["/no/such"], {}, FileNotFoundError, "/no/such"),
        (["/etc/passwd"], {}, PermissionError, "/etc/passwd"),
        (["/etc/passwd/x"], {}, NotADirectoryError, "/etc/passwd/x"),
        (["/etc"], {}, PermissionError, "/etc"),
        (["true"], {"cwd": "/no/such"}, FileNotFoundError, "/no/such"),
        (["true"], {"cwd": "/etc/passwd"}, NotADirectoryError, "/etc/passwd"),
    ):
        with pytest.raises(kind) as caught:
            attempt(shared, call, args, **options)
        assert caught.value.filename == filename
        assert caught.value.errno
    assert (descriptors(), len(children())) == before


def test_file_that_is_no_program(running: lxc.Container) -> None:
    file = rootfs(running) / "bin/nonsense"
    file.write_bytes(b"echo not with a shell\n")
    file.chmod(0o755)
    with pytest.raises(OSError, match="Exec format error"):
        running.run(["nonsense"])


def test_path_is_that_of_env(running: lxc.Container) -> None:
    where = rootfs(running) / "opt"
    where.mkdir(exist_ok=True)
    (where / "only-here").symlink_to("/bin/busybox")
    with pytest.raises(FileNotFoundError):
        running.run(["only-here"])
    assert running.run(["only-here"], env={"PATH": "/none:/opt"}).returncode == 127
    with pytest.raises(FileNotFoundError):
        running.run(["true"], env={"PATH": "/opt"})
    assert running.run(["true"], env={}).returncode == 0


@pytest.mark.parametrize("call", CALLS)
def test_container_that_does_not_run(
    stopped: lxc.Container, lxcpath: str, call: str
) -> None:
    before = descriptors()
    with pytest.raises(lxc.NotRunning, match="it is not running") as caught:
        attempt(stopped, call, ["true"])
    assert isinstance(caught.value, lxc.LXCError)
    assert (caught.value.operation, caught.value.container) == (call, stopped.name)
    with pytest.raises(lxc.NotRunning, match="not defined"):
        attempt(lxc.Container("no-such", lxcpath), call, ["true"])
    assert descriptors() == before


@pytest.mark.parametrize("call", CALLS)
def test_frozen_container(running: lxc.Container, call: str) -> None:
    assert running.freeze()
    with at_most(5), pytest.raises(lxc.Frozen, match="unfreeze"):
        attempt(running, call, ["true"])
    assert running.unfreeze()
    assert attempt(running, call, ["true"]) == 0


def test_launcher_that_cannot_be_had(
    shared: lxc.Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_lxc, "_launcher", lambda: None)
        with pytest.raises(lxc.LXCError, match="install the package as a whole"):
            shared.run(["true"])

    # Where memory cannot be executed, or not even made.
    def refuse() -> int:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(_lxc, "_launcher_fd", refuse)
        assert shared.run(["true"]).returncode == 0
    with monkeypatch.context() as patch:
        patch.setattr(_lxc, "_launcher_fd", lambda: os.open("/etc/passwd", os.O_RDONLY))
        assert shared.run(["true"]).returncode == 0
        assert attempt(shared, "run_async", ["true"]) == 0


def test_launcher_that_dies_at_once(
    shared: lxc.Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying = tmp_path / "launcher"
    dying.write_text("#!/bin/sh\nexit 9\n")
    dying.chmod(0o755)
    before = descriptors()
    monkeypatch.setattr(_lxc, "_launcher", lambda: str(dying))
    monkeypatch.setattr(_lxc, "_launcher_fd", lambda: os.open(dying, os.O_RDONLY))
    for call in CALLS:
        with at_most(5), pytest.raises(lxc.LXCError, match="exit status 9"):
            attempt(shared, call, ["true"])
    assert descriptors() == before


def test_unsaved_configuration_counts(running: lxc.Container, lxcpath: str) -> None:
    assert running.set_config_item("lxc.environment", ["SAVED=no"])
    assert script(running, "echo $SAVED") == "no\n"
    # Something else wrote the file meanwhile: what this handle has counts all the same.
    other = lxc.Container(running.name, lxcpath)
    assert other.set_config_item("lxc.environment", ["SAVED=yes"])
    assert other.save_config()
    assert script(running, "echo $SAVED") == "no\n"
    # A handle without changes of its own runs with the file.
    third = lxc.Container(running.name, lxcpath)
    assert script(third, "echo $SAVED") == "yes\n"
    assert other.set_config_item("lxc.environment", ["SAVED=again"])
    assert other.save_config()
    assert script(third, "echo $SAVED") == "again\n"


# --- Surroundings ---------------------------------------------------------------------


def variables(container: lxc.Container, **options: Any) -> dict[str, str]:
    lines = output(container, "env", **options).splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_environment(running: lxc.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    monkeypatch.setenv("LXC_SECRET", "1")
    usual = variables(running)
    assert set(usual) == {"container", "PATH", "HOME", "USER", "LOGNAME"}
    assert usual["container"] == "lxc"
    assert (usual["HOME"], usual["USER"], usual["LOGNAME"]) == ("/root", "root", "root")
    assert variables(running, env={"A": "1", "B": "\xfc="}) == {"A": "1", "B": "\xfc="}
    assert variables(running, env={}) == {}
    # What the container is configured to have comes before what its passwd says.
    assert running.set_config_item("lxc.environment", ["HOME=/srv", "X=1"])
    found = variables(running)
    assert (found["HOME"], found["X"], found["USER"]) == ("/srv", "1", "root")
    with pytest.raises(ValueError, match="illegal environment variable name"):
        running.run(["true"], env={"A=B": "1"})


def test_nothing_of_the_host_is_seen_inside(
    shared: lxc.Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_VALUE", "seen-from-inside")
    monkeypatch.setenv("LXC_SECRET", "seen-from-inside")
    opened, other = os.pipe()
    os.set_inheritable(opened, True)
    # The parent of the command is the supervisor; it has the container's own root.
    text = script(
        shared,
        "cat /proc/$PPID/environ; ls -l /proc/$PPID/fd /proc/self/fd; "
        "cat /proc/$PPID/cmdline",
        stdin=subprocess.DEVNULL,
    )
    os.close(opened)
    os.close(other)
    assert "seen-from-inside" not in text
    assert "/memfd:" not in text
    # The supervisor: /dev/null three times, a socket, a signalfd.
    ours, theirs = (
        [line.rpartition("-> ")[2] for line in part.splitlines() if "->" in line]
        for part in text.split("/proc/self/fd:")
    )
    assert ours[:3] == ["/dev/null"] * 3
    assert sorted(entry.split(":")[0] for entry in ours[3:]) == ["anon_inode", "socket"]
    assert [entry.split(":")[0] for entry in theirs[:3]] == [
        "/dev/null",
        "pipe",
        "pipe",
    ]
    assert len([entry for entry in theirs if entry.startswith("socket")]) == 0


def test_session_of_its_own(shared: lxc.Container) -> None:
    # So that TIOCSTI cannot type at the caller's terminal.
    text = script(shared, "echo $$; cat /proc/$$/stat")
    pid, stat = text.splitlines()
    group, session, terminal = stat.rpartition(")")[2].split()[2:5]
    assert (group, session, terminal) == (pid, pid, "0")


def test_pass_fds(shared: lxc.Container) -> None:
    reader, writer = os.pipe()
    done = shared.run(["sh", "-c", f"echo x >&{writer}"], pass_fds=[writer])
    os.close(writer)
    assert done.returncode == 0
    with open(reader, "rb") as file:
        assert file.read() == b"x\n"


def test_directory(shared: lxc.Container) -> None:
    assert output(shared, "pwd") == "/\n"
    assert output(shared, "pwd", cwd="/etc") == "/etc\n"
    assert output(shared, "pwd", cwd=b"/etc") == "/etc\n"
    assert output(shared, "pwd", cwd=Path("/etc")) == "/etc\n"


def test_signals_of_the_command(shared: lxc.Container) -> None:
    pattern = "^Sig(Ign|Blk|Cgt)"
    text = output(shared, "grep", "-E", pattern, "/proc/self/status")
    assert [line.split()[1] for line in text.splitlines()] == ["0" * 16] * 3


# --- Users ----------------------------------------------------------------------------


PASSWD = """\
root:x:0:0:root:/root:/bin/sh
web:x:1001:100:Web:/srv/web:/bin/sh
alias:x:1001:101::/srv/alias:/bin/sh
broken:x:1_0: 7
negative:x:-1:-1::/:
"""
GROUPS = """\
root:x:0:
users:x:100:
www:x:200:web,other
log:x:201:other,web
broken:x:x:web
"""


@pytest.fixture
def peopled(running: lxc.Container) -> lxc.Container:
    people(running)
    return running


def people(container: lxc.Container) -> None:
    root = rootfs(container)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUPS)
    (root / "opt").mkdir(exist_ok=True)
    shutil.copy(root / "bin/busybox", root / "opt/busybox")
    (root / "opt/busybox").chmod(0o755)


def identity(container: lxc.Container, **options: Any) -> tuple[int, int, set[int]]:
    """What a command is; by a program that has no setuid bit, which busybox has."""
    args = ["/opt/busybox", "grep", "-E", "^(Uid|Gid|Groups):", "/proc/self/status"]
    uids, gids, groups = (
        {int(number) for number in line.split()[1:]}
        for line in output(container, *args, **options).splitlines()
    )
    assert len(uids) == len(gids) == 1
    return uids.pop(), gids.pop(), groups


def test_users_and_groups(peopled: lxc.Container) -> None:
    assert identity(peopled) == (0, 0, set())
    assert identity(peopled, user="web") == (1001, 100, {100, 200, 201})
    assert identity(peopled, user=1001) == (1001, 100, {100, 200, 201})
    assert identity(peopled, user="alias") == (1001, 101, {101})
    assert identity(peopled, user="web", group="log") == (1001, 201, {200, 201})
    assert identity(peopled, user="web", group=7) == (1001, 7, {7, 200, 201})
    assert identity(peopled, user=4242, group=4243) == (4242, 4243, {4243})
    assert identity(peopled, user="web", extra_groups=["www", 9]) == (
        *(1001, 100),
        {200, 9},
    )
    assert identity(peopled, user="web", extra_groups=[]) == (1001, 100, set())
    assert identity(peopled, group="users") == (0, 100, {100})
    assert identity(peopled, extra_groups=[5]) == (0, 0, {5})
    assert identity(peopled, user="root") == (0, 0, {0})
    found = variables(peopled, user="web")
    assert (found["HOME"], found["USER"], found["LOGNAME"]) == (
        "/srv/web",
        "web",
        "web",
    )
    found = variables(peopled, user=4242, group=1)
    assert found["HOME"] == "/"
    assert "USER" not in found


def test_user_cannot_regain_what_it_gave_up(peopled: lxc.Container) -> None:
    args = ["/opt/busybox", "grep", "-E", "^Cap(Prm|Eff)", "/proc/self/status"]
    text = output(peopled, *args, user="web")
    assert [line.split()[1] for line in text.splitlines()] == ["0" * 16] * 2


@pytest.mark.parametrize("call", CALLS)
def test_unknown_users(peopled: lxc.Container, call: str) -> None:
    before = descriptors()
    for name in ("nobody-here", "broken", "negative", "web:x"):
        with pytest.raises(KeyError) as caught:
            attempt(peopled, call, ["true"], user=name)
        assert caught.value.args == (f"getpwnam(): name not found: {name!r}",)
    with pytest.raises(KeyError) as caught:
        attempt(peopled, call, ["true"], group="no-such")
    assert caught.value.args == ("getgrnam(): name not found: 'no-such'",)
    with pytest.raises(KeyError, match="getgrnam"):
        attempt(peopled, call, ["true"], extra_groups=["no-such"])
    with pytest.raises(ValueError, match="give group= too"):
        attempt(peopled, call, ["true"], user=4242)
    for wrong in (1 << 64, 1 << 32, (1 << 32) - 1):
        with pytest.raises(OverflowError, match="uid is greater than maximum"):
            attempt(peopled, call, ["true"], user=wrong, group=1)
        with pytest.raises(OverflowError, match="gid is greater than maximum"):
            attempt(peopled, call, ["true"], group=wrong)
        with pytest.raises(ValueError, match="invalid group id"):
            attempt(peopled, call, ["true"], extra_groups=[wrong])
    for what in ({"user": -1}, {"group": -1}, {"extra_groups": [5, -1]}):
        with pytest.raises(ValueError, match="ID cannot be negative, got -1"):
            attempt(peopled, call, ["true"], **what)
    for odd in ({"user": 1.5}, {"group": b"users"}, {"extra_groups": [b"users"]}):
        with pytest.raises(TypeError, match="must be a string or"):
            attempt(peopled, call, ["true"], **odd)
    with pytest.raises(ValueError, match="Groups must be a list, not a string"):
        attempt(peopled, call, ["true"], extra_groups="users")
    with pytest.raises(ValueError, match="too many"):
        attempt(peopled, call, ["true"], extra_groups=range(2000))
    assert descriptors() == before


def test_idmapped_container(make: Callable[..., lxc.Container], roots_ids: int) -> None:
    container = make()
    people(container)
    map_ids(container, roots_ids)
    start_and_settle(container)
    assert identity(container) == (0, 0, set())
    assert identity(container, user="web") == (1001, 100, {100, 200, 201})
    assert output(container, "id", "-u", user=7, group=7) == "7\n"
    with pytest.raises(OSError, match="Invalid argument"):  # no such id in there
        container.run(["true"], user=70000, group=70000)
    begun = container.popen(["/opt/busybox", "sleep", LONG], user="web")
    inside = int(
        Path(f"/proc/{begun.pid}/task/{begun.pid}/children").read_text().split()[0]
    )
    command = int(Path(f"/proc/{inside}/task/{inside}/children").read_text().split()[0])
    assert process_status(command)["Uid"].split() == [str(roots_ids + 1001)] * 4
    # What watches over it is not the container's to look into.
    done = container.run(
        ["sh", "-c", "cat /proc/$PPID/environ /proc/$PPID/mem; ls /proc/$PPID/fd"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""
    assert done.stderr.count("denied") == 3
    begun.kill()
    assert begun.wait() == -9
    done = container.run(["sh", "-c", "exec 3<>/dev/tty; tty"], tty=True, user="web")
    assert done.returncode == 0


def test_hostile_passwd(peopled: lxc.Container, tmp_path: Path) -> None:
    passwd = rootfs(peopled) / "etc/passwd"

    def refused(**options: Any) -> str:
        with at_most(5), pytest.raises(lxc.LXCError) as caught:
            peopled.run(["true"], user="web", **options)
        return caught.value.reason

    passwd.unlink()
    with pytest.raises(KeyError):
        peopled.run(["true"], user="web")
    assert peopled.run(["true"]).returncode == 0
    assert variables(peopled)["HOME"] == "/root"

    os.mkfifo(passwd)
    assert "cannot be read" in refused()
    assert peopled.run(["true"]).returncode == 0
    passwd.unlink()

    passwd.mkdir()
    assert "cannot be read" in refused()
    passwd.rmdir()

    os.mknod(passwd, 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero
    assert "cannot be read" in refused()
    passwd.unlink()

    passwd.symlink_to("passwd")
    assert "cannot be read" in refused()
    passwd.unlink()

    # Links end up beneath the container's root, however they climb.
    host = tmp_path / "passwd"
    host.write_text("web:x:0:0::/:/bin/sh\n")
    climbing = "/".join([".."] * 30) + str(host)
    passwd.symlink_to(climbing)
    with pytest.raises(KeyError):
        peopled.run(["true"], user="web")
    passwd.unlink()
    passwd.symlink_to("/proc/1/root" + str(host))  # a magic link
    reason = refused()
    assert "cannot be read" in reason
    passwd.unlink()
    (rootfs(peopled) / "etc/real").write_text(PASSWD)
    passwd.symlink_to("/etc/real")
    assert identity(peopled, user="web")[0] == 1001
    passwd.unlink()

    with passwd.open("wb") as file:
        file.truncate(1 << 40)
    assert "larger than 16 MiB" in refused()
    passwd.write_bytes(b"web:x:1:" + b"x" * 100 + b"\n" + b":" * 100000 + b"\n\0\xff\n")
    with pytest.raises(KeyError):
        peopled.run(["true"], user="web")
    passwd.write_bytes(b"w\xffb:x:1002:3::/\xff:\n" * 3)
    assert identity(peopled, user="w\udcffb")[:2] == (1002, 3)


# --- Much -----------------------------------------------------------------------------


def test_gigabyte_through_stdout(shared: lxc.Container) -> None:
    begun = shared.popen(
        ["sh", "-c", f"yes 0123456789abcde | head -c {GIGABYTE}; exit 5"],
        stdout=subprocess.PIPE,
    )
    assert begun.stdout is not None
    found, expected, size = hashlib.sha256(), hashlib.sha256(), 0
    while data := begun.stdout.read(1 << 20):
        found.update(data)
        size += len(data)
    for _ in range(GIGABYTE >> 20):
        expected.update(b"0123456789abcde\n" * (1 << 16))
    assert size == GIGABYTE
    assert found.digest() == expected.digest()
    assert begun.wait() == 5
    begun.stdout.close()


def test_gigabyte_through_stdin(shared: lxc.Container) -> None:
    begun = shared.popen(
        ["sha256sum"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
    )
    assert begun.stdin is not None
    expected = hashlib.sha256()
    block = os.urandom(1 << 20)
    for serial in range(GIGABYTE >> 20):
        data = serial.to_bytes(8, "big") + block[8:]
        expected.update(data)
        begun.stdin.write(data)
    out, _ = begun.communicate()
    assert out.split()[0].decode() == expected.hexdigest()
    assert begun.returncode == 0


def test_large_output_and_input_with_run(shared: lxc.Container) -> None:
    data = os.urandom(1 << 24)
    done = shared.run(["cat"], input=data, capture_output=True, timeout=PATIENCE)
    assert done.stdout == data


def test_200_at_once(shared: lxc.Container) -> None:
    def one(number: int) -> tuple[int, bytes]:
        done = shared.run(
            ["sh", "-c", f"read line; echo $line-{number}; exit {number}"],
            input=f"in{number}\n".encode(),
            capture_output=True,
            timeout=300,
        )
        return done.returncode, done.stdout

    before = descriptors(), len(children())
    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(one, range(200)))
    assert found == [(n, f"in{n}-{n}\n".encode()) for n in range(200)]
    assert (descriptors(), len(children())) == before


def test_500_leave_nothing(shared: lxc.Container) -> None:
    program = """
    def one(number):
        c.run(["true"], capture_output=True, timeout=60 if number % 2 else None)

    for number in range(20):
        one(number)
    before = descriptors(), len(children())
    for number in range(500):
        one(number)
    report([before, (descriptors(), len(children()))])
    """
    before, after = run(shared, program)
    assert before == after
    assert [line for line in output(shared, "ps").splitlines() if "launcher" in line][
        1:
    ] == []


# --- Daemons and timeouts -------------------------------------------------------------


def daemon(marker: str, then: str = "exit 4") -> list[str]:
    """Forks a daemon that holds the pipes, and one of that's own session, and ends."""
    return [
        *("sh", "-c"),
        f"echo begun; (setsid sh -c 'sleep {marker} & sleep {marker}' &) ; "
        f"sleep {marker} & {then}",
    ]


def test_daemon_that_holds_the_pipes_goes_on(
    shared: lxc.Container, marker: str
) -> None:
    begun = shared.popen(daemon(marker), stdout=subprocess.PIPE)
    assert begun.wait(PATIENCE) == 4
    assert wait_until(lambda: len(sleeping(marker)) == 3)
    assert begun.stdout is not None
    assert begun.stdout.readline() == b"begun\n"
    assert not select.select([begun.stdout], [], [], 0.3)[0]
    # Nobody watches over them any more: they are init's.
    parents = {process_status(pid)["PPid"] for pid in sleeping(marker)}
    assert str(shared.init_pid) in parents
    for pid in sleeping(marker):
        os.kill(pid, signal.SIGKILL)
    assert begun.stdout.read() == b""
    begun.stdout.close()


def test_run_that_leaves_a_daemon_ends(shared: lxc.Container, marker: str) -> None:
    for timeout in (None, PATIENCE):
        done = shared.run(
            ["sh", "-c", f"setsid sleep {marker} >/dev/null 2>&1 & exit 6"],
            capture_output=True,
            timeout=timeout,
        )
        assert done.returncode == 6
    assert wait_until(lambda: len(sleeping(marker)) == 2)
    time.sleep(0.3)
    assert len(sleeping(marker)) == 2
    for pid in sleeping(marker):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("call", ["run", "run_async"])
@pytest.mark.parametrize("then", ["exit 4", "sleep 86400", "while :; do :; done"])
def test_timeout_leaves_nothing(
    shared: lxc.Container, marker: str, call: str, then: str
) -> None:
    before = descriptors(), len(children())
    args = daemon(marker, then)
    with at_most(10), pytest.raises(subprocess.TimeoutExpired) as caught:
        attempt(shared, call, args, timeout=1, capture_output=True)
    assert sleeping(marker) == []
    assert caught.value.stdout == b"begun\n"
    assert (caught.value.timeout, caught.value.cmd) == (1, args)
    assert (descriptors(), len(children())) == before


def test_timeout_of_what_ignores_signals(shared: lxc.Container, marker: str) -> None:
    text = f"trap '' TERM INT HUP; sleep {marker} & wait; sleep {marker}"
    with at_most(10), pytest.raises(subprocess.TimeoutExpired):
        shared.run(["sh", "-c", text], timeout=0.5, tty=True, stdin=subprocess.DEVNULL)
    assert sleeping(marker) == []


def test_timeout_where_proc_is_no_help(
    make: Callable[..., lxc.Container], marker: str
) -> None:
    container = make(start=True)
    assert container.run(["mount", "-t", "tmpfs", "none", "/proc"]).returncode == 0
    with at_most(30), pytest.raises(subprocess.TimeoutExpired):
        container.run(daemon(marker, "sleep 86400"), timeout=1)
    assert sleeping(marker) == []


def test_timeout_of_nothing(shared: lxc.Container) -> None:
    for timeout in (0, 1e-6, -1):
        with at_most(5), pytest.raises(subprocess.TimeoutExpired):
            shared.run(["sleep", "5"], timeout=timeout)
    assert shared.run(["true"], timeout=PATIENCE).returncode == 0


@pytest.mark.parametrize("call", ["run", "run_async"])
def test_timeout_at_any_moment(shared: lxc.Container, marker: str, call: str) -> None:
    before = descriptors(), len(children())
    for step in range(40):
        with pytest.raises(subprocess.TimeoutExpired):
            attempt(shared, call, ["sleep", marker], timeout=step * 0.0005, stdout=-1)
        assert sleeping(marker) == []
    assert (descriptors(), len(children())) == before


def test_timeout_of_a_command_that_is_frozen(
    running: lxc.Container, marker: str
) -> None:
    timer = threading.Timer(0.5, running.freeze)
    timer.start()
    with at_most(10), pytest.raises(subprocess.TimeoutExpired):
        running.run(["sleep", marker], timeout=1.5)
    timer.join()
    assert running.state == "FROZEN"
    assert running.unfreeze()
    assert wait_until(lambda: sleeping(marker) == [])


# --- Ends from outside ----------------------------------------------------------------


def test_send_signal_reaches_the_command(shared: lxc.Container) -> None:
    traps = "trap 'echo usr1' USR1; trap 'exit 9' TERM"
    text = f"{traps}; echo on; while :; do sleep 0.05; done"
    with shared.popen(["sh", "-c", text], stdout=subprocess.PIPE) as begun:
        assert isinstance(begun, subprocess.Popen)
        assert begun.args == ["sh", "-c", text]
        assert begun.stdout is not None
        assert begun.stdout.readline() == b"on\n"
        assert begun.poll() is None
        for _ in range(3):
            begun.send_signal(signal.SIGUSR1)
            assert begun.stdout.readline() == b"usr1\n"
        begun.terminate()
        assert begun.wait(PATIENCE) == 9
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGRTMIN + 3):
        begun = shared.popen(["sleep", LONG])
        begun.send_signal(number)
        assert begun.wait(PATIENCE) == -number


def test_kill_of_the_launcher_ends_everything(
    shared: lxc.Container, marker: str
) -> None:
    begun = shared.popen(daemon(marker, f"sleep {marker}"))
    assert wait_until(lambda: len(sleeping(marker)) == 4)
    begun.kill()
    assert begun.wait(PATIENCE) == -9
    assert wait_until(lambda: sleeping(marker) == [])


@pytest.mark.parametrize("what", ["popen", "run"])
def test_caller_that_dies_leaves_the_command(
    shared: lxc.Container, marker: str, what: str
) -> None:
    program = """
    begun = c.popen(["sleep", sys.argv[1]])
    report(begun.pid)
    if sys.argv[2] == "run":
        c.run(["sleep", sys.argv[1]], timeout=3600)
    signal.pause()
    """
    with Program(shared, program, marker, what) as caller:
        launcher = caller.next()
        count = 1 if what == "popen" else 2
        assert wait_until(lambda: len(sleeping(marker)) == count)
        caller.process.kill()
        caller.process.wait()
    time.sleep(0.5)
    assert len(sleeping(marker)) == count
    assert alive(launcher)
    for pid in sleeping(marker):
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(launcher))


def test_popen_from_a_thread_that_ends(shared: lxc.Container) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(
        target=lambda: begun.append(
            shared.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
    )
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert begun[0].communicate(b"still here", timeout=PATIENCE)[0] == b"still here"
    assert begun[0].returncode == 0


@pytest.mark.parametrize("timeout", [None, 60])
def test_container_that_is_stopped_meanwhile(
    running: lxc.Container, timeout: float | None
) -> None:
    timer = threading.Timer(0.5, running.stop)
    timer.start()
    with at_most(20):
        done = running.run(
            ["sh", "-c", f"echo begun; sleep {LONG}"], stdout=-1, timeout=timeout
        )
    assert done.returncode == -9
    assert done.stdout == b"begun\n"
    timer.join()
    assert running.wait("STOPPED", 10)


def test_keyboard_interrupt(shared: lxc.Container, marker: str) -> None:
    program = """
    before = descriptors(), len(children())
    try:
        c.run(["sleep", sys.argv[1]], stdin=subprocess.DEVNULL)
    except KeyboardInterrupt:
        report([time.monotonic(), before, (descriptors(), len(children()))])
    """
    with Program(shared, program, marker) as caller:
        assert wait_until(lambda: sleeping(marker))
        begin = caller.interrupt()
        end, before, after = caller.next()
        caller.finish()
    assert end - begin < 1
    assert before == after
    assert wait_until(lambda: sleeping(marker) == [])


# --- asyncio --------------------------------------------------------------------------

# Not cat: busybox's splices, and while the kernel waits for more from the socket that
# asyncio has for stdin, it keeps the pipe locked: who reads that stops, the whole loop.
COPY = ["dd", "bs=4096", "status=none"]


def test_run_async(shared: lxc.Container) -> None:
    async def main() -> None:
        done = await shared.run_async(
            ["sh", "-c", "dd status=none; echo err >&2; exit 3"],
            input=b"in",
            capture_output=True,
        )
        assert (done.returncode, done.stdout, done.stderr) == (3, b"in", b"err\n")
        done = await shared.run_async(COPY, input="gr\xfcn\n", stdout=-1, text=True)
        assert (done.stdout, done.stderr) == ("gr\xfcn\n", None)
        with pytest.raises(subprocess.CalledProcessError) as caught:
            await shared.run_async(
                ["sh", "-c", "echo x; exit 1"], stdout=-1, check=True
            )
        assert caught.value.returncode == 1
        many = [shared.run_async(["sh", "-c", f"exit {n}"]) for n in range(20)]
        results = await asyncio.gather(*many)
        assert [done.returncode for done in results] == list(range(20))
        data = os.urandom(1 << 22)
        done = await shared.run_async(COPY, input=data, capture_output=True)
        assert done.stdout == data

    before = descriptors(), len(children())
    asyncio.run(main())
    assert (descriptors(), len(children())) == before


def test_async_streams(shared: lxc.Container) -> None:
    async def main() -> None:
        begun = await shared.create_subprocess_exec(*COPY, stdin=-1, stdout=-1)
        assert isinstance(begun, asyncio.subprocess.Process)
        assert begun.stdin is not None
        assert begun.stdout is not None
        for number in range(3):
            begun.stdin.write(b"line %d\n" % number)
            assert await begun.stdout.readline() == b"line %d\n" % number
        begun.stdin.close()
        assert await begun.wait() == 0
        begun = await shared.create_subprocess_exec("sleep", LONG)
        begun.terminate()
        assert await begun.wait() == -15

    asyncio.run(main())


@pytest.mark.parametrize("call", ["run_async", "create_subprocess_exec"])
def test_async_does_not_block_the_loop(
    shared: lxc.Container, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> float:
        longest, last, over = 0.0, time.monotonic(), False

        async def tick() -> None:
            nonlocal longest, last
            while not over:
                await asyncio.sleep(0.002)
                now = time.monotonic()
                longest, last = max(longest, now - last), now

        ticker = asyncio.create_task(tick())
        monkeypatch.setattr(lxc.Container, "state", property(slow))
        if call == "run_async":
            await shared.run_async(["sleep", "0.3"])
        else:
            await (await shared.create_subprocess_exec("sleep", "0.3")).wait()
        over = True
        await ticker
        return longest

    def slow(self: lxc.Container) -> str:
        time.sleep(1)  # as with a monitor that is slow to answer
        return "RUNNING"

    assert asyncio.run(main()) < 0.8


@pytest.mark.parametrize("after", [0.0, 0.001, 0.003, 0.006, 0.01, 1.0])
def test_async_cancellation_ends_the_command(
    shared: lxc.Container, marker: str, after: float
) -> None:
    async def main() -> None:
        task = asyncio.create_task(
            shared.run_async(daemon(marker, f"sleep {marker}"), capture_output=True)
        )
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        task = asyncio.create_task(shared.create_subprocess_exec("sleep", marker))
        await asyncio.sleep(min(after, 0.01))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            begun = await task  # if that was quicker
            begun.kill()
            # Where asyncio has no threads for it, only a loop buries a child.
            await begun.wait()

    before = descriptors(), len(children())
    asyncio.run(main())
    assert wait_until(lambda: sleeping(marker) == [])
    assert wait_until(lambda: (descriptors(), len(children())) == before)


# --- Terminals ------------------------------------------------------------------------


def test_terminal_from_a_script(shared: lxc.Container) -> None:
    text = "test -t 0 && test -t 1 && test -t 2 && stty size && tty && echo $TERM"
    done = shared.run(
        ["sh", "-c", text], tty=True, stdin=subprocess.DEVNULL, stdout=-1, text=True
    )
    size, name, *_ = done.stdout.splitlines()
    assert done.returncode == 0
    assert size == "24 80"
    assert name.startswith("/dev/pts/")


@pytest.mark.parametrize("status", [0, 3, 255])
def test_terminal_shows_all(shared: lxc.Container, status: int) -> None:
    # More than any buffer on the way holds, and the last of it just before the end.
    done = shared.run(
        ["sh", "-c", f"seq 100000; exit {status}"], tty=True, stdin=-3, stdout=-1
    )
    assert done.returncode == status
    expected = "".join(f"{number}\r\n" for number in range(1, 100001))
    assert done.stdout.decode() == expected


def test_terminal_takes_and_gives_at_once(shared: lxc.Container) -> None:
    # Neither side waits for the other: the terminal's buffers are some kilobytes only.
    lines = b"".join(b"%08d\n" % number for number in range(30000))
    done = shared.run(
        ["sh", "-c", "stty -echo -onlcr; echo; exec cat"],
        tty=True,
        input=lines,
        stdout=-1,
        timeout=PATIENCE,
    )
    assert done.returncode == 0
    assert done.stdout.replace(b"\r", b"").endswith(lines[-90000:])


def test_terminal_and_signals(shared: lxc.Container, marker: str) -> None:
    begun = shared.popen(["sleep", marker], tty=True, stdin=-1, stdout=-1)
    assert begun.stdin is not None
    begun.stdin.write(b"\x03")
    begun.stdin.flush()
    assert begun.wait(PATIENCE) == -signal.SIGINT
    begun.communicate()
    begun = shared.popen(["sleep", marker], tty=True, stdin=-1, stdout=-1)
    begun.terminate()
    assert begun.wait(PATIENCE) == -signal.SIGTERM
    begun.communicate()
    # Output that nobody takes keeps no signal from the command.
    begun = shared.popen(["yes"], tty=True, stdin=-1, stdout=-1)
    time.sleep(0.5)
    begun.kill()
    assert begun.wait(PATIENCE) == -9
    begun.communicate()


def test_terminal_that_is_gone_is_a_hangup(shared: lxc.Container) -> None:
    begun = shared.popen(["yes"], tty=True, stdin=subprocess.DEVNULL, stdout=-1)
    assert begun.stdout is not None
    begun.stdout.read(10)
    begun.stdout.close()
    assert begun.wait(PATIENCE) in (-signal.SIGHUP, 1)


def test_terminals_are_used_up(make: Callable[..., lxc.Container]) -> None:
    container = make(start=True, config={"lxc.pty.max": "8"})
    with contextlib.ExitStack() as stack:

        def use_up() -> None:
            for _ in range(9):
                begun = container.popen(["cat"], tty=True, stdin=-1, stdout=-1)
                stack.enter_context(begun)
                stack.callback(begun.kill)

        with pytest.raises(lxc.LXCError, match=r"lxc\.pty\.max"):
            use_up()
        before = descriptors(), len(children())
        with pytest.raises(lxc.LXCError, match=r"lxc\.pty\.max"):
            container.run(["true"], tty=True, stdin=subprocess.DEVNULL)
        assert (descriptors(), len(children())) == before
    assert container.run(["true"], tty=True, stdin=subprocess.DEVNULL).returncode == 0


def test_terminal_of_the_caller(shared: lxc.Container) -> None:
    program = """
    before = termios.tcgetattr(0)
    report(c.run(["sh", "-i"], tty=True).returncode)
    report(termios.tcgetattr(0) == before)
    try:
        c.run(["sleep", "60"], tty=True, timeout=1)
    except subprocess.TimeoutExpired:
        report(termios.tcgetattr(0) == before)
    """
    with Program(shared, program, terminal=True) as caller:
        assert caller.ptx is not None
        caller.expect(b"# ")
        caller.type(b"echo a$((1+1))b; stty size\n")
        caller.expect(b"a2b")
        fcntl.ioctl(caller.ptx, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 44, 0, 0))
        time.sleep(0.3)
        caller.type(b"stty size\n")
        caller.expect(b"33 44")
        # Job control: Ctrl-Z stops, fg goes on, Ctrl-C ends what is in front only.
        caller.type(b"sleep 86400\n")
        time.sleep(0.5)
        caller.type(b"\x1a")
        caller.expect(b"Stopped")
        caller.type(b"fg\n")
        caller.expect(b"sleep 86400")
        time.sleep(0.3)
        caller.type(b"\x03")
        caller.type(b"echo st$((1+1))ll; exit 5\n")
        caller.expect(b"st2ll")
        assert caller.next() == 5
        assert caller.next() is True
        assert caller.next() is True
        caller.finish()


def test_typed_interrupt_without_tty(shared: lxc.Container) -> None:
    # The command is in a session of its own and yet gets what is typed.
    program = """
    signal.signal(signal.SIGINT, lambda *_: None)
    waits = "trap 'exit 8' INT; echo on; while :; do sleep 0.05; done"
    report(c.run(["sh", "-c", waits]).returncode)
    """
    with Program(shared, program, terminal=True) as caller:
        caller.expect(b"on\r\n")
        caller.type(b"\x03")
        assert caller.next() == 8
        caller.finish()


def test_import_is_lazy() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys, lxc; print([m for m in ('subprocess', 'asyncio', 'select', "
            "'termios', 'lxc.process') if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.stdout == "[]\n"
