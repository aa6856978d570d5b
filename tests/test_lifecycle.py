# SPDX-License-Identifier: LGPL-2.1-or-later
"""From create() to destroy(), on real containers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import create_bare, create_busybox, destroy, start_and_settle

import lxc

Make = Callable[..., lxc.Container]
NewName = Callable[[], str]

QUIET = lxc.LXC_CREATE_QUIET

pytestmark = pytest.mark.containers


class Subclass(lxc.Container):
    """A container whose constructor has other arguments, as programs write them."""

    def __init__(self, path: str, name: str, colour: str) -> None:
        super().__init__(name, path)
        self.colour = colour


def executable(path: Path, script: str) -> str:
    """Write a shell script."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> bool:
    """Whether a condition came true within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.smoke
def test_a_container_lives_from_create_to_destroy(
    own_path: str, new_name: NewName
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert not container.defined
    assert container.create("busybox", QUIET)
    assert container.defined
    assert container.set_config_item("lxc.net", "") is True
    assert container.set_config_item("lxc.net.0.type", "empty") is True
    assert container.start()
    assert container.wait("RUNNING", 10)
    assert container.init_pid > 1
    assert container.attach_wait(lxc.attach_run_command, ["/bin/true"]) == 0
    name = container.name
    assert container.attach_wait(lambda: 0 if socket.gethostname() == name else 1) == 0
    assert container.stop()
    assert container.state == "STOPPED"
    assert container.destroy()
    assert not container.defined
    assert os.listdir(own_path) == []


# --- create ---------------------------------------------------------------------------


@pytest.fixture
def template(tmp_path: Path) -> str:
    """A template that writes its arguments into a file and makes no root."""
    return executable(tmp_path / "template", f'printf "%s\\n" "$@" > {tmp_path}/args')


@pytest.mark.parametrize(
    "args",
    [
        {"release": "sid", "size": 5},
        ["--release", "sid", "--size", "5"],
        ("--release", "sid", "--size", "5"),
    ],
    ids=["dict", "list", "tuple"],
)
def test_template_arguments_are_a_dict_a_list_or_a_tuple(
    args: Any, own_path: str, new_name: NewName, template: str, tmp_path: Path
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.create(template, QUIET, args) is True
    given = (tmp_path / "args").read_text().splitlines()
    assert given[-4:] == ["--release", "sid", "--size", "5"]
    assert f"--name={container.name}" in given


@pytest.mark.parametrize("args", [(), [], {}, None], ids=repr)
def test_a_template_may_have_no_arguments(
    args: Any, own_path: str, new_name: NewName, template: str, tmp_path: Path
) -> None:
    assert lxc.Container(new_name(), own_path).create(template, args=args)
    given = (tmp_path / "args").read_text().splitlines()
    assert all(re.match("--(path|name|rootfs)=", argument) for argument in given)


@pytest.mark.parametrize(("flags", "shown"), [(0, True), (QUIET, False), (None, True)])
def test_the_output_of_a_template_is_shown_unless_quiet(
    flags: Any,
    shown: bool,
    own_path: str,
    new_name: NewName,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    noisy = executable(tmp_path / "noisy", "echo template was here")
    assert lxc.Container(new_name(), own_path).create(noisy, flags)
    assert ("template was here" in capfd.readouterr().out) is shown


def test_create_takes_a_backing_store(
    own_path: str, new_name: NewName, template: str
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.create(template, QUIET, (), "dir", 0)
    path = container.get_config_item("lxc.rootfs.path")
    assert path.endswith(f"{own_path}/{container.name}/rootfs")


def test_create_without_a_template_writes_the_configuration(
    own_path: str, new_name: NewName
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.create() is True
    assert container.defined
    assert Path(container.config_file_name).exists()


def test_create_saves_the_configuration_first(
    own_path: str, new_name: NewName, template: str
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.set_config_item("lxc.environment", "A=1")
    assert container.create(template, QUIET)
    again = lxc.Container(container.name, own_path)
    assert again.get_config_item("lxc.environment") == ["A=1"]


def test_the_same_object_can_create_again_after_destroy(
    own_path: str, new_name: NewName
) -> None:
    container = create_busybox(new_name(), own_path)
    assert container.destroy() is True
    assert not container.defined
    with pytest.raises(KeyError):
        container.get_config_item("lxc.uts.name")
    assert container.create("busybox", QUIET) is True
    assert container.defined
    assert container.get_config_item("lxc.uts.name") == container.name


FAILURES = {
    "missing": "/nowhere/template",
    "unknown": "none-such",
    "failing": "exit 1",
    "half-made": 'mkdir -p "${3#--rootfs=}/etc"; exit 1',
}


@pytest.fixture(params=FAILURES)
def failing(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A template that does not work."""
    what = FAILURES[request.param]
    if request.param in ("failing", "half-made"):
        return executable(tmp_path / "failing", what)
    return what


