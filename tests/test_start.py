# SPDX-License-Identifier: LGPL-2.1-or-later
"""start(), in the background and in the foreground."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import (
    Program,
    alive,
    cgroups_of,
    children,
    command,
    descriptors,
    process_status,
    rootfs,
    run,
    shell,
    signal_set,
    signals_of,
    wait_until,
)

import lxc

pytestmark = pytest.mark.containers

INIT = ["/bin/sleep", "1000"]


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]


# --- In the background ----------------------------------------------------------------


def test_start_returns_when_the_container_runs(stopped: lxc.Container) -> None:
    assert stopped.start() is True
    assert stopped.state == "RUNNING"
    assert stopped.running
    assert alive(stopped.init_pid)
    assert stopped.last_error is None


def test_stop_and_start_again(stopped: lxc.Container) -> None:
    for _ in range(3):
        assert stopped.start()
        assert stopped.stop()
        assert stopped.state == "STOPPED"


def test_start_uses_unsaved_configuration(stopped: lxc.Container) -> None:
    saved = Path(stopped.config_file_name).read_text()
    assert stopped.set_config_item("lxc.uts.name", "unsaved")
    assert stopped.start()
    assert command(stopped, "hostname").out == "unsaved\n"
    assert Path(stopped.config_file_name).read_text() == saved


def test_start_forgets_removed_configuration(
    make: Callable[..., lxc.Container],
) -> None:
    container = make(config={"lxc.uts.name": "saved"})
    assert container.clear_config_item("lxc.uts.name")
    assert container.start()
    # Without a name of its own it has the host's.
    assert command(container, "hostname").out == f"{os.uname().nodename}\n"


@pytest.mark.parametrize("sequence", [tuple, list])
def test_start_with_a_command(
    stopped: lxc.Container, sequence: Callable[..., Any]
) -> None:
    assert stopped.start(cmd=sequence(INIT))
    assert wait_until(lambda: command_line(stopped.init_pid) == INIT)


def test_start_by_position(stopped: lxc.Container) -> None:
    assert stopped.start(False, True, False, tuple(INIT))
    assert wait_until(lambda: command_line(stopped.init_pid) == INIT)


@pytest.mark.parametrize("value", [True, 1, "yes", None])
def test_daemonize_is_a_truth_value(stopped: lxc.Container, value: Any) -> None:
    # In the foreground this would not return.
    assert stopped.start(daemonize=value)
    assert stopped.running


def test_start_with_closed_descriptors(stopped: lxc.Container) -> None:
    assert stopped.start(close_fds=True)
    assert stopped.running


def test_start_with_init_of_liblxc(stopped: lxc.Container) -> None:
    assert stopped.start(useinit=True, cmd=("/bin/sleep", "1000"))
    assert wait_until(lambda: "/bin/sleep 1000" in command(stopped, "ps").out)
    assert "sleep" not in command_line(stopped.init_pid)[0]


def test_start_of_a_running_container(shared: lxc.Container) -> None:
    before = cgroups_of(shared.name)
    pid = shared.init_pid
    assert shared.start() is False
    assert "running" in shared.last_error.reason
    assert shared.last_error.container == shared.name
    assert shared.init_pid == pid
    assert cgroups_of(shared.name) == before


@pytest.mark.parametrize("daemonize", [True, False])
def test_start_of_an_undefined_container(
    lxcpath: str, new_name: Callable[[], str], daemonize: bool
) -> None:
    container = lxc.Container(new_name(), lxcpath)
    assert container.start(daemonize=daemonize) is False
    assert "defined" in container.last_error.reason
    assert not container.defined
    assert not Path(lxcpath, container.name).exists()
    assert cgroups_of(container.name) == []


@pytest.mark.parametrize("daemonize", [True, False])
def test_start_that_fails(stopped: lxc.Container, daemonize: bool) -> None:
    before = descriptors()
    assert stopped.set_config_item("lxc.rootfs.path", "dir:/nonexistent")
    assert stopped.start(daemonize=daemonize) is False
    assert isinstance(stopped.last_error, lxc.LXCError)
    assert wait_until(lambda: stopped.state == "STOPPED")
    assert children() == []
    assert descriptors() == before


def test_start_works_after_one_that_failed(stopped: lxc.Container) -> None:
    path = stopped.get_config_item("lxc.rootfs.path")
    assert stopped.set_config_item("lxc.rootfs.path", "dir:/nonexistent")
    assert not stopped.start()
    assert stopped.set_config_item("lxc.rootfs.path", path)
    # The monitor of the first is still cleaning up for a moment.
    assert wait_until(stopped.start, 5)


@pytest.mark.parametrize("daemonize", [True, False])
def test_init_that_is_not_there(stopped: lxc.Container, daemonize: bool) -> None:
    # liblxc can have reported RUNNING before init is found to be missing.
    result = stopped.start(cmd=("/no-such-init",), daemonize=daemonize)
    assert stopped.wait("STOPPED", 10)
    assert result in (True, False)
    assert (stopped.last_error is None) is result
    assert children() == []


@pytest.mark.parametrize("cmd", ["/bin/sh", 5, [5], ("/bin/sh", None), ["nul\0"]])
def test_bad_commands_are_refused(stopped: lxc.Container, cmd: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        stopped.start(cmd=cmd)
    assert not stopped.running


# What it is started with must not depend on who starts it.
HOSTILE = """
for name in (signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT):
    signal.signal(name, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])

