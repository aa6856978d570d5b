# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoints, which criu makes and restores: what is asked of it, and why it fails."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _lxc
from ._create import NOTHING_HEARD, size
from .errors import RUNNING, LXCError, NotDefined, NotRunning

if TYPE_CHECKING:
    from . import Container
    from .errors import Finding

__all__ = ["migrate", "why_not_migrated"]

COMMANDS = {
    _lxc.MIGRATE_PRE_DUMP: "MIGRATE_PRE_DUMP",
    _lxc.MIGRATE_DUMP: "MIGRATE_DUMP",
    _lxc.MIGRATE_RESTORE: "MIGRATE_RESTORE",
    _lxc.MIGRATE_FEATURE_CHECK: "MIGRATE_FEATURE_CHECK",
}
LOGS = {
    _lxc.MIGRATE_PRE_DUMP: "pre-dump.log",
    _lxc.MIGRATE_DUMP: "dump.log",
    _lxc.MIGRATE_RESTORE: "restore.log",
}
MOST_ERRORS = 3  # of a log, in a reason
INVENTORY = "inventory.img"  # of a whole checkpoint


def migrate(
    container: Container, raw: Any, cmd: int, directory: Any, options: dict[str, Any]
) -> int:
    """Container.migrate(); raw is the object as the extension's class sees it."""
    if cmd not in COMMANDS:
        known = ", ".join(COMMANDS.values())
        raise ValueError(f"{cmd!r} is no command of migrate: give one of {known}")
    if cmd == _lxc.MIGRATE_FEATURE_CHECK:
        return check_features(container, raw, options["features_to_check"])
    if directory is None:
        raise ValueError(f"{COMMANDS[cmd]} needs a directory")
    if options["features_to_check"]:
        raise ValueError("features_to_check is for MIGRATE_FEATURE_CHECK")
    options["pageserver_port"] = port(options["pageserver_port"])
    if bool(options["pageserver_address"]) != bool(options["pageserver_port"]):
        raise ValueError("pageserver_address and pageserver_port go together")
    options["ghost_limit"] = size(options["ghost_limit"] or 0, "ghost_limit")
    if options["action_script"] is not None:
        options["action_script"] = os.path.abspath(options["action_script"])
    directory = os.path.abspath(directory)
    look = why_not_migrated(container, cmd, directory)
    done, _ = raw.migrate(cmd, directory, **options)
    container._must("migrate", done, look)
    return 0


def check_features(container: Container, raw: Any, features: Any) -> int:
    """Which of the features criu and the kernel have.

    Bit by bit: liblxc says of several, with one that it does not know, that there is
    none.
    """
    features = features or 0
    if features <= 0:
        raise ValueError(
            "features_to_check is a sum of FEATURE_MEM_TRACK and FEATURE_LAZY_PAGES, "
            f"not {features!r}"
        )
    why = why_no_criu()
    if why is not None:
        container._must("migrate", False, heard=(why, None, *NOTHING_HEARD))
    found = 0
    for bit in range(features.bit_length()):
        feature = features & 1 << bit
        if (
            feature
            and raw.migrate(_lxc.MIGRATE_FEATURE_CHECK, features_to_check=feature)[0]
        ):
            found |= feature
    return found


def port(given: Any) -> str | None:
    if given is None:
        return None
    text = os.fsdecode(given) if isinstance(given, (str, bytes)) else str(given)
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 1 << 16:
        raise ValueError(f"pageserver_port: {given!r} is no port")
    return text


def why_no_criu() -> str | None:
    if os.geteuid() != 0:
        return "criu needs root"
    if shutil.which("criu") is None:
        return "there is no program criu in PATH: install it"
    return None


def why_not_migrated(
    container: Container, cmd: int, directory: Any
) -> Callable[[], Finding | None]:
    """A function that says after a failure what the binding finds, or None.

    Called before: it must know what the directory held already.
    """
    place = os.fsdecode(directory)
    whole = os.path.exists(os.path.join(place, INVENTORY))
    log = os.path.join(place, LOGS[cmd])
    began = time.time() - 1  # files have a coarser clock

    def look() -> Finding | None:
        running = container.running
        if not container.defined and not running:
            return NotDefined, "it is not defined"
        restores = cmd == _lxc.MIGRATE_RESTORE
        if not restores and not running:
            return NotRunning, "it is not running"
        if restores and running:
            return RUNNING
        if restores and not whole:
            return LXCError, f"there is no checkpoint in {place}"
        if not restores and whole:
            reason = f"there is a checkpoint in {place}: give another directory"
            return LXCError, reason
        found = why_no_criu() or last_error(log, began)
        return None if found is None else (LXCError, found)

    return look


def last_error(log: str, began: float) -> str | None:
    """What criu's own log complains of, if it was written since.

    The first errors: later ones come of them, and those before may be harmless.
    """
    errors: list[str] = []
    try:
        if os.stat(log).st_mtime < began:
            return None
        with open(log, errors="replace") as file:
            for line in file:
                error = line.partition("Error")[2].strip()
                if error.endswith("FAILED.") or len(errors) == MOST_ERRORS:
                    break
                if error and error not in errors:
                    errors.append(error)
    except OSError:
        return None
    if not errors:
        return f"criu failed: see {log}"
    return f"criu failed: {'; '.join(errors)} (see {log})"
