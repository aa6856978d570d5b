# SPDX-License-Identifier: LGPL-2.1-or-later
"""create() beside other creators, and in directories that are not empty."""

from __future__ import annotations

import ctypes
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import create_bare, remove_cgroups
from support import alive, wait_until

import lxc

QUIET = lxc.LXC_CREATE_QUIET
MS_BIND = 4096
libc = ctypes.CDLL(None, use_errno=True)

# Makes a root filesystem, as slowly as wanted, and sees that it is alone.
TEMPLATE = """#!/bin/sh
for argument; do
    case $argument in
    --path=*) path=${argument#*=} ;;
    --rootfs=*) root=${argument#*=} ;;
    *) last=$argument ;;
    esac
done
mkdir -p "$root/etc"
echo "$$" >"$root/etc/maker"
case $last in
fail) echo "out of luck" >&2; exit 3 ;;
invalid) echo "lxc.nonsense = 1" >"$path/config" ;;
hang) touch "$path/begun"; exec sleep 60 ;;
[0-9]*) sleep "$last" ;;
esac
touch "$root/etc/whole"
"""


@pytest.fixture
def template(tmp_path: Path) -> str:
    path = tmp_path / "template"
    path.write_text(TEMPLATE)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def name(own_path: str, new_name: Callable[[], str]) -> Iterator[str]:
    name = new_name()
    yield name
    shutil.rmtree(Path(own_path, name), ignore_errors=True)
    remove_cgroups(name)