def everything():
    return [signals_of(), open("/proc/self/cgroup").read(), dict(os.environ),
            subprocess.check_output(["env"], text=True), os.getcwd(), os.umask(0o22)]

os.umask(0o22)
before = everything()
ok = c.start(cmd=("/bin/sleep", "1000"))
report([ok, before, everything()])
"""


def test_signals_of_the_containers_init(stopped: lxc.Container) -> None:
    ok, before, after = run(stopped, HOSTILE)
    assert ok
    assert after == before
    wait_until(lambda: command_line(stopped.init_pid)[0] == "/bin/sleep")
    found = process_status(stopped.init_pid)
    assert signal_set(found["SigIgn"]) == set()
    assert signal_set(found["SigBlk"]) == set()


def test_start_of_an_idmapped_or_broken_container_changes_nothing(
    stopped: lxc.Container,
) -> None:
    before = Path("/proc/self/cgroup").read_text(), signals_of(), dict(os.environ)
    # The ids are nobody's to map, or own nothing in there.
    assert stopped.set_config_item("lxc.idmap", ["u 0 4000000 10", "g 0 4000000 10"])
    assert stopped.start() is False
    after = Path("/proc/self/cgroup").read_text(), signals_of(), dict(os.environ)
    assert after == before


def test_start_leaves_other_children_to_their_parent(stopped: lxc.Container) -> None:
    with subprocess.Popen(["sh", "-c", "exit 7"]) as other:
        wait_until(lambda: not alive(other.pid))
        assert stopped.start()
        assert children() == [other.pid]
        assert other.wait() == 7


def test_start_in_a_thread(stopped: lxc.Container) -> None:
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(stopped.start()))
    thread.start()
    thread.join(30)
    assert results == [True]
    assert stopped.running


def test_container_survives_its_starter(stopped: lxc.Container) -> None:
    program = """
    report(c.start())
    os.kill(os.getpid(), signal.SIGKILL)
    """
    with Program(stopped, program) as child:
        assert child.next()
        child.process.wait()
    assert stopped.running


def test_start_with_sigchld_ignored(stopped: lxc.Container) -> None:
    program = """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    report([c.start(), c.last_error is None])
    """
    ok, no_error = run(stopped, program)
    # Where the end of the child is not known the container's state is.
    assert ok is no_error is stopped.running


# --- In the foreground ----------------------------------------------------------------

FOREGROUND = """
script = sys.argv[1]
result = c.start(cmd=["/bin/sh", "-c", script], daemonize=False)
report([result, c.error_num, c.state])
"""


def test_foreground_start_blocks_until_the_end(stopped: lxc.Container) -> None:
    program = """
    threading.Timer(1.0, lambda: c.stop()).start()
    began = time.monotonic()
    c.start(daemonize=False)
    report([time.monotonic() - began, c.state])
    """
    seconds, state = run(stopped, program)
    assert 1.0 <= seconds < 10
    assert state == "STOPPED"


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exit_status_of_the_containers_init(stopped: lxc.Container, code: int) -> None:
    found = run(stopped, FOREGROUND, f"exit {code}")
    assert found == [True, code, "STOPPED"]


def test_foreground_start_in_this_process(stopped: lxc.Container) -> None:
    assert stopped.start(cmd=("/bin/sh", "-c", "exit 3"), daemonize=False) is True
    assert stopped.error_num == 3
    assert stopped.last_error is None


def test_foreground_start_with_init_of_liblxc(stopped: lxc.Container) -> None:
    program = """
    cmd = ("/bin/sh", "-c", "exit 4")
    report([c.start(useinit=True, daemonize=False, cmd=cmd), c.error_num])
    """
    assert run(stopped, program) == [True, 4]


@pytest.mark.parametrize("value", [False, 0, ""])
def test_no_daemonize_is_a_truth_value(stopped: lxc.Container, value: Any) -> None:
    assert stopped.start(cmd=("/bin/sh", "-c", "exit 9"), daemonize=value)
    assert stopped.error_num == 9


@pytest.mark.parametrize("where", ["main thread of several", "other thread"])
def test_foreground_start_with_threads(stopped: lxc.Container, where: str) -> None:
    program = """
    over = threading.Event()
    threading.Thread(target=over.wait).start()
    results = []

    def start():
        ok = c.start(cmd=("/bin/sh", "-c", "exit 5"), daemonize=False)
        results.append([ok, c.error_num])

    if sys.argv[1] == "other thread":
        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
    else:
        start()
    over.set()
    report(results)
    """
    assert run(stopped, program, where) == [[True, 5]]


@pytest.mark.parametrize("fails", [False, True], ids=["runs", "fails"])
@pytest.mark.parametrize("terminal", [False, True], ids=["null", "terminal"])
def test_foreground_start_changes_nothing(
    stopped: lxc.Container, terminal: bool, fails: bool
) -> None:
    program = """
    def everything():
        found = {
            "environment": dict(os.environ),
            "C environment": subprocess.check_output(["env"], text=True),
            "signals": signals_of(),
            "cgroups": open("/proc/self/cgroup").read(),
            "directory": os.getcwd(),
            "session": [os.getpgrp(), os.getsid(0)],
            "namespaces": [os.readlink(f"/proc/self/ns/{n}") for n in ("mnt", "net")],
            "descriptors": descriptors(),
        }
        if os.isatty(0):
            settings = termios.tcgetattr(0)
            settings[6] = [byte if type(byte) is int else list(byte)
                           for byte in settings[6]]
            found["terminal"] = settings
            found["foreground"] = os.tcgetpgrp(0)
        return found

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    before = everything()
    if sys.argv[1] == "True":
        c.set_config_item("lxc.rootfs.path", "dir:/nonexistent")
    ok = c.start(cmd=("/bin/sh", "-c", "exit 3"), daemonize=False)
    after = everything()
    changed = {k: [before[k], after[k]] for k in before if before[k] != after[k]}
    report([ok, changed])
    """
    ok, changed = run(stopped, program, str(fails), terminal=terminal)
    assert ok is not fails
    assert changed == {}


@pytest.mark.parametrize("fails", [False, True], ids=["runs", "fails"])
def test_foreground_start_leaves_other_children(
    stopped: lxc.Container, fails: bool
) -> None:
    # liblxc waits for any child, and on failure until there is none.
    program = """
    ended = subprocess.Popen(["sh", "-c", "exit 7"])
    busy = subprocess.Popen(["sleep", "1000"])
    wait_until(lambda: not alive(ended.pid))
    if sys.argv[1] == "True":
        c.set_config_item("lxc.rootfs.path", "dir:/nonexistent")
    ok = c.start(cmd=("/bin/sh", "-c", "sleep 0.2"), daemonize=False)
    found = [ok, ended.wait(), busy.poll()]
    busy.kill()
    report(found + [busy.wait()])
    """
    assert run(stopped, program, str(fails)) == [not fails, 7, None, -signal.SIGKILL]


def test_containers_output_on_the_terminal_of_the_caller(
    stopped: lxc.Container,
) -> None:
    program = """
    print("before")
    c.start(cmd=["/bin/echo", "inside"], daemonize=False)
    print("after")
    report()
    """
    with Program(stopped, program, terminal=True) as child:
        child.next()
        child.finish()
        assert bytes(child.screen).split() == [b"before", b"inside", b"after"]


def test_buffered_output_comes_once(stopped: lxc.Container) -> None:
    # A child that ends must not write what was buffered before the fork.
    program = """
    print("before")
    c.start(cmd=["/bin/true"], daemonize=False)
    c.start()
    print("after")
    report()
    """
    with Program(stopped, program) as child:
        child.next()
        child.finish()
    assert child.out == "before\nafter\n"


def test_typed_interrupt_belongs_to_the_container(stopped: lxc.Container) -> None:
    # It reads one byte from its console, and ends with that for an exit status.
    script = "stty raw; echo ready; exit $(dd bs=1 count=1 2>/dev/null | od -An -td1)"
    with Program(stopped, FOREGROUND, script, terminal=True) as program:
        program.expect(b"ready")
        program.type(b"\x03")
        assert program.next() == [True, 3, "STOPPED"]
        program.finish()


def test_container_ends_with_its_caller(stopped: lxc.Container) -> None:
    with Program(stopped, FOREGROUND, "sleep 1000") as program:
        assert stopped.wait("RUNNING", 10)
        program.process.kill()
        program.process.wait()
        assert wait_until(lambda: stopped.state == "STOPPED", 5)


def test_container_ends_with_its_caller_and_not_with_a_thread(
    stopped: lxc.Container,
) -> None:
    # A parent-death signal would come when the thread that forked ends.
    program = """
    stopper = threading.Thread(target=lambda: (time.sleep(1.5), c.stop()))

    def start():
        c.start(daemonize=False)

    starter = threading.Thread(target=start)
    starter.start()
    c.wait("RUNNING", 10)
    short = threading.Thread(target=lambda: c.attach_wait(lambda: None))
    short.start()
    short.join()
    time.sleep(0.5)
    report(c.running)
    c.stop()
    starter.join(10)
    report(starter.is_alive())
    """
    with Program(stopped, program) as child:
        assert child.next() is True
        assert child.next() is False
        child.finish()


def test_other_calls_while_it_runs_in_the_foreground(stopped: lxc.Container) -> None:
    program = """
    starter = threading.Thread(target=c.start, kwargs={"daemonize": False})
    starter.start()
    found = [c.wait("RUNNING", 10), c.get_config_item("lxc.uts.name"), c.state]
    found.append(c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 2"]))
    found.append(c.stop())
    starter.join(10)
    report(found + [starter.is_alive(), c.state])
    """
    name = stopped.get_config_item("lxc.uts.name")
    assert run(stopped, program) == [
        *(True, name, "RUNNING", 2 << 8, True),
        *(False, "STOPPED"),
    ]


def test_foreground_start_of_a_running_container(shared: lxc.Container) -> None:
    began = time.monotonic()
    assert shared.start(daemonize=False) is False
    assert time.monotonic() - began < 5
    assert "running" in shared.last_error.reason
    assert shared.running


def test_files_that_a_foreground_container_writes(stopped: lxc.Container) -> None:
    found = run(stopped, FOREGROUND, "hostname > /root/name")
    assert found == [True, 0, "STOPPED"]
    assert (rootfs(stopped) / "root/name").read_text() == f"{stopped.name}\n"


def test_signals_of_a_foreground_containers_init(stopped: lxc.Container) -> None:
    program = """
    for name in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(name, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    report(c.start(cmd=["/bin/sleep", "1000"], daemonize=False))
    """
    with Program(stopped, program) as child:
        assert stopped.wait("RUNNING", 10)
        pid = stopped.init_pid
        assert wait_until(lambda: command_line(pid) == INIT)
        found = process_status(pid)
        assert stopped.stop()
        assert child.next() is True
        child.finish()
    assert signal_set(found["SigIgn"]) == set()
    assert signal_set(found["SigBlk"]) == set()


def test_caller_keeps_its_signals_and_children(stopped: lxc.Container) -> None:
    before = signals_of()
    assert stopped.start(cmd=("/bin/true",), daemonize=False)
    assert signals_of() == before
    assert children() == []


def test_error_num_is_the_last_foreground_starts(stopped: lxc.Container) -> None:
    for code in (3, 0, 4):
        stopped.start(cmd=("/bin/sh", "-c", f"exit {code}"), daemonize=False)
        assert stopped.error_num == code
    assert stopped.start()
    assert shell(stopped, "exit 1").status == 1 << 8
    assert os.getpid() != stopped.init_pid


def test_start_by_a_process_without_stdio(stopped: lxc.Container) -> None:
    # As a daemon that closed them: liblxc must not get their numbers.
    program = """
    found = []
    for number in (2, 1, 0):
        os.close(number)
        found.append([c.start(), c.state, c.stop()])
    lxc._lxc._launcher(heap=0)
    found.append([c.start(), c.state, c.stop()])
    report(found)
    """
    assert run(stopped, program) == [[True, "RUNNING", True]] * 4
