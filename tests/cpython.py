# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run CPython's own tests of subprocess and asyncio's subprocesses in a container.

    cpython.py NAME LXCPATH GROUP [TEST...]

GROUP is subprocess, asyncio or run_async.  The test files are those of the interpreter
that runs this; what they spawn is spawned by the container's popen(), run(),
create_subprocess_exec() and create_subprocess_shell(), or run_async().  A command's
directory and environment are this process's, as in CPython's, where the test does not
say otherwise.  For each test a line of JSON says how it went: its name, "passed",
"failed" or "skipped", the last line of why, and how often it called the container.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import os
import subprocess
import sys
import time
import types
import unittest
from typing import Any

import lxc

MODULES = {
    "subprocess": "test.test_subprocess",
    "run_async": "test.test_subprocess",
    "asyncio": "test.test_asyncio.test_subprocess",
}

# What is not run, and why.
LEFT_OUT = {
    "subprocess's own module and classes, whose insides are looked at": [
        "MiscTests.test__all__",
        "MiscTests.test_call_keyboardinterrupt_no_kill",
        "MiscTests.test_context_manager_keyboardinterrupt_no_kill",
        "MiscTests.test_run_keyboardinterrupt_no_kill",
        "POSIXProcessTestCase.test__use_vfork",
        "POSIXProcessTestCase.test_fork_exec",
        "POSIXProcessTestCase.test_fork_exec_sorted_fd_sanity_check",
        "POSIXProcessTestCase.test_vfork_used_when_expected",
        "ProcessTestCase.test_repr",
        "ProcessTestCaseNoPoll",
    ],
    "asyncio's own classes, and other ways for it to see a child's end": [
        "GenericWatcherTests",
        "MultiLoopChildWatcherTests",
        "SubprocessFastWatcherTests",
        "SubprocessMultiLoopWatcherTests",
        "SubprocessSafeWatcherTests",
        "SubprocessTransportTests",
    ],
    "loop=, which asyncio has given up": [
        "SubprocessPidfdWatcherTests.test_exec_loop_deprecated",
        "SubprocessPidfdWatcherTests.test_shell_loop_deprecated",
        "SubprocessThreadedWatcherTests.test_exec_loop_deprecated",
        "SubprocessThreadedWatcherTests.test_shell_loop_deprecated",
    ],
    "other systems": ["CommandsWithSpaces", "Win32ProcessTestCase"],
    "a minute of failures, which test_leaks.py looks into": [
        "ProcessTestCase.test_leaking_fds_on_error"
    ],
}
ONLY = {"run_async": ["RunFuncTestCase"]}

calls = 0
container: lxc.Container


def as_here(given: dict[str, Any]) -> dict[str, Any]:
    """What a child of this process would inherit."""
    global calls
    calls += 1
    if given.get("env") is None:
        given["env"] = dict(os.environ)
    if given.get("cwd") is None:
        given["cwd"] = os.getcwd()
    return given


# --- subprocess -----------------------------------------------------------------------


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """A class, as tests have it as one, whose instances are subprocess.Popen's."""

    def __new__(cls, args: Any, *more: Any, **given: Any) -> Any:
        return container.popen(args, *more, **as_here(given))


def run(args: Any, *more: Any, **given: Any) -> Any:
    return container.run(args, *more, **as_here(given))


def run_async(args: Any, **given: Any) -> Any:
    return asyncio.run(container.run_async(args, **as_here(given)))


def call(*args: Any, timeout: float | None = None, **given: Any) -> int:
    with Popen(*args, **given) as process:
        try:
            return int(process.wait(timeout))
        except BaseException:
            process.kill()
            raise


def check_call(*args: Any, **given: Any) -> int:
    if status := call(*args, **given):
        raise subprocess.CalledProcessError(status, given.get("args") or args[0])
    return 0


