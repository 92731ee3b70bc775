# SPDX-License-Identifier: Apache-2.0
"""Says what in an object can't travel, by which path it is reached, and what to do instead.

Runs in the parent, only after pickling has failed. It pickles parts of the object again, into
nothing, going down to the deepest part that fails by itself; within a bounded time, after which
it says what it has found so far. It never raises.
"""

from __future__ import annotations

import time
from multiprocessing import context, process
from types import FunctionType

from .main_plan import MAIN_NAMES
from .object_parts import Path, parts, process_parts
from .remedies import remedy_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SECONDS = 2.0
_DEPTH = 100
_BISECT_FROM = 32
_ERRORS_FROM = ("builtins", "_pickle", "pickle")


def explain(
    obj: object,
    error: Exception,
    *,
    what: str,
    root: str | None = None,
    method: str | None = None,
) -> Exception:
    """An exception of the type of `error` which says all that; to be raised from it.

    `what` completes "cannot send …"; `root` is the caller's word for `obj`.
    """
    under = f" (start method {method!r})" if method else ""
    try:
        found = _find(obj, root)
        said = _said(error) if found is None else _describe(found, error)
        text = f"cannot send {what}{under}: {said}"
    except Exception:
        text = f"cannot send {what}{under}: {_said(error)}"
    return _same_type(error, text)


class _Found:
    def __init__(self, obj: Any, path: Path, error: Exception) -> None:
        self.obj = obj
        self.path = path
        self.error = error


def _find(obj: Any, root: str | None) -> _Found | None:
    with _Probe() as probe:
        if isinstance(obj, process.BaseProcess) and root is None:
            start = Path("self")
            children = list(process_parts(obj))
        else:
            start = Path(root or "the object")
            children = list(parts(obj, start))
        error = probe.failure(obj)
        if error is None:
            return None
        found = _Found(obj, start, error)
        seen = {id(obj)}
        for depth in range(_DEPTH):
            deeper = _first_failing(children, probe, seen)
            if deeper is None:
                break
            found = deeper
            # What an object with a remedy is made of, or what is too deep, is nobody's concern.
            if remedy_for(found.obj) or (depth and isinstance(found.error, RecursionError)):
                break
            seen.add(id(found.obj))
            children = list(parts(found.obj, found.path))
        return found


def _first_failing(
    children: list[tuple[Any, Path]], probe: _Probe, seen: set[int]
) -> _Found | None:
    children = [(child, path) for child, path in children if id(child) not in seen]
    while len(children) > _BISECT_FROM:
        half = children[: len(children) // 2]
        failed = probe.failure([child for child, _ in half]) is not None
        children = half if failed else children[len(half) :]
    for child, path in children:
        error = probe.failure(child)
        if error is not None:
            return _Found(child, path, error)
    return None


class _Probe:
    """Pickles into nothing, as a start does, with no process to send descriptors to."""

    def __enter__(self) -> _Probe:
        self._deadline = time.monotonic() + _SECONDS
        self._spawning: Any = context.get_spawning_popen()
        instead: Any = _NoPopen() if self._spawning is not None else None
        context.set_spawning_popen(instead)
        return self

    def __exit__(self, *_: object) -> None:
        context.set_spawning_popen(self._spawning)

    def failure(self, obj: object) -> Exception | None:
        """Why it can't be pickled; None if it can, or if there is no time left to tell."""
        from .reduction import ProcessPickler

        deadline = self._deadline

        class Pickler(ProcessPickler):
            def persistent_id(self, _: object) -> None:
                if time.monotonic() > deadline:
                    raise _OutOfTimeError

        try:
            Pickler(_Nowhere(), None, lambda _: False).dump(obj)
        except _OutOfTimeError:
            return None
        except Exception as error:
            return error
        return None


class _OutOfTimeError(BaseException):
    pass


class _Nowhere:
    def write(self, _: object) -> None:
        pass


class _NoPopen:
    class DupFd:
        def __init__(self, fd: int) -> None:
            self.fd = fd

    def duplicate_for_child(self, fd: int) -> int:
        return fd


def _describe(found: _Found, error: Exception) -> str:
    obj, path = found.obj, found.path.text
    kind = type(obj)
    own_names = ("builtins", *MAIN_NAMES)
    name = kind.__qualname__ if kind.__module__ in own_names else _full_name(kind)
    if isinstance(found.error, RecursionError):
        return f"{path} is nested too deeply to be pickled"
    own = _own_reduction(obj)
    if own is not None:
        raised = f"{type(found.error).__name__}: {_said(found.error)}"
        return f"{path} is a {name!r} object whose {own} raised {raised}"
    remedy = remedy_for(obj)
    if isinstance(obj, (type, FunctionType)) or remedy is None:
        return f"{path} is a {name!r} object, which can't be pickled ({_said(error)})"
    return f"{path} is a {name!r} object, which can't be pickled; {remedy}"


def _own_reduction(obj: Any) -> str | None:
    """The name of the method by which Python code decides how `obj` is pickled."""
    for name in (
        "__reduce_ex__",
        "__reduce__",
        "__getstate__",
        "__getnewargs_ex__",
        "__getnewargs__",
    ):
        method = getattr(type(obj), name, None)
        if isinstance(method, FunctionType):
            return name
    return None


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _said(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__


def _same_type(error: Exception, text: str) -> Exception:
    """With the type that callers catch: its own, or the nearest built-in base that can say this."""
    for kind in type(error).__mro__:
        if kind.__module__ not in _ERRORS_FROM or kind in (Exception, BaseException):
            continue
        try:
            again = kind(text)
        except Exception:
            continue
        if isinstance(again, Exception) and again.args == (text,):
            return again
    return TypeError(text)