def test_a_failed_create_is_false_and_leaves_nothing(
    failing: str, own_path: str, new_name: NewName
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.create(failing, QUIET) is False
    assert container.last_error.operation == "create"
    assert not container.defined
    assert os.listdir(own_path) == []


def test_the_same_object_can_create_again_after_a_failure(
    failing: str, own_path: str, new_name: NewName, template: str
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.set_config_item("lxc.environment", "A=1")
    assert not container.create(failing, QUIET)
    assert container.create(template, QUIET) is True
    assert container.defined


def test_a_failed_create_leaves_what_was_defined_before(
    failing: str, own_path: str, new_name: NewName
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.set_config_item("lxc.environment", "A=1")
    assert container.save_config()
    before = Path(container.config_file_name).read_text()
    assert container.create(failing, QUIET) is False
    assert container.defined
    assert Path(container.config_file_name).read_text() == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"template": 5},
        {"template": "busybox", "flags": "quiet"},
        {"template": "busybox", "args": 5},
        {"template": "busybox", "args": (5,)},
        {"template": "busybox", "args": ["--a", None]},
        {"template": "busybox", "bdevtype": 5},
        {"template": "busybox", "fssize": b"2G"},
        {"template": "busybox", "none_such": 1},
    ],
    ids=str,
)
def test_arguments_of_the_wrong_type_write_nothing(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    container = lxc.Container("c", str(tmp_path))
    with pytest.raises(TypeError):
        container.create(**arguments)
    assert not container.defined
    assert not list(tmp_path.iterdir())


# --- destroy --------------------------------------------------------------------------


def test_destroy_removes_everything(own_path: str, new_name: NewName) -> None:
    container = create_busybox(new_name(), own_path)
    assert container.destroy() is True
    assert not container.defined
    assert os.listdir(own_path) == []


def test_destroying_a_running_container_is_false(shared: lxc.Container) -> None:
    assert shared.destroy() is False
    assert shared.defined
    assert shared.running
    assert shared.last_error.operation == "destroy"
    assert shared.get_config_item("lxc.uts.name") == shared.name


def test_destroying_a_container_that_clones_build_on_is_false(
    own_path: str, new_name: NewName
) -> None:
    container = create_bare(new_name(), own_path)
    clone = container.clone(new_name(), flags=lxc.LXC_CLONE_SNAPSHOT)
    assert clone
    assert container.destroy() is False
    assert clone.destroy() is True
    assert container.destroy() is True


# --- clone and rename -----------------------------------------------------------------


def test_a_clone_is_a_container_on_the_same_lxcpath(
    own_path: str, new_name: NewName
) -> None:
    container = create_bare(new_name(), own_path)
    Path(own_path, container.name, "rootfs", "kept").touch()
    name = new_name()
    clone = container.clone(name)
    assert type(clone) is lxc.Container
    assert (clone.name, clone.get_config_path()) == (name, own_path)
    assert clone.defined
    assert clone.get_config_item("lxc.uts.name") == name
    assert Path(own_path, name, "rootfs", "kept").exists()
    assert container.defined


def test_a_clone_goes_to_another_lxcpath(
    own_path: str, new_name: NewName, tmp_path: Path
) -> None:
    container = create_bare(new_name(), own_path)
    clone = container.clone(new_name(), config_path=str(tmp_path))
    assert clone.get_config_path() == str(tmp_path)
    assert clone.defined


def test_a_clone_of_a_subclass_is_a_plain_container(
    own_path: str, new_name: NewName
) -> None:
    bare = create_bare(new_name(), own_path)
    container = Subclass(own_path, bare.name, "red")
    assert type(container.clone(new_name())) is lxc.Container


def test_an_overlay_clone_starts(own_path: str, new_name: NewName) -> None:
    container = create_busybox(new_name(), own_path)
    clone = container.clone(
        new_name(), flags=lxc.LXC_CLONE_SNAPSHOT, bdevtype="overlayfs"
    )
    assert "/overlay/" in clone.get_config_item("lxc.rootfs.path")
    start_and_settle(clone)
    assert clone.running


@pytest.mark.parametrize(
    ("flags", "kept"), [(0, False), (lxc.LXC_CLONE_KEEPMACADDR, True)]
)
def test_a_clone_has_addresses_of_its_own_unless_they_are_kept(
    flags: int, kept: bool, own_path: str, new_name: NewName
) -> None:
    address = "00:16:3e:00:00:fe"
    container = create_bare(new_name(), own_path)
    container.network.add("veth")
    container.network[0].hwaddr = address
    assert container.save_config()
    clone = container.clone(new_name(), flags=flags)
    assert (clone.network[0].hwaddr == address) is kept


@pytest.mark.parametrize("kind", [list, tuple])
def test_the_hooks_of_a_clone_get_their_arguments(
    kind: Any, own_path: str, new_name: NewName, tmp_path: Path
) -> None:
    container = create_bare(new_name(), own_path)
    hook = executable(tmp_path / "hook", f'printf "%s\\n" "$@" > {tmp_path}/args')
    assert container.set_config_item("lxc.hook.clone", hook)
    assert container.save_config()
    assert container.clone(new_name(), hookargs=kind(["one", "two"]))
    assert (tmp_path / "args").read_text().splitlines()[-2:] == ["one", "two"]


@pytest.mark.parametrize("hookargs", ["text", {"a": 1}, 5, {"a"}], ids=repr)
def test_hook_arguments_that_are_no_list_are_a_value_error(
    hookargs: Any, tmp_path: Path
) -> None:
    container = create_bare("c", str(tmp_path))
    with pytest.raises(ValueError, match="hookargs"):
        container.clone("d", hookargs=hookargs)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_clone_with_unsaved_configuration_works(
    own_path: str, new_name: NewName
) -> None:
    container = create_bare(new_name(), own_path)
    assert container.set_config_item("lxc.environment", "A=1")
    assert container.clone(new_name())


def test_a_clone_after_clear_config_works_or_raises(
    own_path: str, new_name: NewName
) -> None:
    """With python3-lxc this is the end of the process."""
    container = create_bare(new_name(), own_path)
    container.clear_config()
    try:
        clone = container.clone(new_name())
    except (RuntimeError, lxc.LXCError):
        clone = None
    assert clone is None or clone is False or clone.defined


def test_a_running_container_is_not_cloned(
    shared: lxc.Container, new_name: NewName
) -> None:
    name = new_name()
    assert shared.clone(name) is False
    assert shared.last_error.operation == "clone"
    assert not Path(shared.get_config_path(), name).exists()


def test_a_clone_over_another_container_is_false(tmp_path: Path) -> None:
    container, _ = (create_bare(name, str(tmp_path)) for name in ("c", "d"))
    other = tmp_path / "d" / "precious"
    other.touch()
    assert container.clone("d") is False
    assert other.exists()


def test_a_clone_with_an_unknown_backing_store_leaves_nothing(
    own_path: str, new_name: NewName
) -> None:
    container = create_bare(new_name(), own_path)
    assert container.clone(new_name(), bdevtype="none-such") is False
    assert os.listdir(own_path) == [container.name]


def test_a_renamed_container_is_on_the_same_lxcpath(
    own_path: str, new_name: NewName
) -> None:
    container = create_bare(new_name(), own_path)
    Path(own_path, container.name, "rootfs", "kept").touch()
    name = new_name()
    renamed = container.rename(name)
    assert type(renamed) is lxc.Container
    assert (renamed.name, renamed.get_config_path()) == (name, own_path)
    assert renamed.defined
    assert os.listdir(own_path) == [name]
    assert Path(own_path, name, "rootfs", "kept").exists()


def test_the_renamed_container_of_a_subclass_is_a_plain_one(
    own_path: str, new_name: NewName
) -> None:
    bare = create_bare(new_name(), own_path)
    container = Subclass(own_path, bare.name, "red")
    assert type(container.rename(new_name())) is lxc.Container


def test_a_running_container_is_not_renamed(
    shared: lxc.Container, new_name: NewName
) -> None:
    assert shared.rename(new_name()) is False
    assert shared.last_error.operation == "rename"
    assert shared.defined


# --- Snapshots ------------------------------------------------------------------------


@pytest.fixture
def snapped(own_path: str, new_name: NewName) -> lxc.Container:
    """A container with one snapshot, snap0."""
    container = create_bare(new_name(), own_path)
    Path(own_path, container.name, "rootfs", "kept").touch()
    assert container.snapshot() == "snap0"
    return container


def test_a_snapshot_has_a_number(snapped: lxc.Container) -> None:
    assert snapped.snapshot() == "snap1"


def test_the_list_of_snapshots_has_name_comment_time_and_path(
    snapped: lxc.Container,
) -> None:
    ((name, comment_path, timestamp, lxcpath),) = snapped.snapshot_list()
    directory = f"{snapped.get_config_path()}/{snapped.name}/snaps"
    assert (name, lxcpath) == ("snap0", directory)
    assert comment_path == f"{directory}/snap0/comment"
    assert re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", timestamp)


def test_a_container_without_snapshots_has_an_empty_tuple(tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert container.create()
    assert container.snapshot_list() == ()


def test_a_snapshot_without_a_timestamp_is_listed(snapped: lxc.Container) -> None:
    """With python3-lxc this is the end of the process."""
    Path(snapped.snapshot_list()[0][3], "snap0", "ts").unlink()
    ((name, _, timestamp, _),) = snapped.snapshot_list()
    assert name == "snap0"
    assert not timestamp


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_snapshot_has_a_comment(
    kind: Callable[[str], Any], own_path: str, new_name: NewName, tmp_path: Path
) -> None:
    comment = tmp_path / os.fsdecode(b"comment-\xff")
    comment.write_text("why")
    container = create_bare(new_name(), own_path)
    assert container.snapshot(kind(str(comment))) == "snap0"
    assert Path(container.snapshot_list()[0][1]).read_text() == "why"


def test_a_snapshot_of_a_running_container_is_false(shared: lxc.Container) -> None:
    assert shared.snapshot() is False
    assert shared.last_error.operation == "snapshot"
    assert shared.snapshot_list() == ()


def test_a_snapshot_is_restored_to_a_new_name(
    snapped: lxc.Container, new_name: NewName
) -> None:
    name = new_name()
    assert snapped.snapshot_restore("snap0", name) is True
    restored = lxc.Container(name, snapped.get_config_path())
    assert restored.defined
    assert snapped.defined


@pytest.mark.parametrize("arguments", [(), (None,)], ids=["left out", "None"])
def test_a_snapshot_is_restored_in_place(
    snapped: lxc.Container, arguments: tuple[None, ...]
) -> None:
    lost = Path(snapped.get_config_path(), snapped.name, "rootfs", "kept")
    lost.unlink()
    assert snapped.snapshot_restore("snap0", *arguments) is True
    assert lost.exists()
    assert snapped.defined


def test_restoring_an_unknown_snapshot_is_false(
    snapped: lxc.Container, new_name: NewName
) -> None:
    name = new_name()
    assert snapped.snapshot_restore("snap7", name) is False
    assert snapped.defined
    assert not Path(snapped.get_config_path(), name).exists()


def test_restoring_an_unknown_snapshot_in_place_keeps_the_container(
    snapped: lxc.Container,
) -> None:
    assert snapped.snapshot_restore("snap7") is False
    assert snapped.defined
    assert Path(snapped.get_config_path(), snapped.name, "rootfs", "kept").exists()


def test_a_destroyed_snapshot_is_gone(snapped: lxc.Container) -> None:
    assert snapped.snapshot_destroy("snap0") is True
    assert snapped.snapshot_list() == ()


def test_destroying_an_unknown_snapshot_is_false(snapped: lxc.Container) -> None:
    assert snapped.snapshot_destroy("snap7") is False
    assert snapped.last_error.operation == "snapshot_destroy"
    assert len(snapped.snapshot_list()) == 1


def test_a_container_with_snapshots_is_neither_destroyed_nor_renamed(
    snapped: lxc.Container, new_name: NewName
) -> None:
    assert snapped.destroy() is False
    assert snapped.rename(new_name()) is False
    assert snapped.defined
    assert len(snapped.snapshot_list()) == 1


# --- States ---------------------------------------------------------------------------


def test_the_states_of_a_running_container(shared: lxc.Container) -> None:
    assert (shared.state, shared.running, shared.controllable) == (
        "RUNNING",
        True,
        True,
    )
    assert Path(f"/proc/{shared.init_pid}").exists()


def test_the_states_of_a_stopped_container(stopped: lxc.Container) -> None:
    assert (stopped.state, stopped.running, stopped.defined) == ("STOPPED", False, True)
    assert stopped.init_pid == -1


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("freeze", False),
        ("reboot", False),
        ("shutdown", True),
        ("stop", True),
        ("unfreeze", True),
    ],
)
def test_what_a_stopped_container_answers(
    method: str, expected: bool, stopped: lxc.Container
) -> None:
    assert getattr(stopped, method)() is expected


