# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names and paths: liblxc checks neither, so the binding does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import create_bare

import lxc

# What would leave the lxcpath, name it, break liblxc's line based files, or not fit
# into the names of its lock files.
BAD_NAMES = [
    "",
    ".",
    "..",
    "/",
    "../x",
    "a/b",
    "/etc",
    "x/",
    "nul\0byte",
    "new\nline",
    "\n",
    "x" * 201,
    "ü" * 101,
]

GOOD_NAMES = [
    "a",
    "A-1_b.c",
    "...",
    ".hidden",
    "sp ace",
    "x" * 200,
    "ü" * 100,
    "\udcff",
]


def shown(name: str) -> str:
    """A test's id for a name."""
    return repr(name if len(name) < 20 else f"{name[:3]}*{len(os.fsencode(name))}")


bad_names = pytest.mark.parametrize("name", BAD_NAMES, ids=shown)


@bad_names
def test_a_bad_container_name_is_a_value_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        lxc.Container(name, str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", GOOD_NAMES, ids=shown)
def test_a_name_comes_back_as_it_was_given(name: str, tmp_path: Path) -> None:
    assert lxc.Container(name, str(tmp_path)).name == name


def test_a_name_that_is_no_text_is_a_type_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        lxc.Container(5, str(tmp_path))  # type: ignore[arg-type]


def test_a_parent_directory_cannot_be_destroyed(tmp_path: Path) -> None:
    """With python3-lxc this removes everything in the parent directory."""
    (tmp_path / "config").touch()
    (tmp_path / "precious").touch()
    lxcpath = tmp_path / "lxcpath"
    lxcpath.mkdir()
    with pytest.raises(ValueError, match=r"\.\."):
        lxc.Container("..", str(lxcpath)).destroy()
    assert (tmp_path / "precious").exists()


# Calls that take a name of a container or snapshot; the name goes where None is.
NAMING = [
    ("clone", (None,)),
    ("rename", (None,)),
    ("snapshot_destroy", (None,)),
    ("snapshot_restore", (None,)),
    ("snapshot_restore", ("snap0", None)),
]


@bad_names
@pytest.mark.parametrize(
    ("method", "arguments"),
    NAMING,
    ids=["clone", "rename", "snapshot_destroy", "snapshot_restore", "newname"],
)
def test_a_bad_new_name_is_a_value_error(
    method: str, arguments: tuple[str | None, ...], name: str, tmp_path: Path
) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config").touch()
    container = lxc.Container("c", str(tmp_path))
    given = [name if argument is None else argument for argument in arguments]
    with pytest.raises(ValueError, match=r"."):
        getattr(container, method)(*given)
    assert container.defined
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


# --- Paths ----------------------------------------------------------------------------


def other_spellings(path: str) -> dict[str, str]:
    """Other ways to write a path."""
    parent, last = os.path.split(path)
    return {
        "slash": f"{path}/",
        "slashes": f"{path}///",
        "double": f"{parent}//{last}",
        "dot": f"{parent}/./{last}",
        "dots": f"{path}/../{last}",
        "relative": os.path.relpath(path),
    }


spellings = pytest.mark.parametrize("spelling", other_spellings("/a/b"))


@spellings
def test_the_lxcpath_is_made_absolute_and_normal(spelling: str, tmp_path: Path) -> None:
    container = lxc.Container("c", other_spellings(str(tmp_path))[spelling])
    assert container.get_config_path() == str(tmp_path)
    assert container.config_file_name == f"{tmp_path}/c/config"


@spellings
def test_set_config_path_makes_it_absolute_and_normal(
    spelling: str, tmp_path: Path
) -> None:
    container = lxc.Container("c", "/nowhere")
    assert container.set_config_path(other_spellings(str(tmp_path))[spelling])
    assert container.get_config_path() == str(tmp_path)


@spellings
def test_a_running_container_is_found_however_its_path_is_written(
    spelling: str, shared: lxc.Container, lxcpath: str
) -> None:
    path = other_spellings(lxcpath)[spelling]
    assert lxc.Container(shared.name, path).state == "RUNNING"
    assert shared.name in lxc.list_containers(defined=False, config_path=path)


@pytest.mark.containers
@spellings
def test_a_clone_goes_to_the_normal_path(spelling: str, tmp_path: Path) -> None:
    for directory in ("a", "b"):
        (tmp_path / directory).mkdir()
    container = create_bare("c", str(tmp_path / "a"))
    clone = container.clone("d", other_spellings(str(tmp_path / "b"))[spelling])
    assert clone.get_config_path() == str(tmp_path / "b")
    assert clone.defined


def test_a_symbolic_link_in_the_lxcpath_stays(tmp_path: Path) -> None:
    """The command line tools do not resolve it, and the path names the container."""
    (tmp_path / "link").symlink_to(tmp_path)
    container = lxc.Container("c", str(tmp_path / "link"))
    assert container.get_config_path() == f"{tmp_path}/link"


def test_the_working_directory_counts_when_the_container_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    container = lxc.Container("c", "here")
    monkeypatch.chdir("/")
    assert container.get_config_path() == f"{tmp_path}/here"


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_the_lxcpath_is_anything_that_names_a_path(
    kind: Callable[[str], object], tmp_path: Path
) -> None:
    container = lxc.Container("c", kind(str(tmp_path)))
    assert container.get_config_path() == str(tmp_path)


def test_without_an_lxcpath_it_is_the_default_one() -> None:
    for container in (lxc.Container("none-such"), lxc.Container("none-such", None)):
        assert container.get_config_path() == lxc.default_config_path


def test_a_path_that_is_not_utf8_comes_back_as_it_was_given(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.makedirs(f"{path}/\udcfe")
    Path(path, "\udcfe", "config").touch()
    container = lxc.Container("\udcfe", path)
    assert container.defined
    assert container.get_config_path() == path
    assert container.config_file_name == f"{path}/\udcfe/config"
    assert lxc.list_containers(config_path=path) == ("\udcfe",)


@pytest.mark.parametrize("path", ["/tmp/nul\0byte", b"/tmp/nul\0byte"])
def test_a_path_with_a_nul_is_a_value_error(path: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"null"):
        lxc.Container("c", path)


def test_what_liblxc_refuses_to_open_is_a_runtime_error() -> None:
    """No file name can be that long: liblxc cannot make its lock file."""
    with pytest.raises(RuntimeError):
        lxc.Container("c", "/" + "x" * 300)
