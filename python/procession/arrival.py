# SPDX-License-Identifier: Apache-2.0
"""The receiver's side of what travels by value: what `by_value` reduces to is rebuilt here.

What this process has already is used instead of a copy. What is new is bound in main where the
sender has it, so that code which arrives later finds it. Thread-safe but for one class that
arrives for the first time in two threads at once: the second may see it unfilled.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections import OrderedDict
from threading import RLock
from types import CellType, CodeType, FunctionType
from weakref import WeakKeyDictionary

import cloudpickle.cloudpickle as _cloudpickle  # type: ignore[import-untyped, unused-ignore]

from . import inherited, spawn
from .fingerprint import deep_fingerprint, fingerprint
from .main_plan import MAIN_NAMES
from .named_objects import CachedFunction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def load_own(name: str) -> Any:
    """Receiver: what its own main has under that name."""
    own = _own(name)
    if own is None:
        raise AttributeError(
            f"{name!r} was defined in the sender's main after this process was forked from it"
        )
    return own


_loaded: OrderedDict[bytes, Any] = OrderedDict()
_LOADED_COUNT = 256
_LOADED_BYTES = 1 << 16


def load_record(name: str | None, fingerprint: bytes, data: bytes) -> Any:
    """Receiver: the own object of that name if it is equal, else what the bytes hold."""
    if name is not None and not spawn.follows_parent():
        own = _own(name)
        if own is not None and deep_fingerprint(own) == fingerprint:
            return own
    known = _loaded.get(data)
    if known is not None:
        return known
    obj = pickle.loads(data)
    # Each copy of a closure has variables of its own.
    if len(data) <= _LOADED_BYTES and not getattr(obj, "__closure__", None):
        _loaded[data] = obj
        while len(_loaded) > _LOADED_COUNT:
            _loaded.popitem(last=False)
    return obj


def _own(name: str) -> Any:
    for module in map(sys.modules.get, MAIN_NAMES):
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, (FunctionType, type)):
            return found
    return None


_lock = RLock()
# Made but not yet filled, by id: an object that the receiver had already is not filled.
_unfilled: dict[int, Any] = {}
# What came by value into main: name → (identity at the sender, the value here).
_received: dict[str, tuple[int, Any]] = {}
_received_classes: WeakKeyDictionary[type, bytes] = WeakKeyDictionary()


def make_function(header: tuple[str | None, bytes, str], code: CodeType) -> FunctionType:
    """A function of this code, still without its attributes; or main's own, if it is equal."""
    name, print_, home = header
    with _lock:
        if name is not None:
            own = _own(name)
            if isinstance(own, FunctionType) and fingerprint(own) == print_:
                return own
        if home not in sys.modules:
            __import__(home)
        namespace = sys.modules[home].__dict__
        closure = tuple(CellType() for _ in code.co_freevars) or None
        function = FunctionType(code, namespace, code.co_name, None, closure)
        _unfilled[id(function)] = function
        if name is not None:
            _bind(name, function)
        return function


def make_cached(
    name: str | None, print_: bytes, parameters: dict[str, Any], function: Callable[..., Any]
) -> Any:
    """Receiver: a function under `lru_cache`; the own one, with its cache, if it is the same."""
    own = getattr(sys.modules["__main__"], name, None) if name else None
    wrapped = getattr(own, "__wrapped__", None)
    is_same = isinstance(wrapped, FunctionType) and fingerprint(wrapped) == print_
    if isinstance(own, CachedFunction) and is_same:
        return own
    cached = functools.lru_cache(**parameters)(function)
    if name is not None and "." not in name:
        _bind(name, cached)
    return cached


def make_typing(kind: type, name: str, *args: Any, **named: Any) -> Any:
    """Receiver: a `typing.TypeVar`, `NewType` or the like; main's own, if it has one."""
    own = getattr(sys.modules["__main__"], name, None)
    if type(own) is kind:
        return own
    obj = kind(name, *args, **named)
    # By which it is pickled from here on.
    obj.__module__ = "__main__"
    _bind(name, obj)
    return obj


def _bind(name: str, obj: Any) -> None:
    """Puts a new object where the sender has it, unless this main's own is to be kept."""
    namespace = sys.modules["__main__"].__dict__
    if name not in namespace or spawn.is_child():
        namespace[name] = obj


def set_function(function: FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Its globals, as far as they are new; its attributes, if it is."""
    attributes, slots = state
    used = slots.pop("__globals__")
    with _lock:
        _receive_globals(function.__globals__, used)
        if _unfilled.pop(id(function), None) is None:
            return
    function.__dict__.update(attributes)
    # The submodules among the globals: to unpickle them was to import them.
    slots.pop("_cloudpickle_submodules")
    for cell, filled in zip(
        function.__closure__ or (), slots.pop("__closure__") or (), strict=True
    ):
        try:
            cell.cell_contents = filled.cell_contents
        except ValueError:  # an empty cell
            continue
    for name, value in slots.items():
        setattr(function, name, value)


def _receive_globals(namespace: dict[str, Any], used: dict[str, tuple[int, Any]]) -> None:
    for name, (identity, value) in used.items():
        present = namespace.get(name, _received)
        if present is value:
            _received.setdefault(name, (identity, value))
        elif present is _received or (present is None and name.startswith("__")):
            namespace[name] = value
            _received[name] = (identity, value)
        else:
            _receive_again(namespace, name, identity, value)


def _receive_again(namespace: dict[str, Any], name: str, identity: int, value: Any) -> None:
    # What this process has bound itself stays; what the sender has bound anew since replaces
    # what it sent before.
    then = _received.get(name)
    if then is None and inherited.was_here(name, namespace[name]):
        then = (id(namespace[name]), namespace[name])
    if then is None or then[1] is not namespace[name] or then[0] == identity:
        return
    namespace[name] = value
    _received[name] = (identity, value)


def make_class(
    header: tuple[str | None, str, bytes, str], make: Callable[..., type], args: tuple[Any, ...]
) -> type:
    """A class without its members; or the one that was sent before, or main's own."""
    name, qualname, print_, tracker_id = header
    with _lock:
        tracked = _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
        own = tracked if tracked is not None else _own_class(name, print_, tracker_id)
        if own is not None:
            if own in _received_classes and _received_classes[own] != print_:
                # Its methods were changed since.
                _received_classes[own] = print_
                _unfilled[id(own)] = own
            return own
        cls = make(*args)
        cls.__qualname__ = qualname
        _unfilled[id(cls)] = cls
        _received_classes[cls] = print_
        if name is not None and "." not in name:
            _bind(name, cls)
        return cls


def _own_class(name: str | None, print_: bytes, tracker_id: str) -> type | None:
    if name is None:
        return None
    own = _own(name)
    if not isinstance(own, type) or own in _received_classes or fingerprint(own) != print_:
        return None
    _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID[tracker_id] = own
    _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS.setdefault(own, tracker_id)
    return own


def set_class(cls: type, state: tuple[dict[str, Any], Any]) -> None:
    """Its members, if it is new."""
    if _unfilled.pop(id(cls), None) is not None:
        _cloudpickle._class_setstate(cls, state)


def make_cached_property(function: Callable[..., Any], name: str | None) -> Any:
    """One that knows the name that its class has for it."""
    prop = functools.cached_property(function)
    prop.attrname = name
    return prop
