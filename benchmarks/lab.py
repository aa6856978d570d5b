# SPDX-License-Identifier: LGPL-2.1-or-later
"""The containers that the benchmarks use, and the processes that use them."""

from __future__ import annotations

import contextlib
import os
import random
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"  # for both bindings: Debian's is built for this one
CGROUPS = Path("/sys/fs/cgroup")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 120  # seconds until a process counts as hung
SIZES = (10, 300, 3000)  # of the lists
MANY = 16
BRIDGE = "lxcbr0"
# Of the range for containers; fixed, as a new one takes a lease of the bridge's.
HARDWARE_ADDRESS = "00:16:3e:ff:be:01"
VETH = (
    "lxc.net.0.type = veth\n"
    "lxc.net.0.flags = up\n"
    "lxc.net.0.ipv4.address = 192.0.2.7/24\n"
    "lxc.net.0.ipv6.address = 2001:db8::7/64\n"
)
EMPTY = "lxc.net.0.type = empty\n"
BRIDGED = (
    "lxc.net.0.type = veth\n"
    f"lxc.net.0.link = {BRIDGE}\n"
    "lxc.net.0.flags = up\n"
    f"lxc.net.0.hwaddr = {HARDWARE_ADDRESS}\n"
)


class User(NamedTuple):
    """An ordinary user with a running container."""

    command: tuple[str, ...]  # what runs a program as that user
    containers: tuple[str, str, str]
    worker: str  # the program, and the two bindings, where this user can read them
    packages: dict[str, str]


class Lab(NamedTuple):
    """The containers, the program that is the floor, and where the bindings are."""

    floor: str
    path: str
    running: str
    stopped: str
    peer: str
    ours: str

    @property
    def containers(self) -> tuple[str, str, str]:
        return self.path, self.running, self.stopped

    @property
    def bindings(self) -> dict[str, str]:
        return {"peer": self.peer, "ours": self.ours}

    @property
    def names(self) -> dict[str, str]:
        """What the lxc-* commands are told."""
        other = f"{self.stopped}-other"
        return {
            "path": self.path,
            "running": self.running,
            "stopped": self.stopped,
            "other": other,
        }


# --- Processes ------------------------------------------------------------------------


class Worker:
    """A process that does operations and says how long one of them took."""

    def __init__(self, *command: str, directory: str = "") -> None:
        self.name = shlex.join(command)
        self.directory = directory  # of its binding
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,  # so that Ctrl-C is for us to handle
        )
        self.greeting = self.answer()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
            self.process.communicate(timeout=5)
        self.process.kill()
        self.process.wait()

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, count: int | str, operation: str) -> None:
        print(count, operation, file=self.process.stdin, flush=True)

    def answer(self) -> str:
        stdout = self.process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], PATIENCE)
        line = stdout.readline() if ready else ""
        if not line:
            sys.exit(f"no answer from {self.name}")
        return line

    def measure(self, count: int, operation: str) -> float:
        self.ask(count, operation)
        return float(self.answer())

    def value(self, expression: str) -> float:
        """What a Python expression gives, in a worker that is Python."""
        self.ask("=", expression)
        return float(self.answer())

    def fill(self, mebibytes: int) -> None:
        self.measure(1, f"fill {mebibytes}")

    def rewrite(self) -> None:
        self.measure(1, "rewrite")

    def return_to_our_cgroups(self) -> None:
        """liblxc's start() moves its caller into the monitor's cgroups: undo that."""
        for directory in own_cgroups():
            directory.joinpath("cgroup.procs").write_text(f"{self.pid}\n")


class Python(Worker):
    """One that has a binding."""

    def fill(self, mebibytes: int) -> None:
        self.measure(1, f"fill({mebibytes})")

    def rewrite(self) -> None:
        self.measure(1, "rewrite()")


def floor(lab: Lab, user: User | None = None) -> Worker:
    if user is not None:
        return Worker(*user.command, lab.floor, *user.containers)
    return Worker(lab.floor, *lab.containers)


def python(lab: Lab, directory: str, user: User | None = None) -> Python:
    prefix, program, containers = (), str(HERE / "worker.py"), lab.containers
    if user is not None:
        prefix, program, containers = user.command, user.worker, user.containers
        directory = user.packages[directory]
    command = (*prefix, PYTHON, "-I", program, directory, *containers)
    return Python(*command, directory=directory)


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


# --- Cgroups --------------------------------------------------------------------------


