#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bring the packages of all containers up to date.

    python3 examples/update_all.py [--lxcpath DIRECTORY] [--timeout SECONDS]

Each container that is not running is started for it, and shut down afterwards.  What
updates it is found out by looking into it; a container with none of the package
managers known here is left alone.
"""

from __future__ import annotations

import argparse
import sys

import lxc

# The program to look for, and what to run in a container that has it.
MANAGERS = {
    "apt-get": "export DEBIAN_FRONTEND=noninteractive; "
    "apt-get update && apt-get -y dist-upgrade",
    "dnf": "dnf -y upgrade",
    "apk": "apk upgrade --update-cache",
    "pacman": "pacman -Syu --noconfirm",
    "zypper": "zypper --non-interactive dist-upgrade",
}


def run_shell(container: lxc.Container, command: str) -> bool:
    """Run a command line in the container; whether it ended with status 0."""
    return container.run(["sh", "-c", command]).returncode == 0


def start(container: lxc.Container) -> bool:
    """Start a container, and say whether it was stopped before."""
    try:
        container.start()
    except lxc.AlreadyRunning:
        return False
    return True


def shut_down(container: lxc.Container, timeout: float) -> None:
    try:
        container.shutdown(timeout)
    except lxc.TimedOut:
        container.stop()


def update(container: lxc.Container, timeout: float) -> str:
    """Update a running container, and say in a few words how that went."""
    if not container.get_ips(timeout=timeout):
        return f"not updated: {container.last_error}"
    for program, command in MANAGERS.items():
        if run_shell(container, f"command -v {program} >/dev/null"):
            if run_shell(container, command):
                return f"up to date ({program})"
            return f"{program} failed"
    return "left alone: no package manager that this program knows"


def update_and_leave(container: lxc.Container, timeout: float) -> str:
    """Update a container, which runs afterwards if it did before."""
    was_stopped = start(container)
    try:
        return update(container, timeout)
    finally:
        if was_stopped:
            shut_down(container, timeout)


def main() -> int:
    parser = argparse.ArgumentParser(description="Update all containers.")
    parser.add_argument("--lxcpath", default=lxc.default_config_path)
    parser.add_argument(
        "--timeout",
        type=float,
        default=30,
        help="seconds to wait for an address, and for a shutdown (default: 30)",
    )
    chosen = parser.parse_args()

    failed = False
    for name in lxc.list_containers(config_path=chosen.lxcpath):
        try:
            # What fails raises an LXCError that says why; then comes the next one.
            container = lxc.Container(name, chosen.lxcpath, strict=True)
            result = update_and_leave(container, chosen.timeout)
        except (lxc.LXCError, RuntimeError) as error:
            result = f"not updated: {error}"
        print(f"{name}: {result}", flush=True)
        failed |= not result.startswith(("up to date", "left alone"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
