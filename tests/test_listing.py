# SPDX-License-Identifier: LGPL-2.1-or-later
"""list_containers(): a picture of a moment."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import create_busybox, destroy, remove_cgroups, start_and_settle
from support import liblxc_list

import lxc
from lxc import _lxc


def define(path: Path, *names: str) -> None:
    """Define containers by hand, with a configuration that has nothing in it."""
    for name in names:
        (path / name).mkdir()
        (path / name / "config").touch()


@pytest.fixture
def other(lxcpath: str, new_name: Callable[[], str]) -> Iterator[str]:
    """The name of a defined container beside the running one."""
    name = new_name()
    define(Path(lxcpath), name)
    yield name
    shutil.rmtree(Path(lxcpath) / name)


def test_the_list_is_a_tuple_of_names(tmp_path: Path) -> None:
    define(tmp_path, "a", "b")
    assert sorted(lxc.list_containers(config_path=str(tmp_path))) == ["a", "b"]
    assert isinstance(lxc.list_containers(config_path=str(tmp_path)), tuple)


def test_the_list_of_the_default_lxcpath_is_a_tuple() -> None:
    assert isinstance(lxc.list_containers(), tuple)
    assert isinstance(lxc.list_containers(config_path=None), tuple)


@pytest.mark.parametrize("path", ["missing", "file", "missing/below"])
def test_a_path_that_is_no_directory_has_no_containers(
    path: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert lxc.list_containers(config_path=str(tmp_path / path)) == ()


def test_what_is_no_container_is_not_listed(tmp_path: Path) -> None:
    define(tmp_path, "a", ".hidden")
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    assert lxc.list_containers(config_path=str(tmp_path)) == ("a",)


@pytest.mark.parametrize("as_path", [str, Path, os.fsencode])
def test_the_path_is_anything_that_names_one(as_path: Any, tmp_path: Path) -> None:
    define(tmp_path, "a")
    assert lxc.list_containers(config_path=as_path(str(tmp_path))) == ("a",)


def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    define(tmp_path, "\udcff", "ü")
    assert set(lxc.list_containers(config_path=str(tmp_path))) == {"\udcff", "ü"}


# Both arguments are truth values: python3-lxc takes 1 for False.  None is the default.
@pytest.mark.parametrize("active", [True, 1, "yes", None, False, 0, ""])
@pytest.mark.parametrize("defined", [True, 1, None, False, 0])
def test_active_and_defined_are_truth_values(
    active: Any, defined: Any, shared: lxc.Container, lxcpath: str, other: str
) -> None:
    names = lxc.list_containers(active=active, defined=defined, config_path=lxcpath)
    wants_active = active is None or bool(active)
    wants_defined = defined is None or bool(defined)
    assert names.count(shared.name) == (wants_active or wants_defined)
    assert names.count(other) == wants_defined


def test_the_arguments_go_by_position_too(
    shared: lxc.Container, lxcpath: str, other: str
) -> None:
    found = lxc.list_containers(False, True, True, lxcpath)
    assert {shared.name, other} <= {container.name for container in found}


def test_a_running_container_without_configuration_is_active(
    running: lxc.Container, lxcpath: str
) -> None:
    config = Path(running.config_file_name)
    text = config.read_text()
    config.unlink()
    try:
        listed = lxc.list_containers(config_path=lxcpath)
        defined = lxc.list_containers(active=False, config_path=lxcpath)
    finally:
        config.write_text(text)
    assert running.name in listed
    assert running.name not in defined


# --- As liblxc itself -----------------------------------------------------------------

CALLS = {
    (True, True): "list_all_containers",
    (False, True): "list_defined_containers",
    (True, False): "list_active_containers",
}


def both(path: bytes, active: bool, defined: bool) -> tuple[Any, Any]:
    """What the raw layer and what liblxc lists; None for an error."""
    expected = liblxc_list(CALLS[active, defined], path)
    try:
        found = list(_lxc.list_containers(active, defined, path))
    except ValueError:
        return None, expected
    return found, expected


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[bytes]:
    """A directory full of what may be a container, and what may not."""
    top = os.fsencode(tmp_path)

    def entry(name: bytes) -> bytes:
        os.mkdir(top + b"/" + name)
        return top + b"/" + name + b"/config"

    names = (
        *(b"a", b"B", b"10", b"9", b"sp ace", b"new\nline", b"~", b"-x", b"..a"),
        *(b".hidden", b"x" * 255, "ü".encode(), b"\xff\xfe", b"a.b", b"a-b", b"ab"),
    )
    for name in names:
        Path(os.fsdecode(entry(name))).touch()
    Path(os.fsdecode(entry(b"broken"))).write_text("lxc.none = 1\n")
    Path(os.fsdecode(entry(b"unreadable"))).touch(0)
    Path(os.fsdecode(entry(b"closed"))).touch()
    os.chmod(top + b"/closed", 0)
    entry(b"none")
    os.mkdir(entry(b"directory"))
    os.mkfifo(entry(b"fifo"))
    os.symlink(b"/nowhere", entry(b"dangling"))
    os.symlink(b"config", entry(b"loop"))
    os.symlink(top + b"/a/config", entry(b"link"))
    os.symlink(top + b"/a", top + b"/linked")
    os.symlink(b"/nowhere", top + b"/lost")
    os.symlink(b".", top + b"/self")
    Path(os.fsdecode(top + b"/file")).touch()
    Path(os.fsdecode(top + b"/config")).touch()
    yield top
    os.chmod(top + b"/closed", 0o700)


@pytest.fixture
def sockets(odd: bytes) -> Iterator[set[str]]:
    """What makes liblxc take containers for running: sockets with certain names."""
    names = (b"a", b"B", b"only-running", b".hidden", b"\xff\xfe", b"zz", b"sp-ace")
    with contextlib.ExitStack() as stack:
        for name in (*names, b"zz/below", b"deep/er"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(b"\0" + odd + b"/" + name + b"/command")
            listener.listen()
        other = stack.enter_context(socket.socket(socket.AF_UNIX))
        other.bind(b"\0" + odd + b"-other/elsewhere/command")
        other.listen()
        yield set(map(os.fsdecode, names))


@pytest.mark.parametrize(("active", "defined"), CALLS)
def test_the_list_is_liblxcs(
    active: bool, defined: bool, odd: bytes, sockets: set[str]
) -> None:
    found, expected = both(odd, active, defined)
    assert found == expected
    assert len(found) == len(set(found))
    assert {"10", "broken", "directory", "fifo", "link", "linked", "self"} <= set(
        found
    ) or not defined
    assert sockets <= set(found) or not active
    assert "none" not in found
    assert "dangling" not in found
    assert active or ".hidden" not in found


@pytest.mark.parametrize(("active", "defined"), CALLS)
def test_the_list_as_another_user_is_liblxcs(
    active: bool, defined: bool, odd: bytes, sockets: set[str]
) -> None:
    """Where a directory may not be searched, nothing in it counts."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for directory in (odd, *map(os.fsencode, Path(os.fsdecode(odd)).parents)):
        mode = os.stat(directory).st_mode & 0o7777
        if directory.startswith(b"/tmp/") and not mode & 1:
            os.chmod(directory, mode | 0o755)
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            found, expected = both(odd, active, defined)
            closed = "closed" in (found or ())
            os.write(writer, b"same" if found == expected and not closed else b"no")
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == b"same"
    os.waitpid(pid, 0)


