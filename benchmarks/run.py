#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compare this binding with a C program and with python3-lxc, all in one run.

Each of the three is a process that lives as long as a row does and does what it is
told, in turn, so that neither the start of an interpreter nor a change of the
machine's load favours one of them.  README.rst says more.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import os
import platform
import random
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"  # for both bindings: Debian's is built for this one
PEER = "/usr/lib/python3/dist-packages"
CGROUPS = Path("/sys/fs/cgroup")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 60  # seconds until a process counts as hung
TOLERANCE = 1.1  # how far --check lets a ratio miss its goal


class Row(NamedTuple):
    name: str
    floor: str | float  # an operation of floor.c, or simply seconds
    python: str  # the same as a Python statement, see worker.py
    goal: float  # what it may cost here, as a multiple of the floor
    batch: int = 1  # how many make one measurement
    gap: float = 0  # seconds of rest before a measurement
    undo: str = ""  # an operation of floor.c to follow a measurement, untimed
    times: int = 1  # as many rounds as --rounds says, for figures that scatter
    heap: int = 0  # MiB of memory in use in the Python processes
    rival: str = ""  # a Python statement that takes the floor's and the peer's place


TRUE = "assert running.attach_wait(lxc.attach_run_command, ['/bin/true']) == 0"
ZERO = "assert running.attach_wait(zero) == 0"
START = "assert stopped.start()"
CONTAINER = "lxc.Container(name, path)"
IMPORT = "import lxc"  # measured in new interpreters
LIST = "assert len(lxc.list_containers(config_path=f'{{path}}-{0}')) == {0}"
OBJECTS = LIST.replace("(config", "(as_object=True, config")
IPS = "assert running.get_ips()"
INTERFACES = "assert running.get_interfaces()"
GET = "stopped.get_config_item('lxc.uts.name')"
SET = "stopped.set_config_item('lxc.uts.name', 'name')"
CGROUP = "running.get_cgroup_item('pids.max')"
RUN = "assert running.run(['true'], capture_output=True).returncode == 0"
LXC_ATTACH = (
    "assert subprocess.run(['lxc-attach', '-P', path, '-n', running.name, '--', "
    "'true'], capture_output=True).returncode == 0"
)
SIZES = (10, 300, 3000)
ADDRESSES = ("ipv4.address = 192.0.2.7/24", "ipv6.address = 2001:db8::7/64")

ROWS = [
    Row("attach_wait of /bin/true", "attach_command", TRUE, 1.5, batch=5),
    Row("the same, 0.3 s apart", "attach_command", TRUE, 1.15, gap=0.3, times=3),
    Row("attach_wait of a function", "attach_function", ZERO, 1.8, batch=5),
    Row("run, for lxc-attach", 0, RUN, 0.75, batch=5, rival=LXC_ATTACH),
    Row("the same, 1 GiB heap", 0, RUN, 0.75, batch=5, heap=1024, rival=LXC_ATTACH),
    Row("start", "start", START, 1.25, undo="stop"),
    Row("Container(name)", "container", CONTAINER, 1.3, batch=200),
    Row("state", "state", "running.state", 1.05, batch=200),
    Row("running", "is_running", "running.running", 1.05, batch=200),
    Row("get_ips", "get_ips", IPS, 0.5, batch=20),
    Row("get_ips, 1 GiB heap", "get_ips", IPS, 0.5, batch=5, heap=1024),
    Row("get_interfaces", "get_interfaces", INTERFACES, 0.5, batch=20),
    # So few that other programs seldom come between them, here as in the floor.
    Row("get_config_item", "get_config_item", GET, 2, batch=500),
    Row("set_config_item", "set_config_item", SET, 7, batch=200),
    Row("get_cgroup_item", "get_cgroup_item", CGROUP, 0.6, batch=50),
    # 10 ms and 20 ms where the floor takes 119 ms and 249 ms.
    *(
        Row(f"list_containers, {n:,}", f"list_{n}", LIST.format(n), goal, batch=batch)
        for n, goal, batch in ((10, 1.2, 300), (300, 0.6, 10), (3000, 0.084, 1))
    ),
    *(
        Row(f"as_object, {n:,}", f"objects_{n}", OBJECTS.format(n), goal, batch=batch)
        for n, goal, batch in ((10, 0.6, 100), (300, 0.3, 4), (3000, 0.08, 1))
    ),
    Row("import lxc, of 5 ms", 5e-3, IMPORT, 1),
]

