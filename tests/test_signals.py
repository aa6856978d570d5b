# SPDX-License-Identifier: LGPL-2.1-or-later
"""Signals during calls that block: KeyboardInterrupt, other handlers, typed Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import run_python
from support import Program, alive, children, process_status, run, wait_until

import lxc

pytestmark = pytest.mark.containers

# What is promised, and what a busy machine with few processors adds to it.
AT_ONCE = 0.2
AFTER_GRACE = 0.5
MARGIN = 0.2

Record = Callable[[str, Any], None]

# Each program says when it begins and how long it took from the signal, whose time the
# test knows: the monotonic clock is the same for all processes.
BLOCKED = """
report(True)
try:
    {call}
    report("returned")
except KeyboardInterrupt:
    report(time.monotonic())
"""

DEAF = 'trap "" TERM INT PWR USR1; while :; do sleep 1; done'


def seconds_to_interrupt(container: lxc.Container, call: str, **options: Any) -> float:
    """From SIGINT to KeyboardInterrupt in a program that makes the call."""
    with Program(container, BLOCKED.format(call=call), **options) as program:
        program.next()
        sent = program.interrupt(after=0.5)
        caught = program.next(10)
        program.finish(10)
    assert caught != "returned"
    return float(caught) - sent


@pytest.fixture
def deaf(stopped: lxc.Container) -> lxc.Container:
    """A running container that does not shut down."""
    assert stopped.start(cmd=("/bin/sh", "-c", DEAF))
    return stopped


@pytest.mark.parametrize(
    "call",
    [
        'c.wait("STOPPED")',
        'c.wait("STOPPED", 60)',
        'c.wait("FROZEN|STOPPED", 60)',
        "c.get_ips(timeout=60)",
        'c.get_ips("eth7", timeout=60.5)',
    ],
)
def test_keyboard_interrupt(
    shared: lxc.Container, call: str, record_property: Record
) -> None:
    seconds = seconds_to_interrupt(shared, call)
    record_property(f"seconds to KeyboardInterrupt: {call}", round(seconds, 3))
    assert seconds < AT_ONCE + MARGIN
    assert shared.running


@pytest.mark.parametrize("call", ['c.wait("RUNNING")', 'c.wait("RUNNING", 60)'])
def test_keyboard_interrupt_of_a_stopped_containers_wait(
    stopped: lxc.Container, call: str
) -> None:
    assert seconds_to_interrupt(stopped, call) < AT_ONCE + MARGIN


@pytest.mark.parametrize(
    "call",
    [
        "c.shutdown(60)",
        "c.shutdown(-1)",
        "c.shutdown()",
        "c.reboot2(60)",
        "c.reboot2()",
    ],
)
def test_keyboard_interrupt_in_shutdown(
    deaf: lxc.Container, call: str, record_property: Record
) -> None:
    seconds = seconds_to_interrupt(deaf, call)
    record_property(f"seconds to KeyboardInterrupt: {call}", round(seconds, 3))
    assert seconds < AT_ONCE + MARGIN
    assert deaf.running


def test_keyboard_interrupt_in_console(
    shared: lxc.Container, record_property: Record
) -> None:
    seconds = seconds_to_interrupt(shared, "c.console()", terminal=True)
    record_property("seconds to KeyboardInterrupt: c.console()", round(seconds, 3))
    assert seconds < AT_ONCE + MARGIN


def test_keyboard_interrupt_in_a_foreground_start(
    stopped: lxc.Container, record_property: Record
) -> None:
    # It stops the container first, and that takes no longer.
    call = "c.start(daemonize=False)"
    seconds = seconds_to_interrupt(stopped, call)
    record_property(f"seconds to KeyboardInterrupt: {call}", round(seconds, 3))
    assert seconds < AT_ONCE + MARGIN
    assert stopped.state == "STOPPED"


def test_foreground_start_after_an_interrupted_one(stopped: lxc.Container) -> None:
    program = """
    report(True)
    try:
        c.start(daemonize=False)
    except KeyboardInterrupt:
        pass
    left = [children(), c.state]
    ok = c.start(cmd=("/bin/sh", "-c", "exit 3"), daemonize=False)
    report(left + [ok, c.error_num])
    """
    with Program(stopped, program) as child:
        child.next()
        assert stopped.wait("RUNNING", 10)
        child.interrupt()
        assert child.next() == [[], "STOPPED", True, 3]
        child.finish()


def test_foreground_start_on_a_terminal_interrupted_from_outside(
    stopped: lxc.Container,
) -> None:
    program = """
    before = [termios.tcgetattr(0)[:6], os.tcgetpgrp(0)]
    report(True)
    try:
        c.start(daemonize=False)
        report("returned")
    except KeyboardInterrupt:
        report([c.state, before == [termios.tcgetattr(0)[:6], os.tcgetpgrp(0)]])
    """
    with Program(stopped, program, terminal=True) as child:
        child.next()
        assert stopped.wait("RUNNING", 10)
        child.interrupt()
        assert child.next() == ["STOPPED", True]
        child.finish()


# --- attach_wait() --------------------------------------------------------------------

ATTACHED = {
    "command": 'c.attach_wait(lxc.attach_run_command, ["sleep", "1000"])',
    "deaf command": (
        "c.attach_wait(lxc.attach_run_command, "
        "['sh', '-c', 'trap \"\" INT TERM; exec sleep 1000'])"
    ),
    "function": "c.attach_wait(time.sleep, 1000)",
    "deaf function": (
        "c.attach_wait(lambda: (signal.signal(signal.SIGINT, signal.SIG_IGN), "
        "time.sleep(1000)))"
    ),
    "shell": "c.attach_wait(lxc.attach_run_shell)",
    "unsaved, command": (
        'c.set_config_item("lxc.environment", "A=1"); '
        'c.attach_wait(lxc.attach_run_command, ["sleep", "1000"])'
    ),
    "unsaved, function": (
        'c.set_config_item("lxc.environment", "A=1"); c.attach_wait(time.sleep, 1000)'
    ),
    "threads, command": (
        "threading.Thread(target=time.sleep, args=(3,), daemon=True).start(); "
        'c.attach_wait(lxc.attach_run_command, ["sleep", "1000"])'
    ),
}


@pytest.mark.parametrize("kind", ATTACHED)
def test_keyboard_interrupt_in_attach_wait(
    shared: lxc.Container, kind: str, record_property: Record
) -> None:
    streams: dict[str, Any] = {}
    if kind == "shell":
        # It would end at the end of /dev/null.
        reader, writer = os.pipe()
        streams["stdin"] = reader
    program = """
    report(True)
    try:
        {call}
        report("returned")
    except KeyboardInterrupt:
        report([time.monotonic(), children()])
    """.replace("{call}", ATTACHED[kind])
    try:
        with Program(shared, program, **streams) as child:
            child.next()
            sent = child.interrupt(after=0.5)
            caught, left = child.next(10)
            child.finish(10)
    finally:
        for number in (reader, writer) if streams else ():
            os.close(number)
    record_property(f"seconds to KeyboardInterrupt: {kind}", round(caught - sent, 3))
    assert caught - sent < AFTER_GRACE + MARGIN
    # It is killed and reaped by the time that the exception is there.
    assert left == []


def processes_in(container: lxc.Container) -> set[int]:
    """The processes in a container's PID namespace, with their numbers here."""
    namespace = os.readlink(f"/proc/{container.init_pid}/ns/pid")
    found = set()
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{number}/ns/pid") == namespace:
                found.add(int(number))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("kind", ["command", "function"])