@pytest.mark.parametrize("path", ["missing", "file", "missing/below", "empty"])
@pytest.mark.parametrize(("active", "defined"), CALLS)
def test_the_errors_are_liblxcs(
    path: str, active: bool, defined: bool, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    found, expected = both(os.fsencode(tmp_path / path), active, defined)
    assert found == expected


def test_the_list_of_the_default_lxcpath_is_liblxcs() -> None:
    path = os.fsencode(lxc.default_config_path)
    assert list(lxc.list_containers()) == (liblxc_list(CALLS[True, True], path) or [])


@pytest.mark.parametrize(("active", "defined"), CALLS)
def test_running_containers_are_listed_as_liblxc_lists_them(
    active: bool, defined: bool, shared: lxc.Container, lxcpath: str, other: str
) -> None:
    found, expected = both(os.fsencode(lxcpath), active, defined)
    assert found == expected
    assert (shared.name in found, other in found) == (True, defined)


def test_thousands_are_listed_in_order(tmp_path: Path) -> None:
    define(tmp_path, *(f"c{n * 7919 % 3001}" for n in range(3001)))
    names = lxc.list_containers(config_path=tmp_path)
    assert list(names) == sorted(f"c{n}" for n in range(3001))
    objects = lxc.list_containers(as_object=True, config_path=tmp_path)
    assert [container.name for container in objects] == list(names)


# --- Objects --------------------------------------------------------------------------


@pytest.mark.parametrize("as_object", [True, 1, "yes"])
def test_objects_are_containers_of_that_path(as_object: Any, tmp_path: Path) -> None:
    define(tmp_path, "a", "b")
    found = lxc.list_containers(as_object=as_object, config_path=str(tmp_path))
    assert isinstance(found, tuple)
    assert {type(container) for container in found} == {lxc.Container}
    assert sorted(container.name for container in found) == ["a", "b"]
    assert {container.get_config_path() for container in found} == {str(tmp_path)}
    assert all(container.defined for container in found)


def test_objects_have_only_names_that_a_container_can_have(odd: bytes) -> None:
    names = lxc.list_containers(config_path=odd)
    found = lxc.list_containers(as_object=True, config_path=odd)
    assert [x.name for x in found] == [
        n for n in names if "\n" not in n and len(n) < 200
    ]
    assert [x.get_config_path() for x in found if x.name == "a"] == [os.fsdecode(odd)]


def test_objects_of_a_list_are_opened_when_they_are_used(tmp_path: Path) -> None:
    define(tmp_path, "a")
    (listed,) = lxc.list_containers(as_object=True, config_path=tmp_path)
    (tmp_path / "a" / "config").write_text("lxc.uts.name = later\n")
    assert listed.get_config_item("lxc.uts.name") == "later"
    with pytest.raises(RuntimeError, match="already"):
        listed.__init__("a", str(tmp_path))  # type: ignore[misc]


@pytest.mark.parametrize("as_object", [False, 0, None])
def test_without_as_object_there_are_names(as_object: Any, tmp_path: Path) -> None:
    define(tmp_path, "a")
    assert lxc.list_containers(as_object=as_object, config_path=str(tmp_path)) == ("a",)


def test_a_broken_configuration_does_not_break_the_list(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    define(tmp_path, "a", "broken", "c")
    (tmp_path / "broken" / "config").write_text("lxc.none = 1\n")
    found = lxc.list_containers(as_object=True, config_path=str(tmp_path))
    assert sorted(container.name for container in found) == ["a", "broken", "c"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "ask",
    [
        lambda container: container.get_config_item("lxc.uts.name"),
        lambda container: container.start(),
        lambda container: container.state,
    ],
    ids=["get_config_item", "start", "state"],
)
def test_asking_a_broken_container_raises_and_names_it(
    ask: Any, tmp_path: Path
) -> None:
    define(tmp_path, "broken-one")
    (tmp_path / "broken-one" / "config").write_text("lxc.none = 1\n")
    (broken,) = lxc.list_containers(as_object=True, config_path=str(tmp_path))
    with pytest.raises((RuntimeError, lxc.LXCError), match="broken-one"):
        ask(broken)


def test_a_container_that_vanished_is_undefined(tmp_path: Path) -> None:
    define(tmp_path, "a")
    (gone,) = lxc.list_containers(as_object=True, config_path=str(tmp_path))
    shutil.rmtree(tmp_path / "a")
    assert gone.name == "a"
    assert gone.defined is False
    assert gone.start() is False


def test_containers_that_come_and_go_do_not_break_the_list(tmp_path: Path) -> None:
    define(tmp_path, "constant")
    stop = threading.Event()

    def come_and_go() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            name = f"passing-{number % 8}"
            define(tmp_path, name)
            shutil.rmtree(tmp_path / name)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            found = lxc.list_containers(as_object=True, config_path=str(tmp_path))
            assert "constant" in [container.name for container in found]
            for container in found:
                try:
                    assert container.state == "STOPPED"
                except RuntimeError:
                    # It went while liblxc read its configuration.
                    assert container.name != "constant"
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("path", [5, ["/tmp"], 1.5])
def test_a_path_of_another_type_is_a_type_error(path: Any) -> None:
    with pytest.raises(TypeError):
        lxc.list_containers(config_path=path)


def test_a_path_with_a_nul_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="null"):
        lxc.list_containers(config_path="/tmp/nul\0byte")


# --- Names with a space ---------------------------------------------------------------


@pytest.mark.containers
def test_a_running_container_with_a_space_in_its_name(
    own_path: str, new_name: Callable[[], str]
) -> None:
    # In the list of sockets liblxc takes the last word of a line for its name.
    path = f"{own_path}/my containers"
    os.mkdir(path)
    plain = create_busybox(new_name(), own_path)
    for place, name in ((own_path, f"{plain.name} a"), (path, new_name())):
        # Templates are scripts that need not like spaces: the root stays where it is.
        os.mkdir(f"{place}/{name}")
        shutil.copy(plain.config_file_name, f"{place}/{name}/config")
        container = lxc.Container(name, place)
        start_and_settle(container)
        try:
            with socket.socket(socket.AF_UNIX) as other:
                # A connection's socket has the same name.
                other.connect(f"\0{place}/{name}/command")
                for defined in (False, True):
                    found = lxc.list_containers(defined=defined, config_path=place)
                    assert found.count(name) == 1
            assert lxc.list_containers(defined=False, config_path=place) == (name,)
            (listed,) = lxc.list_containers(
                defined=False, as_object=True, config_path=place
            )
            assert listed.running
        finally:
            container.stop()
            remove_cgroups(name)
            shutil.rmtree(f"{place}/{name}")
        assert lxc.list_containers(defined=False, config_path=place) == ()
    destroy(plain)


# --- Containers that are destroyed at this moment -------------------------------------


def disk_lock(path: str, name: str) -> int:
    """liblxc's lock of a container, which whoever destroys it holds."""
    file = Path(f"/run/lxc/lock/{path}/.{name}")
    file.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    whole_file = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(number, fcntl.F_OFD_SETLK, whole_file)
    return number


@pytest.mark.skipif(os.geteuid() != 0, reason="the lock is where root has it")
def test_what_is_destroyed_at_this_moment_is_undefined(
    own_path: str, new_name: Callable[[], str], capfd: pytest.CaptureFixture[str]
) -> None:
    name = new_name()
    define(Path(own_path), name)
    looks: list[Callable[[lxc.Container], Any]] = [
        lambda c: (c.state, c.running, c.init_pid),
        lambda c: (c.defined, c.state),
        lambda c: lxc.Container(name, own_path).state,
    ]
    listed = lxc.list_containers(as_object=True, config_path=own_path)[0]
    found: list[Any] = [None] * len(looks)

    def look(n: int) -> None:
        try:
            (fresh,) = lists[n]
            found[n] = looks[n](fresh)
        except Exception as error:
            found[n] = error

    lists = [lxc.list_containers(as_object=True, config_path=own_path) for _ in looks]
    destroyer = disk_lock(own_path, name)
    threads = [threading.Thread(target=look, args=(n,)) for n in range(len(looks))]
    try:
        for thread in threads:
            thread.start()
        threads[0].join(0.2)
        assert found == [None] * len(looks)  # they wait
        shutil.rmtree(Path(own_path, name))
    finally:
        os.close(destroyer)
        for thread in threads:
            thread.join()
    assert found == [("STOPPED", False, -1), (False, "STOPPED"), "STOPPED"]
    assert listed.state == "STOPPED"
    assert capfd.readouterr().err == ""


@pytest.mark.containers
def test_looks_while_containers_are_made_and_destroyed(
    own_path: str, new_name: Callable[[], str]
) -> None:
    name, done = new_name(), threading.Event()

    def make_and_destroy() -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(done.set)
            for _ in range(20):
                define(Path(own_path), name)
                os.mkdir(f"{own_path}/{name}/rootfs")
                assert lxc.Container(name, own_path).destroy()

    thread = threading.Thread(target=make_and_destroy)
    thread.start()
    while not done.is_set():
        for container in lxc.list_containers(as_object=True, config_path=own_path):
            assert (container.state, container.running) == ("STOPPED", False)
    thread.join()
