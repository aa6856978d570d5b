# SPDX-License-Identifier: LGPL-2.1-or-later
"""CPython's own tests of subprocess and asyncio, run in a container: see cpython.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import NEEDS_PYTHON, destroy, start_and_settle
from cpython import LEFT_OUT, MODULES
from support import TESTS

import lxc

# Why a test fails: each of these must fail.
NOT_APPLICABLE = {
    "preexec_fn": [
        "POSIXProcessTestCase.test_close_fds_after_preexec",
        "POSIXProcessTestCase.test_preexec",
        "POSIXProcessTestCase.test_preexec_exception",
        "POSIXProcessTestCase.test_preexec_fork_failure",
        "POSIXProcessTestCase.test_preexec_gc_module_failure",
        "POSIXProcessTestCase.test_surrogates_error_message",
    ],
}
# At least so many of each group are to run in the container, on any CPython.
LEAST = {"subprocess": 150, "run_async": 15, "asyncio": 40}


def has_tests() -> bool:
    try:
        return all(map(find_spec, MODULES.values()))
    except ModuleNotFoundError:
        return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests work, inside and outside."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def of_the_host(lxcpath: str, folder: Path) -> Iterator[lxc.Container]:
    """A container that runs the programs of the host, this Python too."""
    container = lxc.Container(f"t{os.getpid()}-cpython", lxcpath)
    root = Path(lxcpath, container.name, "rootfs")
    for name in ("dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    init = root / "init"
    init.write_text("#!/bin/sh\nwhile :; do sleep 3600 & wait; done\n")
    init.chmod(0o755)
    mounted = {sys.prefix, os.path.realpath(sys.base_prefix), TESTS, str(folder)}
    for name in ("bin", "etc", "lib", "lib32", "lib64", "sbin", "usr"):
        there = Path("/", name)
        if there.is_symlink():
            (root / name).symlink_to(os.readlink(there))
        elif there.is_dir():
            mounted.add(str(there))
    entries = [
        f"{path} {path[1:]} none bind,create=dir 0 0"
        for path in sorted(mounted)
        if path in ("/usr", TESTS) or not path.startswith("/usr/")
    ]
    for key, value in {
        "lxc.rootfs.path": f"dir:{root}",
        "lxc.uts.name": container.name,
        "lxc.init.cmd": "/init",
        "lxc.pty.max": "1024",
        "lxc.mount.auto": "proc:mixed sys:ro",
        "lxc.mount.entry": entries,
    }.items():
        assert container.set_config_item(key, value), key
    container.clear_config_item("lxc.net")
    assert container.set_config_item("lxc.net.0.type", "empty")
    assert container.save_config()
    start_and_settle(container)
    yield container
    destroy(container)


WITHOUT = f"{NEEDS_PYTHON}'s own test files: install libpython3.x-testsuite"


@pytest.mark.skipif(not has_tests(), reason=WITHOUT)
@pytest.mark.parametrize("group", MODULES)
def test_cpythons_own_tests(
    of_the_host: lxc.Container,
    folder: Path,
    group: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    results = folder / f"{group}.json"
    with results.open("w") as file:
        done = subprocess.run(
            [
                *("sh", "-c", 'exec "$@" 3>&1 >&2', "sh", sys.executable),
                *(f"{TESTS}/cpython.py", of_the_host.name),
                *(of_the_host.get_config_path(), group),
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            timeout=600,
        )
    assert done.returncode == 0
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    why = {name: reason for name, how, reason, *_ in lines if how == "failed"}
    expected = {
        name
        for names in NOT_APPLICABLE.values()
        for name in names
        if group == "subprocess"
    }
    inside = [how for _, how, _, calls, _ in lines if calls]
    count = Counter(how for _, how, *_ in lines)
    with capfd.disabled():
        print(
            f"\n--- CPython: {sys.version.split()[0]}'s tests of {group}: "
            f"{count['passed']} passed ({inside.count('passed')} of them in the "
            f"container), {count['skipped']} skipped by themselves, "
            f"{len(expected & set(why))} not applicable "
            f"({', '.join(NOT_APPLICABLE) if expected else 'none'}), "
            f"{len(set(why) - expected)} failed"
        )
    assert {name: why[name] for name in set(why) - expected} == {}
    assert expected - set(why) == set()
    assert inside.count("passed") >= LEAST[group]


@pytest.mark.skipif(not has_tests(), reason=WITHOUT)
def test_what_is_left_out_is_there() -> None:
    text = ""
    for module in set(MODULES.values()):
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        text += Path(spec.origin).read_text()
    missing = [
        name
        for names in LEFT_OUT.values()
        for name in names
        if not all(part in text for part in name.split("."))
    ]
    # What other versions of CPython have.
    assert set(missing) <= {
        "GenericWatcherTests",
        "MultiLoopChildWatcherTests",
        "POSIXProcessTestCase.test__use_vfork",
        "POSIXProcessTestCase.test_vfork_used_when_expected",
        "SubprocessFastWatcherTests",
        "SubprocessMultiLoopWatcherTests",
        "SubprocessSafeWatcherTests",
        *LEFT_OUT["loop=, which asyncio has given up"],
    }
