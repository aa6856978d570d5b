# SPDX-License-Identifier: LGPL-2.1-or-later
"""The GIL while liblxc is busy, one object in many threads, and in forked children."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import (
    Program,
    Ticker,
    cgroup_limit,
    command,
    monitor_of,
    paused,
    run,
    wait_until,
)

import lxc

pytestmark = pytest.mark.containers

# A thread that gets the GIL back within the interpreter's switch interval is never away
# for long; the rest is for busy machines.  A call that keeps the GIL keeps it for BUSY.
STALL = 0.25
BUSY = 0.5

Record = Callable[[str, Any], None]


# --- The GIL --------------------------------------------------------------------------


def check_stall(found: list[Any], what: str, record_property: Record) -> None:
    """The call was busy for long enough to tell, and the other thread ran meanwhile."""
    seconds, stall = found[:2]
    record_property(f"longest stall of a thread: {what}", round(stall, 3))
    assert seconds > BUSY * 0.8
    assert stall < STALL


MEASURE = """
with Ticker() as ticker:
    began = time.monotonic()
    result = {call}
    seconds = time.monotonic() - began
report([seconds, ticker.longest, str(result)])
"""

RUNNING_CALLS = [
    'c.wait("STOPPED", 1)',
    "c.get_ips(timeout=1)",
    'c.attach_wait(lxc.attach_run_command, ["sleep", "0.7"])',
    "c.attach_wait(time.sleep, 0.7)",
    '(c.set_config_item("lxc.environment", "A=1"), c.attach_wait(time.sleep, 0.7))',
    (
        '(c.set_config_item("lxc.environment", "A=1"), '
        'c.attach_wait(lxc.attach_run_command, ["sleep", "0.7"]))'
    ),
]


@pytest.mark.parametrize("call", RUNNING_CALLS)
def test_thread_runs_during_a_call_that_waits(
    shared: lxc.Container, call: str, record_property: Record
) -> None:
    check_stall(run(shared, MEASURE.format(call=call)), call, record_property)


def test_thread_runs_during_console(
    shared: lxc.Container, record_property: Record
) -> None:
    with Program(shared, MEASURE.format(call="c.console()"), terminal=True) as program:
        program.expect(b"to exit the console")
        time.sleep(BUSY)
        program.type(b"\x01q")
        check_stall(program.next(), "c.console()", record_property)
        program.finish()


def test_thread_runs_during_a_foreground_start(
    stopped: lxc.Container, record_property: Record
) -> None:
    call = 'c.start(cmd=["/bin/sleep", "0.7"], daemonize=False)'
    check_stall(run(stopped, MEASURE.format(call=call)), call, record_property)


def test_thread_runs_during_a_slow_shutdown(
    stopped: lxc.Container, record_property: Record
) -> None:
    script = 'trap "sleep 0.7; exit 0" PWR USR1; while :; do sleep 0.1; done'
    assert stopped.start(cmd=("/bin/sh", "-c", script))
    call = "c.shutdown(10)"
    check_stall(run(stopped, MEASURE.format(call=call)), call, record_property)
    assert not stopped.running


def test_thread_runs_while_a_reboot_is_awaited(
    make: Callable[..., lxc.Container], record_property: Record
) -> None:
    container = make(start=True, config={"lxc.signal.reboot": "SIGWINCH"})
    call = "refused(lambda: c.reboot2(0.7))"
    check_stall(run(container, MEASURE.format(call=call)), call, record_property)


# A stopped monitor answers nobody, and liblxc asks it without a timeout.
QUESTIONS = [
    "c.state",
    "c.running",
    "c.init_pid",
    "c.controllable",
    "c.wait('RUNNING', 5)",
    "c.get_running_config_item('lxc.uts.name')",
    f"c.get_cgroup_item({cgroup_limit()!r})",
    f"c.set_cgroup_item({cgroup_limit()!r}, 'max')",
    "c.get_ips()",
    "c.get_interfaces()",
    "c.attach_wait(lxc.attach_run_command, ['true'])",
    "c.attach_wait(lambda: None)",
    "os.waitpid(c.attach(lambda: None), 0)",
    "os.close(c.console_getfd())",
    "c.add_device_node('/dev/null')",
    "c.start()",
    "refused(c.console_log)",
    "refused(c.seccomp_notify_fd_active)",
    "refused(lambda: c.mount('/etc', '/mnt', None, 4096))",
    "refused(lambda: c.umount('/mnt'))",
    "refused(lambda: c.checkpoint('/proc/none'))",
    "refused(lambda: c.restore('/proc/none'))",
    "refused(lambda: c.migrate(lxc.MIGRATE_PRE_DUMP, '/proc/none'))",
    "refused(lambda: c.migrate(lxc.MIGRATE_FEATURE_CHECK, features_to_check=3))",
    "refused(c.destroy_with_snapshots)",
    "lxc.list_containers(config_path=c.get_config_path())",
    "[x.state for x in lxc.list_containers(True, True, True, c.get_config_path())]",
]

ORDERS = [
    "c.freeze()",
    "c.unfreeze()",
    "c.stop()",
    "c.shutdown(0)",
    "c.reboot()",
    "refused(lambda: c.reboot2(0))",
    "c.remove_device_node('/dev/null')",
    "c.save_config() and c.destroy()",
]


def check_without_answer(
    container: lxc.Container, call: str, record_property: Record
) -> None:
    program = MEASURE.format(call=f"(resume_later(int(sys.argv[1]), {BUSY}), {call})")
    monitor = monitor_of(container)
    with paused(monitor):
        seconds, stall, _ = run(container, program, str(monitor))
    record_property(f"longest stall of a thread: {call}", round(stall, 3))
    # Not each of them must ask the monitor: some can do without.
    assert seconds < BUSY + 10
    assert stall < STALL


@pytest.mark.parametrize("call", QUESTIONS)
def test_thread_runs_while_a_question_is_not_answered(
    shared: lxc.Container, call: str, record_property: Record
) -> None:
    check_without_answer(shared, call, record_property)


@pytest.mark.parametrize("call", ORDERS)
def test_thread_runs_while_an_order_is_not_answered(
    running: lxc.Container, call: str, record_property: Record
) -> None:
    check_without_answer(running, call, record_property)


@contextlib.contextmanager
def locked_on_disk(container: lxc.Container) -> Iterator[None]:
    """Hold the lock that liblxc takes to load and save the configuration.

    It is an open file description's lock, which Python has no name for.
    """
    path = container.get_config_path()
    lock = Path(f"/run/lxc/lock/{path.lstrip('/')}", f".{container.name}")
    assert lock.exists()
    F_OFD_SETLK = 37
    with open(lock, "r+") as file:
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(file, F_OFD_SETLK, whole)
        yield


DISK_CALLS = [
    "c.save_config()",
    "c.load_config()",
    "c.destroy()",
    "lxc.Container(c.name, c.get_config_path()).defined",
    "c.attach_wait(lxc.attach_run_command, ['true'])",
    "c.attach_wait(lambda: None)",
]


@pytest.mark.parametrize("call", DISK_CALLS)
def test_thread_runs_while_the_configuration_is_locked(
    stopped: lxc.Container, call: str, record_property: Record
) -> None:
    # Making the object takes this lock, too: so lock when it is there.
    begin = "report(True)\nsys.stdin.readline()\n"
    program = begin + MEASURE.format(call=call)
    with Program(stopped, program, stdin=subprocess.PIPE) as child:
        child.next()
        with locked_on_disk(stopped):
            assert child.process.stdin
            child.process.stdin.write("\n")
            child.process.stdin.flush()
            time.sleep(BUSY)
        seconds, stall, _ = child.next()
        child.finish()
    record_property(f"longest stall of a thread: {call}", round(stall, 3))
    assert seconds < BUSY + 10
    assert stall < STALL


def script(directory: Path, name: str, text: str) -> str:
    """A hook, or a template."""
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


SLOW_CALLS = {
    "start": ("lxc.hook.pre-start", "c.start()"),
    "clone": ("lxc.hook.clone", "c.clone(c.name + '-clone').destroy()"),
    "snapshot": ("lxc.hook.clone", "c.snapshot()"),
    "snapshot_restore": ("lxc.hook.clone", "c.snapshot_restore('snap0')"),
    "rename": ("lxc.hook.clone", "c.rename(c.name + '-new').rename(c.name)"),
    "destroy": ("lxc.hook.destroy", "c.destroy()"),
    "destroy_with_snapshots": ("lxc.hook.destroy", "c.destroy_with_snapshots()"),
    "snapshot_destroy_all": ("lxc.hook.destroy", "c.snapshot_destroy_all()"),
}


@pytest.mark.parametrize("kind", SLOW_CALLS)
def test_thread_runs_during_a_slow_hook(
    make: Callable[..., lxc.Container],
    tmp_path: Path,
    kind: str,
    record_property: Record,
) -> None:
    key, call = SLOW_CALLS[kind]
    container = make()
    os.chmod(tmp_path, 0o755)
    assert container.set_config_item(key, script(tmp_path, "hook", f"sleep {BUSY}"))
    assert container.save_config()
    if "snapshot" in kind and kind != "snapshot":
        # The snapshot has a copy of the configuration, hook included.
        assert container.snapshot() == "snap0"
    check_stall(run(container, MEASURE.format(call=call)), call, record_property)


def test_thread_runs_during_create(
    lxcpath: str,
    new_name: Callable[[], str],
    tmp_path: Path,
    record_property: Record,
) -> None:
    container = lxc.Container(new_name(), lxcpath)
    template = script(tmp_path, "template", f"sleep {BUSY}")
    call = f"c.create({template!r})"
    try:
        check_stall(run(container, MEASURE.format(call=call)), call, record_property)
    finally:
        lxc.Container(container.name, lxcpath).destroy()


def test_thread_runs_during_many_short_calls(shared: lxc.Container) -> None:
    with Ticker() as ticker:
        for _ in range(30):
            shared.attach_wait(lxc.attach_run_command, ["true"])
            shared.attach_wait(lambda: None)
            shared.get_ips()
    assert ticker.longest < STALL


# --- One object in many threads -------------------------------------------------------

TOGETHER = """
over = time.monotonic() + float(sys.argv[1])
names = sys.argv[2].split(",")
c.save_config()
backup = "/dev/null"
wrong = []
counts = {}
lock = threading.Lock()

