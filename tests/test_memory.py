# SPDX-License-Identifier: LGPL-2.1-or-later
"""No memory: each allocation of Python's fails once, and nothing is left behind.

The calls are those of the C layer: what Python does above it is CPython's own matter.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator

import pytest
from conftest import create_busybox, destroy, start_and_settle
from support import CGROUPS, run
from test_errors import RAW_CALLS

import lxc

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(
        importlib.util.find_spec("_testcapi") is None,
        reason="this Python was built without its test modules",
    ),
]

# A call is over when this many in a row had all the memory that they wanted.
SWEEP = """
import _testcapi
from lxc import _lxc

def sweep(call):
    failed = good = number = 0
    while good < 20:
        assert number < 5000
        try:
            _testcapi.set_nomemory(number, number + 1)
            try:
                call()
            finally:
                _testcapi.remove_mem_hooks()
            good += 1
        except MemoryError:
            failed += 1
            good = 0
        except Exception:
            good += 1
        number += 1
    return failed

def measure(call):
    # What is made once is there then.
    sweep(call)
    before = descriptors()
    failed = sweep(call)
    gc.collect()
    return [failed, descriptors() - before, children()]

raw = _lxc.Container(c.name, c.get_config_path())
undefined = _lxc.Container(f"{c.name}-none", c.get_config_path())
true = (_lxc.attach_run_command, ("true", ["true"]))
"""

# On a running container: what is allocated after the arguments were looked at.
CALLS = {
    "attach_wait": "raw.attach_wait(*true, groups=[5, 7], extra_env_vars=['A=1'])",
    "attach_wait with a label": "raw.attach_wait(*true, lsm_label='none such')",
    "attach_wait with a log": (
        "raw.attach_wait(*true, attach_flags=lxc.LXC_ATTACH_DEFAULT | "
        "lxc.LXC_ATTACH_TERMINAL, log_fd=sys.stderr)"
    ),
    "checkpoint": "raw.checkpoint('/proc/none', True, True)",
    "console_log": "raw.console_log(False, True, 5)",
    "features": "_lxc.features()",
    "get_wait_states": "_lxc.get_wait_states()",
    "migrate": (
        "raw.migrate(lxc.MIGRATE_DUMP, '/proc/none', 0, 0, '/p', '::1', '27', 1, '/s', "
        "1, 5, 0)"
    ),
    "feature check": "raw.migrate(lxc.MIGRATE_FEATURE_CHECK, features_to_check=3)",
    "mount": "raw.mount('/etc', '/mnt', 'none', 4096, 'ro')",
    "restore": "raw.restore('/proc/none', True)",
    "seccomp_notify_fd_active": "raw.seccomp_notify_fd_active()",
    "umount": "raw.umount('/mnt', 2)",
}


@pytest.fixture(scope="module")
def container(lxcpath: str) -> Iterator[lxc.Container]:
    container = create_busybox(f"t{os.getpid()}-memory", lxcpath)
    start_and_settle(container)
    yield container
    destroy(container)


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_without_memory_leaves_nothing(
    container: lxc.Container, kind: str
) -> None:
    failed, *left = run(container, f"{SWEEP}\nreport(measure(lambda: {CALLS[kind]}))")
    assert left == [0, []]
    assert failed > 0


def test_no_call_without_memory_crashes(container: lxc.Container) -> None:
    """On an undefined container: all arguments are converted."""
    calls = {**RAW_CALLS, "attach": (None,), "attach_wait": (None,)}
    # It has Python do os.path.abspath(), of which CPython 3.13 dies without memory.
    del calls["set_config_path"]
    program = f"""{SWEEP}
report({{
    name: measure(lambda: getattr(undefined, name)(*given))
    for name, given in {calls!r}.items()
}})
"""
    try:
        found = run(container, program)
    finally:
        # Of hundreds of starts that fail, liblxc cannot remove the cgroup of a few.
        for left in CGROUPS.glob(f"**/lxc.monitor.{container.name}-none*"):
            with contextlib.suppress(OSError):
                left.rmdir()
    assert {name: left for name, (_, *left) in found.items() if left != [0, []]} == {}
    assert found["migrate"][0] > 0
    assert found["mount"][0] > 0
