#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run one Python function here, and then the same one inside a container.

    python3 examples/hostname.py NAME [--lxcpath DIRECTORY]

The function needs no Python in the container: a child of this process steps into the
container's namespaces and calls it.  A container that is not running is started, and
shut down again.
"""

from __future__ import annotations

import argparse
import os
import sys

import lxc


def print_hostname() -> None:
    print(f"Hostname: {os.uname().nodename}")


def start(container: lxc.Container) -> bool:
    """Start a container, and say whether it was stopped before."""
    try:
        container.start()
    except lxc.AlreadyRunning:
        return False
    return True


def shut_down(container: lxc.Container) -> None:
    try:
        container.shutdown(30)
    except lxc.TimedOut:
        container.stop()


def main() -> str | None:
    parser = argparse.ArgumentParser(description="Print two hostnames.")
    parser.add_argument("name", help="a container that exists")
    parser.add_argument("--lxcpath", default=lxc.default_config_path)
    chosen = parser.parse_args()

    # What fails raises an LXCError that says why.
    container = lxc.Container(chosen.name, chosen.lxcpath, strict=True)
    try:
        was_stopped = start(container)
        try:
            print_hostname()
            if container.attach_wait(print_hostname) != 0:
                return f"The function failed in {chosen.name}: {container.last_error}"
        finally:
            if was_stopped:
                shut_down(container)
    except lxc.LXCError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main())
