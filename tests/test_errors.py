# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad input and bad luck: a clear exception or the documented False, and no trace."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import inspect
import os
import pickle
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import create_busybox, destroy, run_python, start_and_settle
from support import alike, refused, run

import lxc

_lxc = importlib.import_module("_lxc")

NewName = Callable[[], str]

pytestmark = pytest.mark.containers

# Arguments that each method takes, all of them that it has.
CALLS: dict[str, tuple[Any, ...]] = {
    "addresses": (),
    "add_device_net": ("none-such", "eth0"),
    "add_device_node": ("/dev/null", "/dev/null"),
    "append_config_item": ("lxc.environment", "A=1"),
    "attach": (print, None),
    "attach_interface": ("none-such", "eth0"),
    "attach_wait": (print, None),
    "checkpoint": ("/nowhere", False, False),
    "clear_config": (),
    "clear_config_item": ("lxc.environment",),
    "clone": ("d", None, 0, "dir", "data", 0, ()),
    "console": (1, 0, 1, 2, 1),
    "console_getfd": (1,),
    "console_log": (False, True, 0),
    "create": ("none-such", 0, (), "dir", 0, None),
    "destroy": (),
    "destroy_with_snapshots": (),
    "detach_interface": ("none-such", "eth0"),
    "devpts_fd": (),
    "freeze": (),
    "get_cgroup_item": ("pids.max",),
    "get_config_item": ("lxc.environment",),
    "get_config_path": (),
    "get_interfaces": (),
    "get_ips": ("eth0", "inet", 0, 0),
    "get_keys": ("lxc.net.0",),
    "get_running_config_item": ("lxc.environment",),
    "info": (),
    "init_pidfd": (),
    "load_config": ("/nowhere/config",),
    "migrate": (
        *(lxc.MIGRATE_DUMP, "/nowhere", False, False, None, None, None, False),
        *(None, False, 0, 0),
    ),
    "mount": ("/etc", "/mnt", "none", 4096, ""),
    "reboot": (),
    "reboot2": (0,),
    "remove_device_node": ("/dev/null", "/dev/null"),
    "rename": ("d",),
    "restore": ("/nowhere", False),
    "save_config": ("/nowhere/config",),
    "seccomp_notify_fd": (),
    "seccomp_notify_fd_active": (),
    "set_cgroup_item": ("pids.max", "100"),
    "set_config_item": ("lxc.environment", "A=1"),
    "set_config_path": ("/nowhere",),
    "set_timeout": (5,),
    "shutdown": (0,),
    "snapshot": ("/nowhere/comment",),
    "snapshot_destroy": ("snap0",),
    "snapshot_destroy_all": (),
    "snapshot_list": (),
    "snapshot_restore": ("snap0", "d"),
    "start": (False, True, False, ("/bin/true",)),
    "stats": (),
    "stop": (),
    "umount": ("/mnt", 2),
    "unfreeze": (),
    "wait": ("RUNNING", 0),
    "wait_for": (bool, 0),
    "wait_for_ips": (0,),
    "wait_for_port": (80, 0),
    "wait_until_booted": (0,),
}
RAW_CALLS = {
    **{name: given for name, given in CALLS.items() if hasattr(_lxc.Container, name)},
    "create": ("none-such", 0, "dir", 0, (), *(9 * (None,))),
    "get_ips": ("eth0", "inet", 0),
}
PROPERTIES = (
    "config_file_name",
    "controllable",
    "defined",
    "init_pid",
    "name",
    "running",
    "state",
)


def in_both_layers(calls: Iterable[tuple[str, tuple[Any, ...]]]) -> Any:
    """Run a test with each call, on a public container and on a raw one."""
    known = [
        (layer, name, given)
        for layer in (lxc, _lxc)
        for name, given in calls
        if hasattr(layer.Container, name)
    ]
    ids = [f"{layer.__name__}-{name}{given!s:.60}" for layer, name, given in known]
    return pytest.mark.parametrize(("layer", "name", "given"), known, ids=ids)


EVERY_CALL = [
    *[(lxc, name, given) for name, given in CALLS.items()],
    *[(_lxc, name, given) for name, given in RAW_CALLS.items()],
]
every_call = pytest.mark.parametrize(
    ("layer", "name", "given"),
    EVERY_CALL,
    ids=[f"{layer.__name__}-{name}" for layer, name, _ in EVERY_CALL],
)


def public_methods(container: type) -> set[str]:
    return {
        name
        for name in dir(container)
        if not name.startswith("_") and callable(getattr(container, name))
    }


# They raise what subprocess and asyncio do: see test_process.py.
PROCESSES = {
    "create_subprocess_exec",
    "create_subprocess_shell",
    "popen",
    "run",
    "run_async",
}


