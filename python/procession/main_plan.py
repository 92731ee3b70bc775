# SPDX-License-Identifier: Apache-2.0
"""How what lives in `__main__` reaches a child.

A main whose top level is guarded by ``if __name__ == "__main__":`` is imported in the child as
`__mp_main__`; any other main (REPL, `-c`, stdin, notebook, unguarded script) stays in the parent,
and what a child needs of it travels by value. The decision is made from the main's source, never
by running it. Runs in the parent; a child is told its parent's decision.
"""

from __future__ import annotations

import os
import stat
import sys
from types import CodeType, FrameType, FunctionType, ModuleType
from weakref import WeakKeyDictionary, ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal

    Kind = Literal["import", "value"]
    Lines = tuple[int, int]

MAIN_NAMES = ("__main__", "__mp_main__")

# Mains of the standard library that run somebody's code in the namespace of `__main__`.
_CONSOLES = ("_pyrepl.__main__", "asyncio.__main__", "code", "idlelib.__main__", "idlelib.idle")


class MainPlan:
    """Immutable. `kind` is "import" (by `name` or by `path`) or "value"; `reason` says why."""

    __slots__ = (
        "_data", "_known", "_main", "guarded", "guarded_names", "kind", "name", "path", "reason",
        "unguarded_names",
    )  # fmt: skip

    kind: Kind
    name: str | None
    path: str | None
    reason: str
    guarded: tuple[Lines, ...]
    guarded_names: frozenset[str]
    unguarded_names: frozenset[str]
    _main: ref[ModuleType]
    _data: dict[str, object] | None
    _known: WeakKeyDictionary[Any, bool]

    def __init__(
        self,
        main: ModuleType,
        kind: Kind,
        reason: str,
        *,
        name: str | None = None,
        path: str | None = None,
        guarded: tuple[Lines, ...] = (),
        guarded_names: frozenset[str] = frozenset(),
        unguarded_names: frozenset[str] = frozenset(),
    ) -> None:
        """Of `main`, decided by `read_plan` or told by a parent."""
        values: dict[str, object] = {
            "kind": kind,
            "reason": reason,
            "name": name,
            "path": path,
            # Weakly: what main's globals hold must end before the modules that it uses.
            "_main": ref(main),
        }
        values |= {"guarded": guarded, "guarded_names": guarded_names}
        values["unguarded_names"] = unguarded_names
        for field, value in values.items():
            object.__setattr__(self, field, value)
        object.__setattr__(self, "_known", WeakKeyDictionary())
        object.__setattr__(self, "_data", None)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse."""
        raise AttributeError(f"a MainPlan is immutable: cannot set {name!r}")

    @property
    def main(self) -> ModuleType:
        """The module; an empty one in its place, once it is gone."""
        return self._main() or ModuleType("__main__")

    def __repr__(self) -> str:
        """Say how main travels, and why so."""
        how = f" name={self.name!r}" if self.name else f" path={self.path!r}" if self.path else ""
        return f"<MainPlan {self.kind}{how}: {self.reason}>"

    def to_data(self) -> dict[str, object]:
        """The plain values from which a child rebuilds this plan. Nobody changes them."""
        data = self._data
        if data is None:
            data = {
                "kind": self.kind,
                "reason": self.reason,
                "name": self.name,
                "path": self.path,
                "guarded": self.guarded,
                "guarded_names": sorted(self.guarded_names),
                "unguarded_names": sorted(self.unguarded_names),
            }
            object.__setattr__(self, "_data", data)
        return data

    @classmethod
    def from_data(cls, main: ModuleType, data: dict[str, Any]) -> MainPlan:
        """The plan that a parent told its child, whose main is `main`."""
        names = {key: frozenset(data[key]) for key in ("guarded_names", "unguarded_names")}
        return cls(main, **{**data, **names})

    def importable(self, obj: Any) -> bool:
        """Whether a child that imports main finds this very function or class by its name."""
        if self.kind != "import" or resolve(self.main, obj) is not obj:
            return False
        known = self._known.get(obj)
        if known is None:
            known = self._known[obj] = self._is_outside_guards(obj)
        return known

    def _is_outside_guards(self, obj: Any) -> bool:
        if not self.guarded:
            return True
        line = self._first_line(obj)
        if line is not None:
            return not in_lines(line, self.guarded)
        return obj.__qualname__.partition(".")[0] not in self.guarded_names

    def _first_line(self, obj: Any) -> int | None:
        files = _file_names(self.main)
        if isinstance(obj, FunctionType):
            while obj.__code__.co_filename not in files:
                obj = getattr(obj, "__wrapped__", None)
                if not isinstance(obj, FunctionType):
                    return None
            return obj.__code__.co_firstlineno
        line = vars(obj).get("__firstlineno__")
        if isinstance(line, int):
            return line
        codes = (code for code in class_codes(obj) if code.co_filename in files)
        return min((code.co_firstlineno for code in codes), default=None)


def resolve(main: ModuleType, obj: Any) -> Any:
    """What a reference to `obj` by its qualified name would find in `main`, or None."""
    qualname: str = obj.__qualname__
    if "." not in qualname:
        return main.__dict__.get(qualname)
    found: Any = main
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def class_codes(cls: type) -> Iterator[CodeType]:
    """The code objects of the methods and properties in a class's own body."""
    for value in vars(cls).values():
        for function in functions_in(value):
            yield function.__code__


