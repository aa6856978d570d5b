# SPDX-License-Identifier: LGPL-2.1-or-later
"""run(), popen() and their asyncio forms: in time, with signals, and who reaps whom."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from support import (
    PATIENCE,
    Program,
    alive,
    children,
    descriptors,
    monitor_of,
    paused,
    process_status,
    wait_until,
)
from test_process import CALLS, LONG, attempt, daemon, sleeping

import lxc
from lxc import _lxc
from lxc.process import status_of


@pytest.fixture(name="marker")
def new_marker() -> str:
    """A number of seconds to sleep that nobody else sleeps: to find a process by."""
    return f"{LONG}.{os.getpid()}{time.monotonic_ns()}"


# --- A timeout or a cancellation at any moment ----------------------------------------


@pytest.mark.parametrize("how", ["cancelled", "timeout", "twice"])
def test_nothing_of_many_commands_lives_on(
    shared: lxc.Container, marker: str, how: str
) -> None:
    """30 at once, while the loop is busy: where they are spawned is found, too."""
    args = daemon(marker, f"sleep {marker}")
    left: list[int] = []

    async def busy() -> None:
        while True:
            await asyncio.sleep(0)
            time.sleep(0.002)

    async def one(number: int) -> None:
        timeout = 0.02 + number * 0.08 / 30
        if how == "timeout":
            with pytest.raises(subprocess.TimeoutExpired):
                await shared.run_async(args, capture_output=True, timeout=timeout)
            return
        task = asyncio.ensure_future(shared.run_async(args, capture_output=True))
        await asyncio.sleep(timeout)
        task.cancel()
        if how == "twice":
            await asyncio.sleep(0.001)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def main() -> None:
        working = asyncio.ensure_future(busy())
        await asyncio.wait_for(asyncio.gather(*map(one, range(30))), PATIENCE)
        left.extend(sleeping(marker))
        working.cancel()

    before = descriptors(), len(children())
    asyncio.run(main())
    assert left == []
    assert (descriptors(), len(children())) == before


# --- A monitor that does not answer ---------------------------------------------------


@pytest.mark.parametrize("call", ["run", "run_async"])
def test_timeout_does_not_wait_for_the_monitor(
    running: lxc.Container, marker: str, call: str
) -> None:
    before = descriptors(), len(children())
    with paused(monitor_of(running)):
        begin = time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            attempt(running, call, ["sleep", marker], timeout=1, capture_output=True)
        assert 0.9 < time.monotonic() - begin < 3
    assert caught.value.timeout == 1
    assert wait_until(lambda: (descriptors(), len(children())) == before)
    assert sleeping(marker) == []
    assert attempt(running, call, ["true"], timeout=PATIENCE) == 0


@pytest.mark.parametrize("call", ["run", "run_async"])
def test_timeout_while_the_command_runs_asks_no_monitor(
    running: lxc.Container, marker: str, call: str
) -> None:
    monitor = monitor_of(running)
    pause = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -STOP {monitor}"])
    try:
        begin = time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired):
            attempt(running, call, daemon(marker, f"sleep {marker}"), timeout=1)
        assert time.monotonic() - begin < 3
        assert sleeping(marker) == []
    finally:
        pause.wait()
        os.kill(monitor, signal.SIGCONT)


def test_loop_does_not_wait_for_the_monitor(running: lxc.Container) -> None:
    async def main() -> tuple[float, list[object]]:
        longest, last = 0.0, time.monotonic()

        async def tick() -> None:
            nonlocal longest, last
            while True:
                await asyncio.sleep(0.002)
                now = time.monotonic()
                longest, last = max(longest, now - last), now

        ticker = asyncio.ensure_future(tick())
        with paused(monitor_of(running)):
            tasks = [
                asyncio.ensure_future(running.run_async(["true"], timeout=0.5)),
                asyncio.ensure_future(running.run_async(["true"])),
                asyncio.ensure_future(running.create_subprocess_exec("true")),
            ]
            await asyncio.sleep(1)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        ticker.cancel()
        return longest, results

    begin = time.monotonic()
    longest, results = asyncio.run(main())
    assert time.monotonic() - begin < 4
    assert longest < 0.8
    kinds = [subprocess.TimeoutExpired, asyncio.CancelledError, asyncio.CancelledError]
    assert [type(result) for result in results] == kinds


def test_launcher_that_waits_for_the_monitor_can_be_ended(
    running: lxc.Container, marker: str
) -> None:
    """Stopped just when the launcher is about to ask."""
    before = descriptors(), len(children())
    begin, outcomes, monitor = time.monotonic(), set(), monitor_of(running)
    for step in range(12):
        stop = f"sleep {step * 0.0007}; kill -STOP {monitor}"
        with subprocess.Popen(["sh", "-c", stop]):
            try:
                running.run(["true"], timeout=0.3)
                outcomes.add("ended")
            except subprocess.TimeoutExpired:
                outcomes.add("timeout")
        os.kill(monitor, signal.SIGCONT)
    assert "timeout" in outcomes
    assert time.monotonic() - begin < 12 * 1.5
    assert wait_until(lambda: (descriptors(), len(children())) == before)


# --- Who reaps whom -------------------------------------------------------------------

SUBREAPER = """
import asyncio, ctypes, contextlib

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
foreign = subprocess.Popen(["sh", "-c", "sh -c 'sleep 0.1' & "])
foreign.wait()
daemon = f"setsid sleep {sys.argv[1]} >/dev/null 2>&1 & "
"""


@pytest.mark.parametrize(
    "way",
    [
        "c.run(['sh', '-c', daemon], timeout=60)",
        "c.run(['sh', '-c', daemon])",
        "c.run(['sh', '-c', daemon + 'sleep 60'], timeout=0.5)",
        "c.run(['sh', '-c', daemon + 'sleep 60'], timeout=0.002)",
        "asyncio.run(c.run_async(['sh', '-c', daemon]))",
        "asyncio.run(c.run_async(['sh', '-c', daemon + 'sleep 60'], timeout=0.5))",
        "asyncio.run(asyncio.wait_for(c.run_async(['sleep', '60']), 0.3))",
        "c.popen(['sh', '-c', daemon]).wait()",
        "c.run(['no-such'])",
        "[signal.setitimer(signal.ITIMER_REAL, 0.3), c.run(['sleep', '60'])]",
    ],
)
def test_subreaper_gets_no_zombie(
    running: lxc.Container, marker: str, way: str
) -> None:
    """As PID 1 of a container of the Docker kind is; it may have orphans of its own."""
    program = f"""
    {SUBREAPER.strip().replace(chr(10), chr(10) + "    ")}
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    for _ in range(3):
        with contextlib.suppress(
            subprocess.TimeoutExpired, asyncio.TimeoutError, OSError, KeyboardInterrupt
        ):
            {way}
    report(children())
    time.sleep(0.3)
    report(children())
    begin = time.monotonic()
    report([c.stop(), time.monotonic() - begin])
    """
    with Program(running, program, marker) as caller:
        # The foreign orphan is the caller's own to wait for: it is still there.
        assert len(caller.next()) == 1
        assert len(caller.next()) == 1
        stopped, seconds = caller.next()
        caller.finish()
    assert stopped is True
    assert seconds < 5


@pytest.mark.parametrize("who", ["kernel", "thread", "handler"])
@pytest.mark.parametrize("call", ["run", "run_async"])
def test_status_where_somebody_else_reaps(
    shared: lxc.Container, call: str, who: str
) -> None:
    program = f"""
    import asyncio

    def reap(*_):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def always():
        while True:
            reap()
            time.sleep(0.0005)

    if {who!r} == "kernel":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    elif {who!r} == "handler":
        signal.signal(signal.SIGCHLD, reap)
    else:
        threading.Thread(target=always, daemon=True).start()

    def call(args, **options):
        if {call!r} == "run":
            return c.run(args, **options)
        return asyncio.run(c.run_async(args, **options))

    found = []
    for script in ("exit 0", "exit 7", "kill -15 $$", "echo x; exit 255"):
        for options in ({{}}, {{"timeout": 60}}, {{"capture_output": True}}):
            found.append(call(["sh", "-c", script], **options).returncode)
    report(found)
    try:
        call(["sh", "-c", "exit 7"], check=True)
    except subprocess.CalledProcessError as error:
        report(error.returncode)
    """
    with Program(shared, program) as caller:
        assert caller.next() == [0] * 3 + [7] * 3 + [-15] * 3 + [255] * 3
        assert caller.next() == 7
        caller.finish()


def test_only_the_launcher_is_believed() -> None:
    """Whoever else comes by its end of the socket is told apart by the kernel."""
    ours, theirs = _lxc._socket_pair()
    forger = (
        "import ctypes, os, sys; "
        "os.write(int(sys.argv[1]), bytes((ctypes.c_int * 3)(int(sys.argv[2]), 0, 0)))"
    )
    try:
        for number in range(12):
            begun = subprocess.Popen(
                [sys.executable, "-c", forger, str(theirs), str(number)],
                pass_fds=(theirs,),
            )
            assert begun.wait() == 0
            said = _lxc._hear(ours, 5)
            assert said is not None
            assert said[2] == begun.pid
            assert status_of(said, os.getpid(), None) is None
            if said[0] == "ended":
                assert status_of(said, begun.pid, None) == 0
                break
        else:
            raise AssertionError
    finally:
        os.close(ours)
        os.close(theirs)


# --- Signals --------------------------------------------------------------------------


def test_typed_stop_where_nobody_could_continue_it(
    shared: lxc.Container, marker: str
) -> None:
    """As ssh -t host program: the caller is a session's leader."""
    program = """
    report(c.run(["sleep", sys.argv[1]], timeout=3600).returncode)
    """
    with Program(shared, program, marker, terminal=True) as caller:
        assert wait_until(lambda: sleeping(marker))
        (command,) = sleeping(marker)
        caller.type(b"\x1a")
        time.sleep(0.5)
        assert process_status(command)["State"][0] == "S"
        assert alive(caller.process.pid)
        caller.type(b"\x03")
        assert wait_until(lambda: not sleeping(marker))