@pytest.mark.parametrize(("layer", "calls"), [(lxc, CALLS), (_lxc, RAW_CALLS)])
def test_the_table_has_every_method(layer: Any, calls: dict[str, Any]) -> None:
    assert public_methods(layer.Container) - PROCESSES == set(calls)


@contextlib.contextmanager
def timed(seconds: float) -> Iterator[None]:
    """What takes longer than that hangs."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


# --- Uninitialised --------------------------------------------------------------------


class Forgetful(lxc.Container):
    """A subclass that does not call the constructor of its base."""

    def __init__(self) -> None:
        pass


@every_call
def test_a_container_without_init_raises(layer: Any, name: str, given: Any) -> None:
    container = layer.Container.__new__(layer.Container)
    with pytest.raises(RuntimeError):
        getattr(container, name)(*given)


@pytest.mark.parametrize("name", CALLS)
def test_a_subclass_that_forgets_its_base_raises(name: str) -> None:
    with pytest.raises(RuntimeError):
        getattr(Forgetful(), name)(*CALLS[name])


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("make", [lxc.Container, _lxc.Container, Forgetful])
def test_a_property_without_init_raises(make: Any, name: str) -> None:
    container = make.__new__(make)
    with pytest.raises(RuntimeError):
        getattr(container, name)


def test_the_network_without_init_raises() -> None:
    with pytest.raises((RuntimeError, AttributeError)):
        len(Forgetful().network)


@pytest.mark.parametrize("make", [lxc.Container, _lxc.Container, Forgetful])
def test_a_container_without_init_can_be_shown(make: Any) -> None:
    """A debugger shows an object whose constructor failed, too."""
    assert make.__name__ in repr(make.__new__(make))


@pytest.mark.parametrize("layer", [lxc, _lxc])
def test_a_second_init_is_a_runtime_error(layer: Any, tmp_path: Path) -> None:
    container = layer.Container("c", str(tmp_path))
    with pytest.raises(RuntimeError):
        container.__init__("d", str(tmp_path))
    assert container.name == "c"


@pytest.mark.parametrize("layer", [lxc, _lxc])
def test_a_failed_init_can_be_repeated(layer: Any, tmp_path: Path) -> None:
    container = layer.Container.__new__(layer.Container)
    with pytest.raises(ValueError, match=r"\.\."):
        container.__init__("..", str(tmp_path))
    container.__init__("c", str(tmp_path))
    assert container.name == "c"


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_cannot_be_set(name: str, tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    with pytest.raises(AttributeError):
        setattr(container, name, "x")
    with pytest.raises(AttributeError):
        delattr(container, name)


# --- Arguments ------------------------------------------------------------------------


@every_call
def test_too_many_arguments_are_a_type_error(
    layer: Any, name: str, given: Any, tmp_path: Path
) -> None:
    container = layer.Container("c", str(tmp_path))
    with pytest.raises(TypeError):
        getattr(container, name)(*given, "one more")
    assert not list(tmp_path.iterdir())


@every_call
def test_an_unknown_keyword_is_a_type_error(
    layer: Any, name: str, given: Any, tmp_path: Path
) -> None:
    container = layer.Container("c", str(tmp_path))
    with pytest.raises(TypeError):
        getattr(container, name)(*given, none_such=1)
    assert not list(tmp_path.iterdir())


REQUIRED = {
    "add_device_net": 1,
    "add_device_node": 1,
    "append_config_item": 2,
    "attach": 1,
    "attach_interface": 1,
    "attach_wait": 1,
    "checkpoint": 1,
    "clear_config_item": 1,
    "clone": 1,
    "detach_interface": 1,
    "get_cgroup_item": 1,
    "get_config_item": 1,
    "get_running_config_item": 1,
    "migrate": 1,
    "mount": 2,
    "remove_device_node": 1,
    "rename": 1,
    "restore": 1,
    "set_cgroup_item": 2,
    "set_config_item": 2,
    "set_config_path": 1,
    "snapshot_destroy": 1,
    "snapshot_restore": 1,
    "umount": 1,
    "wait": 1,
}


@in_both_layers([(name, CALLS[name][: most - 1]) for name, most in REQUIRED.items()])
def test_too_few_arguments_are_a_type_error(
    layer: Any, name: str, given: tuple[Any, ...], tmp_path: Path
) -> None:
    container = layer.Container("c", str(tmp_path))
    with pytest.raises(TypeError):
        getattr(container, name)(*given)


# Each argument of each method that has a type, given one of another.
WRONG_TYPES: list[tuple[str, tuple[Any, ...]]] = [
    ("add_device_node", (5,)),
    ("add_device_node", ("/dev/null", 5)),
    ("append_config_item", (5, "A=1")),
    ("append_config_item", ("lxc.environment", 5)),
    ("attach", (5,)),
    ("attach", (None,)),
    ("attach_interface", (5,)),
    ("attach_interface", ("none-such", 5)),
    ("attach_wait", (5,)),
    ("attach_wait", (None,)),
    ("attach_wait", ("/bin/true",)),
    ("checkpoint", (5,)),
    ("checkpoint", (None,)),
    ("clear_config_item", (5,)),
    ("clear_config_item", (None,)),
    ("clone", (5,)),
    ("clone", (None,)),
    ("clone", ("d", 5)),
    ("clone", ("d", None, "flags")),
    ("clone", ("d", None, 0, 5)),
    ("clone", ("d", None, 0, None, 5)),
    ("clone", ("d", None, 0, None, None, "big")),
    ("clone", ("d", None, 0, None, None, 0, (5,))),
    ("console", ("one",)),
    ("console", (1, "in")),
    ("console", (1, 0, "out")),
    ("console", (1, 0, 1, "err")),
    ("console", (1, 0, 1, 2, "a")),
    ("console_getfd", ("one",)),
    ("console_log", (False, True, "all")),
    ("detach_interface", (5,)),
    ("detach_interface", ("none-such", 5)),
    ("get_cgroup_item", (5,)),
    ("get_config_item", (5,)),
    ("get_config_item", (None,)),
    ("get_ips", (5,)),
    ("get_keys", (5,)),
    ("get_running_config_item", (5,)),
    ("load_config", (5,)),
    ("migrate", (lxc.MIGRATE_DUMP, 5)),
    ("migrate", (lxc.MIGRATE_DUMP, "/nowhere", False, False, 5)),
    ("migrate", (lxc.MIGRATE_DUMP, "/nowhere", *(6 * (None,)), 5)),
    ("mount", (5, "/mnt")),
    ("mount", ("/etc", None)),
    ("mount", ("/etc", "/mnt", 5)),
    ("mount", ("/etc", "/mnt", None, "bind")),
    ("mount", ("/etc", "/mnt", None, 0, 5)),
    ("reboot2", ("soon",)),
    ("remove_device_node", (5,)),
    ("remove_device_node", ("/dev/null", 5)),
    ("rename", (5,)),
    ("rename", (None,)),
    ("restore", (5,)),
    ("restore", (None,)),
    ("save_config", (5,)),
    ("set_cgroup_item", (5, "100")),
    ("set_cgroup_item", ("pids.max", 5)),
    ("set_config_item", (5, "A=1")),
    ("set_config_item", ("lxc.environment", 5)),
    ("set_config_path", (5,)),
    ("set_config_path", (None,)),
    ("shutdown", ("soon",)),
    ("snapshot", (5,)),
    ("snapshot_destroy", (5,)),
    ("snapshot_destroy", (None,)),
    ("snapshot_restore", (5,)),
    ("snapshot_restore", ("snap0", 5)),
    ("start", (False, True, False, 5)),
    ("start", (False, True, False, (5,))),
    ("umount", (5,)),
    ("umount", (None,)),
    ("umount", ("/mnt", "detach")),
    ("wait", (5,)),
    ("wait", (None,)),
    ("wait", ("RUNNING", "soon")),
]


@in_both_layers(WRONG_TYPES)
def test_an_argument_of_another_type_is_a_type_error(
    layer: Any, name: str, given: tuple[Any, ...], tmp_path: Path
) -> None:
    container = layer.Container("c", str(tmp_path))
    assert container.set_config_item("lxc.uts.name", "c")
    with pytest.raises(TypeError):
        getattr(container, name)(*given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("attach_flags", "all"),
        ("namespaces", "net"),
        ("personality", "x86"),
        ("initial_cwd", 5),
        ("uid", "root"),
        ("gid", "root"),
        ("env_policy", "keep"),
        ("extra_env_vars", 5),
        ("extra_env_vars", (5,)),
        ("extra_keep_env", 5),
        ("extra_keep_env", (5,)),
        ("groups", 5),
        ("groups", ("root",)),
        ("groups", (1.5,)),
        ("lsm_label", 5),
    ],
)
@pytest.mark.parametrize("name", ["attach", "attach_wait"])
def test_an_option_of_another_type_is_a_type_error(
    name: str, option: str, value: Any, shared: lxc.Container
) -> None:
    lacks = option == "groups" and not lxc.features()["groups"]
    with pytest.raises(NotImplementedError if lacks else TypeError):
        getattr(shared, name)(print, **{option: value})


NULS: list[tuple[str, tuple[Any, ...]]] = [
    ("add_device_node", ("/dev/\0null",)),
    ("add_device_node", ("/dev/null", "/dev/\0null")),
    ("append_config_item", ("lxc.environment\0", "A=1")),
    ("append_config_item", ("lxc.environment", "A=\0")),
    ("attach_interface", ("no\0ne",)),
    ("attach_interface", ("none-such", "et\0h")),
    ("checkpoint", ("/nowhere\0",)),
    ("clear_config_item", ("lxc.environment\0",)),
    ("clone", ("d", "/tmp\0")),
    ("clone", ("d", None, 0, "di\0r")),
    ("clone", ("d", None, 0, None, "da\0ta")),
    ("clone", ("d", None, 0, None, None, 0, ("ar\0g",))),
    ("create", ("none\0such",)),
    ("detach_interface", ("no\0ne",)),
    ("detach_interface", ("none", "et\0h")),
    ("get_cgroup_item", ("pids.max\0",)),
    ("get_config_item", ("lxc.environment\0",)),
    ("get_ips", ("eth\0",)),
    ("get_keys", ("lxc.net\0",)),
    ("get_running_config_item", ("lxc.environment\0",)),
    ("load_config", ("/nowhere\0",)),
    ("migrate", (lxc.MIGRATE_DUMP, "/nowhere\0")),
    ("mount", ("/etc\0", "/mnt")),
    ("mount", ("/etc", "/mnt\0")),
    ("mount", ("/etc", "/mnt", "no\0ne")),
    ("mount", (None, "/mnt", "tmpfs", 0, "size\0")),
    ("remove_device_node", ("/dev/\0null",)),
    ("restore", ("/nowhere\0",)),
    ("save_config", ("/nowhere\0",)),
    ("set_cgroup_item", ("pids.max\0", "100")),
    ("set_cgroup_item", ("pids.max", "10\0")),
    ("set_config_item", ("lxc.environment\0", "A=1")),
    ("set_config_item", ("lxc.environment", "A=\0")),
    ("set_config_path", ("/nowhere\0",)),
    ("snapshot", ("/nowhere\0",)),
    ("start", (False, True, False, ("/bin/\0true",))),
    ("umount", ("/mnt\0",)),
    ("wait", ("RUN\0NING", 0)),
]


@in_both_layers(NULS)
def test_a_nul_in_an_argument_is_a_value_error(
    layer: Any, name: str, given: tuple[Any, ...], tmp_path: Path
) -> None:
    container = layer.Container("c", str(tmp_path))
    assert container.set_config_item("lxc.uts.name", "c")
    with pytest.raises(ValueError, match="null"):
        getattr(container, name)(*given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("args", [("ar\0g",), ["ar\0g"], {"a": "\0"}, {"\0": "a"}])
def test_a_nul_in_a_template_argument_is_a_value_error(
    args: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="null"):
        lxc.Container("c", str(tmp_path)).create("busybox", args=args)
    assert not list(tmp_path.iterdir())


HUGE = "x" * 1_000_000


@pytest.mark.parametrize(
    ("name", "given", "answer"),
    [
        ("append_config_item", (HUGE, "1"), False),
        ("attach_interface", (HUGE,), False),
        ("add_device_net", (HUGE,), False),
        ("add_device_node", ("/" + HUGE,), False),
        ("clear_config_item", (HUGE,), False),
        ("create", (HUGE, lxc.LXC_CREATE_QUIET), False),
        ("detach_interface", (HUGE,), False),
        ("get_ips", (HUGE,), ()),
        ("get_running_config_item", (HUGE,), None),
        ("load_config", ("/" + HUGE,), False),
        ("save_config", ("/" + HUGE,), False),
        ("set_cgroup_item", (HUGE, HUGE), False),
        ("snapshot", ("/" + HUGE,), False),
        ("wait", (HUGE, 0), False),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 99 else None,
)
def test_an_endless_argument_gets_the_documented_answer(
    name: str, given: tuple[Any, ...], answer: Any, tmp_path: Path
) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert container.set_config_item("lxc.uts.name", "c")
    with timed(10):
        assert getattr(container, name)(*given) == answer
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["get_cgroup_item", "get_config_item", "get_keys"])
def test_an_endless_key_is_a_key_error(name: str, tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert container.set_config_item("lxc.uts.name", "c")
    with pytest.raises(KeyError):
        getattr(container, name)(HUGE)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("console", (1 << 70,)),
        ("console_getfd", (1 << 70,)),
        ("clone", ("d", None, 1 << 70)),
        ("create", ("none-such", 1 << 70)),
    ],
)
def test_a_number_beyond_all_bounds_is_refused(
    name: str, given: tuple[Any, ...], tmp_path: Path
) -> None:
    container = lxc.Container("c", str(tmp_path))
    with pytest.raises((OverflowError, ValueError)):
        getattr(container, name)(*given)
    assert not list(tmp_path.iterdir())


# --- Containers that are not there ----------------------------------------------------

# What the methods answer on a container that nobody defined.
UNDEFINED: dict[str, Any] = {
    "add_device_net": False,
    "add_device_node": False,
    "attach": -1,
    "attach_interface": False,
    "attach_wait": -1,
    "clone": False,
    "console": False,
    "console_getfd": False,
    "destroy": False,
    "detach_interface": False,
    "freeze": False,
    "get_interfaces": (),
    "get_ips": (),
    "get_running_config_item": None,
    "reboot": False,
    "rename": False,
    "set_cgroup_item": False,
    "shutdown": True,
    "snapshot": False,
    "snapshot_destroy": False,
    "snapshot_restore": False,
    "start": False,
    "stop": True,
    "wait": False,
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_an_undefined_container_gets_the_documented_answer(
    name: str, tmp_path: Path
) -> None:
    container = lxc.Container("c", str(tmp_path))
    answer = UNDEFINED[name]
    with timed(5):
        assert getattr(container, name)(*CALLS[name]) == answer
    assert not list(tmp_path.iterdir())


# That a state was not reached is no error, so wait() is not among them.
@pytest.mark.parametrize(
    "name", [n for n, a in UNDEFINED.items() if a in (False, -1) and n != "wait"]
)
def test_last_error_names_the_operation_and_gives_a_reason(
    name: str, tmp_path: Path
) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert not getattr(container, name)(*CALLS[name]) > 0
    error = container.last_error
    assert isinstance(error, lxc.LXCError)
    assert (error.operation, error.container) == (name, "c")
    assert error.reason
    assert str(error) == f"{name} of 'c' failed: {error.reason}"


@pytest.mark.parametrize(
    "name", ["attach", "attach_wait", "clone", "rename", "snapshot", "start"]
)
def test_last_error_of_an_undefined_container_says_so(
    name: str, tmp_path: Path
) -> None:
    container = lxc.Container("c", str(tmp_path))
    # A missing comment file would be a reason of its own.
    getattr(container, name)(*(() if name == "snapshot" else CALLS[name]))
    reason = container.last_error.reason
    assert "defined" in reason or "running" in reason


# What each raises there: none of the newer calls returns False.
RAISES = (
    "checkpoint",
    "console_log",
    "destroy_with_snapshots",
    "migrate",
    "mount",
    "reboot2",
    "restore",
    "seccomp_notify_fd_active",
    "snapshot_destroy_all",
    "umount",
)


@pytest.mark.parametrize("name", RAISES)
def test_a_newer_call_raises_what_it_could_not_do(name: str, tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    with timed(5), pytest.raises(lxc.LXCError) as raised:
        getattr(container, name)(*CALLS[name])
    assert str(raised.value) == f"{name} of 'c' failed: it is not defined"
    assert alike(container.last_error, raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*CALLS, *sorted(PROCESSES)])
def test_an_error_keeps_nothing_alive(name: str, tmp_path: Path) -> None:
    """No cycle of error, traceback and container: what is let go is gone at once."""
    container = lxc.Container("c", str(tmp_path), strict=True)
    gone = weakref.ref(container)

    def attempt(container: lxc.Container) -> bool:
        try:
            result = getattr(container, name)(*CALLS.get(name, ("true",)))
            return asyncio.run(attend(result)) if inspect.iscoroutine(result) else False
        except lxc.LXCError:
            return True
        except Exception:
            return False

    # In the loop: an exception that ends one makes a cycle of asyncio's own.
    async def attend(work: Any) -> bool:
        try:
            await work
        except lxc.LXCError:
            return True
        return False

    gc.collect()
    gc.disable()
    try:
        failed = attempt(container)
        if failed:
            assert container.last_error is not None
            assert container.last_error.__traceback__ is None
            with contextlib.suppress(lxc.LXCError):
                raise container.last_error
        del container
        assert gone() is None
    finally:
        gc.enable()


def test_last_error_belongs_to_one_object(tmp_path: Path) -> None:
    one, other = (lxc.Container("c", str(tmp_path)) for _ in range(2))
    assert not one.start()
    assert one.last_error is not None
    assert other.last_error is None


def test_an_error_can_be_raised_and_pickled(tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert not container.start()
    copy = pickle.loads(pickle.dumps(container.last_error))
    assert str(copy) == str(container.last_error)
    assert copy.reason == container.last_error.reason
    with pytest.raises(lxc.LXCError, match="start of 'c' failed"):
        raise container.last_error


# --- A configuration that appeared or vanished ----------------------------------------


@pytest.fixture
def early(own_path: str, new_name: NewName) -> lxc.Container:
    """A handle that is older than its container."""
    handle = lxc.Container(new_name(), own_path)
    assert not handle.defined
    create_busybox(handle.name, own_path)
    assert handle.defined
    return handle


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("clone", ("c-clone",)),
        ("destroy", ()),
        ("get_config_item", ("lxc.uts.name",)),
        ("rename", ("c-new",)),
        ("save_config", ()),
        ("set_config_item", ("lxc.environment", "A=1")),
        ("snapshot", ()),
        ("snapshot_list", ()),
        ("snapshot_restore", ("snap0", "c-restored")),
        ("start", ()),
    ],
)
def test_a_handle_older_than_its_container_works_or_raises(
    name: str, given: tuple[Any, ...], early: lxc.Container
) -> None:
    """With python3-lxc clone and snapshot are the end of the process here."""
    try:
        answer = getattr(early, name)(*given)
    except (KeyError, RuntimeError, lxc.LXCError):
        answer = None
    if name == "get_config_item":
        assert answer in (early.name, None)
    if name == "start":
        assert early.running is bool(answer)
    # What it answered did not turn the container into something else.
    if early.defined:
        text = Path(early.config_file_name).read_text()
        assert "lxc.rootfs.path" in text


def test_a_handle_older_than_its_container_freezes_it(early: lxc.Container) -> None:
    start_and_settle(lxc.Container(early.name, early.get_config_path()))
    assert early.running
    assert early.freeze() is True
    assert early.state == "FROZEN"
    assert early.unfreeze() is True


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"attach", "attach_wait"}))
def test_a_handle_whose_container_vanished_works_or_raises(
    name: str, own_path: str, new_name: NewName
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.create()
    subprocess.run(["rm", "-r", f"{own_path}/{container.name}"], check=True)
    assert not container.defined
    with contextlib.suppress(KeyError, RuntimeError, lxc.LXCError), timed(10):
        answer = getattr(container, name)(*CALLS[name])
        if name in ("clone", "destroy", "rename", "snapshot", "snapshot_restore"):
            assert answer is False
    assert "d" not in os.listdir(own_path)


@pytest.mark.containers
def test_a_container_without_a_root_is_not_renamed(tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert container.set_config_item("lxc.uts.name", "c")
    assert container.save_config()
    assert container.rename("d") is False
    assert os.listdir(tmp_path) == ["c"]


def test_a_handle_whose_container_vanished_does_not_attach(
    own_path: str, new_name: NewName
) -> None:
    container = lxc.Container(new_name(), own_path)
    assert container.create()
    subprocess.run(["rm", "-r", f"{own_path}/{container.name}"], check=True)
    assert container.attach_wait(print) == -1
    assert container.attach(print) == -1


# --- Destroyed in the middle of a call ------------------------------------------------


def end_later(container: lxc.Container, seconds: float = 0.3) -> threading.Timer:
    """Let somebody else destroy a container, by a handle of his own."""

    def end() -> None:
        destroy(lxc.Container(container.name, container.get_config_path()))

    timer = threading.Timer(seconds, end)
    timer.start()
    return timer


@pytest.fixture
def doomed(own_path: str, new_name: NewName) -> lxc.Container:
    """A running container that may go away during the test."""
    container = create_busybox(new_name(), own_path)
    assert container.set_config_item("lxc.signal.halt", "SIGWINCH")
    assert container.save_config()
    start_and_settle(container)
    return container


def reboot_in_vain(container: lxc.Container) -> None:
    assert container.set_config_item("lxc.signal.reboot", "SIGWINCH")
    container.reboot2(30)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda c: c.wait("STOPPED", 30), True),
        (lambda c: c.wait("FROZEN", 2), False),
        (lambda c: c.shutdown(30), True),
        (lambda c: refused(lambda: reboot_in_vain(c)), "it stopped instead"),
        (lambda c: c.get_ips(timeout=2), ()),
        (lambda c: c.attach_wait(lxc.attach_run_command, ["/bin/sleep", "60"]), 9),
        (lambda c: c.attach_wait(time.sleep, 60), 9),
    ],
    ids=[
        *("wait", "wait in vain", "shutdown", "reboot2", "get_ips", "command"),
        "function",
    ],
)
def test_a_call_survives_the_end_of_its_container(
    call: Any, expected: Any, doomed: lxc.Container
) -> None:
    timer = end_later(doomed)
    with timed(15):
        assert call(doomed) == expected
    timer.join()
    assert not doomed.defined
    assert doomed.state == "STOPPED"


def test_a_start_survives_the_loss_of_its_configuration(stopped: lxc.Container) -> None:
    hook = Path(stopped.config_file_name).with_name("hook")
    hook.write_text(f"#!/bin/sh\nrm {stopped.config_file_name}\n")
    hook.chmod(0o755)
    assert stopped.set_config_item("lxc.hook.pre-start", str(hook))
    text = Path(stopped.config_file_name).read_text()
    try:
        assert stopped.start() is True
        assert stopped.running
        assert not stopped.defined
    finally:
        Path(stopped.config_file_name).write_text(text)


def test_a_clone_survives_the_loss_of_the_clone(
    own_path: str, new_name: NewName
) -> None:
    container = create_busybox(new_name(), own_path)
    name = new_name()
    hook = Path(own_path, "hook")
    hook.write_text(f"#!/bin/sh\nrm -r {own_path}/{name}\n")
    hook.chmod(0o755)
    assert container.set_config_item("lxc.hook.clone", str(hook))
    assert container.save_config()
    clone = container.clone(name)
    assert clone is False or not clone.defined
    assert container.defined
    assert sorted(os.listdir(own_path)) == sorted([container.name, "hook"])


def test_a_create_survives_the_loss_of_its_configuration(
    own_path: str, new_name: NewName, tmp_path: Path
) -> None:
    """liblxc follows a null pointer there: this must not end the program."""
    template = tmp_path / "template"
    template.write_text('#!/bin/sh\nrm -f "${1#--path=}/config"\n')
    template.chmod(0o755)
    done = run_python(
        "import sys, lxc\n"
        "c = lxc.Container(sys.argv[1], sys.argv[2])\n"
        "try:\n"
        "    print(c.create(sys.argv[3]))\n"
        "except (RuntimeError, lxc.LXCError):\n"
        "    print(False)\n",
        new_name(),
        own_path,
        str(template),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "False\n"
    assert os.listdir(own_path) == []


@pytest.mark.parametrize("victim", ["rootfs", "config"])
def test_a_destroy_of_half_a_container_removes_the_rest(
    victim: str, own_path: str, new_name: NewName
) -> None:
    container = create_busybox(new_name(), own_path)
    subprocess.run(["rm", "-r", f"{own_path}/{container.name}/{victim}"], check=True)
    answer = container.destroy()
    # Without its configuration it is no container any more.
    assert answer is (victim == "rootfs")


# --- Full disks -----------------------------------------------------------------------


@pytest.fixture
def small(own_path: str) -> Iterator[str]:
    """An lxcpath on a file system of 512 KiB, less than a busybox."""
    path = f"{own_path}/small"
    os.mkdir(path)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "tmpfs", path], check=True
    )
    yield path
    subprocess.run(["umount", "-l", path], check=True)
    os.rmdir(path)


def fill(path: str) -> Path:
    """Leave no room on a file system."""
    filler = Path(path, "filler")
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler


def test_a_create_on_a_full_disk_is_false_and_leaves_nothing(
    small: str, new_name: NewName
) -> None:
    container = lxc.Container(new_name(), small)
    assert container.create("busybox", lxc.LXC_CREATE_QUIET) is False
    assert container.last_error.operation == "create"
    assert not container.defined
    assert os.listdir(small) == []


def test_the_same_object_creates_when_there_is_room(
    small: str, new_name: NewName
) -> None:
    container = lxc.Container(new_name(), small)
    assert not container.create("busybox", lxc.LXC_CREATE_QUIET)
    subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
    assert container.create("busybox", lxc.LXC_CREATE_QUIET) is True
    assert container.destroy() is True


def test_a_clone_to_a_full_disk_is_false_and_leaves_nothing(
    small: str, own_path: str, new_name: NewName
) -> None:
    container = create_busybox(new_name(), own_path)
    assert container.clone(new_name(), config_path=small) is False
    assert container.last_error.operation == "clone"
    assert os.listdir(small) == []
    assert container.defined


def test_a_snapshot_on_a_full_disk_is_false_and_leaves_nothing(
    small: str, new_name: NewName
) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
    container = create_busybox(new_name(), small)
    filler = fill(small)
    assert container.snapshot() is False
    assert container.last_error.operation == "snapshot"
    filler.unlink()
    assert container.snapshot_list() == ()
    assert container.destroy() is True
    assert os.listdir(small) == []


def test_saving_to_a_full_disk_is_false(small: str, new_name: NewName) -> None:
    container = lxc.Container(new_name(), small)
    assert container.create()
    filler = fill(small)
    assert container.set_config_item("lxc.environment", "A=" + "x" * 20_000)
    assert container.save_config() is False
    assert container.last_error.operation == "save_config"
    filler.unlink()
    assert container.save_config() is True
    assert container.destroy() is True


LIMITED = """
import resource
config = f"{c.get_config_path()}/{c.name}/config"
before = open(config).read()

