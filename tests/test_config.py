# SPDX-License-Identifier: LGPL-2.1-or-later
"""Configuration items, and the file that they come from and go to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import LIBLXC, alike

import lxc

IDMAP = ["u 0 100000 65536", "g 0 100000 65536"]


@pytest.fixture
def container(tmp_path: Path) -> lxc.Container:
    """A container with little configuration, which is only in memory."""
    container = lxc.Container("c", str(tmp_path))
    assert container.set_config_item("lxc.uts.name", "c")
    return container


def saved(container: lxc.Container) -> list[str]:
    """The lines of a container's configuration file, once saved."""
    assert container.save_config()
    text = os.fsencode(container.config_file_name)
    with open(text, encoding="utf-8", errors="surrogateescape") as file:
        return [line.strip() for line in file]


# --- Reading --------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["lxc.none", "", "lxc", "uts.name", "lxc.net.0.none"])
def test_an_unknown_key_is_a_key_error(container: lxc.Container, key: str) -> None:
    with pytest.raises(KeyError):
        container.get_config_item(key)


def test_an_unset_network_key_is_a_key_error(container: lxc.Container) -> None:
    with pytest.raises(KeyError):
        container.get_config_item("lxc.net.0.type")


@pytest.mark.parametrize(
    "key", ["lxc.environment", "lxc.idmap", "lxc.rootfs.path", "lxc.net", "lxc.arch"]
)
def test_an_unset_item_is_empty(container: lxc.Container, key: str) -> None:
    assert container.get_config_item(key) == ""


def test_a_value_is_text(container: lxc.Container) -> None:
    assert container.get_config_item("lxc.uts.name") == "c"


def test_a_value_that_ends_in_a_newline_is_a_list(container: lxc.Container) -> None:
    assert container.append_config_item("lxc.environment", "A=1")
    assert container.get_config_item("lxc.environment") == ["A=1"]


def test_a_long_value_is_read_whole(container: lxc.Container) -> None:
    value = "A=" + "x" * 100_000
    assert container.set_config_item("lxc.environment", value)
    assert container.get_config_item("lxc.environment") == [value]


def test_a_long_list_is_read_whole(container: lxc.Container) -> None:
    values = [f"A{number}={number}" for number in range(2000)]
    assert container.set_config_item("lxc.environment", values)
    assert container.get_config_item("lxc.environment") == values


def test_keys_are_a_list(container: lxc.Container) -> None:
    keys = container.get_keys()
    assert isinstance(keys, list)
    assert {"lxc.uts.name", "lxc.rootfs.path"} <= set(keys)
    assert container.get_keys(None) == keys


def test_keys_below_a_key_are_a_list(container: lxc.Container) -> None:
    assert container.set_config_item("lxc.net.0.type", "veth")
    keys = container.get_keys("lxc.net.0")
    assert isinstance(keys, list)
    assert {"type", "link", "veth.pair"} <= set(keys)


@pytest.mark.parametrize("key", ["lxc.none", "lxc.net.7"])
def test_keys_below_an_unknown_key_are_a_key_error(
    container: lxc.Container, key: str
) -> None:
    with pytest.raises(KeyError):
        container.get_keys(key)


def test_a_running_item_of_a_stopped_container_is_none(
    container: lxc.Container,
) -> None:
    assert container.get_running_config_item("lxc.uts.name") is None


@pytest.mark.parametrize(
    ("key", "expected"), [("lxc.net", "empty\n"), ("lxc.none", None)]
)
def test_a_running_item_is_the_raw_value(
    shared: lxc.Container, key: str, expected: str | None
) -> None:
    assert shared.get_running_config_item(key) == expected


def test_a_running_item_is_that_of_the_start(shared: lxc.Container) -> None:
    other = lxc.Container(shared.name, shared.get_config_path())
    assert other.set_config_item("lxc.uts.name", "other")
    assert other.get_running_config_item("lxc.uts.name") == shared.name


