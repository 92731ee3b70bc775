# SPDX-License-Identifier: Apache-2.0
"""Functions and classes that travel by value, because no receiver could import them.

cloudpickle takes them apart and puts them together. What differs from plain cloudpickle is where
they end up: a function of main gets the receiver's own main for its globals, and a function of an
importable module gets that module, so that code which arrives in several pickles shares its
state. What the receiver has already (a forked child, the parent that gets results) is used
instead of a copy, so that identity and `isinstance` hold.

    sender                                   receiver
    Reducer.reduce ──► (make, state, set) ──► make: own one, or a new one, bound in main
                                              set:  its attributes, if it is new
    reduce_as_record ──► (load_record, …) ──► own one if all of it is equal, else unpickle
The receiver's side is `arrival`.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types
from enum import Enum
from types import FunctionType
from weakref import WeakKeyDictionary

import cloudpickle.cloudpickle as _cloudpickle  # type: ignore[import-untyped, unused-ignore]

from . import inherited, spawn
from .arrival import (
    load_own,
    load_record,
    make_cached_property,
    make_class,
    make_function,
    set_class,
    set_function,
)
from .fingerprint import deep_fingerprint, fingerprint, home_of, members, value_key
from .main_plan import MAIN_NAMES, MainPlan, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _Record = tuple[str | None, bytes, bytes]

# Reducers of cloudpickle for the parts of functions and classes. Not those for files and loggers,
# which would let through, in by-value company only, what is refused otherwise.
_PARTS = {
    kind: reduce
    for kind, reduce in _cloudpickle.Pickler._dispatch_table.items()
    if kind not in (io.TextIOWrapper, memoryview, types.MethodType) and kind.__module__ != "logging"
}


def _reduce_cached_property(prop: functools.cached_property[Any]) -> tuple[Any, ...]:
    return make_cached_property, (prop.func, prop.attrname)


def _reduce_weak_dictionary(weak: WeakKeyDictionary[Any, Any]) -> tuple[Any, ...]:
    return WeakKeyDictionary, (dict(weak),)


# Until Python 3.12 it holds a lock.
_PARTS[functools.cached_property] = _reduce_cached_property
# Of functools.singledispatch.
_PARTS[WeakKeyDictionary] = _reduce_weak_dictionary

# A module's own facts, which a receiving main keeps for itself.
_OWN_NAMES = frozenset(("__builtins__", "__name__", "__spec__", "__loader__", "__cached__"))

_UNNAMED_TYPES = _cloudpickle._BUILTIN_TYPE_NAMES


class Reducer:
    """The by-value half of one pickler; teaches it the parts of functions and classes."""

    def __init__(self, pickler: pickle.Pickler, plan: MainPlan) -> None:
        """Adds to the pickler's own dispatch table."""
        # The pickler's own table wins: it knows how locks and connections travel.
        table: Any = pickler.dispatch_table
        for kind, reduce in _PARTS.items():
            table.setdefault(kind, reduce)
        self.globals_ref: dict[int, dict[str, Any]] = {}
        # For receivers that may be forked children, which have their own.
        self.leave_out_inherited = False
        # What a child that imports main binds itself.
        self._imported_names = plan.unguarded_names

    def reduce(self, obj: Any) -> tuple[Any, ...]:
        """A reduction of a function or class, complete in itself."""
        if isinstance(obj, FunctionType):
            return self._reduce_function(obj)
        if obj in _UNNAMED_TYPES:
            return _cloudpickle._builtin_type, (_UNNAMED_TYPES[obj],)
        make, args, state, *_ = _cloudpickle._dynamic_class_reduce(obj)
        tracker_id = _cloudpickle._get_or_create_tracker_id(obj)
        slots = vars(obj).get("__slots__")
        if isinstance(slots, (str, tuple, list, dict)) and not issubclass(obj, (tuple, Enum)):
            # They belong to the layout of a class, which is settled when it is made.
            args[3]["__slots__"] = slots
        header = (_name_in_main(obj), obj.__qualname__, fingerprint(obj), tracker_id)
        return make_class, (header, make, args), _class_state(obj, state), None, None, set_class

    def _reduce_function(self, function: FunctionType) -> tuple[Any, ...]:
        home = home_of(function)
        if home is None:
            # The globals are nobody's: those it uses travel along, shared within this pickle.
            newargs = _cloudpickle.Pickler._function_getnewargs(self, function)
            state = self._function_state(function)
            return (
                _cloudpickle._make_function, newargs, state, None, None,
                _cloudpickle._function_setstate,
            )  # fmt: skip
        code = function.__code__
        # Names are resolved at once, by the receiver; a method's would find its old class.
        name = _name_in_main(function)
        name = None if name is None or "." in name else name
        header = (name, fingerprint(function), home)
        return (
            make_function,
            (header, code),
            self._function_state(function),
            None,
            None,
            set_function,
        )

    def _function_state(self, function: FunctionType) -> tuple[dict[str, Any], dict[str, Any]]:
        """As cloudpickle's, but for the globals of a function that gets its receiver's."""
        slots: dict[str, Any] = {
            name: getattr(function, name)
            for name in ("__name__", "__qualname__", "__kwdefaults__", "__defaults__", "__module__")
        }
        slots["__doc__"], slots["__closure__"] = function.__doc__, function.__closure__
        slots["__annotations__"] = _annotations(function)
        used = self._used_globals(function)
        cells = [_cloudpickle._get_cell_contents(cell) for cell in function.__closure__ or ()]
        slots["_cloudpickle_submodules"] = _cloudpickle._find_imported_submodules(
            function.__code__, [*used.values(), *cells]
        )
        home = home_of(function)
        if home == "__main__":
            # With its identity here, by which the receiver knows a value that was bound anew.
            used = {name: (id(value), value) for name, value in used.items()}
        slots["__globals__"] = {} if home not in (None, "__main__") else used
        return dict(function.__dict__), slots

    def _used_globals(self, function: FunctionType) -> dict[str, Any]:
        namespace = function.__globals__
        names = _cloudpickle._extract_code_globals(function.__code__)
        used = {name: namespace[name] for name in names if name in namespace}
        if home_of(function) != "__main__":
            return used
        kept = _OWN_NAMES | self._imported_names
        return {
            name: value
            for name, value in used.items()
            if name not in kept and not (self.leave_out_inherited and inherited.by_all(name, value))
        }