def limited(size, call):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        return call()
    except RuntimeError as error:
        return "RLIMIT_FSIZE" in str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
"""


@pytest.mark.parametrize("size", [0, 500])
def test_a_process_that_may_not_write_empties_no_configuration(
    stopped: lxc.Container, size: int
) -> None:
    # liblxc opens, and so empties, the file before it finds that out.
    program = f"""{LIMITED}
c.set_config_item("lxc.environment", "A=1")
saved = limited({size}, c.save_config)
report([saved, "whole" in c.last_error.reason, open(config).read() == before])
"""
    assert run(stopped, program) == [False, True, True]
    assert stopped.load_config()


def test_a_process_that_may_not_write_opens_no_half_of_a_configuration(
    stopped: lxc.Container,
) -> None:
    program = f"""{LIMITED}
opened = limited(500, lambda: lxc.Container(c.name, c.get_config_path()).state)
none = limited(500, lambda: lxc.Container("none", c.get_config_path()).state)
report([opened, none])
"""
    assert run(stopped, program) == [True, "STOPPED"]


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("call", ["clone", "rename", "snapshot"])
def test_a_copy_without_room_for_its_configuration(
    stopped: lxc.Container, call: str, threads: bool
) -> None:
    # liblxc crashes: the copy has an empty configuration.
    program = f"""{LIMITED}
