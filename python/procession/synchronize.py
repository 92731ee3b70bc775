# SPDX-License-Identifier: Apache-2.0
"""Locks, semaphores, conditions, events and barriers on the session's memory.

Shaped as `multiprocessing.synchronize`. They know who holds them: when a process dies, the next one
to acquire gets what it held, with the warning `OwnerDied`. They go to any process of the session,
under every start method, also later through a queue, a connection or a pool. Thread-safe.
"""

from __future__ import annotations

import copyreg
import sys
import threading
import time
from multiprocessing import synchronize as _standard

from . import _engine, _install
from .reduction import hold_for_travel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

RECURSIVE_MUTEX: int = _standard.RECURSIVE_MUTEX  # type: ignore[attr-defined]
SEMAPHORE: int = _standard.SEMAPHORE  # type: ignore[attr-defined]
SEM_VALUE_MAX: int = _standard.SEM_VALUE_MAX  # type: ignore[attr-defined]
SemLock = _standard.SemLock

__all__ = [*_standard.__all__, "OwnerDied"]

# As the engine numbers them.
_MUTEX, _RECURSIVE, _COUNTING = 0, 1, 2


class OwnerDied(RuntimeWarning):
    """A process ended while it held a lock, or received from a queue: its part is free again.

    A warning; an exception where the program makes an error of it (`warnings.simplefilter`).
    """


class _Handle(_engine.SemLock):
    """A handle of a lock, by which it can travel."""

    def __getstate__(self) -> Any:
        hold_for_travel(self)
        return super().__getstate__()


class _SemLock(_Handle):
    """What the four kinds have in common."""

    def _begin(self, kind: int, value: int, max_value: int) -> None:
        _engine.SemLock.__init__(self, kind, value, max_value)
        self._make_methods()

    def _make_methods(self) -> None:
        # As the standard's, and sooner found than methods of the type, which `with` takes. They are
        # another handle's: or the lock and its methods would keep each other.
        self._semlock = _Handle(self)
        self.acquire = self._semlock.acquire  # type: ignore[method-assign, unused-ignore]
        self.release = self._semlock.release  # type: ignore[method-assign, unused-ignore]

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self._make_methods()

    def locked(self) -> bool:
        """Whether it can't be acquired at the moment."""
        return self._is_zero()


class Lock(_SemLock, _standard.Lock):
    """A lock that any process may release, as the standard's."""

    def __init__(self, *, ctx: Any = None) -> None:  # noqa: ARG002
        self._begin(_MUTEX, 1, 1)


class RLock(_SemLock, _standard.RLock):
    """A lock that its holder may acquire again."""

    def __init__(self, *, ctx: Any = None) -> None:  # noqa: ARG002
        self._begin(_RECURSIVE, 1, 1)


class Semaphore(_SemLock, _standard.Semaphore):
    """A number of things that processes acquire and release."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:  # noqa: ARG002
        _check_value(value)
        self._begin(_COUNTING, value, SEM_VALUE_MAX)


class BoundedSemaphore(_SemLock, _standard.BoundedSemaphore):
    """The same, where there are never more than at the beginning."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:  # noqa: ARG002
        _check_value(value)
        self._begin(_COUNTING, value, value)


def _check_value(value: int) -> None:
    if not 0 <= value <= SEM_VALUE_MAX:
        raise ValueError(f"semaphore's value must be from 0 to {SEM_VALUE_MAX}, not {value}")


def _reduce_method(method: Any) -> Any:
    return getattr, (method.__self__, method.__name__)


# `target=event.set`: a method of the engine's, which pickle can't know.
copyreg.pickle(type(_engine.Event.__new__(_engine.Event).set), _reduce_method)


class _Number:
    """A number as the standard's conditions show theirs: a semaphore's value."""

    def __init__(self, value: Callable[[], int]) -> None:
        self.get_value = value


class Condition(_standard.Condition):
    """A condition variable. A waiter that was killed is passed over."""

    def __init__(self, lock: Any = None, *, ctx: Any = None) -> None:
        self.__setstate__((lock or RLock(ctx=ctx), _engine.Condition()))

    def __getstate__(self) -> Any:
        hold_for_travel(self._waiters)
        return self._lock, self._waiters

    def __setstate__(self, state: Any) -> None:
        self._lock, self._waiters = state
        self.acquire = self._lock.acquire  # type: ignore[method-assign, unused-ignore]
        self.release = self._lock.release  # type: ignore[method-assign, unused-ignore]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._waiters.waiting()})>"

    @property
    def _sleeping_count(self) -> Any:
        return _Number(self._waiters.waiting)

    @property
    def _woken_count(self) -> Any:
        return _Number(lambda: 0)

    _wait_semaphore = _woken_count

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock until notified, at most `timeout` seconds; whether it was notified."""
        return bool(self._wait(self._waiters.wait, timeout))

    def _wait(self, wait: Callable[[int, float | None], Any], timeout: float | None) -> Any:
        assert self._lock._semlock._is_mine(), "must acquire() condition before using wait()"
        seat = self._waiters.enter()
        count = self._lock._semlock._count()
        for _ in range(count):
            self._lock.release()
        try:
            return wait(seat, timeout)
        finally:
            for _ in range(count):
                self._lock.acquire()

    def notify(self, n: int = 1) -> None:
        """Wake those `n` that have waited longest."""
        assert self._lock._semlock._is_mine(), "lock is not owned"
        self._waiters.notify(min(n, 1 << 30))

    def notify_all(self) -> None:
        """Wake all that wait."""
        self.notify(sys.maxsize)


class Event(_engine.Event, _standard.Event):
    """A flag that processes wait for. Nobody's death changes it."""

    def __init__(self, *, ctx: Any = None) -> None:  # noqa: ARG002
        _engine.Event.__init__(self)

    def __getstate__(self) -> Any:
        hold_for_travel(self)
        return super().__getstate__()

    def __repr__(self) -> str:
        status = "set" if self.is_set() else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x} {status}>"


class Barrier(_standard.Barrier):
    """A barrier, which the death of a process that waits at it breaks."""

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: Any = None,
    ) -> None:
        from .heap import BufferWrapper

        condition = Condition(ctx=ctx)
        this: Any = self
        this.__setstate__((parties, action, timeout, condition, BufferWrapper(8)))

    def _wait(self, timeout: float | None) -> None:
        this: Any = self
        deadline = None if timeout is None else time.monotonic() + timeout
        while this._state == 0:
            left = None if deadline is None else deadline - time.monotonic()
            told = left is None or left > 0
            if told:
                told = this._cond._wait(this._cond._waiters.wait_with_peers, left)
            if told is None:
                this._count -= 1
                this._break()
                raise threading.BrokenBarrierError("a process that waited at the barrier has ended")
            if not told and this._state == 0:
                this._break()
                raise threading.BrokenBarrierError
        if this._state < 0:
            raise threading.BrokenBarrierError
        assert this._state == 1


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


_install.is_there(__name__)