def own_cgroups() -> Iterator[Path]:
    """The directories of this process's cgroups, one for each hierarchy."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mount = CGROUPS / (controllers.removeprefix("name=") or "unified")
        home = (mount if mount.exists() else CGROUPS) / path.lstrip("/")
        if home.joinpath("cgroup.procs").exists():
            yield home


def remove_tree(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def remove_cgroups(name: str) -> None:
    """Remove what liblxc leaves of a container's cgroups, which slows later starts.

    They are busy until the container's monitor has ended: this waits for that, too.
    """
    deadline = time.monotonic() + 2
    pattern = f"lxc.*.{name}*"
    while groups := [*CGROUPS.glob(pattern), *CGROUPS.glob(f"*/{pattern}")]:
        for group in groups:
            remove_tree(group)
        if time.monotonic() > deadline:
            print(f"cgroups of {name} are left: {groups[0]}", file=sys.stderr)
            break
        time.sleep(0.005)


# --- Containers -----------------------------------------------------------------------


@contextlib.contextmanager
def laboratory(peer: str, ours: str) -> Iterator[Lab]:
    """Build the floor and make the containers; leave nothing of them behind."""
    prefix = f"benchmark-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix=f"lxc-{prefix}-", dir="/var/tmp") as top:
        os.chmod(top, 0o755)
        path = os.path.join(top, "containers")
        os.mkdir(path)
        names = f"{prefix}-running", f"{prefix}-stopped"
        lab = Lab(f"{top}/floor", path, *names, peer, ours)
        with contextlib.ExitStack() as stack:
            build(lab.floor)
            for name in (lab.running, lab.stopped):
                stack.callback(remove, path, name)
                create(path, name, VETH if name == lab.running else EMPTY)
            # It would take the addresses away again.
            root = Path(path, lab.running, "rootfs")
            root.joinpath("bin/udhcpc").unlink()
            # So that shutdown() waits for something.
            append(path, lab.running, "lxc.signal.halt = SIGWINCH\n")
            output("lxc-start", "-P", path, "-n", lab.running)
            for name in (f"{lab.stopped}-other", f"{lab.stopped}-other-new"):
                stack.callback(remove, path, name)

            bridged = f"{lab.stopped}-bridged"
            stack.callback(remove, path, bridged)
            create(path, bridged, BRIDGED)
            for number in range(MANY):
                name = f"{lab.stopped}-{number}"
                stack.callback(remove, f"{path}-many", name)
                copy(path, lab.running, f"{path}-many", name)
            for number in SIZES:
                define(f"{path}-{number}", number)
            stack.callback(ignore_signals)  # nothing may stop the cleaning up
            yield lab


def ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def create(path: str, name: str, network: str) -> None:
    """A busybox container with its network in its configuration."""
    config = Path(f"{path}.config")
    config.write_text(network)
    output("lxc-create", "-P", path, "-n", name, "-t", "busybox", "-f", str(config))


def append(path: str, name: str, text: str) -> None:
    with open(os.path.join(path, name, "config"), "a") as file:
        file.write(text)


def copy(path: str, name: str, target: str, copied: str) -> None:
    """Define a container like another, on the same root."""
    text = Path(path, name, "config").read_text()
    os.makedirs(os.path.join(target, copied))
    append(target, copied, text + f"lxc.uts.name = {copied}\n")


def define(path: str, number: int) -> None:
    """Define containers that are a directory and a short configuration."""
    names = [f"container-{n}" for n in range(number)]
    random.shuffle(names)
    for name in names:
        os.makedirs(os.path.join(path, name))
        Path(path, name, "config").write_text(f"lxc.uts.name = {name}\n")


def remove(path: str, name: str) -> None:
    """Stop a container, and take its cgroups away; its files are a temporary one's."""
    subprocess.run(["lxc-stop", "-k", "-P", path, "-n", name], capture_output=True)
    remove_cgroups(name)


