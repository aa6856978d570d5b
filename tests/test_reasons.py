# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why a call said no: each failure of docs/failures.rst is made, and must read so."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import errno
import fcntl
import inspect
import itertools
import os
import pickle
import re
import resource
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import create_bare, create_busybox, destroy, start_and_settle
from support import alike, cgroup_limit, rootfs

import lxc
from lxc import _messages, errors

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "failures.rst"

# What people catch who do not know of lxc's classes.
BUILTINS: dict[type[lxc.LXCError], tuple[type[Exception], ...]] = {
    lxc.LXCError: (Exception,),
    lxc.LXCOSError: (OSError,),
    lxc.NoSuchItem: (KeyError,),
    lxc.NotDefined: (KeyError, lxc.NotRunning, ProcessLookupError),
    lxc.NotRunning: (ProcessLookupError, lxc.LXCOSError),
    lxc.Frozen: (BlockingIOError, lxc.LXCOSError),
    lxc.AlreadyExists: (FileExistsError, lxc.LXCOSError),
    lxc.AlreadyRunning: (OSError, lxc.LXCOSError),
    lxc.PermissionDenied: (PermissionError, lxc.LXCOSError),
    lxc.TimedOut: (TimeoutError, lxc.LXCOSError),
}
ERRORS = {"ERROR", "CRIT", "ALERT", "FATAL"}
PLACE = re.compile(r"[\w./-]+\.[ch]:\w+:\d+")
NOBODY = 65534
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


# --- The table of the document --------------------------------------------------------


class Row(NamedTuple):
    """What the document says of a failure."""

    call: str
    returns: str
    raised: str
    texts: list[str]


def rows() -> dict[str, Row]:
    """The failures by what is wrong; of a text there may be several wordings."""
    found = {}
    for entry in re.split(r"^   \* - ", DOCUMENT.read_text(), flags=re.MULTILINE)[2:]:
        entry = entry.split("\n\n\n")[0]
        wrong, *cells = (
            " ".join(cell.split()) for cell in re.split(r"\n     - ", entry)
        )
        call, returns, raised, texts = cells
        plain = [cell.replace("``", "") for cell in (call, returns, raised)]
        found[wrong] = Row(*plain, re.findall(r"``(.+?)``(?!`)", texts))
    return found


def is_one_of(text: str, known: list[str]) -> bool:
    """Whether a text is one of the document's, where ... stands for anything."""
    patterns = (re.escape(each).replace(re.escape("..."), ".*") for each in known)
    return any(re.fullmatch(pattern, text) for pattern in patterns)


# --- The failures ---------------------------------------------------------------------


class World:
    """Where a failure is made: containers that go away with it, and how they are
    called in the document."""

    def __init__(self, path: str, new_name: Callable[[], str]) -> None:
        self.path = path
        self.new_name = new_name
        self.name = new_name()
        self.user: int | None = None  # whose process makes the call, if not ours
        self.hidden: str | None = None  # a directory that is empty for that process
        self.stack = contextlib.ExitStack()
        self.shown = {self.name: "web", path: "/var/lib/lxc"}

    def make(self, name: str | None = None, **config: Any) -> lxc.Container:
        """A busybox container, by default the one that the call is made for."""
        container = create_busybox(name or self.name, self.path)
        for key, value in config.items():
            assert container.set_config_item(f"lxc.{key.replace('__', '.')}", value)
        assert container.save_config()
        self.stack.callback(destroy, lxc.Container(container.name, self.path))
        return container

    def bare(self, name: str | None = None) -> lxc.Container:
        return create_bare(name or self.name, self.path)

    def start(self, **config: Any) -> lxc.Container:
        container = self.make(**config)
        start_and_settle(container)
        return container

    def other(self) -> str:
        """The name of another container."""
        name = self.new_name()
        self.shown[name] = "db"
        return name

    def run(self, *command: str) -> None:
        subprocess.run(command, check=True)

    def open(self, **options: Any) -> lxc.Container:
        return lxc.Container(self.name, self.path, **options)

    def plain(self, text: str) -> str:
        """A text with the names of the document."""
        for own, shown in self.shown.items():
            text = text.replace(own, shown)
        text = re.sub(r"\bveth\w{6}\b", "vethX", text)
        return re.sub(r"\bnewuidmap \d+", "newuidmap PID", text)


