# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real containers for the tests, in an lxcpath of their own.

Container tests need root on a machine that can run containers.  Elsewhere they are
skipped with the reason, unless LXC_TESTS_MUST_RUN is set, as in CI: there a skipped
container test fails the run (see pytest_sessionfinish).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lxc

CGROUPS = Path("/sys/fs/cgroup")
BUSYBOX = "busybox"
NEEDS_PYTHON = "needs CPython"
# In the programs that tests run it would hide what becomes of unwritten output.
os.environ.pop("PYTHONUNBUFFERED", None)
SUBORDINATE = ("/etc/subuid", "/etc/subgid")
FIRST_ID = 100000  # where subordinate ids begin
_serial = itertools.count()


def why_no_containers() -> str | None:
    """The reason why this machine cannot run the container tests, or None."""
    if os.geteuid() != 0:
        return "container tests need root"
    for program, package in (("lxc-start", "lxc"), ("busybox", "busybox-static")):
        if shutil.which(program) is None:
            return f"container tests need {program}: install {package}"
    if not Path("/sys/class/net/lxcbr0").exists():
        return "container tests need the bridge lxcbr0: start lxc-net"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_no_containers()
    for item in items:
        if "lxcpath" in getattr(item, "fixturenames", ()):
            item.add_marker("containers")
        needed = item.get_closest_marker("needs_python")
        if needed and sys.version_info < needed.args:
            version = ".".join(map(str, needed.args))
            why = f"{NEEDS_PYTHON} {version}: {needed.kwargs['reason']}"
            item.add_marker(pytest.mark.skip(reason=why))
        if reason and item.get_closest_marker("containers"):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a container test that was skipped is a failure, where one could run it."""
    if not os.environ.get("LXC_TESTS_MUST_RUN"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [
        report
        for report in reporter.stats.get("skipped", [])
        if "containers" in report.keywords
        and "document" not in report.keywords
        and "systemd" not in report.keywords
        and NEEDS_PYTHON not in report.longrepr[2]
    ]
    if skipped:
        reporter.write_line(f"{len(skipped)} container tests were skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def remove_cgroups(name: str) -> None:
    """Remove the cgroups that liblxc leaves behind for a container that is gone.

    Only the container's own: its name, or the name and the number that liblxc appends
    where a group of that name was there already.
    """
    own = re.compile(rf"lxc\.\w+\.{re.escape(name)}(-\d+)?")
    mounts = [p for p in CGROUPS.iterdir() if p.is_dir()] if CGROUPS.exists() else []
    for mount in (CGROUPS, *mounts):
        for group in mount.glob("lxc.*"):
            if own.fullmatch(group.name):
                for inner in sorted(group.rglob("*"), reverse=True):
                    if inner.is_dir():
                        with contextlib.suppress(OSError):
                            inner.rmdir()
                with contextlib.suppress(OSError):
                    group.rmdir()


def destroy(container: lxc.Container) -> None:
    """Stop and remove a container, whatever state a test left it in."""
    with contextlib.suppress(Exception):
        if container.state in ("FROZEN", "FREEZING"):
            container.unfreeze()
        if container.running:
            container.stop()
    for name, *_ in container.snapshot_list() if container.defined else ():
        container.snapshot_destroy(name)
    if container.defined:
        container.destroy()
    remove_cgroups(container.name)


@pytest.fixture(scope="session")
def lxcpath() -> Iterator[str]:
    """A directory of our own for containers, which an idmapped one can traverse."""
    path = tempfile.mkdtemp(prefix="lxc-tests-", dir="/var/tmp")
    os.chmod(path, 0o755)
    yield path
    for name in lxc.list_containers(config_path=path):
        destroy(lxc.Container(name, path))
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def own_path(lxcpath: str) -> Iterator[str]:
    """An empty lxcpath of this test's own, whatever it leaves in there goes with it."""
    path = tempfile.mkdtemp(prefix="lxc-tests-", dir="/var/tmp")
    os.chmod(path, 0o755)
    yield path
    # A container whose overlay clones are still there cannot go before them.
    for _ in range(3):
        for name in lxc.list_containers(config_path=path):
            with contextlib.suppress(RuntimeError):
                destroy(lxc.Container(name, path))
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def new_name() -> Callable[[], str]:
    """Names that no other container has: cgroup names are the whole host's."""
    return lambda: f"t{os.getpid()}-{next(_serial)}"


