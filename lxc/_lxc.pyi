# SPDX-License-Identifier: LGPL-2.1-or-later
# Held to the extension by stubtest.
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, Protocol

from typing_extensions import Self, TypeAlias, disjoint_base

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Text: TypeAlias = str | bytes
_Stream: TypeAlias = int | _HasFileno | None

CLONE_NEWIPC: Final[int]
CLONE_NEWNET: Final[int]
CLONE_NEWNS: Final[int]
CLONE_NEWPID: Final[int]
CLONE_NEWUSER: Final[int]
CLONE_NEWUTS: Final[int]
FEATURE_LAZY_PAGES: Final[int]
FEATURE_MEM_TRACK: Final[int]
LIBLXC_BUILT_FOR: Final[str]
LXC_ATTACH_CLEAR_ENV: Final[int]
LXC_ATTACH_DEFAULT: Final[int]
LXC_ATTACH_DETECT_PERSONALITY: Final[int]
LXC_ATTACH_DROP_CAPABILITIES: Final[int]
LXC_ATTACH_LSM: Final[int]
LXC_ATTACH_KEEP_ENV: Final[int]
LXC_ATTACH_LSM_EXEC: Final[int]
LXC_ATTACH_LSM_LABEL: Final[int]
LXC_ATTACH_LSM_NOW: Final[int]
LXC_ATTACH_MOVE_TO_CGROUP: Final[int]
LXC_ATTACH_NO_NEW_PRIVS: Final[int]
LXC_ATTACH_REMOUNT_PROC_SYS: Final[int]
LXC_ATTACH_SETGROUPS: Final[int]
LXC_ATTACH_SET_PERSONALITY: Final[int]
LXC_ATTACH_TERMINAL: Final[int]
LXC_CLONE_ALLOW_RUNNING: Final[int]
LXC_CLONE_KEEPBDEVTYPE: Final[int]
LXC_CLONE_KEEPMACADDR: Final[int]
LXC_CLONE_KEEPNAME: Final[int]
LXC_CLONE_MAYBE_SNAPSHOT: Final[int]
LXC_CLONE_SNAPSHOT: Final[int]
LXC_CREATE_QUIET: Final[int]
MIGRATE_DUMP: Final[int]
MIGRATE_FEATURE_CHECK: Final[int]
MIGRATE_PRE_DUMP: Final[int]
MIGRATE_RESTORE: Final[int]

