# SPDX-License-Identifier: Apache-2.0
"""What a pool is doing: its events, its figures, its trace file."""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from multiprocessing import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Event", "Events", "PoolStats", "WorkerStats"]

VARIABLE = "PROCESSION_TRACE"
_LIMIT = 1 << 16  # events that wait to be read

_traces = itertools.count(1)


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a pool.

    A task is `"queued"`, `"started"` and then one of these: `"done"` (it returned), `"failed"` (it
    raised), `"died"` (with its worker), `"broken"` (with the pool), `"cancelled"`, `"timed_out"`.
    One whose worker ended, or got stuck, before it answered may be `"queued"` and `"started"`
    again. A worker is `"worker_started"`, `"worker_ready"`, `"worker_ended"`.

    `time` is in seconds on the clock of `time.monotonic()`. Of "queued" and "cancelled" it is when
    the pool was told. Of "started" it is the moment from which the worker had the task and nothing
    else to do, microseconds before it began. Of "done", "failed" and "worker_ready" it is the
    worker's own time, which may be earlier than the event comes, since results wait until the
    parent looks. Of "died", "broken", "timed_out" and "worker_ended" it is when the parent
    noticed.

    `task` counts the pool's submits from 0, `function` is its name, `worker` a pid; each is None
    where there is none. `detail` is, of "done" and "failed", the seconds that the worker was at it;
    of "died" and "worker_ended", the worker's exit code; of "lost", which stands in place of events
    that nobody read in time, how many; else None.
    """

    kind: str
    time: float
    task: int | None
    function: str | None
    worker: int | None
    detail: float | int | None


class Events:
    """An iterator over a pool's events that waits for them, and ends when the pool has ended."""

    def __init__(self, core: Any, pid: int) -> None:
        _check(pid)
        self._events = core.events(_LIMIT)

    def __iter__(self) -> Events:
        """Itself."""
        return self

    def __next__(self) -> Event:
        """Wait for the next one."""
        return Event(*next(self._events))


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerStats:
    """What one worker is doing; `state` is "starting", "idle", "busy" or "ending"."""

    pid: int | None
    state: str
    done: int
    busy_seconds: float  # of tasks that have ended
    function: str | None  # that it is at


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool is doing, and what it has done.

    Every task is in one of `queued`, `running`, `done` (returned), `failed` (raised), `died` (with
    its worker), `broken` (with the pool), `cancelled` and `timed_out`. Queued are also those
    that a worker was given ahead. `workers_died` are those that ended without having been told to.
    `arena_*` are bytes of shared memory for large data: that hold some, and that the pool has in
    all.
    """

    workers: tuple[WorkerStats, ...]
    queued: int
    running: int
    done: int
    failed: int
    died: int
    broken: int
    cancelled: int
    timed_out: int
    workers_started: int
    workers_died: int
    arena_in_use: int
    arena_mapped: int


def stats(core: Any, pid: int) -> PoolStats:
    """Look at the pool of a process."""
    _check(pid)
    workers, *figures = core.stats()
    return PoolStats(tuple(WorkerStats(*worker) for worker in workers), *figures)


def _check(pid: int) -> None:
    if pid != os.getpid():
        raise RuntimeError(f"this pool belongs to process {pid}, from which this one was forked")


def begin_trace(core: Any, path: str | os.PathLike[str] | None, depth: int) -> None:
    """Have a new pool write a trace to `path`, or to where the environment says.

    `depth` frames up is who made the pool.
    """
    if path is not None:
        core.trace_to(os.fspath(path).replace("%p", str(os.getpid())))
        return
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    name = _own_name(wanted)
    try:
        core.trace_to(name)
    except OSError as error:
        warnings.warn(
            f"{VARIABLE}: no trace of this pool: {error}", RuntimeWarning, stacklevel=depth
        )


def _own_name(wanted: str) -> str:
    """Name the trace of this pool so that neither another pool's nor another process's is lost."""
    name = wanted.replace("%p", str(os.getpid()))
    base, dot, end = name.rpartition(".")
    if not dot or os.sep in end:
        base, end = name, ""
    if name == wanted and process.parent_process() is not None:
        base += f"-{os.getpid()}"
    number = next(_traces)
    return base + (f"-{number}" if number > 1 else "") + dot + end


def _forget_count() -> None:
    global _traces
    _traces = itertools.count(1)


os.register_at_fork(after_in_child=_forget_count)
