# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls in the middle of a call of the same thread: signal handlers, finalizers, hooks.

What would have to wait for its own thread says that the object is busy, and does not
hang; all else works.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import Program, run

import lxc

pytestmark = pytest.mark.containers

# A thread holds what all calls share that have a pidfd of the container's init, and the
# umask's lock, until it is told to go on: it is in a hook of its fork.
HOLD = """
signal.alarm(20)  # nothing in here takes that long: ends what hangs
other = lxc.Container(c.name, c.get_config_path())
entered, release = threading.Event(), threading.Event()
hooks = {}

def before_fork():
    hook = hooks.pop(threading.current_thread().name, None)
    if hook is not None:
        hook()

os.register_at_fork(before=before_fork)

def reap(pid):
    return pid > 0 and os.waitpid(pid, 0)[1] == 0

def thread(call, name):
    started = threading.Thread(target=call, name=name, daemon=True)
    started.start()
    return started

def close(number):
    os.close(number)
    return number > 2

def outcome(call):
    try:
        return call()
    except RuntimeError as error:
        return str(error)

shared = lambda: c.state
config = lambda: c.get_config_item("lxc.uts.name") == c.name
alone = lambda: c.set_config_path(c.get_config_path())
pidfd = lambda: close(c.init_pidfd())

hooks["holder"] = lambda: (entered.set(), release.wait())
holder = thread(lambda: reap(other.attach(lambda: 0)), "holder")
assert entered.wait(10)
"""

# The calls that the handler interrupts, as they wait for that thread, by what they hold
# of the object meanwhile.
OUTER = {
    "shared": "pidfd",
    "config": "lambda: reap(c.attach(lambda: 0))",
    "alone": "lambda: c.save_config(sys.argv[3])",
}

# What works in a handler, of what needs so much of the object.
INNER = ("shared", "config", "alone", "pidfd")
WORKS = {
    "shared": {"shared": "RUNNING", "config": True, "pidfd": True},
    "config": {"shared": "RUNNING", "pidfd": True},
    "alone": {},
}

NESTED = (
    HOLD
    + """
outer, third = sys.argv[1:3]
seen = []

def handler(*_):
    inner = ("shared", "config", "alone", "pidfd")[len(seen)]
    if inner == "pidfd":
        threading.Timer(0.2, release.set).start()
    seen.append(outcome(globals()[inner]))

signal.signal(signal.SIGUSR1, handler)
ended = []

def queue():
    time.sleep(0.2)
    if third != "nobody":
        thread(lambda: ended.append(globals()[third]()), "third").join(0.1)
    for n in range(4):
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_until(lambda: len(seen) > n)

queueing = thread(queue, "queue")
result = eval(outer)()
queueing.join()
holder.join()
assert third == "nobody" or wait_until(lambda: ended)
report([seen, result, shared(), config(), alone(), pidfd()])
"""
)


def busy(name: str) -> str:
    return (
        f"'{name}' is busy: this would have to wait for a call of its own thread, "
        "which is in a signal handler or a finalizer"
    )


@pytest.mark.parametrize("third", ["nobody", "config", "alone"])
@pytest.mark.parametrize("outer", OUTER)
def test_handler_uses_the_object_whose_call_waits_for_a_lock(
    shared: lxc.Container, tmp_path: Path, outer: str, third: str
) -> None:
    saved = str(tmp_path / "config")
    seen, *after = run(shared, NESTED, OUTER[outer], third, saved)
    assert seen == [WORKS[outer].get(inner, busy(shared.name)) for inner in INNER]
    assert after == [True, "RUNNING", True, True, True]


def test_handler_in_a_handler(shared: lxc.Container) -> None:
    program = (
        HOLD
        + """
    seen = []

    def inner(*_):
        seen.extend([outcome(shared), outcome(config), outcome(alone)])
        threading.Timer(0.3, release.set).start()

    def handler(*_):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        seen.append(outcome(pidfd))

    signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR2, inner)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    seen.append(pidfd())
    report(seen + [alone()])
    """.replace("\n    ", "\n")
    )
    found = run(shared, program)
    assert found == ["RUNNING", True, busy(shared.name), True, True, True]


def test_two_threads_that_would_wait_for_each_other(shared: lxc.Container) -> None:
    # The other thread has the other object, and waits for this thread's fork.
    program = (
        HOLD
        + """
    release.set()
    holder.join()
    found = []

    def in_the_middle():
        waiting = thread(lambda: found.append(reap(other.attach(lambda: 0))), "second")
        time.sleep(0.3)
        found.append(outcome(lambda: other.get_config_item("lxc.uts.name")))
        found.append(other.state)

    hooks["MainThread"] = in_the_middle
    found.append(reap(c.attach(lambda: 0)))
    assert wait_until(lambda: len(found) == 4)
    report(found[:2] + sorted(found[2:]))
    """.replace("\n    ", "\n")
    )
    assert run(shared, program) == [busy(shared.name), "RUNNING", True, True]


@pytest.mark.parametrize("where", ["MainThread", "another"])
def test_finalizer_in_the_middle_of_a_call(shared: lxc.Container, where: str) -> None:
    program = (
        HOLD
        + """
    release.set()
    holder.join()
    seen = []

    class Cycle:
        def __init__(self):
            self.itself = self
        def __del__(self):
            seen.extend([outcome(shared), outcome(config), outcome(alone)])

    def in_the_middle():
        Cycle()
        gc.collect()

    hooks[sys.argv[1]] = in_the_middle
    call = lambda: seen.append(reap(c.attach(lambda: 0)))
    if sys.argv[1] == "another":
        thread(call, "another").join()
    else:
        call()
    report(seen + [alone()])
    """.replace("\n    ", "\n")
    )
    name = busy(shared.name)
    assert run(shared, program, where) == ["RUNNING", name, name, True, True]


def test_fork_in_a_handler(shared: lxc.Container) -> None:
    # The child goes on with the call as well, and holds what its parent held.
    program = (
        HOLD
        + """
    child = None

    def handler(*_):
        global child
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            report([outcome(config), outcome(alone)])
        else:
            release.set()

    signal.signal(signal.SIGUSR1, handler)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    result = pidfd()
    if child == 0:
        report([result, config(), alone()])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    report([result, config(), alone()])
    """.replace("\n    ", "\n")
    )
    values: list[Any] = []
    with Program(shared, program) as child:
        values = [child.next() for _ in range(3)]
        child.finish()
    assert values == [[True, busy(shared.name)], [True, True, True], [True, True, True]]
