# SPDX-License-Identifier: LGPL-2.1-or-later
"""The operations, and what they may cost here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import figures
from lab import SIZES, Lab, Worker


class Row(NamedTuple):
    name: str
    python: str = ""  # a Python statement, see worker.py
    c: str = ""  # the same as an operation of floor.c
    cli: str = ""  # the same as a command
    goal: float | None = None  # what it may cost here, as a multiple of the base
    limit: float | None = None  # or in the row's unit
    unit: str = "s"
    peer: str | None = None  # python3-lxc's statement: another, or "" for none
    rival: str = ""  # a Python statement whose cost is the base, in C's place
    heap: int = 0  # MiB of memory in use in those that call; in the base none
    user: bool = False  # as an ordinary user
    batch: int = 1  # how many make one measurement
    gap: float = 0  # seconds of rest before a measurement
    before: str = ""  # operations of floor.c around a measurement, untimed
    after: str = ""
    starts: bool = False  # containers, one way or another
    rounds: int = 200  # at most so many measurements
    times: float = 1  # as much time as --seconds says, for figures that scatter
    figure: Callable[[Lab, Worker, str], float] | None = None  # else the time


TRUE = "assert running.attach_wait(lxc.attach_run_command, ['/bin/true']) == 0"
ZERO = "assert running.attach_wait(zero) == 0"
RUN = "assert running.run(['true'], capture_output=True).returncode == 0"
SUBPROCESS = (
    "assert subprocess.run(['lxc-attach', '-P', path, '-n', running.name, '--', "
    "'true'], capture_output=True).returncode == 0"
)
START = "assert stopped.start()"
CONTAINER = "lxc.Container(name, path)"
LIST = "assert len(lxc.list_containers(config_path=f'{{path}}-{0}')) == {0}"
OBJECTS = LIST.replace("(config", "(as_object=True, config")
IPS = "assert running.get_ips()"
OTHER = "lxc.Container(name + '-other', path)"
CREATE = f"assert {OTHER}.create('busybox', lxc.LXC_CREATE_QUIET)"
OVERLAY = (
    "assert stopped.clone(name + '-other', flags=lxc.LXC_CLONE_SNAPSHOT, "
    "bdevtype='overlay')"
)
COPY = "assert stopped.clone(name + '-other')"
SNAPSHOT = "assert stopped.snapshot()"
RENAME = f"assert {OTHER}.rename(name + '-other-new')"
DESTROY = f"assert {OTHER}.destroy()"
STOP = "assert stopped.stop()"

LXC_ATTACH = "lxc-attach -P {path} -n {running} -- /bin/true"
LXC_START = "lxc-start -P {path} -n {stopped}"
LXC_INFO = "lxc-info -P {path} -n {running} "

HEAPS = ((64, "64 MiB"), (1024, "1 GiB"), (4096, "4 GiB"))
STARTED = {"after": "stop_and_wait", "starts": True}

TIMES = [
    Row("attach_wait of /bin/true", TRUE, "attach_command", LXC_ATTACH, 1.5, batch=5),
    Row(
        *("  0.3 s apart", TRUE, "attach_command", LXC_ATTACH, 1.15),
        gap=0.3,
        times=5,
    ),
    *(
        Row(f"  {size} heap", TRUE, "attach_command", LXC_ATTACH, 2.5, heap=heap)
        for heap, size in HEAPS
    ),
    Row("attach_wait of a function", ZERO, "attach_function", goal=1.8, batch=5),
    Row("run", RUN, peer="", rival=SUBPROCESS, goal=0.75, batch=5),
    Row("  1 GiB heap", RUN, peer="", rival=SUBPROCESS, goal=0.75, heap=1024),
    Row("start", START, "start", LXC_START, 1.25, times=2, **STARTED),
    *(
        Row(f"  {size} heap", START, "start", LXC_START, 2, heap=heap, **STARTED)
        for heap, size in HEAPS
    ),
    Row("get_ips", IPS, "get_ips", LXC_INFO + "-iH", 0.5, batch=20),
    *(
        Row(f"  {size} heap", IPS, "get_ips", LXC_INFO + "-iH", 0.5, heap=heap, batch=5)
        for heap, size in HEAPS
    ),
    Row("  as an ordinary user", IPS, "get_ips", goal=1.1, batch=20, user=True),
    Row("get_ips(timeout=1)", "assert running.get_ips(timeout=1)", limit=1e-3),
    Row(
        "start to address known",
        "address()",
        limit=20e-3,
        figure=figures.address_delay,
        after="stop_bridged",
        starts=True,
        times=3,
        rounds=10,
    ),
    Row(
        *("get_interfaces", "assert running.get_interfaces()", "get_interfaces"),
        goal=0.5,
        batch=20,
    ),
    *(
        Row(
            *(f"list_containers, {n:,}", LIST.format(n), f"list_{n}"),
            *(f"lxc-ls -1 -P {{path}}-{n}", goal),
            batch=batch,
        )
        for n, goal, batch in zip(SIZES, (1.2, 0.6, 0.084), (300, 10, 1))
    ),
    *(
        Row(
            f"list as objects, {n:,}",
            OBJECTS.format(n),
            f"objects_{n}",
            "",
            goal,
            batch=b,
        )
        for n, goal, b in zip(SIZES, (0.6, 0.3, 0.08), (100, 4, 1))
    ),
    Row("Container(name)", CONTAINER, "container", goal=1.3, batch=200),
    Row("state", "running.state", "state", LXC_INFO + "-sH", 1.05, batch=50, times=0.5),
    Row("running", "running.running", "is_running", "", 1.05, batch=200),
    # So few that other programs seldom come between them, here as in the floor.
    Row(
        *("get_config_item", "stopped.get_config_item('lxc.uts.name')"),
        *("get_config_item", LXC_INFO + "-c lxc.uts.name", 2),
        batch=100,
        times=2,
    ),
    Row(
        *("set_config_item", "stopped.set_config_item('lxc.uts.name', 'name')"),
        *("set_config_item", "", 7),
        batch=200,
    ),
    Row(
        *("get_cgroup_item", "running.get_cgroup_item('pids.max')"),
        *("get_cgroup_item", "lxc-cgroup -P {path} -n {running} pids.max", 0.6),
        batch=20,
    ),
    Row(
        *("clone by overlay", OVERLAY, "clone_overlay"),
        *("lxc-copy -P {path} -n {stopped} -N {other} -s -B overlay", 1.2),
        after="destroy",
    ),
    Row(
        *("create", CREATE, "create"),
        *("lxc-create -P {path} -n {other} -t busybox", 1.1),
        after="destroy",
        times=2,
    ),
    Row(
        *("clone by copy", COPY, "clone_copy"),
        *("lxc-copy -P {path} -n {stopped} -N {other}", 1.1),
        after="destroy",
        times=2,
    ),
    Row(
        *("snapshot", SNAPSHOT, "snapshot", "lxc-snapshot -P {path} -n {stopped}", 1.1),
        after="snapshot_destroy",
    ),
    Row(
        *("rename", RENAME, "rename_other"),
        *("lxc-copy -R -P {path} -n {other} -N {other}-new", 1.1),
        before="clone_copy",
        after="destroy_renamed",
        times=2,
    ),
    Row(
        *("destroy", DESTROY, "destroy", "lxc-destroy -P {path} -n {other}", 1.1),
        before="clone_copy",
        times=2,
    ),
    Row(
        *("stop", STOP, "stop", "lxc-stop -k -P {path} -n {stopped}", 1.1),
        before="start",
        starts=True,
        times=2,
    ),
    Row("16 containers, 1 thread", "in_turn()", "in_turn", starts=True, rounds=10),
    Row("16 containers, 16 threads", "at_once()", "at_once", starts=True, rounds=10),
    Row(
        *("  the second over the first", "in_turn()", "in_turn"),
        limit=0.35,
        unit="x",
        figure=figures.at_once,
        starts=True,
        rounds=10,
        times=2,
    ),
    Row("import lxc", "import", limit=5e-3, figure=figures.import_seconds),
]

KEPT = [
    Row(
        *("kept by a monitor", START, "start", LXC_START),
        limit=1,
        unit="MiB",
        heap=1024,
        figure=figures.kept_memory,
        rounds=5,
        **STARTED,
    ),
    Row(
        *("descriptors, 2,000 attaches", TRUE, "attach_command"),
        limit=0,
        unit="",
        figure=figures.descriptors,
        rounds=1,
    ),
]

# How long another thread stands still; those that wait for something are made to.
STALLED = [
    ("attach_wait", TRUE.replace("['/bin/true']", "['sleep', '0.1']"), "", ""),
    ("attach_wait of a function", "running.attach_wait(sleep, 0.1)", "", ""),
    ("start", START, "", "stop_and_wait"),
    ("get_ips", IPS, "", ""),
    ("wait", "running.wait('STOPPED', 1)", "", ""),
    ("list_containers, 3,000", LIST.format(3000), "", ""),
    ("list as objects, 3,000", OBJECTS.format(3000), "", ""),
    ("create", CREATE, "", "destroy"),
    ("clone by copy", COPY, "", "destroy"),
    ("snapshot", SNAPSHOT, "", "snapshot_destroy"),
    ("rename", RENAME, "clone_copy", "destroy_renamed"),
    ("destroy", DESTROY, "clone_copy", ""),
    ("stop", STOP, "start", ""),
]
STALLS = [
    Row(
        *(f"stall by {name}", statement),
        limit=20e-3,
        figure=figures.stall,
        before=before,
        after=after,
        starts="start" in before + statement,
        rounds=20,
        times=0.6,
    )
    for name, statement, before, after in STALLED
]

SLEEP = "running.attach_wait(lxc.attach_run_command, ['sleep', '2'])"
INTERRUPTED = [
    ("wait", "running.wait('STOPPED', 2)", 0.2, None),
    ("shutdown", "running.shutdown(2)", 0.2, None),
    ("get_ips", "running.get_ips('eth7', timeout=2)", 0.2, None),
    ("console", "console()", 0.2, ""),
    ("attach_wait", SLEEP, 0.5, None),
    ("run", "running.run(['sleep', '2'])", 0.5, ""),
]
INTERRUPTS = [
    Row(
        *(f"Ctrl-C in {name}", statement),
        limit=limit,
        figure=figures.interrupt,
        peer=peer,
        rounds=3,
    )
    for name, statement, limit, peer in INTERRUPTED
]

ROWS = [*TIMES, *KEPT, *STALLS, *INTERRUPTS]
