# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nothing stays behind: memory, descriptors, child processes, cgroups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import leak_cases
import pytest
from conftest import create_busybox, destroy, start_and_settle
from support import TESTS, Program, cgroups_of, run

import lxc

ATTACHES = 2000

# Each object is an allocation of its own, which the C library counts and does not keep.
# Large ones too: of those that it maps, glibc 2.43 counts 16 bytes for ever each time
# that one shrinks, as what read(n) has does.
EXACT = {
    "PYTHONHASHSEED": "0",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mmap_max=0",
}
# Without a GIL Python has an allocator of its own for its objects, and no other: what C
# allocates is counted there, and descriptors and processes.
if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    EXACT["PYTHONMALLOC"] = "malloc"

Record = Callable[[str, Any], None]


def public(holder: object) -> set[str]:
    return {name for name in dir(holder) if not name.startswith("_")}


def test_every_method_has_a_leak_case() -> None:
    assert public(lxc.Container) - set(leak_cases.CASES) == set()


def test_every_function_and_class_has_a_leak_case() -> None:
    here = {name for name in lxc.__all__ if callable(getattr(lxc, name))}
    assert here - set(leak_cases.CASES) == set()


@pytest.fixture(scope="module")
def subjects(lxcpath: str) -> Any:
    """A running and a stopped container for all cases, which leave them like that."""
    running = create_busybox(f"t{os.getpid()}-leaks", lxcpath)
    stopped = create_busybox(f"t{os.getpid()}-leaks-stopped", lxcpath)
    start_and_settle(running)
    yield running, stopped
    destroy(running)
    destroy(stopped)


@pytest.mark.parametrize("name", leak_cases.CASES)
def test_call_leaves_nothing(
    subjects: tuple[lxc.Container, lxc.Container], lxcpath: str, name: str
) -> None:
    running, stopped = subjects
    done = subprocess.run(
        [
            *(sys.executable, Path(TESTS, "leak_cases.py"), name, lxcpath),
            *(running.name, stopped.name),
        ],
        env={**os.environ, **EXACT},
        capture_output=True,
        text=True,
        cwd="/",
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {path: nonzero(left) for path, left in found.items() if nonzero(left)} == {}
    assert running.state == "RUNNING"
    assert stopped.state == "STOPPED"
    assert stopped.snapshot_list() == ()


def nonzero(left: dict[str, int]) -> dict[str, int]:
    return {what: count for what, count in left.items() if count}


@pytest.mark.parametrize("kind", ["command", "function"])
def test_many_attaches(
    shared: lxc.Container, kind: str, record_property: Record
) -> None:
    program = """
    def memory():
        fields = process_status()
        return sum(int(fields[key].split()[0]) for key in ("RssAnon", "VmSwap"))

    kind, times = sys.argv[1], int(sys.argv[2])
    what = (lxc.attach_run_command, ["true"]) if kind == "command" else (lambda: None,)
    for _ in range(50):
        assert c.attach_wait(*what) == 0
    before = [descriptors(), memory(), len(children())]
    for _ in range(times):
        c.attach_wait(*what)
    report([before, [descriptors(), memory(), len(children())]])
    """
    times = ATTACHES // 2
    before, after = run(shared, program, kind, str(times))
    grown = [b - a for a, b in zip(before, after)]
    record_property(
        f"after {times} attaches of a {kind}",
        f"{grown[0]:+d} descriptors, {grown[1]:+d} KiB, {grown[2]:+d} children",
    )
    assert grown[0] == grown[2] == 0
    # A leak of one small object for each would be some 100 KiB.
    assert grown[1] < 100


@pytest.mark.parametrize("daemonize", [True, False])
def test_start_of_an_undefined_container_makes_no_cgroup(
    lxcpath: str, new_name: Callable[[], str], daemonize: bool
) -> None:
    container = lxc.Container(new_name(), lxcpath)
    for _ in range(3):
        assert not container.start(daemonize=daemonize)
    assert cgroups_of(container.name) == []


def test_interrupted_calls_leave_nothing(shared: lxc.Container) -> None:
    program = """
    def interrupt(call):
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            call()
        except KeyboardInterrupt:
            pass
        timer.join()

    def all_calls():
        interrupt(lambda: c.wait("STOPPED"))
        interrupt(lambda: c.get_ips("eth7", timeout=60))
        interrupt(lambda: c.attach_wait(lxc.attach_run_command, ["sleep", "60"]))
        interrupt(lambda: c.attach_wait(time.sleep, 60))

    all_calls()
    before = [descriptors(), len(children())]
    for _ in range(2):
        all_calls()
    report([before, [descriptors(), len(children())]])
    """
    before, after = run(shared, program)
    assert after == before


def test_threads_leave_nothing(shared: lxc.Container) -> None:
    program = """
    def work():
        for _ in range(20):
            c.attach_wait(lxc.attach_run_command, ["true"])
            c.attach_wait(lambda: None)

    def all_threads():
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_threads()
    before = [descriptors(), len(children())]
    all_threads()
    report([before, [descriptors(), len(children())]])
    """
    before, after = run(shared, program)
    assert after == before


def test_program_under_a_limit_of_descriptors(shared: lxc.Container) -> None:
    program = """
    import resource
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 2, limit[1]))
    found = []
    for call in (
        lambda: c.attach_wait(lxc.attach_run_command, ["true"]),
        lambda: c.attach_wait(lambda: None),
        lambda: c.start(),
    ):
        try:
            found.append(call() in (-1, 0, False))
        except (OSError, RuntimeError):
            found.append(True)
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    found.append(c.attach_wait(lambda: 3))
    report(found)
    """
    assert run(shared, program) == [True, True, True, 3 << 8]


def test_program_helper_leaves_nothing(shared: lxc.Container) -> None:
    # What measures must not leak itself.
    before = len(os.listdir("/proc/self/fd"))
    for terminal in (False, True):
        with Program(shared, "report(1)", terminal=terminal) as program:
            program.next()
            program.finish()
    assert len(os.listdir("/proc/self/fd")) == before