if {threads}:
    threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
call = {{
    "clone": lambda: c.clone(c.name + "-copy"),
    "rename": lambda: c.rename(c.name + "-copy"),
    "snapshot": lambda: c.snapshot(),
}}[{call!r}]
made = limited(1500, call)
left = [os.path.exists(f"{{c.get_config_path()}}/{{c.name}}{{end}}")
    for end in ("-copy", "/snaps/snap0")]
whole = len(os.listdir(rootfs(c))) > 5
report([made, "RLIMIT_FSIZE" in c.last_error.reason, left, whole])
"""
    assert run(stopped, program) == [False, True, [False, False], True]


@pytest.mark.parametrize("text", ["", "lxc.uts.name = a\n"])
def test_a_container_without_a_root_is_not_copied(
    own_path: str, new_name: NewName, text: str
) -> None:
    name = new_name()
    os.mkdir(f"{own_path}/{name}")
    Path(own_path, name, "config").write_text(text)
    program = """
    made = [c.clone(c.name + "-copy"), c.rename(c.name + "-copy")]
    report([made, c.last_error.reason, os.listdir(c.get_config_path())])
    """
    container = lxc.Container(name, own_path)
    expected = [[False, False], "it has no root filesystem", [name]]
    assert run(container, program) == expected


# --- Missing privileges ---------------------------------------------------------------


def as_nobody(body: str, *args: str, home: Path | None = None) -> str:
    """What a program prints that runs without any privileges.

    It gets its modules first: they may be where only root can read them.
    """
    done = run_python(
        "import importlib, os, pkgutil, subprocess, sys, lxc\n"
        "for module in pkgutil.iter_modules(lxc.__path__, 'lxc.'):\n"
        "    importlib.import_module(module.name)\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" + body,
        *args,
        env={
            **{k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"},
            "HOME": str(home or "/nonexistent"),
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def home(own_path: str) -> Path:
    """A home directory of somebody without privileges."""
    path = Path(own_path, "home")
    path.mkdir()
    os.chown(path, 65534, 65534)
    return path


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("c.create('busybox', lxc.LXC_CREATE_QUIET)", "False"),
        ("c.save_config()", "False"),
        ("c.start()", "False"),
        ("c.destroy()", "False"),
        ("c.attach_wait(print)", "-1"),
        ("c.clone('d')", "False"),
    ],
)
def test_a_directory_of_somebody_else_gets_the_documented_answer(
    call: str, answer: str, own_path: str, home: Path
) -> None:
    program = (
        "c = lxc.Container('c', sys.argv[1])\n"
        "c.set_config_item('lxc.uts.name', 'c')\n"
        f"print({call}, bool(c.last_error.reason))\n"
    )
    assert as_nobody(program, own_path, home=home) == f"{answer} True\n"
    assert os.listdir(own_path) == ["home"]


@pytest.mark.parametrize("call", ["stop()", "freeze()", "destroy()", "rename('d')"])
def test_a_container_of_somebody_else_keeps_running(
    call: str, shared: lxc.Container, lxcpath: str, home: Path
) -> None:
    program = (
        "try:\n"
        "    c = lxc.Container(sys.argv[1], sys.argv[2])\n"
        f"    c.{call}\n"
        "except RuntimeError:\n"
        "    pass\n"
        "print('done')\n"
    )
    with timed(30):
        assert as_nobody(program, shared.name, lxcpath, home=home) == "done\n"
    assert shared.state == "RUNNING"
    assert shared.defined


def test_without_a_place_for_lock_files_there_is_a_runtime_error() -> None:
    program = (
        "try:\n"
        "    lxc.Container('c', '/tmp')\n"
        "except RuntimeError as error:\n"
        "    print('c' in str(error))\n"
    )
    assert as_nobody(program) == "True\n"


def test_lists_of_unreadable_directories_are_empty(own_path: str, home: Path) -> None:
    os.chmod(own_path, 0o711)
    Path(own_path, "c").mkdir()
    Path(own_path, "c", "config").touch()
    program = "print(lxc.list_containers(config_path=sys.argv[1]))"
    assert as_nobody(program, own_path, home=home) == "()\n"
