# SPDX-License-Identifier: Apache-2.0
"""Queues on the session's memory.

Shaped as `multiprocessing.queues`. `put` pickles in the caller's frame and raises there; when it
has returned, the message outlives its producer. No thread, no lock that a killed process could
take along. Arrays and large bytes travel beside the pickle, copied once. Thread-safe.
"""

from __future__ import annotations

import os
import pickle
import warnings
from multiprocessing import queues as _standard
from multiprocessing import reduction as _reduction
from queue import Empty, Full

from . import _engine, _install
from .reduction import hold_for_travel
from .synchronize import OwnerDied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = _standard.__all__

_MOST = (1 << 31) - 1  # messages that a bound can be set to
_LOOK_AGAIN = 0.5  # s: who was killed as it quietened a bell may have left it so


def dump(obj: object) -> tuple[bytes, list[Any]]:
    """Pickle a message by the rule; its large parts apart."""
    from . import out_of_band, reduction

    try:
        return out_of_band.dumps(obj)
    except Exception as error:
        raise reduction.explained(obj, error, what="this to a queue", root="obj") from error


def load(data: Any, buffers: list[Any], producer: int) -> Any:
    """Rebuild a message; what that raises says who has put it."""
    try:
        return pickle.loads(data, buffers=buffers)
    except BaseException as error:
        error.add_note(
            f"(a message of a queue that process {producer} has put could not be unpickled)"
        )
        raise


def tell_of_losses(count: int) -> None:
    """Warn of messages whose receiver was killed."""
    what = "a message is" if count == 1 else f"{count} messages are"
    warnings.warn(
        f"{what} lost: a process was killed as it received from the queue", OwnerDied, stacklevel=2
    )


class _End:
    """One end of a queue as the connection that the standard's has there."""

    def __init__(self, queue: _engine.MessageQueue) -> None:
        self._queue = queue
        self.closed = False

    def _open(self) -> _engine.MessageQueue:
        if self.closed:
            raise OSError("handle is closed")
        return self._queue

    def close(self) -> None:
        """Close this end, for this object only."""
        self.closed = True


class _Reader(_End):
    readable, writable = True, False

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are messages."""
        return self._open().bell()

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is a message, after at most `timeout` seconds."""
        return self._open().poll(-1.0 if timeout is None else max(0.0, timeout))

    def recv(self) -> Any:
        """Return the oldest message."""
        return self._open().get()


class _Writer(_End):
    readable, writable = False, True

    def send(self, obj: object) -> None:
        """Put a message in."""
        self._open().put(obj)


class _Common:
    """What all kinds of queues do alike."""

    _queue: _engine.MessageQueue
    _closed: bool

    def _begin(self, queue: _engine.MessageQueue) -> None:
        self._queue = queue
        self._closed = False

    @property
    def _reader(self) -> Any:
        return self.__dict__.setdefault("_reader_end", _Reader(self._queue))

    @property
    def _writer(self) -> Any:
        return self.__dict__.setdefault("_writer_end", _Writer(self._queue))

    def _travel(self) -> Any:
        hold_for_travel(self._queue)
        bells = [fd if fd < 0 else _reduction.DupFd(fd) for fd in self._queue.bells]
        return self._queue.name, bells

    def _arrive(self, state: Any) -> None:
        name, bells = state
        fds = [bell if isinstance(bell, int) else bell.detach() for bell in bells]
        try:
            self._begin(_engine.MessageQueue.find(name, *fds))
        finally:
            for fd in fds:
                if fd >= 0:
                    os.close(fd)

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.__getstate__())

    def __getstate__(self) -> Any:
        return self._travel()

    def __setstate__(self, state: Any) -> None:
        self._arrive(state)

    async def aget(self) -> Any:
        """Return the oldest message, without blocking the event loop."""
        while True:
            try:
                return self.get(False)  # type: ignore[attr-defined]
            except Empty:
                from . import readiness

                await readiness.readable(self._queue.bell(), _LOOK_AGAIN)


def _rebuild(kind: type, state: Any) -> Any:
    queue: Any = object.__new__(kind)
    queue.__setstate__(state)
    return queue


_Base: Any = _standard.Queue  # its name there may come to mean this module's


class Queue(_Common, _standard.Queue):  # type: ignore[type-arg]
    """A queue of any number of producers and consumers."""

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:  # noqa: ARG002
        self._maxsize = min(maxsize, _MOST) if maxsize > 0 else _MOST
        self._begin(_engine.MessageQueue(min(maxsize, _MOST) if maxsize > 0 else 0))

    def __getstate__(self) -> Any:
        return self._maxsize, self._travel()

    def __setstate__(self, state: Any) -> None:
        self._maxsize, state = state
        self._arrive(state)

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put a message in; queue.Full if there is no room for so long."""
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        try:
            is_put = self._queue.put(obj, block, timeout)
        except Exception as error:
            this: Any = self
            if type(this)._on_queue_feeder_error is _Base._on_queue_feeder_error:
                raise
            this._on_queue_feeder_error(error, obj)
            return
        if not is_put:
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the oldest message; queue.Empty if there is none for so long."""
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        return self._queue.get(block, timeout)

    async def aput(self, obj: Any) -> None:
        """Put a message in, without blocking the event loop while there is no room."""
        while True:
            try:
                return self.put(obj, False)
            except Full:
                from . import readiness

                await readiness.readable(self._queue.room_bell(), _LOOK_AGAIN)

    def qsize(self) -> int:
        """Return the number of messages."""
        return self._queue.size()

    def empty(self) -> bool:
        """Whether there is no message."""
        return not self._reader.poll()

    def full(self) -> bool:
        """Whether there is no room."""
        return self._queue.size() >= self._maxsize

    def close(self) -> None:
        """Say that this process uses it no more."""
        self._closed = True
        if self._queue.has_put:
            self._reader.close()

    def join_thread(self) -> None:
        """Do nothing: what was put is there."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Do nothing: what was put is there."""

    def _terminate_broken(self) -> None:
        self.close()


class JoinableQueue(Queue, _standard.JoinableQueue):  # type: ignore[type-arg]
    """A queue that knows which messages have been dealt with."""

    def task_done(self) -> None:
        """Say that a message that was received is dealt with."""
        self._queue.task_done()

    def join(self) -> None:
        """Wait until all messages have been dealt with."""
        self._queue.join()


class SimpleQueue(_Common, _standard.SimpleQueue):  # type: ignore[type-arg]
    """A queue with the least of methods."""

    def __init__(self, *, ctx: Any = None) -> None:  # noqa: ARG002
        self._begin(_engine.MessageQueue(0))

    def close(self) -> None:
        """Say that this process uses it no more."""
        self._reader.close()
        self._writer.close()

    def empty(self) -> bool:
        """Whether there is no message."""
        return not self._reader.poll()

    def get(self, block: bool = True) -> Any:
        """Return the oldest message."""
        if self._reader.closed:
            raise OSError("handle is closed")
        return self._queue.get(block)

    def put(self, obj: Any) -> None:
        """Put a message in."""
        if self._writer.closed:
            raise OSError("handle is closed")
        self._queue.put(obj)


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


_install.is_there(__name__)
