# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting for addresses, ports, the end of a boot, and whatever else."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import destroy
from support import (
    TESTS,
    Program,
    Ticker,
    children,
    descriptors,
    liblxc_get_ips,
    monitor_of,
    paused,
    run,
    wait_until,
)

import lxc

pytestmark = pytest.mark.containers

Make = Callable[..., lxc.Container]
Record = Callable[[str, Any], None]

LATE = 0.05  # how long after an event a wait may return
AT_ONCE = 0.2  # after a signal
BUSY = 0.4  # what a busy machine may add to what is measured once
IPV6_FREEBIND = 78
GRACE = 1.0  # for a monitor that does not answer


@contextlib.contextmanager
def listening(container: lxc.Container, address: str, port: int) -> Iterator[None]:
    """A process inside that listens."""
    reader, writer = os.pipe()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def listen() -> None:
        with socket.socket(family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # The container's lo may be down.
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            sock.bind((address, port))
            sock.listen()
            os.write(writer, b"x")
            signal.pause()

    pid = container.attach(listen, namespaces=lxc.CLONE_NEWNET)
    os.close(writer)
    try:
        assert os.read(reader, 1)
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)


def reason(call: Callable[[], object]) -> str:
    """Why a wait was in vain."""
    with pytest.raises(lxc.TimedOut) as caught:
        call()
    return caught.value.reason


# --- Addresses ------------------------------------------------------------------------


def inside(container: lxc.Container, script: str) -> None:
    """Run a script of the host's in the container's network."""
    namespace = f"--net=/proc/{container.init_pid}/ns/net"
    subprocess.run(["nsenter", namespace, "sh", "-e", "-c", script], check=True)


@pytest.mark.smoke
def test_addresses_are_waited_for(running: lxc.Container) -> None:
    script = "ip link add d0 type bridge; ip address add 192.0.2.1/24 dev d0"
    timer = threading.Timer(0.3, inside, (running, script))
    timer.start()
    ips = running.wait_for_ips()
    assert ips == ("192.0.2.1",) == running.get_ips() == liblxc_get_ips(running)
    assert running.wait_for_ips(0, interface="d0", family="inet") == ips
    assert running.wait_for_ips(-1, family=socket.AF_INET) == ips
    assert running.wait_for_ips(None) == ips
    found = running.addresses()
    assert list(found) == ["lo", "d0"]
    assert found["d0"] == (ipaddress.IPv4Interface("192.0.2.1/24"),)
    inside(running, "ip link set lo up")
    lo = running.addresses()["lo"]
    assert ipaddress.IPv4Interface("127.0.0.1/8") in lo
    assert running.wait_for_ips() == ips


def test_addresses_are_those_that_the_container_has(running: lxc.Container) -> None:
    container = running
    inside(
        container,
        """
        ip link add d0 type bridge
        ip link set d0 up
        ip address add 192.0.2.1/29 dev d0
        ip address add 192.0.2.65/26 dev d0 label d0:1
        ip address add 198.51.100.1 peer 198.51.100.9/32 dev d0
        ip -6 address add 2001:db8::1/80 dev d0 nodad
        ip link add d1 type bridge
        """,
    )
    found = container.addresses()
    assert [str(a) for a in found["d0"] if not a.is_link_local] == [
        *("192.0.2.1/29", "192.0.2.65/26", "198.51.100.1/32", "2001:db8::1/80")
    ]
    assert any(a.is_link_local for a in found["d0"])
    assert found["d1"] == ()
    for arguments in ((), ("d0",), ("d0:1",), (None, "inet6"), ("d1",), ("lo",)):
        interface, family = (*arguments, None, None)[:2]
        expected = container.get_ips(interface, family)
        if expected:
            assert (
                container.wait_for_ips(0, interface=interface, family=family)
                == expected
            )
        else:
            with pytest.raises(lxc.TimedOut):
                container.wait_for_ips(0, interface=interface, family=family)


def test_what_there_was_instead_of_an_address(shared: lxc.Container) -> None:
    before = time.monotonic()
    text = reason(lambda: shared.wait_for_ips(0.3))
    assert 0.3 <= time.monotonic() - before < 0.3 + BUSY
    assert text == "after 0.3 seconds it has no address: there is no interface but lo"
    assert shared.last_error is not None
    assert shared.last_error.reason == text
    assert "no IPv6 address on eth7" in reason(
        lambda: shared.wait_for_ips(0, interface="eth7", family="inet6")
    )
    with pytest.raises(ValueError, match="no address family"):
        shared.wait_for_ips(family="inet7")


