# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands in a container for asyncio, on its own subprocesses.

A module of its own, as importing asyncio takes longer than a command does.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import subprocess
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from . import _lxc
from ._streams import flush
from .process import (
    PATIENCE,
    Aside,
    Launch,
    check_descriptors,
    completed,
    forget,
    set_pipes,
    status_of,
)

if TYPE_CHECKING:
    from . import Container
    from .process import Command, Said

T = TypeVar("T")

__all__ = ["create_subprocess", "run"]


# --- What cancelling does not disturb -------------------------------------------------


async def aside(call: Callable[[], T], discard: Callable[[T], object]) -> T:
    """Make a call in a thread: the container's monitor may be slow to answer.

    Not in one of the loop's, whose end would wait for it.
    """
    loop = asyncio.get_running_loop()
    news = asyncio.Event()

    def done() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(news.set)

    made = Aside(call, discard, done)
    try:
        await news.wait()
    except BaseException:
        made.leave()
        raise
    result: T = made.take()
    return result


async def whole(task: asyncio.Task[Any]) -> None:
    """Wait for a task's end; where this was cancelled meanwhile, raise that then."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def undisturbed(work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    return whole(asyncio.ensure_future(work))


# --- From begin to end ----------------------------------------------------------------


async def spawn(launch: Launch, streams: dict[str, Any]) -> asyncio.subprocess.Process:
    for executable in launch.executables:
        try:
            return await asyncio.create_subprocess_exec(
                launch.argv[0],
                *launch.argv[1:],
                executable=executable,
                **launch.options(),
                **streams,
            )
        except (PermissionError, FileNotFoundError):
            if executable == launch.executables[-1]:
                raise
    raise AssertionError


async def begin(launch: Launch, streams: dict[str, Any]) -> asyncio.subprocess.Process:
    """Spawn the launcher, and return when the command has begun."""
    # asyncio loses a process that it is cancelled over, or its own end.
    spawning = asyncio.ensure_future(spawn(launch, streams))
    try:
        await whole(spawning)
    except asyncio.CancelledError:
        if not spawning.cancelled() and spawning.exception() is None:
            await see_off(launch, spawning.result())
        raise
    process = spawning.result()
    try:
        launch.spawned()
        said = await listen(launch, process)
        if said is None or said[0] != "executed":
            await undisturbed(bury(process))
            await aside(lambda: launch.judge(said, process.returncode), forget)
        else:
            launch.judge(said, None)
    except BaseException:
        await see_off(launch, process)
        raise
    return process


async def listen(launch: Launch, process: asyncio.subprocess.Process) -> Said | None:
    """The launcher's next message, None if it ended without one."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    end = asyncio.ensure_future(process.wait())
    loop.add_reader(launch.report, news.set)
    begin = asyncio.ensure_future(news.wait())
    try:
        # A child that a thread forked may keep a silent socket from ending.
        await asyncio.wait({begin, end}, return_when=asyncio.FIRST_COMPLETED)
        with contextlib.suppress(TimeoutError):
            if (said := _lxc._hear(launch.report, 0)) is not None:
                return said
        loop.remove_reader(launch.report)
        await end
        return None
    finally:
        loop.remove_reader(launch.report)
        begin.cancel()
        end.cancel()


async def see_off(launch: Launch, process: asyncio.subprocess.Process) -> None:
    """End all that was run, and wait until that is done."""
    launch.spawned()
    launch.end_all()
    await undisturbed(bury(process))


async def bury(process: asyncio.subprocess.Process) -> None:
    """Wait for the launcher's own end, which is due."""
    transport = process._transport  # type: ignore[attr-defined]
    # Nobody may read the rest, and asyncio would wait for its end.
    for number in range(3):
        if (pipe := transport.get_pipe_transport(number)) is not None:
            pipe.close()
    try:
        await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=PATIENCE)
    finally:
        transport.close()  # which kills it, if need be
    if process.returncode is None:
        await process.wait()


async def create_subprocess(
    container: Container,
    operation: str,
    args: Command,
    streams: dict[str, Any],
    options: dict[str, Any],
) -> asyncio.subprocess.Process:
    """Container.create_subprocess_exec() and create_subprocess_shell()."""
    flush()
    check_descriptors(streams, options["pass_fds"])
    with await aside(
        lambda: Launch(container, operation, args, **options),
        Launch.close,
    ) as launch:
        return await begin(launch, streams)


async def run(
    container: Container,
    args: Command,
    streams: dict[str, Any],
    options: dict[str, Any],
    *,
    input: Any,
    capture_output: bool,
    timeout: float | None,
    check: bool,
    text: bool | None,
    encoding: str | None,
    errors: str | None,
) -> subprocess.CompletedProcess[Any]:
    """Container.run_async()."""
    flush()
    check_descriptors(streams, options["pass_fds"])
    set_pipes(streams, input, capture_output)
    is_text = bool(text or encoding or errors)
    if is_text and input is not None:
        input = encode(input, encoding, errors)
    elif input:
        input = memoryview(input).cast("B")
    found = bytearray(), bytearray()

    async def all_of_it() -> int:
        with await aside(
            lambda: Launch(container, "run_async", args, **options), Launch.close
        ) as launch:
            process = await begin(launch, streams)
            try:
                await asyncio.gather(
                    feed(process.stdin, input),
                    collect(process.stdout, found[0]),
                    collect(process.stderr, found[1]),
                )
                status = None
                while status is None:
                    said = await listen(launch, process)
                    status = status_of(said, process.pid, process.returncode)
            except BaseException:
                await see_off(launch, process)
                raise
            launch.let_go()
            await undisturbed(bury(process))
        return status

    # Not wait_for(), which may lose a cancellation, or the time that is up.
    work = asyncio.ensure_future(all_of_it())
    try:
        await asyncio.wait({work}, timeout=None if timeout is None else max(0, timeout))
    except asyncio.CancelledError:
        work.cancel()
        await whole(work)
        if not work.cancelled():
            work.exception()  # lest asyncio complain that nobody asked
        raise
    if not work.done():
        work.cancel()
        await whole(work)
    if work.cancelled():
        raise subprocess.TimeoutExpired(
            args,
            timeout or 0,
            *(bytes(data) or None for data in found),
        )
    try:
        status = work.result()
    finally:
        del work  # whose error would have this frame, and that it
    out, err = (
        None
        if streams[name] != subprocess.PIPE
        else decode(bytes(data), encoding, errors)
        if is_text
        else bytes(data)
        for name, data in zip(("stdout", "stderr"), found)
    )
    return completed(args, status, out, err, check)


async def feed(
    stream: asyncio.StreamWriter | None, data: bytes | memoryview | None
) -> None:
    if stream is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        if data:
            stream.write(data)
            await stream.drain()
        stream.close()
        await stream.wait_closed()


async def collect(stream: asyncio.StreamReader | None, data: bytearray) -> None:
    while stream is not None and (more := await stream.read(1 << 16)):
        data += more


def encode(data: str, encoding: str | None, errors: str | None) -> bytes:
    raw = io.BytesIO()
    writer = io.TextIOWrapper(raw, encoding, errors)
    writer.write(data)
    writer.flush()
    return raw.getvalue()


def decode(data: bytes, encoding: str | None, errors: str | None) -> str:
    return io.TextIOWrapper(io.BytesIO(data), encoding, errors).read()