@pytest.fixture
def make(
    lxcpath: str, new_name: Callable[[], str]
) -> Iterator[Callable[..., lxc.Container]]:
    """Make busybox containers that go away with the test.

    make() gives a defined, stopped one, make(start=True) a running one; config is a
    mapping of items to set before the first start.
    """
    made: list[lxc.Container] = []

    def make(
        *,
        start: bool = False,
        config: dict[str, str] | None = None,
        network: bool = False,
    ) -> lxc.Container:
        container = create_busybox(new_name(), lxcpath, network=network)
        made.append(container)
        for key, value in (config or {}).items():
            assert container.set_config_item(key, value)
        if config:
            assert container.save_config()
        if start:
            start_and_settle(container)
        return container

    yield make
    for container in reversed(made):
        destroy(container)


@pytest.fixture
def stopped(make: Callable[..., lxc.Container]) -> lxc.Container:
    """A container of this test's own, defined and stopped."""
    return make()


@pytest.fixture
def running(make: Callable[..., lxc.Container]) -> lxc.Container:
    """A container of this test's own, running."""
    return make(start=True)


@pytest.fixture(scope="session")
def shared(lxcpath: str) -> Iterator[lxc.Container]:
    """One running container for all tests that leave it as it was."""
    container = create_busybox(f"t{os.getpid()}-shared", lxcpath)
    start_and_settle(container)
    yield container
    destroy(container)


def create_busybox(name: str, path: str, *, network: bool = False) -> lxc.Container:
    """Create a busybox container; with network, on lxcbr0 with a fixed MAC address.

    Fixed addresses, as each new one would use up a lease of the bridge's DHCP pool.
    """
    container = lxc.Container(name, path)
    assert container.create(BUSYBOX, lxc.LXC_CREATE_QUIET)
    # Templates differ in what they leave for the tests.
    assert container.set_config_item("lxc.tty.max", "4")
    assert container.set_config_item("lxc.pty.max", "1024")
    if network:
        number = int(name.rpartition("-")[2]) if name[-1].isdigit() else 255
        assert container.set_config_item(
            "lxc.net.0.hwaddr", f"00:16:3e:00:00:{number % 256:02x}"
        )
    else:
        container.clear_config_item("lxc.net")
        assert container.set_config_item("lxc.net.0.type", "empty")
    assert container.save_config()
    return container


def create_bare(name: str, path: str) -> lxc.Container:
    """Create a container with an empty root: it cannot start, but clones fast."""
    container = lxc.Container(name, path)
    root = f"{path}/{name}/rootfs"
    assert container.set_config_item("lxc.rootfs.path", root)
    assert container.set_config_item("lxc.uts.name", name)
    assert container.save_config()
    os.mkdir(root)
    return container


def start_and_settle(container: lxc.Container) -> None:
    """Start a container and wait until its init has reached its main loop."""
    assert container.start()
    assert container.wait("RUNNING", 10)
    # Not in the middle of a vfork: a freeze would then never be complete, on cgroup v1.
    stat = Path(f"/proc/{container.init_pid}/stat")
    calm = 0
    while calm < 5:
        asleep = stat.read_text().rpartition(")")[2].split()[0] == "S"
        calm = calm + 1 if asleep else 0
        time.sleep(0.01)


def open_descriptors() -> dict[str, str]:
    """The descriptors of this process: number to what it points at."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def run_python(
    program: str, *args: str, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a process of its own, away from the checkout."""
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        capture_output=True,
        text=True,
        timeout=120,
        cwd="/",
        **options,  # type: ignore[call-overload]
    )


# --- Subordinate ids ------------------------------------------------------------------


@pytest.fixture(scope="module")
def roots_ids() -> Iterator[int]:
    """The first of the subordinate ids that root may give to a container."""
    first = free_ids()
    with subordinate_ids("root", first):
        yield first


def free_ids() -> int:
    """The first of 65536 subordinate ids that nobody has."""
    ends = [FIRST_ID]
    for file in SUBORDINATE:
        with contextlib.suppress(FileNotFoundError):
            for line in Path(file).read_text().splitlines():
                with contextlib.suppress(ValueError):
                    _, first, count = line.split(":")
                    ends.append(int(first) + int(count))
    return max(ends)


@contextlib.contextmanager
def subordinate_ids(name: str, first: int) -> Iterator[None]:
    """Let a user map ids, root too: newuidmap asks these files, if it is there."""
    line = f"{name}:{first}:65536"
    for file in SUBORDINATE:
        with open(file, "a") as target:
            target.write(line + "\n")
    try:
        yield
    finally:
        for file in SUBORDINATE:
            lines = Path(file).read_text().splitlines(keepends=True)
            Path(file).write_text("".join(x for x in lines if x.rstrip("\n") != line))


def map_ids(container: lxc.Container, first: int) -> lxc.Container:
    """Make a container of the host's users one of subordinate ids."""
    from support import rootfs, shift_owners

    shift_owners(rootfs(container), first)
    assert container.set_config_item(
        "lxc.idmap", [f"u 0 {first} 65536", f"g 0 {first} 65536"]
    )
    assert container.save_config()
    return container