def test_typed_stop_under_job_control(shared: lxc.Container, marker: str) -> None:
    """The shell's part is a parent's, which sees its child stop and continues it."""
    program = """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os._exit(c.run(["sh", "-c", "sleep " + sys.argv[1] + "; exit 5"]).returncode)
    stopped = os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    os.tcsetpgrp(0, os.getpid())
    report(stopped)
    sys.stdin.readline()
    os.tcsetpgrp(0, child)
    os.killpg(child, signal.SIGCONT)
    report(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    with Program(shared, program, marker, terminal=True) as caller:
        assert wait_until(lambda: sleeping(marker))
        (command,) = sleeping(marker)
        caller.type(b"\x1a")
        assert caller.next() is True
        assert wait_until(lambda: process_status(command)["State"][0] == "T")
        caller.type(b"fg\n")
        assert wait_until(lambda: process_status(command)["State"][0] == "S")
        os.kill(command, signal.SIGTERM)
        assert caller.next() == 5
        caller.finish()


IGNORING = """
import asyncio

STATUS = ["grep", "-E", "^SigIgn", "/proc/self/status"]

async def created():
    begun = await c.create_subprocess_exec(*STATUS, stdout=-1)
    return (await begun.communicate())[0]

def ignored(output):
    return sorted(signal_set(output.split()[1].decode()))