def in_new_thread(call: Callable[[], Any]) -> Any:
    """liblxc remembers in each where the default configuration is."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(call).result()


Call = Callable[[lxc.Container], Any]
FAILURES: dict[str, Callable[[World], Call]] = {}


def failure(wrong: str) -> Callable[[Any], Any]:
    """A function that makes what is wrong, and returns the call that fails for it."""

    def keep(make: Callable[[World], Call]) -> Callable[[World], Call]:
        FAILURES[wrong] = make
        return make

    return keep


def true(container: lxc.Container) -> int:
    return container.attach_wait(lxc.attach_run_command, ["true"])


def start(container: lxc.Container) -> bool:
    return container.start()


@failure("a bridge that is not there")
def _(world: World) -> Call:
    world.make(net__0__type="veth", net__0__link="no-such-br")
    return start


@failure("a network interface that is not there")
def _(world: World) -> Call:
    world.make(net__0__type="phys", net__0__link="no-such-if")
    return start


@failure("the host has an interface of that name")
def _(world: World) -> Call:
    world.run("ip", "link", "add", "lxctaken0", "type", "bridge")
    world.stack.callback(world.run, "ip", "link", "delete", "lxctaken0")
    pair = {"net__0__veth__pair": "lxctaken0"}
    world.make(net__0__type="veth", net__0__link="lxcbr0", **pair)
    return start


@failure("no root filesystem")
def _(world: World) -> Call:
    world.make()
    shutil.rmtree(Path(world.path, world.name, "rootfs"))
    return start


@failure("no such init")
def _(world: World) -> Call:
    world.make()
    return lambda c: c.start(cmd=["/no/such/init"])


@failure("ids that may not be mapped")
def _(world: World) -> Call:
    world.make(idmap=["u 0 4000000000 10", "g 0 4000000000 10"])
    return start


@failure("it runs already")
def _(world: World) -> Call:
    world.start()
    return start


@failure("no such container")
def _(world: World) -> Call:
    return start


@failure("no such container to attach to")
def _(world: World) -> Call:
    return true


@failure("no such container to run anything in")
def _(world: World) -> Call:
    return lambda c: c.run(["true"])


@failure("no such template")
def _(world: World) -> Call:
    return lambda c: c.create("no-such")


@failure("a template that fails")
def _(world: World) -> Call:
    template = Path(world.path, "template")
    template.write_text("#!/bin/sh\necho no network >&2\nexit 3\n")
    template.chmod(0o755)
    return lambda c: c.create(template)


@failure("a container that another process is creating")
def _(world: World) -> Call:
    directory = Path(world.path, world.name)
    directory.mkdir()
    marker = (directory / "partial").open("w")
    world.stack.callback(marker.close)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(marker, fcntl.F_OFD_SETLK, lock)
    return lambda c: c.create("busybox")


@failure("no room on the disk")
def _(world: World) -> Call:
    small = Path(world.path, "small")
    small.mkdir()
    options = "size=512k,mode=755"
    world.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(small))
    world.stack.callback(world.run, "umount", "-l", str(small))
    world.path = str(small)
    world.shown = {world.name: "web", world.path: "/var/lib/lxc"}
    return lambda c: c.create("busybox", lxc.LXC_CREATE_QUIET)


@failure("a container that was created already")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.create("busybox", lxc.LXC_CREATE_QUIET)


@failure("only liblxc is installed: no configuration")
def _(world: World) -> Call:
    world.hidden = os.path.dirname(lxc.get_global_config_item("lxc.default_config"))
    return lambda c: c.create("busybox")


@failure("only liblxc is installed: no templates")
def _(world: World) -> Call:
    world.hidden = "/usr/share/lxc"
    return lambda c: c.create("busybox")


@failure("an ordinary user without a configuration")
def _(world: World) -> Call:
    world.user = NOBODY
    os.chown(world.path, NOBODY, NOBODY)
    world.shown.update({f"/var/lib/lxc/home-{x}": "/home/you" for x in (False, True)})
    return lambda c: in_new_thread(lambda: c.create("busybox"))


@failure("an ordinary user without an idmap")
def _(world: World) -> Call:
    world.user = NOBODY
    os.chown(world.path, NOBODY, NOBODY)
    world.shown.update({f"/var/lib/lxc/home-{x}": "/home/you" for x in (False, True)})

    def create(container: lxc.Container) -> Any:
        directory = Path(os.environ["HOME"], ".config/lxc")
        directory.mkdir(parents=True)
        (directory / "default.conf").write_text("lxc.net.0.type = empty\n")
        return in_new_thread(lambda: container.create("busybox"))

    return create


@failure("an lxcpath that cannot be made")
def _(world: World) -> Call:
    world.user = NOBODY
    world.shown["/var/lib/lxc/none"] = "/srv/lxc"
    return lambda c: c.set_config_path(f"{world.path}/none") and c.create("busybox")


@failure("files where a clone is to be")
def _(world: World) -> Call:
    world.bare()
    name = world.other()
    directory = Path(world.path, name)
    directory.mkdir()
    (directory / "mine").touch()
    return lambda c: c.clone(name)


@failure("a name that is taken, for a clone")
def _(world: World) -> Call:
    world.bare()
    name = world.bare(world.other()).name
    return lambda c: c.clone(name)


@failure("no root filesystem, for a clone")
def _(world: World) -> Call:
    container = lxc.Container(world.name, world.path)
    assert container.set_config_item("lxc.uts.name", "web")
    assert container.save_config()
    name = world.other()
    return lambda c: c.clone(name)


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """This process may write no file of more than 1500 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@failure("a limit on the size of files, for a clone")
def _(world: World) -> Call:
    world.bare()
    name = world.other()
    return small_files()(lambda c: c.clone(name))


