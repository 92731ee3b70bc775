# SPDX-License-Identifier: Apache-2.0
"""A pool's worker process, and how calls, results and failures are pickled on their way."""

from __future__ import annotations

import contextlib
import os
import pickle
from multiprocessing import context as _context

# All that a worker runs is imported ahead: a fork may find another thread amid an import.
from . import _engine, last_words, out_of_band, reduction, remote_exception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .forwarding import Settings

_PROTOCOL = pickle.HIGHEST_PROTOCOL


class WorkerDied(RuntimeError):
    """The worker process that ran a task ended before the task did.

    `task` is the function's name, `pid` the worker's, `exitcode` as a process's: minus the signal's
    number if a signal ended it. `resource_usage` is a resource.struct_rusage of the worker's whole
    life, or None; `stderr` the last that Python code wrote there, and the stack of a crash;
    `out_of_memory` says whether the kernel killed it for want of memory.
    """

    def __init__(
        self,
        message: str,
        task: str,
        pid: int,
        exitcode: int,
        resource_usage: Any = None,
        stderr: str = "",
        out_of_memory: bool = False,
    ) -> None:
        super().__init__(message, task, pid, exitcode, resource_usage, stderr, out_of_memory)
        self.task = task
        self.pid = pid
        self.exitcode = exitcode
        self.resource_usage = resource_usage
        self.stderr = stderr
        self.out_of_memory = out_of_memory

    def __str__(self) -> str:
        """The message."""
        return str(self.args[0])


class TaskTimeout(TimeoutError):
    """A task ran for longer than its `timeout`, in seconds; its worker was stopped.

    `task` is the function's name, `pid` the worker's.
    """

    def __init__(self, message: str, task: str, pid: int, timeout: float) -> None:
        super().__init__(message)
        self.task = task
        self.pid = pid
        self.timeout = timeout

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with all of it: an OSError keeps its own arguments only."""
        return type(self), (self.args[0], self.task, self.pid, self.timeout)


class Link:
    """What a starting worker gets of its pool: descriptors, its place, how to tell what it says."""

    def __init__(self, fds: list[int], place: int, settings: Settings | None = None) -> None:
        self.fds = fds
        self.place = place
        self.settings = settings

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel in a start only."""
        _context.assert_spawning(self)
        return _link, ([reduction.DupFd(fd) for fd in self.fds], self.place, self.settings)


def _link(fds: list[Any], place: int, settings: Settings | None) -> Link:
    link = Link([fd.detach() for fd in fds], place, settings)
    link.close = True  # type: ignore[attr-defined]
    return link


def main(link: Link, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    """Run what a worker process runs."""
    worker = _engine.PoolWorker(link.fds, link.place)
    if hasattr(link, "close"):
        for fd in link.fds:
            os.close(fd)
    last_words.record(worker)
    if link.settings is not None:
        from . import forwarding

        forwarding.begin(worker, link.settings)
    if initializer is not None:
        try:
            initializer(*initargs)
            worker.note_oom_counter()
        except BaseException as error:
            import logging

            # As the standard's worker says it.
            logging.getLogger("concurrent.futures").critical(
                "Exception in initializer:", exc_info=True
            )
            worker.cant_begin(dump_failure(error))
            return
    while not worker.has_ended:
        with contextlib.suppress(KeyboardInterrupt):  # between two calls: the parent decides
            worker.run()


def dump_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bytes, list[Any]]:
    """Pickle a call by the rule; what can't travel raises an error that names its path."""
    sent = args
    if any(map(out_of_band.is_large, args)):
        sent = tuple(map(out_of_band.wrapped, args))
    try:
        return out_of_band.dumps((function, sent, kwargs))
    except Exception as error:
        raise _explained(function, args, kwargs, error) from error


def _explained(
    function: Callable[..., Any], args: object, kwargs: object, error: Exception
) -> Exception:
    what = f"a call of {_name(function)} to a worker"
    for root, part in (("fn", function), ("args", args), ("kwargs", kwargs)):
        try:
            out_of_band.dumps(part)
        except Exception as own:
            return reduction.explained(part, own, what=what, root=root)
    return error