TITLES = ("operation", "C floor", "python3-lxc", "x", "ours", "x", "+-", "goal", "")
LINE = "{:<27}{:>10}{:>13}{:>6}{:>11}{:>6}{:>6}{:>6}  {}"


class Lab(NamedTuple):
    """The two containers, and the program that is the floor."""

    floor: str
    path: str
    running: str
    stopped: str

    @property
    def containers(self) -> tuple[str, str, str]:
        return self.path, self.running, self.stopped


class Worker:
    """A process that does operations and says how long one of them took."""

    def __init__(self, *command: str) -> None:
        self.name = shlex.join(command)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,  # so that Ctrl-C is for us to handle
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.communicate(timeout=5)
        self.process.kill()
        self.process.wait()

    def answer(self) -> str:
        stdout = self.process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], PATIENCE)
        line = stdout.readline() if ready else ""
        if not line:
            sys.exit(f"no answer from {self.name}")
        return line

    def measure(self, count: int, operation: str) -> float:
        print(count, operation, file=self.process.stdin, flush=True)
        return float(self.answer())

    def return_to_our_cgroups(self) -> None:
        """liblxc's start() moves its caller into the monitor's cgroups: undo that."""
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            mount = CGROUPS / (controllers.removeprefix("name=") or "unified")
            home = (mount if mount.exists() else CGROUPS) / path.lstrip("/")
            procs = home / "cgroup.procs"
            if procs.exists():
                procs.write_text(f"{self.process.pid}\n")


@contextlib.contextmanager
def workers(lab: Lab, peer: str, ours: str) -> Iterator[tuple[list[Worker], list[str]]]:
    """New processes of the three, and what they say of themselves.

    They are new for each row, as descriptors that an attach leaks add up.
    """
    python = (PYTHON, "-I", str(HERE / "worker.py"))
    with contextlib.ExitStack() as stack:
        three = [
            stack.enter_context(Worker(*command, *lab.containers))
            for command in ((lab.floor,), (*python, peer), (*python, ours))
        ]
        yield three, [worker.answer() for worker in three]


class Cost(NamedTuple):
    """What one operation costs, in seconds or as a multiple of the floor."""

    median: float
    error: float  # the median's standard error

    @classmethod
    def of(cls, seconds: list[float]) -> Cost:
        low, middle, high = quantiles(seconds, n=4)
        # A median has 1.253 times a mean's error; a quartile is 0.674 sigma away.
        sigma = (high - low) / (2 * 0.674)
        return cls(middle, 1.253 * sigma / math.sqrt(len(seconds)))

    def over(self, floor: Cost) -> Cost:
        ratio = self.median / floor.median
        relative = math.hypot(self.error / self.median, floor.error / floor.median)
        return Cost(ratio, ratio * relative)

    def __str__(self) -> str:
        if self.median >= 1e-3:
            return f"{self.median * 1e3:.2f} ms"
        return f"{self.median * 1e6:.2f} us"