def _name_in_main(obj: Any) -> str | None:
    main = sys.modules.get("__main__")
    if main is None or obj.__module__ not in MAIN_NAMES or resolve(main, obj) is not obj:
        return None
    name: str = obj.__qualname__
    return name


def _annotations(obj: Any) -> dict[str, Any]:
    """Those of a function or class; none, if they name what is known to type checkers alone."""
    try:
        return dict(obj.__annotations__)
    except Exception:  # from Python 3.14 on, to ask for them is to run them
        return {}


def _class_state(cls: type, state: tuple[dict[str, Any], Any]) -> tuple[dict[str, Any], Any]:
    members, slots = state
    if sys.version_info >= (3, 14) and "__annotations_cache__" not in members:
        annotations = _annotations(cls)
        if annotations:
            members["__annotations__"] = annotations
    return members, slots


# -- as a record -----------------------------------------------------------------------------------

_records: WeakKeyDictionary[Any, tuple[object, _Record]] = WeakKeyDictionary()


def reduce_as_record(obj: Any) -> tuple[Any, ...]:
    """A reduction to bytes, which a receiver that has the same object needn't look at."""
    if not isinstance(obj, FunctionType) and obj in _UNNAMED_TYPES:
        return _cloudpickle._builtin_type, (_UNNAMED_TYPES[obj],)
    name = _name_in_main(obj)
    if name is not None and all(_is_inherited(member) for member in members(obj)):
        return load_own, (name,)
    key = value_key(obj)
    if key is None:
        return load_record, _record(obj)
    key = (spawn.main_plan().kind, *key)
    known = _records.get(obj)
    if known is None or known[0] != key:
        known = _records[obj] = (key, _record(obj))
    return load_record, known[1]


def _is_inherited(obj: Any) -> bool:
    """Whether all receivers have this function or class of main from a fork."""
    top = obj.__qualname__.partition(".")[0]
    main = sys.modules["__main__"]
    return inherited.by_all(top, main.__dict__.get(top)) and resolve(main, obj) is obj


def _record(obj: Any) -> _Record:
    from .reduction import ProcessPickler, explained

    sink = io.BytesIO()
    pickler = ProcessPickler(sink)
    pickler.by_value.leave_out_inherited = True
    try:
        pickler.dump(obj)
    except Exception as error:
        what = f"{obj.__qualname__!r} by value"
        raise explained(obj, error, what=what, root=obj.__name__) from error
    name = _name_in_main(obj)
    return name, deep_fingerprint(obj) if name else b"", sink.getvalue()
