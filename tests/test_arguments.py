# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arguments of run() and the others: what subprocess itself makes of them counts.

test_cpython.py has CPython's own tests of them.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import descriptors, wait_until

import lxc

PIPE = subprocess.PIPE

# What both sides have, so that both find the same programs.
SAME: dict[str, Any] = {"env": {"PATH": "/bin:/usr/bin"}, "cwd": "/"}


def outcome(call: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
    """What a call comes to, in what a program can tell apart."""
    options = {**SAME, **options}
    try:
        done = call(args, **options)
    except subprocess.TimeoutExpired as error:
        return type(error), error.cmd, error.output, error.stderr
    except subprocess.CalledProcessError as error:
        return type(error), error.cmd, error.returncode, error.output, error.stderr
    except OSError as error:
        return type(error), error.errno, error.filename
    except Exception as error:
        return type(error)
    return done.args, done.returncode, done.stdout, done.stderr


def in_asyncio(container: lxc.Container) -> Callable[..., Any]:
    return lambda *args, **options: asyncio.run(container.run_async(*args, **options))


# A shell that is there under both names: dash or bash here, busybox there.
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "word": ("true", {}),
    "bytes": (b"true", {}),
    "path": (Path("/bin/true"), {}),
    "tuple": (("true",), {}),
    "mixed": (["echo", b"a\xff", Path("/b"), "c d", ""], {"stdout": PIPE}),
    "two words": ("echo a", {}),
    "empty list": ([], {}),
    "empty tuple": ((), {}),
    "empty list and shell": ([], {"shell": True, "stderr": subprocess.DEVNULL}),
    "empty word": ("", {}),
    "empty item": ([""], {}),
    "empty word and shell": ("", {"shell": True}),
    "number": (5, {}),
    "none": (None, {}),
    "number in a list": (["echo", 5], {}),
    "zero byte": (["echo", "a\0b"], {}),
    "bytearray": (bytearray(b"true"), {}),
    "shell": ("echo a; exit 3", {"shell": True, "stdout": PIPE}),
    "shell and bytes": (b"echo a", {"shell": True, "stdout": PIPE}),
    "shell and list": (["echo $0 $1", "a", "b"], {"shell": True, "stdout": PIPE}),
    "shell and path": (Path("/bin/true"), {"shell": True}),
    "shell and executable": (
        "echo $0",
        {"shell": True, "executable": "/bin/../bin/sh", "stdout": PIPE},
    ),
    "shell that is not there": ("true", {"shell": True, "executable": "/no/sh"}),
    "executable": (
        ["sh", "-c", "echo a"],
        {"executable": b"/bin/sh", "stdout": PIPE},
    ),
    "executable in PATH": (["sh", "-c", "exit 7"], {"executable": Path("sh")}),
    "executable that is not there": (["true"], {"executable": "/no/such"}),
    "executable that is not there, in bytes": (["true"], {"executable": b"/no"}),
    "empty executable": (["true"], {"executable": ""}),
    "program that is not there": (["/no/such", "a"], {}),
    "program in bytes that is not there": ([b"no-such"], {}),
    "program of a path that is not there": ([Path("/no/such")], {}),
    "directory that is not there": (["true"], {"cwd": Path("/no/such")}),
    "empty directory": (["true"], {"cwd": ""}),
    "directory that is a file": (["true"], {"cwd": "/etc/passwd"}),
    "directory that is a number": (["true"], {"cwd": 5}),
    "directory with a zero byte": (["true"], {"cwd": "/\0"}),
    "no environment": (["/bin/env"], {"env": {}, "stdout": PIPE}),
    "environment": (["/bin/env"], {"env": {"A": "", b"B": b"\xff"}, "stdout": PIPE}),
    "name of nothing": (["/bin/env"], {"env": {"": "x"}, "stdout": PIPE}),
    "name with =": (["true"], {"env": {"A=B": "x"}}),
    "name with a zero byte": (["true"], {"env": {"A\0": "x"}}),
    "value with a zero byte": (["true"], {"env": {"A": "x\0"}}),
    "value that is none": (["true"], {"env": {"A": None}}),
    "value that is a number": (["true"], {"env": {"A": 1}}),
    "environment that is a list": (["true"], {"env": ["A=1"]}),
    "empty PATH": (["no-such"], {"env": {"PATH": ""}}),
    **{
        f"{name} {value!r}": (
            ["true"],
            {name: [value] if name == "extra_groups" else value},
        )
        for name in ("user", "group", "extra_groups")
        for value in (-1, 1 << 32, 1 << 64, "no-such-one", b"root", 1.5)
    },
    "groups that are a str": (["true"], {"extra_groups": "root"}),
    "groups that are a number": (["true"], {"extra_groups": 5}),
    "no groups": (["id", "-G"], {"extra_groups": [], "stdout": PIPE}),
    "too many groups": (["true"], {"extra_groups": list(range(70000))}),
    "umask": ("umask", {"shell": True, "umask": 0o27, "stdout": PIPE}),
    "umask of nothing": ("umask", {"shell": True, "umask": 0, "stdout": PIPE}),
    "large umask": ("umask", {"shell": True, "umask": 0o7777, "stdout": PIPE}),
    "negative umask": ("umask", {"shell": True, "umask": -5, "stdout": PIPE}),
    "umask that is a str": (["true"], {"umask": "x"}),
    "umask that is none": (["true"], {"umask": None}),
    "umask that is a float": (["true"], {"umask": 1.5}),
    "umask beyond an int": (["true"], {"umask": 1 << 40}),
    "new session": (["true"], {"start_new_session": True}),
    "restore_signals": (["true"], {"restore_signals": False}),
    "close_fds": (["true"], {"close_fds": True}),
    "bufsize": (["echo"], {"bufsize": 0, "stdout": PIPE}),
    "bufsize none": (["echo"], {"bufsize": None, "stdout": PIPE}),
    "bufsize that is a str": (["true"], {"bufsize": "x"}),
    "startupinfo": (["true"], {"startupinfo": 1}),
    "creationflags": (["true"], {"creationflags": 1}),
    "text": (
        ["printf", "\u00fc\\r\\na\\rb\\n"],
        {"text": True, "encoding": "utf-8", "stdout": PIPE},
    ),
    "universal_newlines": (
        ["printf", "a\\r\\nb"],
        {"universal_newlines": True, "stdout": PIPE},
    ),
    "text and not": (["true"], {"text": True, "universal_newlines": False}),
    "text and text": (
        ["echo"],
        {"text": True, "universal_newlines": 1, "stdout": PIPE},
    ),
    "encoding": (
        ["cat"],
        {"encoding": "utf-16-le", "input": "a\u00fc", "stdout": PIPE},
    ),
    "errors": (
        ["printf", "\\377"],
        {"encoding": "ascii", "errors": "replace", "stdout": PIPE},
    ),
    "text that is none": (["printf", "\\377"], {"encoding": "ascii", "stdout": PIPE}),
    "unknown encoding": (["true"], {"encoding": "no-such", "stdout": PIPE}),
    "input": (["cat"], {"input": b"a\r\nb", "stdout": PIPE}),
    "no input": (["cat"], {"input": b"", "stdout": PIPE}),
    "empty text": (["cat"], {"input": "", "text": True, "stdout": PIPE}),
    "input that is an array": (
        ["cat"],
        {"input": array.array("H", range(300)), "capture_output": True},
    ),
    "input that is a number": (["cat"], {"input": 5, "capture_output": True}),
    "str as bytes": (["cat"], {"input": "x", "capture_output": True}),
    "empty str as bytes": (["cat"], {"input": "", "capture_output": True}),
    "input and stdin": (["cat"], {"input": b"", "stdin": subprocess.DEVNULL}),
    "capture_output and stdout": (["true"], {"capture_output": True, "stdout": 1}),
    "capture_output and stderr": (["true"], {"capture_output": True, "stderr": PIPE}),
    "capture_output": ("echo a; echo b >&2", {"shell": True, "capture_output": True}),
    "stdin from nowhere": (["cat"], {"stdin": subprocess.DEVNULL, "stdout": PIPE}),
    "stderr into stdout": (
        "echo a; echo b >&2",
        {"shell": True, "stdout": PIPE, "stderr": subprocess.STDOUT},
    ),
    "stdout that is a str": (["true"], {"stdout": "x"}),
    "signal": ("kill -9 $$", {"shell": True}),
    "check": ("echo a; exit 3", {"shell": True, "check": True, "stdout": PIPE}),
    "check of a signal": ("kill -15 $$", {"shell": True, "check": True}),
    "timeout": (
        "echo a; exec sleep 60",
        {"shell": True, "timeout": 0.4, "capture_output": True, "text": True},
    ),
    "timeout of what says nothing": (
        ["sleep", "60"],
        {"timeout": 0.2, "capture_output": True},
    ),
    "timeout without pipes": (["sleep", "60"], {"timeout": 0.1}),
    "negative timeout": (["sleep", "60"], {"timeout": -1, "stdout": PIPE}),
    "timeout that is a str": (["true"], {"timeout": "x"}),
    "unknown keyword": (["true"], {"nonsense": 1}),
}


