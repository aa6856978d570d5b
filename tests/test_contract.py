# SPDX-License-Identifier: LGPL-2.1-or-later
"""What programs written for python3-lxc rely on, written out in full.

None of this needs root or a container: it also runs where containers cannot.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lxc

_lxc = importlib.import_module("_lxc")

# --- Names and keywords -------------------------------------------------------------

OPTIONS = (
    "attach_flags, namespaces, personality, initial_cwd, uid, gid, env_policy, "
    "extra_env_vars, extra_keep_env, stdin, stdout, stderr, log_fd, lsm_label, groups"
)

# Every method that both layers have in common, with its keywords; "=" marks those that
# may be left out.
METHODS = {
    "add_device_node": "src_path, dest_path=",
    "attach_interface": "src_ifname, dst_ifname=",
    "checkpoint": "directory, stop=, verbose=",
    "clear_config": "",
    "clear_config_item": "key",
    "clone": (
        "newname, config_path=, flags=, bdevtype=, bdevdata=, newsize=, hookargs="
    ),
    "console": "ttynum=, stdinfd=, stdoutfd=, stderrfd=, escape=",
    "console_getfd": "ttynum=",
    "console_log": "clear=, read=, read_max=",
    "destroy": "",
    "destroy_with_snapshots": "",
    "detach_interface": "ifname, dst_ifname=",
    "devpts_fd": "",
    "freeze": "",
    "get_cgroup_item": "key",
    "get_config_item": "key",
    "get_config_path": "",
    "get_interfaces": "",
    "get_keys": "key=",
    "get_running_config_item": "key",
    "init_pidfd": "",
    "load_config": "path=",
    "migrate": (
        "cmd, directory=, verbose=, stop=, predump_dir=, pageserver_address=, "
        "pageserver_port=, preserves_inodes=, action_script=, disable_skip_in_flight=, "
        "ghost_limit=, features_to_check="
    ),
    "mount": "source, target, filesystemtype=, mountflags=, data=",
    "reboot": "",
    "reboot2": "timeout=",
    "remove_device_node": "src_path, dest_path=",
    "rename": "new_name",
    "restore": "directory, verbose=",
    "save_config": "path=",
    "seccomp_notify_fd": "",
    "seccomp_notify_fd_active": "",
    "set_cgroup_item": "key, value",
    "set_config_item": "key, value",
    "set_config_path": "path",
    "set_timeout": "timeout",
    "snapshot": "comment_path=",
    "snapshot_destroy": "name",
    "snapshot_destroy_all": "",
    "snapshot_list": "",
    "snapshot_restore": "name, newname=",
    "start": "useinit=, daemonize=, close_fds=, cmd=",
    "stop": "",
    "umount": "target, mountflags=",
    "unfreeze": "",
    "wait": "state, timeout=",
}

# In the order of subprocess.Popen, which takes them by position too.
BY_POSITION = (
    "args, bufsize=, executable=, stdin=, stdout=, stderr=, preexec_fn=, close_fds=, "
    "shell=, cwd=, env=, universal_newlines=, startupinfo=, creationflags=, "
    "restore_signals=, start_new_session=, pass_fds="
)
BY_NAME = (
    "user=, group=, extra_groups=, encoding=, errors=, text=, umask=, pipesize=, "
    "process_group=, tty="
)
RUN = f"{BY_POSITION}, input=, capture_output=, timeout=, check=, {BY_NAME}"
CREATE = (
    "stdin=, stdout=, stderr=, limit=, executable=, preexec_fn=, close_fds=, cwd=, "
    "env=, startupinfo=, creationflags=, restore_signals=, start_new_session=, "
    "pass_fds=, user=, group=, extra_groups=, umask=, pipesize=, process_group=, tty=, "
    "universal_newlines=, shell=, bufsize=, encoding=, errors=, text="
)

PUBLIC_METHODS = {
    **METHODS,
    "run": RUN,
    "run_async": RUN,
    "popen": f"{BY_POSITION}, {BY_NAME}",
    "create_subprocess_exec": f"program, args, {CREATE}",
    "create_subprocess_shell": f"cmd, {CREATE}",
    "add_device_net": "name, destname=",
    "append_config_item": "key, value",
    "create": "template=, flags=, args=, bdevtype=, fssize=, bdev_specs=",
    "get_ips": "interface=, family=, scope=, timeout=",
    "shutdown": "timeout=, kill=",
    "addresses": "",
    "info": "",
    "stats": "",
    "wait_for": "condition, timeout=, interval=",
    "wait_for_ips": "timeout=, interface=, family=",
    "wait_for_port": "port, timeout=, family=",
    "wait_until_booted": "timeout=",
}

RAW_METHODS = {
    **METHODS,
    "create": (
        "template=, flags=, bdevtype=, fssize=, args=, fstype=, dir=, zfsroot=, vg=, "
        "lv=, thinpool=, rbdname=, rbdpool=, rbduser="
    ),
    "get_ips": "interface=, family=, scope=",
    "shutdown": "timeout=",
}

PUBLIC_FUNCTIONS = {
    "features": "",
    "arch_to_personality": "arch",
    "attach_run_command": "cmd",
    # attach_wait(attach_run_shell, None) gives it one.
    "attach_run_shell": "payload=",
    "config_item_is_supported": "key",
    "get_global_config_item": "key",
    "get_wait_states": "",
    "list_containers": "active=, defined=, as_object=, config_path=",
    "ephemeral": (
        "base=, template=, args=, name=, network=, wait=, config_path=, config="
    ),
    "monitor": "names, config_path=",
}

RAW_FUNCTIONS = {
    "features": "",
    "get_global_config_item": "key",
    "get_version": "",
    "get_wait_states": "",
    "list_containers": "active=, defined=, config_path=",
}

# Called by position only, whatever their argument is called.
RAW_POSITIONAL_FUNCTIONS = (
    "arch_to_personality",
    "attach_run_command",
    "attach_run_shell",
    "config_item_is_supported",
    "has_api_extension",
)

PROPERTIES = (
    "config_file_name",
    "controllable",
    "defined",
    "init_pid",
    "name",
    "running",
    "state",
)

# name: value.  What liblxc's older headers lack is in SINCE_4_0_7.
CONSTANTS = {
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWNET": 0x40000000,
    "CLONE_NEWNS": 0x00020000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWUTS": 0x04000000,
    "FEATURE_LAZY_PAGES": 2,
    "FEATURE_MEM_TRACK": 1,
    "LXC_ATTACH_CLEAR_ENV": 1,
    "LXC_ATTACH_DEFAULT": 0x0000FFFF,
    "LXC_ATTACH_DETECT_PERSONALITY": -1,
    "LXC_ATTACH_DROP_CAPABILITIES": 2,
    "LXC_ATTACH_KEEP_ENV": 0,
    "LXC_ATTACH_LSM_EXEC": 8,
    "LXC_ATTACH_LSM_NOW": 0x20000,
    "LXC_ATTACH_MOVE_TO_CGROUP": 1,
    "LXC_ATTACH_NO_NEW_PRIVS": 0x40000,
    "LXC_ATTACH_REMOUNT_PROC_SYS": 0x10000,
    "LXC_ATTACH_SET_PERSONALITY": 4,
    "LXC_ATTACH_TERMINAL": 0x80000,
    "LXC_CLONE_ALLOW_RUNNING": 64,
    "LXC_CLONE_KEEPBDEVTYPE": 8,
    "LXC_CLONE_KEEPMACADDR": 2,
    "LXC_CLONE_KEEPNAME": 1,
    "LXC_CLONE_MAYBE_SNAPSHOT": 16,
    "LXC_CLONE_SNAPSHOT": 4,
    "LXC_CREATE_QUIET": 1,
    "MIGRATE_DUMP": 1,
    "MIGRATE_FEATURE_CHECK": 3,
    "MIGRATE_PRE_DUMP": 0,
    "MIGRATE_RESTORE": 2,
}
SINCE_4_0_7 = {"LXC_ATTACH_LSM_LABEL": 0x100000, "LXC_ATTACH_SETGROUPS": 0x200000}


def parameters(function: Any) -> list[inspect.Parameter]:
    """The parameters of a function or method, without self."""
    found = list(inspect.signature(function).parameters.values())
    return found[1:] if found and found[0].name == "self" else found


def keywords(function: Any) -> str:
    """The parameters that can be given by keyword, as the tables above write them."""
    return ", ".join(
        parameter.name + ("" if parameter.default is parameter.empty else "=")
        for parameter in parameters(function)
        if parameter.kind is not parameter.POSITIONAL_ONLY
    )


@pytest.mark.parametrize("name", PUBLIC_METHODS)
def test_a_public_method_has_its_keywords(name: str) -> None:
    assert keywords(getattr(lxc.Container, name)) == PUBLIC_METHODS[name]


@pytest.mark.parametrize("name", RAW_METHODS)
def test_a_raw_method_has_its_keywords(name: str) -> None:
    assert keywords(getattr(_lxc.Container, name)) == RAW_METHODS[name]


@pytest.mark.parametrize("name", PUBLIC_FUNCTIONS)
def test_a_public_function_has_its_keywords(name: str) -> None:
    assert keywords(getattr(lxc, name)) == PUBLIC_FUNCTIONS[name]


@pytest.mark.parametrize("name", RAW_FUNCTIONS)
def test_a_raw_function_has_its_keywords(name: str) -> None:
    assert keywords(getattr(_lxc, name)) == RAW_FUNCTIONS[name]


@pytest.mark.parametrize("name", RAW_POSITIONAL_FUNCTIONS)
def test_a_raw_function_has_one_argument(name: str) -> None:
    assert len(parameters(getattr(_lxc, name))) == 1


@pytest.mark.parametrize("container", [lxc.Container, _lxc.Container])
def test_the_constructor_has_its_keywords(container: Any) -> None:
    if container is _lxc.Container and sys.version_info < (3, 10):
        pytest.skip("CPython 3.9 drops the signature of a class that C makes")
    strict = ", strict=" if container is lxc.Container else ""
    assert keywords(container) == f"name, config_path={strict}"


@pytest.mark.parametrize("name", ["attach", "attach_wait"])
@pytest.mark.parametrize("container", [lxc.Container, _lxc.Container])
def test_attach_has_its_keywords(container: Any, name: str) -> None:
    found = parameters(getattr(container, name))
    assert ", ".join(p.name for p in found if p.kind is p.KEYWORD_ONLY) == OPTIONS


@pytest.mark.parametrize("name", ["attach", "attach_wait"])
@pytest.mark.parametrize("container", [lxc.Container, _lxc.Container])
def test_attach_takes_a_function_and_a_payload_by_position(
    container: Any, name: str
) -> None:
    signature = inspect.signature(getattr(container, name))
    signature.bind("self", print)
    signature.bind("self", print, None)
    with pytest.raises(TypeError):
        signature.bind("self")
    with pytest.raises(TypeError):
        signature.bind("self", print, None, 0)


def test_a_network_list_adds_by_type() -> None:
    assert keywords(lxc.ContainerNetworkList.add) == "network_type"


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("container", [lxc.Container, _lxc.Container])
def test_a_property_is_there_and_has_a_docstring(container: Any, name: str) -> None:
    found = inspect.getattr_static(container, name)
    assert inspect.isdatadescriptor(found)
    assert inspect.getdoc(found)


def test_the_public_container_is_a_raw_one() -> None:
    assert issubclass(lxc.Container, _lxc.Container)


@pytest.mark.parametrize("name", ["last_error", "error_num", "network"])
def test_a_container_has_more_attributes(name: str, tmp_path: Path) -> None:
    assert hasattr(lxc.Container("c", str(tmp_path)), name)


# --- What an undefined container answers to a call with every keyword ---------------

# What the signature says is only what the docstring claims: these calls are made.
EVERY_KEYWORD: dict[str, dict[str, Any]] = {
    "add_device_node": {"src_path": "/dev/null", "dest_path": "/dev/null"},
    "add_device_net": {"name": "none", "destname": "eth0"},
    "append_config_item": {"key": "lxc.none", "value": "1"},
    "attach_interface": {"src_ifname": "none", "dst_ifname": "eth0"},
    "clear_config_item": {"key": "lxc.none"},
    "clone": {
        "newname": "d",
        "config_path": None,
        "flags": 0,
        "bdevtype": "dir",
        "bdevdata": "data",
        "newsize": 0,
        "hookargs": (),
    },
    "console": {"ttynum": 1, "stdinfd": 0, "stdoutfd": 1, "stderrfd": 2, "escape": 1},
    "console_getfd": {"ttynum": 1},
    "create": {
        "template": "/nowhere/template",
        "flags": lxc.LXC_CREATE_QUIET,
        "args": (),
        "bdevtype": "dir",
        "fssize": 0,
    },
    "detach_interface": {"ifname": "none", "dst_ifname": "eth0"},
    "get_ips": {"interface": "eth0", "family": "inet", "scope": 0, "timeout": 0},
    "get_running_config_item": {"key": "lxc.uts.name"},
    "load_config": {"path": "/nowhere/config"},
    "remove_device_node": {"src_path": "/dev/null", "dest_path": "/dev/null"},
    "rename": {"new_name": "d"},
    "save_config": {"path": "/nowhere/config"},
    "set_cgroup_item": {"key": "pids.max", "value": "9"},
    "shutdown": {"timeout": 0},
    "snapshot": {"comment_path": "/nowhere/comment"},
    "snapshot_destroy": {"name": "snap0"},
    "snapshot_restore": {"name": "snap0", "newname": "d"},
    "start": {"useinit": False, "daemonize": True, "close_fds": False, "cmd": ()},
    "wait": {"state": "RUNNING", "timeout": 0},
}
ANSWERS = {"shutdown": True, "get_ips": (), "get_running_config_item": None}


@pytest.mark.parametrize("name", EVERY_KEYWORD)
def test_every_keyword_is_taken(name: str, tmp_path: Path) -> None:
    container = lxc.Container("c", str(tmp_path))
    answer = getattr(container, name)(**EVERY_KEYWORD[name])
    assert answer == ANSWERS.get(name, False)


@pytest.mark.parametrize("name", [n for n in EVERY_KEYWORD if n in RAW_METHODS])
def test_every_keyword_is_taken_by_the_raw_layer(name: str, tmp_path: Path) -> None:
    arguments = dict(EVERY_KEYWORD[name])
    if name == "get_ips":
        del arguments["timeout"]
    answer = getattr(_lxc.Container("c", str(tmp_path)), name)(**arguments)
    assert answer == ANSWERS.get(name, False)


@pytest.mark.parametrize("layer", [lxc, _lxc])
@pytest.mark.parametrize("name", ["get_config_item", "get_cgroup_item", "get_keys"])
def test_the_key_of_an_item_is_taken_by_keyword(
    layer: Any, name: str, tmp_path: Path
) -> None:
    with pytest.raises(KeyError):
        getattr(layer.Container("c", str(tmp_path)), name)(key="lxc.none")


@pytest.mark.parametrize("name", ["attach", "attach_wait"])
@pytest.mark.parametrize("layer", [lxc, _lxc])
def test_every_option_of_attach_is_taken(layer: Any, name: str, tmp_path: Path) -> None:
    container = layer.Container("c", str(tmp_path))
    options = {
        "attach_flags": lxc.LXC_ATTACH_DEFAULT,
        "namespaces": lxc.CLONE_NEWNET,
        "personality": -1,
        "initial_cwd": "/",
        "uid": 0,
        "gid": 0,
        "env_policy": lxc.LXC_ATTACH_KEEP_ENV,
        "extra_env_vars": ("A=1",),
        "extra_keep_env": ("PATH",),
        "stdin": 0,
        "stdout": 1,
        "stderr": 2,
    }
    newer = {"log_fd": None, "lsm_label": None, "groups": None}
    assert ", ".join({**options, **newer}) == OPTIONS
    assert getattr(container, name)(print, "payload", **options, **newer) == -1
    assert getattr(container, name)(print, "payload", **options) == -1


# --- The modules --------------------------------------------------------------------


@pytest.mark.parametrize("layer", [lxc, _lxc])
@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_has_its_value(layer: types.ModuleType, name: str) -> None:
    assert getattr(layer, name) == CONSTANTS[name]


@pytest.mark.parametrize("name", SINCE_4_0_7)
def test_a_newer_constant_has_its_value_in_both_layers_or_is_in_none(name: str) -> None:
    found = {getattr(layer, name, None) for layer in (lxc, _lxc)}
    assert found in ({SINCE_4_0_7[name]}, {None})


def test_import_lxc_gives_the_extension_module_its_old_name() -> None:
    assert sys.modules["_lxc"] is importlib.import_module("lxc._lxc")


def test_the_network_classes_are_in_both_places() -> None:
    network = importlib.import_module("lxc.network")
    assert lxc.ContainerNetwork is network.ContainerNetwork
    assert lxc.ContainerNetworkList is network.ContainerNetworkList


def test_version_is_that_of_liblxc() -> None:
    assert lxc.version == _lxc.get_version()
    assert re.match(r"\d+\.\d+", lxc.version)


def test_the_version_of_the_binding_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", lxc.__version__)
    try:
        installed = importlib.metadata.version("python3-lxc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is imported from a directory, not installed")
    assert lxc.__version__ == installed


def test_the_package_says_where_it_belongs() -> None:
    try:
        metadata = importlib.metadata.metadata("python3-lxc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is imported from a directory, not installed")
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL") or ())
    assert urls["Homepage"] == "https://linuxcontainers.org/lxc/"


def test_the_default_lxcpath_is_the_one_in_the_global_configuration() -> None:
    assert lxc.default_config_path == lxc.get_global_config_item("lxc.lxcpath")


@pytest.mark.parametrize("layer", [lxc, _lxc])
def test_an_unknown_global_item_is_a_key_error(layer: types.ModuleType) -> None:
    with pytest.raises(KeyError):
        layer.get_global_config_item(key="lxc.none")


# By personality: PER_LINUX32 is 8.
ARCHITECTURES = {
    8: (
        "arm armel armhf armv7l athlon i386 i486 i586 i686 linux32 mips mipsel powerpc "
        "ppc x86"
    ),
    0: (
        "aarch64 amd64 arm64 linux64 loongarch64 mips64 mips64el powerpc64 ppc64 "
        "ppc64el ppc64le riscv64 s390x x86_64"
    ),
}


@pytest.mark.parametrize(
    ("name", "personality"),
    [(name, value) for value, names in ARCHITECTURES.items() for name in names.split()],
)
def test_every_architecture_of_liblxc_has_a_personality(
    name: str, personality: int
) -> None:
    assert lxc.arch_to_personality(name) == personality
    assert lxc.arch_to_personality(name.encode()) == personality
    assert _lxc.arch_to_personality(name) == personality


@pytest.mark.parametrize("name", ["", "none", "X86", b"none"])
def test_an_unknown_architecture_is_a_key_error(name: str | bytes) -> None:
    with pytest.raises(KeyError):
        lxc.arch_to_personality(name)


def test_an_error_says_what_failed_with_which_container_and_why() -> None:
    error = lxc.LXCError("start", "web", "it is running")
    assert (error.operation, error.container, error.reason) == (
        "start",
        "web",
        "it is running",
    )
    assert str(error) == "start of 'web' failed: it is running"
    assert isinstance(error, Exception)


def test_a_container_shows_its_name_and_lxcpath(tmp_path: Path) -> None:
    shown = repr(lxc.Container("c-1", str(tmp_path)))
    assert "c-1" in shown
    assert str(tmp_path) in shown


# --- Documentation ------------------------------------------------------------------


def public_callables() -> Iterator[tuple[str, Any]]:
    """Everything that a program can call, by its dotted name."""
    classes = (
        lxc.Container,
        lxc.ContainerNetwork,
        lxc.ContainerNetworkList,
        lxc.Info,
        lxc.Monitor,
        lxc.Stats,
        _lxc.Container,
    )
    for owner in (lxc, *classes, _lxc):
        place = owner.__name__
        if isinstance(owner, type):
            place = f"{owner.__module__}.{owner.__name__}"
        for name in dir(owner):
            # What a module imports when it is asked for is not there before.
            static = inspect.getattr_static if isinstance(owner, type) else getattr
            value = static(owner, name)
            if not name.startswith("_") and inspect.isroutine(value):
                yield f"{place}.{name}", getattr(owner, name)


CALLABLES = dict(public_callables())


@pytest.mark.parametrize("name", CALLABLES)
def test_what_can_be_called_has_a_signature_and_a_docstring(name: str) -> None:
    inspect.signature(CALLABLES[name])
    assert inspect.getdoc(CALLABLES[name])


@pytest.mark.parametrize(
    "owner",
    [
        lxc,
        _lxc,
        lxc.Container,
        _lxc.Container,
        lxc.ContainerNetwork,
        lxc.ContainerNetworkList,
        lxc.LXCError,
        lxc.Info,
        lxc.InterfaceStats,
        lxc.Monitor,
        lxc.StateChange,
        lxc.Stats,
    ],
)
def test_modules_and_classes_have_docstrings(owner: Any) -> None:
    assert owner.__doc__


def documentation() -> str:
    """The docstrings of the methods and properties of both layers."""
    return "\n".join(
        inspect.getdoc(inspect.getattr_static(owner, name)) or ""
        for owner in (lxc.Container, _lxc.Container)
        for name in dir(owner)
    )


# --- liblxc's header ----------------------------------------------------------------

# Members of struct lxc_container.
NOT_WRAPPED = {
    "attach_run_wait": "attach_wait() covers it",
    "attach_run_waitl": "variadic twin of attach_run_wait",
    "createl": "variadic twin of create",
    "startl": "variadic twin of start",
}
# Those that go by another name than liblxc's.
RENAMED = {
    "is_defined": "defined",
    "is_running": "running",
    "may_control": "controllable",
    "want_close_all_fds": "start",
    "want_daemonize": "start",
}


def header(name: str) -> str:
    """The text of one of liblxc's installed headers."""
    asked = None
    if shutil.which("pkg-config"):
        asked = subprocess.run(
            ["pkg-config", "--variable=includedir", "lxc"],
            capture_output=True,
            text=True,
            check=False,
        )
    if asked is None or asked.returncode != 0:
        pytest.skip("pkg-config does not know liblxc's headers here")
    path = Path(asked.stdout.strip()) / "lxc" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path.read_text()