def test_a_missing_item_says_whether_key_or_state_is_wrong(
    shared: lxc.Container, stopped: lxc.Container, tmp_path: Path
) -> None:
    undefined = lxc.Container("c", tmp_path)
    cases: list[tuple[lxc.Container, Callable[[lxc.Container], Any], type, str]] = [
        (
            stopped,
            lambda c: c.get_cgroup_item("pids.max"),
            lxc.NotRunning,
            "not running",
        ),
        (undefined, lambda c: c.get_cgroup_item("a.b"), lxc.NotDefined, "not defined"),
        (
            shared,
            lambda c: c.get_cgroup_item("a.b"),
            lxc.NoSuchItem,
            "cgroup item 'a.b'",
        ),
        (shared, lambda c: c.get_cgroup_item("rdma.max"), lxc.NoSuchItem, "'rdma'"),
        (shared, lambda c: c.get_config_item("lxc.none"), lxc.NoSuchItem, "'lxc.none'"),
        (shared, lambda c: c.get_keys("lxc.net.7"), lxc.NoSuchItem, "interface 7"),
        (undefined, lambda c: c.get_config_item("lxc.arch"), lxc.NoSuchItem, "no conf"),
    ]
    for container, call, kind, words in cases:
        with pytest.raises(KeyError) as caught:
            call(container)
        error = caught.value
        assert alike(error, container.last_error)
        assert isinstance(error, kind)
        assert isinstance(error, lxc.LXCError)
        assert error.container == container.name
        assert words in str(error)
        assert len(container.network) >= 0
        assert alike(container.last_error, error)


# --- Changing -------------------------------------------------------------------------

# key, value, what it reads as afterwards
TAKEN: list[tuple[str, Any, Any]] = [
    ("lxc.uts.name", "name", "name"),
    ("lxc.environment", "A=1", ["A=1"]),
    ("lxc.environment", ["A=1"], ["A=1"]),
    ("lxc.environment", ["A=1", "B=2", "A=1"], ["A=1", "B=2", "A=1"]),
    ("lxc.environment", [], ""),
    ("lxc.environment", "", ""),
    ("lxc.log.level", "DEBUG", "DEBUG"),
    ("lxc.arch", "amd64", "x86_64"),
    # python3-lxc refuses what liblxc gives back in other words.
    ("lxc.signal.halt", "SIGWINCH", "28"),
    ("lxc.cap.drop", "sys_module mknod", ["sys_module", "mknod"]),
    ("lxc.idmap", IDMAP, None),
    ("lxc.uts.name", ["name"], "name"),
]


@pytest.mark.parametrize(("key", "value", "expected"), TAKEN)
def test_a_value_that_liblxc_takes_is_true_and_in_force(
    container: lxc.Container, key: str, value: Any, expected: Any
) -> None:
    assert container.set_config_item(key, value) is True
    if expected is not None:
        assert container.get_config_item(key) == expected


@pytest.mark.parametrize(("key", "value", "expected"), TAKEN)
def test_a_value_replaces_the_one_before(
    container: lxc.Container, key: str, value: Any, expected: Any
) -> None:
    assert container.set_config_item(key, value)
    once = container.get_config_item(key)
    assert container.set_config_item(key, value)
    assert container.get_config_item(key) == once


# An ordinary user's liblxc wants to map ids when it saves.
@pytest.mark.containers
@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("lxc.idmap", IDMAP, "lxc.idmap = u 0 100000 65536"),
        ("lxc.environment", ["A=1", "B=2"], "lxc.environment = B=2"),
        ("lxc.uts.name", "name", "lxc.uts.name = name"),
        ("lxc.cap.drop", "sys_module mknod", "lxc.cap.drop = mknod"),
        (
            "lxc.net.0.ipv4.address",
            ["192.0.2.1/24", "192.0.2.2/24"],
            "lxc.net.0.ipv4.address = 192.0.2.2/24",
        ),
        (
            "lxc.net.0.ipv6.address",
            ["2001:db8::1/64"],
            "lxc.net.0.ipv6.address = 2001:db8::1/64",
        ),
    ],
)
def test_a_value_is_saved_once(
    container: lxc.Container, key: str, value: Any, line: str
) -> None:
    assert container.set_config_item("lxc.net.0.type", "veth")
    for _ in range(2):
        assert container.set_config_item(key, value)
    lines = saved(container)
    # liblxc writes some lists into one line, and addresses with what it completed.
    value = line.partition(" = ")[2]
    matching = [known for known in lines if known.startswith(key) and value in known]
    assert len(matching) == 1


def test_a_hardware_address_pattern_is_completed_once(
    container: lxc.Container,
) -> None:
    assert container.set_config_item("lxc.net.0.type", "veth")
    assert container.set_config_item("lxc.net.0.hwaddr", "00:16:3e:xx:xx:xx")
    address = container.get_config_item("lxc.net.0.hwaddr")
    assert address.startswith("00:16:3e:")
    assert "x" not in address
    assert f"lxc.net.0.hwaddr = {address}" in saved(container)


