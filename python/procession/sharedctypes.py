# SPDX-License-Identifier: Apache-2.0
"""Values and arrays of ctypes on the session's memory, with locks that outlive their owners.

Shaped as `multiprocessing.sharedctypes`, whose wrappers these are. They go to any process of the
session, also later, through a queue, a connection or a pool.
"""

from __future__ import annotations

import ctypes
from multiprocessing import sharedctypes as _standard
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler

from . import _install
from .heap import BufferWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = _standard.__all__

_of_standard: Any = _standard
_synchronized = _of_standard.synchronized  # its name there may come to mean this module's


def _rebuild(kind: Any, wrapper: BufferWrapper, length: int | None) -> Any:
    obj = _of_standard.rebuild_ctype(kind, wrapper, length)
    ForkingPickler.register(type(obj), _reduce)
    return obj


def _reduce(obj: Any) -> Any:
    wrapper = obj._wrapper
    if not isinstance(wrapper, BufferWrapper):
        return _of_standard.reduce_ctype(obj)
    if isinstance(obj, ctypes.Array):
        return _rebuild, (obj._type_, wrapper, obj._length_)
    return _rebuild, (type(obj), wrapper, None)


def _new(kind: Any) -> Any:
    return _rebuild(kind, BufferWrapper(ctypes.sizeof(kind)), None)


def _kind(typecode_or_type: Any) -> Any:
    return _of_standard.typecode_to_type.get(typecode_or_type, typecode_or_type)


def RawValue(typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802
    """Return a ctypes object that processes share."""
    obj = _new(_kind(typecode_or_type))
    obj.__init__(*args)
    return obj


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:  # noqa: N802
    """Return a ctypes array that processes share."""
    kind = _kind(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _new(kind * size_or_initializer)
    array = _new(kind * len(size_or_initializer))
    array.__init__(*size_or_initializer)
    return array


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:  # noqa: N802
    """Return the same with a lock around it, unless `lock` is False."""
    return _with_lock(RawValue(typecode_or_type, *args), lock, ctx)


def Array(  # noqa: N802
    typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None
) -> Any:
    """Return the same with a lock around it, unless `lock` is False."""
    return _with_lock(RawArray(typecode_or_type, size_or_initializer), lock, ctx)


def _with_lock(obj: Any, lock: Any, ctx: Any) -> Any:
    if lock is False:
        return obj
    if lock in (True, None):
        from .synchronize import RLock

        lock = RLock(ctx=ctx)
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return synchronized(obj, lock, ctx)


def copy(obj: Any) -> Any:
    """Return a copy that processes share."""
    new = _new(type(obj))
    ctypes.pointer(new)[0] = obj
    return new


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """Put a lock around a ctypes object."""
    if lock is None:
        from .synchronize import RLock

        lock = RLock(ctx=ctx)
    wrapped = _synchronized(obj, lock, ctx)
    ForkingPickler.register(type(wrapped), _reduce_synchronized)
    return wrapped


def _reduce_synchronized(wrapped: Any) -> Any:
    is_ours = isinstance(wrapped._obj._wrapper, BufferWrapper) or get_spawning_popen() is not None
    if not is_ours:
        return wrapped.__reduce__()
    return synchronized, (wrapped._obj, wrapped._lock)


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


_install.is_there(__name__)