def header_members() -> set[str]:
    """The function pointers of struct lxc_container in the installed header."""
    return set(
        re.findall(r"\(\*(\w+)\)\(struct lxc_container", header("lxccontainer.h"))
    )


def test_every_call_of_liblxc_is_wrapped_or_has_a_reason() -> None:
    members = header_members()
    assert len(members) > 50
    missing = {
        member
        for member in members - set(NOT_WRAPPED)
        if not hasattr(_lxc.Container, RENAMED.get(member, member))
    }
    assert not missing


# Those whose work is done without calling them, or that only prepare another.
NOT_NAMED = {
    "wait": "it has timeouts of its own, and looks at the state",
    "want_close_all_fds": "a setting for start()",
    "want_daemonize": "a setting for start()",
}


def test_every_wrapped_call_is_named_in_a_docstring() -> None:
    named = set(re.findall(r"lxc_container\.(\w+)", documentation()))
    assert not header_members() - set(NOT_WRAPPED) - set(NOT_NAMED) - named


def test_no_call_is_listed_as_not_wrapped_but_is() -> None:
    assert not [name for name in NOT_WRAPPED if hasattr(_lxc.Container, name)]


# The other exported functions: where they are, or why they are nowhere.
FUNCTIONS = {
    "list_active_containers": "list_containers",
    "list_all_containers": "list_containers",
    "list_defined_containers": "list_containers",
    "lxc_attach_run_command": "attach_run_command",
    "lxc_attach_run_shell": "attach_run_shell",
    "lxc_config_item_is_supported": "config_item_is_supported",
    "lxc_container_new": "Container",
    "lxc_get_global_config_item": "get_global_config_item",
    "lxc_get_version": "version",
    "lxc_get_wait_states": "get_wait_states",
    "lxc_has_api_extension": "has_api_extension",
    "lxc_log_close": "log_close",
    "lxc_log_init": "log_init",
}
NO_FUNCTIONS = {
    "lxc_container_get": "counts references, as Python does for the object",
    "lxc_container_put": "what the end of the object does",
}
HEADERS = ("attach_options.h", "lxccontainer.h")