def settled() -> Any:
    """The descriptors, when no call that was left at its timeout is in a thread yet."""
    wait_until(lambda: all(each.name != "lxc" for each in threading.enumerate()))
    return descriptors()


@pytest.mark.parametrize("way", ["run", "run_async"])
@pytest.mark.parametrize("case", CASES)
def test_as_subprocess_has_it(shared: lxc.Container, case: str, way: str) -> None:
    args, options = CASES[case]
    before = settled()
    wanted = outcome(subprocess.run, args, options)
    call = shared.run if way == "run" else in_asyncio(shared)
    assert outcome(call, args, options) == wanted
    assert settled() == before


def output(container: lxc.Container, *args: Any, **options: Any) -> str:
    done = container.run(*args, capture_output=True, text=True, check=True, **options)
    return done.stdout


def test_program_and_argv_are_two_things(shared: lxc.Container) -> None:
    # busybox is what its argv[0] says.
    assert output(shared, ["echo", "a"], executable="/bin/cat") == "a\n"


def test_arguments_by_position(shared: lxc.Container) -> None:
    """As in programs that are older than keyword-only arguments."""
    done = shared.run("echo a", -1, None, None, PIPE, None, None, True, True, "/etc")
    assert done.stdout == b"a\n"
    with shared.popen(
        ["pwd"], 0, None, None, PIPE, None, None, True, False, "/etc"
    ) as p:
        assert p.communicate() == (b"/etc\n", None)
        assert p.args == ["pwd"]
    assert repr(p) == "<Popen: returncode: 0 args: ['pwd']>"