@failure("a limit on the size of files")
def _(world: World) -> Call:
    world.bare()

    def save(container: lxc.Container) -> bool:
        container.set_config_item("lxc.environment", "A=" + "x" * 2000)
        with small_files():
            return container.save_config()

    return save


@failure("a name that is taken, for another")
def _(world: World) -> Call:
    world.bare()
    name = world.bare(world.other()).name
    return lambda c: c.rename(name)


@failure("a directory of somebody else")
def _(world: World) -> Call:
    world.user = NOBODY
    return lambda c: c.create("busybox", lxc.LXC_CREATE_QUIET)


@failure("a container of somebody else")
def _(world: World) -> Call:
    world.start()
    os.chmod(Path(world.path, world.name), 0o755)
    os.chmod(Path(world.path, world.name, "config"), 0o644)
    world.user = NOBODY
    return lambda c: c.freeze()


@failure("a container of somebody else that is to stop")
def _(world: World) -> Call:
    world.start()
    os.chmod(Path(world.path, world.name), 0o755)
    os.chmod(Path(world.path, world.name, "config"), 0o644)
    world.user = NOBODY
    return lambda c: c.stop()


@failure("a clone of a running container")
def _(world: World) -> Call:
    world.start()
    name = world.other()
    return lambda c: c.clone(name)


@failure("a snapshot of a running container")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.snapshot()


@failure("a running container is to go")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.destroy()


@failure("it has snapshots")
def _(world: World) -> Call:
    assert world.bare().snapshot() == "snap0"
    return lambda c: c.destroy()


@failure("no such snapshot")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.snapshot_restore("snap7")


@failure("two hooks that are the same script")
def _(world: World) -> Call:
    container = world.bare()
    hook = Path(world.path, world.name, "hook")
    hook.write_text("#!/bin/sh\n")
    assert container.set_config_item("lxc.hook.clone", [str(hook), str(hook)])
    assert container.save_config()
    return lambda c: c.snapshot()


@failure("a comment that is not there")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.snapshot("/no/such/file")


@failure("a line that liblxc does not know")
def _(world: World) -> Call:
    world.bare()
    other = Path(world.path, "other.conf")
    other.write_text("lxc.nonsense = 1\n")
    return lambda c: c.load_config(other)


@failure("no such file")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.load_config("/no/such/file")


@failure("a value that liblxc refuses")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.set_config_item("lxc.net.0.type", "nonsense")


@failure("a key that liblxc does not know")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.append_config_item("lxc.nonsense", "1")


@failure("a key that liblxc does not know, to read")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.get_config_item("lxc.nonsense")


