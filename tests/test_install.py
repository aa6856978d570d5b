# SPDX-License-Identifier: LGPL-2.1-or-later
"""Building from a checkout: what is missing is named, and editable installs are whole.

Each build is one of a copy of the checkout, by the functions that pip calls.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import why_no_containers

CHECKOUT = Path(__file__).resolve().parent.parent
CALL = """
import sys
sys.path[:0] = {tools!r}
from setuptools import build_meta
build_meta.{hook}({directory!r}, {settings!r})
"""
# In a directory as pip makes one: with the package's .pth file in it.
SITE = """
import site, sys
site.addsitedir({directory!r})
"""


def why_not_built() -> str | None:
    """What this machine lacks for a build, or None."""
    if not (CHECKOUT / "setup.py").exists():
        return "these tests are of a checkout"
    try:
        import setuptools
    except ImportError:
        return "needs setuptools 64 or later"
    version = tuple(map(int, setuptools.__version__.split(".")[:2]))
    if version < (64,) or (version < (70, 1) and not find_spec("wheel")):
        return "needs setuptools 64 or later, and before 70.1 wheel"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "needs Python.h"
    for program in ("cc", "pkg-config"):
        if shutil.which(program) is None:
            return f"needs {program}"
    if subprocess.run(["pkg-config", "--exists", "lxc"], check=False).returncode != 0:
        return "needs liblxc's headers"
    return None


WHY_NOT = why_not_built()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f"a build {WHY_NOT}")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout in which nothing is built."""
    copy = tmp_path / "checkout"
    built = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(CHECKOUT / "lxc", copy / "lxc", ignore=built)
    (copy / "lxc" / "launcher").unlink(missing_ok=True)
    for name in ("setup.py", "pyproject.toml", "README.rst", "COPYING", "MANIFEST.in"):
        shutil.copy(CHECKOUT / name, copy)
    return copy