def build(target: str) -> None:
    """Compile floor.c with the flags that pkg-config has for liblxc."""
    flags = output("pkg-config", "--cflags", "--libs", "lxc").split()
    compiler = shlex.split(os.environ.get("CC", "cc"))
    strict = ["-std=gnu11", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror"]
    output(*compiler, *strict, str(HERE / "floor.c"), "-o", target, *flags)


# --- An ordinary user -----------------------------------------------------------------


@contextlib.contextmanager
def ordinary_user(lab: Lab) -> Iterator[User]:
    """A user with a running container, who is gone afterwards."""
    name = f"lxcbench{os.getpid()}"
    with contextlib.ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix=f"lxc-{name}-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        home.chmod(0o755)
        new = "useradd", "--system", "--user-group", "--no-create-home"
        output(*new, "--home-dir", str(home), name)
        stack.callback(subprocess.run, ["userdel", name], check=True)
        first = stack.enter_context(subordinate_ids(name))
        uid = int(output("id", "-u", name))
        groups = []
        for parent in list(own_cgroups()):
            groups.append(delegate(parent, name, uid))
            stack.callback(remove_later, groups[-1])

        packages = {d: str(home / name) for name, d in lab.bindings.items()}
        for directory, copied in packages.items():
            copy_package(directory, copied)
        worker = shutil.copy(HERE / "worker.py", home)
        path = home / "containers"
        path.mkdir()
        container = f"{name}-container"
        create(str(path), container, EMPTY)
        lines = (f"lxc.idmap = {kind} 0 {first} 65536\n" for kind in "ug")
        append(str(path), container, "".join(lines))
        give_away(home, path / container, uid, first)
        join = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
        command = (
            *("sh", "-c", f'{join}exec "$@"', "sh"),
            *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"),
            *("env", "-i", f"HOME={home}", f"XDG_RUNTIME_DIR={home}"),
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        )
        stack.callback(end_processes_of, uid)
        output(*command, "lxc-start", "-P", str(path), "-n", container)
        pid = output("lxc-info", "-P", str(path), "-n", container, "-pH")
        output("nsenter", "-t", pid, "-n", "sh", "-ec", ADD_ADDRESSES)
        containers = str(path), container, container
        yield User(command, containers, str(worker), packages)


# From outside, as the user may not.
ADD_ADDRESSES = (
    "ip link add eth0 type veth peer name eth1; ip link set eth0 up; "
    "ip addr add 192.0.2.7/24 dev eth0; ip addr add 2001:db8::7/64 dev eth0"
)


@contextlib.contextmanager
def subordinate_ids(name: str) -> Iterator[int]:
    """Let a user map ids that nobody has."""
    files = [Path("/etc/subuid"), Path("/etc/subgid")]
    lines = [x for file in files if file.exists() for x in file.read_text().split()]
    first = max([100000, *(sum(map(int, x.split(":")[1:])) for x in lines)])
    line = f"{name}:{first}:65536\n"
    for file in files:
        with file.open("a") as target:
            target.write(line)
    try:
        yield first
    finally:
        for file in files:
            left = [x for x in file.read_text().splitlines(True) if x != line]
            file.write_text("".join(left))


def delegate(parent: Path, name: str, uid: int) -> Path:
    """A cgroup in which a user may make others and move processes about."""
    group = parent / name
    group.mkdir()
    for key in ("cpuset.cpus", "cpuset.mems"):
        if (group / key).exists() and (parent / key).exists():
            group.joinpath(key).write_text((parent / key).read_text())
    for path in (group, *group.iterdir()):
        os.chown(path, uid, uid)
    if (group / "cgroup.controllers").exists():
        # liblxc moves processes here with the container's root's rights, too.
        group.joinpath("cgroup.procs").chmod(0o666)
    return group


def remove_later(group: Path) -> None:
    """Remove a cgroup when what was killed in it is gone."""
    deadline = time.monotonic() + 5
    while group.exists() and time.monotonic() < deadline:
        remove_tree(group)
        time.sleep(0.01)


def copy_package(directory: str, target: str) -> None:
    """Copy a binding to where an ordinary user can read it."""
    shutil.copytree(os.path.join(directory, "lxc"), os.path.join(target, "lxc"))
    for extension in Path(directory).glob("_lxc*.so"):
        shutil.copy(extension, target)


def give_away(home: Path, container: Path, uid: int, first: int) -> None:
    """Make a user the owner of their home, and the root inside that of the root."""
    for parent, directories, files in os.walk(home):
        inside = container / "rootfs" in (Path(parent), *Path(parent).parents)
        for name in (".", *directories, *files):
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            owner = first if inside or path == str(container / "rootfs") else uid
            os.lchown(path, owner, owner)
            if not os.path.islink(path):
                os.chmod(path, mode & 0o7777)  # setuid bits go with an owner
    os.chown(container, first, uid)
    container.chmod(0o770)


def end_processes_of(uid: int) -> None:
    """End what belongs to a user, by number."""
    for directory in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if directory.name.isdigit() and directory.stat().st_uid == uid:
                os.kill(int(directory.name), signal.SIGKILL)