def expect(what, good):
    if not good:
        wrong.append(what)

def attach_command():
    status = c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 3"])
    expect(["attach_wait", status, str(c.last_error)], status == 3 << 8)

def attach_function():
    status = c.attach_wait(lambda: 3)
    expect(["function", status, str(c.last_error)], status == 3 << 8)

def attach_using():
    # The function uses the object that the other threads use.
    status = c.attach_wait(lambda: c.get_config_item("lxc.uts.name") and 3)
    expect(["using", status], status == 3 << 8)

def attach_pid():
    pid = c.attach(lxc.attach_run_command, ["sh", "-c", "exit 3"])
    expect(["attach", pid], pid > 0 and os.waitpid(pid, 0)[1] == 3 << 8)

def get():
    for _ in range(50):
        value = c.get_config_item("lxc.arch")
        expect(["get", value], value in ("x86_64", "", "aarch64", "i686"))

def set():
    for n in range(20):
        expect(["set", n], c.set_config_item("lxc.environment", [f"A={n}", "B=1"]))

def state():
    expect(["state", c.state], c.state == "RUNNING" and c.running and c.init_pid > 0)

def save():
    expect(["save"], c.save_config())

def load():
    c.clear_config()
    expect(["load"], c.load_config())

def keys():
    c.get_keys()
    c.network and len(c.network)