# --- Ports ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "families"),
    [
        ("0.0.0.0", {"inet"}),
        ("127.0.0.1", {"inet"}),
        ("::", {"inet", "inet6"}),
        ("::1", {"inet6"}),
        ("::ffff:127.0.0.1", {"inet"}),
    ],
)
def test_who_listens_for_whom(
    shared: lxc.Container, address: str, families: set[str]
) -> None:
    with listening(shared, address, 8080):
        assert shared.wait_for_port(8080, 0) is None
        for family in ("inet", "inet6"):
            if family in families:
                shared.wait_for_port(8080, 0, family=family)
            else:
                with pytest.raises(lxc.TimedOut):
                    shared.wait_for_port(8080, 0, family=family)


def test_what_listens_instead(shared: lxc.Container) -> None:
    with listening(shared, "127.0.0.1", 8081), listening(shared, "::1", 79):
        text = reason(lambda: shared.wait_for_port(80, 0.1))
        assert text == (
            "after 0.1 seconds nothing listens on port 80: listening are 79, 8081"
        )
        text = reason(lambda: shared.wait_for_port(79, 0, family="inet"))
        assert text.endswith("on port 79 over IPv4: listening are 79, 8081")
    assert reason(lambda: shared.wait_for_port(80, 1)).startswith("after 1 second n")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port(shared: lxc.Container, port: int) -> None:
    with pytest.raises(ValueError, match="no port"):
        shared.wait_for_port(port)
    with pytest.raises(TypeError):
        shared.wait_for_port("80")  # type: ignore[arg-type]


def test_a_port_is_seen_at_once(shared: lxc.Container, record_property: Record) -> None:
    program = """
    import socket
    late = []
    for _ in range(5):
        reader, writer = os.pipe()
        def listen():
            time.sleep(0.1)
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 8082))
                os.write(writer, repr(time.monotonic()).encode())
                sock.listen()
                signal.pause()
        pid = c.attach(listen, namespaces=lxc.CLONE_NEWNET)
        c.wait_for_port(8082, 10)
        now = time.monotonic()
        late.append(now - float(os.read(reader, 100)))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while True:
            try:
                c.wait_for_port(8082, 0)
            except lxc.TimedOut:
                break
    report(late)
    """
    late = run(shared, program)
    record_property("a port, seconds late", late)
    assert min(late) < LATE
    assert max(late) < LATE + BUSY


# --- Containers that stop, reboot, freeze or have a monitor that does not answer ------

WAITS: dict[str, str] = {
    "wait_for_ips": "c.wait_for_ips({})",
    "wait_for_port": "c.wait_for_port(80, {})",
    "wait_for_command": 'c.wait_for(["false"], {})',
    "wait_for_call": "c.wait_for(lambda: False, {})",
    "wait_until_booted": "c.wait_until_booted({})",
}
# What waits for the container itself.
OF_CONTAINER = sorted(set(WAITS) - {"wait_for_call", "wait_until_booted"})


def made(name: str, container: lxc.Container, timeout: float) -> Any:
    return eval(WAITS[name].format(timeout), {"c": container})


@pytest.mark.parametrize("name", OF_CONTAINER)
def test_a_container_that_is_stopped_or_not_there(
    stopped: lxc.Container, lxcpath: str, name: str
) -> None:
    for container, kind in (
        (stopped, lxc.NotRunning),
        (lxc.Container("no-such", lxcpath), lxc.NotDefined),
        (lxc.Container("no-such", lxcpath, strict=True), lxc.NotDefined),
    ):
        before = time.monotonic()
        with pytest.raises(kind) as caught:
            made(name, container, 20)
        assert time.monotonic() - before < BUSY
        assert type(caught.value) is kind
    with pytest.raises(lxc.NotRunning):
        stopped.wait_until_booted()
    with pytest.raises(lxc.NotRunning):
        stopped.addresses()


@pytest.mark.parametrize("name", OF_CONTAINER)
def test_a_container_that_stops_meanwhile(make: Make, name: str) -> None:
    container = make(start=True)
    ended = []

    def stop() -> None:
        time.sleep(0.3)
        lxc.Container(container.name, container.get_config_path()).stop()
        ended.append(time.monotonic())

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(lxc.NotRunning, match="it stopped meanwhile"):
        made(name, container, 30)
    now = time.monotonic()
    thread.join()
    assert now - ended[0] < LATE + BUSY


