# SPDX-License-Identifier: LGPL-2.1-or-later
"""create(), alone and in place, which leaves what was there before when it fails.

Processes of this binding exclude each other by a lock; lxc-create and other programs
over liblxc are seen by the marker that liblxc puts into the directory.  Whether there
is a container already is asked of the disk: a handle may be older.  What liblxc itself
would remove after a failure, see create.c.
"""

from __future__ import annotations

import contextlib
import fcntl
import operator
import os
import re
import shutil
import stat
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import _lxc

if TYPE_CHECKING:
    from . import Container
    from .errors import Heard

__all__ = ["create", "creating", "made_alone", "no_empty_directory"]

ATTEMPTS = 3
TEMPLATES = "/usr/share/lxc/templates"  # of every distribution's liblxc
LAST = 3  # lines of a template's output that are part of the reason

# After a reason that needs no liblxc: see errors.find_error().
NOTHING_HEARD = ("", False, False, 0.0)


def create(
    container: Container,
    raw: Any,
    template: Any,
    flags: Any,
    args: Any,
    bdevtype: Any,
    fssize: Any,
    bdev_specs: Any,
) -> tuple[bool, Heard | None]:
    """Container.create(), and what was heard of a failure before that was undone.

    raw is the object as the extension's class sees it.
    """
    # All arguments are checked before anything is written.
    arguments = template_arguments(args)
    flags = operator.index(flags or 0)
    specs = storage_specs(bdev_specs, fssize)
    if specs.get("dir"):
        specs["dir"] = os.path.abspath(os.fsdecode(specs["dir"]))
    check_text(template, "template")
    check_text(bdevtype, "bdevtype")
    if template is not None:
        check_template(template)
    if container.running:
        return False, None
    path = container.get_config_path()
    if os.geteuid() != 0:
        try:  # as lxc-create does
            os.makedirs(path, 0o755, exist_ok=True)
        except OSError as error:
            return False, not_made(path, error)
    with creating(path, container.name) as in_the_way:
        if in_the_way:
            return False, in_the_way
        if template is None:
            return bool(raw.save_config()), None
        return create_alone(container, raw, template, flags, arguments, bdevtype, specs)


def taken(reason: str) -> Heard:
    return (reason, "exists", *NOTHING_HEARD)


def not_made(path: str, error: OSError) -> Heard:
    why = "denied" if isinstance(error, PermissionError) else None
    reason = f"{path} cannot be made: {error.strerror} (errno {error.errno})"
    return (reason, why, *NOTHING_HEARD)


def create_alone(
    container: Container,
    raw: Any,
    template: Any,
    flags: int,
    arguments: tuple[Any, ...],
    bdevtype: Any,
    specs: dict[str, Any],
) -> tuple[bool, Heard | None]:
    """create() where no other one of this binding is at work on that container."""
    directory = os.path.join(container.get_config_path(), container.name)
    forget_removed(container, raw)
    for _ in range(ATTEMPTS):
        if reason := why_taken(container, directory):
            return False, taken(reason)
        if has_rootfs(container):
            return False, taken("it has a root filesystem already")
        before = Before(directory, specs.get("dir"))
        ok, output, ours, robbed, failed, interruption = raw._create(
            template, flags, bdevtype or None, args=arguments, **specs
        )
        heard = _lxc._heard()
        if interruption is not None:
            if not ok and not robbed:
                before.restore(container, ours)
            raise interruption
        if ok and os.path.isdir(directory):
            return True, heard
        # An lxc-create that began a moment earlier destroys what it finds there when
        # it fails: then once more.
        if robbed or ok:
            continue
        if ours:
            before.restore(container, ours)
        else:
            before.remove_directory()
            if reason := why_taken(container, directory):
                return False, taken(reason)
        if failed and heard[0] is None:
            heard = with_words(container, template, output, heard)
        elif heard[0] is None and (missing := find_missing(container, template)):
            heard = (missing, None, *heard[2:])
        return False, heard
    return False, taken("another program creates and destroys it meanwhile")


STANDARD = "/etc/lxc/default.conf"  # of the package lxc


def find_missing(container: Container, template: Any) -> str | None:
    """What liblxc's library alone does not bring along, and what an ordinary user has
    to say."""
    from .errors import why_not_writable

    if why_not_writable(container.get_config_path()):
        return None  # which comes first
    default = _lxc.get_global_config_item("lxc.default_config")
    own = item(container, "lxc.uts.name") is not None  # it needs no default then
    if not own and not os.path.exists(default):
        if default == STANDARD or not os.path.exists(STANDARD):
            return f"there is no {default}: install the package lxc, which has it"
        return (
            f"there is no {default}: copy {STANDARD} to there, and add an lxc.idmap of "
            f"your ids in /etc/subuid and /etc/subgid"
        )
    if not os.path.isabs(os.fsdecode(template)) and not os.path.isdir(TEMPLATES):
        return f"there is no {TEMPLATES}: install the packages lxc and lxc-templates"
    if os.geteuid() != 0 and os.access(container.get_config_path(), os.W_OK):
        configuration: _lxc.Container = container
        if not own:
            configuration = _lxc.Container(container.name, container.get_config_path())
            configuration.load_config(default)
        if not item(configuration, "lxc.idmap"):
            where = "its configuration" if own else default
            return (
                f"there is no lxc.idmap in {where}: add one of your ids in /etc/subuid "
                f"and /etc/subgid"
            )
    return None


