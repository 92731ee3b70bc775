# SPDX-License-Identifier: Apache-2.0
"""A Pool's imap(): the thread that reads the iterable, and the iterator over the results."""

from __future__ import annotations

import collections
import concurrent.futures
import threading
import time
import weakref
from multiprocessing import TimeoutError as _TimeoutError
from multiprocessing import pool as _standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .pool import Pool
    from .pool_crew import Crew
    from .progress import Progress

_BaseIterator: Any = _standard.IMapIterator
_BaseUnorderedIterator: Any = _standard.IMapUnorderedIterator


class Feed:
    """Reads one imap's iterable, in a thread, and keeps the results until they are taken."""

    def __init__(
        self,
        crew: Crew,
        items: Iterator[Any],
        submit: Callable[[Any], Any],
        ordered: bool,
        ahead: int,
    ) -> None:
        self.crew = crew
        self.items: Any = items
        self.submit: Any = submit
        self.ordered = ordered
        self.ahead = ahead
        self.changed = threading.Condition()
        self.futures: collections.deque[Any] = collections.deque()  # to be taken
        self.submitted = 0
        self.ended = 0  # not counted if ordered
        self.taken = 0
        self.read = False  # to the end of the iterable
        self.stopped = False
        self.unbounded = False
        self.forgotten = False  # by the consumer
        self.bar: Progress | None = None  # that the futures are followed by
        self.thread = threading.Thread(target=self.run, name="Pool-imap", daemon=True)
        with crew.lock:
            crew.feeds.add(self)

    # the thread

    def run(self) -> None:
        """Until all has been read."""
        try:
            while self.has_room():
                try:
                    item = next(self.items)
                except StopIteration:
                    break
                self.feed(item)
                del item
        except BaseException as error:  # of the iterable: comes after what it has given
            self.add(_failed(error))
        finally:
            self.items = self.submit = None
            if self.bar is not None:
                self.bar.all_given()
            with self.changed:
                self.read = True
                self.changed.notify_all()
            self.crew.feed_ended(self)

    def has_room(self) -> bool:
        """Wait until there may be one task more; False if there must be none."""
        while True:
            with self.changed:
                while not (
                    self.stopped
                    or self.forgotten
                    or self.unbounded
                    or self.submitted - self.taken < self.ahead
                ):
                    self.changed.wait()
                if self.stopped:
                    return False
                if not self.forgotten or self.submitted - self.taken < self.ahead:
                    return True
                if not self.futures:  # unordered, and none has ended
                    self.changed.wait()
                    continue
                future = self.futures.popleft()
                self.taken += 1
            future.exception()

    def feed(self, item: Any) -> None:
        """Submit a task; one that can't be is a failed one."""
        try:
            future = self.submit(item)
        except Exception as error:
            future = _failed(error)
            if self.crew.core.is_broken:
                self.stopped = True
        self.add(future)

    def add(self, future: Any) -> None:
        """Have a future's result taken, when its turn comes."""
        with self.changed:
            self.submitted += 1
            if self.ordered:
                self.futures.append(future)
                self.changed.notify_all()
        if not self.ordered:
            future.add_done_callback(self.one_ended)

    def one_ended(self, future: Any) -> None:
        """Have it taken now."""
        with self.changed:
            self.ended += 1
            self.futures.append(future)
            self.changed.notify_all()

    # other threads

    def take(self, timeout: float | None) -> Any:
        """Wait for the next one's turn; None after the last."""
        with self.changed:
            until = None if timeout is None else time.monotonic() + timeout
            while not self.futures:
                at_end = self.read and (self.ordered or self.ended == self.submitted)
                if at_end and (not self.stopped or self.crew.core.is_broken):
                    return None
                if self.stopped:
                    raise self.crew.reader.end()
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise _TimeoutError
                self.changed.wait(left)
            self.taken += 1
            if self.submitted - self.taken <= self.ahead // 2:
                self.changed.notify_all()
            return self.futures.popleft()

    def put_back(self, future: Any) -> None:
        """Undo a `take`."""
        with self.changed:
            self.taken -= 1
            self.futures.appendleft(future)
            self.changed.notify_all()

    def let_go(self) -> None:
        """Read on, however much has not been taken."""
        with self.changed:
            self.unbounded = True
            self.changed.notify_all()

    def forget(self) -> None:
        """Take the results away yourself: nobody else will."""
        with self.changed:
            self.forgotten = True
            self.changed.notify_all()

    def stop(self) -> None:
        """Read no further."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


def _failed(error: BaseException) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_exception(error)
    return future


class IMapIterator(_BaseIterator):  # type: ignore[misc]
    """What imap() returns."""

    def __init__(self, pool: Pool, feed: Feed) -> None:
        self._pool: Pool | None = pool
        self._feed = feed
        self._forget = weakref.finalize(self, feed.forget)
        self._forget.atexit = False

    def next(self, timeout: float | None = None) -> Any:
        """Wait for the next result; multiprocessing.TimeoutError after so many seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        future = self._feed.take(timeout)
        if future is None:
            self._pool = None
            raise StopIteration
        try:
            future.exception(None if until is None else max(0.0, until - time.monotonic()))
        except BaseException as error:
            self._feed.put_back(future)
            if isinstance(error, TimeoutError):
                raise _TimeoutError from None
            raise
        return future.result()

    __next__ = next  # noqa: A003


class IMapUnorderedIterator(IMapIterator, _BaseUnorderedIterator):  # type: ignore[misc]
    """What imap_unordered() returns."""
