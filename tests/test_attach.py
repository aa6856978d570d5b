# SPDX-License-Identifier: LGPL-2.1-or-later
"""attach() and attach_wait(): commands, shells and Python functions in a container."""

from __future__ import annotations

import ctypes
import io
import json
import logging
import os
import platform
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import (
    Outcome,
    Pipe,
    Program,
    alive,
    attach,
    children,
    command,
    descriptors,
    process_status,
    rootfs,
    run,
    shell,
    signal_set,
    wait_until,
)

import lxc

pytestmark = pytest.mark.containers

COMMAND = lxc.attach_run_command

# The three ways in which something is attached take different roads.
WAYS = {
    "command": (COMMAND, ["true"]),
    "function": (lambda: None,),
    "shell": (lxc.attach_run_shell,),
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS)


def wait_status(pid: int) -> int:
    """Reap a child of this process."""
    return os.waitpid(pid, 0)[1]


@pytest.fixture(autouse=True)
def reaped() -> Iterator[None]:
    """Reap what a failed test attached: with that left no container can stop."""
    yield
    for pid in children():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def nothing_ran(shared: lxc.Container) -> Iterator[list[str]]:
    """A command that leaves a trace, which must not be there after the test."""
    trace = rootfs(shared) / "root" / "ran"
    yield ["touch", "/root/ran"]
    ran = trace.exists()
    trace.unlink(missing_ok=True)
    assert not ran


# --- Commands -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    [
        ["sh", "-c", "exit 3"],
        ("sh", ["sh", "-c", "exit 3"]),
        ["sh", "-c", 'exit "$1"', "sh", "3"],
    ],
    ids=["list", "program and argv", "longer list"],
)
def test_command_as_sequence(shared: lxc.Container, what: Any) -> None:
    assert shared.attach_wait(COMMAND, what) == 3 << 8


def test_command_as_one_word(shared: lxc.Container) -> None:
    assert shared.attach_wait(COMMAND, "true") == 0
    assert shared.attach_wait(COMMAND, "false") == 1 << 8


def test_str_is_one_word_and_no_command_line(shared: lxc.Container) -> None:
    assert shared.attach_wait(COMMAND, "true --help", stderr=2) == 127 << 8


def test_argv_need_not_begin_with_the_program(shared: lxc.Container) -> None:
    # The name by which it is called tells busybox what to be.
    what = ("/bin/busybox", ["echo", "a b"])
    assert attach(shared, COMMAND, what).out == "a b\n"


def test_arguments_arrive_as_they_are(shared: lxc.Container) -> None:
    words = ["", " ", "a b", "$HOME", "*", "ü", "\udcff", "x" * 5000]
    with Pipe() as out:
        argv = ["printf", "%s\\n", *words]
        assert shared.attach_wait(COMMAND, argv, stdout=out.writer) == 0
        os.close(out.writer)
        with open(out.reader, "rb", closefd=False) as file:
            assert file.read() == b"".join(os.fsencode(w) + b"\n" for w in words)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 1", 1 << 8),
        ("exit 254", 254 << 8),
        ("exit 255", -1),
        ("kill -KILL $$", signal.SIGKILL),
        ("kill -TERM $$", signal.SIGTERM),
    ],
)
def test_status_is_the_raw_wait_status(
    shared: lxc.Container, script: str, status: int
) -> None:
    assert shell(shared, script).status == status


@pytest.mark.parametrize(
    ("program", "code"), [("no-such-program", 127), ("/etc/passwd", 126)]
)
def test_program_that_cannot_be_run(
    shared: lxc.Container, program: str, code: int
) -> None:
    assert command(shared, program).status == code << 8


def test_path_is_searched_in_the_container(shared: lxc.Container) -> None:
    script = rootfs(shared) / "root" / "only-here"
    script.write_text("#!/bin/sh\nexit 9\n")
    script.chmod(0o755)
    try:
        found = command(shared, "only-here", extra_env_vars=["PATH=/root:/bin"])
    finally:
        script.unlink()
    assert found.status == 9 << 8


def test_command_runs_in_the_container(shared: lxc.Container) -> None:
    assert command(shared, "hostname").out == f"{shared.name}\n"


@pytest.mark.parametrize(
    ("what", "word"),
    [
        (5, "5"),
        (None, "None"),
        (["echo", 1.5], "1.5"),
        (("sh", [b"sh", {}]), "{}"),
        ((5, ["sh"]), "5"),
    ],
)
def test_word_that_is_no_text(shared: lxc.Container, what: Any, word: str) -> None:
    """Programs go on after it: with python3-lxc the attached process failed."""
    strict = lxc.Container(shared.name, shared.get_config_path(), strict=True)
    for name in ("attach", "attach_wait"):
        assert getattr(shared, name)(COMMAND, what) == -1
        error = shared.last_error
        assert error is not None
        assert (error.operation, error.container) == (name, shared.name)
        assert error.reason == f"a word of a command is text or a path, not {word}"
        with pytest.raises(TypeError) as caught:
            getattr(strict, name)(COMMAND, what)
        assert str(caught.value) == error.reason
        assert str(strict.last_error) == str(error)
    assert children() == []


@pytest.mark.parametrize("what", [[], ("sh", 5), ("sh",), ("sh", []), "nul\0"])
def test_what_is_no_command_runs_nothing(shared: lxc.Container, what: Any) -> None:
    before = children()
    with pytest.raises((TypeError, ValueError)):
        shared.attach_wait(COMMAND, what)
    assert children() == before


