# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which configuration items there are: liblxc's own table has no full names of some."""

from __future__ import annotations

import re

from . import _lxc

__all__ = ["can_be_set"]

# Which keys an interface has depends on its type.
TYPES = ("veth", "macvlan", "ipvlan", "vlan", "phys", "empty", "none")


def can_be_set(key: str) -> bool:
    """Whether liblxc takes the key, tried on a handle that nobody sees."""
    scratch = _lxc.Container("no-such-container")
    scratch.clear_config()
    scratch.set_config_item("lxc.uts.name", "x")  # it reads nothing before
    if is_there(scratch, key):
        return True
    interface = re.match(r"lxc\.net\.\d+\.", key)
    if not interface:
        return False
    return any(
        scratch.set_config_item(interface[0] + "type", kind) and is_there(scratch, key)
        for kind in TYPES
    )


def is_there(scratch: _lxc.Container, key: str) -> bool:
    try:
        scratch.get_config_item(key)
    except KeyError:
        return False
    return True
