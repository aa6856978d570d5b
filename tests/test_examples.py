# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs that are shown do what they say, and fail loudly where they cannot.

Those of the README and of help(lxc) are taken from there, and run in an lxcpath of
their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import create_busybox, destroy

import lxc

CHECKOUT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "examples").is_dir(), reason="these tests are of a checkout"
)
QUICK_START = "README's quick start"
DEFAULT = Path("/etc/lxc/default.conf")


def shown(what: str) -> str:
    """A program that is shown somewhere."""
    if what != QUICK_START:
        text = str(lxc.__doc__).partition("\n\n")[2]
        return textwrap.dedent(text.partition("\n\nA strict")[0])
    readme = (CHECKOUT / "README.rst").read_text()
    section = readme.partition("\nQuick start\n")[2]
    block = section.partition(".. code:: python\n\n")[2]
    lines = re.match(r"(?:    .*\n|\n)+", block)
    assert lines
    return textwrap.dedent(lines[0])


def run(
    *command: str, program: str | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command] if program is None else [*command, sys.executable, "-c", program],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def program(
    request: pytest.FixtureRequest, own_path: str, new_name: Callable[[], str]
) -> Iterator[str]:
    """A shown program, with names and an lxcpath of its own."""
    text, names = shown(request.param), {"web": new_name(), "layer": new_name()}
    assert 'lxc.Container("web", strict=True)' in text
    text = text.replace('("web", ', f'("{names["web"]}", {own_path!r}, ')
    yield text.replace('clone("layer"', f'clone("{names["layer"]}"')
    for name in reversed(names.values()):
        destroy(lxc.Container(name, own_path))


PROGRAMS = pytest.mark.parametrize("program", [QUICK_START, "help(lxc)"], indirect=True)


def has_bridge() -> bool:
    """Whether new containers are given to lxcbr0, as the README's readers have it."""
    return DEFAULT.exists() and "lxcbr0" in DEFAULT.read_text()


@pytest.mark.containers
@PROGRAMS
def test_a_shown_program_works(program: str, own_path: str) -> None:
    if "get_ips" in program and not has_bridge():
        pytest.skip(f"{DEFAULT} gives containers no network")
    done = run(program=program)
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    state, pid = first.split()[:2]
    assert state == "RUNNING"
    assert int(pid) > 0
    assert any(line.startswith("Linux ") for line in rest)
    assert os.listdir(own_path) == []


@pytest.mark.containers
@PROGRAMS
def test_a_shown_program_fails_loudly_without_the_bridge(program: str) -> None:
    if not has_bridge():
        pytest.skip(f"{DEFAULT} gives containers no network")
    # In a network namespace of its own there is no bridge.
    done = run("unshare", "--net", program=program)
    assert done.returncode == 1
    assert re.search(
        r"^lxc\.errors\.LXCError: start of '.*' failed: .*lxcbr0", done.stderr, re.M
    )
    assert done.stdout == ""


# --- examples/ ------------------------------------------------------------------------


def example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, str(CHECKOUT / "examples" / name), *arguments)


@pytest.fixture
def path(own_path: str, new_name: Callable[[], str]) -> Iterator[str]:
    """An lxcpath with a stopped container."""
    container = create_busybox(new_name(), own_path)
    yield own_path
    destroy(container)


@pytest.mark.containers
def test_hostname(path: str) -> None:
    (name,) = lxc.list_containers(config_path=path)
    for _ in range(2):
        done = example("hostname.py", name, "--lxcpath", path)
        assert (done.returncode, done.stderr) == (0, "")
        here, inside = done.stdout.splitlines()
        assert here == f"Hostname: {os.uname().nodename}"
        assert inside == f"Hostname: {name}"
    assert not lxc.Container(name, path).running


@pytest.mark.containers
def test_hostname_of_a_container_that_runs(shared: lxc.Container) -> None:
    done = example("hostname.py", shared.name, "--lxcpath", shared.get_config_path())
    assert (done.returncode, done.stderr) == (0, "")
    assert shared.running


@pytest.mark.containers
def test_hostname_of_no_container(own_path: str) -> None:
    done = example("hostname.py", "none-such", "--lxcpath", own_path)
    assert done.returncode == 1
    assert done.stderr == "start of 'none-such' failed: it is not defined\n"


@pytest.mark.containers
def test_lifecycle(own_path: str) -> None:
    done = example("lifecycle.py", "--lxcpath", own_path)
    assert (done.returncode, done.stderr) == (0, "")
    steps = [line.split()[0] for line in done.stdout.splitlines()]
    assert steps[:2] == ["create", "start"]
    assert steps[-2:] == ["destroy", "done"]
    assert os.listdir(own_path) == []


@pytest.mark.containers
def test_lifecycle_that_fails(own_path: str) -> None:
    done = example(
        "lifecycle.py", "--lxcpath", own_path, "--template", "/no/such/template"
    )
    assert done.returncode == 1
    assert "/no/such/template" in done.stderr
    assert os.listdir(own_path) == []


@pytest.mark.containers
def test_overlay_chain() -> None:
    done = example("overlay_chain.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("This comes from the third layer.\n")


@pytest.mark.containers
def test_update_all(path: str) -> None:
    (name,) = lxc.list_containers(config_path=path)
    broken = Path(path, "broken")
    broken.mkdir()
    (broken / "config").write_text("lxc.none = 1\n")
    done = example("update_all.py", "--lxcpath", path, "--timeout", "0.2")
    assert done.returncode == 1
    wrong, right = done.stdout.splitlines()
    assert wrong.startswith("broken: not updated: ")
    # It has no network.
    reason = f"get_ips of {name!r} failed: it had no address in 0.2 seconds"
    assert right == f"{name}: not updated: {reason}"
    assert not lxc.Container(name, path).running
