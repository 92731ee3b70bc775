# SPDX-License-Identifier: Apache-2.0
"""A Pool's worker processes, and the thread that looks after them."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import os
import pickle
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from types import BuiltinFunctionType, FunctionType

from . import _engine, events, executor, forwarding, reduction, remote_exception, spawn, worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess
    from typing import Any

    from .pool import Pool
    from .pool_imap import Feed

NO_KEYWORDS: dict[str, Any] = {}

_FOREVER = 1e9  # seconds
_GRACE_S = 1.0  # between SIGTERM and SIGKILL
_RETRY_S = 1.0  # after workers could not be started
_NAMED = (FunctionType, BuiltinFunctionType, type)


# --- in the worker


def _work(
    link: worker.Link, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> None:
    worker.dump_result = _dump_result  # this process is the pool's alone
    worker.main(link, initializer, initargs)


def _dump_result(result: Any, *options: Any, _dump: Any = worker.dump_result) -> Any:
    try:
        return _dump(result, *options)
    except Exception as error:
        # Not above: install() has that module's import bring procession.pool, which needs this one.
        from multiprocessing import pool

        raise pool.MaybeEncodingError(error, result) from None  # type: ignore[attr-defined]


def map_chunk(function: Callable[..., Any], chunk: tuple[Any, ...]) -> list[Any]:
    """Call a function with each item of a chunk."""
    return list(map(function, chunk))


def starmap_chunk(function: Callable[..., Any], chunk: tuple[Any, ...]) -> list[Any]:
    """Call a function with the arguments that each item of a chunk is."""
    return list(itertools.starmap(function, chunk))


# --- the workers


class _Reader:
    """How outcomes are read: as the module `worker` does, but for what is a Pool's own."""

    terminated = False
    broken = "no worker could be started"

    def __getattr__(self, name: str) -> Any:
        return getattr(worker, name)

    def load_failure(self, data: bytes) -> BaseException:
        """Rebuild what a task raised, with multiprocessing's RemoteTraceback as its cause."""
        error = remote_exception.load_exception(data)
        if isinstance(error, KeyboardInterrupt):  # Ctrl-C, which this process gets as well
            error.__cause__ = None
        return error

    def death(self, broken: bool, *facts: Any) -> BaseException:
        """Make the exception of a task that ended with a worker."""
        if self.terminated:
            return self.end()
        error = worker.death(broken, *facts)
        if broken:
            self.broken = str(error)
        return error

    def broken_again(self, first: BaseException) -> BaseException:
        """Make the same for another task."""
        return self.end() if self.terminated else worker.broken_again(first)

    def end(self) -> BaseException:
        """Make the exception of a task that the pool's end came before."""
        if self.terminated:
            return RuntimeError("the pool was terminated before the task had ended")
        return BrokenProcessPool(self.broken)