def measure(row: Row, lab: Lab, peer: str, ours: str, rounds: int) -> list[Cost]:
    """What floor, peer and ours take.  The first round only warms up."""
    with workers(lab, peer, ours) as (three, _):
        floor = three[0]
        if row.heap:
            for worker in three[1:]:
                worker.measure(1, f"lxc.heap = b'x' * ({row.heap} << 20)")
        seconds: list[list[float]] = [[] for _ in three]
        for _ in range(rounds * row.times + 1):
            for worker, directory, results in zip(three, ("", peer, ours), seconds):
                # Not the same each time: the kernel's timers would lock on to it.
                time.sleep(row.gap * random.uniform(1, 1.2))
                if row.python == IMPORT and directory:
                    results.append(import_seconds(directory))
                elif worker is floor and row.rival:
                    results.append(three[1].measure(row.batch, row.rival))
                elif row.rival and directory == peer:
                    results.append(seconds[0][-1])
                elif worker is not floor:
                    results.append(worker.measure(row.batch, row.python))
                elif isinstance(row.floor, str):
                    results.append(worker.measure(row.batch, row.floor))
                else:
                    results.append(row.floor)
                if row.undo:
                    floor.measure(1, row.undo)
                    worker.return_to_our_cgroups()
                    remove_cgroups(lab.stopped)
    return [Cost.of(results[1:]) for results in seconds]


def import_seconds(directory: str) -> float:
    """How long a new interpreter takes to import lxc from a directory."""
    program = """
import sys
from time import perf_counter
sys.path.insert(0, sys.argv[1])
begin = perf_counter()
import lxc
print(perf_counter() - begin)
"""
    return float(output(PYTHON, "-I", "-S", "-c", program, directory))


@contextlib.contextmanager
def laboratory() -> Iterator[Lab]:
    """Build the floor and make the containers; leave nothing of them behind."""
    prefix = f"benchmark-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix=f"lxc-{prefix}-", dir="/var/tmp") as top:
        os.chmod(top, 0o755)
        path = os.path.join(top, "containers")
        os.mkdir(path)
        lab = Lab(f"{top}/floor", path, f"{prefix}-running", f"{prefix}-stopped")
        containers = [("-P", path, "-n", name) for name in (lab.running, lab.stopped)]
        try:
            build(lab.floor)
            config = Path(top, "config")
            config.write_text("lxc.net.0.type = empty\n")
            for container in containers:
                output("lxc-create", *container, "-t", "busybox", "-f", str(config))
            # Addresses, which its DHCP client would take away again.
            network = "type = veth", "flags = up", *ADDRESSES
            with open(os.path.join(path, lab.running, "config"), "a") as file:
                file.writelines(f"lxc.net.0.{item}\n" for item in network)
            os.unlink(os.path.join(path, lab.running, "rootfs/bin/udhcpc"))
            output("lxc-start", *containers[0])
            for number in SIZES:
                define(f"{path}-{number}", number)
            yield lab
        finally:
            for number in SIGNALS:  # nothing may stop the cleaning up
                signal.signal(number, signal.SIG_IGN)
            for container in containers:
                subprocess.run(["lxc-destroy", *container, "-f"], capture_output=True)
                remove_cgroups(container[-1])


def define(path: str, number: int) -> None:
    """Define containers that are a directory and a short configuration."""
    names = [f"container-{n}" for n in range(number)]
    random.shuffle(names)
    for name in names:
        os.makedirs(os.path.join(path, name))
        Path(path, name, "config").write_text(f"lxc.uts.name = {name}\n")


def build(target: str) -> None:
    """Compile floor.c with the flags that pkg-config has for liblxc."""
    flags = output("pkg-config", "--cflags", "--libs", "lxc").split()
    compiler = shlex.split(os.environ.get("CC", "cc"))
    strict = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
    output(*compiler, *strict, str(HERE / "floor.c"), "-o", target, *flags)


def output(*command: str) -> str:
    """Run a program that has to succeed."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        ).stdout.strip()
    except FileNotFoundError:
        sys.exit(f"{command[0]} is not installed")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{shlex.join(command)} failed:\n{error.stdout}")


def remove_cgroups(name: str) -> None:
    """Remove what liblxc leaves of a container's cgroups, which slows later starts.

    They are busy until the container's monitor has ended: this waits for that, too.
    """
    deadline = time.monotonic() + 2
    pattern = f"lxc.*.{name}*"
    while groups := [*CGROUPS.glob(pattern), *CGROUPS.glob(f"*/{pattern}")]:
        for group in groups:
            for directory, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        if time.monotonic() > deadline:
            print(f"cgroups of {name} are left: {groups[0]}", file=sys.stderr)
            break
        time.sleep(0.005)


def find_ours(peer: str) -> str | None:
    """The directory from which this interpreter would import lxc, if not the peer's."""
    spec = importlib.util.find_spec("lxc")
    if spec is None or spec.origin is None:
        return None
    directory = str(Path(spec.origin).parent.parent)
    return None if directory == peer else directory