def tree(directory: Path) -> dict[str, bytes | None]:
    """All that is below a directory, with the content of files."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


# --- Another creator ------------------------------------------------------------------


@pytest.mark.parametrize("touched", [False, True])
def test_a_handle_that_is_older_than_the_container_does_not_replace_it(
    own_path: str, name: str, template: str, touched: bool
) -> None:
    mine, other = (lxc.Container(name, own_path) for _ in range(2))
    if touched:  # it has a configuration of its own then
        assert mine.set_config_item("lxc.uts.name", "mine")
    assert other.create(template, QUIET)
    before = tree(Path(own_path))
    assert mine.create(template, QUIET) is False
    assert isinstance(mine.last_error, lxc.AlreadyExists)
    assert "root filesystem already" in str(mine.last_error)
    assert tree(Path(own_path)) == before


def test_a_handle_of_a_container_that_another_one_destroyed_creates_anew(
    own_path: str, name: str, template: str
) -> None:
    mine = lxc.Container(name, own_path)
    assert mine.create(template, QUIET)
    assert lxc.Container(name, own_path).destroy()
    assert mine.create(template, QUIET)
    assert Path(own_path, name, "rootfs/etc/whole").exists()


CREATOR = """
import sys, time, lxc
name, path, template, moment = sys.argv[1:]
container = lxc.Container(name, path)
print("open", flush=True)
sys.stdin.readline()
time.sleep(float(moment))
made = container.create(template, lxc.LXC_CREATE_QUIET, ["0.05"])
error = container.last_error
print(made, type(error).__name__, error, flush=True)
"""


def creator(*arguments: str) -> subprocess.Popen[str]:
    """A process with an open handle, which waits for its start."""
    process = subprocess.Popen(
        [sys.executable, "-Ic", CREATOR, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("delay", [0, 0.002, 0.005, 0.02, 0.06])
def test_of_two_processes_one_creates(
    own_path: str, name: str, template: str, delay: float
) -> None:
    pair = [creator(name, own_path, template, str(x)) for x in (0, delay)]
    for process in pair:
        let_go(process)
    said = sorted(process.communicate(timeout=30)[0] for process in pair)
    assert said[1].startswith("True NoneType")
    assert said[0].startswith("False AlreadyExists")
    assert Path(own_path, name, "rootfs/etc/whole").exists()
    assert not Path(own_path, name, "partial").exists()
    assert lxc.Container(name, own_path).defined


def test_of_many_threads_one_creates(own_path: str, name: str, template: str) -> None:
    containers = [lxc.Container(name, own_path) for _ in range(6)]
    containers.append(containers[0])  # and two of them with one object
    results: list[bool] = []

    def create(container: lxc.Container) -> None:
        results.append(container.create(template, QUIET, ["0.05"]))

    threads = [threading.Thread(target=create, args=(c,)) for c in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == [False] * 6 + [True]
    losers = [c.last_error for c in containers[1:-1] if c.last_error is not None]
    assert len(losers) >= 4
    assert all(isinstance(error, lxc.AlreadyExists) for error in losers)
    assert Path(own_path, name, "rootfs/etc/whole").exists()


@pytest.mark.parametrize("delay", [0, 0.003, 0.01, 0.03])
def test_of_lxc_create_and_this_one_creates(
    own_path: str, name: str, template: str, delay: float
) -> None:
    ours = creator(name, own_path, template, str(delay))
    command = ["lxc-create", "-q", "-P", own_path, "-n", name, "-t", template]
    theirs = subprocess.Popen(
        [*command, "--", "0.05"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    let_go(ours)
    said = ours.communicate(timeout=30)[0]
    assert (said.startswith("True"), theirs.wait(30) == 0) in (
        (True, False),
        (False, True),
    )
    assert said.startswith(("True NoneType", "False AlreadyExists"))
    assert Path(own_path, name, "rootfs/etc/whole").exists()


def test_a_marker_that_nobody_holds_is_named(
    own_path: str, name: str, template: str
) -> None:
    directory = Path(own_path, name)
    directory.mkdir()
    directory.joinpath("partial").touch(0o000)
    container = lxc.Container(name, own_path)
    assert container.create(template, QUIET) is False
    assert isinstance(container.last_error, lxc.AlreadyExists)
    assert str(directory / "partial") in str(container.last_error)
    assert list(tree(directory)) == ["partial"]


# --- What was there before ------------------------------------------------------------


@pytest.fixture
def inhabited(own_path: str, name: str) -> Path:
    """A container's directory with files of its user's."""
    directory = Path(own_path, name)
    (directory / "notes").mkdir(parents=True)
    (directory / "notes/keep").write_text("mine")
    (directory / "README").write_text("mine, too")
    return directory


@pytest.mark.parametrize("word", ["fail", "invalid"])
@pytest.mark.parametrize("defined", [False, True])
def test_a_failure_leaves_what_the_directory_had(
    inhabited: Path, template: str, word: str, defined: bool
) -> None:
    container = lxc.Container(inhabited.name, str(inhabited.parent))
    if defined:
        assert container.set_config_item("lxc.uts.name", "before")
        assert container.save_config()
    before = tree(inhabited)
    assert container.create(template, QUIET, [word]) is False
    assert tree(inhabited) == before
    assert os.listdir(inhabited.parent) == [inhabited.name]
    if defined:
        assert container.get_config_item("lxc.uts.name") == "before"
    assert container.create(template, QUIET)
    assert {**tree(inhabited), **before}.keys() == tree(inhabited).keys()
    assert (inhabited / "notes/keep").read_text() == "mine"


def test_what_is_in_memory_stays_after_a_failure(
    own_path: str, name: str, template: str
) -> None:
    container = lxc.Container(name, own_path)
    assert container.set_config_item("lxc.uts.name", "unsaved")
    assert container.create(template, QUIET, ["fail"]) is False
    assert container.get_config_item("lxc.uts.name") == "unsaved"
    assert os.listdir(own_path) == []
    assert container.create(template, QUIET)
    fresh = lxc.Container(name, own_path)
    assert fresh.get_config_item("lxc.uts.name") == "unsaved"
    assert "lxc.rootfs.managed" not in Path(own_path, name, "config").read_text()


def test_a_directory_may_be_a_symlink(
    tmp_path: Path, own_path: str, name: str, template: str
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "mine").touch()
    Path(own_path, name).symlink_to(real)
    container = lxc.Container(name, own_path)
    assert container.create(template, QUIET, ["fail"]) is False
    assert list(tree(real)) == ["mine"]
    assert container.create(template, QUIET)
    assert (real / "rootfs/etc/whole").exists()
    assert (real / "mine").exists()
    assert Path(own_path, name).is_symlink()
    assert os.listdir(own_path) == [name]


def test_a_directory_may_be_a_mount_point(
    tmp_path: Path, own_path: str, name: str, template: str
) -> None:
    directory, source = Path(own_path, name), tmp_path / "source"
    directory.mkdir()
    source.mkdir()
    (source / "mine").touch()
    paths = str(source).encode(), str(directory).encode()
    assert libc.mount(*paths, None, MS_BIND, None) == 0
    try:
        container = lxc.Container(name, own_path)
        assert container.create(template, QUIET, ["fail"]) is False
        assert list(tree(source)) == ["mine"]
        assert container.create(template, QUIET)
        assert (source / "rootfs/etc/whole").exists()
        assert (source / "mine").exists()
        assert os.listdir(own_path) == [name]
    finally:
        assert libc.umount2(paths[1], 2) == 0


@pytest.mark.parametrize("defined", [False, True])
def test_half_a_container_is_none_after_sigkill_of_the_caller(
    inhabited: Path, template: str, defined: bool
) -> None:
    name, path = inhabited.name, str(inhabited.parent)
    if defined:
        assert lxc.Container(name, path).save_config()
    before = tree(inhabited)
    program = (
        "import lxc, sys\n"
        "lxc.Container(*sys.argv[1:3]).create(sys.argv[3], 1, ['hang'])"
    )
    process = subprocess.Popen([sys.executable, "-Ic", program, name, path, template])
    wait_until((inhabited / "begun").exists)
    maker = int((inhabited / "rootfs/etc/maker").read_text())
    creator = parent_of(maker)
    process.kill()
    process.wait(10)
    os.kill(maker, signal.SIGKILL)
    wait_until(lambda: not alive(creator))
    (inhabited / "begun").unlink()
    assert tree(inhabited) == before
    assert lxc.Container(name, path).create(template, QUIET)


@pytest.mark.parametrize("victim", ["caller", "all"])
def test_sigkill_in_the_middle_leaves_files_where_they_were(
    inhabited: Path, template: str, victim: str
) -> None:
    name, path = inhabited.name, str(inhabited.parent)
    program = (
        "import lxc, sys\n"
        "lxc.Container(*sys.argv[1:3]).create(sys.argv[3], 1, ['hang'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-Ic", program, name, path, template], start_new_session=True
    )
    wait_until((inhabited / "begun").exists)
    maker = int((inhabited / "rootfs/etc/maker").read_text())
    creators = [process.pid, parent_of(maker), maker]
    for pid in creators[: 1 if victim == "caller" else 3]:
        os.kill(pid, signal.SIGKILL)
    process.wait(10)
    assert os.listdir(path) == [name]
    assert (inhabited / "notes/keep").read_text() == "mine"
    if victim == "caller":
        os.kill(maker, signal.SIGKILL)
        wait_until(lambda: not (inhabited / "partial").exists())
        assert (inhabited / "notes/keep").read_text() == "mine"
        assert (inhabited / "README").read_text() == "mine, too"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_failure_with_a_hook_for_the_end_returns(
    own_path: str, name: str, template: str
) -> None:
    """liblxc forks for the hook with the handle locked."""
    container = lxc.Container(name, own_path)
    assert container.set_config_item("lxc.hook.destroy", "/bin/true")
    assert container.create(template, QUIET, ["fail"]) is False
    assert os.listdir(own_path) == []


# --- Another directory for the root filesystem ----------------------------------------


def test_a_failure_leaves_the_directory_that_was_to_be_the_root(
    tmp_path: Path, own_path: str, name: str, template: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "mine").write_text("mine")
    container = lxc.Container(name, own_path)
    specs = {"dir": str(root)}
    assert not container.create(template, QUIET, ["fail"], bdev_specs=specs)
    assert tree(root) == {"mine": b"mine"}
    assert os.listdir(own_path) == []
    assert container.create(template, QUIET, bdev_specs=specs)
    assert sorted(os.listdir(root)) == ["etc", "mine"]


def test_a_directory_that_a_failed_create_made_is_gone(
    tmp_path: Path, own_path: str, name: str, template: str
) -> None:
    container = lxc.Container(name, own_path)
    specs = {"dir": str(tmp_path / "new")}
    assert not container.create(template, QUIET, ["fail"], bdev_specs=specs)
    assert not (tmp_path / "new").exists()
    assert os.listdir(own_path) == []


def test_a_relative_directory_is_made_absolute(
    tmp_path: Path,
    own_path: str,
    name: str,
    template: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there/root").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    container = lxc.Container(name, own_path)
    assert container.create(template, QUIET, bdev_specs={"dir": "root"})
    root = tmp_path / "here/root"
    assert container.get_config_item("lxc.rootfs.path").endswith(str(root))
    monkeypatch.chdir(tmp_path / "there")
    assert container.destroy()
    assert not root.exists()
    assert (tmp_path / "there/root").exists()


# --- What a template says -------------------------------------------------------------


def noisy(tmp_path: Path, body: str) -> str:
    path = tmp_path / "noisy"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_the_words_of_a_template_are_the_reason(
    tmp_path: Path, own_path: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    body = "echo first; echo second >&2; sleep 0.05; echo at last; exit 4"
    container = lxc.Container(name, own_path)
    assert container.create(noisy(tmp_path, body), QUIET) is False
    error = container.last_error
    assert error is not None
    assert "the template 'noisy' failed: " in str(error)
    assert str(error).endswith("failed: second")  # what it said on stderr
    texts = {m.text for m in error.messages if m.category == "template"}
    assert texts == {"first", "second", "at last"}
    assert capfd.readouterr() == ("", "")


def test_what_a_template_says_goes_on_to_the_caller(
    tmp_path: Path, own_path: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    body = "echo output; echo complaint >&2; cat; head -c 300000 /dev/zero; exit 1"
    container = lxc.Container(name, own_path)
    assert container.create(noisy(tmp_path, body)) is False
    out, err = capfd.readouterr()
    assert out == "output\n" + "\0" * 300000
    assert err == "complaint\n"


def test_a_process_that_a_template_leaves_is_not_waited_for(
    tmp_path: Path, own_path: str, name: str
) -> None:
    pid = tmp_path / "pid"
    body = f"sleep 60 & echo $! >{pid}; echo gone; exit 1"
    container = lxc.Container(name, own_path)
    begin = time.monotonic()
    assert container.create(noisy(tmp_path, body), QUIET) is False
    assert time.monotonic() - begin < 20
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert str(container.last_error).endswith("gone")


@pytest.mark.parametrize("flags", [0, QUIET])
def test_a_template_may_ask_at_a_terminal(
    tmp_path: Path, own_path: str, name: str, flags: int
) -> None:
    template = noisy(tmp_path, f"test -t 0 && test -t 1 && touch {tmp_path}/asked")
    pid, terminal = pty.fork()
    if pid == 0:
        lxc.Container(name, own_path).create(template, flags)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
    assert (tmp_path / "asked").exists() == (flags == 0)


def test_create_bare_needs_no_template(own_path: str, name: str) -> None:
    assert create_bare(name, own_path).defined


# --- Signals, descriptors and streams while it runs -----------------------------------

INTERRUPTED = """
import os, signal, sys, threading, time, lxc
from pathlib import Path
name, path, template = sys.argv[1:]
directory = Path(path, name)
def interrupt():
    while not (directory / "begun").exists():
        time.sleep(0.005)
    print(*(directory / "rootfs/pids").read_text().split())
    print(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
container = lxc.Container(name, path)
before = os.listdir("/proc/self/fd")
try:
    container.create(template, lxc.LXC_CREATE_QUIET)
except KeyboardInterrupt:
    print(time.monotonic(), os.listdir("/proc/self/fd") == before)
print(container.defined, container.create("/bin/true", lxc.LXC_CREATE_QUIET))
"""

# What it starts is in another session, ignores signals, and has lost its parent.
STUBBORN = """
for argument; do
    case $argument in
    --path=*) path=${argument#*=} ;;
    --rootfs=*) root=${argument#*=} ;;
    esac
done
trap '' INT TERM
(setsid sleep 300 & echo $! >>"$root/pids")
sleep 300 &
echo $! $$ >>"$root/pids"
touch "$path/begun"
wait
"""


@pytest.mark.parametrize("defined", [False, True])
def test_ctrl_c_ends_the_template_and_takes_back_what_was_made(
    tmp_path: Path, own_path: str, name: str, defined: bool
) -> None:
    directory = Path(own_path, name)
    if defined:
        directory.mkdir()
        (directory / "mine").write_text("mine")
        assert lxc.Container(name, own_path).save_config()
    before = tree(Path(own_path))
    template = noisy(tmp_path, STUBBORN)
    ended = subprocess.run(
        [sys.executable, "-Ic", INTERRUPTED, name, own_path, template],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.stderr == ""
    pids, begin, end, last = ended.stdout.splitlines()
    assert len(pids.split()) == 3
    assert not any(alive(int(pid)) for pid in pids.split())
    raised, tidy = end.split()
    assert float(raised) - float(begin) < 0.2
    assert tidy == "True"
    # It can be made afterwards, and is not in its own way.
    assert last == f"{defined} True"
    shutil.rmtree(directory / "rootfs")
    if defined:
        assert tree(Path(own_path)).keys() == before.keys()
        assert (directory / "mine").read_text() == "mine"


def test_what_creates_holds_no_descriptors_of_the_caller(
    tmp_path: Path, own_path: str, name: str
) -> None:
    """Nor does the template, but for those that it can inherit."""
    body = f"sleep 0.2; ls -l /proc/$PPID/fd /proc/$$/fd >{tmp_path}/fds; exit 1"
    container = lxc.Container(name, own_path)
    log = tmp_path / "log"
    assert container.set_config_item("lxc.log.file", str(log))
    (tmp_path / "given").touch()
    with open(tmp_path / "secret", "w"), open(tmp_path / "given") as given:
        os.set_inheritable(given.fileno(), True)
        reader, writer = os.pipe()
        inode = os.fstat(writer).st_ino
        assert container.create(noisy(tmp_path, body), QUIET) is False
        os.close(reader)
        os.close(writer)
    creator, _, own = (tmp_path / "fds").read_text().partition("\n\n")
    assert f"pipe:[{inode}]" not in creator + own
    assert "/secret" not in creator + own
    assert "/given" in own
    assert "/given" not in creator
    assert "/log" in creator  # liblxc writes to it


def test_a_chatty_process_that_a_template_leaves_is_not_waited_for(
    tmp_path: Path, own_path: str, name: str
) -> None:
    pid = tmp_path / "pid"
    body = f"yes & echo $! >{pid}; sleep 0.1; exit 1"
    container = lxc.Container(name, own_path)
    begin = time.monotonic()
    assert container.create(noisy(tmp_path, body), QUIET) is False
    assert time.monotonic() - begin < 10
    wait_until(lambda: not alive(int(pid.read_text())))  # nobody reads it any more


BLOCKED = """
import signal, sys, threading, time, os, lxc
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    lxc.Container(*sys.argv[1:3]).create(sys.argv[3])
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
"""


def test_ctrl_c_is_answered_where_nobody_reads_the_output(
    tmp_path: Path, own_path: str, name: str
) -> None:
    template = noisy(tmp_path, "head -c 1000000 /dev/zero")
    command = [sys.executable, "-Ic", BLOCKED, name, own_path, template]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.read() == b"interrupted\n"
    assert os.listdir(own_path) == []


def test_output_goes_on_as_it_comes(tmp_path: Path, own_path: str, name: str) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    template = noisy(tmp_path, f"echo first; read line <{go}; echo second; exit 1")
    program = (
        "import lxc, sys; print('before', end=' '); "
        "print(lxc.Container(*sys.argv[1:3]).create(sys.argv[3]))"
    )
    with subprocess.Popen(
        [sys.executable, "-Ic", program, name, own_path, template],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "before first\n"
        go.write_text("on\n")
        assert process.stdout.read() == "second\nFalse\n"


def test_a_process_forked_meanwhile_does_not_keep_the_lock(
    tmp_path: Path, own_path: str, name: str, template: str
) -> None:
    container = lxc.Container(name, own_path)
    results: list[bool] = []
    thread = threading.Thread(
        target=lambda: results.append(container.create(template, QUIET, ["0.3"]))
    )
    thread.start()
    wait_until(Path(own_path, name, "rootfs/etc/maker").exists)
    worker = subprocess.Popen(["sleep", "60"], close_fds=False)
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    try:
        thread.join()
        assert results == [True]
        assert container.destroy()
        assert container.create(template, QUIET), container.last_error
    finally:
        worker.kill()
        worker.wait()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_an_empty_directory_is_kept_as_it_is(
    tmp_path: Path, own_path: str, name: str, template: str
) -> None:
    root, directory = tmp_path / "root", Path(own_path, name)
    for made in (root, directory):
        made.mkdir(0o2750)
        os.chown(made, 1234, 1234)
        made.chmod(0o2750)
    before = [made.stat().st_ino for made in (root, directory)]
    container = lxc.Container(name, own_path)
    specs = {"dir": str(root)}
    assert not container.create(template, QUIET, ["fail"], bdev_specs=specs)
    for made, number in zip((root, directory), before):
        assert (made.stat().st_ino, os.listdir(made)) == (number, [])
    assert directory.stat().st_uid == 1234
    assert directory.stat().st_mode & 0o7777 == 0o2750


def test_the_marker_is_locked_as_long_as_the_template_runs(
    own_path: str, name: str, template: str
) -> None:
    """Others that create it, with whatever program, see that."""
    container = lxc.Container(name, own_path)
    thread = threading.Thread(
        target=lambda: container.create(template, QUIET, ["hang"]), daemon=True
    )
    given = os.dup(0)
    os.set_inheritable(given, True)
    thread.start()
    directory = Path(own_path, name)
    wait_until((directory / "begun").exists)
    time.sleep(0.1)
    number = os.stat(directory / "partial").st_ino
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    assert [x[3] for x in locks if x[-3].endswith(f":{number}")] == ["WRITE"]
    os.kill(int((directory / "rootfs/etc/maker").read_text()), signal.SIGKILL)
    thread.join(10)
    os.close(given)
    assert os.listdir(own_path) == []


def test_what_a_template_leaves_may_end_at_any_time(
    tmp_path: Path, own_path: str, name: str
) -> None:
    """That is not the template's own end, nor its failure."""
    body = """
    for argument; do
        case $argument in
        --path=*) path=${argument#*=} ;;
        --rootfs=*) root=${argument#*=} ;;
        esac
    done
    cp "$path/config" "$root/config"
    echo "lxc.nonsense = 1" >"$path/config"
    (sh -c 'sleep 0.05; exit 3' &)
    (sleep 0.1 &)
    sleep 0.3
    cp "$root/config" "$path/config"
    """
    Path(own_path, name).mkdir()
    container = lxc.Container(name, own_path)
    assert container.create(noisy(tmp_path, body), QUIET), container.last_error
    assert container.defined
    assert not Path(own_path, name, "partial").exists()


# --- Clones, and other calls that make a container ------------------------------------


@pytest.fixture
def origin(own_path: str, new_name: Callable[[], str], tmp_path: Path) -> lxc.Container:
    """Its clones fail at the last moment, in a hook, where there is a file "fail"."""
    container = create_bare(new_name(), own_path)
    assert container.snapshot() == "snap0"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntest ! -e {tmp_path}/fail\n")
    hook.chmod(0o755)
    for config in Path(own_path).rglob("config"):
        with config.open("a") as file:
            file.write(f"lxc.hook.clone = {hook}\n")
    return lxc.Container(container.name, own_path)


CLONES: dict[str, Callable[[lxc.Container, str], object]] = {
    "clone": lambda origin, name: origin.clone(name),
    "rename": lambda origin, name: origin.rename(name),
    "snapshot_restore": lambda origin, name: origin.snapshot_restore("snap0", name),
}


@pytest.mark.parametrize("what", CLONES)
def test_a_clone_leaves_what_the_directory_had(
    origin: lxc.Container, name: str, what: str
) -> None:
    path = origin.get_config_path()
    if what == "rename":
        assert origin.snapshot_destroy("snap0")
    directory = Path(path, name)
    directory.mkdir()
    (directory / "mine").write_text("mine")
    before = tree(Path(path))
    assert CLONES[what](origin, name) is False
    assert isinstance(origin.last_error, lxc.AlreadyExists)
    assert f"{directory} is there already, and is not empty" in str(origin.last_error)
    assert tree(Path(path)) == before


@pytest.mark.parametrize("what", CLONES)
@pytest.mark.parametrize("there", [False, True])
def test_a_clone_that_fails_leaves_nothing(
    origin: lxc.Container, name: str, tmp_path: Path, what: str, there: bool
) -> None:
    path = origin.get_config_path()
    if what == "rename":
        assert origin.snapshot_destroy("snap0")
    directory = Path(path, name)
    if there:  # an empty directory, made for it
        directory.mkdir()
        os.chown(directory, 1234, 1234)
        directory.chmod(0o2750)
    (tmp_path / "fail").touch()
    before = tree(Path(path))
    assert CLONES[what](origin, name) is False
    assert tree(Path(path)) == before
    if there:
        assert directory.stat().st_uid == 1234
        assert directory.stat().st_mode & 0o7777 == 0o2750
    (tmp_path / "fail").unlink()
    assert CLONES[what](origin, name)
    assert lxc.Container(name, path).defined


SNAPSHOT = """
import sys, lxc
container = lxc.Container(*sys.argv[1:])
print("open", flush=True)
sys.stdin.readline()
print(container.snapshot(), container.last_error)
"""


def test_snapshots_are_made_one_after_the_other(
    own_path: str, new_name: Callable[[], str]
) -> None:
    """Of two at once liblxc lets one fail."""
    container = create_bare(new_name(), own_path)
    for _ in range(4):
        processes = [
            subprocess.Popen(
                [sys.executable, "-Ic", SNAPSHOT, container.name, own_path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
        for process in processes:
            let_go(process)
        said = {process.communicate(timeout=30)[0] for process in processes}
        assert said == {f"snap{n} None\n" for n in range(4)}
        container.snapshot_destroy_all()


# --- What it needs --------------------------------------------------------------------

# Without a network, and without the programs that are named.
BARE = """
import ctypes, os, shutil, sys, lxc
libc = ctypes.CDLL(None)
assert libc.unshare(0x40000000 | 0x20000) == 0  # CLONE_NEWNET, CLONE_NEWNS
assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0  # MS_PRIVATE
name, path, template, hidden, *args = sys.argv[1:]
if hidden and (program := shutil.which(hidden)):
    assert libc.mount(b"/dev/null", program.encode(), None, 4096, None) == 0
container = lxc.Container(name, path)
assert container.create(template, lxc.LXC_CREATE_QUIET, args) is False
print(container.last_error)
"""
CAUSES = {
    "no network": (
        ["download", "", "--dist=alpine", "--release=3.20", "--arch=amd64"],
        "Failed to download",
    ),
    "no debootstrap": (["debian", "debootstrap"], "debootstrap: not found"),
    "no busybox": (["busybox", "busybox"], "busybox binary"),
    "wrong argument": (["busybox", "", "--nonsense"], "option '--nonsense'"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_missing_is_told(own_path: str, name: str, cause: str) -> None:
    words, text = CAUSES[cause]
    if not Path(f"/usr/share/lxc/templates/lxc-{words[0]}").exists():
        pytest.skip(f"there is no template {words[0]}")
    ended = subprocess.run(
        [sys.executable, "-Ic", BARE, name, own_path, *words],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.stderr == ""
    assert f"the template {words[0]!r} failed: " in ended.stdout
    assert text in ended.stdout
    assert os.listdir(own_path) == []