def test_interrupted_program_is_killed(shared: lxc.Container, kind: str) -> None:
    before: set[int] = set()

    def settled() -> bool:
        nonlocal before
        time.sleep(0.1)
        last, before = before, processes_in(shared)
        return before == last

    assert wait_until(settled)
    with Program(shared, BLOCKED.format(call=ATTACHED[kind])) as program:
        program.next()
        attached = wait_until(lambda: processes_in(shared) - before)
        program.interrupt()
        program.next(10)
        assert attached
        assert not any(alive(pid) for pid in attached)
        program.finish()


def test_program_may_end_by_itself_within_the_grace(shared: lxc.Container) -> None:
    # As subprocess does: no signal is sent at first, so what ends ends in peace.
    program = """
    report(True)
    script = "sleep 0.5; echo done"
    try:
        c.attach_wait(lxc.attach_run_command, ["sh", "-c", script])
    except KeyboardInterrupt:
        report("interrupted")
    """
    with Program(shared, program) as child:
        child.next()
        child.interrupt(after=0.45)
        assert child.next(10) == "interrupted"
        child.finish()
    assert child.out == "done\n"


def test_object_works_after_an_interrupt(shared: lxc.Container) -> None:
    program = """
    for call in (
        lambda: c.attach_wait(time.sleep, 1000),
        lambda: c.attach_wait(lxc.attach_run_command, ["sleep", "1000"]),
        lambda: c.wait("STOPPED"),
        lambda: c.get_ips(timeout=60),
    ):
        threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            call()
        except KeyboardInterrupt:
            found = [c.state, c.get_config_item("lxc.uts.name") == c.name]
            found.append(c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 3"]))
            report(found)
    """
    with Program(shared, program) as child:
        for _ in range(4):
            assert child.next() == ["RUNNING", True, 3 << 8]
        child.finish()