def item(container: _lxc.Container, key: str) -> str | None:
    """As it reads in memory; None where there is no configuration there."""
    try:
        return _lxc.Container.get_config_item(container, key)
    except KeyError:
        return None


WORDS = 20  # lines of a template's output that are kept as messages


def with_words(
    container: Container, template: Any, output: tuple[bytes, bytes], heard: Heard
) -> Heard:
    """What was heard, and what the template said last: on stderr, if it said anything
    there."""
    lines, errors = (
        [line.strip() for line in os.fsdecode(data).splitlines() if line.strip()]
        for data in output
    )
    last = (errors or lines)[-LAST:]
    lines = lines[-WORDS:]
    lines = [line for line in last if line not in lines] + lines
    own, why, text, shared, overlaps, since = heard
    name = os.path.basename(os.fsdecode(template))
    own = f"the template {name!r} failed"
    if last:
        own += ": " + "; ".join(last)
    stamp = time.strftime("%Y%m%d%H%M%S.000", time.gmtime())
    for line in lines:
        text += (
            f"lxc {container.name} {stamp} ERROR    template - {name}:template:0 - "
            f"{line}\n"
        )
    return own, why, text, shared, overlaps, since


# The fields of liblxc's struct bdev_specs; what has fields of its own is a mapping.
SPECS: Mapping[str, tuple[str, ...]] = {
    "dir": (),
    "fssize": (),
    "fstype": (),
    "lvm": ("vg", "lv", "thinpool"),
    "rbd": ("rbdname", "rbdpool", "rbduser"),
    "zfs": ("zfsroot",),
}


def storage_specs(given: Any, fssize: Any) -> dict[str, Any]:
    """create()'s bdev_specs and fssize, flat as the extension takes them."""
    specs: dict[str, Any] = {}
    for name, value in checked_mapping(given or {}, SPECS, "bdev_specs").items():
        if SPECS[name]:
            specs.update(checked_mapping(value, SPECS[name], f"bdev_specs[{name!r}]"))
        else:
            specs[name] = value
    if fssize and specs.get("fssize"):
        raise ValueError("fssize is given twice: leave it out of bdev_specs")
    specs["fssize"] = size(specs.get("fssize") or fssize or 0)
    for name in specs.keys() - {"fssize"}:
        check_text(specs[name], f"bdev_specs: {name}")
    return specs


