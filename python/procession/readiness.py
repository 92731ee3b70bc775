# SPDX-License-Identifier: Apache-2.0
"""Lets tasks of asyncio wait until a descriptor is ready, several for the same one if need be.

By the loop's own readers and writers: no thread, no polling. A descriptor that a program has given
to its loop as a reader or writer itself can't be waited for here at the same time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from weakref import WeakKeyDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Coroutine
    from typing import Any, TypeAlias

    Waiting: TypeAlias = dict[tuple[int, bool], list[Future[bool]]]

__all__ = ["forget", "readable", "see_through", "writable"]

_waiting: WeakKeyDictionary[AbstractEventLoop, Waiting] = WeakKeyDictionary()
_seen_through: set[asyncio.Task[None]] = set()


async def readable(fd: int, timeout: float | None = None) -> bool:
    """Wait until `fd` can be read; false if that took longer than `timeout` seconds."""
    return await _ready(fd, False, timeout)


async def writable(fd: int) -> None:
    """Wait until `fd` can be written to."""
    await _ready(fd, True, None)


async def see_through(work: Coroutine[Any, Any, None]) -> None:
    """Wait for `work`, which goes on if the wait is cancelled."""
    task = asyncio.get_running_loop().create_task(work)
    _seen_through.add(task)
    task.add_done_callback(_has_ended)
    await asyncio.wait([task])
    await task


def forget(fd: int) -> None:
    """Raise an OSError in all who wait for `fd`, which is about to be closed."""
    for loop, waiting in list(_waiting.items()):
        if (fd, False) not in waiting and (fd, True) not in waiting:
            continue
        if asyncio._get_running_loop() is loop:
            _fail(loop, fd)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(_fail, loop, fd)


async def _ready(fd: int, writing: bool, timeout: float | None) -> bool:
    loop = asyncio.get_running_loop()
    waiting = _waiting.setdefault(loop, {})
    futures = waiting.get((fd, writing))
    if futures is None:
        futures = waiting[fd, writing] = []
        watch = loop.add_writer if writing else loop.add_reader
        watch(fd, _wake, futures)
    future: Future[bool] = loop.create_future()
    futures.append(future)
    timer = None if timeout is None else loop.call_later(timeout, partial(_end, future, False))
    try:
        return await future
    finally:
        if timer is not None:
            timer.cancel()
        futures.remove(future)
        if not futures and waiting.get((fd, writing)) is futures:
            _unwatch(loop, fd, writing)


def _has_ended(task: asyncio.Task[None]) -> None:
    _seen_through.discard(task)
    if not task.cancelled():
        task.exception()  # told to who waits; if nobody does any more, it is nobody's business


def _end(future: Future[bool], is_ready: bool) -> None:
    if not future.done():
        future.set_result(is_ready)


def _wake(futures: list[Future[bool]]) -> None:
    for future in futures:
        _end(future, True)


def _unwatch(loop: AbstractEventLoop, fd: int, writing: bool) -> None:
    del _waiting[loop][fd, writing]
    unwatch = loop.remove_writer if writing else loop.remove_reader
    try:
        unwatch(fd)
    except OSError:
        pass  # another thread has closed it meanwhile


def _fail(loop: AbstractEventLoop, fd: int) -> None:
    for writing in (False, True):
        futures = _waiting[loop].get((fd, writing))
        if futures is None:
            continue
        _unwatch(loop, fd, writing)
        for future in futures:
            if not future.done():
                future.set_exception(OSError("handle is closed"))