class Crew:
    """A pool's workers, and the thread that looks after them and runs callbacks."""

    def __init__(self, pool: Pool) -> None:
        self.pid = os.getpid()
        self.make_process: Any = functools.partial(pool.Process, pool._ctx)  # type: ignore[arg-type]
        self.initializer = pool._initializer
        self.initargs = pool._initargs
        self.forwards = pool._forward_output
        self.workers: list[BaseProcess] = pool._pool
        self.processes: dict[int, BaseProcess] = {}  # the same, and those that are to be reaped
        self.reader = _Reader()
        self.core = _engine.PoolCore(
            pool._processes,
            pool._maxtasksperchild or 0,
            "fail_task",
            0,
            self.reader,
            executor.Future,
            self.processes,
        )
        events.begin_trace(self.core, pool._trace, 4)
        self.chunkers: dict[Any, Any] = {}
        self.lock = threading.RLock()
        self.feeds: set[Feed] = set()
        self.calls: collections.deque[Callable[[], None]] = collections.deque()
        self.closing = False
        self.short = False  # of workers, which could not be started
        self.over = False  # the thread runs no more calls
        self.ended = threading.Event()
        self.kill_at: float | None = None  # set when all has to end
        self.refill()
        self.thread = threading.Thread(target=self.run, name="Pool-manager", daemon=True)
        self.thread.start()

    # tasks

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        keywords: dict[str, Any],
        options: _engine.TaskOptions | None = None,
    ) -> Any:
        """Give a call to the pool; its future."""
        future = self.try_submit(function, args, keywords, options)
        return future or self.submit_by_the_rule(function, args, keywords, options)

    def try_submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        keywords: dict[str, Any],
        options: _engine.TaskOptions | None,
    ) -> Any:
        """Give one that plain pickling carries; its future, or None."""
        if options is None:
            return self.core.submit(function, args, keywords)
        return self.core.submit_with(options, function, args, keywords)

    def submit_by_the_rule(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        keywords: dict[str, Any],
        options: _engine.TaskOptions | None = None,
    ) -> Any:
        """Give one that takes more than plain pickling, or is the first of its function."""
        core = self.core
        self.check()
        if type(function) in _NAMED and not core.knows(function):
            payload = _by_name(function)
            if payload is not None:
                core.add_function(function, payload)
                future = self.try_submit(function, args, keywords, options)
                if future is not None:
                    return future
        call, buffers = worker.dump_call(function, args, keywords)
        called = args[0] if function in (map_chunk, starmap_chunk) else function
        return core.submit_pickled(call, buffers, worker.name_of(called), options)

    def map(self, function: Callable[..., Any], items: Any, star: bool) -> list[Any]:
        """Return the results of a call for each item, when all have ended."""
        self.check()
        if type(function) in _NAMED and not self.core.knows(function):
            payload = _by_name(function)
            if payload is not None:
                self.core.add_function(function, payload)

        def by_rule(args: tuple[Any, ...]) -> tuple[bytes, list[Any], str]:
            call, buffers = worker.dump_call(function, args, NO_KEYWORDS)
            return call, buffers, worker.name_of(function)

        return self.core.map(function, items, star, by_rule)

    def submit_chunk(
        self,
        mapper: Callable[..., Any],
        function: Callable[..., Any],
        chunk: tuple[Any, ...],
        options: _engine.TaskOptions | None = None,
    ) -> Any:
        """Give a call of mapper(function, chunk)."""
        if type(function) in _NAMED:
            if (mapper, function) not in self.chunkers:
                self.chunkers[mapper, function] = self.add_chunker(mapper, function)
            chunker = self.chunkers[mapper, function]
            if chunker is not None:
                future = self.try_submit(chunker, (chunk,), NO_KEYWORDS, options)
                if future is not None:
                    return future
        return self.submit_by_the_rule(mapper, (function, chunk), NO_KEYWORDS, options)

    def add_chunker(self, mapper: Callable[..., Any], function: Any) -> Any:
        """Have the workers keep mapper(function, …), if the function goes by its name."""
        if _by_name(function) is None:
            return None
        chunker: Any = functools.partial(mapper, function)
        payload = pickle.dumps(chunker, pickle.HIGHEST_PROTOCOL)
        chunker.__module__, chunker.__qualname__ = function.__module__, function.__qualname__
        self.core.add_function(chunker, payload)
        return chunker

    def check(self) -> None:
        """Raise if tasks can't be done."""
        if self.reader.terminated:
            raise self.reader.end()
        if self.core.is_broken:
            if self.core.broken_by is None:  # no task has been told why, so ask with one
                with contextlib.suppress(TimeoutError):
                    self.core.submit_pickled(b"", []).exception(_GRACE_S)
            raise self.reader.end()

    # workers

    def refill(self) -> None:
        """Start workers until there are as many as there should be."""
        with self.lock:
            if self.kill_at is not None or (self.core.is_finishing and self.core.unfinished == 0):
                return
            begun: list[tuple[int, BaseProcess]] = []
            place = None
            try:
                while (place := self.place()) is not None:
                    begun.append((place, self.start(place)))
                while begun:
                    place, process = begun[0]
                    self.add(place, process)
                    del begun[0]
            except BaseException:
                for unused in {place, *(place for place, _ in begun)}:
                    if unused is not None:
                        self.core.no_worker(unused)
                _end([process for _, process in begun])
                raise
            self.short = False

    def place(self) -> Any:
        """Return the place of a worker that should be started, or None."""
        return self.core.worker_wanted(not self.core.is_finishing)

    def start(self, place: int) -> BaseProcess:
        """Start a worker process."""
        settings = forwarding.Settings() if self.forwards else None
        link = worker.Link(self.core.worker_fds(), place, settings)
        args = (link, self.initializer, self.initargs)
        process: BaseProcess = self.make_process(target=_work, args=args)
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        process.start()
        return process

    def add(self, place: int, process: BaseProcess) -> None:
        """Have it be given work."""
        assert process.pid
        self.processes[process.pid] = process
        pidfd = os.pidfd_open(process.pid)
        try:
            self.core.add_worker(place, process.pid, pidfd)
        finally:
            os.close(pidfd)
        self.workers.append(process)

    # the thread

    def run(self) -> None:
        """Until the pool has ended."""
        try:
            self.look_after_all()
        finally:
            with self.lock:
                self.over = True
            self.run_calls()
            self.core.forget()
            self.ended.set()

    def look_after_all(self) -> None:
        """Wait, see to what happens, until there is nothing more to come."""
        while True:
            self.look(self.patience())
            if self.core.is_broken and self.kill_at is None:
                self.kill_at = time.monotonic() + _GRACE_S
            if self.kill_at is None:
                self.try_to_refill()
            else:
                self.end_all()
            ending = self.core.is_finishing or self.core.is_broken
            if ending and self.core.unfinished == 0 and self.core.workers == 0:
                return

    def patience(self) -> float:
        """Return for how long there is nothing to do if nothing happens, in seconds."""
        if self.kill_at is None:
            return _RETRY_S if self.short else _FOREVER
        return max(0.0, self.kill_at - time.monotonic())

    def look(self, seconds: float) -> None:
        """Wait for what happens, and see to it."""
        for pid in self.core.look_after(seconds):
            self.reap(pid)
        self.run_calls()

    def run_calls(self) -> None:
        """Run the callbacks that other threads left."""
        while self.calls:
            self.calls.popleft()()

    def call(self, function: Callable[[], None]) -> None:
        """Have a callback run, in the thread if that is still there."""
        with self.lock:
            left = not self.over and self.thread is not threading.current_thread()
            if left:
                self.calls.append(function)
                self.core.ring_back()
        if not left:
            function()

    def reap(self, pid: int) -> None:
        """Join a worker that has ended, and take it off the list while there are others to come."""
        process = self.processes.pop(pid)
        process.join()
        if not self.core.is_finishing:
            self.workers.remove(process)

    def try_to_refill(self) -> None:
        """Start workers in the place of those that have ended; without any, no task may wait."""
        try:
            self.refill()
        except Exception as error:
            self.short = True
            if self.core.workers == 0:
                self.fail_pending(error)

    def end_all(self) -> None:
        """Fail what is pending, kill who won't end."""
        self.fail_pending(self.reader.end())
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.kill_at += _GRACE_S
            for process in self.workers:
                if process.is_alive():
                    process.kill()

    def fail_pending(self, error: BaseException) -> None:
        """Fail the tasks that no worker has been given."""
        futures = self.core.cancel_all()
        for future in futures:
            if not future.done():
                future.set_exception(error)
        if futures:
            self.look(0)  # wakes those that wait for them

    # the end

    def close(self) -> None:
        """End when all tasks have ended, those included that feeds have yet to read."""
        with self.lock:
            self.closing = True
            if not self.feeds:
                self.core.finish()

    def feed_ended(self, feed: Feed) -> None:
        """Forget a feed."""
        with self.lock:
            self.feeds.discard(feed)
            if self.closing and not self.feeds:
                self.core.finish()

    def join(self) -> None:
        """Wait for the end. Nobody may be there to take results in, so imap holds nothing back."""
        for feed in list(self.feeds):
            feed.let_go()
        self.wait()
        for process in self.workers:
            process.join()

    def wait(self) -> None:
        """Wait until the thread has ended."""
        # Up to 3.12 Thread.join(), if interrupted, takes the thread for ended (bpo-45274), and
        # an interpreter that ends aborts if it hasn't.
        self.ended.wait()
        self.thread.join()

    def terminate(self) -> None:
        """End all now."""
        if self.pid != os.getpid():
            return
        with self.lock:
            self.reader.terminated = True
            self.kill_at = time.monotonic() + _GRACE_S
            feeds = list(self.feeds)
        for feed in feeds:
            feed.stop()
        self.core.finish()
        for process in list(self.workers):
            if process.is_alive():
                process.terminate()
        self.core.ring_back()
        if threading.current_thread() is self.thread:
            return
        self.wait()
        for feed in feeds:
            if feed.thread is not threading.current_thread():
                feed.thread.join(_GRACE_S)  # it may be waiting for the iterable


def _by_name(function: Callable[..., Any]) -> bytes | None:
    # A main that is not imported in workers has no names there.
    if not reduction.goes_by_name(function, spawn.main_plan()):
        return None
    return executor._by_name(function)


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        if process.exitcode is None:
            process.terminate()
    for process in processes:
        process.join()