def build(
    checkout: Path,
    hook: str,
    *,
    settings: dict[str, str] | None = None,
    tools: tuple[str, ...] = (),
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Call a function of setuptools for the copy, as pip does."""
    directory = checkout.parent / "made"
    directory.mkdir(exist_ok=True)
    program = CALL.format(
        hook=hook, directory=str(directory), settings=settings, tools=[*tools]
    )
    own = {name: text for name, text in os.environ.items() if "LXC_" not in name}
    return subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=checkout,
        env={**own, "CFLAGS": "-O0", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# --- What is missing ------------------------------------------------------------------


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """What a build that fails says in the end: a sentence, and no traceback."""
    assert done.returncode != 0
    assert not re.search(r"TypeError|AttributeError|FileNotFoundError", done.stderr)
    return done.stderr.rstrip().rpartition("\n")[2]


HOOKS = ["prepare_metadata_for_build_wheel", "build_wheel", "build_editable"]


@pytest.mark.parametrize("hook", HOOKS)
def test_no_pkg_config(checkout: Path, hook: str) -> None:
    words = last_words(build(checkout, hook, PKG_CONFIG="/no/such/pkg-config"))
    assert words == (
        "python3-lxc is built with /no/such/pkg-config, which could not be run: "
        "install pkg-config on Debian and Ubuntu, pkgconf-pkg-config on Fedora, or "
        "pkgconf on Alpine, and try again."
    )


@pytest.mark.parametrize("hook", HOOKS)
def test_no_liblxc(checkout: Path, hook: str) -> None:
    nothing = {"PKG_CONFIG_LIBDIR": "/no/such", "PKG_CONFIG_PATH": "/no/such"}
    words = last_words(build(checkout, hook, **nothing))
    assert words == (
        "python3-lxc needs the headers of liblxc 4.0.5 or later, which pkg-config does "
        "not know: install lxc-dev (in some releases liblxc-dev) on Debian and Ubuntu, "
        "lxc-devel on Fedora, or lxc-dev on Alpine, and try again."
    )


def pc_file(checkout: Path, version: str, *lines: str) -> dict[str, str]:
    """The environment in which pkg-config knows a liblxc of that version, alone."""
    directory = checkout.parent / "pkgconfig"
    directory.mkdir()
    text = ("Name: lxc", "Description: none", f"Version: {version}", *lines, "")
    (directory / "lxc.pc").write_text("\n".join(text))
    return {"PKG_CONFIG_LIBDIR": str(directory), "PKG_CONFIG_PATH": str(directory)}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_liblxc_that_is_too_old(checkout: Path, hook: str) -> None:
    words = last_words(build(checkout, hook, **pc_file(checkout, "3.0.4")))
    assert words.startswith("python3-lxc needs the headers of liblxc 4.0.5 or later, ")
    assert "has those of 3.0.4, which is too old" in words


def test_a_package_that_liblxc_needs(checkout: Path) -> None:
    known = pc_file(checkout, "5.0.2", "Requires: no-such-package")
    words = last_words(build(checkout, "build_wheel", **known))
    assert "'no-such-package', required by 'lxc', not found" in words


def test_no_headers_of_liblxc(checkout: Path) -> None:
    known = pc_file(checkout, "5.0.2", "Cflags: -nostdinc", "Libs: -llxc")
    words = last_words(build(checkout, "build_wheel", **known))
    assert words.startswith("python3-lxc needs the C library's headers, not found by ")


def compiler(checkout: Path, script: str) -> str:
    """A program that calls the compiler with other arguments."""
    path = checkout.parent / "compiler"
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_no_compiler(checkout: Path) -> None:
    words = last_words(build(checkout, "build_wheel", CC="/no/such/cc"))
    assert words == (
        "python3-lxc needs a C compiler, and there is no /no/such/cc: install gcc and "
        "libc6-dev on Debian and Ubuntu, gcc on Fedora, or gcc and musl-dev on Alpine, "
        "and try again."
    )


WITHOUT = {
    "libc6-dev": ('exec cc -nostdinc "$@"', "the C library's headers"),
    # What names a directory of Python's does not reach the compiler.
    "python3.": (
        'for a; do shift; [[ $a == -I*ython* ]] || set -- "$@" "$a"; done\n'
        'exec cc "$@"',
        "Python.h",
    ),
    "lxc-dev": (
        'for a; do shift; [ "$a" != -llxc ] || a=-lno-such; set -- "$@" "$a"; done\n'
        'exec cc "$@"',
        "liblxc to link with",
    ),
}


@pytest.mark.parametrize("package", WITHOUT)
def test_a_compiler_that_does_not_find(checkout: Path, package: str) -> None:
    script, what = WITHOUT[package]
    program = compiler(checkout, script)
    words = last_words(build(checkout, "build_wheel", CC=program))
    assert words.startswith(
        f"python3-lxc needs {what}, not found by {program}: install "
    )
    assert package in words


def test_an_error_in_the_source_is_the_compilers_to_tell(checkout: Path) -> None:
    with open(checkout / "lxc" / "_lxc.c", "a") as source:
        source.write("#error mistake\n")
    done = build(checkout, "build_wheel")
    assert done.returncode != 0
    assert "python3-lxc needs" not in done.stderr


# --- Editable installs ----------------------------------------------------------------


def oldest_setuptools(tmp_path: Path) -> tuple[str, ...]:
    """The oldest setuptools that pyproject.toml allows, from PyPI."""
    if sys.version_info >= (3, 12):
        pytest.skip("the oldest setuptools does not run with this Python")
    text = (CHECKOUT / "pyproject.toml").read_text()
    found = re.search(r'requires = \["setuptools>=(\d+)"\]', text)
    assert found
    wanted = [f"setuptools=={found[1]}.0.0", "wheel<0.46"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    target = str(tmp_path / "tools")
    done = subprocess.run(
        [*pip, target, *wanted], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"pip cannot get {wanted[0]}: {done.stderr.strip()[-200:]}")
    return (target,)


@pytest.mark.parametrize("mode", ["lenient", "strict"])
@pytest.mark.parametrize("age", ["at hand", "oldest"])
def test_an_editable_install_is_whole(
    request: pytest.FixtureRequest, checkout: Path, age: str, mode: str
) -> None:
    tools = oldest_setuptools(checkout.parent) if age == "oldest" else ()
    done = build(
        checkout, "build_editable", settings={"editable_mode": mode}, tools=tools
    )
    assert done.returncode == 0, done.stderr

    place = checkout.parent / "site"
    (wheel,) = (checkout.parent / "made").glob("*.whl")
    shutil.unpack_archive(wheel, place, "zip")
    program = SITE.format(directory=str(place)) + (
        "import lxc\n"
        "print(lxc.__file__, lxc._lxc.__file__, lxc._lxc._launcher())\n"
        "for name in sys.argv[2:]:\n"
        "    container = lxc.Container(name, sys.argv[1])\n"
        "    sys.exit(container.run(['sh', '-c', 'exit 3']).returncode)\n"
    )
    arguments = []
    if why_no_containers() is None:
        shared = request.getfixturevalue("shared")
        arguments = [shared.get_config_path(), shared.name]
    done = subprocess.run(
        # Without the packages that are installed, so that no other lxc is found.
        [sys.executable, "-I", "-S", "-c", program, *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3 if arguments else 0, "")
    for file in done.stdout.split():
        assert Path(file).is_relative_to(checkout)
    launcher = checkout / "lxc" / "launcher"
    assert launcher.stat().st_mode & 0o777 == 0o755


# --- A checkout that is not built -----------------------------------------------------


def test_import_in_a_checkout_that_is_not_built(checkout: Path) -> None:
    program = "import sys; sys.path[:0] = ['']; import lxc"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    words = done.stderr.rstrip().rpartition("\n")[2]
    assert words == (
        f"ImportError: {checkout}/lxc is a checkout's, which is not built for this "
        "Python: build it with 'pip install -e .' there, or leave that directory where "
        "the package is installed already"
    )


def test_import_of_a_package_for_another_python(checkout: Path) -> None:
    package = checkout / "lxc"
    (package / "_lxc.cpython-27-x86_64-linux-gnu.so").touch()
    (checkout / "setup.py").unlink()
    program = f"import sys; sys.path[:0] = [{str(checkout)!r}]; import lxc"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    words = done.stderr.rstrip().rpartition("\n")[2]
    assert words == (
        f"ImportError: the lxc package in {package} was installed for another Python "
        f"than this one, {sys.version_info[0]}.{sys.version_info[1]}: install it for "
        "this one"
    )
