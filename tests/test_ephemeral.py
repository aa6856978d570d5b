# SPDX-License-Identifier: LGPL-2.1-or-later
"""lxc.ephemeral(): nothing stays, whatever happens."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from support import Program, descriptors, run, wait_until

import lxc

pytestmark = pytest.mark.containers


def left(path: str) -> list[str]:
    """What there is of containers in an lxcpath, on disk or running."""
    found = set(os.listdir(path))
    found |= set(lxc.list_containers(defined=False, config_path=path))
    return sorted(found)


@pytest.fixture
def base(stopped: lxc.Container) -> lxc.Container:
    assert stopped.set_config_item("lxc.net.0.type", "empty")
    assert stopped.save_config()
    return stopped


def test_a_new_container(own_path: str) -> None:
    before = 0
    for _ in range(2):
        # What is kept for the next time is there after the first.
        before, first = descriptors(), before
        with lxc.ephemeral(
            network="empty",
            wait="booted",
            config_path=own_path,
            config={"lxc.uts.name": "temp", "lxc.environment": ["A=1", "B=2"]},
        ) as container:
            done = container.run(["hostname"], capture_output=True, text=True)
            assert done.stdout == "temp\n"
            assert container.get_config_item("lxc.environment") == ["A=1", "B=2"]
            assert container.get_interfaces() == ("lo",)
            assert not container.strict
            assert left(own_path) == [container.name]
        assert left(own_path) == []
        assert not container.running
    assert first
    assert descriptors() == before


def test_a_layer_over_a_container(base: lxc.Container, own_path: str) -> None:
    for each in (base, base.name):
        with lxc.ephemeral(
            each,
            name="layer",
            config_path=own_path if each is base else base.get_config_path(),
        ) as container:
            assert container.run(["touch", "/here"]).returncode == 0
            assert container.name == "layer"
        assert not container.defined
    root = Path(base.get_config_path(), base.name, "rootfs")
    assert not (root / "here").exists()
    assert base.defined
    assert left(own_path) == []


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_after_an_exception(
    base: lxc.Container, own_path: str, error: type[BaseException]
) -> None:
    def use() -> None:
        with lxc.ephemeral(base, config_path=own_path) as container:
            assert container.freeze()
            raise error

    with pytest.raises(error):
        use()
    assert left(own_path) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"config": {"lxc.init.cmd": "/no/such"}}, lxc.LXCError),
        ({"config": {"lxc.net.0.type": "nonsense"}}, lxc.LXCError),
        ({"config": {"lxc.no.such": "1"}}, KeyError),
        ({"base": None, "template": "no-such"}, lxc.LXCError),
        ({"base": "no-such"}, lxc.NotDefined),
        ({"wait": "nonsense"}, ValueError),
        ({"args": ["a"]}, ValueError),
        ({"name": "../x"}, ValueError),
    ],
)
def test_what_fails_leaves_nothing(
    base: lxc.Container, own_path: str, options: dict[str, Any], error: Any
) -> None:
    arguments = {"base": base, "config_path": own_path, **options}
    with pytest.raises(error), lxc.ephemeral(**arguments):
        pass
    assert left(own_path) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_is_there_is_kept(base: lxc.Container) -> None:
    path, name = base.get_config_path(), base.name
    with pytest.raises(lxc.AlreadyExists), lxc.ephemeral(name=name, config_path=path):
        pass
    assert base.defined


PROGRAM = """
path = sys.argv[1]
with lxc.ephemeral(c, config_path=path) as container:
    with lxc.ephemeral(c, config_path=path) as other:
        report([container.name, other.name])
        {body}
"""


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, None)],
)
def test_after_a_signal(
    base: lxc.Container, own_path: str, number: int, status: int | None
) -> None:
    program = PROGRAM.format(body="time.sleep(60)")
    with Program(base, program, own_path) as running:
        names = running.next()
        assert left(own_path) == sorted(names)
        running.process.send_signal(number)
        found = running.process.wait(30)
    assert found == status if status else found != 0
    assert left(own_path) == []


def test_a_second_signal_does_not_keep_it(base: lxc.Container, own_path: str) -> None:
    with Program(base, PROGRAM.format(body="time.sleep(60)"), own_path) as running:
        running.next()
        for _ in range(20):
            running.process.send_signal(signal.SIGINT)
            if wait_until(lambda: running.process.poll() is not None, 0.05):
                break
        running.process.wait(30)
    assert left(own_path) == []


def test_at_the_interpreters_end(base: lxc.Container, own_path: str) -> None:
    program = """
    held = lxc.ephemeral(c, config_path=sys.argv[1])
    report(held.__enter__().name)
    sys.exit(3)
    """
    with Program(base, program, own_path) as running:
        running.next()
        assert running.process.wait(30) == 3
    assert left(own_path) == []


def test_a_forked_child_leaves_it_alone(base: lxc.Container, own_path: str) -> None:
    program = """
    with lxc.ephemeral(c, config_path=sys.argv[1]) as container:
        found = []
        for how in ("exit", "exception", "signal"):
            pid = os.fork()
            if pid == 0:
                if how == "exit":
                    sys.exit(0)
                if how == "exception":
                    sys.stderr = open(os.devnull, "w")
                    raise ZeroDivisionError
                found.append(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTERM)
            found.append([os.waitpid(pid, 0)[1], container.running])
        report(found)
    """
    # The children go through the `with` statement's end, too.
    found = run(base, program, own_path)
    assert found == [[0, True], [1 << 8, True], [signal.SIGTERM, True]]
    assert left(own_path) == []


def test_the_handler_is_put_back(base: lxc.Container, own_path: str) -> None:
    program = """
    path = sys.argv[1]
    found = []
    with lxc.ephemeral(c, config_path=path):
        found.append(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    found.append(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    own = lambda *args: None
    for handler in (own, signal.SIG_IGN):
        signal.signal(signal.SIGTERM, handler)
        with lxc.ephemeral(c, config_path=path):
            found.append(signal.getsignal(signal.SIGTERM) == handler)
        found.append(signal.getsignal(signal.SIGTERM) == handler)
    report(found)
    """
    assert run(base, program, own_path) == [False, True, True, True, True, True]


def test_in_another_thread(base: lxc.Container, own_path: str) -> None:
    found: list[object] = []

    def use() -> None:
        with lxc.ephemeral(base, config_path=own_path) as container:
            found.append(container.run(["true"]).returncode)
            found.append(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [0, True]
    assert left(own_path) == []
