# SPDX-License-Identifier: LGPL-2.1-or-later
"""ephemeral(): a container that is destroyed whatever happens."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import LXC_CLONE_SNAPSHOT, LXC_CREATE_QUIET, Container, _lxc
from ._init import failure
from .errors import AlreadyExists, LXCError, NotDefined

if TYPE_CHECKING:
    from types import TracebackType

    from . import Path, Text

__all__ = ["Ephemeral"]

WAITS = (None, "ips", "booted")
BRIDGE = "lxcbr0"


class Ephemeral:
    """What lxc.ephemeral() returns: with it gives a running Container."""

    def __init__(
        self,
        base: Container | Text | None,
        *,
        template: Path,
        args: Mapping[str, object] | Sequence[Text],
        name: Text | None,
        network: str | bool | None,
        wait: str | None,
        config_path: Path | None,
        config: Mapping[str, Text | Sequence[Text]] | None,
    ) -> None:
        if wait not in WAITS:
            raise ValueError(f"wait is None, 'ips' or 'booted', not {wait!r}")
        if base is not None and args:
            raise ValueError("args are for a template, and a clone has none")
        if isinstance(base, (str, bytes)):
            base = Container(base, config_path)
        self.base = base
        self.template = template
        self.args = args
        self.name = os.fsdecode(name) if name is not None else new_name(base)
        self.network = network
        self.wait = wait
        self.path = config_path
        if config_path is None and base is not None:
            self.path = base.get_config_path()
        self.config = dict(config or {})
        self.container: Container | None = None
        self._owner = 0

    # --- Its life ---------------------------------------------------------------------

    def __enter__(self) -> Container:
        if self.container is not None:
            raise RuntimeError("this ephemeral container is in use: make another")
        container = Container(self.name, self.path, strict=True)
        if container.defined or os.path.lexists(directory(container)):
            raise failure(
                container, "ephemeral", AlreadyExists, "it exists already: it is kept"
            )
        self._owner = os.getpid()
        self.container = container
        remember(self)
        try:
            container = self.container = self.make(container)
            for key, value in self.items().items():
                if not container.set_config_item(key, value):
                    raise container.last_error or ValueError(key)
            container.save_config()
            container.start()
            if self.wait == "ips":
                container.wait_for_ips()
            elif self.wait == "booted":
                container.wait_until_booted()
        except BaseException:
            self.close()
            raise
        container.strict = False
        return container

    def make(self, container: Container) -> Container:
        """Make the container on disk."""
        if self.base is None:
            container.create(self.template, LXC_CREATE_QUIET, self.args)
            return container
        if not self.base.defined:
            raise failure(self.base, "ephemeral", NotDefined, "it is not defined")
        base = Container(self.base.name, self.base.get_config_path(), strict=True)
        clone = base.clone(
            self.name,
            config_path=container.get_config_path(),
            flags=LXC_CLONE_SNAPSHOT,
            bdevtype="overlayfs",
        )
        assert clone  # it is strict
        return clone

    def items(self) -> dict[str, Any]:
        """What is set before the start."""
        found: dict[str, Any] = {}
        if self.network is not None:
            link = self.network
            if link in (False, "none", "empty"):
                found["lxc.net.0.type"] = "empty"
            else:
                found["lxc.net.0.type"] = "veth"
                found["lxc.net.0.link"] = BRIDGE if link is True else link
                found["lxc.net.0.flags"] = "up"
        return {**found, **self.config}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop and destroy the container; nothing of it stays.  Once, and only in the
        process that made it."""
        container = self.container
        if container is None or self._owner != os.getpid():
            return
        try:
            with undisturbed():
                destroy(container)
        finally:
            self.container = None
            forget(self)


def new_name(base: Container | None) -> str:
    prefix = "ephemeral" if base is None else base.name[:100]
    return f"{prefix}-{secrets.token_hex(4)}"


def directory(container: Container) -> str:
    return os.path.join(container.get_config_path(), container.name)


def destroy(container: Container) -> None:
    """Whatever state it is in, by a handle that nobody else has."""
    own = Container(container.name, container.get_config_path())
    raw = _lxc.Container
    if own.state in ("FROZEN", "FREEZING"):
        raw.unfreeze(own)
    for _ in range(3):
        raw.stop(own)
        if not own.running:
            break
    if not own.defined:
        return
    try:
        own.destroy_with_snapshots()
    except LXCError:
        # Its monitor may not have let go of everything yet.
        own.wait("STOPPED", 5)
        own.destroy_with_snapshots()


# --- Those that there are -------------------------------------------------------------

living: list[Ephemeral] = []
_lock = threading.RLock()
_previous: Any = None
_handles = False


def remember(ephemeral: Ephemeral) -> None:
    with _lock:
        living.append(ephemeral)
        if len(living) == 1:
            atexit.register(close_all)
            handle_sigterm()


def forget(ephemeral: Ephemeral) -> None:
    with _lock:
        if ephemeral in living:
            living.remove(ephemeral)
        if not living:
            atexit.unregister(close_all)
            put_back_sigterm()


def close_all() -> None:
    """At the interpreter's end: the last that was made first."""
    for ephemeral in reversed(list(living)):
        with contextlib.suppress(Exception):
            ephemeral.close()


def forget_all() -> None:
    """In a forked child: they are the parent's."""
    global _lock
    _lock = threading.RLock()
    for ephemeral in living:
        ephemeral.container = None
    living.clear()
    atexit.unregister(close_all)
    put_back_sigterm()


os.register_at_fork(after_in_child=forget_all)


# --- Signals --------------------------------------------------------------------------


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def terminate(number: int, frame: object) -> None:
    """The handler of SIGTERM: an exit, which closes what is open on its way."""
    raise SystemExit(128 + number)


def handle_sigterm() -> None:
    """Have SIGTERM destroy them, where the program leaves it to the kernel."""
    global _previous, _handles
    if not in_main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return
    with contextlib.suppress(ValueError):  # a subinterpreter
        _previous = signal.signal(signal.SIGTERM, terminate)
        _handles = True


def put_back_sigterm() -> None:
    global _handles
    if _handles and in_main_thread():
        # Only if nobody has put another there since.
        if signal.getsignal(signal.SIGTERM) is terminate:
            signal.signal(signal.SIGTERM, _previous)
        _handles = False


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Have SIGINT and SIGTERM wait until it is done: they are not lost."""
    if not in_main_thread():
        yield
        return
    came: list[int] = []
    old = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                old[number] = signal.signal(number, lambda n, _: came.append(n))
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        for first in came[:1]:
            signal.raise_signal(first)
