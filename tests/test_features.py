# SPDX-License-Identifier: LGPL-2.1-or-later
"""What depends on the version of the liblxc at hand."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import re
import select
import time
from collections.abc import Callable
from errno import ECONNREFUSED
from pathlib import Path

import pytest
from conftest import run_python
from support import build_library, monitor_of, paused

import lxc
from lxc import _lxc

# The first release that has it, and a call of it.
SINCE = {
    "devpts_fd": ((4, 0, 5), "c.devpts_fd()"),
    "groups": ((4, 0, 7), "c.attach_wait(print, groups=[5])"),
    "init_pidfd": ((4, 0, 5), "c.init_pidfd()"),
    "lsm_label": ((4, 0, 7), "c.attach_wait(print, lsm_label='x')"),
    "rbduser": (
        (6, 0, 6),
        "c.create('/no/such', bdev_specs={'rbd': {'rbduser': 'admin'}})",
    ),
    "set_timeout": ((6, 0, 0), "c.set_timeout(5)"),
}
OLDEST = (4, 0, 5)


def release(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    assert found
    return tuple(int(number) for number in found.groups())


@pytest.fixture
def pretend(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """An environment in which liblxc says that it is another version."""

    def pretend(version: str) -> dict[str, str]:
        library = build_library(
            tmp_path / "version.c",
            f'const char *lxc_get_version(void) {{ return "{version}"; }}\n',
        )
        return {**os.environ, "LD_PRELOAD": str(library)}

    return pretend


def test_features_are_names_and_whether_they_are_there() -> None:
    features = lxc.features()
    assert features.keys() >= SINCE.keys()
    assert {type(there) for there in features.values()} == {bool}
    assert features["pidfd"] is True
    assert lxc.features() is not features


@pytest.mark.parametrize("name", SINCE)
def test_a_call_is_there_since_its_release(name: str, tmp_path: Path) -> None:
    since, call = SINCE[name]
    built_for = release(_lxc.LIBLXC_BUILT_FOR)
    there = release(lxc.version) >= since and built_for >= since
    assert lxc.features()[name] is there
    container = lxc.Container("c", str(tmp_path))
    wanted = ".".join(str(number) for number in since)
    if there:
        with contextlib.suppress(lxc.LXCError):  # nobody defined it
            eval(call, {"c": container})
    else:
        with pytest.raises(NotImplementedError) as raised:
            eval(call, {"c": container})
        assert f"{name} needs liblxc {wanted} or later" in str(raised.value)
        assert lxc.version in str(raised.value)


@pytest.mark.parametrize("version", ["4.0.4", "3.0.3", "2.1.1", "4.0.0~git1"])
def test_import_refuses_an_old_liblxc(
    version: str, pretend: Callable[[str], dict[str, str]]
) -> None:
    done = run_python("import lxc", env=pretend(version))
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last == (
        "ImportError: the lxc package needs liblxc 4.0.5 or later, and the one on "
        f"this machine is {version}: upgrade it, or use python3-lxc from the same "
        "release of your distribution"
    )


@pytest.mark.parametrize(
    "version", ["4.0.5", "4.0.12", "5.0.0~git2209-g5a7b9ce67", "6.0.0-devel", "10.0.0"]
)
def test_versions_are_compared_as_numbers(
    version: str, pretend: Callable[[str], dict[str, str]]
) -> None:
    program = "import lxc; print(lxc.version, lxc.features()['set_timeout'])"
    done = run_python(program, env=pretend(version))
    assert done.returncode == 0, done.stderr
    new = release(version) >= (6, 0, 0)
    there = new and release(_lxc.LIBLXC_BUILT_FOR) >= (6, 0, 0)
    assert done.stdout == f"{version} {there}\n"


# --- Descriptors ----------------------------------------------------------------------


def test_init_pidfd_is_a_descriptor_of_the_callers_own(shared: lxc.Container) -> None:
    fd = shared.init_pidfd()
    try:
        assert fd > 2
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        info = Path(f"/proc/self/fdinfo/{fd}")
        assert f"Pid:\t{shared.init_pid}\n" in info.read_text()
        # Attaching closes what liblxc leaves open, which is the same open file.
        assert shared.attach_wait(lxc.attach_run_command, ["true"]) == 0
        assert shared.attach_wait(lambda: None) == 0
        assert f"Pid:\t{shared.init_pid}\n" in info.read_text()
    finally:
        os.close(fd)


def test_init_pidfd_becomes_readable_when_init_ends(running: lxc.Container) -> None:
    fd = running.init_pidfd()
    try:
        assert select.select([fd], [], [], 0)[0] == []
        assert running.stop()
        assert select.select([fd], [], [], 10)[0] == [fd]
    finally:
        os.close(fd)


def test_devpts_fd_is_the_containers_devpts(shared: lxc.Container) -> None:
    fd = shared.devpts_fd()
    try:
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert os.stat("ptmx", dir_fd=fd).st_rdev == os.makedev(5, 2)
        inside = os.stat(f"/proc/{shared.init_pid}/root/dev/pts").st_dev
        assert os.fstat(fd).st_dev == inside
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["init_pidfd", "devpts_fd"])
def test_a_stopped_container_has_no_descriptor_to_give(
    stopped: lxc.Container, name: str
) -> None:
    with pytest.raises(lxc.LXCError) as raised:
        getattr(stopped, name)()
    error = raised.value
    assert isinstance(error, OSError)
    assert str(error) == f"{name} of {stopped.name!r} failed: it is not running"
    assert (error.operation, error.container) == (name, stopped.name)
    # liblxc 4.0 tells the number of only some failures.
    if release(lxc.version) >= (5, 0, 0):
        assert error.errno == ECONNREFUSED
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.errno) == (str(error), error.errno)


# --- set_timeout ----------------------------------------------------------------------


def has_set_timeout(container: lxc.Container) -> bool:
    if lxc.features()["set_timeout"]:
        return True
    with pytest.raises(NotImplementedError):
        container.set_timeout(5)
    return False


@pytest.mark.parametrize("timeout", [0, -2, -100])
def test_set_timeout_refuses_what_is_none(stopped: lxc.Container, timeout: int) -> None:
    if has_set_timeout(stopped):
        with pytest.raises(ValueError, match=f"{timeout} is no timeout"):
            stopped.set_timeout(timeout)


def test_set_timeout_ends_the_wait_for_a_monitor(running: lxc.Container) -> None:
    if not has_set_timeout(running):
        return
    running.set_timeout(1)
    assert running.state == "RUNNING"
    with paused(monitor_of(running)):
        began = time.monotonic()
        state = running.state
        assert 0.9 < time.monotonic() - began < 5
        assert state != "RUNNING"
    assert running.state == "RUNNING"
    running.set_timeout(-1)
    assert running.running