def without_comments(name: str) -> str:
    return re.sub(r"/\*.*?\*/", "", header(name), flags=re.DOTALL)


def test_every_function_of_liblxc_is_there_or_has_a_reason() -> None:
    found = set()
    for name in HEADERS:
        found |= set(
            re.findall(r"^(?:\w+ +)+\**(\w+)\(.*\);", without_comments(name), re.M)
        )
    assert found >= {"lxc_container_new", "lxc_attach_run_shell", "lxc_log_close"}
    assert found - set(FUNCTIONS) - set(NO_FUNCTIONS) == set()
    assert not [name for name in FUNCTIONS.values() if not hasattr(lxc, name)]
    assert not [name for name in NO_FUNCTIONS if hasattr(lxc, name[len("lxc_") :])]


# The fields of the structs that programs fill in: the keyword of the raw method or of
# the function, or why there is none.
def the_same(*names: str) -> dict[str, str]:
    return dict(zip(names, names))


FIELDS = {
    "bdev_specs": (
        "create",
        the_same(
            *("fstype", "fssize", "zfsroot", "vg", "lv", "thinpool", "dir"),
            *("rbdname", "rbdpool", "rbduser"),
        ),
    ),
    "lxc_attach_options_t": (
        "attach",
        {
            **the_same(
                *("attach_flags", "namespaces", "personality", "initial_cwd", "uid"),
                *("gid", "env_policy", "extra_env_vars", "extra_keep_env", "log_fd"),
                *("lsm_label", "groups"),
            ),
            "stdin_fd": "stdin",
            "stdout_fd": "stdout",
            "stderr_fd": "stderr",
        },
    ),
    "lxc_console_log": ("console_log", the_same("clear", "read", "read_max")),
    "lxc_groups_t": ("attach", {"size": "groups", "list": "groups"}),
    "lxc_log": (
        "log_init",
        the_same("name", "lxcpath", "file", "level", "prefix", "quiet"),
    ),
    "migrate_opts": (
        "migrate",
        the_same(
            *("directory", "verbose", "stop", "predump_dir", "pageserver_address"),
            *("pageserver_port", "preserves_inodes", "action_script"),
            *("disable_skip_in_flight", "ghost_limit", "features_to_check"),
        ),
    ),
}
NO_FIELDS = {
    "lxc_attach_command_t.argv": "part of the payload of attach_run_command",
    "lxc_attach_command_t.program": "part of the payload of attach_run_command",
    "lxc_console_log.data": "what console_log() returns",
    "lxc_mount.version": "there is one version",
    "lxc_snapshot.comment_pathname": "what snapshot_list() returns",
    "lxc_snapshot.lxcpath": "what snapshot_list() returns",
    "lxc_snapshot.name": "what snapshot_list() returns",
    "lxc_snapshot.timestamp": "what snapshot_list() returns",
}


