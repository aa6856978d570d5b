# SPDX-License-Identifier: LGPL-2.1-or-later
"""The extension module itself, which some programs use directly."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import create_bare

import lxc

_lxc = importlib.import_module("_lxc")

NewName = Callable[[], str]

pytestmark = pytest.mark.containers


@pytest.fixture
def container(tmp_path: Path) -> Any:
    """A raw container that is only in memory."""
    container = _lxc.Container("c", str(tmp_path))
    assert container.set_config_item("lxc.uts.name", "c")
    return container


@pytest.fixture
def raw(shared: lxc.Container) -> Any:
    """The running container, by the raw layer."""
    return _lxc.Container(shared.name, shared.get_config_path())


# --- The module -----------------------------------------------------------------------


def test_the_version_is_that_of_liblxc() -> None:
    assert _lxc.get_version() == lxc.version


def test_global_items_are_taken_by_keyword() -> None:
    assert _lxc.get_global_config_item(key="lxc.lxcpath") == lxc.default_config_path


@pytest.mark.parametrize("path", ["missing", "file"])
def test_the_list_of_a_bad_path_is_a_value_error(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"."):
        _lxc.list_containers(active=False, config_path=str(tmp_path / path))


def test_the_list_is_a_tuple_of_names(shared: lxc.Container, lxcpath: str) -> None:
    assert shared.name in _lxc.list_containers(True, True, lxcpath)
    assert shared.name in _lxc.list_containers(active=1, defined=0, config_path=lxcpath)
    assert _lxc.list_containers(active=False, defined=False, config_path=lxcpath) == ()


def test_the_names_of_the_default_lxcpath_are_a_tuple() -> None:
    assert isinstance(_lxc.list_containers(), tuple)


def test_an_architecture_has_a_personality() -> None:
    assert _lxc.arch_to_personality("i686") == 8
    with pytest.raises(KeyError):
        _lxc.arch_to_personality("none-such")


@pytest.mark.parametrize("argument", [5, None, "text", ("one",), ("one", "two"), ()])
def test_a_command_is_a_program_and_its_arguments(argument: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        _lxc.attach_run_command(argument)


def test_a_command_runs_when_attached(raw: Any) -> None:
    command = ("/bin/sh", ["sh", "-c", "exit 3"])
    assert raw.attach_wait(_lxc.attach_run_command, command) == 3 << 8
    assert raw.attach_wait(lambda: _lxc.attach_run_command(command)) == 3 << 8


def test_a_shell_runs_when_attached(raw: Any) -> None:
    read, write = os.pipe()
    os.write(write, b"exit 4\n")
    os.close(write)
    try:
        assert raw.attach_wait(_lxc.attach_run_shell, stdin=read) == 4 << 8
    finally:
        os.close(read)


def test_a_shell_is_called_with_one_argument(raw: Any) -> None:
    read, write = os.pipe()
    os.write(write, b"exit 5\n")
    os.close(write)
    try:
        status = raw.attach_wait(lambda: _lxc.attach_run_shell(None), stdin=read)
        assert status == 5 << 8
    finally:
        os.close(read)


# --- Items ----------------------------------------------------------------------------


def test_items_keep_their_newlines(container: Any) -> None:
    assert container.set_config_item("lxc.environment", "A=1")
    assert container.get_config_item("lxc.environment") == "A=1\n"
    assert container.get_config_item("lxc.uts.name") == "c"


def test_setting_an_item_adds_to_a_list(container: Any) -> None:
    assert container.set_config_item("lxc.environment", "A=1") is True
    assert container.set_config_item("lxc.environment", "B=2") is True
    assert container.get_config_item("lxc.environment") == "A=1\nB=2\n"


@pytest.mark.parametrize(("key", "value"), [("lxc.none", "1"), ("lxc.idmap", "none")])
def test_a_refused_item_is_false(container: Any, key: str, value: str) -> None:
    assert container.set_config_item(key, value) is False


def test_an_item_is_text_only(container: Any) -> None:
    with pytest.raises(TypeError):
        container.set_config_item("lxc.environment", ["A=1"])


def test_keys_are_lines(container: Any) -> None:
    keys = container.get_keys()
    assert keys.endswith("\n")
    assert "lxc.uts.name" in keys.splitlines()
    with pytest.raises(KeyError):
        container.get_keys("lxc.none")


def test_cgroup_items_keep_their_newlines(raw: Any) -> None:
    for key in ("pids.max", "hugetlb.2MB.max"):
        with contextlib.suppress(KeyError):
            assert raw.get_cgroup_item(key).endswith("\n")
            return
    pytest.fail("this machine gives containers neither pids nor hugetlb limits")


def test_a_running_item_keeps_its_newlines(raw: Any) -> None:
    assert raw.get_running_config_item("lxc.net") == "empty\n"


# --- Life -----------------------------------------------------------------------------


def test_create_takes_its_arguments_in_an_order_of_its_own(
    own_path: str, new_name: NewName, tmp_path: Path
) -> None:
    template = tmp_path / "template"
    template.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/args\n')
    template.chmod(0o755)
    container = _lxc.Container(new_name(), own_path)
    created = container.create(
        str(template), lxc.LXC_CREATE_QUIET, "dir", 0, ("--release", "sid")
    )
    assert created is True
    assert container.defined
    assert (tmp_path / "args").read_text().endswith("--release\nsid\n")


def test_clone_and_rename_return_a_bool(tmp_path: Path) -> None:
    create_bare("c", str(tmp_path))
    container = _lxc.Container("c", str(tmp_path))
    assert container.clone("d") is True
    assert lxc.Container("d", str(tmp_path)).defined
    assert container.clone("d") is False


def test_rename_returns_a_bool(own_path: str, new_name: NewName) -> None:
    container = create_bare(new_name(), own_path)
    name = new_name()
    assert _lxc.Container(container.name, own_path).rename(name) is True
    assert os.listdir(own_path) == [name]


def test_destroy_returns_a_bool(tmp_path: Path) -> None:
    container = _lxc.Container("c", str(tmp_path))
    assert container.destroy() is False
    assert container.create() is True
    assert container.destroy() is True
    assert not list(tmp_path.iterdir())


def test_states_are_read(raw: Any) -> None:
    assert (raw.state, raw.running, raw.defined) == ("RUNNING", True, True)
    assert raw.wait("RUNNING", 5) is True
    assert raw.wait("STOPPED", 0) is False


def test_a_raw_container_has_no_sugar(raw: Any) -> None:
    for name in ("network", "append_config_item", "add_device_net"):
        assert not hasattr(raw, name)


def test_interfaces_and_addresses_are_tuples(raw: Any) -> None:
    assert raw.get_interfaces() == ("lo",)
    assert raw.get_ips() == ()
    assert raw.get_ips(interface="none", family="inet6", scope=0) == ()


def test_a_raw_container_can_be_subclassed(tmp_path: Path) -> None:
    class Subclass(_lxc.Container):  # type: ignore[misc, name-defined]
        def __init__(self, name: str) -> None:
            super().__init__(name, str(tmp_path))
            self.colour = "red"

    container = Subclass("c")
    assert (container.name, container.colour) == ("c", "red")
    assert not container.defined


def test_a_raw_method_can_be_called_unbound(shared: lxc.Container) -> None:
    assert _lxc.Container.get_config_item(shared, "lxc.net") == "empty\n"
    assert lxc.Container.get_config_item(shared, "lxc.net") == ["empty"]
    assert lxc.Container.start(shared) is False