def test_starting_a_running_container_is_false(shared: lxc.Container) -> None:
    assert shared.start() is False
    assert shared.running
    error = shared.last_error
    assert isinstance(error, lxc.LXCError)
    assert (error.operation, error.container) == ("start", shared.name)
    assert "running" in error.reason


def test_a_container_without_failures_has_no_last_error(lxcpath: str) -> None:
    container = lxc.Container("none-such", lxcpath)
    assert container.last_error is None
    assert container.state == "STOPPED"
    assert container.last_error is None


def test_a_start_without_a_root_is_false_and_says_so(tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert container.create()
    assert container.set_config_item("lxc.rootfs.path", "/nowhere/rootfs")
    assert container.start() is False
    assert container.last_error.operation == "start"
    assert container.last_error.reason
    assert container.state == "STOPPED"


def test_stop_ends_the_container(running: lxc.Container) -> None:
    assert running.stop() is True
    assert running.state == "STOPPED"


def test_shutdown_waits_until_the_container_has_stopped(running: lxc.Container) -> None:
    assert running.shutdown(30) is True
    assert running.state == "STOPPED"


def test_a_shutdown_that_takes_too_long_is_false(make: Make) -> None:
    # Nobody in there answers this signal.
    container = make(start=True, config={"lxc.signal.halt": "SIGWINCH"})
    began = time.monotonic()
    assert container.shutdown(1) is False
    assert 0.9 < time.monotonic() - began < 5
    assert container.running


def test_a_shutdown_without_time_returns_at_once(make: Make) -> None:
    container = make(start=True, config={"lxc.signal.halt": "SIGWINCH"})
    began = time.monotonic()
    container.shutdown(0)
    assert time.monotonic() - began < 1
    assert container.running


def test_reboot_gives_the_container_a_new_init(running: lxc.Container) -> None:
    before = running.init_pid
    assert running.reboot() is True
    assert wait_until(lambda: running.init_pid not in (before, -1), 20)
    assert running.wait("RUNNING", 10)


def test_a_frozen_container_can_be_thawed(running: lxc.Container) -> None:
    assert running.freeze() is True
    assert running.state == "FROZEN"
    assert running.running
    assert running.unfreeze() is True
    assert running.state == "RUNNING"


# --- wait -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", ["RUNNING", "running", "Running", "STOPPED|RUNNING", "frozen|running"]
)
def test_wait_knows_the_state_the_container_is_in(
    state: str, shared: lxc.Container
) -> None:
    assert shared.wait(state, 5) is True
    assert shared.wait(state) is True