def checked_mapping(given: Any, known: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a mapping, not {given!r}")
    for name in given:
        if name not in known:
            raise ValueError(f"{what}: {name!r} is none of {', '.join(known)}")
    return given


UNITS = "KMGTPE"


def size(given: Any, what: str = "fssize") -> int:
    """A number of bytes, from an int or from text such as "2G", 2 * 1024**3."""
    if isinstance(given, str):
        text = given.strip().upper()
        # Of "GiB", "GB" and "G" the first letter is what counts.
        found = re.fullmatch(rf"(\d+)\s*(?:([{UNITS}])(?:I?B)?|B)?", text, re.ASCII)
        if found is None:
            raise ValueError(
                f"{given!r} is no size: give a number of bytes, or text such as '2G'"
            )
        given = int(found[1])
        if found[2]:
            given <<= 10 * (UNITS.index(found[2]) + 1)
    number = operator.index(given)
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{what} is a number of bytes below 2**64, not {number}")
    return number


def template_arguments(args: Any) -> tuple[Any, ...]:
    if args is None:
        return ()
    if isinstance(args, Mapping):
        args = [
            item for key, value in args.items() for item in (f"--{key}", str(value))
        ]
    if not isinstance(args, (list, tuple)):
        raise TypeError(
            f"args must be a mapping, or a list or tuple of strings, not {args!r}"
        )
    for argument in args:
        check_text(argument, "args", optional=False)
    return tuple(args)


def check_text(value: Any, what: str, *, optional: bool = True) -> None:
    if value is None and optional:
        return
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{what}: a string is needed, not {value!r}")
    if b"\0" in os.fsencode(value):
        raise ValueError(f"{what}: embedded null byte in {value!r}")


def check_template(template: Any) -> None:
    name = os.fsdecode(template)
    if "/" in name and not os.path.isabs(name):
        raise ValueError(
            f"{name!r} is no template: give a name such as 'busybox', or a full path"
        )


def has_rootfs(container: _lxc.Container) -> bool:
    """Whether the container has a root filesystem already: liblxc would then fail, and
    destroy the container where it does not find that."""
    try:
        return bool(_lxc.Container.get_config_item(container, "lxc.rootfs.path"))
    except KeyError:
        return False


# --- One at a time --------------------------------------------------------------------


def lock_path(path: str, name: str, what: str = "create") -> str:
    """The file that processes of this binding lock to create a container, or something
    of it: beside liblxc's own, which the child of a create takes itself."""
    if os.geteuid() == 0:
        base = "/run"
    else:
        base = os.environ.get("XDG_RUNTIME_DIR") or os.path.expanduser(
            "~/.cache/lxc/run"
        )
    return f"{base}/lxc/lock/{path}/.{name}.{what}"


@contextlib.contextmanager
def creating(
    path: str, name: str, what: str = "create", *, wait: bool = False
) -> Iterator[Heard | None]:
    """Hold the lock, or get the reason why that cannot be.

    The file stays: to remove it would let two in, one with the old file.
    """
    file = lock_path(path, name, what)
    try:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        yield not_made(error.filename, error)
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield taken("another thread or process is creating it")
            return
        try:
            yield None
        finally:
            # A process that was forked meanwhile has the descriptor as well.
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def marker(directory: str) -> str:
    """The file by which liblxc marks a container that is being created."""
    return os.path.join(directory, "partial")


def is_at_work(file: str, moment: float = 0.5) -> bool:
    """Whether a process is there that has a marker locked: as it does from a moment
    after it made it, until a moment before it removes it."""
    end = time.monotonic() + moment
    while not is_locked(file):
        if not os.path.lexists(file) or time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def is_locked(file: str) -> bool:
    try:
        fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # mode 0000: only root may open it
        return is_listed_as_locked(file)
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, WRITE_LOCK)
    finally:
        os.close(fd)
    return bool(struct.unpack(FLOCK, answer)[0] != fcntl.F_UNLCK)


def is_listed_as_locked(file: str) -> bool:
    try:
        number = os.stat(file).st_ino
        with open("/proc/locks") as locks:
            return any(line.split()[-3].endswith(f":{number}") for line in locks)
    except FileNotFoundError:
        return False


# struct flock: a write lock of the whole file; l_pid has to be 0.
FLOCK = "hhqqi4x"
WRITE_LOCK = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def why_taken(container: Container, directory: str) -> str | None:
    """Why there cannot be another container of that name, as the disk has it now."""
    partial = marker(directory)
    if os.path.lexists(partial):
        if is_at_work(partial):
            return "another program is creating it"
        return (
            f"a create of it was interrupted: destroy() what is there, or remove "
            f"{partial}"
        )
    fresh = _lxc.Container(container.name, container.get_config_path())
    if has_rootfs(fresh):
        return "it has a root filesystem already"
    return None


def forget_removed(container: Container, raw: Any) -> None:
    """Let a handle go of a container that another program has destroyed."""
    if container.defined:
        return
    try:
        root = _lxc.Container.get_config_item(container, "lxc.rootfs.path")
    except KeyError:
        return
    directory = os.path.join(container.get_config_path(), container.name)
    if f"{directory}/" in root and not os.path.isdir(directory):
        raw.clear_config()


# --- What a failure leaves ------------------------------------------------------------


class Before:
    """What was there before a create, and is to be there after one that failed."""

    def __init__(self, directory: str, root: str | None) -> None:
        self.directory = directory
        self.config = os.path.join(directory, "config")
        self.content = read(self.config)
        self.names = names_in(directory)
        # Where the root filesystem is to be, if not in the container's directory.
        self.root = root
        self.root_names = names_in(root) if root else None

    def restore(self, container: Container, ours: bool) -> None:
        """Remove what the create made, and nothing else.

        Where liblxc had the container to itself, what is new is this call's; if
        another one has it by now, that one made it.
        """
        partial = marker(self.directory)
        if os.path.lexists(partial):
            if is_at_work(partial, 0 if ours else 0.05):
                return
            os.unlink(partial)  # its process crashed, or was killed
        if not ours:
            self.remove_directory()
            return
        self.remove_storage(container)
        if self.root is not None:
            remove_new(container, self.root, self.root_names)
        remove_new(container, self.directory, self.names, ("config",))
        if self.content is None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(self.config)
        else:
            os.makedirs(self.directory, exist_ok=True)
            if read(self.config) != self.content:
                with open(self.config, "wb") as file:
                    file.write(self.content)
        if self.names is None:
            self.remove_directory()

    def remove_directory(self) -> None:
        """Where the create made it; it stays if somebody has put something there."""
        if self.names is None:
            with contextlib.suppress(OSError):
                os.rmdir(self.directory)

    def remove_storage(self, container: Container) -> None:
        """A volume that the create made: nothing of it is in a directory."""
        try:
            fresh = _lxc.Container(container.name, container.get_config_path())
            storage = _lxc.Container.get_config_item(fresh, "lxc.rootfs.path")
        except (KeyError, RuntimeError):
            return
        kind, _, where = storage.partition(":")
        if where and kind not in ("dir", "loop", "overlay", "overlayfs", "btrfs"):
            destroy_storage(container, storage)


