# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a caller's type checker makes of the package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CALLER = """
import subprocess
from typing import Any

from typing_extensions import assert_type

import lxc


async def call(container: lxc.Container, flag: bool) -> None:
    args = ["true"]
    assert_type(container.run(args), subprocess.CompletedProcess[bytes])
    assert_type(container.run(args, text=True), subprocess.CompletedProcess[str])
    assert_type(
        container.run(args, encoding="utf-8", timeout=3, check=True),
        subprocess.CompletedProcess[str],
    )
    assert_type(container.run(args, errors="strict"), subprocess.CompletedProcess[str])
    assert_type(
        container.run(args, universal_newlines=True), subprocess.CompletedProcess[str]
    )
    assert_type(container.run(args, text=flag), subprocess.CompletedProcess[Any])
    assert_type(container.popen(args), subprocess.Popen[bytes])
    assert_type(container.popen(args, text=True, stdin=-1), subprocess.Popen[str])
    assert_type(await container.run_async(args), subprocess.CompletedProcess[bytes])
    assert_type(
        await container.run_async(args, text=True), subprocess.CompletedProcess[str]
    )
    container.popen(args, 0)
    container.run(args, no_such=1)  # type: ignore[call-overload]
    container.run(args, timeout="1")  # type: ignore[call-overload]


def look(flag: bool) -> None:
    assert_type(lxc.list_containers(), tuple[str, ...])
    assert_type(lxc.list_containers(True, False), tuple[str, ...])
    assert_type(lxc.list_containers(as_object=True), tuple[lxc.Container, ...])
    assert_type(lxc.list_containers(True, True, True), tuple[lxc.Container, ...])
    assert_type(lxc.list_containers(as_object=flag), tuple[Any, ...])


def start(container: lxc.Container) -> None:
    if not container.start():
        raise container.last_error
    if container.last_error is not None:
        print(container.last_error.reason)
    container.last_error = None
"""


@pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None,
    reason="needs mypy, which ci/lint installs",
)
def test_callers_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "caller.py"
    file.write_text(CALLER)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10"),
            *("--warn-unused-ignores", "--cache-dir", str(tmp_path), str(file)),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
