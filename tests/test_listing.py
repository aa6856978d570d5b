# SPDX-License-Identifier: LGPL-2.1-or-later
"""list_containers(): a picture of a moment."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lxc


def define(path: Path, *names: str) -> None:
    """Define containers by hand, with a configuration that has nothing in it."""
    for name in names:
        (path / name).mkdir()
        (path / name / "config").touch()


@pytest.fixture
def other(lxcpath: str, new_name: Callable[[], str]) -> Iterator[str]:
    """The name of a defined container beside the running one."""
    name = new_name()
    define(Path(lxcpath), name)
    yield name
    shutil.rmtree(Path(lxcpath) / name)


def test_the_list_is_a_tuple_of_names(tmp_path: Path) -> None:
    define(tmp_path, "a", "b")
    assert sorted(lxc.list_containers(config_path=str(tmp_path))) == ["a", "b"]
    assert isinstance(lxc.list_containers(config_path=str(tmp_path)), tuple)


def test_the_list_of_the_default_lxcpath_is_a_tuple() -> None:
    assert isinstance(lxc.list_containers(), tuple)
    assert isinstance(lxc.list_containers(config_path=None), tuple)


@pytest.mark.parametrize("path", ["missing", "file", "missing/below"])
def test_a_path_that_is_no_directory_has_no_containers(
    path: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert lxc.list_containers(config_path=str(tmp_path / path)) == ()


def test_what_is_no_container_is_not_listed(tmp_path: Path) -> None:
    define(tmp_path, "a", ".hidden")
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    assert lxc.list_containers(config_path=str(tmp_path)) == ("a",)


@pytest.mark.parametrize("as_path", [str, Path, os.fsencode])
def test_the_path_is_anything_that_names_one(as_path: Any, tmp_path: Path) -> None:
    define(tmp_path, "a")
    assert lxc.list_containers(config_path=as_path(str(tmp_path))) == ("a",)


def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    define(tmp_path, "\udcff", "ü")
    assert set(lxc.list_containers(config_path=str(tmp_path))) == {"\udcff", "ü"}


# Both arguments are truth values: python3-lxc takes 1 for False.  None is the default.
@pytest.mark.parametrize("active", [True, 1, "yes", None, False, 0, ""])
@pytest.mark.parametrize("defined", [True, 1, None, False, 0])
def test_active_and_defined_are_truth_values(
    active: Any, defined: Any, shared: lxc.Container, lxcpath: str, other: str
) -> None:
    names = lxc.list_containers(active=active, defined=defined, config_path=lxcpath)
    wants_active = active is None or bool(active)
    wants_defined = defined is None or bool(defined)
    assert names.count(shared.name) == (wants_active or wants_defined)
    assert names.count(other) == wants_defined


def test_the_arguments_go_by_position_too(
    shared: lxc.Container, lxcpath: str, other: str
) -> None:
    found = lxc.list_containers(False, True, True, lxcpath)
    assert {shared.name, other} <= {container.name for container in found}


def test_a_running_container_without_configuration_is_active(
    running: lxc.Container, lxcpath: str
) -> None:
    config = Path(running.config_file_name)
    text = config.read_text()
    config.unlink()
    try:
        listed = lxc.list_containers(config_path=lxcpath)
        defined = lxc.list_containers(active=False, config_path=lxcpath)
    finally:
        config.write_text(text)
    assert running.name in listed
    assert running.name not in defined


# --- Objects --------------------------------------------------------------------------


@pytest.mark.parametrize("as_object", [True, 1, "yes"])
def test_objects_are_containers_of_that_path(as_object: Any, tmp_path: Path) -> None:
    define(tmp_path, "a", "b")
    found = lxc.list_containers(as_object=as_object, config_path=str(tmp_path))
    assert isinstance(found, tuple)
    assert {type(container) for container in found} == {lxc.Container}
    assert sorted(container.name for container in found) == ["a", "b"]
    assert {container.get_config_path() for container in found} == {str(tmp_path)}
    assert all(container.defined for container in found)


@pytest.mark.parametrize("as_object", [False, 0, None])
def test_without_as_object_there_are_names(as_object: Any, tmp_path: Path) -> None:
    define(tmp_path, "a")
    assert lxc.list_containers(as_object=as_object, config_path=str(tmp_path)) == ("a",)


def test_a_broken_configuration_does_not_break_the_list(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    define(tmp_path, "a", "broken", "c")
    (tmp_path / "broken" / "config").write_text("lxc.none = 1\n")
    found = lxc.list_containers(as_object=True, config_path=str(tmp_path))
    assert sorted(container.name for container in found) == ["a", "broken", "c"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "ask",
    [
        lambda container: container.get_config_item("lxc.uts.name"),
        lambda container: container.start(),
        lambda container: container.state,
    ],
    ids=["get_config_item", "start", "state"],
)
def test_asking_a_broken_container_raises_and_names_it(
    ask: Any, tmp_path: Path
) -> None:
    define(tmp_path, "broken-one")
    (tmp_path / "broken-one" / "config").write_text("lxc.none = 1\n")
    (broken,) = lxc.list_containers(as_object=True, config_path=str(tmp_path))
    with pytest.raises((RuntimeError, lxc.LXCError), match="broken-one"):
        ask(broken)


def test_a_container_that_vanished_is_undefined(tmp_path: Path) -> None:
    define(tmp_path, "a")
    (gone,) = lxc.list_containers(as_object=True, config_path=str(tmp_path))
    shutil.rmtree(tmp_path / "a")
    assert gone.name == "a"
    assert gone.defined is False
    assert gone.start() is False


def test_containers_that_come_and_go_do_not_break_the_list(tmp_path: Path) -> None:
    define(tmp_path, "constant")
    stop = threading.Event()

    def come_and_go() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            name = f"passing-{number % 8}"
            define(tmp_path, name)
            shutil.rmtree(tmp_path / name)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            found = lxc.list_containers(as_object=True, config_path=str(tmp_path))
            assert "constant" in [container.name for container in found]
            for container in found:
                try:
                    assert container.state == "STOPPED"
                except RuntimeError:
                    # It went while liblxc read its configuration.
                    assert container.name != "constant"
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("path", [5, ["/tmp"], 1.5])
def test_a_path_of_another_type_is_a_type_error(path: Any) -> None:
    with pytest.raises(TypeError):
        lxc.list_containers(config_path=path)


def test_a_path_with_a_nul_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="null"):
        lxc.list_containers(config_path="/tmp/nul\0byte")