# --- Other handlers -------------------------------------------------------------------

CALLS = {
    "wait": 'c.wait("STOPPED", 60)',
    "get_ips": "c.get_ips(timeout=60)",
    "attach_wait of a command": ATTACHED["command"],
    "attach_wait of a function": ATTACHED["function"],
}


@pytest.mark.parametrize("kind", CALLS)
def test_exception_of_a_handler_comes_out(shared: lxc.Container, kind: str) -> None:
    program = f"""
    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    began = time.monotonic()
    try:
        {CALLS[kind]}
    except Alarm:
        report([time.monotonic() - began, children()])
    """
    seconds, left = run(shared, program)
    assert 0.49 <= seconds < 0.5 + AFTER_GRACE + MARGIN
    assert left == []


@pytest.mark.parametrize(
    ("call", "result"),
    [('c.wait("STOPPED", 1)', False), ("list(c.get_ips(timeout=1))", [])],
)
def test_handler_neither_ends_nor_extends_a_wait(
    shared: lxc.Container, call: str, result: Any
) -> None:
    program = f"""
    rings = []
    signal.signal(signal.SIGALRM, lambda *_: rings.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    began = time.monotonic()
    result = {call}
    seconds = time.monotonic() - began
    signal.setitimer(signal.ITIMER_REAL, 0)
    report([result, seconds, len(rings)])
    """
    found, seconds, rings = run(shared, program)
    assert found == result
    assert 1 <= seconds < 1.4
    assert rings >= 5


def test_handler_does_not_end_a_shutdown(deaf: lxc.Container) -> None:
    program = """
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    began = time.monotonic()
    report([c.shutdown(1), time.monotonic() - began])
    """
    result, seconds = run(deaf, program)
    assert result is False
    assert 1 <= seconds < 1.5


@pytest.mark.parametrize("kind", ["command", "function"])
def test_handler_does_not_end_attach_wait(shared: lxc.Container, kind: str) -> None:
    program = """
    rings = []
    signal.signal(signal.SIGALRM, lambda *_: rings.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    if sys.argv[1] == "command":
        script = ["sh", "-c", "sleep 0.6; exit 3"]
        status = c.attach_wait(lxc.attach_run_command, script)
    else:
        status = c.attach_wait(lambda: (time.sleep(0.6), sys.exit(3)))
    signal.setitimer(signal.ITIMER_REAL, 0)
    report([status, len(rings) >= 3])
    """
    assert run(shared, program, kind) == [3 << 8, True]


def test_start_under_an_interval_timer(stopped: lxc.Container) -> None:
    program = """
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    found = [c.start(), c.freeze(), c.unfreeze(), c.state]
    found += [c.attach_wait(lambda: 3), c.save_config(), c.stop(), c.state]
    signal.setitimer(signal.ITIMER_REAL, 0)
    report(found)
    """
    assert run(stopped, program) == [
        *(True, True, True, "RUNNING"),
        *(3 << 8, True, True, "STOPPED"),
    ]


def test_handler_uses_the_object_that_waits(shared: lxc.Container) -> None:
    program = """
    seen = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append(c.state))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    c.wait("STOPPED", 1)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    c.attach_wait(lxc.attach_run_command, ["sleep", "1"])
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    c.attach_wait(time.sleep, 1)
    report(seen)
    """
    assert run(shared, program) == ["RUNNING"] * 3