REFUSED: list[tuple[str, Any, Any]] = [
    ("lxc.signal.halt", "28", "none-such"),
    ("lxc.tty.max", "3", "many"),
    ("lxc.net.0.type", "veth", "none-such"),
    ("lxc.net.0.ipv4.address", "192.0.2.1/24", "none-such"),
    ("lxc.idmap", IDMAP, "none-such"),
    ("lxc.idmap", IDMAP, ["u 0 200000 65536", "none-such"]),
    ("lxc.console.buffer.size", "8192", "none-such"),
    ("lxc.prlimit.nofile", "1024:2048", "none-such"),
    ("lxc.prlimit.nofile", "unlimited", ["5", "none-such"]),
]
# 4.0.6 takes any, and keeps the old one.
if LIBLXC >= (5, 0):
    REFUSED.append(("lxc.arch", "x86_64", "none-such"))


@pytest.mark.parametrize(("key", "old", "value"), REFUSED)
def test_a_value_that_liblxc_refuses_is_false_and_the_old_one_is_back(
    container: lxc.Container, key: str, old: Any, value: Any
) -> None:
    assert container.set_config_item("lxc.net.0.type", "veth")
    assert container.set_config_item(key, old)
    before = container.get_config_item(key)
    assert container.set_config_item(key, value) is False
    assert container.get_config_item(key) == before


@pytest.mark.containers
@pytest.mark.parametrize(("key", "old", "value"), REFUSED)
def test_a_refused_value_leaves_the_saved_configuration(
    container: lxc.Container, key: str, old: Any, value: Any
) -> None:
    assert container.set_config_item("lxc.net.0.type", "veth")
    assert container.set_config_item("lxc.net.0.link", "lxcbr0")
    assert container.set_config_item(key, old)
    before = sorted(saved(container))
    assert not container.set_config_item(key, value)
    assert sorted(saved(container)) == before


def test_a_refused_value_of_an_unset_item_leaves_it_unset(
    container: lxc.Container,
) -> None:
    assert container.set_config_item("lxc.idmap", "none-such") is False
    assert container.get_config_item("lxc.idmap") == ""
    assert not [line for line in saved(container) if line.startswith("lxc.idmap")]


def test_setting_an_unknown_key_is_a_key_error(container: lxc.Container) -> None:
    with pytest.raises(KeyError):
        container.set_config_item("lxc.none", "1")


@pytest.mark.parametrize("value", [5, {"A": "1"}, [5], ["A", None]])
def test_a_value_of_another_type_is_a_type_error(
    container: lxc.Container, value: Any
) -> None:
    with pytest.raises(TypeError):
        container.set_config_item("lxc.uts.name", value)
    assert container.get_config_item("lxc.uts.name") == "c"


def test_append_adds_to_a_list(container: lxc.Container) -> None:
    assert container.append_config_item("lxc.environment", "A=1") is True
    assert container.append_config_item("lxc.environment", "B=2") is True
    assert container.get_config_item("lxc.environment") == ["A=1", "B=2"]


def test_append_sets_what_is_no_list(container: lxc.Container) -> None:
    assert container.append_config_item("lxc.uts.name", "name") is True
    assert container.get_config_item("lxc.uts.name") == "name"


def test_append_to_an_unknown_key_is_false(container: lxc.Container) -> None:
    assert container.append_config_item("lxc.none", "1") is False


AGAIN: list[tuple[str, Any, Any]] = [
    ("lxc.prlimit.nofile", "1024", "2048:4096"),
    ("lxc.sysctl.net.core.somaxconn", "1", "2 3"),
]


@pytest.mark.parametrize(("key", "old", "new"), AGAIN)
def test_a_limit_or_sysctl_that_is_set_again_is_there_once(
    container: lxc.Container, key: str, old: str, new: str
) -> None:
    others = [f"{key}_{number}" for number in range(2)]
    for other in others:
        assert container.append_config_item(other, old)
    for value in (old, new, old, new):
        assert container.append_config_item(key, value)
        assert container.get_config_item(key) == value
    assert [container.get_config_item(other) for other in others] == [old, old]
    # liblxc 4.0.6 cannot read a file that has it twice.
    lines = [line for line in saved(container) if line.startswith(f"{key} ")]
    assert lines == [f"{key} = {new}"]