def functions_in(value: Any) -> Iterator[FunctionType]:
    """The functions behind a class attribute: itself, or those of a descriptor around it."""
    # Of staticmethod, classmethod, functools.lru_cache.
    value = vars(value).get("__wrapped__", value) if hasattr(value, "__dict__") else value
    if type(value).__name__ == "cached_property":
        value = getattr(value, "func", None)
    if isinstance(value, property):
        parts: tuple[Any, ...] = (value.fget, value.fset, value.fdel)
    else:
        parts = (value,)
    for part in parts:
        if isinstance(part, FunctionType):
            yield part


def in_lines(line: int, regions: tuple[Lines, ...]) -> bool:
    """Whether a line lies in one of these regions."""
    return any(first <= line <= last for first, last in regions)


def _file_names(main: ModuleType) -> set[str]:
    file = getattr(main, "__file__", None)
    origin = getattr(getattr(main, "__spec__", None), "origin", None)
    names = {name for name in (file, origin) if isinstance(name, str)}
    return names | {os.path.abspath(name) for name in names}


def read_plan(main: ModuleType, original_dir: str | None) -> MainPlan:
    """Decides from `main`'s own attributes and source."""
    name, path, why_not = _origin(main, original_dir)
    if why_not:
        return MainPlan(main, "value", why_not)
    source = _source(main, name)
    if source is None:
        return _plan_without_source(main, name, path)
    # Parsing a long script takes longer than starting a process from it.
    if _contains(source, "__name__") and _contains(source, "__main__"):
        from .main_guard import read_guards

        guards = read_guards(source)
        if guards.regions:
            return MainPlan(
                main,
                "import",
                "its top level is guarded",
                name=name,
                path=path,
                guarded=guards.regions,
                guarded_names=guards.names - guards.other_names,
                unguarded_names=guards.other_names,
            )
    return MainPlan(main, "value", "its top level has no `if __name__ == '__main__':`")


def _contains(source: str | bytes, word: str) -> bool:
    return word in source if isinstance(source, str) else word.encode() in source


def _plan_without_source(main: ModuleType, name: str | None, path: str | None) -> MainPlan:
    # The standard library imports compiled mains, but never one that is named `__main__`: those
    # are seldom guarded, and without source there is no telling.
    file = getattr(main, "__file__", None) or ""
    is_main_file = os.path.splitext(os.path.basename(file))[0] == "__main__"
    if is_main_file or not file.endswith(".pyc"):
        return MainPlan(main, "value", "its source can't be read")
    return MainPlan(main, "import", "it is compiled, without source", name=name, path=path)


def _origin(main: ModuleType, original_dir: str | None) -> tuple[str | None, str | None, str]:
    """(module name, path, why neither): how a child would import this main."""
    spec = getattr(main, "__spec__", None)
    name = getattr(spec, "name", None)
    if name in _CONSOLES:
        return None, None, "it is a console"
    if name is not None and name != "__main__":
        return name, None, ""
    file = getattr(main, "__file__", None)
    if not isinstance(file, str):
        return None, None, "it has no file"
    if original_dir is not None:
        file = os.path.join(original_dir, file)
    path = os.path.normpath(file)
    loader = getattr(spec, "loader", None)
    if loader is not None and os.path.splitext(os.path.basename(path))[0] == "__main__":
        # A directory or zip: what was run is what holds the file.
        return None, os.path.dirname(path), ""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        regular = False
    # `<stdin>`, a pipe of the shell's `<(...)`, or a script that is gone.
    return (None, path, "") if regular else (None, None, "its file can't be read again")


def _source(main: ModuleType, name: str | None) -> str | bytes | None:
    loader = getattr(main, "__loader__", None)
    get_source = getattr(loader, "get_source", None)
    if get_source is not None:
        try:
            source: str | None = get_source(name or getattr(loader, "name", None) or "__main__")
        except (ImportError, OSError, SyntaxError, UnicodeError):
            source = None
        if source is not None:
            return source
    file = getattr(main, "__file__", None)
    if not isinstance(file, str) or file.endswith(".pyc"):
        return None
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def runs_unguarded(plan: MainPlan) -> bool:
    """Whether main's top level is now running at a line that an import would run again.

    Looks at the calling thread's stack, and at the main thread's, which may be waiting for it.
    """
    if _is_unguarded(sys._getframe(1), plan):
        return True
    threading = sys.modules.get("threading")
    if threading is None or threading.current_thread() is threading.main_thread():
        return False
    return _is_unguarded(sys._current_frames().get(threading.main_thread().ident), plan)


def _is_unguarded(frame: FrameType | None, plan: MainPlan) -> bool:
    main_globals = plan.main.__dict__
    while frame is not None:
        if frame.f_globals is main_globals and frame.f_code.co_name == "<module>":
            return not in_lines(frame.f_lineno or 0, plan.guarded)
        frame = frame.f_back
    return False