def test_a_container_that_reboots_is_waited_for(make: Make) -> None:
    container = make(start=True)
    results: list[object] = []

    def wait() -> None:
        results.append(container.wait_for_port(8083, 30))

    def wait_for_command() -> None:
        done = container.wait_for(["test", "-e", "/tmp/rebooted"], 30)
        results.append(done.returncode)

    threads = [threading.Thread(target=t) for t in (wait, wait_for_command)]
    for thread in threads:
        thread.start()
    other = lxc.Container(container.name, container.get_config_path())
    for _ in range(2):
        other.reboot2(20)
        time.sleep(0.1)
    assert results == []
    assert other.run(["touch", "/tmp/rebooted"]).returncode == 0
    with listening(other, "127.0.0.1", 8083):
        for thread in threads:
            thread.join(20)
    assert sorted(results, key=str) == [0, None]


@pytest.mark.parametrize("name", ["wait_for_ips", "wait_for_port", "wait_for_command"])
def test_a_frozen_container(running: lxc.Container, name: str) -> None:
    assert running.freeze()
    before = time.monotonic()
    assert reason(lambda: made(name, running, 0.3)).endswith("(it is frozen)")
    assert time.monotonic() - before < 0.3 + BUSY
    assert list(running.addresses()) == ["lo"]


@pytest.mark.parametrize("name", sorted(set(WAITS) - {"wait_for_call"}))
def test_a_monitor_that_does_not_answer(running: lxc.Container, name: str) -> None:
    with paused(monitor_of(running)):
        before = time.monotonic()
        assert "its monitor does not answer" in reason(lambda: made(name, running, 0.2))
        assert time.monotonic() - before < GRACE + BUSY
    # It answers again, and nothing was broken.
    assert running.wait_for(["true"], 20).returncode == 0


def test_a_monitor_that_stops_to_answer_is_not_asked(running: lxc.Container) -> None:
    monitor = monitor_of(running)
    timer = threading.Timer(0.3, os.kill, (monitor, signal.SIGSTOP))
    timer.start()
    try:
        before = time.monotonic()
        reason(lambda: running.wait_for_port(80, 1))
        assert time.monotonic() - before < 1 + GRACE + BUSY
    finally:
        timer.join()
        os.kill(monitor, signal.SIGCONT)


# --- Signals and threads --------------------------------------------------------------

BLOCKED = """
report(True)
try:
    {call}
    report("returned")
except KeyboardInterrupt:
    report(time.monotonic())
"""


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_answers_ctrl_c(
    running: lxc.Container, name: str, record_property: Record
) -> None:
    call = WAITS[name].format(30)
    if name == "wait_until_booted":
        # It has: what is waited for is a boot that does not end.
        running.stop()
        assert running.start(cmd=("/bin/sh", "-c", "exec sleep 99"))
        call = "c.wait_until_booted(30); time.sleep(30)"
    with Program(running, BLOCKED.format(call=call)) as program:
        program.next()
        sent = program.interrupt(after=0.5)
        caught = program.next(10)
        program.finish(10)
    assert caught != "returned"
    record_property(name, caught - sent)
    assert caught - sent < AT_ONCE + BUSY / 2


def test_ctrl_c_while_a_monitor_does_not_answer(running: lxc.Container) -> None:
    with (
        paused(monitor_of(running)),
        Program(running, BLOCKED.format(call="c.wait_for_ips(30)")) as program,
    ):
        program.next()
        sent = program.interrupt(after=0.5)
        caught = program.next(10)
        program.finish(10)
    assert caught - sent < AT_ONCE + BUSY / 2


@pytest.mark.parametrize("name", sorted(set(WAITS) - {"wait_until_booted"}))
def test_a_wait_lets_others_run(shared: lxc.Container, name: str) -> None:
    with Ticker() as ticker, pytest.raises(lxc.TimedOut):
        made(name, shared, 0.3)
    assert ticker.longest < 0.1 + BUSY


def test_waits_leave_nothing(shared: lxc.Container) -> None:
    for name in WAITS:
        with contextlib.suppress(lxc.TimedOut):
            made(name, shared, 0)
    threads = threading.active_count()
    before = descriptors(), children()
    for name in WAITS:
        with contextlib.suppress(lxc.TimedOut):
            made(name, shared, 0.05)
    shared.addresses()
    assert (descriptors(), children()) == before
    assert threading.active_count() == threads


# --- Whatever -------------------------------------------------------------------------


def test_a_condition_is_waited_for(shared: lxc.Container) -> None:
    values = iter([0, "", [], "yes"])
    assert shared.wait_for(lambda: next(values), interval=0) == "yes"
    assert shared.wait_for(["sh", "-c", "exit 0"]).args == ["sh", "-c", "exit 0"]
    assert shared.wait_for("true").returncode == 0
    with pytest.raises(ZeroDivisionError):
        shared.wait_for(lambda: 1 / 0)
    with pytest.raises(FileNotFoundError):
        shared.wait_for(["no-such-program"])
    with pytest.raises(ValueError, match="interval"):
        shared.wait_for("true", interval=-1)


