# SPDX-License-Identifier: LGPL-2.1-or-later
"""create() that leaves what was there before when it fails, and clone() likewise.

liblxc destroys a container whose template fails, with all that its directory held, and
keeps the half-made configuration in the handle.
"""

from __future__ import annotations

import contextlib
import operator
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import _lxc

if TYPE_CHECKING:
    from . import Container
    from .errors import Heard

__all__ = ["create", "no_empty_directory", "removed_if_left"]

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
    check_text(template, "template")
    check_text(bdevtype, "bdevtype")
    if template is None:
        return bool(raw.save_config()), None
    check_template(template)
    if container.running:
        return False, None
    if has_rootfs(container):
        return False, ("it has a root filesystem already", "exists", *NOTHING_HEARD)
    with undone_on_failure(container, raw) as attempt:
        attempt.ok = (attempt.defined or raw.save_config()) and raw.create(
            template, flags, bdevtype or None, args=arguments, **specs
        )
        heard = _lxc._heard()
    return bool(attempt.ok), heard


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


def has_rootfs(container: Container) -> bool:
    """Whether the container has a root filesystem already: liblxc would then fail, and
    destroy the container where it does not find that."""
    try:
        return bool(container.get_config_item("lxc.rootfs.path"))
    except KeyError:
        return False


class Attempt:
    ok = False
    defined = False


@contextlib.contextmanager
def undone_on_failure(container: Container, raw: Any) -> Iterator[Attempt]:
    """Put directory and configuration back unless the attempt succeeds."""
    attempt = Attempt()
    attempt.defined = container.defined
    directory = os.path.join(container.get_config_path(), container.name)
    with tempfile.TemporaryDirectory(prefix="lxc-create-") as scratch:
        # What the handle had in memory; None where it had nothing.
        memory = os.path.join(scratch, "config") if has_memory(container) else None
        if memory and attempt.defined:
            raw.save_config(memory)
        with directory_aside(directory, attempt):
            try:
                if memory and not attempt.defined and raw.save_config():
                    shutil.copyfile(container.config_file_name, memory)
                yield attempt
            finally:
                if not attempt.ok:
                    raw.clear_config()
                    if memory and os.path.exists(memory):
                        raw.load_config(memory)


def has_memory(container: Container) -> bool:
    try:
        container.get_config_item("lxc.uts.name")
    except KeyError:
        return False
    return True


@contextlib.contextmanager
def directory_aside(directory: str, attempt: Attempt) -> Iterator[None]:
    """Have the attempt work on a directory of its own, with the old configuration."""
    if not os.path.isdir(directory):
        try:
            yield
        finally:
            if not attempt.ok:
                shutil.rmtree(directory, ignore_errors=True)
        return
    parent, name = os.path.split(directory)
    aside = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
    os.rename(directory, aside)
    try:
        copy_directory(aside, directory)
        yield
    finally:
        if attempt.ok:
            for entry in os.listdir(aside):
                if not os.path.lexists(os.path.join(directory, entry)):
                    os.rename(
                        os.path.join(aside, entry), os.path.join(directory, entry)
                    )
            shutil.rmtree(aside, ignore_errors=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)
            os.rename(aside, directory)


def copy_directory(source: str, target: str) -> None:
    """The directory itself and its configuration, with mode and owner."""
    status = os.stat(source)
    os.mkdir(target)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, status.st_mode & 0o7777)
    config = os.path.join(source, "config")
    if os.path.exists(config):
        copy = os.path.join(target, "config")
        shutil.copy2(config, copy)
        status = os.stat(config)
        os.chown(copy, status.st_uid, status.st_gid)


@contextlib.contextmanager
def removed_if_left(path: Any, name: Any) -> Iterator[None]:
    """Remove the directory of a container that is new and not whole."""
    directory = os.path.join(os.fsdecode(path), os.fsdecode(name))
    before = os.path.lexists(directory)
    yield
    if not before and os.path.isdir(directory):
        config = os.path.join(directory, "config")
        if not os.path.exists(config) or os.path.exists(
            os.path.join(directory, "partial")
        ):
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def no_empty_directory(path: str, name: str) -> Iterator[None]:
    """save_config() makes the container's directory even to write elsewhere, or not."""
    directory = os.path.join(path, name)
    before = os.path.lexists(directory)
    yield
    if not before:
        with contextlib.suppress(OSError):  # it is not empty: rightly so
            os.rmdir(directory)
