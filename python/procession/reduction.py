# SPDX-License-Identifier: Apache-2.0
"""How Python objects become bytes for another process, and exceptions the way back.

Shaped as `multiprocessing.reduction`, all of whose names are here. What differs is the rule for
functions and classes: one that the receiver can import goes by name, any other by value
(see `by_value`). Thread-safe; runs on both sides.
"""

from __future__ import annotations

import io
import pickle
import sys
from multiprocessing import context as _context
from multiprocessing import process
from multiprocessing import reduction as _standard
from types import FunctionType

from . import inherited as _inherited  # noqa: F401, it notes forks from now on
from . import spawn
from .main_plan import MAIN_NAMES, MainPlan, resolve
from .named_objects import CachedFunction, reduce_cached, reduce_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from .by_value import Reducer
    from .remote_exception import RemoteException

    class Sink(Protocol):
        def write(self, data: Any, /) -> object: ...

    class Source(Protocol):
        def read(self, size: int = -1, /) -> bytes: ...
        def readline(self) -> bytes: ...


HAVE_SEND_HANDLE: bool = _standard.HAVE_SEND_HANDLE
ACKNOWLEDGE: bool = getattr(_standard, "ACKNOWLEDGE", False)
AbstractReducer = _standard.AbstractReducer
DupFd = _standard.DupFd
register = _standard.register
send_handle, recv_handle = _standard.send_handle, _standard.recv_handle
sendfds, recvfds = _standard.sendfds, _standard.recvfds

__all__ = [
    *_standard.__all__,
    "RemoteException",
    "dump_exception",
    "dump_process",
    "dumps",
    "dumps_process",
    "explained",
    "hook",
    "is_hooked",
    "load_exception",
    "load_process",
    "unhook",
]

_PROTOCOL = pickle.HIGHEST_PROTOCOL
_NOT_BY_NAME = 1 << 9 | 1 << 8  # Py_TPFLAGS_HEAPTYPE, Py_TPFLAGS_IMMUTABLETYPE


def goes_by_name(obj: Any, plan: MainPlan) -> bool:
    """Whether plain pickle's reference to a function or class finds this object at the receiver.

    True, too, for what only plain pickle may speak about: types of C extensions.
    """
    name: Any = getattr(obj, "__module__", None)
    if name in MAIN_NAMES:
        return plan.importable(obj)
    try:
        module = sys.modules.get(name)
        if module is None:
            # As pickle does: a class may outlive its module's place in `sys.modules`.
            name = pickle.whichmodule(obj, obj.__qualname__)  # type: ignore[attr-defined]
            module = sys.modules.get(name)
            if name in MAIN_NAMES:
                return plan.importable(obj)
        if module is not None and resolve(module, obj) is obj:
            return True
    except Exception:
        return False
    return not isinstance(obj, FunctionType) and not _is_python_class(obj) and not _unnamed(obj)


def _unnamed(cls: type) -> bool:
    """A built-in type that has a name in `types` only; pickle itself knows three of them."""
    known = (type(None), type(NotImplemented), type(...))
    if cls.__module__ != "builtins" or cls in known:
        return False
    import types

    return any(value is cls for value in vars(types).values())


def _is_python_class(cls: type) -> bool:
    if cls.__flags__ & _NOT_BY_NAME != 1 << 9:
        return False
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    return module is None or file is None or file.endswith((".py", ".pyc"))


class ForkingPickler(_standard.ForkingPickler):
    """For a receiver that may be long at work: what it has already is not sent again in vain."""

    def __init__(self, *args: Any) -> None:
        """As the standard's: (file, protocol, fix_imports, buffer_callback)."""
        super().__init__(*args)
        self.dispatch_table.setdefault(CachedFunction, reduce_cached)

    def reducer_override(self, obj: Any) -> Any:
        """The rule; called by the pickler for everything but the simplest values."""
        kind = type(obj)
        if kind is not FunctionType and not issubclass(kind, type):
            return NotImplemented
        if goes_by_name(obj, spawn.main_plan()):
            return NotImplemented
        from .by_value import reduce_as_record

        return reduce_as_record(obj)


class ProcessPickler(_standard.ForkingPickler):
    """For a receiver that has nothing yet: one pickle, in which everything is sent once."""

    def __init__(
        self,
        file: Sink,
        plan: MainPlan | None = None,
        buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
    ) -> None:
        super().__init__(file, _PROTOCOL, True, buffer_callback)
        self._plan = plan or spawn.main_plan()
        self._by_value: Reducer | None = None

    def reducer_override(self, obj: Any) -> Any:
        """The same rule, by value in place."""
        kind = type(obj)
        if kind is not FunctionType and not issubclass(kind, type):
            return reduce_named(obj, self._plan)
        if goes_by_name(obj, self._plan):
            return NotImplemented
        return self.by_value.reduce(obj)

    @property
    def by_value(self) -> Reducer:
        """Made when something has to travel by value: cloudpickle takes 15 ms to import."""
        if self._by_value is None:
            from .by_value import Reducer

            self._by_value = Reducer(self, self._plan)
        return self._by_value