def test_how_a_condition_went_last(shared: lxc.Container) -> None:
    script = ["sh", "-c", "echo something; echo no luck >&2; exit 3"]
    assert reason(lambda: shared.wait_for(script, 0.1)) == (
        f"after 0.1 seconds {script!r} has not succeeded: "
        "its exit status is 3 (no luck)"
    )
    text = reason(lambda: shared.wait_for(["sh", "-c", "kill -9 $$"], 0))
    assert text.endswith("signal 9 ended it")
    assert "returns ''" in reason(lambda: shared.wait_for(str, 0))
    before = time.monotonic()
    assert reason(lambda: shared.wait_for(["sleep", "60"], 0.5)).endswith("not ended")
    assert time.monotonic() - before < GRACE + 2 * BUSY


def test_a_callable_may_wait_for_the_end(running: lxc.Container) -> None:
    threading.Timer(0.2, running.stop).start()
    assert running.wait_for(lambda: not running.running, 20)


def test_a_condition_is_looked_at_every_interval(shared: lxc.Container) -> None:
    times: list[float] = []
    with pytest.raises(lxc.TimedOut):
        shared.wait_for(lambda: times.append(time.monotonic()), 0.5, interval=0.1)
    assert 4 <= len(times) <= 7
    assert times[-1] - times[0] >= 0.5 - LATE


# --- shutdown(kill=) ------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
def test_a_shutdown_that_kills(stopped: lxc.Container, strict: bool) -> None:
    container = lxc.Container(stopped.name, stopped.get_config_path(), strict=strict)
    deaf = 'trap "" TERM INT PWR USR1 USR2; while :; do sleep 1; done'
    assert container.start(cmd=("/bin/sh", "-c", deaf))
    if strict:
        with pytest.raises(lxc.TimedOut):
            container.shutdown(0.3)
    else:
        assert not container.shutdown(0.3)
    before = time.monotonic()
    assert container.shutdown(0.3, kill=True)
    assert 0.3 <= time.monotonic() - before < 5
    assert container.state == "STOPPED"
    assert container.shutdown(0, kill=True)
    assert container.start(cmd=("/bin/sh", "-c", deaf))
    assert container.shutdown(0, kill=True)
    assert container.state == "STOPPED"


def test_a_shutdown_kills_with_no_method_of_a_subclass(stopped: lxc.Container) -> None:
    class Own(lxc.Container):
        def stop(self) -> bool:
            raise AssertionError("it is this program's own")

    container = Own(stopped.name, stopped.get_config_path())
    assert container.start(cmd=("/bin/sleep", "60"))
    assert container.shutdown(0.1, kill=True)


# --- Boots ----------------------------------------------------------------------------

ROOTS = "/var/cache/python3-lxc-tests"
needs_mmdebstrap = pytest.mark.skipif(
    shutil.which("mmdebstrap") is None, reason="needs mmdebstrap: install it"
)