def check_output(*args: Any, **given: Any) -> Any:
    if "stdout" in given:
        raise ValueError("stdout argument not allowed, it will be overridden.")
    if "check" in given:
        raise ValueError("check argument not allowed, it will be overridden.")
    if "input" in given and given["input"] is None:
        text = given.get("text") or given.get("universal_newlines")
        given["input"] = "" if text or given.get("encoding") else b""
    return run(*args, stdout=subprocess.PIPE, check=True, **given).stdout


def getstatusoutput(cmd: Any, **given: Any) -> tuple[int, str]:
    given = {"shell": True, "text": True, "stderr": subprocess.STDOUT, **given}
    try:
        text = check_output(cmd, **given)
        status = 0
    except subprocess.CalledProcessError as error:
        text, status = error.output, error.returncode
    return status, text.removesuffix("\n")


# --- In the place of modules ----------------------------------------------------------


class Stand(types.ModuleType):
    """A module with other functions in it; what is set there, is set in the module."""

    def __init__(self, module: types.ModuleType, **functions: Any) -> None:
        super().__init__(module.__name__)
        self.__dict__.update({"_module": module, **functions})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            self.__dict__[name] = value
        else:
            setattr(self._module, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._module, name)


def functions(group: str) -> dict[str, types.ModuleType]:
    if group != "asyncio":
        made = functools.partial(
            Stand,
            subprocess,
            Popen=Popen,
            call=call,
            check_call=check_call,
            check_output=check_output,
            getstatusoutput=getstatusoutput,
            getoutput=lambda cmd, **given: getstatusoutput(cmd, **given)[1],
        )
        return {"subprocess": made(run=run_async if group == "run_async" else run)}

    async def create_exec(*args: Any, **given: Any) -> Any:
        return await container.create_subprocess_exec(*args, **as_here(given))

    async def create_shell(*args: Any, **given: Any) -> Any:
        return await container.create_subprocess_shell(*args, **as_here(given))

    made = {
        "create_subprocess_exec": create_exec,
        "create_subprocess_shell": create_shell,
    }
    return {
        "asyncio": Stand(asyncio, **made),
        "subprocess": Stand(asyncio.subprocess, **made),
    }


# --- The results ----------------------------------------------------------------------


def short(test: unittest.TestCase) -> str:
    """Its name with its class's."""
    return ".".join(test.id().split(".")[-2:])


class Results(unittest.TestResult):
    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.before, self.began, self.said = calls, time.monotonic(), ["passed", ""]
        self.stdout = sys.stdout

    def say(self, how: str, error: Any) -> None:
        self.said = [how, str(error).strip().rpartition("\n")[2]]

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.say("skipped", reason)

    def addFailure(self, test: unittest.TestCase, error: Any) -> None:
        text = self._exc_info_to_string(error, test)  # type: ignore[attr-defined]
        print(test.id(), text, sep="\n", file=sys.stderr)
        if not isinstance(test, unittest.TestCase):  # what sets up a class or the file
            raise SystemExit(1)
        self.say("failed", text)

    addError = addFailure

    def addSubTest(self, test: Any, part: Any, error: Any) -> None:
        if error is not None:
            self.addFailure(part, error)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.say("failed", "unexpected success")

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        how, why = self.said
        took = round(time.monotonic() - self.began, 2)
        line = json.dumps([short(test), how, why, calls - self.before, took])
        os.write(3, line.encode() + b"\n")


def main(group: str, wanted: list[str]) -> None:
    module = importlib.import_module(MODULES[group])
    module.__dict__.update(functions(group))
    left_out = {name for names in LEFT_OUT.values() for name in names}
    suite = unittest.TestSuite()
    for name, case in sorted(vars(module).items()):
        if (
            isinstance(case, type)
            and issubclass(case, unittest.TestCase)
            and case.__module__ == module.__name__
            and name in ONLY.get(group, [name])
        ):
            for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
                if left_out & {name, short(test)}:
                    continue
                if not wanted or any(each in test.id() for each in wanted):
                    suite.addTest(test)
    suite.run(Results())


if __name__ == "__main__":
    container = lxc.Container(sys.argv[1], sys.argv[2])
    main(sys.argv[3], sys.argv[4:])