def struct_fields(name: str) -> dict[str, list[str]]:
    """The structs of a header, and the fields of each, those of inner structs too."""
    found = {}
    text = without_comments(name)
    for start in re.finditer(r"struct (\w+) \{", text):
        depth, end = 1, start.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        body = text[start.end() : end - 1]
        found[start[1]] = re.findall(r"^\s*[\w \t]+?[ \t*]+(\w+);", body, re.M)
    return found


def test_every_field_of_a_struct_is_there_or_has_a_reason() -> None:
    structs = {}
    for name in HEADERS:
        structs.update(struct_fields(name))
    assert "features_to_check" in structs["migrate_opts"]
    assert "rbdname" in structs["bdev_specs"]
    structs.pop("lxc_container")  # its members are the calls
    for struct, fields in structs.items():
        method, known = FIELDS.get(struct, ("", {}))
        missing = [
            field
            for field in fields
            if field not in known and f"{struct}.{field}" not in NO_FIELDS
        ]
        assert not missing, struct
        if method:
            holder = lxc if hasattr(lxc, method) else _lxc.Container
            there = {p.name for p in parameters(getattr(holder, method))}
            assert set(known.values()) <= there


# Macros of the headers that are no values for programs.
NO_CONSTANTS = {
    "LXC_ATTACH_OPTIONS_DEFAULT": "an initialiser",
    "LXC_CLONE_MAXFLAGS": "a bound",
    "LXC_CREATE_MAXFLAGS": "a bound",
    "LXC_MOUNT_API_V1": "the only version of a struct",
}


