#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One container, from its making to its end.

Run it as root:

    python3 examples/lifecycle.py
    python3 examples/lifecycle.py --template download \\
        --dist debian --release bookworm --arch amd64

The container is made, started and looked at; a command and a Python function run in
it; it is cloned as an overlay, snapshotted, shut down and destroyed.  The objects are
strict: a step that fails raises an LXCError that says why.  It all happens in a
directory that is made for it, so that no container of the machine is touched, and
whatever goes wrong, nothing is left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lxc

CGROUPS = Path("/sys/fs/cgroup")


class Failed(Exception):
    """A step did not do what it should have done."""


def say(step: str, text: str) -> None:
    print(f"{step:<9} {text}", flush=True)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Take one container from its making to its end."
    )
    parser.add_argument("--template", default="busybox", help="default: %(default)s")
    image = parser.add_argument_group("for --template download")
    image.add_argument("--dist", help="such as debian")
    image.add_argument("--release", help="such as bookworm")
    image.add_argument("--arch", help="such as amd64")
    parser.add_argument("--name", default=f"lifecycle-{os.getpid()}")
    parser.add_argument("--lxcpath", help="default: a new directory under /var/tmp")
    parser.add_argument(
        "--bridge", default="lxcbr0", help='default: %(default)s; "none" for no network'
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=30,
        help="seconds to wait for an address, and for a shutdown (default: 30)",
    )
    chosen = parser.parse_args()
    given = (chosen.dist, chosen.release, chosen.arch)
    if chosen.template == "download" and not all(given):
        parser.error("--template download needs --dist, --release and --arch")
    if chosen.template != "download" and any(given):
        parser.error("--dist, --release and --arch belong to --template download")
    return chosen


def create(container: lxc.Container, chosen: argparse.Namespace) -> None:
    """Make the root filesystem, and one network interface on the bridge."""
    arguments = {
        key: getattr(chosen, key)
        for key in ("dist", "release", "arch")
        if getattr(chosen, key)
    }
    container.create(chosen.template, lxc.LXC_CREATE_QUIET, arguments)
    # What the machine gives to new containers is replaced: it may be no network.
    container.clear_config_item("lxc.net")
    if chosen.bridge == "none":
        container.network.add("empty")
    else:
        container.network.add("veth")
        container.network[0].link = chosen.bridge
        container.network[0].flags = "up"
    container.save_config()
    say("create", f"{container.name} from the {chosen.template} template")


def start(container: lxc.Container) -> None:
    container.start()
    container.wait("RUNNING", 10)
    say(
        "start", f"{container.name} is {container.state}, its init {container.init_pid}"
    )


def look_at_network(container: lxc.Container, chosen: argparse.Namespace) -> None:
    interfaces = container.get_interfaces()
    say("network", "interfaces: " + ", ".join(interfaces))
    if chosen.bridge == "none":
        return
    addresses = container.get_ips(timeout=chosen.timeout)
    if addresses:
        say("network", "addresses: " + ", ".join(addresses))
    else:
        say("network", f"going on without an address: {container.last_error}")


def output_of(container: lxc.Container, *command: str) -> str:
    """Run a command in the container, and return what it printed."""
    done = container.run(command, capture_output=True, text=True, check=True)
    return str(done.stdout).strip()


def call(container: lxc.Container, function: Callable[[], None]) -> str:
    """Call a Python function in the container, and return what it printed."""
    with tempfile.TemporaryFile("w+") as output:
        status = container.attach_wait(function, stdout=output)
        if status != 0:
            raise Failed(f"{function.__name__} ended with status {status}")
        output.seek(0)
        return output.read().strip()


def print_hostname() -> None:
    """Runs in the container, although it is defined here."""
    print(os.uname().nodename)


def leave_a_note() -> None:
    """Runs in the container: its files are the ones that this opens."""
    with open("/note", "w") as note:
        note.write("written in the original")


def run_things_in(container: lxc.Container) -> None:
    printed = output_of(container, "uname", "-n")
    say("command", f"uname -n printed {printed}")
    if printed != container.name:
        raise Failed(f"the command's hostname is {printed}, not {container.name}")

    printed = call(container, print_hostname)
    say("function", f"this program's own function printed {printed}")
    if printed != container.name:
        raise Failed(f"the function's hostname is {printed}, not {container.name}")

    call(container, leave_a_note)


def shut_down(container: lxc.Container, timeout: float) -> None:
    try:
        container.shutdown(timeout)
    except lxc.TimedOut as error:
        say("shutdown", f"stopping {container.name}: {error}")
        container.stop()
        container.wait("STOPPED", 10)
    say("shutdown", f"{container.name} is {container.state}")


