# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lines of liblxc's log: whose they are, what they mean, and who else hears them.

Imported when a call failed for the first time, or somebody asks for a log.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import re
import stat
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _lxc, errors
from .errors import find_messages

if TYPE_CHECKING:
    from logging import Logger

    from . import Container
    from .errors import Heard

__all__ = ["Message", "forward", "own_lines", "parse", "sentence"]

# liblxc's levels, lowest first, and logging's numbers for them.
LEVELS = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "NOTICE": 25,
    "WARN": 30,
    "ERROR": 40,
    "CRIT": 50,
    "ALERT": 50,
    "FATAL": 50,
}
ERROR = LEVELS["ERROR"]

# "lxc NAME 20260101000000.000 ERROR    conf - file.c:function:1 - MESSAGE"
LINE = re.compile(
    r"(?P<prefix>\S+)(?: (?P<name>.*?))? (?P<time>\d{14}\.\d{3}) (?P<level>[A-Z]+)\s+"
    r"(?P<category>\S+) - (?P<place>[^:]+:\w+:\d+) - (?P<text>.*)"
)
# What liblxc puts before a message where the system said no.
NO_ERROR, MISSING = os.strerror(0), os.strerror(errno.ENOENT)
ERRNO = {NO_ERROR, *map(os.strerror, errno.errorcode)}

# How much of a log file that others write to as well is looked at, from its end.
TAIL = 1 << 20

# The name that log_init() was given: all lines carry that one then.
log_name: str | None = None
log_level = "ERROR"


class Message(NamedTuple):
    """A line of liblxc's log.

    level is liblxc's name of it, such as "ERROR"; place "file.c:function:line" in
    liblxc's source; what a template printed has the category "template".  foreign: it
    has no name in it, and another call was being made at the same time, so that it may
    be about that one.
    """

    level: str
    text: str
    category: str
    place: str
    foreign: bool = False


def parse(
    text: str, name: str = "", *, shared: bool = False, overlaps: bool = False
) -> tuple[Message, ...]:
    """The messages of a log; of one that is shared those of a container, by its name,
    and those without a name."""
    found: list[Message] = []
    ours = False
    for line in text.rstrip("\n").split("\n"):
        match = LINE.fullmatch(line)
        if match is None:
            # A message of several lines, such as a program's output.
            if ours:
                last = found[-1]
                found[-1] = last._replace(text=f"{last.text}\n{line}")
            continue
        whose = match["name"]
        nameless = whose is None or whose == log_name
        ours = not shared or nameless or whose == name
        if ours:
            found.append(
                Message(
                    match["level"],
                    match["text"],
                    match["category"],
                    match["place"],
                    overlaps and nameless,
                )
            )
    return tuple(found)


def own_lines(path: str, name: str, since: float) -> tuple[Message, ...]:
    """What a container's own lxc.log.file has got since a time of time.time()."""
    begin = datetime.datetime.fromtimestamp(since, datetime.timezone.utc)
    # In milliseconds, as liblxc writes it.
    begin = begin.replace(microsecond=begin.microsecond // 1000 * 1000)
    first = begin.strftime("%Y%m%d%H%M%S.%f")[:-3]
    try:
        with open(path, "rb", opener=open_plain) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = os.fsdecode(file.read(TAIL)).split("\n")
    except OSError:
        return ()
    for n, line in enumerate(lines):
        match = LINE.match(line)
        if match is not None and match["time"] >= first:
            return parse("\n".join(lines[n:]), name, shared=True)
    return ()


def open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def is_error(message: Message) -> bool:
    return LEVELS.get(message.level, 0) >= ERROR


# What liblxc says as errors of each snapshot that is no overlay, also of those that it
# makes.
ADVICE = frozenset(
    (
        "Snapshot of directory-backed container requested",
        "Making a copy-clone.  If you do want snapshots, then",
        "please create overlay clone first, snapshot that",
        "and keep the original container pristine",
    )
)


def sentence(messages: Iterable[Message]) -> str | None:
    """The first of the errors, from which the others follow, as a reason."""
    for message in sorted(messages, key=lambda message: message.foreign):
        if message.text in ADVICE:
            continue
        if text := with_cause_last(message.text):
            return text + (" (or another call's)" if message.foreign else "")
    return None


def with_cause_last(text: str) -> str:
    cause, _, rest = text.partition(" - ")
    if not rest or cause not in ERRNO:
        return text.rstrip(".")
    rest = rest.rstrip(".")
    # "Success" is none, and "X doesn't exist: No such file" would say it twice.
    if cause == NO_ERROR or (cause == MISSING and "n't exist" in rest):
        return rest
    return f"{rest}: {cause}"


def forward_heard(container: Container, heard: Heard | None) -> None:
    """Forward what was said of a call that did not fail."""
    _, _, text, shared, overlaps, since = heard or _lxc._heard()
    forward(container.name, find_messages(container, text, shared, overlaps, since))


# --- logging --------------------------------------------------------------------------


def forward(name: str, messages: Iterable[Message]) -> None:
    """Hand messages on to logging, where the program has imported it."""
    logging: Any = sys.modules.get("logging")
    if logging is None or not hasattr(logging, "getLogger"):
        return
    logger = prepared(logging)
    for message in messages:
        level = LEVELS.get(message.level, ERROR)
        if logger.isEnabledFor(level):
            extra = {
                "container": name,
                "category": message.category,
                "place": message.place,
                "foreign": message.foreign,
            }
            logger.log(level, "%s: %s", name, message.text, extra=extra)


def prepared(logging: Any) -> Logger:
    """The logger, which is silent where the program does not configure any."""
    logger: Logger = logging.getLogger("lxc")
    if not any(isinstance(each, logging.NullHandler) for each in logger.handlers):
        logger.addHandler(logging.NullHandler())
        for name in ("TRACE", "NOTICE"):
            if logging.getLevelName(LEVELS[name]).startswith("Level "):
                logging.addLevelName(LEVELS[name], name)
    return logger


def number_of(level: str) -> int:
    """liblxc's number of a level."""
    names = list(LEVELS)
    with contextlib.suppress(AttributeError, ValueError):
        return names.index(level.upper())
    raise ValueError(f"{level!r} is no level: use one of {', '.join(names)}")


def set_level(level: str | None) -> None:
    number = number_of(log_level)
    if level is not None:
        number = min(number, number_of(level))
        import logging

        prepared(logging)
    _lxc._log_level(number, level is not None)
    errors.forward_level = level


def init(
    name: Any, lxcpath: Any, file: Any, level: str, prefix: Any, quiet: Any
) -> None:
    global log_name, log_level

    number = number_of(level)
    if errors.forward_level is not None:
        number = min(number, number_of(errors.forward_level))
    if file is not None and stat.S_ISFIFO(mode_of(file)):
        # liblxc would wait for somebody to read it, and all other calls for that.
        raise OSError(errno.EINVAL, "a log cannot be a FIFO", os.fsdecode(file))
    _lxc._log_init(name, lxcpath, file, level.upper(), number, prefix, bool(quiet))
    log_name = None if name is None else os.fsdecode(name)
    log_level = level


def mode_of(file: Any) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(file).st_mode
    return 0


def close() -> None:
    global log_name, log_level

    _lxc._log_close()
    log_name, log_level = None, "ERROR"
    with contextlib.suppress(NotImplementedError):
        set_level(errors.forward_level)