@pytest.mark.parametrize("name", HEADERS)
def test_every_flag_of_the_header_is_exported(name: str) -> None:
    flags = set(re.findall(r"#define ((?:LXC|FEATURE)_[A-Z]\w+)", header(name))) - set(
        NO_CONSTANTS
    )
    flags |= set(re.findall(r"^\s*(MIGRATE_\w+)", header(name), re.MULTILINE))
    assert flags
    assert not [flag for flag in flags if not hasattr(lxc, flag)]


def test_what_is_said_to_be_no_constant_is_none() -> None:
    text = "".join(map(header, HEADERS))
    for name in NO_CONSTANTS:
        assert f"#define {name}" in text
        assert not hasattr(lxc, name)


def test_all_labels_are_a_combination_of_the_headers_own() -> None:
    """LXC_ATTACH_LSM has LXC_ATTACH_LSM_LABEL in it since liblxc 4.0.11."""
    found = re.search(
        r"#define LXC_ATTACH_LSM +\(([\w| ]+)\)", header("attach_options.h")
    )
    assert found
    value = 0
    for name in found[1].split("|"):
        value |= getattr(lxc, name.strip())
    assert value == lxc.LXC_ATTACH_LSM == _lxc.LXC_ATTACH_LSM


# --- The extension module -----------------------------------------------------------


