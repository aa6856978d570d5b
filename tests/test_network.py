# SPDX-License-Identifier: LGPL-2.1-or-later
"""container.network: the sequence of a container's network interfaces."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

import lxc


@pytest.fixture
def container(tmp_path: Path) -> lxc.Container:
    """A container without interfaces that is only in memory."""
    container = lxc.Container("c", str(tmp_path))
    assert container.set_config_item("lxc.uts.name", "c")
    return container


@pytest.fixture
def two(container: lxc.Container) -> lxc.Container:
    """A container with a veth and an empty interface."""
    assert container.network.add("veth")
    assert container.network.add("empty")
    return container


def types(container: lxc.Container) -> list[str]:
    return [nic.type for nic in container.network]


# --- The list -------------------------------------------------------------------------


def test_a_container_without_configuration_has_no_interfaces(tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert len(container.network) == 0
    assert list(container.network) == []
    assert not container.network


def test_add_appends_an_interface_of_that_type(container: lxc.Container) -> None:
    assert container.network.add("veth") is True
    assert container.network.add(network_type="empty") is True
    assert types(container) == ["veth", "empty"]


def test_add_of_an_unknown_type_changes_nothing(two: lxc.Container) -> None:
    assert two.network.add("none-such") is False
    assert types(two) == ["veth", "empty"]


def test_an_index_gives_the_interface(two: lxc.Container) -> None:
    assert isinstance(two.network[1], lxc.ContainerNetwork)
    assert two.network[1].index == 1
    assert two.network[1].type == "empty"


def test_a_negative_index_counts_from_the_end(two: lxc.Container) -> None:
    assert two.network[-1].type == "empty"
    assert two.network[-2].type == "veth"


def test_the_index_after_the_last_makes_an_interface(two: lxc.Container) -> None:
    """Programs configure a second interface that way."""
    two.network[2].type = "veth"
    two.network[2].link = "lxcbr0"
    assert types(two) == ["veth", "empty", "veth"]
    assert two.network[2].link == "lxcbr0"


def test_an_interface_made_by_its_index_is_saved(two: lxc.Container) -> None:
    two.network[2].type = "phys"
    assert two.save_config()
    again = lxc.Container(two.name, two.get_config_path())
    assert types(again) == ["veth", "empty", "phys"]


@pytest.mark.parametrize("index", [3, 7, -3, 10**30])
def test_an_index_beyond_is_an_index_error_and_changes_nothing(
    two: lxc.Container, index: int
) -> None:
    with pytest.raises(IndexError):
        two.network[index]
    assert types(two) == ["veth", "empty"]


def test_a_negative_index_makes_no_interface(container: lxc.Container) -> None:
    with pytest.raises(IndexError):
        container.network[-1]
    assert len(container.network) == 0


@pytest.mark.parametrize("index", ["0", None, 1.0])
def test_an_index_that_is_no_number_is_a_type_error(
    two: lxc.Container, index: Any
) -> None:
    with pytest.raises(TypeError):
        two.network[index]
    assert len(two.network) == 2


def test_iteration_ends_and_makes_no_interface(two: lxc.Container) -> None:
    assert [nic.index for nic in two.network] == [0, 1]
    assert len(two.network) == 2


def test_reversed_ends_and_makes_no_interface(two: lxc.Container) -> None:
    assert [nic.index for nic in reversed(two.network)] == [1, 0]
    assert len(two.network) == 2


def test_in_finds_the_interface(two: lxc.Container) -> None:
    assert two.network[1] in two.network
    assert "veth" not in two.network
    assert len(two.network) == 2


def test_index_finds_the_interface(two: lxc.Container) -> None:
    assert two.network.index(two.network[1]) == 1
    with pytest.raises(ValueError, match=r"."):
        two.network.index("veth")
    assert len(two.network) == 2


@pytest.mark.parametrize(
    "part",
    [slice(None), slice(1), slice(1, None), slice(-1, None), slice(0, 9), slice(2, 9)],
    ids=str,
)
def test_a_slice_is_that_of_a_list(two: lxc.Container, part: slice) -> None:
    indices = [nic.index for nic in two.network[part]]
    assert indices == [0, 1][part]
    assert len(two.network) == 2


def test_remove_takes_the_interface_away(two: lxc.Container) -> None:
    assert two.network.remove(1)
    assert types(two) == ["veth"]


def test_what_follows_a_removed_interface_is_still_there(two: lxc.Container) -> None:
    assert two.network.remove(0)
    assert types(two) == ["empty"]
    assert two.network[0].type == "empty"


@pytest.mark.parametrize("index", [2, 99, -3])
def test_remove_beyond_is_an_index_error(two: lxc.Container, index: int) -> None:
    with pytest.raises(IndexError):
        two.network.remove(index)
    assert len(two.network) == 2


def test_interfaces_with_gaps_between_their_numbers_are_all_there(
    container: lxc.Container,
) -> None:
    assert container.set_config_item("lxc.net.0.type", "veth")
    assert container.set_config_item("lxc.net.5.type", "empty")
    assert types(container) == ["veth", "empty"]
    assert container.network[1].type == "empty"


def test_an_interface_that_follows_a_gap_is_new(container: lxc.Container) -> None:
    assert container.set_config_item("lxc.net.1.type", "veth")
    assert container.network.add("empty")
    assert sorted(types(container)) == ["empty", "veth"]


def test_the_list_can_be_assigned(two: lxc.Container) -> None:
    assigned = lxc.ContainerNetworkList(two)
    two.network = assigned
    assert two.network is assigned
    assert types(two) == ["veth", "empty"]


def test_the_list_knows_its_container(two: lxc.Container) -> None:
    assert two.network.container is two
    assert two.network[0].container is two


# --- An interface ---------------------------------------------------------------------


def test_dir_lists_the_keys_of_the_interface(two: lxc.Container) -> None:
    keys = [key.replace(".", "_") for key in two.get_keys("lxc.net.0")]
    assert dir(two.network[0]) == sorted(keys)
    assert "ipv4_address" in keys


def test_a_dot_in_a_key_is_an_underscore(two: lxc.Container) -> None:
    two.network[0].veth_pair = "vethc0"
    assert two.get_config_item("lxc.net.0.veth.pair") == "vethc0"
    assert two.network[0].veth_pair == "vethc0"


def test_an_attribute_is_the_item_of_that_interface(two: lxc.Container) -> None:
    two.network[0].name = "lan0"
    assert two.get_config_item("lxc.net.0.name") == "lan0"
    assert two.network[0].name == "lan0"


def test_an_unset_attribute_is_empty(two: lxc.Container) -> None:
    assert two.network[0].link == ""
    assert two.network[0].ipv4_address == ""


@pytest.mark.parametrize("key", ["link", "name", "veth_pair", "ipv4_address", "flags"])
def test_a_deleted_attribute_is_empty(two: lxc.Container, key: str) -> None:
    nic = two.network[0]
    before = getattr(nic, key)
    value = {"flags": "up", "ipv4_address": "192.0.2.1/24"}.get(key, "x0")
    setattr(nic, key, value)
    assert getattr(nic, key) != before
    delattr(nic, key)
    assert getattr(nic, key) == before


def test_an_address_can_be_a_list(two: lxc.Container) -> None:
    two.network[0].ipv4_address = ["192.0.2.1/24", "192.0.2.2/24"]
    shown = str(two.network[0].ipv4_address)
    assert "192.0.2.1" in shown
    assert "192.0.2.2" in shown


def test_a_hardware_address_pattern_is_filled_in(two: lxc.Container) -> None:
    two.network[0].hwaddr = "00:16:3e:xx:xx:xx"
    assert two.network[0].hwaddr.startswith("00:16:3e:")
    assert "x" not in two.network[0].hwaddr


def test_an_unknown_attribute_is_an_attribute_error(two: lxc.Container) -> None:
    nic = two.network[0]
    assert not hasattr(nic, "none_such")
    with pytest.raises(AttributeError):
        nic.none_such  # noqa: B018
    with pytest.raises(AttributeError):
        nic.none_such = "1"
    with pytest.raises(AttributeError):
        del nic.none_such


def test_a_key_of_another_type_is_an_attribute_error(two: lxc.Container) -> None:
    with pytest.raises(AttributeError):
        two.network[1].veth_pair  # noqa: B018


def test_props_are_those_of_the_interface(two: lxc.Container) -> None:
    veth, empty = two.network
    assert veth.props["veth_pair"] == "veth.pair"
    assert veth.props["type"] == "type"
    assert "veth_pair" not in empty.props


def test_an_interface_shows_its_type_and_index(two: lxc.Container) -> None:
    assert repr(two.network[0]) == "'veth' network at index '0'"


def test_an_interface_can_be_made_by_hand(two: lxc.Container) -> None:
    nic = lxc.ContainerNetwork(two, 1)
    assert (nic.container, nic.index, nic.type) == (two, 1, "empty")


# --- Lifetime -------------------------------------------------------------------------


def test_a_container_whose_network_was_used_is_freed_at_once(tmp_path: Path) -> None:
    gc.disable()
    try:
        container = lxc.Container("c", str(tmp_path))
        container.network.add("veth")
        assert container.network[0].type == "veth"
        freed = weakref.ref(container)
        del container
        assert freed() is None
    finally:
        gc.enable()


def test_the_list_keeps_its_container(tmp_path: Path) -> None:
    network = lxc.Container("c", str(tmp_path)).network
    assert network.add("veth")
    assert len(network) == 1


def test_an_interface_keeps_its_container(tmp_path: Path) -> None:
    nic = lxc.Container("c", str(tmp_path)).network[0]
    nic.type = "veth"
    assert nic.type == "veth"