@failure("a key that liblxc does not know, to set")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.set_config_item("lxc.nonsense", "1")


@failure("an interface that is not configured")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.get_config_item("lxc.net.7.link")


@failure("a pipe that nobody reads")
def _(world: World) -> Call:
    world.bare()
    pipe = Path(world.path, "pipe")
    os.mkfifo(pipe)
    return lambda c: c.save_config(pipe)


@failure("shmounts without a path")
def _(world: World) -> Call:
    world.make(mount__auto="shmounts:")
    return start


@failure("something is mounted over a file")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.mount("/etc", "/bin/sh", mountflags=4096)


@failure("a cgroup item that is not there, to read")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.get_cgroup_item("no.such")


@failure("a place that cannot be written to")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.save_config("/no/such/file")


@failure("attach to a stopped container")
def _(world: World) -> Call:
    world.bare()
    return true


@failure("attach to a frozen container")
def _(world: World) -> Call:
    assert world.start().freeze()
    return true


@failure("a command for a stopped container")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.run(["true"])


@failure("a command for a frozen container")
def _(world: World) -> Call:
    assert world.start().freeze()
    return lambda c: c.run(["true"])


@failure("no such command")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.attach_wait(lxc.attach_run_command, ["no-such-program"])


@failure("a command that says 255")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.attach_wait(lxc.attach_run_command, ["sh", "-c", "exit 255"])


@failure("a function that returns a text")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.attach_wait(lambda: "no status")


@failure("a stopped container cannot be frozen")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.freeze()


@failure("a stopped container has no console")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.console()


@failure("a stopped container has no init")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.init_pidfd()


@failure("no such cgroup item")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.set_cgroup_item("no.such", "1")


@failure("a cgroup value that the kernel refuses")
def _(world: World) -> Call:
    world.start()
    world.shown[cgroup_limit()] = "pids.max"
    return lambda c: c.set_cgroup_item(cgroup_limit(), "many")


@failure("no such device")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.add_device_node("/dev/no-such")


@failure("a file that is no device")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.add_device_node("/etc/passwd")


@failure("no such interface to move in")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.attach_interface("no-such-if")


@failure("no such interface to move out")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.detach_interface("no-such-if")


@failure("time is up, for a state")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.wait("RUNNING", 0.1)


@failure("what is no state")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.wait("NONSENSE", 0.1)


@failure("time is up, for an address")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.get_ips(timeout=0.1)


@failure("time is up, for an address of a stopped container")
def _(world: World) -> Call:
    world.bare()
    return lambda c: c.get_ips(timeout=0.1)


@failure("time is up, for a shutdown")
def _(world: World) -> Call:
    world.start(init__cmd="/bin/sleep 1000")
    return lambda c: c.shutdown(0.1)


@failure("no address in time")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.wait_for_ips(0)


@failure("a container that is not running is waited for")
def _(world: World) -> Call:
    world.make()
    return lambda c: c.wait_for_ips()


@failure("nobody listens in time")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.wait_for_port(80, 0)


@failure("a command that does not succeed in time")
def _(world: World) -> Call:
    world.start()
    return lambda c: c.wait_for(["false"], 0)


@failure("a boot that takes longer")
def _(world: World) -> Call:
    container = world.make()
    script = rootfs(container) / "etc/init.d/rcS"
    script.write_text("#!/bin/sh\nsleep 60\n")
    script.chmod(0o755)
    assert container.start()
    container.wait_for(lambda: b"rcS" in children_of(container), 20)
    return lambda c: c.wait_until_booted(0)


@failure("numbers of a stopped container")
def _(world: World) -> Call:
    world.make()
    return lambda c: c.stats()


def children_of(container: lxc.Container) -> bytes:
    """The command lines of its init's children."""
    pid = container.init_pid
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return b"".join(Path(f"/proc/{each}/cmdline").read_bytes() for each in pids)


# --- Each of them ---------------------------------------------------------------------


class Seen(NamedTuple):
    """What a call returned or raised, and what its object keeps of that."""

    result: Any
    raised: Exception | None
    kept: lxc.LXCError | None


