# SPDX-License-Identifier: Apache-2.0
"""An executor's tasks with options of their own, and map() with a bounded number of tasks."""

from __future__ import annotations

import collections
import functools
import itertools
import time
from weakref import ref

from . import _engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .executor import Future, ProcessPoolExecutor
    from .progress import Progress

ON_DEATH = ("break", "fail_task", "retry")


def check_on_death(word: str) -> None:
    """Raise unless it is one that there is."""
    if word not in ON_DEATH:
        raise ValueError(f"on_worker_death must be one of {', '.join(map(repr, ON_DEATH))}")


def check_retries(retries: int) -> None:
    """Raise unless it is a number of retries."""
    if not isinstance(retries, int):
        raise TypeError("retries must be an integer")
    if retries < 0:
        raise ValueError("retries must not be negative")


def check_seconds(name: str, seconds: float | None) -> None:
    """Raise unless it is None or a positive number."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, or None")
    if not seconds > 0:
        raise ValueError(f"{name} must be greater than 0")


def check_count(name: str, number: int | None) -> None:
    """Raise unless it is None or a positive integer."""
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name} must be an integer, or None")
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0")


def task_options(
    *,
    timeout: float | None = None,
    priority: int = 0,
    retries: int | None = None,
    on_worker_death: str | None = None,
) -> _engine.TaskOptions:
    """What the engine is to know of a task; None is what its pool has."""
    check_seconds("timeout", timeout)
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError("priority must be an integer")
    if not -(2**31) <= priority < 2**31:
        raise ValueError("priority must fit into 32 bits")
    if on_worker_death is not None:
        check_on_death(on_worker_death)
    if retries is not None:
        check_retries(retries)
        on_worker_death = on_worker_death or "retry"
    return _engine.TaskOptions(timeout, priority, on_worker_death, retries)


class WithOptions:
    """What ProcessPoolExecutor.with_options() returns: the same executor, with options."""

    def __init__(self, executor: ProcessPoolExecutor, options: _engine.TaskOptions) -> None:
        self._executor = executor
        self._options = options

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """As the executor's."""
        return self._executor._submit_with(self._options, fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool | str = False,
    ) -> Iterator[Any]:
        """As the executor's; its `timeout` is that of the wait. A task is a chunk."""
        return bounded_map(
            self._executor, self._options, fn, iterables, timeout, chunksize, buffersize, progress
        )


def _checked_buffersize(executor: ProcessPoolExecutor, buffersize: int | None) -> int | None:
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")
    return executor._max_pending if buffersize is None else buffersize


def bounded_map(
    executor: ProcessPoolExecutor,
    options: _engine.TaskOptions | None,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    chunksize: int,
    buffersize: int | None,
    progress: bool | str,
) -> Iterator[Any]:
    """As the standard's map() of Python 3.14. No more tasks are unfinished than submit() lets."""
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    buffersize = _checked_buffersize(executor, buffersize)
    bar: Progress | None = None
    if progress is not False:
        from . import progress as bars

        bar = bars.Progress(progress, iterables)
    submit = _submitter(executor, options, bar, chunksize > 1)
    items: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
    if chunksize > 1:
        fn, items = functools.partial(_run_chunk, fn), _chunks(items, chunksize)
    until = None if timeout is None else timeout + time.monotonic()
    futures: collections.deque[Any] = collections.deque()
    try:
        for args in itertools.islice(items, buffersize):
            futures.append(submit(fn, args))
    except BaseException:
        _give_up(futures, bar)
        raise
    if bar is not None and buffersize is None:
        bar.all_given()

    def results() -> Iterator[Any]:
        try:
            while futures:
                if buffersize is not None and (args := next(items, None)) is not None:
                    future = submit(fn, args)
                    if future is not None:
                        futures.append(future)
                wait = None if until is None else until - time.monotonic()
                yield _result_or_cancel(futures.popleft(), wait)
        finally:
            _give_up(futures, bar)

    found = results()
    return found if chunksize == 1 else itertools.chain.from_iterable(found)


def _submitter(
    executor: ProcessPoolExecutor,
    options: _engine.TaskOptions | None,
    bar: Progress | None,
    chunked: bool,
) -> Callable[[Callable[..., Any], tuple[Any, ...]], Future | None]:
    """How map() submits. It gives None once the executor is gone, which map() doesn't keep."""
    found = ref(executor)

    def submit(fn: Callable[..., Any], args: tuple[Any, ...]) -> Future | None:
        executor = found()
        if executor is None:
            return None
        if options is None:
            future = executor.submit(fn, *args)
        else:
            future = executor._submit_with(options, fn, args, {})
        if bar is not None:
            bar.follow(future, len(args) if chunked else 1)
        return future

    return submit


def _give_up(futures: Iterable[Any], bar: Progress | None) -> None:
    for future in futures:
        future.cancel()
    if bar is not None:
        bar.close()


def _run_chunk(fn: Callable[..., Any], *chunk: tuple[Any, ...]) -> list[Any]:
    return [fn(*args) for args in chunk]


def _chunks(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[tuple[Any, ...]]:
    while chunk := tuple(itertools.islice(items, size)):
        yield chunk


def _result_or_cancel(future: Future, timeout: float | None) -> Any:
    try:
        try:
            return future.result(timeout)
        finally:
            future.cancel()
    finally:
        del future  # an exception's traceback would keep it