def test_command_inside_an_attached_function(shared: lxc.Container) -> None:
    def replace_me() -> None:
        COMMAND(["sh", "-c", "echo inside; exit 5"])

    assert attach(shared, replace_me) == Outcome(5 << 8, "inside\n", "")


def test_command_as_pair_inside_an_attached_function(shared: lxc.Container) -> None:
    def replace_me(pair: tuple[str, list[str]]) -> None:
        COMMAND(pair)

    assert attach(shared, replace_me, ("sh", ["sh", "-c", "exit 6"])).status == 6 << 8


def test_command_that_fails_inside_an_attached_function(shared: lxc.Container) -> None:
    assert attach(shared, lambda: COMMAND("no-such-program")).status == 127 << 8


def test_shell_reads_its_commands(shared: lxc.Container) -> None:
    with tempfile.TemporaryFile() as script:
        script.write(b"hostname\nexit 4\n")
        script.seek(0)
        outcome = attach(shared, lxc.attach_run_shell, stdin=script)
    assert (outcome.status, outcome.out) == (4 << 8, f"{shared.name}\n")


def test_shell_inside_an_attached_function(shared: lxc.Container) -> None:
    with tempfile.TemporaryFile() as script:
        script.write(b"exit 8\n")
        script.seek(0)
        outcome = attach(shared, lambda: lxc.attach_run_shell(), stdin=script)
    assert outcome.status == 8 << 8


# --- Python functions -----------------------------------------------------------------


def test_function_without_payload(shared: lxc.Container) -> None:
    assert attach(shared, lambda *args: len(args)).status == 0


def test_function_with_payload_none(shared: lxc.Container) -> None:
    assert attach(shared, lambda *args: 7 if args == (None,) else 0, None).status == (
        7 << 8
    )


@pytest.mark.parametrize("payload", ["text", ("a", 1), {"a": [1]}, 2.5, [], False])
def test_payload_is_any_object(shared: lxc.Container, payload: Any) -> None:
    def same_object(given: Any) -> bool:
        return given is payload

    assert attach(shared, same_object, payload).status == 1 << 8


def test_function_runs_in_the_container(shared: lxc.Container) -> None:
    def who() -> None:
        os.write(1, os.uname().nodename.encode())

    assert attach(shared, who).out == shared.name


def test_bound_method_and_callable_object(shared: lxc.Container) -> None:
    class Callee:
        def method(self) -> int:
            return 5

        def __call__(self) -> int:
            return 6

    assert attach(shared, Callee().method).status == 5 << 8
    assert attach(shared, Callee()).status == 6 << 8


def test_function_uses_files_opened_on_the_host(
    shared: lxc.Container, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("from the host")
    with open(tmp_path / "in") as source, open(tmp_path / "out", "w") as target:

        def copy() -> None:
            target.write(f"{source.read()} via {os.uname().nodename}")
            target.flush()

        assert attach(shared, copy).status == 0
    assert (tmp_path / "out").read_text() == f"from the host via {shared.name}"


def test_function_uses_subprocess(shared: lxc.Container) -> None:
    def delegate() -> int:
        return subprocess.run(["sh", "-c", "exit 6"], check=False).returncode

    assert attach(shared, delegate).status == 6 << 8


def test_function_uses_logging(shared: lxc.Container, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    logger = logging.Logger("inside")
    logger.addHandler(handler)

    def log() -> None:
        logger.warning("on %s", os.uname().nodename)

    assert attach(shared, log).status == 0
    handler.close()
    assert (tmp_path / "log").read_text() == f"on {shared.name}\n"


def test_function_changes_nothing_here(shared: lxc.Container) -> None:
    mine: list[int] = []
    assert attach(shared, mine.append, 5).status == 0
    assert mine == []


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (None, 0),
        (0, 0),
        (False, 0),
        (True, 1 << 8),
        (3, 3 << 8),
        (254, 254 << 8),
        (255, -1),
        (-1, -1),
        (256, 0),
        (259, 3 << 8),
        (-253, 3 << 8),
        ("0", -1),
        (0.0, -1),
        ([], -1),
        (object(), -1),
    ],
)
def test_returned_value_is_the_exit_status(
    shared: lxc.Container, value: Any, status: int
) -> None:
    assert attach(shared, lambda: value).status == status


