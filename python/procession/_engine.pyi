# SPDX-License-Identifier: Apache-2.0
"""procession's engine: processes, made and watched natively."""

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex, final, overload

from typing_extensions import Buffer

from procession.executor import Future

@final
class Sink:
    """Where a pickler writes what a new process gets."""

    def __init__(self) -> None: ...
    def write(self, buffer: Buffer) -> int: ...

@final
class Source:
    """A start's payload, as a file to unpickle from."""

    def read(self, size: int = -1) -> bytes: ...
    def readline(self) -> bytes: ...
    def readinto(self, buffer: Buffer) -> int: ...

@final
class ToParent:
    """A child's line to its parent."""

    def report(self, failure: Buffer) -> None: ...

@final
class DictSnapshot:
    """Notices whether a dict is what it was."""

    def is_current(self, dict: dict[str, Any]) -> bool:
        """Whether it has the entries of the last call, by address; else they are taken down."""

@final
class Child:
    """A process that this one started."""

    @property
    def pid(self) -> int: ...
    @property
    def sentinel(self) -> int:
        """A descriptor that is readable once the process has ended."""

    def try_wait(self) -> int | None:
        """The exit code, minus the signal's number, or None while it runs."""

    def wait(self, timeout: float | None) -> int | None:
        """As try_wait, after at most `timeout` seconds (None: until it ends)."""

    def send_signal(self, signal: int) -> bool:
        """False if the process has ended."""

    def take_failure(self) -> bytes | None:
        """What the child reported before it ended, once."""

class ConnectionBase:
    """A connection's input and output; procession.connection makes a Connection of it."""

    _handle: int | None
    _readable: bool
    _writable: bool
    def __init__(
        self, handle: SupportsIndex, readable: bool = True, writable: bool = True
    ) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def readable(self) -> bool: ...
    @property
    def writable(self) -> bool: ...
    @property
    def _has_begun(self) -> bool:
        """Whether it holds a part of a message."""

    def send(self, obj: Any, /) -> None:
        """Send a (picklable) object."""

    def recv(self) -> Any:
        """Receive an object."""

    def send_bytes(self, buf: Buffer, offset: int = 0, size: int | None = None) -> None:
        """Send `size` bytes of a bytes-like object, from `offset` on."""

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive a message of bytes; OSError if it is longer than `maxlength`."""

    def recv_bytes_into(self, buf: Buffer, offset: int = 0) -> int:
        """Receive a message of bytes into a writable buffer from `offset` on; return its size."""

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is anything to receive, at the latest after `timeout` seconds."""

    def fileno(self) -> int:
        """The descriptor."""

    def close(self) -> None:
        """Close the connection. May be called again."""

    def _close(self) -> None: ...
    @property
    def _blocks(self) -> tuple[PipeBlocks, int] | None: ...
    def _share_blocks(self, other: ConnectionBase, /) -> None: ...
    def _find_blocks(self, name: tuple[int, int, int], end: int, arrives: bool, /) -> None: ...
    def _pack(self, obj: Any, /) -> PackedMessage: ...
    def _try_recv(self) -> tuple[Any] | None: ...
    def _try_send(self, message: PackedMessage, /) -> bool: ...
    def _try_finish(self) -> bool: ...

def redeem(claim: bytes) -> Any:
    """The message that a claim is to, which came through a connection."""

class PackedMessage:
    """A message on its way out."""

class PipeBlocks:
    """Large messages on their way beside a pipe."""

    name: tuple[int, int, int]
    def keep_until_found(self) -> None:
        """Have it stay until its name, which is on its way to somebody, has arrived there."""

def pipe(duplex: bool) -> tuple[int, int]:
    """Two connected descriptors; of a simplex pipe the first one reads."""

class FutureBase:
    """A future's fields; procession.executor makes a Future of it."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the task's end; return its result, or raise."""

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the task's end; return what it raised, or None."""

    def done(self) -> bool:
        """Whether it has ended or was cancelled."""

    def running(self) -> bool:
        """Whether a worker has been given it."""

    def cancelled(self) -> bool:
        """Whether it was cancelled."""

    def _take_back(self, running: bool) -> bool: ...
    def _wake(self) -> None: ...

