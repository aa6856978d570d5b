# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls that the launcher makes: the same answers, and nothing of the caller kept."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import start_and_settle
from support import LIBLXC, Program, alive, monitor_of, run, shell, wait_until

import lxc
from lxc import _lxc

pytestmark = pytest.mark.containers

ALWAYS, NEVER = 0, 1 << 60
MIB = 1 << 20

launcher = _lxc._launcher()


@pytest.fixture(params=[ALWAYS, NEVER], ids=["launcher", "process"])
def either(request: pytest.FixtureRequest) -> Iterator[int]:
    """Each of the two ways, whatever the size of this process."""
    with heap(request.param):
        yield request.param


@contextlib.contextmanager
def heap(size: int) -> Iterator[None]:
    """The launcher makes the calls from that heap on."""
    _lxc._launcher(size)
    yield
    _lxc._launcher(int(os.environ.get("LXC_TESTS_HEAP", 16 * MIB)))


def test_launcher_is_an_executable_beside_the_extension() -> None:
    assert launcher is not None
    assert Path(launcher).parent == Path(lxc.__file__).parent
    assert stat.S_IMODE(os.stat(launcher).st_mode) & 0o111 == 0o111


def test_launcher_says_what_it_is_when_it_is_started_by_hand() -> None:
    done = subprocess.run([launcher], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "This program is started by Python's lxc package.\n"


# --- Which way ------------------------------------------------------------------------

WAY = """
size = int(sys.argv[1])
block = bytearray(size)
for i in range(0, size, 4096):
    block[i] = 1
report(c.attach_wait(lxc.attach_run_command, ["sleep", "0.7"]))
"""


def launchers_of(pid: int) -> list[int]:
    """The children of a process that are launchers."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if "launcher" in os.readlink(f"/proc/{child}/exe"):
                found.append(int(child))
    return found


@pytest.mark.parametrize(("size", "used"), [(0, False), (64 * MIB, True)])
def test_a_large_process_uses_it_and_a_small_one_does_not(
    shared: lxc.Container, size: int, used: bool
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "LXC_TESTS_HEAP"}
    with Program(shared, WAY, str(size), env=environment) as program:
        seen = wait_until(lambda: launchers_of(program.process.pid), 3 if used else 0.6)
        assert program.next() == 0
        program.finish()
    assert bool(seen) is used


def test_it_runs_from_a_sealed_memory_file(shared: lxc.Container) -> None:
    with Program(shared, "lxc._lxc._launcher(0)\n" + WAY, "0") as program:
        (child,) = wait_until(lambda: launchers_of(program.process.pid))
        with open(f"/proc/{child}/exe", "rb") as file:
            seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
            content = file.read()
        assert program.next() == 0
        program.finish()
    assert seals & fcntl.F_SEAL_WRITE
    assert seals & fcntl.F_SEAL_SEAL
    assert launcher is not None
    assert content == Path(launcher).read_bytes()


def copy_of_package(directory: Path) -> tuple[Path, str]:
    """A copy of the installed package, and what makes a program use that."""
    package = directory / "lxc"
    shutil.copytree(Path(lxc.__file__).parent, package)
    forget = '[sys.modules.pop(n) for n in list(sys.modules) if n.split(".")[0] in '
    forget += '("lxc", "_lxc")]'
    return package, f"sys.path.insert(0, {str(directory)!r}); {forget}; import lxc"


def test_a_package_without_it_works_in_the_process(
    shared: lxc.Container, stopped: lxc.Container, tmp_path: Path
) -> None:
    package, take_it = copy_of_package(tmp_path)
    (package / "launcher").unlink()
    program = f"""
    {take_it}
    assert lxc.__file__.startswith({str(tmp_path)!r})
    assert lxc._lxc._launcher(0) is None
    c = lxc.Container(c.name, c.get_config_path())
    report(c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 3"]))
    """
    assert run(shared, program) == 3 << 8


def test_a_launcher_that_cannot_be_executed_is_done_without(
    shared: lxc.Container, tmp_path: Path
) -> None:
    # One that was built for another extension, or for another machine.
    package, take_it = copy_of_package(tmp_path)
    (package / "launcher").write_bytes(b"\x7fELF nonsense")
    program = f"""
    {take_it}
    assert lxc._lxc._launcher(0) is not None
    c = lxc.Container(c.name, c.get_config_path())
    report(c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 3"]))
    """
    assert run(shared, program) == 3 << 8


def test_a_launcher_that_ends_before_it_begins_is_done_without(
    shared: lxc.Container, stopped: lxc.Container, tmp_path: Path
) -> None:
    # One that does not find liblxc, for instance.
    package, take_it = copy_of_package(tmp_path)
    shutil.copy("/bin/false", package / "launcher")
    program = f"""
    {take_it}
    assert lxc._lxc._launcher(0) is not None
    c = lxc.Container(c.name, c.get_config_path())
    other = lxc.Container({stopped.name!r}, c.get_config_path())
    report([
        c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 3"]),
        other.start(),
        other.running,
    ])
    """
    assert run(shared, program) == [3 << 8, True, True]


# --- The configuration ----------------------------------------------------------------


def set_and_clear(c: lxc.Container) -> None:
    c.set_config_item("lxc.environment", ["A=1", "B=2"])
    c.append_config_item("lxc.environment", "C=3")
    c.set_config_item("lxc.environment", ["D=4", "E=with spaces\tand more"])
    c.clear_config_item("lxc.cap.drop")
    c.set_config_item("lxc.prlimit.nofile", "321")


def refused(c: lxc.Container) -> None:
    c.set_config_item("lxc.environment", ["A=1", "B=2"])
    assert not c.set_config_item("lxc.net.0.type", "nonsense")
    assert not c.append_config_item("lxc.no.such", "x")


def forget_and_load(c: lxc.Container) -> None:
    c.append_config_item("lxc.environment", "GONE=1")
    c.clear_config()
    c.append_config_item("lxc.environment", "BEFORE=1")
    c.load_config()
    c.append_config_item("lxc.environment", "AFTER=1")


def load_twice(c: lxc.Container) -> None:
    c.append_config_item("lxc.environment", "ONE=1")
    assert c.load_config()


def load_another(c: lxc.Container) -> None:
    path = Path(c.get_config_path(), c.name, "more")
    path.write_text("lxc.environment = MORE=1\n")
    assert c.load_config(str(path))
    path.unlink()


def save_in_between(c: lxc.Container) -> None:
    c.append_config_item("lxc.environment", "SAVED=1")
    assert c.save_config()
    c.append_config_item("lxc.environment", "UNSAVED=1")


def changed_by_others(c: lxc.Container) -> None:
    c.append_config_item("lxc.environment", "MINE=1")
    with open(c.config_file_name, "a") as file:
        file.write("lxc.environment = THEIRS=1\n")


def many(c: lxc.Container) -> None:
    for number in range(3000):
        c.append_config_item("lxc.environment", f"N{number}={'x' * 30}")


def again_and_again(c: lxc.Container) -> None:
    for number in range(3000):
        assert c.set_config_item("lxc.environment", [f"A={number}", "B=1"])
        assert c.set_config_item("lxc.prlimit.nofile", str(300 + number % 7))


def clear_what_is_included_and_save(c: lxc.Container) -> None:
    assert c.clear_config_item("lxc.cap.drop")
    assert c.save_config()


def include_and_clear(c: lxc.Container) -> None:
    path = Path(c.get_config_path(), c.name, "included")
    path.write_text("lxc.environment = INCLUDED=1\n")
    assert c.append_config_item("lxc.include", str(path))
    c.clear_config_item("lxc.include")


def moved_elsewhere(c: lxc.Container) -> None:
    c.append_config_item("lxc.environment", "BEFORE=1")
    path = c.get_config_path()
    assert c.set_config_path(f"{path}/none")
    c.append_config_item("lxc.environment", "AFTER=1")
    assert c.set_config_path(path)


def refused_file(c: lxc.Container) -> None:
    path = Path(c.get_config_path(), c.name, "broken")
    path.write_text("lxc.environment = TAKEN=1\nlxc.nonsense = 1\n")
    assert not c.load_config(path)


CHANGES = [
    moved_elsewhere,
    refused_file,
    clear_what_is_included_and_save,
    include_and_clear,
    again_and_again,
    set_and_clear,
    refused,
    forget_and_load,
    load_twice,
    load_another,
    save_in_between,
    changed_by_others,
    many,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_handle_has_in_memory_counts_for_a_command(
    make: Callable[..., lxc.Container], change: Callable[[lxc.Container], None]
) -> None:
    found = []
    for size in (ALWAYS, NEVER):
        container = make(start=True)
        change(container)
        with heap(size):
            status, out, _ = shell(
                container,
                "env | sort | tail -n 40; ulimit -n; grep CapB /proc/self/status",
                env_policy=lxc.LXC_ATTACH_CLEAR_ENV,
            )
        assert status == 0
        found.append(out)
    assert found[0] == found[1]


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_handle_has_in_memory_counts_for_a_start(
    make: Callable[..., lxc.Container], change: Callable[[lxc.Container], None]
) -> None:
    keys = ("lxc.environment", "lxc.cap.drop", "lxc.prlimit.nofile", "lxc.net")
    found = []
    for size in (ALWAYS, NEVER):
        container = make()
        change(container)
        with heap(size):
            assert container.start()
        values = [container.get_running_config_item(key) for key in keys]
        found.append(values)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "change",
    [again_and_again, changed_by_others, load_another, many, refused, refused_file],
)
def test_what_the_handle_has_in_memory_counts_for_run(
    make: Callable[..., lxc.Container], change: Callable[[lxc.Container], None]
) -> None:
    # run() has no fork to fall back on.
    container = make(start=True)
    change(container)
    own = "^(PATH|HOME|USER|LOGNAME|SHELL|TERM)="
    script = f"env | grep -vE '{own}' | sort | tail -n 40; ulimit -n"
    with heap(NEVER):
        expected = shell(container, script, env_policy=lxc.LXC_ATTACH_CLEAR_ENV).out
    for _ in range(2):
        done = container.run(["sh", "-c", script], capture_output=True, text=True)
        assert done.stdout == expected


def test_a_container_that_was_never_saved_starts(
    stopped: lxc.Container, new_name: Callable[[], str], own_path: str, either: int
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.load_config(stopped.config_file_name)
    name = f"lxc.rootfs.path = dir:{own_path}"
    assert not container.defined, name
    assert container.start()
    assert container.running
    assert container.stop()


def test_a_pattern_of_an_address_is_what_the_handle_says(
    make: Callable[..., lxc.Container], either: int
) -> None:
    container = make(network=True)
    with open(container.config_file_name, "a") as file:
        file.write("lxc.net.0.hwaddr = 00:16:3e:xx:xx:xx\n")
    again = lxc.Container(container.name, container.get_config_path())
    address = again.network[0].hwaddr
    again.network[0].hwaddr = address
    assert again.start()
    found = Path(f"/proc/{again.init_pid}/root/sys/class/net/eth0/address")
    if not found.exists():
        status, out, _ = shell(again, "ip link show eth0 || ifconfig eth0")
        assert status == 0
        assert address.lower() in out.lower()
    else:
        assert found.read_text().strip() == address


def test_a_file_that_changes_all_the_time_is_no_obstacle(
    running: lxc.Container,
) -> None:
    # The launcher finds another file than the handle has read: then a fork makes the
    # call, which knows what the handle has in memory.
    script = f"""
import os
path = {running.config_file_name!r}
with open(path) as file:
    text = file.read()
while True:
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)
"""
    writer = subprocess.Popen([sys.executable, "-c", script])
    try:
        with heap(ALWAYS):
            for number in range(40):
                container = lxc.Container(running.name, running.get_config_path())
                command = ["sh", "-c", f"exit {number}"]
                status = container.attach_wait(lxc.attach_run_command, command)
                assert status == number << 8
    finally:
        writer.kill()
        writer.wait()


# --- The caller of that moment --------------------------------------------------------


def test_it_has_the_callers_surroundings(shared: lxc.Container) -> None:
    program = """
    import resource
    lxc._lxc._launcher(0)
    os.environ["SET_LATER"] = "yes"
    os.chdir("/tmp")
    os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    os.nice(3)
    reader, writer = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 50) for fd in os.pipe())
    found = []
    for number in (3, 4, 9):
        os.dup2(writer, number, inheritable=True)
        found.append(shell(c, f"echo given >&{number}").status)
    script = "echo $SET_LATER; pwd; umask; ulimit -n; cut -d' ' -f19 /proc/self/stat"
    report([found, os.read(reader, 100).decode(), shell(c, script).out.split()])
    """
    found, given, out = run(shared, program)
    assert found == [0, 0, 0]
    assert given == "given\n" * 3
    assert out == ["yes", "/tmp", "0027", "200", "3"]


def test_signals_are_as_a_new_program_expects(shared: lxc.Container) -> None:
    program = """
    lxc._lxc._launcher(0)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
    status, out, err = command(c, "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    report([status, out.split()[1::2]])
    """
    status, masks = run(shared, program)
    assert status == 0
    assert [int(mask, 16) for mask in masks] == [0, 0]


# --- Ends -----------------------------------------------------------------------------

LONG = """
lxc._lxc._launcher(0)
print("begin", flush=True)
report(c.attach_wait(lxc.attach_run_command, ["sleep", sys.argv[1]]))
"""


def processes(container: lxc.Container, *argv: str) -> list[int]:
    """The processes on the host with that command line in the container's namespace."""
    wanted = "\0".join(argv) + "\0"
    namespace = os.readlink(f"/proc/{container.init_pid}/ns/pid")
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and (entry / "cmdline").read_text() == wanted
                and os.readlink(entry / "ns/pid") == namespace
            ):
                found.append(int(entry.name))
    return found