def clone_name(name: str) -> str:
    return f"{name}-clone"


def try_clone(container: lxc.Container, timeout: float) -> None:
    """Clone as an overlay: only what changes is stored twice."""
    clone = container.clone(
        clone_name(container.name),
        flags=lxc.LXC_CLONE_SNAPSHOT,
        bdevtype="overlayfs",
    )
    assert clone  # for the type checker: a strict container raises instead
    say("clone", f"{clone.name} on {clone.get_config_item('lxc.rootfs.path')}")
    start(clone)
    note = output_of(clone, "cat", "/note")
    if note != "written in the original":
        raise Failed(f"the clone does not have the original's files: {note!r}")
    say("command", f"the clone has the file that was {note}")
    shut_down(clone, timeout)
    destroy(clone)


def try_snapshot(container: lxc.Container) -> None:
    snapshot = container.snapshot()
    assert snapshot  # as of a clone
    listed = [name for name, *_ in container.snapshot_list()]
    if listed != [snapshot]:
        raise Failed(f"the snapshots are {listed}, not [{snapshot!r}]")
    say("snapshot", f"{snapshot} of {container.name}")
    container.snapshot_restore(snapshot)
    say("snapshot", f"{container.name} is what {snapshot} was")
    container.snapshot_destroy(snapshot)


def destroy(container: lxc.Container) -> None:
    container.destroy()
    if container.defined:
        raise Failed(f"{container.name} is still there after it was destroyed")
    say("destroy", f"{container.name} is gone")


def clean_up(name: str, lxcpath: str) -> None:
    """Remove what is left of a container after a failure or Ctrl-C."""
    container = lxc.Container(name, lxcpath)
    if container.running:
        container.stop()
        container.wait("STOPPED", 10)
    if container.defined:
        for snapshot, *_ in container.snapshot_list():
            container.snapshot_destroy(snapshot)
        container.destroy()
    # liblxc may leave the cgroups of the process that watched over the container, and
    # until that has ended they are busy.
    deadline = time.monotonic() + 3
    while (left := cgroups_of(name)) and time.monotonic() < deadline:
        for cgroup in left:
            with contextlib.suppress(OSError):
                cgroup.rmdir()
        time.sleep(0.05)


def cgroups_of(name: str) -> list[Path]:
    """The control groups of a container: liblxc adds a number to a name in use."""
    named = re.compile(rf"lxc\.(monitor|payload)\.{re.escape(name)}(-\d+)?")
    groups = [*CGROUPS.glob("lxc.*"), *CGROUPS.glob("*/lxc.*")]
    return [group for group in groups if named.fullmatch(group.name)]


def life(chosen: argparse.Namespace, lxcpath: str) -> None:
    names = [chosen.name, clone_name(chosen.name)]
    for name in names:
        if lxc.Container(name, lxcpath).defined:
            raise Failed(
                f"{lxcpath} has a container {name} already: choose another name"
            )
    container = lxc.Container(chosen.name, lxcpath, strict=True)
    try:
        create(container, chosen)
        start(container)
        look_at_network(container, chosen)
        run_things_in(container)
        shut_down(container, chosen.timeout)
        try_clone(container, chosen.timeout)
        try_snapshot(container)
        destroy(container)
    finally:
        # A second Ctrl-C must not interrupt this.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for name in reversed(names):
            clean_up(name, lxcpath)


def main() -> int:
    chosen = options()
    if os.geteuid() != 0:
        print("This example needs root.", file=sys.stderr)
        return 1
    if chosen.bridge != "none" and not Path("/sys/class/net", chosen.bridge).exists():
        print(
            f"There is no bridge {chosen.bridge}: start lxc-net, or use --bridge.",
            file=sys.stderr,
        )
        return 1
    # Asked to end, end as with Ctrl-C: through the cleaning up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM."))
    try:
        if chosen.lxcpath:
            life(chosen, chosen.lxcpath)
        else:
            lxcpath = tempfile.mkdtemp(prefix="lxc-lifecycle-", dir="/var/tmp")
            os.chmod(lxcpath, 0o755)  # a container's own root user passes through it
            try:
                life(chosen, lxcpath)
            finally:
                shutil.rmtree(lxcpath, ignore_errors=True)
    except (Failed, lxc.LXCError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; everything is cleaned up.", file=sys.stderr)
        return 1
    say("done", f"liblxc {lxc.version}, python3-lxc {lxc.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