def see(world: World, call: Call, strict: bool) -> Seen:
    container = world.open(strict=strict)
    try:
        return Seen(call(container), None, container.last_error)
    except lxc.LXCError as error:
        return Seen(None, error, container.last_error)


def hide(directory: str) -> None:
    """For this process, and for nobody else."""
    libc = ctypes.CDLL(None)
    assert libc.unshare(CLONE_NEWNS) == 0
    assert libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
    assert libc.mount(b"none", directory.encode(), b"tmpfs", 0, None) == 0


def see_as(user: int, home: str, *given: Any) -> Seen:
    """The same in a process of a user who may do nothing."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            if given[0].hidden is not None:
                hide(given[0].hidden)
            os.environ["HOME"] = home
            os.environ.pop("XDG_RUNTIME_DIR", None)
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            os.write(writer, pickle.dumps(see(*given)))
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    return pickle.loads(data)


@pytest.fixture
def world(own_path: str, new_name: Callable[[], str]) -> Iterator[World]:
    world = World(own_path, new_name)
    with world.stack:
        yield world


def look(world: World, call: Call, strict: bool) -> Seen:
    if world.hidden is not None:
        return see_as(0, world.path, world, call, strict)
    if world.user is None:
        return see(world, call, strict)
    home = Path(world.path, f"home-{strict}")
    home.mkdir()
    os.chown(home, world.user, world.user)
    try:
        return see_as(world.user, str(home), world, call, strict)
    finally:
        shutil.rmtree(home)


def test_the_document_has_these_failures_and_no_others() -> None:
    assert list(rows()) == list(FAILURES)


@pytest.mark.containers
@pytest.mark.parametrize("wrong", FAILURES)
def test_failure(world: World, wrong: str) -> None:
    row = rows()[wrong]
    call = FAILURES[wrong](world)

    seen = look(world, call, strict=False)
    error = seen.kept
    assert error is not None
    text = world.plain(str(error))
    assert is_one_of(text, row.texts), text
    if row.returns == "raises":
        assert world.user or world.hidden or alike(seen.raised, error)
    else:
        assert (repr(seen.result), seen.raised) == (row.returns, None)
    operation = row.call.partition("(")[0]
    assert (error.operation, error.container) == (operation, world.name)
    assert str(error) == f"{operation} of {world.name!r} failed: {error.reason}"
    assert not error.reason.endswith((".", " "))
    assert f"lxc.{type(error).__name__}" == row.raised
    for builtin in BUILTINS[type(error)]:
        assert isinstance(error, builtin)
    assert error.found is not None or error.messages
    assert error.found is None or error.found in error.reason
    for message in error.messages:
        assert message.level in ERRORS
        # A template's words are of no place in liblxc's source.
        assert PLACE.fullmatch(message.place) or message.category == "template"
        assert message.category
        assert message.text
        assert not message.foreign
    assert not error.foreign

    strict = look(world, call, strict=True)
    # What was attached says these, and not the call; or there is only nothing.
    failed = row.returns != "()" and wrong not in (
        "no such command",
        "a command that says 255",
        "a function that returns a text",
    )
    assert world.plain(str(strict.kept)) == text
    assert type(strict.kept) is type(error)
    if failed:
        assert world.user or world.hidden or alike(strict.raised, strict.kept)
        assert type(strict.raised) is type(error)
        assert strict.raised.messages == strict.kept.messages
    else:
        assert (strict.result, strict.raised) == (seen.result, None)


# --- It is running --------------------------------------------------------------------

NEED_IT_STOPPED: dict[str, Call] = {
    "clone": lambda c: c.clone("other"),
    "destroy": lambda c: c.destroy(),
    "destroy_with_snapshots": lambda c: c.destroy_with_snapshots(),
    "rename": lambda c: c.rename("other"),
    "restore": lambda c: c.restore("/no/such/directory"),
    "snapshot": lambda c: c.snapshot(),
    "snapshot_restore": lambda c: c.snapshot_restore("snap0"),
    "start": lambda c: c.start(),
}


def test_all_that_need_a_stopped_container_are_known() -> None:
    # create() says that the container exists, or that it is running.
    known = errors.NEEDS_STOPPED - {"create"} | {"restore"}
    assert NEED_IT_STOPPED.keys() == known


@pytest.fixture(scope="module")
def busy(lxcpath: str) -> Iterator[lxc.Container]:
    """A running container that has a snapshot."""
    container = create_busybox(f"t{os.getpid()}-busy", lxcpath)
    assert container.snapshot() == "snap0"
    start_and_settle(container)
    yield container
    destroy(container)


@pytest.mark.containers
@pytest.mark.parametrize("operation", NEED_IT_STOPPED)
def test_it_is_running(busy: lxc.Container, operation: str) -> None:
    strict = lxc.Container(busy.name, busy.get_config_path(), strict=True)
    with pytest.raises(lxc.AlreadyRunning) as caught:
        NEED_IT_STOPPED[operation](strict)
    error = caught.value
    assert (error.operation, error.errno) == (operation, errno.EBUSY)
    assert error.found == "it is running"
    assert alike(error, strict.last_error)
    # What is no failure of this kind must not be caught for one.
    others = (FileExistsError, BlockingIOError, ProcessLookupError, KeyError)
    assert not isinstance(error, others)
    assert strict.running
    assert [name for name, *_ in strict.snapshot_list()] == ["snap0"]


# --- Strict objects -------------------------------------------------------------------

# Arguments for each method that can say no, with which it does of no container at all.
REFUSED: dict[str, tuple[Any, ...]] = {
    "add_device_net": ("none-such",),
    "add_device_node": ("/dev/null",),
    "append_config_item": ("lxc.nonsense", "1"),
    "attach": (lxc.attach_run_command, ["true"]),
    "attach_interface": ("none-such",),
    "attach_wait": (lxc.attach_run_command, ["true"]),
    "clear_config_item": ("lxc.nonsense",),
    "clone": ("d",),
    "console": (),
    "console_getfd": (),
    "create": ("none-such",),
    "destroy": (),
    "detach_interface": ("none-such",),
    "freeze": (),
    "load_config": (),
    "reboot": (),
    "remove_device_node": ("/dev/null",),
    "rename": ("d",),
    "save_config": ("/no/such/file",),
    "set_cgroup_item": ("pids.max", "1"),
    "set_config_item": ("lxc.net.0.type", "nonsense"),
    "snapshot": (),
    "snapshot_destroy": ("snap0",),
    "snapshot_restore": ("snap0",),
    "start": (),
    "unfreeze": (),
    "wait": ("RUNNING", 0),
}
# There they have nothing to do.  Of the first two see the table; liblxc takes any path.
REFUSES_NOTHING = {"shutdown", "stop", "set_config_path"}


def notes(name: str) -> bool:
    """Whether a method leaves its reason in last_error, and returns."""
    return "self._note(" in inspect.getsource(getattr(lxc.Container, name))


def test_every_method_that_can_say_no_is_walked_over() -> None:
    public = (name for name in vars(lxc.Container) if not name.startswith("_"))
    methods = (name for name in public if callable(getattr(lxc.Container, name)))
    found = set(filter(notes, methods))
    assert found == REFUSED.keys() | REFUSES_NOTHING


class Strict(lxc.Container):
    """A class of one's own that says it for all its objects."""

    strict = True


