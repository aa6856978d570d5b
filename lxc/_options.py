# SPDX-License-Identifier: LGPL-2.1-or-later
"""For type checkers alone: what run(), popen() and run_async() take by name.

Without the four arguments that say whether the output is str or bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from .process import Environment, Word

__all__ = ["PopenOptions", "RunOptions"]


class PopenOptions(TypedDict, total=False):
    bufsize: int
    executable: Word | None
    stdin: Any
    stdout: Any
    stderr: Any
    preexec_fn: None
    close_fds: bool
    shell: bool
    cwd: Word | None
    env: Environment | None
    startupinfo: None
    creationflags: int
    restore_signals: bool
    start_new_session: bool
    pass_fds: Sequence[int]
    user: str | int | None
    group: str | int | None
    extra_groups: Sequence[str | int] | None
    umask: int
    pipesize: int
    process_group: int | None
    tty: bool


class RunOptions(PopenOptions, total=False):
    input: Any
    capture_output: bool
    timeout: float | None
    check: bool
