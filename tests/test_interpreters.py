# SPDX-License-Identifier: LGPL-2.1-or-later
"""The package in subinterpreters, which share the process and nothing of Python's."""

from __future__ import annotations

import importlib.util
import textwrap

import pytest
from support import Program, children, run

import lxc

MODULE = next(
    (
        name
        for name in ("_interpreters", "_xxsubinterpreters")
        if importlib.util.find_spec(name)
    ),
    None,
)

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(MODULE is None, reason="this Python has no subinterpreters"),
]

# From then on, each has a GIL of its own.
needs_own_gil = pytest.mark.needs_python(3, 12, reason="interpreters share one GIL")

# What a program begins with.  interpret() runs code in a new interpreter, in which `c`
# is the container again, and returns what that gave to report().
PRELUDE = f"""
import {MODULE} as interpreters

def interpret(code, interpreter=None):
    reader, writer = os.pipe()
    begin = (
        f"import sys; sys.path[:] = {{sys.path!r}}\\n"
        "import json, os, threading, time, lxc\\n"
        "def report(value):\\n"
        f"    os.write({{writer}}, json.dumps(value).encode())\\n"
        f"c = lxc.Container({{c.name!r}}, {{c.get_config_path()!r}})\\n"
    )
    own = interpreter is None
    if own:
        interpreter = interpreters.create()
    try:
        error = interpreters.run_string(interpreter, begin + code)
        assert error is None, error
    finally:
        os.close(writer)
        with open(reader) as file:
            text = file.read()
        if own:
            interpreters.destroy(interpreter)
    return json.loads(text)
"""


def program(body: str) -> str:
    return PRELUDE + textwrap.dedent(body)


def test_container_in_a_subinterpreter(shared: lxc.Container) -> None:
    found = run(
        shared,
        program("""
        code = '''
        report([
            lxc.version, c.state, c.get_config_item("lxc.uts.name"), repr(c),
            c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 3"]),
            os.waitpid(c.attach(lxc.attach_run_command, ["sh", "-c", "exit 4"]), 0)[1],
            c.get_ips(), lxc.Container("none", c.get_config_path()).start(),
            c.name in lxc.list_containers(config_path=c.get_config_path()),
        ])
        '''
        report([interpret(textwrap.dedent(code)), children()])
        """).replace("import ", "import textwrap, ", 1),
    )
    assert found == [
        [
            *(lxc.version, "RUNNING", shared.name, repr(shared), 3 << 8, 4 << 8),
            *([], False, True),
        ],
        [],
    ]


def test_container_lives_in_a_subinterpreter(stopped: lxc.Container) -> None:
    found = run(
        stopped,
        program("""
        report(interpret(
            "clone = c.clone(c.name + '-clone')\\n"
            "report([c.start(), c.wait('RUNNING', 10), c.stop(), clone.destroy()])"
        ))
        """),
    )
    assert found == [True, True, True, True]


@pytest.mark.parametrize("call", ["attach", "attach_wait"])
def test_function_is_refused_as_fork_is(shared: lxc.Container, call: str) -> None:
    # CPython would end the attached process: its hooks are for the main interpreter.
    found = run(
        shared,
        program(f"""
        code = '''
        try:
            result = c.{call}(lambda: 0)
        except RuntimeError as error:
            result = str(error)
        report([result, c.attach_wait(lxc.attach_run_command, ["true"])])
        '''
        import textwrap
        report([interpret(textwrap.dedent(code)), c.attach_wait(lambda: 3), children()])
        """),
    )
    (message, status), own, left = found
    assert "from a subinterpreter" in message
    assert (status, own, left) == (0, 3 << 8, [])


def test_interpreters_come_and_go(shared: lxc.Container) -> None:
    found = run(
        shared,
        program("""
        def visit():
            return interpret("report([c.state, c.network[0].type])")

        first = visit()
        before = descriptors()
        states = [visit() == first for _ in range(10)]
        report([first, states, descriptors() - before, c.state])
        """),
    )
    assert found == [["RUNNING", "empty"], [True] * 10, 0, "RUNNING"]


def test_each_has_its_own_classes(shared: lxc.Container) -> None:
    found = run(
        shared,
        program("""
        before = id(lxc.Container), id(lxc.LXCError), id(lxc._lxc.Container)
        text = "report([id(lxc.Container), id(lxc.LXCError), id(lxc._lxc.Container)])"
        there = interpret(text)
        report([a != b for a, b in zip(before, there)])
        """),
    )
    assert found == [True, True, True]


# Many threads of Python's run truly at once there, each in an interpreter of its own.
TOGETHER = """
WORK = {
    "command": '''
def work():
    status = c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 3"])
    assert status == 768, (status, str(c.last_error))
''',
    "config": '''
def work():
    for n in range(20):
        assert c.set_config_item("lxc.environment", [f"A={n}", "B=1"])
        assert c.get_config_item("lxc.uts.name") == c.name
        assert c.save_config("/dev/null")
''',
    "state": '''
def work():
    assert c.state == "RUNNING" and c.running and c.init_pid > 0
    assert c.get_ips() == () and "lo" in c.get_interfaces()
''',
    "environment": '''
def work():
    # The C library's lock of the environment must not be taken in a forked child.
    for n in range(1000):
        os.environ["TOGETHER"] = "x" * (n % 200)
''',
    "make": '''
def work():
    x = lxc.Container(c.name, c.get_config_path())
    assert x.state == "RUNNING" and len(x.network) == 1
''',
}
LOOP = '''
over = time.monotonic() + 2.5
count = 0
while time.monotonic() < over:
    work()
    count += 1
report(count)
'''
counts = {}
wrong = []

def begin(name):
    try:
        counts[name] = interpret(WORK[name] + LOOP)
    except BaseException as error:
        wrong.append([name, repr(error)])

threads = [threading.Thread(target=begin, args=(name,)) for name in WORK]
for thread in threads:
    thread.start()
statuses = [c.attach_wait(lxc.attach_run_command, ["true"]) for _ in range(10)]
for thread in threads:
    thread.join()
report([wrong, counts, statuses, children(), c.state])
"""


@needs_own_gil
def test_interpreters_side_by_side(running: lxc.Container) -> None:
    with Program(running, program(TOGETHER)) as child:
        wrong, counts, statuses, left, state = child.next(60)
        child.finish()
    assert wrong == []
    assert set(counts) == {"command", "config", "state", "environment", "make"}
    assert min(counts.values()) >= 2
    assert statuses == [0] * 10
    assert left == children()
    assert state == "RUNNING"


@needs_own_gil
def test_first_imports_at_once(shared: lxc.Container) -> None:
    # What the process has once is prepared once.
    found = run(
        shared,
        program("""
        results = []

        def visit():
            results.append(interpret("report(c.save_config('/dev/null'))"))

        threads = [threading.Thread(target=visit) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        report([results, os.umask(0o22)])
        """),
    )
    assert found == [[True] * 6, 0o22]