def call(payload: bytes, buffers: list[Any]) -> Any:
    """Make a pickled call."""
    function, args, kwargs = pickle.loads(payload, buffers=buffers)
    buffers.clear()
    return function(*args, **kwargs)


def dump_function(function: Callable[..., Any]) -> bytes | None:
    """Pickle a function that goes by name, or give None."""
    payload = pickle.dumps(function, _PROTOCOL)
    return payload if pickle.loads(payload) is function else None


load_function = pickle.loads


def dump_result(result: Any) -> tuple[bytes, list[Any]]:
    """Pickle a result by the rule."""
    return out_of_band.dumps(result)


def load_result(payload: bytes, buffers: list[Any]) -> Any:
    """Rebuild it, on the memory in which it came."""
    return pickle.loads(payload, buffers=buffers)


def dump_failure(error: BaseException) -> bytes:
    """Pickle what a task raised. Never raises."""
    if error.__traceback__ is not None and error.__traceback__.tb_frame.f_code is call.__code__:
        error.__traceback__ = error.__traceback__.tb_next
    return remote_exception.dump_exception(error)


def load_failure(data: bytes) -> BaseException:
    """Rebuild it, with the remote traceback as its cause."""
    from concurrent.futures import process

    kind: Any = process._RemoteTraceback
    error = remote_exception.load_exception(data, kind)
    if isinstance(error, KeyboardInterrupt):  # Ctrl-C, which this process gets as well
        error.__cause__ = None
    return error


def death(
    broken: bool,
    pid: int | None,
    exitcode: int | None,
    function: tuple[object] | None,
    payload: bytes,
    more: tuple[tuple[float, ...], bytes, int] | None,
) -> BaseException:
    """Make the exception of a task that ended with a worker, its own or, if `broken`, any.

    `function` is what the worker was in, in a tuple, or None.
    """
    from concurrent.futures.process import BrokenProcessPool

    if pid is None or exitcode is None:
        cause = load_failure(payload)
        line = remote_exception.in_one_line(cause)
        error = BrokenProcessPool(f"The initializer of a worker process failed: {line}")
        error.__cause__ = cause
        return error
    name = _name(function[0]) if function else ""
    how = ended_how(pid, exitcode) + (f" while it ran {name}" if name else "")
    details: tuple[Any, ...] = ()
    if more is not None:
        lines, *details = last_words.facts(more)  # type: ignore[assignment]
        how = "\n  ".join([how, *lines])
    died = WorkerDied(how, name, pid, exitcode, *details)
    if not broken:
        return died
    error = BrokenProcessPool(
        "A process in the process pool was terminated abruptly while the future was running "
        f"or pending: {how}"
    )
    error.__cause__ = died
    return error


def broken_again(first: BaseException) -> BaseException:
    """Make the same for another task: of thousands, all share the text."""
    error = type(first)(*first.args)
    error.__cause__ = first.__cause__
    return error


def timed_out(function: object, pid: int, seconds: float) -> BaseException:
    """Make the exception of a task that ran for too long."""
    name = _name(function)
    message = f"{name} ran for longer than {seconds:g} s in worker {pid}, which was stopped"
    return TaskTimeout(message, name, pid, seconds)


def ended_how(pid: int, exitcode: int) -> str:
    """Say how a worker ended."""
    if exitcode >= 0:
        return f"worker {pid} exited with code {exitcode}"
    import signal

    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"worker {pid} was killed by {name}"


def name_of(function: object) -> str:
    """Return what people call a function; of a partial or of a chunk of calls, what is called."""
    import functools

    while isinstance(function, functools.partial):
        maps = function.func.__module__ in _MAPPERS if hasattr(function.func, "__module__") else 0
        function = function.args[0] if maps and function.args else function.func
    return _name(function)


_MAPPERS = ("procession.executor_options", "procession.pool_crew")


def deliver(*facts: Any) -> None:
    """Take, in the parent, what a worker's `tell` gave."""
    from . import forwarding

    forwarding.deliver(*facts)


def _name(function: object) -> str:
    if function is None:
        return "a task"
    if type(function) is str:
        return function
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{module}.{name}" if module else str(name)
