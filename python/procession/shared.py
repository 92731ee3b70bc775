# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D105  # operators, as those of dict and list
"""Dicts, lists and counters on the session's memory: no server process, no proxies.

They hold copies: what is fetched is a new object, and what is done to it stays with it until it is
assigned again. A change is there as a whole or not at all, whoever is killed. They go to any
process of the session, under every start method, also later through a queue, a connection or a
pool. Thread-safe.
"""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import struct
import sys
import threading
from collections.abc import ItemsView, KeysView, MutableMapping, MutableSequence, ValuesView
from operator import index as _as_index
from types import FunctionType, GenericAlias

from . import _engine
from .reduction import hold_for_travel
from .synchronize import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

__all__ = ["SharedCounter", "SharedDict", "SharedList"]

_PROTOCOL = 5


# What the engine calls.


def dump(obj: object) -> tuple[bytes, list[Any]]:
    """Pickle a value by the rule; its large parts apart."""
    from . import out_of_band, reduction

    try:
        return out_of_band.dumps(obj)
    except Exception as error:
        what = "this into a shared container"
        raise reduction.explained(obj, error, what=what, root="value") from error


def load(data: Any, buffers: list[Any]) -> Any:
    """Rebuild a value, on the memory in which it came."""
    return pickle.loads(data, buffers=buffers)


def dump_key(key: object) -> bytes:
    """Pickle a key by the rule."""
    from . import reduction

    return _pickled(key, reduction.ForkingPickler)


def _by_content(key: object) -> bytes:
    """Pickle a key to compare it: the same bytes whichever parts of it are one object."""
    return b"p" + _pickled(key, _key_pickler())


def _pickled(key: object, kind: Any) -> bytes:
    from . import reduction

    sink = io.BytesIO()
    try:
        kind(sink, _PROTOCOL).dump(key)
    except Exception as error:
        what = "this key to a shared dict"
        raise reduction.explained(key, error, what=what, root="key") from error
    return sink.getvalue()


@functools.cache
def _key_pickler() -> Any:
    from .main_plan import MAIN_NAMES
    from .reduction import ForkingPickler

    class KeyPickler(ForkingPickler):
        def __init__(self, sink: Any, protocol: int) -> None:
            super().__init__(sink, protocol)
            self.fast = True

        def reducer_override(self, obj: Any) -> Any:
            is_named = isinstance(obj, (type, FunctionType))
            if is_named and obj.__module__ in MAIN_NAMES:  # one of which is its name, here or there
                return _of_main, (obj.__qualname__,)
            return super().reducer_override(obj)

    return KeyPickler


def _of_main(name: str) -> None:
    """Stand for a class or function of main; never called."""


def stand_in(key: Any) -> tuple[Any, bytes | None]:
    """Return a simpler key that equals this one, or (None, the bytes that it is compared by)."""
    for base, simpler in _SIMPLER:
        if isinstance(key, base):
            kind = type(key)
            is_like_it = kind.__eq__ is base.__eq__ and kind.__hash__ is base.__hash__
            return simpler(key) if is_like_it else (None, _by_content(key))
    for module, name in (("fractions", "Fraction"), ("decimal", "Decimal")):
        if module in sys.modules and isinstance(key, getattr(sys.modules[module], name)):
            return _of_ratio(key)
    return None, _by_content(key)


def _of_str(key: str) -> tuple[Any, bytes | None]:
    if type(key) is not str:
        return str.__str__(key), None
    return None, b"s" + key.encode("utf-8", "surrogatepass")


def _of_bytes(key: bytes) -> tuple[Any, bytes | None]:
    return (None, b"b" + key) if type(key) is bytes else (b"".join([key]), None)