@pytest.mark.parametrize(("key", "old", "new"), AGAIN)
def test_a_file_replaces_limits_and_sysctls_in_memory(
    container: lxc.Container, tmp_path: Path, key: str, old: str, new: str
) -> None:
    (tmp_path / "file").write_text(f"{key} = {new}\n{key}_2 = {new}\n")
    for name in (key, f"{key}_1"):
        assert container.set_config_item(name, old)
    for _ in range(2):
        assert container.load_config(tmp_path / "file")
        values = [container.get_config_item(f"{key}{end}") for end in ("", "_1", "_2")]
        assert values == [new, old, new]


# Kinds that liblxc keeps in a list of its own each, whatever it makes of the values.
LISTS = {
    "lxc.prlimit.nofile": ["1", "2"],
    "lxc.sysctl.a": ["1", "2"],
    "lxc.proc.oom_score_adj": ["1", "2"],
    "lxc.cgroup2.pids.max": ["1", "2"],
    "lxc.environment": ["A=1", "A=2"],
    "lxc.hook.pre-start": ["/a", "/b"],
    "lxc.mount.entry": ["a b none bind", "c d none bind"],
    "lxc.idmap": IDMAP,
    "lxc.cap.drop": ["sys_time", "sys_boot"],
    "lxc.group": ["a", "b"],
    "lxc.namespace.share.net": ["a", "b"],
    "lxc.net.0.ipv4.address": ["192.0.2.1/24", "192.0.2.2/24"],
}
if LIBLXC < (7, 0):
    LISTS["lxc.cgroup.pids.max"] = ["1", "2"]


ONE_OF_EACH = ("lxc.prlimit.", "lxc.sysctl.", "lxc.namespace.share.")


@pytest.mark.containers
@pytest.mark.parametrize(
    "key", [key for key in LISTS if not key.startswith(ONE_OF_EACH)]
)
def test_what_is_appended_is_there_with_the_others(
    container: lxc.Container, key: str
) -> None:
    assert container.set_config_item("lxc.net.0.type", "veth")
    once, *_ = LISTS[key]
    assert container.set_config_item(key, LISTS[key])
    both = [line for line in saved(container) if line.startswith(f"{key} = ")]
    assert len(both) == 2
    assert container.append_config_item(key, once)
    lines = [line for line in saved(container) if line.startswith(f"{key} = ")]
    assert lines == [*both, both[0]]


@pytest.mark.parametrize("key", LISTS)
def test_what_is_set_again_and_again_is_no_freed_memory(
    tmp_path: Path, key: str
) -> None:
    # Freed memory is overwritten there: what still uses it reads nonsense, or crashes.
    program = """
import os, sys, lxc
key, path, *values = sys.argv[1:]
open(f"{path}/file", "w").write(f"{key} = {values[0]}\\n")
c = lxc.Container("c", path)
c.set_config_item("lxc.net.0.type", "veth")
seen = set()
for _ in range(20):
    for value in (values[0], values[1], ":none:", values, [*values, ":none:"]):
        c.set_config_item(key, value)
        [c.append_config_item(key, each) for each in values]
    c.load_config(f"{path}/file")
    c.save_config(f"{path}/saved")
    c.set_config_item(key, values)
    seen.add(str(c.get_config_item(key)))
    c.clear_config_item(key)
    assert c.get_config_item(key) == "" or key.startswith("lxc.namespace")
assert len(seen) == 1, seen
"""
    subprocess.run(
        [sys.executable, "-c", program, key, str(tmp_path), *LISTS[key]],
        env={**os.environ, "MALLOC_PERTURB_": "85"},
        cwd="/",
        check=True,
        timeout=60,
    )


def test_clear_empties_an_item(container: lxc.Container) -> None:
    assert container.set_config_item("lxc.environment", ["A=1", "B=2"])
    assert container.clear_config_item("lxc.environment") is True
    assert container.get_config_item("lxc.environment") == ""


def test_clear_of_an_unknown_key_is_false(container: lxc.Container) -> None:
    assert container.clear_config_item("lxc.none") is False


def test_clear_config_takes_everything(container: lxc.Container) -> None:
    assert container.clear_config() is None
    with pytest.raises(KeyError):
        container.get_config_item("lxc.uts.name")


def test_items_can_be_set_after_clear_config(container: lxc.Container) -> None:
    container.clear_config()
    assert container.set_config_item("lxc.uts.name", "name")
    assert container.get_config_item("lxc.uts.name") == "name"


# --- Text -----------------------------------------------------------------------------