def version_of_peer(peer: str) -> str:
    """The version that a package or its metadata says."""
    if peer == PEER:
        return output("dpkg-query", "-W", "-f", "${Version}", "python3-lxc")
    for metadata in Path(peer).glob("*.egg-info"):
        return metadata.stem.partition("-")[2]
    return "version unknown"


def facts(lab: Lab, peer: str, ours: str) -> list[str]:
    """What the figures depend on, one fact a line."""
    with workers(lab, peer, ours) as (_, greetings):
        (liblxc,), *bindings = (greeting.split() for greeting in greetings)
    (peer_liblxc, _, _), (our_liblxc, version, python) = bindings
    if not liblxc == peer_liblxc == our_liblxc:
        sys.exit(f"versions of liblxc differ: {liblxc}, {peer_liblxc}, {our_liblxc}")
    cpus = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    role = "the peer again" if ours == peer else f"version {version}"
    return [
        f"machine      {cpus} CPUs, Linux {platform.release()}, load {load:.2f}",
        f"C floor      liblxc {liblxc}",
        f"python3-lxc  {version_of_peer(peer)}, from {peer}",
        f"ours         {role}, from {ours}",
        f"Python       {python}, {PYTHON} for both bindings",
    ]


def verdict(ratio: float, goal: float) -> str:
    if ratio <= goal:
        return "met"
    return "near" if ratio <= goal * TOLERANCE else "missed"


def parse(rows: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--ours",
        metavar="DIRECTORY",
        help="where the lxc package to measure is (default: where this Python has it)",
    )
    parser.add_argument(
        "--peer",
        metavar="DIRECTORY",
        default=PEER,
        help="where python3-lxc is (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=40,
        help="measurements of each operation (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        metavar="TEXT",
        default="",
        help=f"only rows with TEXT in their name: {', '.join(rows)}",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="fail if a ratio misses its goal by more than 10 %%",
    )
    options = parser.parse_args()
    options.peer = os.path.abspath(options.peer)
    options.ours = options.ours or find_ours(options.peer)
    if options.ours is None:
        parser.error("this Python has no lxc but Debian's: install ours or use --ours")
    options.ours = os.path.abspath(options.ours)
    if options.rounds < 2:
        parser.error("a median needs at least --rounds 2")
    if os.geteuid() != 0:
        parser.error("containers need root")
    if not os.path.isdir(os.path.join(options.peer, "lxc")):
        parser.error(f"there is no peer in {options.peer}: install python3-lxc")
    return options


def main() -> int:
    options = parse([row.name for row in ROWS])
    for number in SIGNALS:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    missed = []
    with laboratory() as lab:
        print(*facts(lab, options.peer, options.ours), "", sep="\n")
        print(LINE.format(*TITLES))
        for row in ROWS:
            if options.only not in row.name:
                continue
            places = (options.peer, options.ours)
            floor, peer, ours = measure(row, lab, *places, options.rounds)
            theirs, ratio = peer.over(floor), ours.over(floor)
            result = verdict(ratio.median, row.goal)
            if result == "missed":
                missed.append(row.name)
            numbers = (theirs.median, ratio.median, ratio.error, row.goal)
            x, y, error, goal = (f"{number:.2f}" for number in numbers)
            cells = (row.name, floor, peer, x, ours, y, error, goal, result)
            print(LINE.format(*map(str, cells)), flush=True)
        print(f"\nMedians of {options.rounds} rounds or more; ratios to the floor,")
        print("+- the standard error; near is within 10 % of the goal.")
    if missed and options.check:
        print(f"\nmore than 10 % beyond the goal: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