def _of_int(key: int) -> tuple[Any, bytes | None]:
    if type(key) is not int:
        return int.__pos__(key), None
    return None, b"i" + key.to_bytes(key.bit_length() // 8 + 1, "little", signed=True)


def _of_float(key: float) -> tuple[Any, bytes | None]:
    return (float.__pos__(key) if type(key) is not float else int(key)), None


def _of_complex(key: complex) -> tuple[Any, bytes | None]:
    if key.imag == 0:
        return key.real, None
    return None, b"c" + struct.pack("dd", key.real + 0.0, key.imag + 0.0)  # not -0.0


def _of_tuple(key: tuple[Any, ...]) -> tuple[Any, bytes | None]:
    if type(key) is not tuple:
        return tuple.__getitem__(key, slice(None)), None
    return None, b"t" + _joined([_engine.key_bytes(item, stand_in) for item in key])


def _of_frozenset(key: frozenset[Any]) -> tuple[Any, bytes | None]:
    parts = frozenset.__iter__(key)
    return None, b"f" + _joined(sorted(_engine.key_bytes(item, stand_in) for item in parts))


def _joined(parts: list[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def _of_ratio(key: Any) -> tuple[Any, bytes | None]:
    try:
        ratio = key.as_integer_ratio()
    except (OverflowError, ValueError):  # a Decimal that is no number, or infinite
        return float(key), None
    if ratio[1] == 1:
        return ratio[0], None
    with contextlib.suppress(OverflowError):
        number = ratio[0] / ratio[1]
        if number.as_integer_ratio() == ratio:
            return number, None
    return None, b"r%x/%x" % ratio


_SIMPLER: tuple[tuple[Any, Callable[[Any], tuple[Any, bytes | None]]], ...] = (
    (str, _of_str),
    (bytes, _of_bytes),
    (int, _of_int),
    (float, _of_float),
    (complex, _of_complex),
    (tuple, _of_tuple),
    (frozenset, _of_frozenset),
)


# What programs use.

_shown = threading.local()


def _repr(container: Any, name: tuple[int, int, int]) -> str:
    """A container can be in itself, as another object each time."""
    inside: set[Any] = _shown.__dict__.setdefault("names", set())
    kind = type(container).__name__
    if name in inside:
        return f"{kind}(...)"
    inside.add(name)
    try:
        return f"{kind}({container.copy()!r})"
    finally:
        inside.discard(name)


class _Keys(KeysView[object]):
    _mapping: Any

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping)

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._mapping)


class _Values(ValuesView[object]):
    _mapping: Any

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping._values())

    def __contains__(self, value: object) -> bool:
        return value in self._mapping._values()

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._mapping._values())


class _Items(ItemsView[object, object]):
    _mapping: Any

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter(self._mapping._items())

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        return reversed(self._mapping._items())


