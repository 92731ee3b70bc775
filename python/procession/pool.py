# SPDX-License-Identifier: Apache-2.0
"""multiprocessing.pool's Pool on the native pool; the rest of that module is the standard's.

    Pool ──► Crew (worker processes, the thread that looks after them) ──► _engine.PoolCore
      └────► Feed (one for each imap: a thread that reads the iterable, not far ahead)

Neither a crew nor a feed knows its Pool, so that one which is forgotten can end.
"""

from __future__ import annotations

import functools
import itertools
import os
import warnings
from multiprocessing import pool as _standard
from multiprocessing import util
from multiprocessing.pool import ThreadPool

from . import _engine, _install, events, executor_options
from . import context as contexts
from .pool_crew import NO_KEYWORDS, Crew, map_chunk, starmap_chunk
from .pool_imap import Feed, IMapIterator, IMapUnorderedIterator
from .pool_results import ApplyResult, MapResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess
    from typing import Any, TypeVar

    from .progress import Progress

    S = TypeVar("S")
    T = TypeVar("T")

__all__ = ["Pool", "ThreadPool"]

INIT, RUN, CLOSE, TERMINATE = "INIT", "RUN", "CLOSE", "TERMINATE"

_AHEAD = 16  # tasks per worker that imap reads ahead of its consumer

_Base = _standard.Pool  # its name there may come to mean this module's


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


