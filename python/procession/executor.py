# SPDX-License-Identifier: Apache-2.0
"""ProcessPoolExecutor on the native pool."""

from __future__ import annotations

import concurrent.futures
import math
import os
import resource  # noqa: F401  # for last_words, which would import it while others fork
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.process import ProcessPoolExecutor as _Standard
from types import BuiltinFunctionType, FunctionType
from weakref import WeakSet, finalize, ref

from . import (
    _engine,
    _install,
    context,
    events,
    executor_options,
    forwarding,
    reduction,
    spawn,
    worker,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess
    from typing import Any

__all__ = ["Future", "ProcessPoolExecutor", "TaskTimeout", "WorkerDied"]

TaskTimeout = worker.TaskTimeout
WorkerDied = worker.WorkerDied

_FOREVER = 1e9  # seconds
_GRACE_S = 1.0  # between SIGTERM and SIGKILL
_TERMINATE, _KILL = "terminate", "kill"

_Base: Any = _Standard
_managers: WeakSet[_Manager] = WeakSet()
_exiting = False


class Future(_engine.FutureBase, concurrent.futures.Future):  # type: ignore[type-arg]
    """A task's outcome to come."""

    def cancel(self, running: bool = False) -> bool:
        """Take the task back if no worker has been given it; say whether it is cancelled.

        `running`: else have the worker stopped and replaced, with all processes that came of it.
        """
        if self._take_back(running):
            _cancel(self)
            self._wake()
        return self.cancelled()


def _cancel(future: Future) -> None:
    concurrent.futures.Future.cancel(future)
    future.set_running_or_notify_cancel()


class ProcessPoolExecutor(_engine.ExecutorBase, _Base):  # type: ignore[misc]
    """concurrent.futures' executor on procession's workers.

    Beside the standard's parameters: `on_worker_death` says what a worker's death ends: "break"
    (the default, as the standard does) every task and the pool, "fail_task" the one task that it
    held, with WorkerDied, "retry" not even that one before its `retries` are used up. `timeout` is
    for how many seconds a task may run. A worker that has had no task for `idle_timeout` seconds
    ends, and starts again on demand; not under fork. submit() waits while `max_pending` tasks are
    unfinished. A worker whose resident set is larger than `max_rss` bytes after a task is replaced.
    `trace` names a file that shows in ui.perfetto.dev what ran where and when; "%p" in it is the
    pid.
    `forward_output` has what workers log, print and warn of come out here, in this process.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_worker_death: str = "break",
        retries: int = 1,
        timeout: float | None = None,
        idle_timeout: float | None = 60.0,
        max_pending: int | None = None,
        max_rss: int | None = None,
        trace: str | os.PathLike[str] | None = None,
        forward_output: bool = False,
    ) -> None:
        self._broken: Any = False
        self._shutdown_thread = False
        self._processes: Any = {}
        self._executor_manager_thread: Any = None
        if max_workers is None:
            max_workers = _engine.cpu_count()
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        executor_options.check_on_death(on_worker_death)
        executor_options.check_retries(retries)
        executor_options.check_seconds("timeout", timeout)
        executor_options.check_seconds("idle_timeout", idle_timeout)
        executor_options.check_count("max_pending", max_pending)
        executor_options.check_count("max_rss", max_rss)
        if mp_context is None:
            method = None if max_tasks_per_child is None else "spawn"
            mp_context = context._default_context.get_context(method)
        forks = mp_context.get_start_method(allow_none=False) == "fork"
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            if forks:
                raise ValueError(
                    "max_tasks_per_child is incompatible with the 'fork' multiprocessing start "
                    "method; supply a different mp_context."
                )
        self._max_workers = max_workers
        self._mp_context = mp_context
        self._safe_to_dynamically_spawn_children = not forks
        self._initializer = initializer
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._max_pending = max_pending
        self._shutdown_lock = threading.Lock()
        self._call_queue: Any = _NoQueue()
        self._pid = os.getpid()
        self._core = _engine.PoolCore(
            max_workers,
            max_tasks_per_child or 0,
            on_worker_death,
            retries,
            worker,
            Future,
            self._processes,
            timeout=timeout,
            # Under fork there may be threads now that there weren't at the beginning.
            idle_timeout=None if forks else idle_timeout,
            max_pending=max_pending or 0,
            max_rss=max_rss or 0,
        )
        events.begin_trace(self._core, trace, 3)
        self._crew = _Crew(self, forward_output)
        self._may_grow = True

    def _submit_slowly(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future:
        """Do what the engine's submit() doesn't."""
        future = self._core.submit(fn, args, kwargs) if self._may_submit() else None
        return self._submit_by_the_rule(fn, args, kwargs) if future is None else future

    def with_options(
        self,
        *,
        timeout: float | None = None,
        priority: int = 0,
        retries: int | None = None,
        on_worker_death: str | None = None,
    ) -> executor_options.WithOptions:
        """Return this executor with a submit() and a map() whose tasks have these options.

        `timeout` is for how many seconds each may run; then it ends with TaskTimeout, and its
        worker is stopped. Ready tasks of a higher `priority` go first; it is 0 by default.
        `retries` and `on_worker_death` are as the executor's, for these tasks; `retries` alone
        means "retry". None is what the executor has.
        """
        options = executor_options.task_options(
            timeout=timeout, priority=priority, retries=retries, on_worker_death=on_worker_death
        )
        return executor_options.WithOptions(self, options)

    def _submit_with(
        self,
        options: _engine.TaskOptions,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Future:
        future = self._core.submit_with(options, fn, args, kwargs) if self._may_submit() else None
        if future is None:
            future = self._submit_by_the_rule(fn, args, kwargs, options)
        if self._may_grow:
            self._grow(future)
        return future

    def _may_submit(self) -> bool:
        return self._pid == os.getpid()

    def _submit_by_the_rule(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: _engine.TaskOptions | None = None,
    ) -> Future:
        if self._pid != os.getpid():
            raise RuntimeError(
                f"this executor belongs to process {self._pid}, from which this one was forked"
            )
        self._core.wait_for_room()
        self._check()
        if type(fn) in (FunctionType, BuiltinFunctionType, type) and not self._core.knows(fn):
            payload = _by_name(fn)
            if payload is not None:
                self._core.add_function(fn, payload)
                if options is None:
                    future = self._core.submit(fn, args, kwargs)
                else:
                    future = self._core.submit_with(options, fn, args, kwargs)
                if future is not None:
                    return future  # type: ignore[no-any-return]
                self._check()  # it may have waited
        call, buffers = worker.dump_call(fn, args, kwargs)
        return self._core.submit_pickled(  # type: ignore[no-any-return]
            call, buffers, worker.name_of(fn), options
        )

    def _check(self) -> None:
        with self._shutdown_lock:
            if self._broken or self._core.is_broken:
                reason = self._core.broken_by
                cause = None if reason is None else reason.__cause__ or reason
                raise BrokenProcessPool(self._broken or _BROKEN) from cause
            if self._shutdown_thread:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if _exiting:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def stats(self) -> events.PoolStats:
        """Say what the pool is doing, and what it has done."""
        return events.stats(self._core, self._pid)

    def events(self) -> events.Events:
        """Iterate over what happens from now on, as it happens, until the pool has ended.

        Events that nobody reads are kept, the latest 65536.
        """
        found = events.Events(self._core, self._pid)
        finalize(self, self._crew.forget_unused).atexit = False
        return found

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool | str = False,
    ) -> Iterator[Any]:
        """As the standard's, with the `buffersize` of Python 3.14: `max_pending` unless told.

        `progress=True`, or a description, shows a bar (of tqdm) that counts calls as they end.
        """
        return executor_options.bounded_map(
            self, None, fn, iterables, timeout, chunksize, buffersize, progress
        )

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> bool | None:
        """Shut down and wait; after a KeyboardInterrupt without finishing what was begun."""
        manager = self._executor_manager_thread
        if manager is not None and kind is not None and issubclass(kind, KeyboardInterrupt):
            manager.stop()
        return super().__exit__(kind, *about)  # type: ignore[no-any-return]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; workers end when all have ended. `wait` for that."""
        with self._shutdown_lock:
            self._shutdown_thread = True
            thread = self._executor_manager_thread
            is_ours = self._pid == os.getpid()  # in a forked copy nobody works for this one
            if is_ours:
                if cancel_futures:
                    for future in self._core.cancel_all():
                        _cancel(future)
                    self._core.wake_all()
                self._core.finish()
        if thread is not None and wait and is_ours:
            if thread is not threading.current_thread():  # else join() says that it can't be
                self._crew.ended.wait()
            thread.join()
        if is_ours:
            self._crew.forget_unused()
        self._executor_manager_thread = None
        self._call_queue = None
        self._processes = None

    def _grow(self, future: Future) -> None:
        """Start the workers that the tasks ask for, and the thread that looks after them."""
        with self._shutdown_lock:
            crew = self._crew
            begins = self._executor_manager_thread is None
            try:
                # With threads about, forking is over.
                crew.grow(all_at_once=begins and not self._safe_to_dynamically_spawn_children)
            except BaseException:
                if not crew.processes and future._take_back(False):
                    _cancel(future)
                raise
            self._may_grow = len(crew.processes) < self._max_workers
            if begins and crew.processes and not self._shutdown_thread:
                self._executor_manager_thread = _Manager(self)
                crew.began = True
                self._executor_manager_thread.start()

    def _force_shutdown(self, operation: str) -> None:
        if operation not in (_TERMINATE, _KILL):
            raise ValueError(f"unsupported operation: {operation!r}")
        processes = dict(self._processes or {})
        self._core.stop_now()
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes.values():
            if process.is_alive():
                getattr(process, operation)()

    def terminate_workers(self) -> None:
        """Send SIGTERM to all workers and shut down."""
        self._force_shutdown(operation=_TERMINATE)

    def kill_workers(self) -> None:
        """Send SIGKILL to all workers and shut down."""
        self._force_shutdown(operation=_KILL)


_BROKEN = "A child process terminated abruptly, the process pool is not usable anymore"


def _by_name(fn: Callable[..., Any]) -> bytes | None:
    if not reduction.goes_by_name(fn, spawn.main_plan()):
        return None
    try:
        return worker.dump_function(fn)
    except Exception:
        return None


class _NoQueue:
    """Where programs look for the standard's queue of calls; the native pool has none."""

    def close(self) -> None:
        """Do nothing."""

    def join_thread(self) -> None:
        """Do nothing."""


class _Crew:
    """The workers of a pool, and how to start one; outlives its executor while there is work."""

    def __init__(self, executor: ProcessPoolExecutor, forwards: bool) -> None:
        self.pid = os.getpid()
        self.core = executor._core
        self.processes: dict[int, BaseProcess] = executor._processes
        self.began = False  # there is a thread that looks after it
        self.ended = threading.Event()  # a Thread.join() that Ctrl-C interrupts lies, on 3.11
        self._context: Any = executor._mp_context
        self._initializer = (executor._initializer, executor._initargs)
        self._forwards = forwards

    def grow(self, *, all_at_once: bool = False) -> None:
        """Start as many as the tasks ask for, or as there may be."""
        place = self.core.worker_wanted(all_at_once)
        while place is not None:
            self._start(place)
            place = self.core.worker_wanted(all_at_once)

    def forget_unused(self) -> None:
        """End a pool that never began."""
        if not self.began:
            self.core.forget()

    def _start(self, place: int) -> None:
        try:
            settings = forwarding.Settings() if self._forwards else None
            link = worker.Link(self.core.worker_fds(), place, settings)
            process = self._context.Process(target=worker.main, args=(link, *self._initializer))
            process.start()
            pidfd = os.pidfd_open(process.pid)
        except BaseException:
            self.core.no_worker(place)
            raise
        self.processes[process.pid] = process
        try:
            self.core.add_worker(place, process.pid, pidfd)
        finally:
            os.close(pidfd)


class _Manager(threading.Thread):
    """Looks after workers and tasks whose results nobody waits for."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        super().__init__(name="ProcessPoolExecutor-manager")
        self.crew = executor._crew
        self.core = core = executor._core
        self.lock = executor._shutdown_lock
        self.kill_at = math.inf  # by time.monotonic()

        def gone(_: object, pid: int = os.getpid()) -> None:
            if os.getpid() == pid:
                core.finish()

        self.executor = ref(executor, gone)
        _managers.add(self)

    def run(self) -> None:
        """Until the pool has ended."""
        core = self.core
        try:
            while not self.is_over():
                patience = max(0.0, self.kill_at - time.monotonic())
                for pid in core.look_after(min(patience, _FOREVER)):
                    self.saw_end(pid)
                if time.monotonic() >= self.kill_at:
                    self.signal_all("kill")
                    self.kill_at = math.inf
                if core.unfinished and not core.is_broken:
                    self.replace()
        finally:
            core.forget()
            self.crew.ended.set()

    def stop(self) -> None:
        """Have all tasks and workers ended: by SIGTERM, a moment later by SIGKILL."""
        if self.crew.pid != os.getpid():
            return
        with self.lock:
            for future in self.core.cancel_all():
                _cancel(future)
            self.core.wake_all()
            self.core.stop_now()
            self.core.finish()
            self.signal_all("terminate")
            self.kill_at = time.monotonic() + _GRACE_S
        self.core.ring_back()

    def signal_all(self, operation: str) -> None:
        """Terminate or kill all workers."""
        for process in list(self.crew.processes.values()):
            if process.is_alive():
                getattr(process, operation)()

    def replace(self) -> None:
        """Start workers in the place of those that have ended."""
        try:
            with self.lock:
                self.crew.grow()
        except Exception as error:
            if self.core.workers:
                return  # the others do the work
            for future in self.core.cancel_all():
                broken = BrokenProcessPool(f"no worker could be started: {error}")
                broken.__cause__ = error
                future.set_exception(broken)
            self.core.wake_all()

    def is_over(self) -> bool:
        """Whether all has ended that there will be."""
        ending = self.core.is_finishing or self.core.is_broken
        return ending and self.core.unfinished == 0 and self.core.workers == 0

    def saw_end(self, pid: int) -> None:
        """Reap a worker."""
        process = self.crew.processes[pid]
        process.join()
        executor = self.executor()
        if executor is not None and self.core.is_broken and not executor._broken:
            executor._broken = f"{_BROKEN} ({worker.ended_how(pid, process.exitcode or 0)})"
        if not self.core.is_finishing:
            del self.crew.processes[pid]
            if executor is not None:
                executor._may_grow = True


def _at_exit() -> None:
    global _exiting
    _exiting = True
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1")
    for manager in list(_managers):
        manager.stop() if interrupted else manager.core.finish()
    for manager in list(_managers):
        manager.crew.ended.wait()
        manager.join()


def _after_fork_in_child() -> None:
    for manager in _managers:
        manager.lock._at_fork_reinit()  # type: ignore[attr-defined]  # its thread may have held it
    _managers.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]

_install.is_there(__name__)
