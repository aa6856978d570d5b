# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands in a container for asyncio, on its own subprocesses.

A module of its own, as importing asyncio takes longer than a command does.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import subprocess
from typing import TYPE_CHECKING, Any

from . import _lxc
from ._streams import flush
from .process import PATIENCE, Launch, completed, set_pipes

if TYPE_CHECKING:
    from . import Container
    from .process import Command

__all__ = ["create_subprocess", "run"]


async def prepare(
    container: Container, operation: str, args: Command, options: dict[str, Any]
) -> Launch:
    """A Launch, made in a thread: the container's monitor may be slow to answer."""
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(
        None, functools.partial(Launch, container, operation, args, **options)
    )
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(discard)
        raise


def discard(future: asyncio.Future[Launch]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()


async def begin(launch: Launch, streams: dict[str, Any]) -> asyncio.subprocess.Process:
    """Spawn the launcher, and return when the command has begun."""
    for executable in launch.executables:
        try:
            process = await asyncio.create_subprocess_exec(
                launch.argv[0],
                *launch.argv[1:],
                executable=executable,
                **launch.options(),
                **streams,
            )
            break
        except (PermissionError, FileNotFoundError):
            if executable == launch.executables[-1]:
                raise
    launch.spawned()
    try:
        said = await listen(launch, process)
        if said is None or said[0] != "executed":
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), PATIENCE)
        launch.judge(said, process.returncode)
    except BaseException:
        await end_all(launch, process)
        raise
    return process


async def listen(
    launch: Launch, process: asyncio.subprocess.Process
) -> tuple[str, int] | None:
    """The launcher's first message, None if it ended without one."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    loop.add_reader(launch.report, news.set)
    begin = asyncio.ensure_future(news.wait())
    end = asyncio.ensure_future(process.wait())
    try:
        # A child that a thread forked may keep a silent socket from ending.
        await asyncio.wait({begin, end}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(launch.report)
        begin.cancel()
        end.cancel()
    try:
        return _lxc._hear(launch.report, 0)
    except TimeoutError:
        return None


async def abandon(process: asyncio.subprocess.Process) -> None:
    """End a command, and let go of its pipes, of which nobody may read the rest."""
    try:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process._transport.close()  # type: ignore[attr-defined]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), PATIENCE)
    finally:
        process._transport.close()  # type: ignore[attr-defined]


async def create_subprocess(
    container: Container,
    operation: str,
    args: Command,
    streams: dict[str, Any],
    options: dict[str, Any],
) -> asyncio.subprocess.Process:
    """Container.create_subprocess_exec() and create_subprocess_shell()."""
    flush()
    with await prepare(container, operation, args, options) as launch:
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
    set_pipes(streams, input, capture_output)
    is_text = bool(text or encoding or errors)
    if is_text and input is not None:
        input = encode(input, encoding, errors)
    elif input:
        input = memoryview(input).cast("B")
    found = bytearray(), bytearray()

    async def all_of_it() -> asyncio.subprocess.Process:
        process = await begin(launch, streams)
        try:
            await asyncio.gather(
                feed(process.stdin, input),
                collect(process.stdout, found[0]),
                collect(process.stderr, found[1]),
            )
            await process.wait()
        except BaseException:
            await end_all(launch, process)
            raise
        return process

    options = {**options, "leash": True}
    with await prepare(container, "run_async", args, options) as launch:
        try:
            process = await asyncio.wait_for(all_of_it(), timeout)
        except asyncio.TimeoutError as error:
            if getattr(error, "errno", None) is not None:
                raise  # an exec that said ETIMEDOUT
            raise subprocess.TimeoutExpired(
                args,
                timeout or 0,
                *(bytes(data) or None for data in found),
            ) from None
    assert process.returncode is not None
    out, err = (
        None
        if stream is None
        else decode(bytes(data), encoding, errors)
        if is_text
        else bytes(data)
        for stream, data in zip((process.stdout, process.stderr), found)
    )
    return completed(args, process.returncode, out, err, check)


async def end_all(launch: Launch, process: asyncio.subprocess.Process) -> None:
    """End what was run and, with a leash, see that it has."""
    loop = asyncio.get_running_loop()
    try:
        launch.end_all()
        if launch.leash >= 0 and process.returncode is None:
            # So that the launcher can bury the supervisor, if it knows of it.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), 0.1)
    finally:
        await abandon(process)
    end = loop.time() + launch.patience()
    while launch.leash >= 0 and not launch.is_let_go() and loop.time() < end:
        await asyncio.sleep(0.005)


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