class Pool(_Base):
    """multiprocessing's Pool on procession's workers.

    A worker that dies fails the one task that it held, with WorkerDied. terminate() fails what is
    pending. What can't travel is refused where the task is given.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: BaseContext | None = None,
        *,
        trace: str | os.PathLike[str] | None = None,
        forward_output: bool = False,
    ) -> None:
        if not isinstance(self, Pool):  # a ThreadPool, whose base is looked up by its name
            _Base.__init__(self, processes, initializer, initargs)  # type: ignore[unreachable]
            return
        self._pool: list[BaseProcess] = []
        self._state = INIT
        self._ctx = context or _default_context()
        self._maxtasksperchild = maxtasksperchild
        self._initializer = initializer
        self._initargs = tuple(initargs)
        if processes is None:
            processes = _engine.cpu_count()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._pid = os.getpid()
        self._trace = trace
        self._forward_output = forward_output
        self._crew = Crew(self)
        self._terminate = util.Finalize(self, Crew.terminate, args=(self._crew,), exitpriority=15)
        self._state = RUN

    def __del__(self, _warn: Any = warnings.warn, _getpid: Any = os.getpid) -> None:
        """Warn if nobody has ended it."""
        if self._state == RUN and self._pid == _getpid():
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")
        if self._pid != os.getpid():
            raise RuntimeError(
                f"this pool belongs to process {self._pid}, from which this one was forked"
            )

    def _repopulate_pool(self) -> None:
        self._crew.refill()

    def stats(self) -> events.PoolStats:
        """Say what the pool is doing, and what it has done."""
        return events.stats(self._crew.core, self._pid)

    def events(self) -> events.Events:
        """Iterate over what happens from now on, as it happens, until the pool has ended.

        Events that nobody reads are kept, the latest 65536.
        """
        return events.Events(self._crew.core, self._pid)

    def apply(
        self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Mapping[str, Any] = {}
    ) -> T:
        """Return func(*args, **kwds), called in a worker."""
        self._check_running()
        result: T = self._crew.submit(func, tuple(args), dict(kwds)).result()
        return result

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        priority: int = 0,
    ) -> _standard.ApplyResult[T]:
        """Have func(*args, **kwds) called in a worker.

        `timeout` is for how many seconds it may run, then it fails with TaskTimeout and its worker
        is stopped. Ready calls of a higher `priority` go first.
        """
        self._check_running()
        options = _options(timeout, priority)
        future = self._crew.submit(func, tuple(args), dict(kwds), options)
        return ApplyResult(self, [future], callback, error_callback)

    def map(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = None,
        *,
        progress: bool | str = False,
    ) -> list[T]:
        """Return the list of func(x) for each x of the iterable.

        `progress=True`, or a description, shows a bar (of tqdm) that counts calls as they end.
        """
        return self._map(func, iterable, chunksize, map_chunk, progress)

    def starmap(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        progress: bool | str = False,
    ) -> list[T]:
        """Return the list of func(*x) for each x of the iterable; `progress` as map()'s."""
        return self._map(func, iterable, chunksize, starmap_chunk, progress)

    def map_async(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        priority: int = 0,
    ) -> _standard.MapResult[T]:
        """As map(), without waiting. The iterable is read to its end before this returns.

        `timeout` and `priority` as those of apply_async(), for each chunk.
        """
        options = _options(timeout, priority)
        futures, chunked = self._submit_all(func, iterable, chunksize, map_chunk, options)
        return MapResult(self, futures, callback, error_callback, chunked)

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        priority: int = 0,
    ) -> _standard.MapResult[T]:
        """As starmap(), without waiting. The iterable is read to its end before this returns.

        `timeout` and `priority` as those of apply_async(), for each chunk.
        """
        options = _options(timeout, priority)
        futures, chunked = self._submit_all(func, iterable, chunksize, starmap_chunk, options)
        return MapResult(self, futures, callback, error_callback, chunked)

    def _map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        mapper: Callable[..., Any],
        progress: bool | str,
    ) -> list[Any]:
        self._check_running()
        if not hasattr(iterable, "__len__"):
            iterable = list(iterable)
        if progress is False and self._chunksize(iterable, chunksize) == 1:
            return self._crew.map(func, iterable, mapper is starmap_chunk)
        bar = _bar(progress, iterable)
        futures, chunked = self._submit_all(func, iterable, chunksize, mapper, bar=bar)
        try:
            values = [future.result() for future in futures]
        except Exception:
            for future in futures:  # as the standard's: all have ended before one fails
                future.exception()
            raise
        finally:
            del futures
            if bar is not None:
                bar.close()
        return list(itertools.chain.from_iterable(values)) if chunked else values

    def _submit_all(
        self,
        func: Callable[..., Any],
        iterable: Any,
        chunksize: int | None,
        mapper: Callable[..., Any],
        options: _engine.TaskOptions | None = None,
        bar: Progress | None = None,
    ) -> tuple[list[Any], bool]:
        self._check_running()
        if not hasattr(iterable, "__len__"):
            iterable = list(iterable)
        chunksize = self._chunksize(iterable, chunksize)
        futures: list[Any] = []
        try:
            if chunksize > 1:
                submit = self._crew.submit_chunk
                for chunk in _chunks(iterable, chunksize):
                    futures.append(submit(mapper, func, chunk, options))
                    if bar is not None:
                        bar.follow(futures[-1], len(chunk))
            else:
                self._submit_each(func, iterable, mapper is starmap_chunk, futures, options)
                if bar is not None:
                    for future in futures:
                        bar.follow(future, 1)
        except BaseException:
            if bar is not None:
                bar.close()
            for future in futures:
                future.cancel()
            raise
        return futures, chunksize > 1

    def _chunksize(self, iterable: Any, chunksize: int | None) -> int:
        if chunksize is None:
            return -(-len(iterable) // (self._processes * 4)) or 1
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
        return chunksize

    def _submit_each(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        star: bool,
        futures: list[Any],
        options: _engine.TaskOptions | None,
    ) -> None:
        core = self._crew.core
        submit = core.submit if options is None else functools.partial(core.submit_with, options)
        for item in iterable:
            args = tuple(item) if star else (item,)
            future = submit(func, args, NO_KEYWORDS)
            if future is None:
                future = self._crew.submit_by_the_rule(func, args, NO_KEYWORDS, options)
            futures.append(future)

    def imap(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = 1,
        *,
        progress: bool | str = False,
    ) -> _standard.IMapIterator[T]:
        """Iterate over func(x) for each x of the iterable, which is read as results are taken.

        `progress` as map()'s.
        """
        found: _standard.IMapIterator[T] = self._imap(
            func, iterable, chunksize, IMapIterator, progress
        )
        return found

    def imap_unordered(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = 1,
        *,
        progress: bool | str = False,
    ) -> _standard.IMapIterator[T]:
        """As imap(), in the order in which the calls end."""
        found: _standard.IMapIterator[T] = self._imap(
            func, iterable, chunksize, IMapUnorderedIterator, progress
        )
        return found

    def _imap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: Any,
        kind: Any,
        progress: bool | str,
    ) -> Any:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
        crew, items = self._crew, iter(iterable)
        submit: Callable[[Any], Any] = lambda item: crew.submit(func, (item,), NO_KEYWORDS)  # noqa: E731
        if chunksize > 1:
            items = _chunks(items, chunksize)
            submit = functools.partial(crew.submit_chunk, map_chunk, func)
        bar = _bar(progress, iterable)
        if bar is not None:
            from .progress import following

            submit = following(submit, bar, len if chunksize > 1 else lambda _: 1)
        feed = Feed(crew, items, submit, kind is IMapIterator, self._processes * _AHEAD)
        feed.bar = bar
        result = kind(self, feed)
        feed.thread.start()
        if chunksize == 1:
            return result
        return (item for chunk in result for item in chunk)

    def close(self) -> None:
        """Take no more tasks; workers end when all have ended."""
        if self._state == RUN:
            self._state = CLOSE
            if self._pid == os.getpid():
                self._crew.close()

    def terminate(self) -> None:
        """End the workers now; what is pending fails."""
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Wait for the workers to end; close() or terminate() comes first."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._crew.join()


def _options(timeout: float | None, priority: int) -> _engine.TaskOptions | None:
    if timeout is None and priority == 0:
        return None
    return executor_options.task_options(timeout=timeout, priority=priority)


def _default_context() -> BaseContext:
    return contexts._default_context.get_context()


def _bar(progress: bool | str, iterable: Any) -> Progress | None:
    if progress is False:
        return None
    from .progress import Progress

    return Progress(progress, (iterable,))


def _chunks(iterable: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    items = iter(iterable)
    while chunk := tuple(itertools.islice(items, size)):
        yield chunk


_install.is_there(__name__)
