# SPDX-License-Identifier: Apache-2.0
"""What an object is made of, as pickle sees it: its parts, each with the path to it."""

from __future__ import annotations

import functools
import itertools
import pickle
from multiprocessing import process
from types import FunctionType, MethodType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class Path:
    """A path in source notation, such as `target's global 'db' → db.sock`."""

    def __init__(self, text: str, stem: str = "") -> None:
        """`stem`: the variable that the text ends at, where the next step begins."""
        self.text = text
        self.stem = stem

    def to(self, step: str) -> Path:
        """One step by attribute, item or call, in Python's notation."""
        if self.stem:
            return Path(f"{self.text} → {self.stem}{step}")
        return Path(self.text + step)

    def to_name(self, kind: str, name: str) -> Path:
        """One step to a variable: a global, a closure's, a class's attribute."""
        return Path(f"{self.to('').text}'s {kind} {name!r}", stem=name)


def process_parts(obj: process.BaseProcess) -> Iterator[tuple[Any, Path]]:
    """The parts of a process object, by the names that its maker gave them."""
    known = {"_target": "target", "_args": "args", "_kwargs": "kwargs"}
    state = vars(obj)
    for attribute, name in known.items():
        if attribute in state:
            yield state[attribute], Path(name)
    for attribute, value in state.items():
        if attribute not in known:
            yield value, Path(f"self.{attribute}")
    yield type(obj), Path(f"class {type(obj).__qualname__}")


def parts(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    """The parts that pickling `obj` would pickle, each with its path."""
    walk = next((walk for kind, walk in _WALKS if isinstance(obj, kind)), _object_parts)
    try:
        yield from walk(obj, path)
    except Exception:
        return


def _sequence_parts(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    for index, value in enumerate(obj):
        yield value, path.to(f"[{index}]")
    if type(obj) not in (list, tuple):
        yield from _object_parts(obj, path)


def _set_parts(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    for value in obj:
        yield value, path.to(f"{{{short(value)}}}")


def _dict_parts(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    for key, value in obj.items():
        yield value, path.to(f"[{short(key)}]")
        if not isinstance(key, (str, bytes, int, float)):
            yield key, path.to(f".keys(){{{short(key)}}}")
    if type(obj) is not dict:
        yield from _object_parts(obj, path)


def _partial_parts(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    yield obj.func, path.to(".func")
    yield from _sequence_parts(obj.args, path.to(".args"))
    yield from _dict_parts(obj.keywords, path.to(".keywords"))
    yield from _attributes(obj, path)


def _method_parts(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    yield obj.__self__, path.to(".__self__")
    yield obj.__func__, path.to(".__func__")


def _function_parts(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    for name, cell in zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=True):
        try:
            yield cell.cell_contents, path.to_name("closure variable", name)
        except ValueError:  # an empty cell
            continue
    names = set(_global_names(obj.__code__))
    for name in sorted(names & obj.__globals__.keys()):
        yield obj.__globals__[name], path.to_name("global", name)
    yield from _attributes(obj, path)
    yield obj.__defaults__, path.to(".__defaults__")
    yield obj.__kwdefaults__, path.to(".__kwdefaults__")


def _global_names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            yield from _global_names(constant)


def _class_parts(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    for name, value in list(vars(obj).items()):
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, property):
            value = value.fget
        if name not in ("__dict__", "__weakref__"):
            yield value, path.to(f".{name}")
    yield from ((base, path.to(".__bases__")) for base in obj.__bases__)


def _no_parts(_obj: Any, _path: Path) -> Iterator[tuple[Any, Path]]:
    yield from ()


def _object_parts(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    yield from _attributes(obj, path)
    reduced = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    if isinstance(reduced, str):
        return
    known = {id(child) for child, _ in _attributes(obj, path)}
    # What it gives pickle in place of its attributes.
    yield from _states(reduced, known, path)
    for value in itertools.chain(reduced[:1], reduced[1]):
        if value is type(obj):
            yield value, path.to(".__class__")
        elif id(value) not in known:
            yield value, path.to(".__reduce__()")
    if len(reduced) > 3 and reduced[3] is not None and not isinstance(obj, list):
        yield from _sequence_parts(list(reduced[3]), path)
    if len(reduced) > 4 and reduced[4] is not None and not isinstance(obj, dict):
        yield from _dict_parts(dict(reduced[4]), path)


def _states(reduced: Any, known: set[int], path: Path) -> Iterator[tuple[Any, Path]]:
    state = reduced[2] if len(reduced) > 2 else None
    for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
        if isinstance(part, dict):
            for name, value in part.items():
                if id(value) not in known:
                    step = f".{name}" if isinstance(name, str) else f"[{short(name)}]"
                    yield value, path.to(step)
        elif part is not None:
            yield part, path.to(".__getstate__()")


def _attributes(obj: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    # An object that chooses its own state doesn't send all that it holds.
    if _chooses_state(obj):
        return
    names = list(getattr(obj, "__dict__", ()))
    for kind in type(obj).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    for name in names:
        try:
            yield object.__getattribute__(obj, name), path.to(f".{name}")
        except AttributeError:
            continue


def _chooses_state(obj: Any) -> bool:
    kind = type(obj)
    defaults: Any = object
    if kind.__reduce__ is not defaults.__reduce__:
        return True
    return getattr(kind, "__getstate__", None) is not defaults.__getstate__


_WALKS: tuple[tuple[Any, Callable[[Any, Path], Iterator[tuple[Any, Path]]]], ...] = (
    ((str, bytes, bytearray, int, float, complex, ModuleType), _no_parts),
    (type, _class_parts),
    (FunctionType, _function_parts),
    (MethodType, _method_parts),
    (functools.partial, _partial_parts),
    (dict, _dict_parts),
    ((list, tuple), _sequence_parts),
    ((set, frozenset), _set_parts),
)


def short(value: object) -> str:
    """A repr of bounded length, of whatever there is."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 40 else f"{text[:37]}..."