CALLS = {
    "run": lambda c, args, **o: c.run(args, **o),
    "popen": lambda c, args, **o: c.popen(args, **o).wait(),
    "run_async": lambda c, args, **o: asyncio.run(c.run_async(args, **o)),
    "exec": lambda c, args, **o: asyncio.run(c.create_subprocess_exec(*args, **o)),
    "shell": lambda c, args, **o: asyncio.run(c.create_subprocess_shell(*args, **o)),
}


@pytest.mark.parametrize("way", CALLS)
def test_what_a_container_cannot_have_says_why(shared: lxc.Container, way: str) -> None:
    call = CALLS[way]
    before = settled()
    with pytest.raises(ValueError, match=r"preexec_fn .* fork .* attach_wait"):
        call(shared, ["true"], preexec_fn=print)
    with pytest.raises(PermissionError, match="a session of its own"):
        call(shared, ["true"], process_group=1)
    with pytest.raises(TypeError):
        call(shared, ["true"], process_group="x")
    with pytest.raises(TypeError, match="pipesize must be an integer"):
        call(shared, ["true"], pipesize="x")
    with pytest.raises(ValueError, match="startupinfo is only supported on Windows"):
        call(shared, ["true"], startupinfo=1)
    with pytest.raises(ValueError, match="creationflags is only supported on Windows"):
        call(shared, ["true"], creationflags=1)
    assert settled() == before


@pytest.mark.parametrize("way", CALLS)
def test_warnings_name_the_line_that_called(shared: lxc.Container, way: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        CALLS[way](shared, ["true"], close_fds=False, pass_fds=(0,))
    assert [str(each.message) for each in caught] == ["pass_fds overriding close_fds."]
    if way in ("run", "popen"):  # else it is a line of asyncio's
        assert caught[0].filename == __file__


@pytest.mark.needs_python(3, 10, reason="-X warn_default_encoding")
def test_encoding_that_is_not_said(shared: lxc.Container, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, sys, lxc\n"
        "c = lxc.Container(*sys.argv[1:])\n"
        "c.run(['true'], text=True)\n"
        "c.popen(['true'], universal_newlines=True).wait()\n"
        "c.run(['true'], errors='strict', capture_output=True)\n"
        "c.run(['true'], encoding='utf-8', capture_output=True)\n"
        "c.run(['true'], capture_output=True)\n"
        "async def main():\n"
        "    await c.run_async(['cat'], input='x', text=True, stdout=-1)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-X", "warn_default_encoding", program),
            *(shared.name, shared.get_config_path()),
        ],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "EncodingWarning" in line]
    assert said == [
        f"{program}:{line}: EncodingWarning: 'encoding' argument not specified."
        for line in (3, 4, 5, 9)
    ]


