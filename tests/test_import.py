# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `import lxc` brings along: as little as it can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lxc

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
import lxc
print(*sorted(set(sys.modules) - before))
"""
# Most take longer than lxc itself; what needs one imports it when it is used.
LATER = {
    *("asyncio", "collections", "contextlib", "ctypes", "enum", "functools", "inspect"),
    *("logging", "operator", "pathlib", "re", "select", "shutil", "signal", "socket"),
    *("subprocess", "tempfile", "threading", "traceback", "types", "typing", "weakref"),
    *("dataclasses", "json", "warnings", "selectors"),
}


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """The modules that come with lxc into an interpreter that has hardly any."""
    directory = str(Path(lxc.__file__).parent.parent)
    done = subprocess.run(
        # -I does not know of PYTHONDONTWRITEBYTECODE, which package builds set.
        [sys.executable, "-I", "-S", "-B", "-c", PROGRAM, directory],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_what_takes_long_to_import_comes_later(imported: set[str]) -> None:
    assert {name.partition(".")[0] for name in imported} & LATER == set()


def test_dir_shows_what_is_public() -> None:
    found = dir(lxc)
    assert found == sorted({*found})
    public = {name for name in found if not name.startswith("__")}
    assert public == {*lxc.__all__}
    assert all(hasattr(lxc, name) for name in found)
    assert not any(isinstance(getattr(lxc, name), ModuleType) for name in public)
    assert {"__all__", "__doc__", "__file__", "__version__"} <= {*found}


def test_of_the_package_only_what_is_always_used_is_imported(
    imported: set[str],
) -> None:
    own = {name for name in imported if name.partition(".")[0] == "lxc"}
    assert own == {"lxc", "lxc._lxc", "lxc.errors", "lxc.network"}