class ExecutorBase:
    """What procession.executor makes its ProcessPoolExecutor of."""

    _core: PoolCore
    _pid: int
    _may_grow: bool
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Have fn(*args, **kwargs) called in a worker; return its Future.

        What can't travel is refused here, by an error that names its path.
        """

@final
class ArenaBuffer(Buffer):
    """Received memory: writable, and there as long as anything views it.

    What an object that pickles a buffer out of band is given to be rebuilt from.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, key: SupportsIndex | slice, /) -> Any: ...
    def __setitem__(self, key: SupportsIndex | slice, value: Any, /) -> None: ...
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]: ...

@final
class TaskOptions:
    """What a task is to have of its own; None is what its pool has."""

    def __init__(
        self,
        timeout: float | None,
        priority: int,
        on_death: str | None,
        retries: int | None,
    ) -> None: ...

@final
class PoolCore:
    """A pool of workers: calls in, futures out."""

    def __init__(
        self,
        max_workers: int,
        tasks_per_worker: int,
        on_death: str,
        retries: int,
        support: object,
        future: type,
        processes: dict[int, Any],
        timeout: float | None = None,
        idle_timeout: float | None = None,
        max_pending: int = 0,
        max_rss: int = 0,
    ) -> None: ...
    def worker_fds(self) -> list[int]:
        """What a worker process needs."""

    def submit(
        self, function: object, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any | None:
        """The future of a call, or None if it takes more than plain pickling."""

    def submit_with(
        self,
        options: TaskOptions,
        function: object,
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Any | None:
        """As submit, with options."""

    def submit_pickled(
        self,
        payload: bytes,
        buffers: list[Any],
        name: str = "",
        options: TaskOptions | None = None,
    ) -> Any:
        """The future of a pickled (function, args, keywords)."""

    def map(
        self, function: object, items: Any, star: bool, by_rule: Callable[[tuple[Any, ...]], Any]
    ) -> list[Any]:
        """The results of a call for each item, when all have ended."""

    def wait_for_room(self) -> None:
        """Wait while max_pending tasks are unfinished."""

    def add_function(self, function: object, payload: bytes) -> None:
        """Have later submits name `function` by an id."""

    def knows(self, function: object) -> bool: ...
    def forget(self) -> None:
        """Let go of all there is: the pool has ended."""

    def stats(self) -> tuple[Any, ...]:
        """The fields of procession.events.PoolStats."""

    def events(self, limit: int) -> EventIterator:
        """An iterator over the fields of procession.events.Event."""

    def trace_to(self, path: str) -> None:
        """Write a trace, from now on."""

    def worker_wanted(self, all: bool = False) -> int | None:
        """A place for which a worker should be started now, or None."""

    def add_worker(self, place: int, pid: int, pidfd: int) -> None: ...
    def no_worker(self, place: int) -> None: ...
    def finish(self) -> None:
        """Workers end when all tasks have ended."""

    def stop_now(self) -> None:
        """From now on a worker's death breaks the pool."""

    def cancel_all(self) -> list[Any]:
        """Take back what no worker has been given."""

    def look_after(self, seconds: float) -> list[int]:
        """Wait and settle; the pids of workers that ended."""

    def wake_all(self) -> None:
        """Have waiting threads look at their futures again."""

    def ring_back(self) -> None:
        """Wake the thread in look_after."""

    @property
    def unfinished(self) -> int: ...
    @property
    def workers(self) -> int: ...
    @property
    def broken_by(self) -> BaseException | None:
        """What the tasks raise that broke with it."""

    @property
    def is_broken(self) -> bool: ...
    @property
    def is_finishing(self) -> bool: ...

@final
class EventIterator:
    """What happens in a pool, as it happens."""

    def __iter__(self) -> EventIterator: ...
    def __next__(self) -> tuple[Any, ...]: ...

@final
class PoolWorker:
    """A worker process's side of a pool."""

    has_ended: bool
    def __init__(self, fds: Sequence[int], place: int) -> None: ...
    def cant_begin(self, failure: bytes) -> None:
        """Tell the parent that the initializer failed."""

    def tell(self, form: int, payload: bytes) -> None:
        """Have the parent's `deliver` called with these."""

    def on_call_end(self, function: Callable[[], object]) -> None:
        """Have it called after each call, ahead of the answer."""

    def say(self, text: Buffer) -> None:
        """Keep it for the case of this process's death."""

    def crash_fd(self) -> int:
        """A new descriptor to write to when this process crashes, or -1."""

    def note_oom_counter(self) -> None:
        """Look again in which cgroup this process is."""

    def run(self) -> None:
        """Work until the parent says stop."""

class SemLock:
    """A lock or semaphore between processes that knows who holds it."""

    kind: int
    maxvalue: int
    owner: int
    @overload
    def __init__(self, kind: int, value: int, maxvalue: int) -> None: ...
    @overload
    def __init__(self, same: SemLock, /) -> None: ...
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire it, waiting at most `timeout` seconds; whether it was acquired."""

    def release(self) -> None:
        """Release it; ValueError if it wasn't acquired."""

    def keep(self) -> None:
        """Have it stay until the session ends, since its name is on its way to somebody."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def __getstate__(self) -> Any: ...
    def __setstate__(self, state: Any) -> None: ...
    def _count(self) -> int: ...
    def _is_mine(self) -> bool: ...
    def _get_value(self) -> int: ...
    def _is_zero(self) -> bool: ...

@final
class Condition:
    """Those who wait for a condition variable."""

    def enter(self) -> int:
        """Take a seat; with the lock held."""

    def wait(self, seat: int, timeout: float | None) -> bool:
        """Wait in it; whether it was notified."""

    def wait_with_peers(self, seat: int, timeout: float | None) -> bool | None:
        """The same, or None when another process that waits has ended."""

    def notify(self, count: int) -> int: ...
    def waiting(self) -> int:
        """How many wait."""

    def keep(self) -> None: ...

class Event:
    """A flag that processes wait for."""

    def __init__(self) -> None: ...
    def __getstate__(self) -> Any: ...
    def __setstate__(self, state: Any) -> None: ...
    def is_set(self) -> bool: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def keep(self) -> None: ...

class SharedBytes:
    """Memory that processes share, zero at first; a buffer."""

    def __init__(self, size: int) -> None: ...
    def __getstate__(self) -> Any: ...
    def __setstate__(self, state: Any) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def keep(self) -> None: ...

@final
class MessageQueue:
    """Objects on their way between processes."""

    name: tuple[int, int, int]
    bells: tuple[int, int]
    has_put: bool
    def __init__(self, most: int) -> None: ...
    @staticmethod
    def find(name: tuple[int, int, int], bell: int, room_bell: int) -> MessageQueue:
        """The queue of that name; the bells are duplicated."""

    def put(self, obj: object, block: bool = True, timeout: float | None = None) -> bool:
        """Put it in; False if there was no room for so long."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The oldest; queue.Empty if there was none for so long."""

    def size(self) -> int: ...
    def poll(self, timeout: float) -> bool:
        """Whether there is something; < 0: wait for ever."""

    def task_done(self) -> None: ...
    def unfinished(self) -> int: ...
    def join(self, timeout: float | None = None) -> bool: ...
    def bell(self) -> int:
        """A descriptor that is readable while there is something."""

    def room_bell(self) -> int:
        """A descriptor that is readable while there is room."""

    def keep(self) -> None: ...

class SharedMap:
    """Keys and values that processes share."""

    def __init__(self) -> None: ...
    def __getstate__(self) -> Any: ...
    def __setstate__(self, state: Any) -> None: ...
    def keep(self) -> None: ...
    def __getitem__(self, key: object) -> Any: ...
    def __setitem__(self, key: object, value: object) -> None: ...
    def __delitem__(self, key: object) -> None: ...
    def __contains__(self, key: object) -> bool: ...
    def __len__(self) -> int: ...
    def get(self, key: object, default: Any = None) -> Any:
        """The key's value, or the default."""

    def pop(self, key: object, *default: Any) -> Any:
        """Remove the key; its value, or the default if it isn't there."""

    def popitem(self) -> tuple[Any, Any]:
        """Remove the key that came last; it and its value."""

    def setdefault(self, key: object, default: Any = None) -> Any:
        """The key's value, which is the default from now on if it isn't there."""

    def clear(self) -> None:
        """Remove all keys."""

    def _update_with(self, key: object, function: Callable[[Any], Any], *default: Any) -> Any: ...
    def _keys(self) -> list[Any]: ...
    def _values(self) -> list[Any]: ...
    def _items(self) -> list[tuple[Any, Any]]: ...

class SharedSequence:
    """A row of values that processes share."""

    def __init__(self) -> None: ...
    def __getstate__(self) -> Any: ...
    def __setstate__(self, state: Any) -> None: ...
    def keep(self) -> None: ...
    def __len__(self) -> int: ...
    def append(self, value: object) -> None:
        """Add a value at the end."""

    def insert(self, index: int, value: object) -> None:
        """Add a value ahead of an index."""

    def pop(self, index: int = -1) -> Any:
        """Remove a value and return it."""

    def clear(self) -> None:
        """Remove all values."""

    def _get(self, index: int) -> Any: ...
    def _set(self, index: int, value: object) -> None: ...
    def _delete(self, index: int) -> None: ...
    def _extend(self, values: list[Any]) -> None: ...
    def _remove_if(self, index: int, version: tuple[int, int]) -> bool: ...
    def _snapshot(self) -> tuple[list[Any], tuple[int, int]]: ...
    def _part(self, first: int, count: int) -> list[Any]: ...
    def _version(self) -> tuple[int, tuple[int, int]]: ...
    def _arrange(self, version: tuple[int, int], order: list[int], values: list[Any]) -> bool: ...

class SharedCounter:
    """A number that processes count with."""

    value: int
    def __init__(self, value: int = 0) -> None: ...
    def __getstate__(self) -> Any: ...
    def __setstate__(self, state: Any) -> None: ...
    def keep(self) -> None: ...
    def add(self, n: int = 1) -> int:
        """Add to it in one step; the new value."""

    def set(self, value: int) -> None:
        """Have it be this."""

    def exchange(self, value: int) -> int:
        """The same; what it was."""

def key_bytes(key: object, stand_in: Callable[[Any], tuple[Any, bytes | None]]) -> bytes:
    """By what a shared dict compares this key."""

def commons_usage() -> tuple[int, int, int, int]:
    """What the session's memory holds: processes, cells, bytes in blocks, bytes kept warm."""

def sweep_commons() -> None:
    """Release what processes that have ended had in the session's memory."""

def fork(os_fork: Callable[[], int], name: str, in_child: Callable[[int, ToParent], int]) -> Child:
    """Forks by `os_fork`. The child ends with what in_child(parent_sentinel, to_parent) returns."""

def spawn(command: Sequence[str], name: str, sink: Sink, fds: Sequence[int]) -> Child:
    """Starts a child as a new program."""

def start_by_zygote(
    command: Sequence[str],
    preload: Sequence[str],
    configure: Callable[[], Sink],
    name: str,
    sink: Sink,
    fds: Sequence[int],
) -> Child:
    """Starts a child by the session's zygote; `configure` gives a Sink for a new one."""

def end_idle() -> None:
    """Ends the processes that only wait for a start: the zygote and all spares."""

def fill_gaps() -> None:
    """In a zygote: leave no room between the interpreter's small objects."""

def child_main() -> None:
    """The whole life of a process that procession has executed."""

def reader_is_gone(fd: int) -> bool:
    """Whether nobody reads any more from the pipe that this descriptor writes to."""

def cpu_count() -> int:
    """CPUs that this process may use: affinity mask and cgroup quota."""
