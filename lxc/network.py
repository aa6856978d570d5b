# SPDX-License-Identifier: LGPL-2.1-or-later
"""container.network: the interfaces of the configuration as a sequence of objects."""

from __future__ import annotations

from . import _lxc

TYPE_CHECKING = False  # of typing, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, overload

    from . import Container

__all__ = ["ContainerNetwork", "ContainerNetworkList"]

OWN_ATTRIBUTES = frozenset(("container", "index", "props"))
# What is cleared by clearing the item; the others are set to an empty value.
HIGHEST = 1000  # no interface has a number above
LISTS = frozenset(("ipv4", "ipv6", "ipv4.address", "ipv6.address"))
NONE_THERE = "there is no network interface {}, only {}"


class ContainerNetwork:
    """One interface, container.network[index].

    Its attributes are the keys of lxc.net.INDEX with "_" for ".": network[0].link,
    network[0].ipv4_address.  Reading one gives what Container.get_config_item() gives,
    setting it is Container.set_config_item(), and del clears it.  An attribute that is
    no key raises AttributeError.  Setting the type begins anew: as in liblxc, the other
    attributes are empty then, and which there are depends on the type.
    """

    container: Container
    index: int
    props: dict[str, str]

    def __init__(self, container: Container, index: int) -> None:
        self.container = container
        self.index = index
        self._read_keys()

    def _read_keys(self) -> None:
        """Which keys there are, which depends on the type."""
        self.props = {
            key.replace(".", "_"): key
            for key in self.container.get_keys(f"lxc.net.{self.index}")
            if key
        }

    def _key(self, attribute: str) -> str:
        try:
            return f"lxc.net.{self.index}.{self.props[attribute]}"
        except KeyError:
            raise AttributeError(
                f"network interface {self.index} has no attribute {attribute!r}"
            ) from None

    def __getattr__(self, attribute: str) -> Any:
        if attribute in OWN_ATTRIBUTES:  # not set yet: copy and pickle ask for them
            raise AttributeError(attribute)
        return self.container.get_config_item(self._key(attribute))

    def __setattr__(self, attribute: str, value: Any) -> None:
        if attribute in OWN_ATTRIBUTES:
            object.__setattr__(self, attribute, value)
            return
        taken = self.container.set_config_item(self._key(attribute), value)
        if taken and attribute == "type" and value:
            self._read_keys()

    def __delattr__(self, attribute: str) -> None:
        if attribute in OWN_ATTRIBUTES:
            object.__delattr__(self, attribute)
        elif self.props.get(attribute) in LISTS:
            self.container.clear_config_item(self._key(attribute))
        else:
            self.container.set_config_item(self._key(attribute), "")

    def __dir__(self) -> list[str]:
        return sorted(self.props)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ContainerNetwork):
            return NotImplemented
        return self.container is other.container and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self.container), self.index))

    def __repr__(self) -> str:
        return f"'{self.type}' network at index '{self.index}'"


class ContainerNetworkList:
    """All interfaces of a container's configuration.

    A sequence, with one thing more: network[len(network)] makes a new interface.
    Beyond that is an IndexError.  (So it is not a collections.abc.Sequence, whose
    methods find the end by indexing.)
    """

    def __init__(self, container: Container) -> None:
        self.container = container

    def __len__(self) -> int:
        try:
            interfaces = _lxc.Container.get_config_item(self.container, "lxc.net")
        except KeyError:
            return 0
        return len(interfaces.splitlines())

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int) -> ContainerNetwork: ...
        @overload
        def __getitem__(self, index: slice) -> list[ContainerNetwork]: ...

    def __getitem__(
        self, index: int | slice
    ) -> ContainerNetwork | list[ContainerNetwork]:
        numbers = self._numbers()
        if isinstance(index, slice):
            return [ContainerNetwork(self.container, n) for n in numbers[index]]
        try:
            number = numbers[index]
        except IndexError:
            if index != len(numbers):
                raise IndexError(NONE_THERE.format(index, len(numbers))) from None
            self.add("empty")  # a type that liblxc takes, until it is given its own
            number = self._numbers()[index]
        return ContainerNetwork(self.container, number)

    def _numbers(self) -> list[int]:
        """liblxc's own numbers of the interfaces, between which there may be gaps."""
        numbers: list[int] = []
        missing = len(self)
        for number in range(HIGHEST):
            if not missing:
                break
            try:
                _lxc.Container.get_keys(self.container, f"lxc.net.{number}")
            except KeyError:
                continue
            numbers.append(number)
            missing -= 1
        return numbers

    def __iter__(self) -> Iterator[ContainerNetwork]:
        return iter(self[:])

    def __reversed__(self) -> Iterator[ContainerNetwork]:
        return reversed(self[:])

    def __contains__(self, interface: object) -> bool:
        return interface in self[:]

    def index(self, interface: ContainerNetwork) -> int:
        """The position of an interface; ValueError if it is not one of these."""
        return self[:].index(interface)

    def count(self, interface: ContainerNetwork) -> int:
        """How often an interface is in here: once or not at all."""
        return self[:].count(interface)

    def add(self, network_type: str) -> bool:
        """Add an interface of a type such as "veth"; return whether liblxc took it."""
        numbers = self._numbers()
        number = numbers[-1] + 1 if numbers else 0
        return self.container.set_config_item(f"lxc.net.{number}.type", network_type)

    def remove(self, index: int) -> bool:
        """Remove the interface at an index; IndexError if there is none.

        Wraps lxc_container.clear_config_item.
        """
        if isinstance(index, slice):
            raise TypeError("remove() takes one index")
        numbers = self._numbers()
        try:
            number = numbers[index]
        except IndexError:
            raise IndexError(NONE_THERE.format(index, len(numbers))) from None
        return self.container.clear_config_item(f"lxc.net.{number}")

    def __repr__(self) -> str:
        return repr(self[:])
