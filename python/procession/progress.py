# SPDX-License-Identifier: Apache-2.0
"""`progress=True`: a tqdm bar that counts calls as they end, in whatever order."""

from __future__ import annotations

import importlib
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

_MISSING = (
    "progress= needs tqdm, which is not installed: "
    "pip install tqdm, or pip install 'procession[progress]'"
)


def _tqdm() -> Any:
    """Return the class of bars that fits where this runs: a terminal, or a notebook."""
    try:
        base: Any = importlib.import_module("tqdm.auto").tqdm
    except ImportError as error:
        raise ImportError(_MISSING, name="tqdm") from error

    class Bar(base):  # type: ignore[misc]
        """One without tqdm's own thread, which would be in the way of a later fork."""

        monitor_interval = 0

    if not hasattr(Bar, "_lock"):  # tqdm's own is one of multiprocessing as well
        Bar._lock = threading.RLock()
    return Bar


class Progress:
    """Shows how many of some futures' calls have ended."""

    def __init__(self, progress: bool | str, iterables: tuple[Any, ...]) -> None:
        self._class = _tqdm()
        self._description = progress if isinstance(progress, str) else None
        self._total = _length(iterables)
        self._lock = threading.RLock()
        self._bar: Any = None
        self._left = 1  # futures that haven't ended, and one for those to come
        self._closed = False

    def follow(self, future: Future[Any], count: int) -> None:
        """Have a future's end count for so many calls."""
        with self._lock:
            if self._bar is None and not self._closed:  # now that workers have been forked
                self._bar = self._class(
                    total=self._total, desc=self._description, miniters=1, unit="call"
                )
            self._left += 1
        future.add_done_callback(lambda ended: self._one_ended(ended, count))

    def all_given(self) -> None:
        """No more will come: close the bar when the last has ended."""
        self._end_one()

    def close(self) -> None:
        """Leave the bar as it is."""
        with self._lock:
            self._closed = True
            if self._bar is not None:
                self._bar.close()

    def _one_ended(self, future: Future[Any], count: int) -> None:
        with self._lock:
            if not self._closed and not future.cancelled():
                self._bar.update(count)
        self._end_one()

    def _end_one(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.close()


def _length(iterables: tuple[Any, ...]) -> int | None:
    try:
        return min(map(len, iterables), default=None)
    except TypeError:
        return None


def following(
    submit: Callable[[Any], Any], progress: Progress, size: Callable[[Any], int]
) -> Callable[[Any], Any]:
    """Return a `submit` of one thing whose futures are followed; `size` says what each counts."""

    def submit_one(item: Any) -> Any:
        future = submit(item)
        progress.follow(future, size(item))
        return future

    return submit_one