def session(text: str) -> tuple[bool, bool]:
    """Whether a shell that printed $$ and its stat leads its group and its session."""
    pid, stat = text.split(None, 1)
    group, leader = stat.rpartition(")")[2].split()[2:4]
    return group == pid, leader == pid


@pytest.mark.parametrize("tty", [False, True])
def test_session_and_group_of_its_own(shared: lxc.Container, tty: bool) -> None:
    script = "echo $$; cat /proc/$$/stat"
    for options in ({}, {"start_new_session": True}, {"process_group": 0}):
        text = output(shared, script, shell=True, tty=tty, **options)
        assert session(text) == (True, True)


def test_umask_is_the_callers_or_what_was_said(shared: lxc.Container) -> None:
    before = os.umask(0o31)
    try:
        assert output(shared, "umask", shell=True) == "0031\n"
        assert output(shared, "umask", shell=True, umask=0o27) == "0027\n"
        with shared.popen("umask", shell=True, umask=0, stdout=PIPE) as begun:
            assert begun.communicate()[0] == b"0000\n"
        assert os.umask(0o31) == 0o31
    finally:
        os.umask(before)


def test_close_fds_leaves_what_is_inheritable(shared: lxc.Container) -> None:
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)
        script = f"echo /proc/self/fd/*; echo a >&{writer}"
        said = output(shared, script, shell=True, close_fds=False)
        assert os.read(reader, 9) == b"a\n"
        assert f"/proc/self/fd/{writer}" in said.split()
        assert f"/proc/self/fd/{reader}" not in said.split()
        for options in ({}, {"close_fds": True}):
            said = output(shared, "echo /proc/self/fd/*", shell=True, **options)
            assert f"/proc/self/fd/{writer}" not in said.split()
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.needs_python(3, 10, reason="pipesize")
def test_size_of_pipes(shared: lxc.Container) -> None:
    size = 16384
    with shared.popen(["cat"], stdin=PIPE, stdout=PIPE, pipesize=size) as begun:
        for stream in (begun.stdin, begun.stdout):
            assert stream is not None
            assert fcntl.fcntl(stream, 1032) == size  # F_GETPIPE_SZ
        begun.communicate(b"")
    done = shared.run(["echo", "a"], capture_output=True, pipesize=size, bufsize=0)
    assert done.stdout == b"a\n"


# --- asyncio's forms ------------------------------------------------------------------


def test_create_subprocess_shell(shared: lxc.Container) -> None:
    async def main() -> None:
        shell = shared.create_subprocess_shell
        begun = await shell("read x; echo $x $0; exit 3", stdin=PIPE, stdout=PIPE)
        assert await begun.communicate(b"a\n") == (b"a /bin/sh\n", None)
        assert begun.returncode == 3
        begun = await shell(b"pwd; umask", stdout=PIPE, cwd="/etc", umask=0o22)
        assert (await begun.communicate())[0] == b"/etc\n0022\n"
        begun = await shell("kill -9 $$")
        assert await begun.wait() == -9
        done = await shared.run_async("echo a; exit 2", shell=True, stdout=PIPE)
        assert (done.args, done.returncode, done.stdout) == (
            "echo a; exit 2",
            2,
            b"a\n",
        )
        for wrong in (["true"], Path("/bin/true"), 5):
            with pytest.raises(ValueError, match="cmd must be a string"):
                await shell(wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="shell must be True"):
            await shell("true", shell=False)

    asyncio.run(main())


@pytest.mark.parametrize("way", ["exec", "shell"])
def test_asyncio_has_bytes_alone(shared: lxc.Container, way: str) -> None:
    wrong = {
        "universal_newlines": True,
        "text": True,
        "bufsize": 1,
        "encoding": "utf-8",
        "errors": "strict",
    }
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"{name} must be"):
            CALLS[way](shared, ["true"], **{name: value})
    if way == "exec":
        with pytest.raises(ValueError, match="shell must be False"):
            CALLS[way](shared, ["true"], shell=True)
    usual = {"universal_newlines": False, "text": False, "bufsize": 0}
    CALLS[way](shared, ["true"], encoding=None, errors=None, **usual)
