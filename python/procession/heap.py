# SPDX-License-Identifier: Apache-2.0
"""Pieces of the session's memory, as `multiprocessing.heap` gives pieces of its own."""

from __future__ import annotations

from . import _engine
from .reduction import hold_for_travel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BufferWrapper"]


class BufferWrapper(_engine.SharedBytes):
    """Memory that processes share, zero at first. It has no name and leaves none behind."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"Size {size} out of range")
        super().__init__(max(1, size))
        self._size = size

    def create_memoryview(self) -> memoryview:
        """Return a view of it, writable, which keeps it."""
        return memoryview(self)[: self._size]

    def __getstate__(self) -> Any:
        """Name it."""
        hold_for_travel(self)
        return self._size, super().__getstate__()

    def __setstate__(self, state: Any) -> None:
        """Find it by its name."""
        self._size, name = state
        super().__setstate__(name)
