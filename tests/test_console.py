# SPDX-License-Identifier: LGPL-2.1-or-later
"""console() and console_getfd(): terminals of a container."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import Program, children, command, descriptors, run, wait_until

import lxc

pytestmark = pytest.mark.containers

# What liblxc prints when it has got a terminal of the container.
CONNECTED = b"to exit the console"

CONSOLE = """
def settings():
    found = termios.tcgetattr(0)
    found[6] = [byte if type(byte) is int else list(byte) for byte in found[6]]
    return [found, os.tcgetpgrp(0), os.getpgrp(), os.getsid(0), signals_of()]

before = settings()
options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
try:
    # The same terminal each time: what stays taken fails the next time.
    result = c.console(**{"ttynum": 1, **options})
except KeyboardInterrupt:
    result = "interrupted"
report([result, before == settings(), children(), str(c.last_error)])
"""


@pytest.fixture
def without_tty(make: Callable[..., lxc.Container]) -> lxc.Container:
    return make(start=True, config={"lxc.tty.max": "0"})


def leave(program: Program, keys: bytes = b"\x01q") -> list[Any]:
    """Leave the console with its escape sequence."""
    program.expect(CONNECTED)
    # Which is said before the terminal is raw: what is typed until then is lost.
    wait_until(lambda: not termios.tcgetattr(program.ptx)[3] & termios.ICANON)
    program.type(keys)
    found: list[Any] = program.next()
    program.finish()
    return found


def test_console_passes_what_is_typed(shared: lxc.Container) -> None:
    with Program(shared, CONSOLE, terminal=True) as program:
        program.expect(CONNECTED)
        program.type(b"\r")
        program.expect(f"{shared.name} login:".encode())
        program.type(b"\x01q")
        assert program.next()[0] is True
        program.finish()


def test_console_returns_true_and_leaves_the_terminal(shared: lxc.Container) -> None:
    with Program(shared, CONSOLE, terminal=True) as program:
        assert leave(program) == [True, True, [], "None"]


def test_other_escape_character(shared: lxc.Container) -> None:
    options = '{"escape": 2}'
    with Program(shared, CONSOLE, options, terminal=True) as program:
        assert leave(program, b"\x02q")[0] is True


def test_console_of_other_descriptors(shared: lxc.Container) -> None:
    program = """
    terminal = os.dup(0)
    report(c.console(2, terminal, terminal, terminal, 1))
    """
    with Program(shared, program, terminal=True) as child:
        child.expect(CONNECTED)
        child.type(b"\x01q")
        assert child.next() is True
        child.finish()


def test_terminal_is_free_again(shared: lxc.Container) -> None:
    for _ in range(2):
        with Program(shared, CONSOLE, terminal=True) as program:
            assert leave(program)[0] is True


def test_console_ends_with_the_container(running: lxc.Container) -> None:
    with Program(running, CONSOLE, terminal=True) as program:
        program.expect(CONNECTED)
        assert running.stop()
        _, terminal_is_as_it_was, left, _ = program.next()
        program.finish()
    assert terminal_is_as_it_was
    assert left == []


def test_console_ends_with_its_caller(shared: lxc.Container) -> None:
    with Program(shared, CONSOLE, terminal=True) as program:
        program.expect(CONNECTED)
        program.process.kill()
    with Program(shared, CONSOLE, terminal=True) as program:
        assert leave(program)[0] is True


@pytest.mark.parametrize("attempt", [1, 2])
def test_interrupted_console(shared: lxc.Container, attempt: int) -> None:
    with Program(shared, CONSOLE, terminal=True) as program:
        program.expect(CONNECTED)
        program.interrupt()
        result, terminal_is_as_it_was, left, _ = program.next()
        program.finish()
    assert result == "interrupted"
    assert terminal_is_as_it_was
    assert left == []


def test_typed_interrupt_belongs_to_the_container(shared: lxc.Container) -> None:
    with Program(shared, CONSOLE, terminal=True) as program:
        program.expect(CONNECTED)
        program.type(b"\x03")
        time.sleep(0.3)
        assert program.process.poll() is None
        program.type(b"\x01q")
        assert program.next()[0] is True
        program.finish()


def test_console_of_a_stopped_container(stopped: lxc.Container) -> None:
    assert stopped.console() is False
    assert stopped.last_error.container == stopped.name
    assert "running" in stopped.last_error.reason
    assert stopped.console_getfd() is False
    assert "running" in stopped.last_error.reason


def test_console_of_an_undefined_container(
    lxcpath: str, new_name: Callable[[], str]
) -> None:
    container = lxc.Container(new_name(), lxcpath)
    assert container.console() is False
    assert container.console_getfd() is False


def test_console_without_a_terminal(without_tty: lxc.Container) -> None:
    program = """
    try:
        c.console()
    except ValueError as error:
        report(str(error))
    """
    assert run(without_tty, program, terminal=True)
    with pytest.raises(ValueError, match="tty"):
        without_tty.console_getfd()


def test_console_of_a_terminal_that_is_not_there(shared: lxc.Container) -> None:
    with pytest.raises(ValueError, match="tty"):
        shared.console_getfd(77)


@pytest.mark.parametrize(
    "options", [{"ttynum": "one"}, {"nonsense": 1}, {"stdinfd": []}]
)
def test_bad_arguments_are_refused(
    shared: lxc.Container, options: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        shared.console(**options)


# --- console_getfd() ------------------------------------------------------------------


@pytest.fixture
def tty(running: lxc.Container) -> Iterator[int]:
    number = running.console_getfd(1)
    yield number
    os.close(number)


def test_descriptor_is_a_terminal_of_the_container(tty: int) -> None:
    assert os.isatty(tty)
    assert not os.get_inheritable(tty)


def test_descriptor_talks_to_the_container(running: lxc.Container, tty: int) -> None:
    os.set_blocking(tty, False)
    seen = b""

    def prompted() -> bool:
        nonlocal seen
        try:
            seen += os.read(tty, 4096)
        except BlockingIOError:
            os.write(tty, b"\r")
        return f"{running.name} login:".encode() in seen

    assert wait_until(prompted, 20), seen


def test_default_is_any_terminal(running: lxc.Container) -> None:
    number = running.console_getfd()
    assert os.isatty(number)
    os.close(number)


def test_terminal_is_taken_as_long_as_the_container_object_lives(
    running: lxc.Container,
) -> None:
    other = lxc.Container(running.name, running.get_config_path())
    before = descriptors()
    number = other.console_getfd(1)
    with pytest.raises(ValueError, match="tty"):
        running.console_getfd(1)
    os.close(number)
    del other
    assert descriptors() == before
    # The monitor sees it a moment later.
    free = wait_until(lambda: try_getfd(running), 5)
    assert free
    os.close(free)


def try_getfd(container: lxc.Container) -> int | None:
    try:
        number: int = container.console_getfd(1)
    except ValueError:
        return None
    return number


def test_container_still_works_with_a_terminal_open(
    running: lxc.Container, tty: int
) -> None:
    assert command(running, "true").status == 0
    assert os.isatty(tty)
    assert children() == []


def test_a_terminal_whose_descriptors_were_closed_closes_no_others(
    shared: lxc.Container,
) -> None:
    program = """
import os, sys, lxc
container = lxc.Container(*sys.argv[1:])
container.console_getfd()
os.closerange(3, 100)
files = [os.open("/dev/null", os.O_RDONLY) for _ in range(30)]
del container
for file in files:
    os.fstat(file)
"""
    arguments = shared.name, shared.get_config_path()
    done = subprocess.run([sys.executable, "-Ic", program, *arguments], timeout=30)
    assert done.returncode == 0