def test_signal_reaches_the_main_thread_while_another_waits(
    shared: lxc.Container,
) -> None:
    program = """
    waiting = threading.Thread(target=lambda: c.wait("STOPPED", 3), daemon=True)
    waiting.start()
    report(True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        report(waiting.is_alive())
    """
    with Program(shared, program) as child:
        child.next()
        child.interrupt()
        assert child.next(5) is True
        child.finish()


# --- Ctrl-C at a terminal -------------------------------------------------------------

TYPED = """
def outcome(call):
    try:
        return call()
    except KeyboardInterrupt:
        return "interrupted"

handled = 'trap "echo handled; exit 5" INT; echo ready; while :; do sleep 0.05; done'
ignored = 'trap "" INT; echo ready; sleep 1; exit 6'
dies = "echo ready; exec sleep 1000"

def python_handles():
    try:
        os.write(1, b"ready\\n")
        time.sleep(1000)
    except KeyboardInterrupt:
        return 7

def python_dies():
    os.write(1, b"ready\\n")
    time.sleep(1000)

kind = sys.argv[1]
if kind.startswith("python"):
    call = lambda: c.attach_wait(globals()[kind])
else:
    script = ["sh", "-c", globals()[kind]]
    call = lambda: c.attach_wait(lxc.attach_run_command, script)
result = outcome(call)
report([result, children(), outcome(lambda: time.sleep(0.2))])
"""


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("handled", 5 << 8),
        ("ignored", 6 << 8),
        ("dies", "interrupted"),
        ("python_handles", 7 << 8),
        ("python_dies", "interrupted"),
    ],
)
def test_typed_interrupt_is_the_programs(
    shared: lxc.Container, kind: str, result: Any
) -> None:
    with Program(shared, TYPED, kind, terminal=True) as program:
        program.expect(b"ready")
        program.type(b"\x03")
        # Its own KeyboardInterrupt is dropped, and does not come later either.
        assert program.next(10) == [result, [], None]
        program.finish()


def test_interrupt_from_outside_with_a_terminal(shared: lxc.Container) -> None:
    # Shells wait for their program then, and so does attach_wait().
    with Program(shared, TYPED, "ignored", terminal=True) as program:
        program.expect(b"ready")
        program.interrupt()
        assert program.next(10) == [6 << 8, [], None]
        program.finish()


def test_other_exceptions_of_handlers_with_a_terminal(shared: lxc.Container) -> None:
    program = """
    def ring(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        c.attach_wait(lxc.attach_run_command, ["sleep", "1000"])
    except TimeoutError:
        report(children())
    """
    assert run(shared, program, terminal=True) == []


def test_stdin_that_is_another_file_than_the_terminal(shared: lxc.Container) -> None:
    # Who gives the program another standard input keeps Ctrl-C.
    program = """
    report(True)
    with open("/dev/null") as null:
        try:
            c.attach_wait(lxc.attach_run_command, ["sleep", "1000"], stdin=null)
        except KeyboardInterrupt:
            report("interrupted")
    """
    with Program(shared, program, terminal=True) as child:
        child.next()
        child.interrupt()
        assert child.next(10) == "interrupted"
        child.finish()


# --- In this process ------------------------------------------------------------------


def test_interrupt_in_this_process_leaves_nothing(running: lxc.Container) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer = threading.Timer(0.3, interrupt)
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            running.wait("STOPPED", 30)
        assert time.monotonic() - began < 0.3 + AT_ONCE + MARGIN
    finally:
        timer.join()
        signal.signal(signal.SIGINT, old)
    assert children() == []
    assert process_status(running.init_pid)


def test_handler_that_needs_the_busy_object_is_told_so(
    lxcpath: str, new_name: Callable[[], str], tmp_path: Path
) -> None:
    """It runs in the thread whose call it would wait for: for ever."""
    template = tmp_path / "slow"
    template.write_text("#!/bin/sh\nsleep 1\nexit 1\n")
    template.chmod(0o755)
    done = run_python(
        """
import signal, sys, lxc
container = lxc.Container(sys.argv[1], sys.argv[2])
caught = []
def handler(*_):
    try:
        container.state
    except RuntimeError as error:
        caught.append("busy" in str(error))
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.3)
print(container.create(sys.argv[3]), caught)
""",
        new_name(),
        lxcpath,
        str(template),
    )
    assert done.stdout == "False [True]\n", done.stderr