def test_exception_prints_its_traceback_there(shared: lxc.Container) -> None:
    # In a process whose sys.stderr is no capturing test's.
    program = """
    def fail():
        raise ValueError("broken inside")

    report(attach(c, fail))
    """
    with Program(shared, program) as child:
        status, out, err = child.next()
        child.finish()
    assert (status, out) == (-1, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert "in fail\n" in err
    assert err.endswith("ValueError: broken inside\n")
    assert (child.out, child.err) == ("", "")


@pytest.mark.parametrize(
    ("code", "status", "err"),
    [
        ((), 0, ""),
        ((None,), 0, ""),
        ((0,), 0, ""),
        ((4,), 4 << 8, ""),
        ((255,), -1, ""),
        (("no luck",), 1 << 8, "no luck\n"),
    ],
)
def test_sys_exit_is_honoured(
    shared: lxc.Container, code: tuple[Any, ...], status: int, err: str
) -> None:
    program = "report(attach(c, lambda: sys.exit(*json.loads(sys.argv[1]))))"
    assert run(shared, program, json.dumps(code)) == [status, "", err]


def test_os_exit_is_honoured(shared: lxc.Container) -> None:
    assert attach(shared, lambda: os._exit(7)).status == 7 << 8


def test_function_killed_by_a_signal(shared: lxc.Container) -> None:
    def suicide() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    assert attach(shared, suicide).status == signal.SIGKILL


def test_uncaught_keyboard_interrupt_dies_of_sigint(shared: lxc.Container) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert attach(shared, interrupted).status == signal.SIGINT


def test_atexit_handlers_do_not_run_in_the_child(shared: lxc.Container) -> None:
    program = """
    import atexit
    atexit.register(lambda: print("handler in", len(sys.argv) and os.getpid()))
    c.attach_wait(lambda: None)
    c.attach_wait(lambda: sys.exit(1))
    c.attach_wait(lambda: 1 / 0)
    report(os.getpid())
    """
    with Program(shared, program) as child:
        pid = child.next()
        child.finish()
    assert child.out == f"handler in {pid}\n"


def test_fork_hooks_run(shared: lxc.Container) -> None:
    program = """
    seen = []
    os.register_at_fork(
        before=lambda: seen.append("before"),
        after_in_parent=lambda: seen.append("parent"),
        after_in_child=lambda: seen.append("child"),
    )
    status = c.attach_wait(lambda: 0 if seen == ["before", "child"] else 1)
    report([status, seen])
    """
    assert run(shared, program) == [0, ["before", "parent"]]


def test_attached_function_is_alone_in_its_process(shared: lxc.Container) -> None:
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        assert attach(shared, lambda: threading.active_count()).status == 1 << 8
    finally:
        over.set()
        other.join()


# --- What was printed -----------------------------------------------------------------

PRINTING = """
class Unfinished(Exception):
    pass

def inside():
    print("inside")
    sys.stderr.write("error inside\\n")
    {end}

sys.stderr.reconfigure(line_buffering=False)
print("before")
print("error before", file=sys.stderr)
c.attach_wait(inside)
print("after")
report()
"""


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("end", ["pass", "return 3", "sys.exit(3)", "0"])
def test_output_comes_once_and_in_order(
    shared: lxc.Container, end: str, terminal: bool
) -> None:
    with Program(shared, PRINTING.format(end=end), terminal=terminal) as program:
        program.next()
        program.finish()
        screen = bytes(program.screen).replace(b"\r\n", b"\n").decode()
    if terminal:
        lines = ["before", "error before", "inside", "error inside", "after"]
        assert sorted(screen.splitlines()) == sorted(lines)
        assert screen.index("before") < screen.index("inside")
        assert screen.index("inside") < screen.rindex("after")
    else:
        assert program.out == "before\ninside\nafter\n"
        assert program.err == "error before\nerror inside\n"


def test_output_is_not_lost_when_a_function_fails(shared: lxc.Container) -> None:
    with Program(shared, PRINTING.format(end="raise Unfinished")) as program:
        program.next()
        program.finish()
    assert program.out == "before\ninside\nafter\n"
    assert program.err.startswith("error before\nerror inside\nTraceback")
    assert program.err.endswith("Unfinished\n")


@pytest.mark.parametrize("what", ["print('inside')", "c.attach_run_nothing"])
def test_function_works_without_standard_streams(
    shared: lxc.Container, what: str
) -> None:
    program = f"""
    sys.stdout = sys.stderr = None
    report(c.attach_wait(lambda: {what}))
    """
    assert run(shared, program) == (0 if "print" in what else -1)


ECHO = ["echo", "inside"]
COMMAND_WAYS = {
    "command": "c.attach_wait(lxc.attach_run_command, ECHO)",
    "raw": "lxc._lxc.Container.attach_wait(c, lxc._lxc.attach_run_command, "
    "(ECHO[0], ECHO))",
    "launcher": "lxc._lxc._launcher(0); c.attach_wait(lxc.attach_run_command, ECHO)",
    "shell": "os.environ['SHELL'] = '/bin/sh'; c.attach_wait(lxc.attach_run_shell, "
    "stdin=os.open(sys.argv[1], os.O_RDONLY))",
    "attach": "os.waitpid(c.attach(lxc.attach_run_command, ECHO), 0)",
    "in a function": "c.attach_wait(lambda: print('function') or "
    "lxc.attach_run_command(ECHO))",
    "run": "c.run(ECHO)",
    "popen": "c.popen(ECHO).wait()",
    "run_async": "asyncio.run(c.run_async(ECHO))",
    "create_subprocess_exec": "asyncio.run(created())",
}


@pytest.mark.parametrize("way", COMMAND_WAYS.values(), ids=COMMAND_WAYS)
def test_buffered_output_comes_before_that_of_a_command(
    shared: lxc.Container, way: str, tmp_path: Path
) -> None:
    program = f"""
    import asyncio

    ECHO = {ECHO}

    async def created():
        return await (await c.create_subprocess_exec(*ECHO)).wait()

    sys.stderr.reconfigure(line_buffering=False)
    print("before")
    print("error before", file=sys.stderr, end="")
    {way}
    print("after")
    sys.stdout.flush()
    os.write(2, b", error after")
    report()
    """
    script = tmp_path / "script"
    script.write_text(" ".join(ECHO))
    with Program(shared, program, str(script)) as child:
        child.next()
        child.finish()
    function = "function\n" if "function" in way else ""
    assert child.out == f"before\n{function}inside\nafter\n"
    assert child.err == "error before, error after"


@pytest.mark.parametrize("state", ["None", "closed", "broken"])
def test_standard_streams_that_cannot_be_flushed(
    shared: lxc.Container, state: str
) -> None:
    program = f"""
    if {state!r} == "None":
        sys.stdout = sys.stderr = None
    elif {state!r} == "closed":
        sys.stdout.close()
    else:
        reader, writer = os.pipe()
        os.close(reader)
        sys.stdout = open(writer, "w")
        print("lost")
    report([c.attach_wait(lxc.attach_run_command, ["true"]), c.run("true").returncode])
    os._exit(0)
    """
    assert run(shared, program) == [0, 0]


# --- The environment ------------------------------------------------------------------


def environment(container: lxc.Container, **options: Any) -> dict[str, str]:
    """The environment of an attached command."""
    # A variable that holds a newline would be two lines; nothing here sets one.
    lines = command(container, "env", **options).out.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def environ(container: lxc.Container, **options: Any) -> dict[str, str]:
    """What os.environ is in an attached function."""

    def show() -> None:
        for key, value in os.environ.items():
            os.write(1, f"{key}={value}\n".encode())

    lines = attach(container, show, **options).out.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


ENVIRONMENTS = pytest.mark.parametrize("look", [environment, environ])
Look = Callable[..., "dict[str, str]"]


@pytest.fixture(autouse=True)
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two variables to look for."""
    monkeypatch.setenv("MARK_ONE", "one")
    monkeypatch.setenv("MARK_TWO", "two")


@ENVIRONMENTS
@pytest.mark.parametrize("policy", [{}, {"env_policy": 0}, {"env_policy": None}])
def test_environment_is_inherited(
    shared: lxc.Container, look: Look, policy: dict[str, Any]
) -> None:
    found = look(shared, **policy)
    assert (found["MARK_ONE"], found["MARK_TWO"]) == ("one", "two")
    assert found["container"] == "lxc"


@ENVIRONMENTS
@pytest.mark.parametrize("policy", [1, lxc.LXC_ATTACH_CLEAR_ENV])
def test_environment_is_cleared(shared: lxc.Container, look: Look, policy: int) -> None:
    found = look(shared, env_policy=policy)
    assert "MARK_ONE" not in found
    assert found["container"] == "lxc"
    assert "/bin" in found["PATH"]


@ENVIRONMENTS
def test_kept_variables(shared: lxc.Container, look: Look) -> None:
    found = look(
        shared, env_policy=lxc.LXC_ATTACH_CLEAR_ENV, extra_keep_env=["MARK_TWO", "NONE"]
    )
    assert found["MARK_TWO"] == "two"
    assert not {"MARK_ONE", "NONE"} & set(found)


@ENVIRONMENTS
@pytest.mark.parametrize("sequence", [list, tuple])
def test_extra_variables(
    shared: lxc.Container, look: Look, sequence: Callable[..., Any]
) -> None:
    extra = sequence(["NEW=a=b", "MARK_ONE=changed", "EMPTY="])
    found = look(shared, extra_env_vars=extra)
    assert (found["NEW"], found["MARK_ONE"], found["EMPTY"]) == ("a=b", "changed", "")


@ENVIRONMENTS
def test_environment_of_the_configuration(
    make: Callable[..., lxc.Container], look: Look
) -> None:
    container = make(start=True, config={"lxc.environment": "SAVED=yes"})
    assert look(container)["SAVED"] == "yes"
    # Set and not saved: it counts all the same.
    assert container.set_config_item("lxc.environment", ["UNSAVED=too", "MARK_ONE=new"])
    found = look(container)
    assert (found["UNSAVED"], found["MARK_ONE"]) == ("too", "new")
    assert "SAVED" not in found
    assert os.environ["MARK_ONE"] == "one"


def test_environ_is_that_of_the_process(shared: lxc.Container) -> None:
    def compare() -> bool:
        # With no env argument a program gets the process's own environment.
        lines = subprocess.run(["env"], stdout=subprocess.PIPE, check=True).stdout
        found = dict(x.split(b"=", 1) for x in lines.splitlines() if b"=" in x)
        return found != dict(os.environb)

    options: dict[str, Any] = {"env_policy": 1, "extra_env_vars": ["NEW=1"]}
    assert attach(shared, compare, **options).status == 0
    assert attach(shared, compare).status == 0


@EVERY_WAY
def test_environment_here_is_untouched(
    shared: lxc.Container, way: str, tmp_path: Path
) -> None:
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    before = dict(os.environ)
    with open(os.devnull) as null:
        shared.attach_wait(
            *WAYS[way], stdin=null, env_policy=1, extra_env_vars=["NEW=1"]
        )
    assert dict(os.environ) == before
    assert (getenv(b"MARK_ONE"), getenv(b"NEW"), getenv(b"container")) == (
        b"one",
        None,
        os.environb.get(b"container"),
    )


# --- Standard input, output and error -------------------------------------------------


class Wrapper:
    """An object that has a descriptor and is no file."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


STREAMS = pytest.mark.parametrize(
    "wrap",
    [lambda file: file.fileno(), lambda file: file, lambda f: Wrapper(f.fileno())],
    ids=["int", "file", "fileno"],
)


@STREAMS
def test_stdin(shared: lxc.Container, wrap: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in").write_text("some text")
    with open(tmp_path / "in") as file:
        assert command(shared, "cat", stdin=wrap(file)).out == "some text"


@STREAMS
@pytest.mark.parametrize(("name", "number"), [("stdout", 1), ("stderr", 2)])
def test_stdout_and_stderr(
    shared: lxc.Container,
    tmp_path: Path,
    wrap: Callable[..., Any],
    name: str,
    number: int,
) -> None:
    path = tmp_path / "out"
    with open(path, "w") as file:
        assert shell(shared, f"echo text >&{number}", **{name: wrap(file)}).status == 0
        assert path.read_text() == "text\n"
        assert not file.closed
        os.fstat(file.fileno())


@pytest.mark.parametrize("kind", ["command", "function"])
def test_one_file_for_both(shared: lxc.Container, tmp_path: Path, kind: str) -> None:
    def write() -> None:
        os.write(1, b"out\n")
        os.write(2, b"err\n")

    path = tmp_path / "both"
    with open(path, "w") as file:
        if kind == "function":
            attach(shared, write, stdout=file, stderr=file)
        else:
            shell(shared, "echo out; echo err >&2", stdout=file, stderr=file)
    assert path.read_text() == "out\nerr\n"


def test_crossed_output_and_error(shared: lxc.Container) -> None:
    program = """
    script = ["sh", "-c", "echo out; echo err >&2"]
    report(c.attach_wait(lxc.attach_run_command, script, stdout=2, stderr=1))
    """
    with Program(shared, program) as child:
        assert child.next() == 0
        child.finish()
    assert (child.out, child.err) == ("err\n", "out\n")


@pytest.mark.parametrize("kind", ["command", "function"])
def test_any_three_at_once(shared: lxc.Container, tmp_path: Path, kind: str) -> None:
    # The descriptors 0, 1, 2 and 20 are four files, and each stream of the attached
    # program may be any of them.  What it finds it writes to descriptor 9.
    program = """
    import itertools
    kind, directory = sys.argv[1:]
    numbers = [0, 1, 2, 20]
    files = [os.open(f"{directory}/{n}", os.O_RDWR | os.O_CREAT) for n in numbers]
    inodes = {n: os.fstat(file).st_ino for n, file in zip(numbers, files)}
    os.dup2(os.memfd_create("found"), 9)
    for number, file in zip(numbers, files):
        os.dup2(file, number)

    def look():
        for number in range(3):
            os.write(9, b"%d\\n" % os.fstat(number).st_ino)

    # Redirected in a subshell, as $$ is to keep its streams meanwhile.
    script = "(for n in 0 1 2; do stat -L -c %i /proc/$$/fd/$n; done) >&9; :"
    commanded = (lxc.attach_run_command, ["sh", "-c", script])
    wrong = []
    for three in itertools.product(numbers, repeat=3):
        os.ftruncate(9, 0)
        os.lseek(9, 0, os.SEEK_SET)
        streams = dict(zip(("stdin", "stdout", "stderr"), three))
        c.attach_wait(*(commanded if kind == "command" else (look,)), **streams)
        found = [int(line) for line in os.pread(9, 999, 0).split()]
        if found != [inodes[number] for number in three]:
            wrong.append([three, found])
    report([inodes, wrong])
    """
    with Program(shared, program, kind, str(tmp_path)) as child:
        _, wrong = child.next()
        child.finish()
    assert wrong == []


@pytest.mark.parametrize("kind", ["command", "function"])
def test_streams_left_out_are_inherited(shared: lxc.Container, kind: str) -> None:
    program = """
    def echo():
        os.write(1, os.read(0, 100))
        os.write(2, b"error")

    if sys.argv[1] == "command":
        script = "cat; printf error >&2"
        report(c.attach_wait(lxc.attach_run_command, ["sh", "-c", script], stdout=None))
    else:
        report(c.attach_wait(echo, stdin=None, stderr=None))
    """
    with Pipe() as pipe, Program(shared, program, kind, stdin=pipe.reader) as child:
        os.write(pipe.writer, b"input")
        os.close(pipe.writer)
        assert child.next() == 0
        child.finish()
    assert (child.out, child.err) == ("input", "error")


def closed_file() -> Any:
    with tempfile.TemporaryFile() as file:
        return file


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize(
    "make_bad",
    [lambda: 999, closed_file, io.StringIO, lambda: "text", object, lambda: 1.5],
    ids=["closed descriptor", "closed file", "no fileno", "str", "object", "float"],
)
def test_what_is_no_descriptor_is_refused(
    shared: lxc.Container,
    nothing_ran: list[str],
    make_bad: Callable[[], Any],
    name: str,
) -> None:
    before = descriptors()
    with pytest.raises((TypeError, ValueError, OSError)):
        shared.attach_wait(COMMAND, nothing_ran, **{name: make_bad()})
    with pytest.raises((TypeError, ValueError, OSError)):
        shared.attach(lambda: 0, **{name: make_bad()})
    assert descriptors() == before
    assert children() == []


# --- Other options --------------------------------------------------------------------


def test_namespaces(shared: lxc.Container) -> None:
    def look() -> None:
        there = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("uts", "net", "mnt")]
        os.write(1, " ".join(there).encode())

    here = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("uts", "net", "mnt")]
    flags = lxc.CLONE_NEWUTS | lxc.CLONE_NEWNET
    found = attach(shared, look, namespaces=flags).out.split()
    assert found[0] != here[0]
    assert found[1] != here[1]
    assert found[2] == here[2]


