# SPDX-License-Identifier: LGPL-2.1-or-later
"""add_device_net(): move an interface of the host into a container."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from . import _lxc

if TYPE_CHECKING:
    from . import Container

__all__ = ["move_interface"]


def move_interface(container: Container, name: str, destname: str | None) -> bool:
    if not container.running or not os.path.exists(f"/sys/class/net/{name}"):
        return False
    pid = str(container.init_pid)
    phy = f"/sys/class/net/{name}/phy80211/name"
    if not os.path.exists(phy):
        return call(
            "ip", "link", "set", "dev", name, "netns", pid, "name", destname or name
        )
    # Wireless interfaces move with their radio, and keep their name.
    with open(phy) as file:
        radio = file.read().strip()
    if not call("iw", "phy", radio, "set", "netns", pid):
        return False
    if not destname:
        return True
    # Of the container only its network: its devices, capabilities and LSM profile are
    # no business of the host's program.
    rename = ["ip", "link", "set", "dev", name, "name", destname]
    return (
        container.attach_wait(
            lambda: not call(*rename), attach_flags=0, namespaces=_lxc.CLONE_NEWNET
        )
        == 0
    )


def call(*command: str) -> bool:
    """Run a program of the host; False also where it is not there."""
    try:
        return subprocess.call(command, stdin=subprocess.DEVNULL) == 0
    except OSError:
        return False