def test_killing_it_kills_the_command(shared: lxc.Container) -> None:
    seconds = "7654.1"
    with Program(shared, LONG, seconds) as program:
        (command,) = wait_until(lambda: processes(shared, "sleep", seconds))
        (child,) = launchers_of(program.process.pid)
        os.kill(child, signal.SIGKILL)
        assert program.next() == -1
        program.finish()
        assert wait_until(lambda: not alive(command))


def test_the_command_outlives_the_caller(shared: lxc.Container) -> None:
    seconds = "7654.2"
    with Program(shared, LONG, seconds) as program:
        (command,) = wait_until(lambda: processes(shared, "sleep", seconds))
        program.process.kill()
        program.process.wait()
        time.sleep(0.3)
        assert alive(command)
        os.kill(command, signal.SIGKILL)
        assert wait_until(lambda: not alive(command))


def test_the_monitor_keeps_nothing_of_the_caller(stopped: lxc.Container) -> None:
    program = """
    block = bytearray(200 << 20)
    for i in range(0, len(block), 4096):
        block[i] = 1
    ok = c.start()
    for i in range(0, len(block), 4096):
        block[i] = 2
    report(ok)
    """
    assert run(stopped, program) is True
    rollup = Path(f"/proc/{monitor_of(stopped)}/smaps_rollup").read_text()
    (kilobytes,) = (
        int(line.split()[1])
        for line in rollup.splitlines()
        if line.startswith("Private_Dirty:")
    )
    assert kilobytes < 1024


