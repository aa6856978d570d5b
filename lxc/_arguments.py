# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arguments of run(), popen() and their asyncio forms, as subprocess has them."""

from __future__ import annotations

import builtins
import contextlib
import locale
import operator
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .process import Command, Environment, Word

__all__ = ["as_asyncio", "split", "variables", "words"]

# What the launcher is spawned with: its streams are the command's.
STREAMS = ("stdin", "stdout", "stderr", "restore_signals")
TEXT = ("bufsize", "text", "encoding", "errors")
COMMAND = (
    "executable",
    "shell",
    "cwd",
    "env",
    "user",
    "group",
    "extra_groups",
    "umask",
    "tty",
    "pass_fds",
)

SHELL = "/bin/sh"
LARGEST_ID = (1 << 32) - 2


def warn(message: str, kind: type[Warning]) -> None:
    """Warn about the line that called this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_globals.get("__package__") == __package__ and frame.f_back:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, kind, level)


# --- All of them ----------------------------------------------------------------------


def split(
    given: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Take a method's arguments apart: for spawning, for text, and for the command.

    Raise what can be said without a look at the container.
    """
    refuse(given)
    check_ids(given["user"], given["group"], given["extra_groups"])
    streams = {name: given[name] for name in STREAMS}
    size = given["pipesize"]
    if not isinstance(size, int):
        raise TypeError("pipesize must be an integer")
    if sys.version_info >= (3, 10):
        streams["pipesize"] = size
    elif size > 0:
        raise NotImplementedError("pipesize needs Python 3.10 or later")
    if not isinstance(given["bufsize"], (int, type(None))):
        raise TypeError("bufsize must be an integer")
    text = {name: given[name] for name in TEXT}
    text["text"] = is_text(given)
    if text["encoding"] is None and (text["text"] or text["errors"]):
        text["encoding"] = usual_encoding()
    options = {name: given[name] for name in COMMAND}
    if not given["close_fds"] and not given["pass_fds"]:
        options["pass_fds"] = inheritable()
    return streams, text, options


def refuse(given: Mapping[str, Any]) -> None:
    """Raise for what a command in a container cannot have."""
    if given["preexec_fn"] is not None:
        raise ValueError(
            "preexec_fn is not supported: the command does not come from a fork of "
            "this process. attach_wait() calls a function in the container"
        )
    for name, default in (("startupinfo", None), ("creationflags", 0)):
        if given[name] != default:
            raise ValueError(f"{name} is only supported on Windows platforms")
    if given["pass_fds"] and not given["close_fds"]:
        warn("pass_fds overriding close_fds.", RuntimeWarning)
    group = given["process_group"]
    if group is not None and operator.index(group) > 0:
        raise PermissionError(
            "process_group: the command has a session of its own, in which there is "
            "no other group"
        )


def inheritable() -> list[int]:
    """What a child of this process gets where nobody closes it: what a program, or one
    that began it, has marked so.
    """
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the directory, and other threads'
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def is_text(given: Mapping[str, Any]) -> bool | None:
    text: bool | None = given["text"]
    newlines = given["universal_newlines"]
    if text is None or newlines is None:
        return newlines if text is None else text
    if bool(text) != bool(newlines):
        raise subprocess.SubprocessError(
            "Cannot disambiguate when both text and universal_newlines are supplied "
            "but different. Pass one or the other."
        )
    return text


def usual_encoding() -> str | None:
    """What text is in; None leaves that to subprocess, which need not warn."""
    if not getattr(sys.flags, "warn_default_encoding", False):  # since 3.10
        return None
    warn("'encoding' argument not specified.", builtins.EncodingWarning)  # type: ignore[attr-defined]
    if sys.flags.utf8_mode:
        return "utf-8"
    if sys.version_info >= (3, 11):
        return locale.getencoding()
    return locale.getpreferredencoding(False)


def as_asyncio(given: Mapping[str, Any], shell: bool) -> None:
    """Raise for what asyncio's subprocesses cannot have."""
    for name, wanted in (
        ("universal_newlines", False),
        ("shell", shell),
        ("bufsize", 0),
        ("text", False),
        ("encoding", None),
        ("errors", None),
    ):
        value = given[name]
        same = value is None if wanted is None else (value or 0) == wanted
        if not same:
            raise ValueError(f"{name} must be {wanted}")


# --- Users and groups -----------------------------------------------------------------


def check_ids(user: Any, group: Any, extra_groups: Any) -> None:
    """Numbers must be ones that somebody can have."""
    for what, kind, value in (("User", "uid", user), ("Group", "gid", group)):
        if not isinstance(value, (str, int, type(None))):
            raise TypeError(f"{what} must be a string or an integer, not {type(value)}")
        if isinstance(value, int):
            if value < 0:
                raise ValueError(f"{what} ID cannot be negative, got {value}")
            if value > LARGEST_ID:
                raise OverflowError(f"{kind} is greater than maximum")
    if isinstance(extra_groups, (str, bytes)):
        raise ValueError("Groups must be a list, not a string")
    for each in extra_groups or ():
        if not isinstance(each, (str, int)):
            raise TypeError(
                f"Items in extra_groups must be a string or integer, not {type(each)}"
            )
        if isinstance(each, int) and each < 0:
            raise ValueError(f"Group ID cannot be negative, got {each}")
        if isinstance(each, int) and each > LARGEST_ID:
            raise ValueError(f"invalid group id: {each}")


# --- Program, arguments and environment -----------------------------------------------


def words(
    args: Command, shell: bool, executable: Word | None
) -> tuple[Word, list[Word]]:
    """The program, and its argv.  Without shell nothing takes a single word apart."""
    if isinstance(args, os.PathLike) and shell:
        raise TypeError("path-like args is not allowed when shell is true")
    single = isinstance(args, (str, bytes, os.PathLike))
    found: list[Word] = [args] if single else list(args)  # type: ignore[list-item, arg-type]
    if shell:
        found = [executable or SHELL, "-c", *found]
    if executable is not None:
        return executable, found
    if not found:
        raise IndexError("args is empty: its first item is the program")
    return found[0], found


def variables(env: Environment) -> list[bytes]:
    found = []
    for key, value in env.items():
        name = os.fsencode(key)
        if b"=" in name:
            raise ValueError(f"illegal environment variable name: {key!r}")
        found.append(name + b"=" + os.fsencode(value))
    return found