def hook() -> None:
    """Puts the rule under the standard library's own queues, pools and connections."""
    override: Any = ForkingPickler.reducer_override
    _standard.ForkingPickler.reducer_override = override  # type: ignore[method-assign]
    _standard.ForkingPickler.register(CachedFunction, reduce_cached)


def unhook() -> None:
    """Takes the rule away again. Does nothing if it isn't there."""
    if is_hooked():
        del _standard.ForkingPickler.reducer_override
        reducers: Any = _standard.ForkingPickler
        reducers._extra_reducers.pop(CachedFunction, None)


def is_hooked() -> bool:
    """Whether the standard library's pickler follows the rule."""
    present = vars(_standard.ForkingPickler).get("reducer_override")
    return present is ForkingPickler.reducer_override


def dump(obj: object, file: Sink, protocol: int | None = None) -> None:
    """Pickles by the rule."""
    ForkingPickler(file, protocol).dump(obj)


def dumps(obj: object, protocol: int | None = None) -> memoryview:
    """Pickles by the rule."""
    return ForkingPickler.dumps(obj, protocol)


class spawning:  # noqa: N801
    """While it is entered, what only a starting process may get can be pickled, for `popen`."""

    def __init__(self, popen: Any = True) -> None:
        self._popen = popen

    def __enter__(self) -> None:
        """Make `popen` the one that is starting a process in this thread."""
        _context.set_spawning_popen(self._popen)

    def __exit__(self, *_: object) -> None:
        """Make it none."""
        _context.set_spawning_popen(None)


def hold_for_travel(shared: Any) -> None:
    """Have an object that is being pickled be there when it arrives."""
    if not try_hold_for_start(shared):
        shared.keep()


def try_hold_for_start(shared: Any) -> bool:
    """The same, if it is pickled for a process that is being started, which ends the hold."""
    popen: Any = _context.get_spawning_popen()
    hold = getattr(popen, "hold", None)
    if hold is not None:
        hold(shared)
    return hold is not None


def dump_process(
    data: dict[str, Any] | str,
    process_obj: process.BaseProcess,
    sink: Sink,
    *,
    plan: MainPlan | None = None,
    method: str | None = None,
) -> None:
    """Writes the preparation data and the process object, for `load_process`.

    What can't travel raises an error that names its path. Part may have been written by then.
    """
    pickle.dump(data, sink, _PROTOCOL)
    try:
        ProcessPickler(sink, plan).dump(process_obj)
    except Exception as error:
        what = f"{process_obj._name!r} to its process"  # type: ignore[attr-defined]
        raise explained(process_obj, error, what=what, method=method) from error


def dumps_process(
    data: dict[str, Any],
    process_obj: process.BaseProcess,
    *,
    plan: MainPlan | None = None,
    method: str | None = None,
) -> memoryview:
    """`dump_process` into one buffer."""
    sink = io.BytesIO()
    dump_process(data, process_obj, sink, plan=plan, method=method)
    return sink.getbuffer()


def load_process(stream: Source) -> process.BaseProcess:
    """Child side: makes the process ready, then rebuilds its process object."""
    this = process.current_process()
    this._inheriting = True  # type: ignore[attr-defined]
    try:
        data = pickle.load(stream)
        if isinstance(data, dict):
            spawn.prepare(data)
        else:
            spawn.prepare_zygotes_child(data)
        obj = pickle.load(stream)
    finally:
        del this._inheriting  # type: ignore[attr-defined]
    assert isinstance(obj, process.BaseProcess)
    return obj


def explained(
    obj: object,
    error: Exception,
    *,
    what: str,
    root: str | None = None,
    method: str | None = None,
) -> Exception:
    """An error of the same type that says what in `obj` can't travel; raise it from `error`.

    `what` completes "cannot send …"; `root` is what the caller calls `obj`.
    """
    from . import unpicklable

    return unpicklable.explain(obj, error, what=what, root=root, method=method)


def dump_exception(error: BaseException) -> bytes:
    """The exception with its traceback as text, for `load_exception`. Never raises."""
    from .remote_exception import dump_exception

    return dump_exception(error)


def load_exception(data: bytes) -> BaseException:
    """The exception that `dump_exception` packed, or a `RemoteException` in its place."""
    from .remote_exception import load_exception

    return load_exception(data)


def __getattr__(name: str) -> Any:
    if name == "RemoteException":
        from .remote_exception import RemoteException

        return RemoteException
    return getattr(_standard, name)