@pytest.mark.parametrize("state", ["FREEZE", "none", "", "FREEZE|none"])
@pytest.mark.parametrize("timeout", [0, -1, 5])
def test_an_impossible_state_is_false_at_once(
    state: str, timeout: int, shared: lxc.Container
) -> None:
    began = time.monotonic()
    assert shared.wait(state, timeout) is False
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("state", ["STOPPED", "FROZEN"])
def test_wait_without_time_returns_at_once(state: str, shared: lxc.Container) -> None:
    """liblxc's own waits for ever."""
    began = time.monotonic()
    assert shared.wait(state, 0) is False
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("state", ["RUNNING", "FROZEN"])
def test_wait_for_a_stopped_container_ends_in_time(state: str, tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert container.create()
    began = time.monotonic()
    assert container.wait(state, 1) is False
    assert 0.9 < time.monotonic() - began < 5


@pytest.mark.parametrize("timeout", [-1, 10, None])
def test_wait_sees_the_container_stop(timeout: Any, running: lxc.Container) -> None:
    other = lxc.Container(running.name, running.get_config_path())
    timer = threading.Timer(0.2, other.stop)
    timer.start()
    assert running.wait("STOPPED", timeout) is True
    timer.join()


def test_wait_sees_the_container_start(stopped: lxc.Container) -> None:
    other = lxc.Container(stopped.name, stopped.get_config_path())
    timer = threading.Timer(0.2, other.start)
    timer.start()
    assert stopped.wait("RUNNING", 10) is True
    timer.join()


# --- cgroups --------------------------------------------------------------------------


@pytest.fixture
def limit(shared: lxc.Container) -> Iterator[str]:
    """A limit that the container's cgroup has and that means nothing to a test."""
    for key in ("pids.max", "hugetlb.2MB.max"):
        try:
            before = shared.get_cgroup_item(key)
        except KeyError:
            continue
        yield key
        shared.set_cgroup_item(key, before)
        return
    pytest.fail("this machine gives containers neither pids nor hugetlb limits")


def test_a_cgroup_item_is_what_was_set(shared: lxc.Container, limit: str) -> None:
    value = "4000" if limit == "pids.max" else str(8 << 21)
    assert shared.set_cgroup_item(limit, value) is True
    assert shared.get_cgroup_item(limit) == value


def test_a_value_that_the_kernel_refuses_is_false(
    shared: lxc.Container, limit: str
) -> None:
    before = shared.get_cgroup_item(limit)
    assert shared.set_cgroup_item(limit, "many") is False
    assert shared.last_error.operation == "set_cgroup_item"
    assert shared.get_cgroup_item(limit) == before


def test_an_unknown_cgroup_item_is_a_key_error(shared: lxc.Container) -> None:
    with pytest.raises(KeyError, match=r"pids\.none"):
        shared.get_cgroup_item("pids.none")
    assert shared.set_cgroup_item("pids.none", "1") is False


def test_a_stopped_container_has_no_cgroup_items(stopped: lxc.Container) -> None:
    with pytest.raises(KeyError):
        stopped.get_cgroup_item("pids.max")
    assert stopped.set_cgroup_item("pids.max", "5") is False


# --- Devices --------------------------------------------------------------------------


# With a container of its own: on cgroup2 alone liblxc denies one without rules every
# other device from its first new one on, /dev/null too.


@pytest.fixture
def device(running: lxc.Container) -> str:
    """A device of the host that the container does not have."""
    for path in ("/dev/loop-control", "/dev/fuse", "/dev/net/tun", "/dev/kmsg"):
        if os.path.exists(path) and not inside(running, path).exists():
            return path
    pytest.fail("this machine has no device that a container has not")


def inside(container: lxc.Container, path: str) -> Path:
    """A path in the container, as the host sees it."""
    return Path(f"/proc/{container.init_pid}/root{path}")


def test_a_device_is_added_and_removed(running: lxc.Container, device: str) -> None:
    assert running.add_device_node(device) is True
    try:
        assert inside(running, device).is_char_device()
        assert inside(running, device).stat().st_rdev == os.stat(device).st_rdev
    finally:
        assert running.remove_device_node(device) is True
    assert not inside(running, device).exists()


def test_other_devices_stay_where_all_are_allowed(
    make: Callable[..., lxc.Container], device: str
) -> None:
    container = make(config={"lxc.cgroup2.devices.allow": "a"}, start=True)
    read = ["sh", "-c", ": </dev/null"]
    assert container.attach_wait(lxc.attach_run_command, read) == 0
    assert container.add_device_node(device) is True
    assert container.attach_wait(lxc.attach_run_command, read) == 0
    assert container.remove_device_node(device) is True
    assert container.attach_wait(lxc.attach_run_command, read) == 0


def test_a_device_can_be_named_twice_or_once(
    running: lxc.Container, device: str
) -> None:
    assert running.add_device_node(src_path=device, dest_path=device) is True
    assert running.remove_device_node(device, None) is True
    assert not inside(running, device).exists()


@pytest.mark.parametrize("path", ["/dev/none-such", "", "relative"])
def test_what_is_no_device_is_not_added(path: str, shared: lxc.Container) -> None:
    assert shared.add_device_node(path) is False
    assert shared.last_error.operation == "add_device_node"


def test_a_stopped_container_takes_no_devices(stopped: lxc.Container) -> None:
    assert stopped.add_device_node("/dev/null") is False
    assert stopped.remove_device_node("/dev/null") is False


# --- Interfaces and addresses ---------------------------------------------------------


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def there(interface: str) -> bool:
    return os.path.exists(f"/sys/class/net/{interface}")


@pytest.fixture
def nic() -> Iterator[str]:
    """An interface of the host that can be given away."""
    name, peer = f"t{os.getpid()}a", f"t{os.getpid()}b"
    ip("link", "add", name, "type", "veth", "peer", "name", peer)
    yield name
    # Either end takes the other with it, wherever that is.
    ip("link", "del", peer)


def test_a_device_of_the_network_is_added(shared: lxc.Container, nic: str) -> None:
    assert shared.add_device_net(nic) is True
    assert nic in shared.get_interfaces()
    assert not there(nic)


def test_a_device_of_the_network_can_get_another_name(
    shared: lxc.Container, nic: str
) -> None:
    assert shared.add_device_net(nic, "other0") is True
    assert "other0" in shared.get_interfaces()


def test_an_interface_is_not_added_when_ip_fails(
    shared: lxc.Container, nic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(tmp_path / "ip", "exit 2")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert shared.add_device_net(nic) is False
    assert there(nic)


@pytest.fixture
def wireless(nic: str, tmp_path: Path) -> Iterator[str]:
    """An interface that looks like a wireless one, whose phy is moved by a fake iw."""
    directory = os.path.realpath(f"/sys/class/net/{nic}")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    os.mkdir(f"{directory}/phy80211")
    Path(directory, "phy80211", "name").write_text("phy7\n")
    executable(
        tmp_path / "iw",
        f'test "$1 $2 $3 $4" = "phy phy7 set netns" && ip link set {nic} netns "$5"',
    )
    yield nic
    # It went away with the interface, if that went into the container.
    subprocess.run(["umount", directory], check=False, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("name", [None, "wlan7"])
def test_a_wireless_interface_is_added_with_iw(
    name: str | None,
    shared: lxc.Container,
    wireless: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert shared.add_device_net(wireless, name) is True
    assert (name or wireless) in shared.get_interfaces()


def test_a_wireless_interface_is_renamed_with_the_capabilities_of_the_host(
    make: Callable[..., lxc.Container],
    wireless: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    container = make(config={"lxc.cap.drop": "net_admin"}, start=True)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert container.add_device_net(wireless, "wlan8") is True
    assert "wlan8" in container.get_interfaces()


def test_a_wireless_interface_is_renamed_with_the_devices_of_the_host(
    running: lxc.Container,
    device: str,
    wireless: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On cgroup2 the container has no /dev/null from then on.
    assert running.add_device_node(device) is True
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert running.add_device_net(wireless, "wlan9") is True
    assert "wlan9" in running.get_interfaces()


def test_a_wireless_interface_is_not_added_when_iw_fails(
    shared: lxc.Container,
    wireless: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executable(tmp_path / "iw", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert shared.add_device_net(wireless) is False
    assert there(wireless)


def test_what_is_no_interface_is_not_added(shared: lxc.Container) -> None:
    for name in ("none-such", "../lo", ""):
        assert shared.add_device_net(name) is False
    assert shared.get_interfaces() == ("lo",)


def test_a_stopped_container_takes_no_interface(
    stopped: lxc.Container, nic: str
) -> None:
    assert stopped.add_device_net(nic) is False
    assert stopped.attach_interface(nic) is False
    assert stopped.detach_interface("lo") is False
    assert there(nic)


def test_an_interface_goes_in_and_comes_back(shared: lxc.Container, nic: str) -> None:
    assert shared.attach_interface(nic, "inside0") is True
    assert "inside0" in shared.get_interfaces()
    assert not there(nic)
    assert shared.detach_interface("inside0") is True
    assert there("inside0")
    assert "inside0" not in shared.get_interfaces()


def test_an_interface_keeps_its_name_unless_told(
    shared: lxc.Container, nic: str
) -> None:
    assert shared.attach_interface(src_ifname=nic, dst_ifname=None) is True
    assert nic in shared.get_interfaces()


def test_unknown_interfaces_are_false(shared: lxc.Container) -> None:
    assert shared.attach_interface("none-such") is False
    assert shared.last_error.operation == "attach_interface"
    assert shared.detach_interface("none-such") is False
    assert shared.last_error.operation == "detach_interface"


def test_the_interfaces_are_a_tuple(shared: lxc.Container) -> None:
    assert shared.get_interfaces() == ("lo",)


def test_a_stopped_container_has_no_interfaces_and_addresses(
    stopped: lxc.Container,
) -> None:
    assert stopped.get_interfaces() == ()
    assert stopped.get_ips() == ()


ADDRESS, ADDRESS6 = "192.0.2.7", "2001:db8::7"


@pytest.fixture(scope="module")
def addressed(lxcpath: str) -> Iterator[lxc.Container]:
    """A running container with an address of each family, on no bridge."""
    container = create_busybox(f"t{os.getpid()}-addressed", lxcpath)
    for key, value in {
        "type": "veth",
        "flags": "up",
        "hwaddr": "00:16:3e:00:01:07",
        "ipv4.address": f"{ADDRESS}/24",
        "ipv6.address": f"{ADDRESS6}/64",
    }.items():
        assert container.set_config_item(f"lxc.net.0.{key}", value)
    assert container.save_config()
    # Its DHCP client would take the addresses away again.
    Path(lxcpath, container.name, "rootfs", "bin", "udhcpc").unlink()
    start_and_settle(container)
    yield container
    destroy(container)


def test_the_addresses_are_a_tuple(addressed: lxc.Container) -> None:
    found = addressed.get_ips(timeout=10)
    assert isinstance(found, tuple)
    assert {ADDRESS, ADDRESS6} <= set(found)


def test_the_interfaces_of_a_networked_container(addressed: lxc.Container) -> None:
    assert set(addressed.get_interfaces()) == {"lo", "eth0"}


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("inet", {ADDRESS}),
        ("inet6", {ADDRESS6}),
        (socket.AF_INET, {ADDRESS}),
        (socket.AF_INET6, {ADDRESS6}),
        (int(socket.AF_INET6), {ADDRESS6}),
        (None, {ADDRESS, ADDRESS6}),
    ],
)
def test_addresses_of_a_family(
    family: Any, expected: set[str], addressed: lxc.Container
) -> None:
    assert set(addressed.get_ips(interface="eth0", family=family, scope=0)) == expected


@pytest.mark.parametrize("family", ["", "ipv4", "INET", "inet4", 0, 99, -1])
def test_an_unknown_family_is_a_value_error(
    family: Any, shared: lxc.Container, tmp_path: Path
) -> None:
    for container in (shared, lxc.Container("c", str(tmp_path))):
        with pytest.raises(ValueError, match="family"):
            container.get_ips(family=family, timeout=5)


@pytest.mark.parametrize("interface", ["none-such", "eth1"])
def test_an_unknown_interface_has_no_addresses(
    interface: str, addressed: lxc.Container
) -> None:
    assert addressed.get_ips(interface) == ()


def test_defaults_of_get_ips_can_be_given_as_none(addressed: lxc.Container) -> None:
    assert ADDRESS in addressed.get_ips(None, None, None, None)


def test_get_ips_returns_at_once_when_there_is_an_address(
    addressed: lxc.Container,
) -> None:
    """python3-lxc sleeps a second after it has found one."""
    began = time.monotonic()
    assert addressed.get_ips(timeout=30)
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("timeout", [0.3, 1])
def test_get_ips_is_empty_after_the_timeout(
    timeout: float, shared: lxc.Container
) -> None:
    began = time.monotonic()
    assert shared.get_ips(timeout=timeout) == ()
    assert timeout - 0.05 <= time.monotonic() - began < timeout + 0.5


@pytest.mark.parametrize(("variable", "most"), [("0", 0.5), ("1", 2)])
def test_the_environment_overrides_the_timeout_of_get_ips(
    variable: str,
    most: float,
    shared: lxc.Container,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LXC_GETIP_TIMEOUT", variable)
    began = time.monotonic()
    assert shared.get_ips(timeout=20) == ()
    assert float(variable) - 0.05 <= time.monotonic() - began < most


def test_get_ips_returns_soon_after_the_address_is_there(
    running: lxc.Container, nic: str
) -> None:
    assert running.attach_interface(nic, "eth0")
    times: list[float] = []

    def add_address() -> None:
        inside = ["nsenter", "-t", str(running.init_pid), "-n", "ip"]
        subprocess.run([*inside, "link", "set", "eth0", "up"], check=True)
        address = ["addr", "add", f"{ADDRESS}/24", "dev", "eth0"]
        subprocess.run([*inside, *address], check=True)
        times.append(time.monotonic())

    timer = threading.Timer(0.5, add_address)
    timer.start()
    found = running.get_ips(family="inet", timeout=20)
    ended = time.monotonic()
    timer.join()
    assert found == (ADDRESS,)
    assert ended - times[0] < 0.25


# --- None for optional arguments ------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "arguments", "expected"),
    [
        ("wait", ("STOPPED", None), True),
        ("shutdown", (None,), True),
        ("load_config", (None,), True),
        ("save_config", (None,), True),
        ("get_ips", (None, None, None, None), ()),
        ("console", (None, None, None, None, None), False),
        ("console_getfd", (None,), False),
        ("add_device_node", ("/dev/null", None), False),
        ("remove_device_node", ("/dev/null", None), False),
        ("attach_interface", ("none-such", None), False),
        ("add_device_net", ("none-such", None), False),
        ("create", (None, None, None, None, None), True),
        ("snapshot_restore", ("snap7", None), False),
    ],
)
def test_none_means_the_default(
    method: str, arguments: tuple[Any, ...], expected: Any, tmp_path: Path
) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert container.create()
    assert getattr(container, method)(*arguments) == expected


def test_none_means_the_default_of_clone(tmp_path: Path) -> None:
    container = create_bare("c", str(tmp_path))
    assert container.clone("d", None, None, None, None, None, None).defined


def test_none_means_the_default_of_start(stopped: lxc.Container) -> None:
    assert stopped.start(None, None, None, None) is True
    assert stopped.running


def test_none_means_the_default_of_snapshot(own_path: str, new_name: NewName) -> None:
    assert create_bare(new_name(), own_path).snapshot(None) == "snap0"


@pytest.mark.parametrize("daemonize", [1, "yes", True])
def test_daemonize_is_a_truth_value(daemonize: Any, stopped: lxc.Container) -> None:
    """python3-lxc takes 1 for False and keeps the caller until the container ends."""
    assert stopped.start(daemonize=daemonize) is True
    assert stopped.running