def read(file: str) -> bytes | None:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def names_in(directory: str) -> frozenset[str] | None:
    """None: it is not there."""
    try:
        return frozenset(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove_new(
    container: Container,
    directory: str,
    names: frozenset[str] | None,
    but: tuple[str, ...] = (),
) -> None:
    """Remove what was not in a directory before, and where that itself was not there,
    all of it."""
    for name in (names_in(directory) or frozenset()) - (names or frozenset()):
        if name in but:
            continue
        path = os.path.join(directory, name)
        if not remove(path):
            # Of other users' in the container's user namespace.
            destroy_storage(container, f"dir:{path}")
    if names is None and not but:
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def remove(path: str) -> bool:
    """Remove a file, or a directory with all that is in it: nothing of what somebody
    has mounted there, which is left as it is."""
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
    elif not has_mounts(path):
        shutil.rmtree(path, ignore_errors=True)
        return not os.path.isdir(path)
    return True


def has_mounts(path: str) -> bool:
    """Whether something is mounted on a directory, or below it."""
    path = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        for line in f:
            place = re.sub(
                r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4]
            )
            if place == path or place.startswith(path + "/"):
                return True
    return False


def destroy_storage(container: Container, storage: str) -> None:
    """Have liblxc destroy storage alone: as that of a container without anything else,
    with the same user namespace."""
    with tempfile.TemporaryDirectory(prefix="lxc-create-") as scratch:
        other = _lxc.Container("storage", scratch)
        with contextlib.suppress(KeyError):
            idmap = _lxc.Container.get_config_item(container, "lxc.idmap")
            for line in idmap.split("\n"):
                other.set_config_item("lxc.idmap", line)
        other.set_config_item("lxc.rootfs.path", storage)
        if other.save_config():
            other.destroy()


# --- Other calls that make a container ------------------------------------------------


def made_alone(
    path: Any, name: Any, call: Callable[[], bool]
) -> tuple[bool, Heard | None]:
    """Have a call make a container of that name, as create() does.

    liblxc destroys what it could not make whole, with all that the directory has: so
    that must be empty.
    """
    path, name = os.path.abspath(os.fsdecode(path)), os.fsdecode(name)
    if not is_name(name):
        return call(), None  # which says what is wrong with it
    with creating(path, name) as in_the_way:
        if in_the_way:
            return False, in_the_way
        directory = os.path.join(path, name)
        names = names_in(directory)
        if names and "config" not in names and names - {"lost+found"}:
            return False, taken(f"{directory} is there already, and is not empty")
        status = os.stat(directory) if names is not None else None
        if call():
            return True, None
        heard = _lxc._heard()
        if status is None:
            remove_unfinished(path, name)
        elif not os.path.lexists(directory):
            os.mkdir(directory)
            os.chown(directory, status.st_uid, status.st_gid)
            os.chmod(directory, stat.S_IMODE(status.st_mode))
        return False, heard


def is_name(name: str) -> bool:
    return "/" not in name and name not in ("", ".", "..") and len(name) <= 200


def remove_unfinished(path: str, name: str) -> None:
    """Remove what a failure has left: liblxc gives up before it has a root filesystem,
    or cannot remove that."""
    directory = os.path.join(path, name)
    partial, config = marker(directory), os.path.join(directory, "config")
    if not os.path.isdir(directory) or os.path.lexists(partial):
        return  # another program came meanwhile
    if not os.path.exists(config):
        remove(directory)
    elif not has_rootfs(_lxc.Container(name, path)):
        with contextlib.suppress(OSError):  # it is not empty
            os.rmdir(os.path.join(directory, "rootfs"))
        if names_in(directory) == frozenset(("config",)):
            os.unlink(config)
            os.rmdir(directory)


@contextlib.contextmanager
def no_empty_directory(path: str, name: str) -> Iterator[None]:
    """save_config() makes the container's directory even to write elsewhere, or not."""
    directory = os.path.join(path, name)
    before = os.path.lexists(directory)
    yield
    if not before:
        with contextlib.suppress(OSError):  # it is not empty: rightly so
            os.rmdir(directory)
