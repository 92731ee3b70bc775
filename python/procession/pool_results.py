# SPDX-License-Identifier: Apache-2.0
"""What a Pool's asynchronous calls return."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from multiprocessing import TimeoutError as _TimeoutError
from multiprocessing import pool as _standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .pool import Pool

_BaseApplyResult: Any = _standard.ApplyResult
_BaseMapResult: Any = _standard.MapResult


class ApplyResult(_BaseApplyResult):  # type: ignore[misc]
    """What apply_async() returns."""

    def __init__(
        self,
        pool: Pool,
        futures: list[Any],
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        self._pool: Pool | None = pool  # kept until the result is there
        self._futures: list[Any] | None = futures
        self._done = 0  # so many of them are known to have ended
        self._success = True
        self._value: Any = None
        self._callback = callback
        self._error_callback = error_callback
        self._event: threading.Event | None = None
        if not futures:
            self._settle()
        elif callback or error_callback:
            self._event = threading.Event()
            self._left = itertools.count(len(futures) - 1, -1)
            self._call = pool._crew.call
            for future in futures:
                future.add_done_callback(self._one_ended)

    def ready(self) -> bool:
        """Whether the call has ended."""
        if self._event is not None:
            return self._event.is_set()
        futures = self._futures
        if futures is None:
            return True
        while self._done < len(futures):
            if not futures[self._done].done():
                return False
            self._done += 1
        self._settle()
        return True

    def successful(self) -> bool:
        """Whether it returned, rather than raised; ValueError if it hasn't ended."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for so many seconds."""
        if self._event is not None:
            self._event.wait(timeout)
            return
        until = None if timeout is None else time.monotonic() + timeout
        for future in self._futures or ():
            try:
                future.exception(None if until is None else max(0.0, until - time.monotonic()))
            except TimeoutError:
                return
        self._settle()

    def get(self, timeout: float | None = None) -> Any:
        """Return what the call returned or raise what it raised; multiprocessing.TimeoutError."""
        self.wait(timeout)
        if not self.ready():
            raise _TimeoutError
        if self._success:
            return self._value
        raise self._value

    def _one_ended(self, _: object) -> None:
        if next(self._left) == 0:
            self._call(self._finish)

    def _finish(self) -> None:
        self._settle()
        callback = self._callback if self._success else self._error_callback
        try:
            if callback:
                callback(self._value)
        except Exception:
            logging.getLogger("multiprocessing").exception("exception calling callback")
        finally:
            assert self._event
            self._event.set()
            del self._call

    def _settle(self) -> None:
        futures = self._futures
        if futures is None:
            return
        error = next(filter(None, (future.exception() for future in futures)), None)
        self._success = error is None
        self._value = error or self._joined([future.result() for future in futures])
        self._futures = None
        self._pool = None

    def _joined(self, values: list[Any]) -> Any:
        return values[0]


AsyncResult = ApplyResult


class MapResult(ApplyResult, _BaseMapResult):  # type: ignore[misc]
    """What map_async() and starmap_async() return."""

    def __init__(
        self,
        pool: Pool,
        futures: list[Any],
        callback: Callable[[list[Any]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        chunked: bool,
    ) -> None:
        self._chunked = chunked
        ApplyResult.__init__(self, pool, futures, callback, error_callback)

    def _joined(self, values: list[Any]) -> list[Any]:
        return list(itertools.chain.from_iterable(values)) if self._chunked else values
