# SPDX-License-Identifier: Apache-2.0
"""A large array to send: NumPy's or, where that is missing, one that travels in the same way."""

from __future__ import annotations

import pickle
from typing import Any


class Array:
    """Bytes, pickled as NumPy's arrays are: as a buffer, out of band where that is offered."""

    def __init__(self, buffer: Any) -> None:
        self.view = memoryview(buffer)

    def __len__(self) -> int:
        """Bytes."""
        return len(self.view)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Travel as a buffer."""
        return Array, (pickle.PickleBuffer(self.view),)


def large_array(size: int = 100_000_000) -> Any:
    """Return an array of `size` bytes, all of which have been written to."""
    try:
        import numpy
    except ImportError:
        return Array(bytearray(b"\x01") * size)
    return numpy.ones(size // 8)