def test_bytes_that_are_not_utf8_come_back(container: lxc.Container) -> None:
    value = os.fsdecode(b"A=\xff\xfe")
    assert container.set_config_item("lxc.environment", [value, "B=ü"])
    assert container.get_config_item("lxc.environment") == [value, "B=ü"]


def test_bytes_that_are_not_utf8_are_saved_and_loaded(container: lxc.Container) -> None:
    value = os.fsdecode(b"A=\xff\xfe")
    assert container.set_config_item("lxc.environment", value)
    assert f"lxc.environment = {value}" in saved(container)
    again = lxc.Container(container.name, container.get_config_path())
    assert again.get_config_item("lxc.environment") == [value]


def test_running_values_that_are_not_utf8_come_back(
    make: Callable[..., lxc.Container],
) -> None:
    value = os.fsdecode(b"A=\xff\xfe")
    container = make(start=True, config={"lxc.environment": value})
    assert container.get_running_config_item("lxc.environment") == f"{value}\n"


# --- Files ----------------------------------------------------------------------------


def test_the_configuration_file_is_in_the_containers_directory(tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    assert container.config_file_name == f"{tmp_path}/c/config"


def test_save_defines_the_container(container: lxc.Container) -> None:
    assert not container.defined
    assert container.save_config() is True
    assert container.defined
    assert Path(container.config_file_name).exists()


def test_saved_items_are_there_for_others(container: lxc.Container) -> None:
    assert container.set_config_item("lxc.environment", ["A=1", "B=2"])
    assert container.save_config()
    again = lxc.Container("c", container.get_config_path())
    assert again.get_config_item("lxc.environment") == ["A=1", "B=2"]


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_configuration_is_saved_to_a_path_and_loaded_from_it(
    container: lxc.Container, tmp_path: Path, kind: Callable[[str], Any]
) -> None:
    path = kind(str(tmp_path / "elsewhere"))
    assert container.set_config_item("lxc.environment", "A=1")
    assert container.save_config(path) is True
    assert not container.defined
    other = lxc.Container("d", str(tmp_path))
    assert other.load_config(path) is True
    assert other.get_config_item("lxc.environment") == ["A=1"]


def test_a_configuration_is_loaded_without_a_path(container: lxc.Container) -> None:
    assert container.save_config()
    with open(container.config_file_name, "a", encoding="ascii") as file:
        file.write("lxc.environment = A=1\n")
    assert container.load_config() is True
    assert container.get_config_item("lxc.environment") == ["A=1"]


def test_loading_what_is_not_there_is_false(
    container: lxc.Container, tmp_path: Path
) -> None:
    assert container.load_config(str(tmp_path / "none")) is False
    assert container.load_config() is False


def test_loading_a_broken_file_is_false(
    container: lxc.Container, tmp_path: Path
) -> None:
    (tmp_path / "broken").write_text("lxc.none = 1\n")
    assert container.load_config(str(tmp_path / "broken")) is False


def test_saving_where_no_directory_is_is_false(
    container: lxc.Container, tmp_path: Path
) -> None:
    assert container.save_config(str(tmp_path / "none" / "config")) is False
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_not_waited_for(container: lxc.Container, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reason = f"{pipe} is no regular file, and is not being read"
    assert container.save_config(pipe) is False
    assert container.last_error is not None
    assert container.last_error.reason == reason
    assert container.load_config(pipe) is False
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert container.save_config(pipe) is True
    assert b"lxc.uts.name = c\n" in os.read(reader, 1000)
    os.close(reader)
    assert container.save_config("/dev/null") is True
    assert container.load_config("/dev/null") is True


def test_a_configuration_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    os.mkfifo(tmp_path / "c" / "config")
    with pytest.raises(RuntimeError, match="its configuration is no regular file"):
        lxc.Container("c", tmp_path)


def test_set_config_path_moves_where_the_container_is_looked_for(
    container: lxc.Container, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    assert container.set_config_path(str(tmp_path / "other")) is True
    assert container.config_file_name == f"{tmp_path}/other/c/config"
    assert container.save_config()
    assert (tmp_path / "other" / "c" / "config").exists()


def test_a_start_uses_what_was_not_saved(stopped: lxc.Container) -> None:
    assert stopped.set_config_item("lxc.uts.name", "unsaved")
    assert stopped.start()
    assert stopped.get_running_config_item("lxc.uts.name") == "unsaved"
    other = lxc.Container(stopped.name, stopped.get_config_path())
    assert other.get_config_item("lxc.uts.name") == stopped.name
