# SPDX-License-Identifier: LGPL-2.1-or-later
"""lxc.monitor(): the changes of state of containers."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import create_bare, destroy
from support import (
    Program,
    Ticker,
    alive,
    children,
    descriptors,
    paused,
    process_status,
    run,
    wait_until,
)

import lxc

pytestmark = pytest.mark.containers

AT_ONCE = 0.2  # after a signal
BUSY = 0.4  # what a busy machine may add
Record = Callable[[str, Any], None]


@pytest.fixture
def quick(own_path: str, new_name: Callable[[], str]) -> Iterator[lxc.Container]:
    """A container in an lxcpath of its own that starts and stops, and does nothing."""
    container = create_bare(new_name(), own_path)
    root = Path(own_path, container.name, "rootfs")
    for name in ("bin", "dev", "proc", "sys"):
        (root / name).mkdir()
    busybox = Path("/bin/busybox")
    (root / "bin/busybox").write_bytes(busybox.read_bytes())
    (root / "bin/busybox").chmod(0o755)
    for item, value in {
        "lxc.init.cmd": "/bin/busybox sleep 60",
        "lxc.net.0.type": "empty",
        "lxc.apparmor.profile": "unconfined",
    }.items():
        container.set_config_item(item, value)
    assert container.save_config()
    yield container
    destroy(container)


def states(monitor: lxc.Monitor, count: int) -> list[str]:
    return [monitor.next_change(20).state for _ in range(count)]


def command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def processes(path: str) -> list[int]:
    """The lxc-monitors of an lxcpath."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            line = command_line(entry).split(b"\0")
            if b"lxc-monitor" in line[0] and b"-n" in line and path.encode() in line:
                found.append(int(entry.name))
    return found


LIFE = ["STARTING", "RUNNING", "STOPPING", "STOPPED"]


def test_every_change_is_reported_in_order(quick: lxc.Container) -> None:
    path = quick.get_config_path()
    began = time.time()
    with lxc.monitor(config_path=path) as monitor:
        for _ in range(3):
            assert quick.start()
            assert quick.stop()
            assert states(monitor, 4) == LIFE
        assert quick.start()
        change = next(monitor)
    assert (change.name, change.state) == (quick.name, "STARTING")
    assert began <= change.time <= time.time()
    assert change == (quick.name, "STARTING", change.time)
    assert isinstance(change, lxc.StateChange)


def test_a_start_right_after_it_is_not_missed(
    quick: lxc.Container, record_property: Record
) -> None:
    took = []
    for _ in range(10):
        before = time.monotonic()
        monitor = lxc.monitor(quick.name, config_path=quick.get_config_path())
        took.append(time.monotonic() - before)
        assert quick.start()
        assert quick.stop()
        assert states(monitor, 4) == LIFE
        monitor.close()
    record_property("subscribed after seconds", took)


def test_it_returns_when_it_is_subscribed_and_not_before(
    quick: lxc.Container,
) -> None:
    path = quick.get_config_path()
    with lxc.monitor("no-such", config_path=path):
        [daemon] = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit()
            and f"lxc-monitord\0{path}\0".encode() in command_line(entry)
        ]
        made: list[lxc.Monitor] = []
        thread = threading.Thread(
            target=lambda: made.append(lxc.monitor(quick.name, config_path=path))
        )
        with paused(daemon):
            thread.start()
            # It is connected by then; but is not reported to.
            thread.join(1)
            assert made == []
        thread.join(20)
        with made[0] as monitor:
            assert quick.start()
            assert monitor.next_change(20).state == "STARTING"


def test_names_are_exact(own_path: str, quick: lxc.Container) -> None:
    odd = f"{quick.name}.x+(y)[z]$|^a b'c\\"
    like = f"{quick.name}0x"
    made = []
    for name in (odd, like):
        container = lxc.Container(name, own_path)
        assert container.load_config(quick.config_file_name)
        assert container.save_config()
        made.append(container)
    with lxc.monitor(quick.name, odd.encode(), config_path=own_path) as monitor:
        for container in (made[1], made[0], quick):
            assert container.start(), container.last_error
            assert container.stop()
        found = [monitor.next_change(20).name for _ in range(8)]
        assert found == [odd] * 4 + [quick.name] * 4
    with lxc.monitor(f"{quick.name}.x", config_path=own_path) as monitor:
        assert made[1].start()
        assert made[1].stop()
        with pytest.raises(lxc.TimedOut):
            monitor.next_change(0.3)
    for container in made:
        destroy(container)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\0", "a\nb", "x" * 201, b"a/"])
def test_what_is_no_name(name: str | bytes, own_path: str) -> None:
    with pytest.raises(ValueError, match="no container's name"):
        lxc.monitor(name, config_path=own_path)
    with pytest.raises(TypeError):
        lxc.monitor(5, config_path=own_path)  # type: ignore[arg-type]
    assert processes(own_path) == []


def test_a_time_without_changes(own_path: str) -> None:
    with lxc.monitor("web", config_path=own_path) as monitor:
        for timeout in (0, 0.3):
            before = time.monotonic()
            with pytest.raises(lxc.TimedOut, match="no change of state in"):
                monitor.next_change(timeout)
            assert timeout <= time.monotonic() - before < timeout + BUSY
        with Ticker() as ticker, pytest.raises(lxc.TimedOut):
            monitor.next_change(0.3)
        assert ticker.longest < 0.1 + BUSY