def test_a_log_at_level_trace_does_not_grow(
    make: Callable[..., lxc.Container], either: int
) -> None:
    container = make(config={"lxc.log.level": "TRACE"})
    assert container.start()
    monitor = monitor_of(container)

    def logs() -> list[int]:
        sizes = []
        for fd in Path(f"/proc/{monitor}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed in the meantime
                if "lxc-log" in os.readlink(fd):
                    sizes.append(fd.stat().st_size)
        return sizes

    before = logs()
    for _ in range(5):
        assert shell(container, "true").status == 0
    assert logs() == before


# --- Reasons --------------------------------------------------------------------------


def test_a_start_that_fails_says_why(stopped: lxc.Container, either: int) -> None:
    stopped.set_config_item("lxc.net.0.type", "veth")
    stopped.set_config_item("lxc.net.0.link", "no-such-br")
    assert stopped.start() is False
    assert stopped.last_error is not None
    assert "no-such-br" in stopped.last_error.reason


def test_a_command_that_cannot_be_attached_says_why(shared: lxc.Container) -> None:
    with heap(ALWAYS):
        command = (lxc.attach_run_command, ["true"])
        status = shared.attach_wait(*command, namespaces=0)
    if LIBLXC < (5, 0):  # it attaches a command that joins no namespaces
        assert status == 0
        return
    assert status == -1
    assert shared.last_error is not None
    assert "amespace" in shared.last_error.reason


def test_exit_codes_and_signals(shared: lxc.Container, either: int) -> None:
    def status(*command: str) -> int:
        return shared.attach_wait(lxc.attach_run_command, list(command))

    assert status("sh", "-c", "exit 1") == 1 << 8
    assert status("sh", "-c", "exit 127") == 127 << 8
    assert shared.last_error is None or "No such" not in shared.last_error.reason
    assert status("no-such-program") == 127 << 8
    assert shared.last_error is not None
    assert shared.last_error.reason == "no-such-program: No such file or directory"
    assert status("/etc") == 126 << 8
    assert status("sh", "-c", "kill -TERM $$") == signal.SIGTERM


def test_start_and_stop_again(stopped: lxc.Container, either: int) -> None:
    for _ in range(3):
        start_and_settle(stopped)
        assert stopped.stop()
    assert stopped.start(cmd=["/bin/sh", "-c", "exit 7"], daemonize=False)
    assert stopped.error_num == 7