@pytest.mark.containers
@pytest.mark.parametrize("name", REFUSED)
def test_a_strict_object_raises_where_another_says_no(
    name: str, tmp_path: Path
) -> None:
    classic = lxc.Container("c", str(tmp_path))
    assert getattr(classic, name)(*REFUSED[name]) in (False, -1)
    assert classic.last_error is not None
    for strict in (
        lxc.Container("c", str(tmp_path), strict=True),
        Strict("c", str(tmp_path)),
    ):
        with pytest.raises(type(classic.last_error)) as raised:
            getattr(strict, name)(*REFUSED[name])
        assert alike(raised.value, strict.last_error)
        assert str(raised.value) == str(classic.last_error)
    assert not list(tmp_path.iterdir())


@pytest.mark.containers
def test_a_strict_object_that_is_not_refused_returns(
    own_path: str, new_name: Callable[[], str]
) -> None:
    container = lxc.Container(new_name(), own_path, strict=True)
    assert container.set_config_item("lxc.uts.name", "c") is True
    assert container.save_config() is True
    assert container.stop() is True
    assert container.last_error is None
    assert container.destroy() is True


def test_strict_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        lxc.Container("c", str(tmp_path), True)  # type: ignore[misc]


@pytest.mark.containers
@pytest.mark.parametrize("strict", [False, True])
def test_what_comes_of_an_object_is_as_strict(
    own_path: str, new_name: Callable[[], str], strict: bool
) -> None:
    name = create_bare(new_name(), own_path).name
    container = lxc.Container(name, own_path, strict=strict)
    clone = container.clone(new_name())
    assert clone
    renamed = clone.rename(new_name())
    assert renamed
    assert [clone.strict, renamed.strict] == [strict, strict]
    listed = lxc.list_containers(config_path=own_path, as_object=True)
    assert [each.strict for each in listed] == [False, False]