def make_root(*packages: str) -> Path:
    """A directory with the files of Debian packages, kept for the next time."""
    done = subprocess.run(
        [Path(TESTS, "make_root"), ROOTS, *packages],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


@pytest.fixture
def make_booting(
    lxcpath: str, new_name: Callable[[], str]
) -> Iterator[Callable[..., lxc.Container]]:
    """Make containers of such a root; files is what else is in there."""
    made = []

    def make(root: Path, files: dict[str, str], **config: str) -> lxc.Container:
        container = lxc.Container(new_name(), lxcpath)
        made.append(container)
        place = Path(lxcpath, container.name, "rootfs")
        container.load_config("/usr/share/lxc/config/common.conf")
        for key, value in {
            "rootfs.path": f"dir:{place}",
            "uts.name": container.name,
            "net.0.type": "empty",
            "apparmor.profile": "unconfined",
            **{k.replace("_", "."): v for k, v in config.items()},
        }.items():
            assert container.set_config_item(f"lxc.{key}", value), key
        assert container.save_config()
        subprocess.run(["cp", "-a", root, place], check=True)
        for name, text in files.items():
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
        return container

    yield make
    for container in made:
        destroy(container)


SLOW_UNIT = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c "while ! [ -e /go ]; do sleep 0.1; done; {}"
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.systemd
@needs_mmdebstrap
@pytest.mark.parametrize(
    ("then", "state"), [("true", "running"), ("false", "degraded")]
)
def test_systemd_has_booted(
    make_booting: Callable[..., lxc.Container],
    then: str,
    state: str,
    record_property: Record,
) -> None:
    container = make_booting(
        make_root("systemd-sysv"),
        {"etc/systemd/system/slow.service": SLOW_UNIT.format(then)},
        signal_halt="SIGRTMIN+3",
        init_cmd="/usr/bin/env --block-signal=RTMIN+3 /sbin/init",
    )
    wants = Path(
        container.get_config_path(),
        container.name,
        "rootfs/etc/systemd/system/multi-user.target.wants",
    )
    wants.mkdir(exist_ok=True)
    (wants / "slow.service").symlink_to("/etc/systemd/system/slow.service")
    assert container.start()
    container.wait_for(
        lambda: "slow.service" in reason(lambda: container.wait_until_booted(0.5)), 60
    )
    text = reason(lambda: container.wait_until_booted(0))
    assert text.startswith("after 0 seconds systemd is 'starting': it is starting slow")
    (wants.parents[3] / "go").touch()
    assert container.wait_until_booted() == state
    now = time.monotonic()
    booted = container.run(
        ["systemctl", "show", "--value", "--property=FinishTimestampMonotonic"],
        capture_output=True,
        text=True,
    )
    late = now - int(booted.stdout) / 1e6
    record_property("systemd, seconds late", late)
    assert late < LATE + BUSY
    assert container.shutdown(30, kill=True)


@pytest.mark.systemd
@needs_mmdebstrap
@pytest.mark.parametrize("kind", ["sysvinit", "openrc"])
def test_what_reads_inittab_has_booted(
    make_booting: Callable[..., lxc.Container], kind: str
) -> None:
    inittab = {
        "sysvinit": (
            "id:2:initdefault:\n"
            "si::sysinit:/etc/init.d/early\n"
            "l2:2:wait:/bin/sh -c 'while ! [ -e /go ]; do sleep 0.1; done'\n"
            "1:2345:respawn:/bin/sleep 1000\n"
        ),
        "openrc": (
            "id:2:initdefault:\n"
            "si::sysinit:/sbin/openrc sysinit\n"
            "bo::bootwait:/sbin/openrc boot\n"
            "l2:2:wait:/sbin/openrc default\n"
            "1:2345:respawn:/bin/sleep 1000\n"
        ),
    }
    wait = "while ! [ -e /go ]; do sleep 0.1; done; touch /done"
    container = make_booting(
        make_root("sysvinit-core", "openrc", "mount"),
        {
            "etc/inittab": inittab[kind],
            "etc/init.d/early": "#!/bin/sh\nsleep 0.3\nsleep 1000 &\n",
            "etc/init.d/slow": f"#!/sbin/openrc-run\nstart() {{ {wait}; }}\n",
        },
    )
    root = Path(container.get_config_path(), container.name, "rootfs")
    (root / "etc/runlevels/default/slow").symlink_to("/etc/init.d/slow")
    assert container.start()
    assert container.wait_for(
        lambda: (
            ("go ]" if kind == "sysvinit" else "/sbin/openrc default")
            in reason(lambda: container.wait_until_booted(0.3))
        ),
        30,
    )
    (root / "go").touch()
    assert container.wait_until_booted(30) == "running"
    if kind == "openrc":
        assert (root / "done").exists()


def test_busybox_has_booted(make: Make) -> None:
    container = make()
    root = Path(container.get_config_path(), container.name, "rootfs")
    script = root / "etc/init.d/rcS"
    script.write_text(
        "#!/bin/sh\nwhile ! [ -e /go ]; do sleep 0.1; done\nsyslogd\nsleep 0.3\n"
        "touch /done\n"
    )
    script.chmod(0o755)
    assert container.start()
    assert "rcS" in reason(lambda: container.wait_until_booted(0.5))
    (root / "go").touch()
    assert container.wait_until_booted(20) == "running"
    assert (root / "done").exists()


def test_what_is_no_init_has_booted(stopped: lxc.Container) -> None:
    assert stopped.start(cmd=("/bin/sleep", "60"))
    assert stopped.wait_until_booted(10) == "running"
    assert reason(lambda: stopped.wait_until_booted(0)).endswith("its init is 'sleep'")


def test_a_boot_that_ends_is_said(stopped: lxc.Container) -> None:
    assert stopped.start(cmd=("/bin/sh", "-c", "sleep 0.2"))
    with pytest.raises(lxc.NotRunning):
        stopped.wait_until_booted(20)
    assert wait_until(lambda: stopped.state == "STOPPED")