def test_namespaces_of_the_container_by_default(make: Callable[..., Any]) -> None:
    # liblxc keeps the first container's in its own defaults: a second one tells.
    first, second = make(start=True), make(start=True)
    for container in (first, second, first):
        link = os.readlink(f"/proc/{container.init_pid}/ns/uts")
        for options in ({}, {"namespaces": -1}, {"namespaces": None}):
            found = command(container, "readlink", "/proc/self/ns/uts", **options)
            assert found.out == f"{link}\n"


def test_initial_cwd(shared: lxc.Container) -> None:
    assert command(shared, "pwd", initial_cwd="/etc").out == "/etc\n"
    assert command(shared, "pwd", initial_cwd=Path("/etc")).out == "/etc\n"
    assert attach(shared, lambda: os.getcwd() == "/etc", initial_cwd="/etc").status


def test_cwd_is_inherited_where_it_exists(
    shared: lxc.Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir("/usr")
    assert command(shared, "pwd").out == "/usr\n"
    monkeypatch.chdir(tmp_path)
    assert command(shared, "pwd").out == "/\n"


def test_uid_and_gid(shared: lxc.Container) -> None:
    script = "id -u; id -g"
    assert shell(shared, script).out == "0\n0\n"
    assert shell(shared, script, uid=1000, gid=1001).out == "1000\n1001\n"
    ids = attach(shared, lambda: os.getuid() - os.getgid(), uid=1002, gid=1001)
    assert ids.status == 1 << 8


def test_attach_flags(shared: lxc.Container) -> None:
    look = "grep CapBnd /proc/self/status"
    flags = lxc.LXC_ATTACH_DEFAULT & ~lxc.LXC_ATTACH_DROP_CAPABILITIES
    dropped = shell(shared, look).out
    assert shell(shared, look, attach_flags=lxc.LXC_ATTACH_DEFAULT).out == dropped
    kept = shell(shared, look, attach_flags=flags).out
    assert int(kept.split()[1], 16) > int(dropped.split()[1], 16)


def test_cgroup_of_an_attached_process(shared: lxc.Container) -> None:
    def cgroups(**options: Any) -> str:
        pid = shared.attach(COMMAND, ["sleep", "60"], **options)
        try:
            # attach() returns before the program runs, but not before it was moved.
            return Path(f"/proc/{pid}/cgroup").read_text()
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    assert f"lxc.payload.{shared.name}" in cgroups()
    flags = lxc.LXC_ATTACH_DEFAULT & ~lxc.LXC_ATTACH_MOVE_TO_CGROUP
    assert f"lxc.payload.{shared.name}" not in cgroups(attach_flags=flags)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs a 32 bit personality")
def test_personality(shared: lxc.Container) -> None:
    assert command(shared, "uname", "-m").out == "x86_64\n"
    other = lxc.arch_to_personality("i686")
    assert command(shared, "uname", "-m", personality=other).out == "i686\n"
    assert platform.uname().machine == os.uname().machine == "x86_64"


@pytest.mark.parametrize(
    "options",
    [
        {"nonsense": 1},
        {"uid": "root"},
        {"gid": 1.5},
        {"initial_cwd": 5},
        {"initial_cwd": "nul\0"},
        {"extra_env_vars": 5},
        {"extra_env_vars": [5]},
        {"extra_env_vars": "A=1"},
        {"extra_keep_env": [None]},
        {"attach_flags": "all"},
        {"namespaces": "net"},
        {"env_policy": "clear"},
        {"personality": "i686"},
    ],
    ids=str,
)
def test_bad_options_are_refused(
    shared: lxc.Container, nothing_ran: list[str], options: dict[str, Any]
) -> None:
    for call in (shared.attach, shared.attach_wait):
        with pytest.raises((TypeError, ValueError)):
            call(COMMAND, nothing_ran, **options)
    assert children() == []


@pytest.mark.parametrize("arguments", [(), (5,), (None,), (print, 1, 2), ("print",)])
def test_bad_arguments_are_refused(
    shared: lxc.Container, arguments: tuple[Any, ...]
) -> None:
    for call in (shared.attach, shared.attach_wait):
        with pytest.raises(TypeError):
            call(*arguments)


# --- attach() -------------------------------------------------------------------------


def test_attach_returns_a_child_of_the_caller(shared: lxc.Container) -> None:
    for run_what in ((COMMAND, ["sh", "-c", "exit 3"]), (lambda: 3,)):
        pid = shared.attach(*run_what)
        assert pid > 0
        assert int(process_status(pid)["PPid"]) == os.getpid()
        assert os.waitpid(pid, 0) == (pid, 3 << 8)


def test_attach_does_not_wait(shared: lxc.Container) -> None:
    began = time.monotonic()
    pid = shared.attach(COMMAND, ["sleep", "60"])
    assert time.monotonic() - began < 5
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


def test_attach_takes_the_options_of_attach_wait(
    shared: lxc.Container, tmp_path: Path
) -> None:
    with open(tmp_path / "out", "w") as out:
        script = "pwd; id -u; echo $NEW"
        pid = shared.attach(
            COMMAND,
            ["sh", "-c", script],
            stdout=out,
            initial_cwd="/etc",
            uid=5,
            gid=5,
            extra_env_vars=["NEW=1"],
        )
        assert wait_status(pid) == 0
    assert (tmp_path / "out").read_text() == "/etc\n5\n1\n"


def test_attached_programs_run_side_by_side(shared: lxc.Container) -> None:
    pids = [shared.attach(COMMAND, ["sh", "-c", f"exit {n}"]) for n in range(1, 6)]
    assert len(set(pids)) == 5
    assert [wait_status(pid) for pid in pids] == [n << 8 for n in range(1, 6)]


# --- What stays as it was -------------------------------------------------------------

UNCHANGED = """
def everything():
    return [signals_of(), os.getcwd(), os.umask(0o22), os.getpgrp(), os.getsid(0)]

os.umask(0o22)
before = everything()
wrong = []
for n in range(2):
    statuses = [
        c.attach_wait(lxc.attach_run_command, ["true"]),
        c.attach_wait(lxc.attach_run_command, ["true"], stdin=0, stdout=1, stderr=2),
        c.attach_wait(lambda: None),
        c.attach_wait(lambda: None, stdin=sys.stdin),
        os.waitpid(c.attach(lxc.attach_run_command, ["true"]), 0)[1],
        os.waitpid(c.attach(lambda: None, stdin=0), 0)[1],
        lxc.Container("none", c.get_config_path()).attach_wait(lambda: None),
    ]
report([statuses, before, everything()])
"""


@pytest.mark.parametrize("stdin", ["null", "pipe", "terminal"])
def test_caller_is_unchanged(shared: lxc.Container, stdin: str) -> None:
    options: dict[str, Any] = {"terminal": stdin == "terminal"}
    if stdin == "pipe":
        options["stdin"] = subprocess.PIPE
    statuses, before, after = run(shared, UNCHANGED, **options)
    assert statuses == [0] * 6 + [-1]
    assert after == before
    # SIGINT and SIGQUIT are in neither set of liblxc's doing.
    keys = {signal.SIGINT, signal.SIGQUIT}
    inherited = {key for key in keys if signal.getsignal(key) is signal.SIG_IGN}
    assert keys & signal_set(after[0]["SigIgn"]) <= inherited


def test_handlers_of_the_caller_stay(shared: lxc.Container) -> None:
    program = """
    for name in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(name, lambda *_: None)
    before = signals_of()
    c.attach_wait(lxc.attach_run_command, ["true"])
    c.attach_wait(lambda: None)
    report([before, signals_of()])
    """
    before, after = run(shared, program)
    assert after == before


SIGNALS = """
for name in (signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT):
    signal.signal(name, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
# No shell: busybox's ignores SIGQUIT of its own accord.
look = ["grep", "^Sig", "/proc/self/status"]

def show():
    # Python code of its own: what it ignores is up to Python.
    os.write(1, open("/proc/self/status").read().encode())

kind = sys.argv[1]
if kind == "command":
    c.attach_wait(lxc.attach_run_command, look)
elif kind == "shell":
    c.attach_wait(lxc.attach_run_shell)
elif kind == "attach":
    os.waitpid(c.attach(lxc.attach_run_command, look), 0)
elif kind == "inside":
    c.attach_wait(lambda: lxc.attach_run_command(look))
else:
    c.attach_wait(show)
report(signals_of())
"""


@pytest.mark.parametrize("kind", ["command", "shell", "attach", "inside", "function"])
def test_signals_of_what_is_attached(shared: lxc.Container, kind: str) -> None:
    with Pipe() as pipe, Program(shared, SIGNALS, kind, stdin=pipe.reader) as program:
        os.write(pipe.writer, b"grep ^Sig /proc/self/status\n")
        os.close(pipe.writer)
        program.next()
        program.finish()
    found = dict(x.split(":", 1) for x in program.out.splitlines() if x[:3] == "Sig")
    assert signal_set(found["SigBlk"]) == set()
    if kind != "function":
        assert signal_set(found["SigIgn"]) == set()


def test_blocked_signals_of_a_thread_are_not_inherited(shared: lxc.Container) -> None:
    masks = []

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        masks.append(shell(shared, "grep SigBlk /proc/self/status").out.split()[1])
        masks.append(process_status(f"self/task/{threading.get_native_id()}")["SigBlk"])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [signal_set(mask) for mask in masks] == [set(), {signal.SIGUSR1}]


def test_pipelines_end_as_they_should(shared: lxc.Container) -> None:
    # With SIGPIPE ignored `yes` would complain.
    assert shell(shared, "yes | head -n 1") == Outcome(0, "y\n", "")


@EVERY_WAY
def test_no_descriptor_stays(shared: lxc.Container, way: str) -> None:
    with open(os.devnull) as null:
        shared.attach_wait(*WAYS[way], stdin=null)
        before = descriptors()
        for _ in range(5):
            assert shared.attach_wait(*WAYS[way], stdin=null) == 0
            assert wait_status(shared.attach(*WAYS[way], stdin=null)) == 0
        assert descriptors() == before


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs os.pidfd_open")
def test_pidfd_of_the_caller_stays(shared: lxc.Container) -> None:
    # The binding closes the pidfd that liblxc forgets, and only that.
    mine = os.pidfd_open(shared.init_pid)
    try:
        for way in ("command", "function"):
            assert shared.attach_wait(*WAYS[way]) == 0
            assert wait_status(shared.attach(*WAYS[way])) == 0
        assert "pidfd" in os.readlink(f"/proc/self/fd/{mine}")
        signal.pidfd_send_signal(mine, 0)
    finally:
        os.close(mine)


def test_no_child_stays(shared: lxc.Container) -> None:
    for way in ("command", "function"):
        shared.attach_wait(*WAYS[way])
    assert children() == []


# --- Containers that cannot be attached to --------------------------------------------


def refused(container: lxc.Container) -> list[lxc.LXCError]:
    """The reasons, after every way of attaching was refused at once."""
    reasons = []
    for call in (container.attach_wait, container.attach):
        for arguments in ((COMMAND, ["true"]), (lambda: None,)):
            began = time.monotonic()
            assert call(*arguments) == -1
            assert time.monotonic() - began < 2
            assert isinstance(container.last_error, lxc.LXCError)
            assert container.last_error.container == container.name
            assert container.last_error.operation
            assert container.last_error.reason in str(container.last_error)
            assert container.name in str(container.last_error)
            reasons.append(container.last_error)
    return reasons


def test_attach_to_a_frozen_container(running: lxc.Container) -> None:
    assert running.freeze()
    try:
        assert all("frozen" in error.reason.lower() for error in refused(running))
    finally:
        assert running.unfreeze()
    assert running.attach_wait(COMMAND, ["true"]) == 0


def test_attach_to_a_stopped_container(stopped: lxc.Container) -> None:
    assert all("running" in error.reason for error in refused(stopped))


def test_attach_to_an_undefined_container(
    lxcpath: str, new_name: Callable[[], str]
) -> None:
    container = lxc.Container(new_name(), lxcpath)
    assert all("defined" in error.reason for error in refused(container))
    assert not container.defined


def test_program_that_fails_is_no_error_of_the_call(shared: lxc.Container) -> None:
    container = lxc.Container(shared.name, shared.get_config_path())
    assert container.last_error is None
    for code in (1, 127, 254):
        assert shell(container, f"exit {code}").status == code << 8
    assert container.last_error is None


def test_reason_of_what_returns_minus_one(shared: lxc.Container) -> None:
    assert shell(shared, "exit 255").status == -1
    assert "255" in shared.last_error.reason


def test_attached_program_dies_with_its_container(running: lxc.Container) -> None:
    pid = running.attach(COMMAND, ["sleep", "60"])
    # The kernel keeps the container's init until all are reaped: stop() waits for us.
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    assert wait_status(pid) == signal.SIGKILL
    stopping.join(20)
    assert not stopping.is_alive()


# --- The configuration ----------------------------------------------------------------


@pytest.mark.parametrize("unsaved", [False, True], ids=["saved", "unsaved"])
def test_attach_wait_leaves_the_configuration(
    make: Callable[..., lxc.Container], unsaved: bool
) -> None:
    container = make(start=True)
    if unsaved:
        assert container.set_config_item("lxc.environment", "NEW=1")
    assert container.save_config()
    if unsaved:
        assert container.set_config_item("lxc.environment", "NEW=2")
    file = Path(container.config_file_name)
    saved = file.read_text()
    for way in ("command", "function"):
        assert container.attach_wait(*WAYS[way]) == 0
    assert file.read_text() == saved
    if unsaved:
        assert container.get_config_item("lxc.environment") == ["NEW=2"]
        assert container.set_config_item("lxc.environment", "NEW=1")
    assert container.save_config()
    assert file.read_text() == saved


def test_attach_leaves_the_configuration(running: lxc.Container) -> None:
    assert running.save_config()
    file = Path(running.config_file_name)
    saved = file.read_text()
    for way in ("command", "function"):
        assert wait_status(running.attach(*WAYS[way])) == 0
    assert running.save_config()
    assert file.read_text() == saved


@pytest.mark.parametrize("way", ["command", "function"])
def test_attach_leaves_what_is_not_saved(running: lxc.Container, way: str) -> None:
    # liblxc sets both to what the running container has.
    assert running.set_config_item("lxc.no_new_privs", "1")
    assert running.set_config_item("lxc.seccomp.profile", "/no/such/profile")
    assert running.set_config_item("lxc.environment", "UNSAVED=1")
    for _ in range(2):
        assert wait_status(running.attach(*WAYS[way])) == 0
        assert running.get_config_item("lxc.no_new_privs") == "1"
        assert running.get_config_item("lxc.seccomp.profile") == "/no/such/profile"
    assert running.save_config()
    lines = Path(running.config_file_name).read_text().splitlines()
    assert [line for line in lines if "no_new_privs" in line or "seccomp" in line] == [
        "lxc.no_new_privs = 1",
        "lxc.seccomp.profile = /no/such/profile",
    ]


def test_unsaved_configuration_counts_for_attach(
    running: lxc.Container, tmp_path: Path
) -> None:
    assert running.set_config_item("lxc.environment", "UNSAVED=yes")
    with open(tmp_path / "out", "w") as out:
        what = ["sh", "-c", "echo $UNSAVED"]
        assert wait_status(running.attach(COMMAND, what, stdout=out)) == 0
    assert (tmp_path / "out").read_text() == "yes\n"


def test_loaded_configuration_counts(running: lxc.Container, tmp_path: Path) -> None:
    (tmp_path / "more").write_text("lxc.environment = LOADED=yes\n")
    assert running.load_config(str(tmp_path / "more"))
    assert shell(running, "echo $LOADED").out == "yes\n"


def test_configuration_that_someone_else_saved(running: lxc.Container) -> None:
    other = lxc.Container(running.name, running.get_config_path())
    assert other.set_config_item("lxc.environment", "OTHER=yes")
    assert other.save_config()
    # This object has loaded its own before; what it has in memory counts.
    assert shell(running, "echo $OTHER").out == "\n"
    assert shell(other, "echo $OTHER").out == "yes\n"


# --- A hostile caller -----------------------------------------------------------------


def test_caller_that_ignores_sigchld(running: lxc.Container) -> None:
    # Its children are nobody's to wait for, so liblxc cannot tell how they ended: what
    # is not known to have worked is a failure with a reason, and never a hang.
    program = """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    results = []
    for run in ((lxc.attach_run_command, ["true"]), (lambda: None,)):
        status = c.attach_wait(*run)
        results.append([status, c.last_error is not None])
    report(results)
    """
    for status, has_reason in run(running, program):
        assert (status, has_reason) in ((0, False), (-1, True))
    assert command(running, "true").status == 0


def test_attached_program_survives_its_caller(shared: lxc.Container) -> None:
    program = """
    report(c.attach(lxc.attach_run_command, ["sleep", "60"]))
    os.kill(os.getpid(), signal.SIGKILL)
    """
    with Program(shared, program) as child:
        pid = child.next()
        child.process.wait()
    try:
        assert wait_until(lambda: int(process_status(pid)["PPid"]) != child.process.pid)
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_attach_of_a_missing_program_ends_with_127(shared: lxc.Container) -> None:
    pid = shared.attach(lxc.attach_run_command, ["/none-such"])
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 127