# --- last_error -----------------------------------------------------------------------


@pytest.mark.containers
def test_a_call_that_does_not_fail_leaves_the_last_error(tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert container.start() is False
    error = container.last_error
    assert container.set_config_item("lxc.uts.name", "c") is True
    assert container.stop() is True
    assert alike(container.last_error, error)
    assert container.freeze() is False
    assert container.last_error.operation == "freeze"


# --- The classes ----------------------------------------------------------------------

MESSAGE = _messages.Message("ERROR", "No", "conf", "conf.c:function:1", True)
KINDS = sorted(BUILTINS, key=lambda kind: kind.__name__)


def pickled(error: Any) -> Any:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize(
    ("kind", "again"),
    [*itertools.product(KINDS, (pickled, copy.copy, copy.deepcopy))],
)
def test_an_error_can_be_copied(kind: Any, again: Callable[[Any], Any]) -> None:
    error = kind("start", "web", "no", messages=(MESSAGE,), found="no")
    error.note = "mine"
    other = again(error)
    assert type(other) is kind
    assert str(other) == str(error) == "start of 'web' failed: no"
    assert vars(other) == vars(error)
    assert (other.messages, other.found, other.foreign) == ((MESSAGE,), "no", True)
    assert getattr(other, "errno", None) == getattr(error, "errno", None)
    assert other.args == error.args


@pytest.mark.parametrize("kind", KINDS)
def test_the_class_of_an_error_is_one_of_pythons_too(kind: Any) -> None:
    error = kind("start", "web", "no")
    assert isinstance(error, (lxc.LXCError, *BUILTINS[kind]))
    assert all(issubclass(kind, each) for each in BUILTINS[kind])
    # Python makes the class of an OSError from its number: these must agree.
    if kind not in (lxc.LXCError, lxc.LXCOSError, lxc.NoSuchItem, lxc.NotDefined):
        assert type(OSError(error.errno, "")) in BUILTINS[kind]


def test_an_errno_of_liblxcs_own_is_kept() -> None:
    error = lxc.NotRunning("init_pidfd", "web", "it is not running", errno.ECONNREFUSED)
    assert error.errno == pickle.loads(pickle.dumps(error)).errno == errno.ECONNREFUSED


LINE = "lxc 20260101000000.000 ERROR    conf - conf.c:function:1 - {}\n"


@pytest.mark.containers
@pytest.mark.parametrize("text", ["Permission denied - No", "it is not running"])
def test_no_message_decides_of_what_class_an_error_is(
    tmp_path: Path, text: str
) -> None:
    container = lxc.Container("c", str(tmp_path))
    heard = (None, None, LINE.format(text), False, False, 0.0)
    error = errors.find_error(container, "set_config_path", heard=heard)
    assert type(error) is lxc.LXCError
    assert [message.text for message in error.messages] == [text]


@pytest.mark.containers
def test_a_message_that_may_be_anothers_says_so(tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    lines = LINE.format("Is anyone's") + LINE.replace("lxc", "lxc c", 1).format(
        "Is ours"
    )
    heard = (None, None, lines, True, True, 0.0)
    error = errors.find_error(container, "set_config_path", heard=heard)
    assert [message.foreign for message in error.messages] == [True, False]
    assert error.foreign
    assert error.reason == "Is ours"
    heard = (None, None, LINE.format("Is anyone's"), True, True, 0.0)
    error = errors.find_error(container, "set_config_path", heard=heard)
    assert error.reason == "Is anyone's (or another call's)"
