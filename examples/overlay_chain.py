#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers in layers: a base, a web server on top, and a site on top of that.

Run it as root; it needs the bridge lxcbr0, but no other network:

    python3 examples/overlay_chain.py

Each layer stores only what differs from the one below.  The page that the site serves
is fetched from here, and everything is removed at the end.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import lxc

PAGE = "This comes from the third layer.\n"


class Failed(Exception):
    """A step did not do what it should have done."""


def layer(below: lxc.Container, suffix: str) -> lxc.Container:
    """Clone a container as an overlay on it."""
    above = below.clone(
        f"{suffix}-{os.getpid()}",
        flags=lxc.LXC_CLONE_SNAPSHOT,
        bdevtype="overlayfs",
    )
    assert above  # for the type checker: a strict container raises instead
    print(f"{above.name} is an overlay on {below.name}")
    return above


def change(container: lxc.Container, function: Callable[[], None]) -> None:
    """Start a container, call a Python function in it, and shut it down."""
    container.start()
    if container.attach_wait(function) != 0:
        raise Failed(f"{container.name} cannot be changed: {container.last_error}")
    try:
        container.shutdown(30)
    except lxc.TimedOut:
        container.stop()


def install_web_server() -> None:
    """Runs in the container: let its start script start busybox's web server."""
    os.mkdir("/www", 0o755)
    with open("/etc/init.d/rcS", "a") as script:
        script.write("/bin/httpd -h /www\n")


def write_page() -> None:
    """Runs in the container: the page goes into its layer."""
    with open("/www/index.html", "w") as page:
        page.write(PAGE)


def fetch(address: str) -> str:
    """The page at an address; a server that has only just started gets 10 seconds."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 10
    while True:
        try:
            with direct.open(f"http://{address}/", timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise Failed(f"{address} serves no page: {error}") from error
            time.sleep(0.1)


def chain(lxcpath: str, made: list[lxc.Container]) -> None:
    # Strict: what fails raises an LXCError that says why.  So are its clones.
    base = lxc.Container(f"base-{os.getpid()}", lxcpath, strict=True)
    made.append(base)
    base.create("busybox", lxc.LXC_CREATE_QUIET)
    # The clones inherit the interface, each with an address of its own.
    base.clear_config_item("lxc.net")
    base.network.add("veth")
    base.network[0].link = "lxcbr0"
    base.network[0].flags = "up"
    base.save_config()
    print(f"{base.name} is made")

    web = layer(base, "web")
    made.append(web)
    change(web, install_web_server)

    site = layer(web, "site")
    made.append(site)
    change(site, write_page)

    site.start()
    addresses = site.get_ips(family="inet", timeout=30)
    if not addresses:
        raise Failed(f"{site.name} has no page to show: {site.last_error}")
    print(f"http://{addresses[0]}/ is served by {site.name}:")
    page = fetch(addresses[0])
    print(page, end="")
    if page != PAGE:
        raise Failed("this is not the page that was written")


def main() -> str | None:
    if os.geteuid() != 0:
        return "This example needs root."
    lxcpath = tempfile.mkdtemp(prefix="lxc-overlay-chain-", dir="/var/tmp")
    os.chmod(lxcpath, 0o755)
    made: list[lxc.Container] = []
    try:
        chain(lxcpath, made)
    except (Failed, lxc.LXCError) as error:
        return str(error)
    finally:
        # From the top: a layer cannot go before those that lie on it.
        for container in reversed(made):
            container.stop()
            if container.defined:
                container.destroy()
        shutil.rmtree(lxcpath, ignore_errors=True)
    return None


if __name__ == "__main__":
    sys.exit(main())