def wait():
    expect(["wait"], c.wait("RUNNING", 5))

def environment():
    # The C library's lock of the environment must not be taken in a forked child.
    for n in range(100):
        os.environ["TOGETHER"] = "x" * n

def is_over():
    # On a busy machine some come late: whoever starved would never come.
    now = time.monotonic()
    with lock:
        served = all(counts.get(name, 0) >= 2 for name in names)
    return now > over and (served or now > over + 15)

def work(name):
    try:
        while not is_over():
            globals()[name]()
            with lock:
                counts[name] = counts.get(name, 0) + 1
    except BaseException as error:
        wrong.append([name, repr(error)])

threads = [threading.Thread(target=work, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
report([wrong[:10], counts, children(), c.state])
"""


@pytest.mark.parametrize(
    "names",
    [
        "attach_command,get,set,state,save,keys,attach_function,wait",
        "attach_command,attach_command,attach_command,get,get,set,set,state",
        "attach_function,attach_function,attach_using,get,set,save,state,environment",
        "attach_pid,attach_pid,attach_command,get,set,keys,state,environment",
        "get,set,save,keys,state,wait,get,set",
    ],
)
def test_eight_threads_on_one_object(running: lxc.Container, names: str) -> None:
    with Program(running, TOGETHER, "2.5", names) as program:
        wrong, counts, left, state = program.next(30)
        program.finish()
    assert wrong == []
    assert left == []
    assert state == "RUNNING"
    # Nobody starved.
    assert set(counts) == set(names.split(","))
    assert min(counts.values()) >= 2


def test_threads_that_clear_and_load_the_configuration(running: lxc.Container) -> None:
    # What the others see between the two is up to chance; that they live is not.
    names = "load,load,get_any,set_any,save_any,attach_any,state,keys_any"
    chance = """
    def anyway(call):
        def attempt():
            try:
                call()
            except KeyError:
                pass
        return attempt

    get_any = anyway(lambda: c.get_config_item("lxc.uts.name"))
    set_any = anyway(lambda: c.set_config_item("lxc.environment", "A=1"))
    save_any = anyway(lambda: c.save_config(f"/run/unused-{os.getpid()}"))
    attach_any = anyway(lambda: c.attach_wait(lxc.attach_run_command, ["true"]))
    keys_any = anyway(lambda: c.get_keys("lxc.net.0"))
    """
    head, _, tail = TOGETHER.partition("def work(name):")
    program = f"{head}{textwrap.dedent(chance)}\ndef work(name):{tail}"
    with Program(running, program, "2.5", names) as child:
        pid = child.process.pid
        wrong, counts, left, state = child.next(30)
        child.finish()
    Path(f"/run/unused-{pid}").unlink(missing_ok=True)
    assert wrong == []
    assert left == []
    assert state == "RUNNING"
    assert min(counts.values()) >= 2


def test_containers_side_by_side(make: Callable[..., lxc.Container]) -> None:
    containers = [make() for _ in range(3)]
    program = """
    names = sys.argv[1:]
    found = {}

    def live(name):
        container = lxc.Container(name, c.get_config_path())
        results = [container.start()]
        for n in range(3):
            results.append(container.attach_wait(lambda: n + 1) >> 8)
        results.append(container.stop())
        found[name] = results

    threads = [threading.Thread(target=live, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report(found)
    """
    names = [container.name for container in containers]
    found = run(containers[0], program, *names)
    assert found == {name: [True, 1, 2, 3, True] for name in names}


BLOCKERS = {
    "wait": 'c.wait("STOPPED", 60)',
    "get_ips": 'c.get_ips("eth7", timeout=60)',
    "command": 'c.attach_wait(lxc.attach_run_command, ["sleep", "60"])',
    "function": "c.attach_wait(time.sleep, 60)",
    "unsaved command": (
        '(c.set_config_item("lxc.environment", "A=1"), '
        'c.attach_wait(lxc.attach_run_command, ["sleep", "60"]))'
    ),
    "unsaved function": (
        '(c.set_config_item("lxc.environment", "A=1"), c.attach_wait(time.sleep, 60))'
    ),
    "reboot2": (
        '(c.set_config_item("lxc.signal.reboot", "SIGWINCH"), refused(c.reboot2))'
    ),
}


@pytest.mark.parametrize("kind", BLOCKERS)
def test_long_call_does_not_keep_others_out(running: lxc.Container, kind: str) -> None:
    program = """
    def block():
        {call}

    thread = threading.Thread(target=block, daemon=True)
    thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    found = [c.get_config_item("lxc.uts.name") == c.name, c.state]
    found += [c.set_config_item("lxc.uts.name", "new"), c.save_config()]
    found += [c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 3"])]
    found += [c.attach_wait(lambda: 3), c.stop(), time.monotonic() - began < 5]
    thread.join({patience})
    # A thread that goes on asking has a child of liblxc's for a moment, now and then.
    report(found + [thread.is_alive(), wait_until(lambda: not children())])
    os._exit(0)
    """
    patience = 1 if kind == "get_ips" else 10
    text = program.replace("{call}", BLOCKERS[kind]).replace(
        "{patience}", f"{patience}"
    )
    found = run(running, text)
    assert found[:8] == [True, "RUNNING", True, True, 3 << 8, 3 << 8, True, True]
    # The waiting ends with the container; no address is no reason to give up.
    assert found[8:] == [kind == "get_ips", True]


def test_slow_start_does_not_keep_others_out(
    make: Callable[..., lxc.Container], tmp_path: Path
) -> None:
    os.chmod(tmp_path, 0o755)
    hook = script(tmp_path, "hook", "sleep 1")
    container = make(config={"lxc.hook.pre-start": hook})
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(container.start()))
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    assert container.get_config_item("lxc.hook.pre-start") == [hook]
    assert container.set_config_item("lxc.environment", "A=1")
    assert time.monotonic() - began < 0.4
    thread.join(20)
    assert results == [True]


@pytest.mark.parametrize("what", ["command", "function", "pid"])
def test_attach_from_another_thread(shared: lxc.Container, what: str) -> None:
    results: list[Any] = []

    def work() -> None:
        if what == "command":
            results.append(command(shared, "sh", "-c", "exit 3").status)
        elif what == "function":
            main = threading.main_thread
            results.append(
                # The thread that forked is the only one of the child, and its main one.
                shared.attach_wait(
                    lambda: 3 if threading.current_thread() is main() else 4
                )
            )
        else:
            pid = shared.attach(lambda: 3)
            results.append(os.waitpid(pid, 0)[1])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert results == [3 << 8]


# The C library's lock of the environment must not be taken in what liblxc forks,
# neither by Python, which holds the GIL meanwhile, nor by C code, which does not.  The
# more variables there are, the longer it is taken.
CHANGE_ENVIRONMENT = {
    "os.environ": """
def change():
    n = 0
    while not over.is_set():
        os.environ["CHANGES"] = "x" * (n := (n + 1) % 200)
""",
    "C code": """
import ctypes
setenv = ctypes.CDLL(None).setenv

def change():
    n = 0
    while not over.is_set():
        setenv(b"CHANGES", b"x" * (n := (n + 1) % 200), 1)
        time.sleep(0.0001)
""",
}

FORKING_CALLS = {
    "clone": "c.clone(name).destroy()",
    "rename": "c.rename(name).rename(c.name)",
    "snapshot": "c.snapshot_destroy(c.snapshot())",
    "snapshot_restore": (
        "c.snapshot_restore(c.snapshot(), name) and c.snapshot_destroy('snap0') and "
        "lxc.Container(name, c.get_config_path()).destroy()"
    ),
    "destroy_with_snapshots": (
        "(new := c.clone(name)).snapshot() and "
        "refused(new.destroy_with_snapshots) is None"
    ),
    "snapshot_destroy_all": "c.snapshot() and refused(c.snapshot_destroy_all) is None",
    "start": "c.start() and c.attach_wait(lxc.attach_run_command, ['true']) == 0 "
    "and c.stop()",
}


@pytest.mark.parametrize(
    ("kind", "who"),
    [*((kind, "os.environ") for kind in FORKING_CALLS), ("clone", "C code")],
)
def test_call_that_forks_while_the_environment_changes(
    make: Callable[..., lxc.Container], tmp_path: Path, kind: str, who: str
) -> None:
    os.chmod(tmp_path, 0o755)
    hook = script(tmp_path, "hook", "exit 0")
    container = make(config={"lxc.hook.clone": hook, "lxc.hook.destroy": hook})
    program = f"""
os.environ.update((f"VARIABLE_{{n}}", "1") for n in range(500))
over = threading.Event()
{CHANGE_ENVIRONMENT[who]}
thread = threading.Thread(target=change, daemon=True)
thread.start()
name = c.name + "-new"
good = [bool({FORKING_CALLS[kind]}) for _ in range(3)]
over.set()
thread.join()
report([good, children()])
"""
    assert run(container, program) == [[True] * 3, []]


@pytest.mark.parametrize("kind", FORKING_CALLS)
def test_call_that_forks_where_children_are_ignored(
    make: Callable[..., lxc.Container], kind: str
) -> None:
    program = f"""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    name = c.name + "-new"
    report([bool({FORKING_CALLS[kind]}), children()])
    """
    assert run(make(), program) == [True, []]


def test_one_of_many_threads_initializes_an_object(shared: lxc.Container) -> None:
    program = """
    def initialize(x, barrier, results):
        barrier.wait()
        try:
            x.__init__(c.name, c.get_config_path())
        except RuntimeError as error:
            results.append(str(error))
        else:
            results.append(x.state)

    found = []
    for _ in range(40):
        x = lxc.Container.__new__(lxc.Container)
        barrier, results = threading.Barrier(4), []
        threads = [
            threading.Thread(target=initialize, args=(x, barrier, results))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found.append(sorted(results) + [x.name == c.name])
    report(found)
    """
    again = "this Container is initialized already"
    assert run(shared, program) == [["RUNNING", again, again, again, True]] * 40


def test_threads_show_an_object_whose_path_changes(shared: lxc.Container) -> None:
    program = """
    x = lxc.Container(c.name, c.get_config_path())
    over = time.monotonic() + 1.5
    shown = set()
    wrong = []

    def show():
        while time.monotonic() < over:
            shown.update((repr(x), x.name, x.get_config_path()))

    def change():
        try:
            for n in range(1 << 30):
                x.set_config_path(f"/run/{n % 10}" + "y" * (n % 50))
                if time.monotonic() > over:
                    break
        except BaseException as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=show) for _ in range(3)]
    threads += [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paths = {f"/run/{n % 10}" + "y" * (n % 50) for n in range(50)}
    paths.add(c.get_config_path())
    known = paths | {f"Container({c.name!r}, {path!r})" for path in paths} | {c.name}
    report([wrong, sorted(shown - known), len(shown) > 5])
    """
    # A path that was freed too early shows at once there.
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    assert run(shared, program, env=environment) == [[], [], True]


@pytest.mark.parametrize(
    "call",
    [
        "os.waitpid(c.attach(lxc.attach_run_command, ['sh', '-c', 'exit 3']), 0)[1]",
        "os.waitpid(c.attach(lambda: 3), 0)[1]",
        "c.attach_wait(lambda: 3)",
    ],
)
def test_attach_leaves_the_descriptors_of_other_threads(
    shared: lxc.Container, call: str
) -> None:
    # liblxc leaves one open, which is looked for among all that are new.
    program = f"""
    over = threading.Event()
    wrong = []

    def use():
        while not over.is_set():
            try:
                own = [*os.pipe(), os.dup(pidfd), os.pidfd_open(os.getpid())]
                os.write(own[1], b"x")
                if os.read(own[0], 1) != b"x":
                    wrong.append("another pipe")
                for number in own:
                    os.close(number)
            except OSError as error:
                wrong.append(repr(error))

    pidfd = os.pidfd_open(c.init_pid)
    before = descriptors()
    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = [{call} for _ in range(25)]
    over.set()
    for thread in threads:
        thread.join()
    report([wrong[:5], statuses, descriptors() - before])
    """
    assert run(shared, program) == [[], [3 << 8] * 25, 0]


# --- Forked children ------------------------------------------------------------------


def test_attached_function_uses_the_object(shared: lxc.Container) -> None:
    def use() -> bool:
        good = shared.get_config_item("lxc.uts.name") == shared.name
        return good and shared.set_config_item("lxc.environment", "IN=child")

    assert shared.attach_wait(use) == 1 << 8
    assert "IN=child" not in shared.get_config_item("lxc.environment")


def test_attached_function_uses_the_object_of_a_busy_thread(
    shared: lxc.Container,
) -> None:
    program = """
    over = threading.Event()

    def busy():
        while not over.is_set():
            c.get_config_item("lxc.uts.name")
            c.state
            c.set_config_item("lxc.environment", "A=1")
            c.get_running_config_item("lxc.uts.name")

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    found = [
        c.attach_wait(lambda: c.get_config_item("lxc.uts.name") == c.name)
        for _ in range(40)
    ]
    over.set()
    for thread in threads:
        thread.join()
    report(found)
    """
    assert run(shared, program) == [1 << 8] * 40


USE = """
def use():
    ok = c.get_config_item("lxc.uts.name") == c.name and c.state == "RUNNING"
    ok = ok and c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 3"]) == 768
    ok = ok and c.attach_wait(lambda: 3) == 768
    return ok and c.set_config_item("lxc.environment", "B=2")
"""


def test_forked_child_uses_the_object(shared: lxc.Container) -> None:
    program = f"""{USE}
pid = os.fork()
if pid == 0:
    os._exit(0 if use() else 1)
report([os.waitpid(pid, 0)[1], use()])
"""
    assert run(shared, program) == [0, True]


def test_child_of_multiprocessing_uses_the_object(shared: lxc.Container) -> None:
    program = f"""{USE}
import multiprocessing

def get(number):
    return c.get_config_item("lxc.uts.name")

context = multiprocessing.get_context("fork")
worker = context.Process(target=lambda: sys.exit(0 if use() else 1))
worker.start()
worker.join(30)
with context.Pool(2) as pool:
    names = pool.map(get, range(4), chunksize=1)
report([worker.exitcode, names == [c.name] * 4])
"""
    assert run(shared, program) == [0, True]


def test_forks_while_other_threads_use_the_object(shared: lxc.Container) -> None:
    program = f"""{USE}
over = threading.Event()

def busy():
    while not over.is_set():
        c.get_config_item("lxc.uts.name")
        c.save_config("/dev/null")
        c.get_running_config_item("lxc.uts.name")

threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
statuses = []
for _ in range(15):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os._exit(0 if use() else 1)
    statuses.append(os.waitpid(pid, 0)[1])
over.set()
for thread in threads:
    thread.join()
report(statuses)
"""
    assert run(shared, program) == [0] * 15


def test_fork_while_another_thread_clones(
    make: Callable[..., lxc.Container], tmp_path: Path
) -> None:
    # liblxc's own lock of the object is taken then, for ever in the child.
    os.chmod(tmp_path, 0o755)
    hook = script(tmp_path, "hook", "sleep 2")
    container = make(config={"lxc.hook.clone": hook})
    program = """
    name = c.name + "-clone"
    thread = threading.Thread(target=lambda: c.clone(name))
    thread.start()
    time.sleep(1)
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        os._exit(0 if c.get_config_item("lxc.uts.name") == c.name else 1)
    status = os.waitpid(pid, 0)[1]
    still_cloning = thread.is_alive()
    thread.join()
    report([status, still_cloning, lxc.Container(name, c.get_config_path()).destroy()])
    """
    assert run(container, program) == [0, True, True]


def test_forked_child_gives_its_object_back(shared: lxc.Container) -> None:
    program = """
    pid = os.fork()
    if pid == 0:
        del globals()["c"]
        gc.collect()
        os._exit(0)
    report([os.waitpid(pid, 0)[1], c.state, c.attach_wait(lambda: None)])
    """
    assert run(shared, program) == [0, "RUNNING", 0]


# --- The end of an object -------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        "pass",
        "x.network",
        "len(x.network), list(x.network), dir(x.network)",
        "x.attach_wait(lambda: x.name)",
        "x.attach_wait(lxc.attach_run_command, ['true'])",
        "x.start()",
        "lxc.Container('none', x.get_config_path()).start(), x.last_error",
        "repr(x), x.state, x.get_ips()",
        "x.get_keys(), x.get_config_item('lxc.cap.drop')",
    ],
)
def test_object_goes_with_its_last_reference(shared: lxc.Container, use: str) -> None:
    program = f"""
    gc.disable()
    x = lxc.Container(c.name, c.get_config_path())
    gone = weakref.ref(x)
    {use}
    del x
    report(gone() is None)
    """
    assert run(shared, program) is True


def test_network_outlives_nothing(shared: lxc.Container) -> None:
    # The list of networks keeps its container, and not the other way round.
    program = """
    gc.disable()
    x = lxc.Container(c.name, c.get_config_path())
    gone = weakref.ref(x)
    network = x.network
    del x
    found = [len(network)]
    del network
    report(found + [gone() is None])
    """
    assert run(shared, program) == [1, True]


def test_object_whose_last_reference_is_a_threads(shared: lxc.Container) -> None:
    program = """
    x = lxc.Container(c.name, c.get_config_path())
    gone = weakref.ref(x)
    started = threading.Event()

    def wait(x):
        started.set()
        return x.wait("STOPPED", 1)

    thread = threading.Thread(target=wait, args=(x,))
    thread.start()
    started.wait()
    del x
    gc.collect()
    alive_meanwhile = gone() is not None
    thread.join()
    del thread
    gc.collect()
    report([alive_meanwhile, gone() is None])
    """
    assert run(shared, program) == [True, True]


def test_program_ends_while_a_thread_waits(shared: lxc.Container) -> None:
    program = """
    for call in (lambda: c.wait("STOPPED"), lambda: c.get_ips(timeout=600)):
        threading.Thread(target=call, daemon=True).start()
    time.sleep(0.3)
    report(True)
    """
    with Program(shared, program) as child:
        assert child.next()
        child.finish(10)


def test_reloading_the_module_keeps_objects(
    shared: lxc.Container,
) -> None:
    program = """
    import importlib
    importlib.reload(lxc)
    x = lxc.Container(c.name, c.get_config_path())
    report([x.state, c.state, x.attach_wait(lambda: None)])
    """
    assert run(shared, program) == ["RUNNING", "RUNNING", 0]


def test_lost_child_is_noticed(shared: lxc.Container) -> None:
    # A program that waits for any child takes the binding's, too.
    program = """
    over = threading.Event()

    def steal():
        while not over.is_set():
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pass
            time.sleep(0.0005)

    thread = threading.Thread(target=steal)
    thread.start()
    found = []
    for _ in range(10):
        status = c.attach_wait(lxc.attach_run_command, ["true"])
        found.append(status == 0 or (status == -1 and c.last_error is not None))
    over.set()
    thread.join()
    report(found)
    """
    assert run(shared, program) == [True] * 10
    assert wait_until(lambda: command(shared, "true").status == 0)