def test_a_change_is_heard_at_once(
    quick: lxc.Container, record_property: Record
) -> None:
    late = []
    with lxc.monitor(quick.name, config_path=quick.get_config_path()) as monitor:
        for _ in range(4):
            done: list[float] = []

            def start(done: list[float] = done) -> None:
                time.sleep(0.05)
                quick.start()
                done.append(time.monotonic())

            thread = threading.Thread(target=start)
            thread.start()
            assert states(monitor, 2) == LIFE[:2]
            now = time.monotonic()
            thread.join()
            late.append(now - done[0])
            quick.stop()
            assert states(monitor, 2) == LIFE[2:]
    record_property("a change, seconds late", late)
    assert min(late) < 0.05


def test_nothing_stays(own_path: str) -> None:
    before = descriptors(), children()
    for _ in range(3):
        with lxc.monitor(config_path=own_path) as monitor:
            assert len(processes(own_path)) == 1
        monitor.close()
        assert monitor.closed
        with pytest.raises(ValueError, match="closed"):
            monitor.next_change()
        assert list(monitor) == []
    with (
        pytest.raises(ZeroDivisionError),
        lxc.monitor(config_path=own_path) as monitor,
    ):
        raise ZeroDivisionError
    lxc.monitor(config_path=own_path)  # and nobody keeps it
    assert (descriptors(), children()) == before
    assert wait_until(lambda: processes(own_path) == [])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_the_caller_ends_it(shared: lxc.Container, how: int) -> None:
    program = """
    monitor = lxc.monitor("no-such", config_path=c.get_config_path())
    report(monitor._process.pid)
    next(monitor)
    """
    with Program(shared, program) as running:
        pid = running.next()
        assert alive(pid)
        assert "lxc-monitor" in process_status(pid)["Name"]
        running.process.send_signal(how)
        running.process.wait()
        assert wait_until(lambda: not alive(pid), 5)


def test_a_forked_child_has_none_of_it(quick: lxc.Container) -> None:
    program = """
    monitor = lxc.monitor(c.name, config_path=c.get_config_path())
    before = descriptors()
    pid = os.fork()
    if pid == 0:
        left = before - descriptors()
        try:
            monitor.next_change(0)
        except ValueError:
            left += monitor.closed
        monitor.close()
        del monitor
        os._exit(left)
    status = os.waitpid(pid, 0)[1] >> 8
    c.start()
    c.stop()
    report([status, [monitor.next_change(20).state for _ in range(4)]])
    # The child's copies of the pipe do not keep it.
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
    report([pid, monitor._process.pid])
    os.kill(os.getpid(), signal.SIGKILL)
    """
    with Program(quick, program) as running:
        closed, found = running.next()
        assert closed == 3 + 1  # its descriptors, and that it says so
        assert found == LIFE
        child, monitor = running.next()
        assert running.process.wait() == -signal.SIGKILL
        assert wait_until(lambda: not alive(monitor), 5)
        os.kill(child, signal.SIGKILL)


def test_iterating_answers_ctrl_c(shared: lxc.Container) -> None:
    program = """
    with lxc.monitor("no-such", config_path=c.get_config_path()) as monitor:
        report(True)
        try:
            for change in monitor:
                pass
        except KeyboardInterrupt:
            report(time.monotonic())
            report(monitor._process.poll())
    """
    with Program(shared, program) as running:
        running.next()
        sent = running.interrupt()
        assert running.next() - sent < AT_ONCE + BUSY / 2
        assert running.next() is None  # it was not interrupted itself
        running.finish()


def test_another_thread_may_close_it(own_path: str) -> None:
    before = descriptors()
    monitor = lxc.monitor(config_path=own_path)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(list(monitor)))
    thread.start()
    time.sleep(0.2)
    monitor.close()
    thread.join(10)
    assert found == [[]]
    assert descriptors() == before


def test_a_handler_may_close_it(shared: lxc.Container) -> None:
    program = """
    monitor = lxc.monitor("no-such", config_path=c.get_config_path())
    signal.signal(signal.SIGALRM, lambda *args: monitor.close())
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    report([list(monitor), monitor._fds])
    """
    assert run(shared, program) == [[], []]


def test_a_program_that_ends_is_said(own_path: str) -> None:
    with lxc.monitor(config_path=own_path) as monitor:
        [pid] = processes(own_path)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(lxc.LXCError, match=r"lxc-monitor has ended \(signal 9\)"):
            monitor.next_change(10)


def test_a_machine_without_the_program(
    own_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    monkeypatch.setenv("PATH", own_path)
    with pytest.raises(FileNotFoundError, match="install the package lxc"):
        lxc.monitor(config_path=own_path)
    assert descriptors() == before


def test_many_descriptors_are_no_hindrance(shared: lxc.Container) -> None:
    program = """
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(300)]
    with lxc.monitor("no-such", config_path=c.get_config_path()) as monitor:
        try:
            monitor.next_change(0.1)
        except lxc.TimedOut as error:
            report(error.reason)
    """
    assert re.match("no change of state", run(shared, program))