class SharedDict(_engine.SharedMap):
    """A dict that processes share.

    Each method is one step, but for `update()`, which is one for each key. For steps of several
    methods there is `lock`, which all who take part have to hold.
    """

    __hash__ = None
    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, mapping_or_items: Any = (), /, **more: Any) -> None:
        super().__init__()
        self.lock: Any = RLock()
        self.update(mapping_or_items, **more)

    def __getstate__(self) -> Any:
        hold_for_travel(self)
        return super().__getstate__(), self.lock

    def __setstate__(self, state: Any) -> None:
        name, self.lock = state
        super().__setstate__(name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys())

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._keys())

    def keys(self) -> KeysView[Any]:
        """Return a view of the keys; whoever iterates over it sees those of one moment."""
        return _Keys(self)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values; whoever iterates over it sees those of one moment."""
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of keys and values; whoever iterates over it sees those of one moment."""
        return _Items(self)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Set keys from a mapping or from pairs, one after the other."""
        pairs = other._items() if isinstance(other, SharedDict) else other
        for key, value in dict(pairs, **more).items():
            self[key] = value

    def update_with(self, key: Any, function: Callable[[Any], Any], *default: Any) -> Any:
        """Set the key to function(its value), in one step, and return what that is.

        Without the key, the function gets the default; if there is none, that is a KeyError. It
        runs with `lock` held, and again if somebody who doesn't hold it sets the key meanwhile.
        """
        if len(default) > 1:
            raise TypeError(f"update_with expected at most 3 arguments, got {2 + len(default)}")
        with self.lock:
            return self._update_with(key, function, *default)

    def copy(self) -> dict[Any, Any]:
        """Return a dict of what is in it at the moment."""
        return dict(self._items())

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> dict[Any, Any]:
        return self.copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (SharedDict, dict, MutableMapping)):
            return NotImplemented
        return self.copy() == (other.copy() if isinstance(other, SharedDict) else other)

    def __or__(self, other: Any) -> dict[Any, Any]:
        if not isinstance(other, (SharedDict, dict)):
            return NotImplemented
        return self.copy() | (other.copy() if isinstance(other, SharedDict) else other)

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return other | self.copy() if isinstance(other, dict) else NotImplemented

    def __ior__(self, other: Any) -> SharedDict:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return _repr(self, super().__getstate__())


class SharedList(_engine.SharedSequence):
    """A list that processes share.

    Each method is one step. For steps of several methods there is `lock`, which all who take part
    have to hold.
    """

    __hash__ = None
    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, iterable: Iterable[Any] = (), /) -> None:
        super().__init__()
        self.lock: Any = RLock()
        self.extend(iterable)

    def __getstate__(self) -> Any:
        hold_for_travel(self)
        return super().__getstate__(), self.lock

    def __setstate__(self, state: Any) -> None:
        name, self.lock = state
        super().__setstate__(name)

    def __getitem__(self, index: Any) -> Any:
        if type(index) is int:
            return self._get(index)
        if not isinstance(index, slice):
            return self._get(_as_index(index))
        first, end, step = index.indices(len(self))
        if step == 1:
            return self._part(first, max(0, end - first))
        return self.copy()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(index, slice):
            self._set(_as_index(index), value)
            return
        values = value.copy() if value is self else list(value)

        def arrange(order: list[int], new: range) -> None:
            order[index] = new

        self._change(arrange, values)

    def __delitem__(self, index: Any) -> None:
        if not isinstance(index, slice):
            self._delete(_as_index(index))
            return

        def arrange(order: list[int], _new: range) -> None:
            del order[index]

        self._change(arrange)

    def _change(self, arrange: Callable[[list[int], range], None], values: Any = ()) -> None:
        """Arrange it anew, as nobody else has changed it meanwhile."""
        new = list(values)
        while True:
            size, version = self._version()
            order = list(range(size))
            arrange(order, range(size, size + len(new)))
            if self._arrange(version, order, new):
                return

    def __iter__(self) -> Iterator[Any]:
        return iter(self.copy())

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self.copy())

    def __contains__(self, value: object) -> bool:
        return value in self.copy()

    def extend(self, iterable: Iterable[Any]) -> None:
        """Add values at the end, all at once."""
        self._extend(iterable.copy() if isinstance(iterable, SharedList) else list(iterable))

    def remove(self, value: Any) -> None:
        """Remove the first that equals a value; ValueError if there is none."""
        while True:
            values, version = self._snapshot()
            if value not in values:
                raise ValueError("list.remove(x): x not in list")
            if self._remove_if(values.index(value), version):
                return

    def index(self, value: Any, start: int = 0, stop: int = sys.maxsize) -> int:
        """Return the index of the first that equals a value; ValueError if there is none."""
        return self.copy().index(value, start, stop)

    def count(self, value: Any) -> int:
        """Return how many equal a value."""
        return self.copy().count(value)

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort it; again if somebody changes it meanwhile."""
        while True:
            values, version = self._snapshot()
            by = values if key is None else [key(value) for value in values]
            order = sorted(range(len(values)), key=by.__getitem__, reverse=reverse)
            if self._arrange(version, order, []):
                return

    def reverse(self) -> None:
        """Turn it round."""
        self._change(lambda order, _new: order.reverse())

    def copy(self) -> list[Any]:
        """Return a list of what is in it at the moment."""
        return self._snapshot()[0]

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> list[Any]:
        return self.copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (SharedList, list)):
            return NotImplemented
        return self.copy() == (other.copy() if isinstance(other, SharedList) else other)

    def __add__(self, other: Any) -> list[Any]:
        if not isinstance(other, (SharedList, list)):
            return NotImplemented
        return [*self.copy(), *other]

    def __radd__(self, other: Any) -> list[Any]:
        return [*other, *self.copy()] if isinstance(other, list) else NotImplemented

    def __iadd__(self, other: Iterable[Any]) -> SharedList:
        self.extend(other)
        return self

    def __mul__(self, count: int) -> list[Any]:
        return self.copy() * count

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return _repr(self, super().__getstate__())


class SharedCounter(_engine.SharedCounter):
    """A number of 64 bits that processes count with, without a lock."""

    def __init__(self, value: int = 0, /) -> None:
        super().__init__(value)

    def __getstate__(self) -> Any:
        hold_for_travel(self)
        return super().__getstate__()

    def __iadd__(self, n: int) -> SharedCounter:
        self.add(n)
        return self

    def __isub__(self, n: int) -> SharedCounter:
        self.add(-n)
        return self

    def __int__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"SharedCounter({self.value})"


MutableMapping.register(SharedDict)
MutableSequence.register(SharedList)