for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
"""


def test_command_ignores_what_the_caller_ignores(shared: lxc.Container) -> None:
    program = f"""
    {IGNORING.strip().replace(chr(10), chr(10) + "    ")}
    report(ignored(subprocess.run(STATUS, stdout=-1).stdout))
    report(ignored(c.run(STATUS, stdout=-1).stdout))
    report(ignored(c.popen(STATUS, stdout=-1).communicate()[0]))
    report(ignored(asyncio.run(c.run_async(STATUS, stdout=-1)).stdout))
    report(ignored(asyncio.run(created())))
    report(ignored(command(c, *STATUS).out.encode()))
    begun = c.popen(["sleep", "0.6"])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        begun.send_signal(number)
    begun.wait()
    report(c.run(["sh", "-c", "kill -1 $$; kill -15 $$; exit 3"]).returncode)
    """
    with Program(shared, program) as caller:
        expected = caller.next()
        assert {1, 2, 15, 17} <= set(expected)
        assert signal.SIGPIPE not in expected
        for _ in range(4):
            assert caller.next() == expected
        assert caller.next() == []  # attach_wait() has none ignored
        assert caller.next() == 3
        caller.finish()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTSTP])
def test_typed_signal_that_the_caller_ignores(
    shared: lxc.Container, number: int
) -> None:
    program = f"""
    signal.signal({int(number)}, signal.SIG_IGN)
    report()
    report(c.run(["sh", "-c", "echo on; sleep 1; exit 4"]).returncode)
    """
    with Program(shared, program, terminal=True) as caller:
        caller.next()
        caller.expect(b"on\r\n")
        if number == signal.SIGHUP:
            os.killpg(caller.process.pid, number)
        else:
            caller.type(b"\x03" if number == signal.SIGINT else b"\x1a")
        assert caller.next() == 4
        caller.finish()


# --- Descriptors that are not open ----------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr", "pass_fds"])
def test_closed_descriptor_is_refused(
    shared: lxc.Container, call: str, name: str
) -> None:
    before = descriptors(), len(children())
    refused = []

    async def begin(options: dict[str, Any]) -> None:
        if call == "create_subprocess_exec":
            await shared.create_subprocess_exec("true", **options)
        elif call == "run_async":
            await shared.run_async(["true"], **options)
        else:
            getattr(shared, call)(["true"], **options)

    # In the loop, which has some of its own.
    async def main() -> None:
        number = os.dup(0)
        os.close(number)
        # All that the binding could open itself would get one of these.
        for closed in (number, number + 1, number + 2, number + 5):
            options = {name: (closed,) if name == "pass_fds" else closed}
            with pytest.raises(OSError, match="Bad file descriptor") as caught:
                await begin(options)
            refused.append(caught.value.errno)

    asyncio.run(main())
    assert refused == [9] * 4
    assert (descriptors(), len(children())) == before


def test_closed_file_is_refused(shared: lxc.Container) -> None:
    with open(os.devnull) as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        shared.run(["true"], stdin=file)


def test_closed_standard_stream_stays_closed(shared: lxc.Container) -> None:
    program = """
    os.close(0)
    try:
        c.run(["true"], stdin=0)
    except OSError as error:
        report(error.errno)
    report(c.run(["true"]).returncode)
    """
    with Program(shared, program) as caller:
        assert caller.next() == 9
        assert caller.next() == 0


@pytest.mark.parametrize("call", ["run", "run_async"])
def test_timeout_of_a_container_that_is_down(stopped: lxc.Container, call: str) -> None:
    with pytest.raises(lxc.NotRunning):
        attempt(stopped, call, ["true"], timeout=PATIENCE)