@disjoint_base
class Container:
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(self, name: _Text, config_path: _Path | None = None) -> None: ...
    @property
    def config_file_name(self) -> str: ...
    @property
    def controllable(self) -> bool: ...
    @property
    def defined(self) -> bool: ...
    @property
    def error_num(self) -> int: ...
    @property
    def init_pid(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def running(self) -> bool: ...
    @property
    def state(self) -> str: ...
    def add_device_node(
        self, src_path: _Path, dest_path: _Path | None = None
    ) -> bool: ...
    def attach(
        self,
        run: Callable[..., Any],
        payload: Any = ...,
        /,
        *,
        attach_flags: int | None = 65535,
        namespaces: int | None = -1,
        personality: int | None = -1,
        initial_cwd: _Path | None = None,
        uid: int | None = -1,
        gid: int | None = -1,
        env_policy: int | None = 0,
        extra_env_vars: Sequence[_Text] | None = None,
        extra_keep_env: Sequence[_Text] | None = None,
        stdin: _Stream = None,
        stdout: _Stream = None,
        stderr: _Stream = None,
        log_fd: _Stream = None,
        lsm_label: _Text | None = None,
        groups: Iterable[int] | None = None,
    ) -> int: ...
    def attach_interface(
        self, src_ifname: _Text, dst_ifname: _Text | None = None
    ) -> bool: ...
    def attach_wait(
        self,
        run: Callable[..., Any],
        payload: Any = ...,
        /,
        *,
        attach_flags: int | None = 65535,
        namespaces: int | None = -1,
        personality: int | None = -1,
        initial_cwd: _Path | None = None,
        uid: int | None = -1,
        gid: int | None = -1,
        env_policy: int | None = 0,
        extra_env_vars: Sequence[_Text] | None = None,
        extra_keep_env: Sequence[_Text] | None = None,
        stdin: _Stream = None,
        stdout: _Stream = None,
        stderr: _Stream = None,
        log_fd: _Stream = None,
        lsm_label: _Text | None = None,
        groups: Iterable[int] | None = None,
    ) -> int: ...
    def checkpoint(
        self,
        directory: _Path,
        stop: bool | None = False,
        verbose: bool | None = False,
    ) -> bool: ...
    def clear_config(self) -> None: ...
    def clear_config_item(self, key: _Text) -> bool: ...
    def clone(
        self,
        newname: _Text,
        config_path: _Path | None = None,
        flags: int | None = 0,
        bdevtype: _Text | None = None,
        bdevdata: _Text | None = None,
        newsize: int | None = 0,
        hookargs: Sequence[_Text] | None = None,
    ) -> bool: ...
    def console(
        self,
        ttynum: int | None = -1,
        stdinfd: int | None = 0,
        stdoutfd: int | None = 1,
        stderrfd: int | None = 2,
        escape: int | None = 1,
    ) -> bool: ...
    def console_getfd(self, ttynum: int | None = -1) -> int | Literal[False]: ...
    def console_log(
        self,
        clear: bool | None = False,
        read: bool | None = True,
        read_max: int | None = 0,
    ) -> bytes: ...
    def create(
        self,
        template: _Path | None = None,
        flags: int | None = 0,
        bdevtype: _Text | None = None,
        fssize: int | None = 0,
        args: Sequence[_Text] | None = None,
        fstype: _Text | None = None,
        dir: _Path | None = None,
        zfsroot: _Text | None = None,
        vg: _Text | None = None,
        lv: _Text | None = None,
        thinpool: _Text | None = None,
        rbdname: _Text | None = None,
        rbdpool: _Text | None = None,
        rbduser: _Text | None = None,
    ) -> bool: ...
    def destroy(self) -> bool: ...
    def destroy_with_snapshots(self) -> bool: ...
    def detach_interface(
        self, ifname: _Text, dst_ifname: _Text | None = None
    ) -> bool: ...
    def devpts_fd(self) -> int: ...
    def freeze(self) -> bool: ...
    def get_cgroup_item(self, key: _Text) -> str: ...
    def get_config_item(self, key: _Text) -> str: ...
    def get_config_path(self) -> str: ...
    def get_interfaces(self) -> tuple[str, ...]: ...
    def get_ips(
        self,
        interface: _Text | None = None,
        family: _Text | None = None,
        scope: int | None = 0,
    ) -> tuple[str, ...]: ...
    def get_keys(self, key: _Text | None = None) -> str: ...
    def get_running_config_item(self, key: _Text) -> str | None: ...
    def init_pidfd(self) -> int: ...
    def load_config(self, path: _Path | None = None) -> bool: ...
    def migrate(
        self,
        cmd: int,
        directory: _Path | None = None,
        verbose: bool | None = False,
        stop: bool | None = False,
        predump_dir: _Path | None = None,
        pageserver_address: _Text | None = None,
        pageserver_port: _Text | None = None,
        preserves_inodes: bool | None = False,
        action_script: _Path | None = None,
        disable_skip_in_flight: bool | None = False,
        ghost_limit: int | None = 0,
        features_to_check: int | None = 0,
    ) -> tuple[bool, int]: ...
    def mount(
        self,
        source: _Path | None,
        target: _Path,
        filesystemtype: _Text | None = None,
        mountflags: int | None = 0,
        data: _Text | None = None,
    ) -> bool: ...
    def reboot(self) -> bool: ...
    def reboot2(self, timeout: float | None = -1) -> bool: ...
    def remove_device_node(
        self, src_path: _Path, dest_path: _Path | None = None
    ) -> bool: ...
    def rename(self, new_name: _Text) -> bool: ...
    def restore(self, directory: _Path, verbose: bool | None = False) -> bool: ...
    def save_config(self, path: _Path | None = None) -> bool: ...
    def seccomp_notify_fd(self) -> int: ...
    def seccomp_notify_fd_active(self) -> int: ...
    def set_cgroup_item(self, key: _Text, value: _Text) -> bool: ...
    def set_config_item(self, key: _Text, value: _Text) -> bool: ...
    def set_config_path(self, path: _Path) -> bool: ...
    def set_timeout(self, timeout: int) -> None: ...
    def shutdown(self, timeout: float | None = -1) -> bool: ...
    def snapshot(self, comment_path: _Path | None = None) -> str | Literal[False]: ...
    def snapshot_destroy(self, name: _Text) -> bool: ...
    def snapshot_destroy_all(self) -> bool: ...
    def snapshot_list(self) -> tuple[tuple[str, str, str | None, str], ...]: ...
    def snapshot_restore(self, name: _Text, newname: _Text | None = None) -> bool: ...
    def start(
        self,
        useinit: bool | None = False,
        daemonize: bool | None = True,
        close_fds: bool | None = False,
        cmd: Sequence[_Text] | None = None,
    ) -> bool: ...
    def stop(self) -> bool: ...
    def umount(self, target: _Path, mountflags: int | None = 0) -> bool: ...
    def unfreeze(self) -> bool: ...
    def wait(self, state: _Text, timeout: float | None = -1) -> bool: ...
    def _create(
        self,
        template: _Path | None = None,
        flags: int | None = 0,
        bdevtype: _Text | None = None,
        fssize: int | None = 0,
        args: Sequence[_Text] | None = None,
        fstype: _Text | None = None,
        dir: _Path | None = None,
        zfsroot: _Text | None = None,
        vg: _Text | None = None,
        lv: _Text | None = None,
        thinpool: _Text | None = None,
        rbdname: _Text | None = None,
        rbdpool: _Text | None = None,
        rbduser: _Text | None = None,
    ) -> tuple[bool, tuple[bytes, bytes], bool, bool, bool, BaseException | None]: ...
    def _request(
        self,
        program: _Path,
        argv: Sequence[_Text],
        environment: Sequence[_Text] | None,
        variables: Sequence[_Text],
        cwd: _Path | None,
        user: tuple[int, int, list[int]] | None,
        umask: int,
        tty: bool,
        log: int,
    ) -> int: ...
    @classmethod
    def _list(
        cls,
        active: object = True,
        defined: object = True,
        config_path: _Path | None = None,
    ) -> tuple[Self, ...]: ...
    def _replace_config_item(
        self, key: _Text, values: _Text | Sequence[_Text], /
    ) -> bool: ...

def arch_to_personality(arch: _Text, /) -> int: ...
def attach_run_command(command: tuple[_Text, list[_Text]], /) -> int: ...
def attach_run_shell(ignored: object, /) -> int: ...
def config_item_is_supported(key: _Text, /) -> bool: ...
def features() -> dict[str, bool]: ...
def get_global_config_item(key: _Text) -> str: ...
def get_version() -> str: ...
def get_wait_states() -> tuple[str, ...]: ...
def has_api_extension(extension: _Text, /) -> bool: ...
def list_containers(
    active: object = True, defined: object = True, config_path: _Path | None = None
) -> tuple[str, ...]: ...
def _environment(known: bytes, /) -> tuple[list[str], list[str]]: ...
def _launcher(heap: int = ...) -> str | None: ...
def _launcher_fd() -> int: ...
def _hear(fd: int, seconds: float, /) -> tuple[str, int, int] | None: ...
def _order(fd: int, end: bool, /) -> None: ...
def _open_beneath(pid: int, path: _Path, /) -> int: ...
def _socket_pair() -> tuple[int, int]: ...
def _heard() -> tuple[str | None, str | None, str, bool, bool, float]: ...
def _log_close() -> None: ...
def _log_file() -> int: ...
def _log_init(
    name: _Text | None,
    lxcpath: _Path | None,
    file: _Path | None,
    level: str,
    number: int,
    prefix: _Text | None,
    quiet: bool,
    /,
) -> None: ...
def _log_level(level: int, loud: bool, /) -> None: ...