def test_only_the_init_function_is_exported() -> None:
    """Anything else could take the place of a function of that name in liblxc."""
    if not shutil.which("nm"):
        pytest.skip("needs nm: install binutils")
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", sys.modules["lxc._lxc"].__file__ or ""],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    exported = {line.split()[-1] for line in symbols.splitlines()}
    # Those that begin with an underscore are the linker's and the sanitizers'.
    assert {name for name in exported if not name.startswith("_")} == {"PyInit__lxc"}


PACKAGE = Path(__file__).parent.parent / "lxc"
SOURCES = sorted(PACKAGE.rglob("*.c"))


@pytest.mark.skipif(not SOURCES, reason="the C sources are not here")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_function_has_a_name_like_those_of_liblxc(source: Path) -> None:
    defined = re.findall(r"^(\w+)\(", source.read_text(), re.MULTILINE)
    assert defined
    assert not [name for name in defined if name.startswith("lxc_")]


@pytest.mark.skipif(not SOURCES, reason="the C sources are not here")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_functions_are_static_unless_the_header_shares_them(source: Path) -> None:
    shared = "".join(path.read_text() for path in PACKAGE.rglob("*.h"))
    function = r"^(.*)\n(\w+)\([^;{}\n]*(?:\n +[^;{}\n]*)*\)\n\{"
    defined = re.findall(function, source.read_text(), re.MULTILINE)
    assert defined
    loose = [
        name
        for returns, name in defined
        if "static" not in returns
        and not re.search(rf"\b{name}\(", shared)
        and not name.startswith("PyInit_")
    ]
    assert set(loose) <= {"main"}


@pytest.mark.skipif(not SOURCES, reason="the C sources are not here")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_sources_carry_the_licence_in_one_line(source: Path) -> None:
    assert "SPDX-License-Identifier: LGPL-2.1-or-later" in source.read_text()[:100]
