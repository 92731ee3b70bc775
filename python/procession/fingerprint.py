# SPDX-License-Identifier: Apache-2.0
"""Whether a function or class here is the same as one in another process.

Made from code, not from data: equal in every process that ran the same source, whatever its
hash seed.
"""

from __future__ import annotations

import hashlib
import sys
from types import CellType, CodeType, FunctionType, ModuleType
from weakref import WeakKeyDictionary

from .main_plan import MAIN_NAMES, functions_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_SLOT = type(property.fget)
_SIMPLE = (type(None), bool, int, float, complex, str, bytes, type(...))
_codes: WeakKeyDictionary[CodeType, bytes] = WeakKeyDictionary()


def home_of(function: FunctionType) -> str | None:
    """The module whose namespace a function's globals are, if a receiver has one like it."""
    namespace = function.__globals__
    main = sys.modules.get("__main__")
    if main is not None and namespace is main.__dict__:
        return "__main__"
    name = namespace.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or getattr(module, "__dict__", None) is not namespace:
        return None
    return name if getattr(module, "__spec__", None) is not None else None


def fingerprint(obj: Any) -> bytes:
    """Of a function or class by itself: its code, its defaults, its methods' code."""
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(obj, set()):
        digest.update(part)
        digest.update(b"\0")
    return digest.digest()


def members(obj: Any) -> list[Any]:
    """`obj` and all functions and classes of main that it refers to, directly or not."""
    seen: dict[int, Any] = {}
    pending = [obj]
    while pending:
        one = pending.pop()
        if id(one) not in seen:
            seen[id(one)] = one
            pending += _referred(one)
    return list(seen.values())


def deep_fingerprint(obj: Any) -> bytes:
    """Of a function or class with all its `members`."""
    prints = sorted(one.__qualname__.encode() + fingerprint(one) for one in members(obj))
    own = fingerprint(obj)
    return hashlib.blake2b(own + b"".join(prints), digest_size=16).digest()


def value_key(obj: Any) -> tuple[object, ...] | None:
    """Equal keys: `obj` and all that travels with it by value is as it was. None: can't tell.

    Data that can change in place can't be told to be as it was.
    """
    seen: dict[int, Any] = {}
    pending = [obj]
    key: list[object] = []
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if isinstance(one, (FunctionType, type)):
            key.append((one.__qualname__, fingerprint(one)))
            pending += _state(one)
        elif isinstance(one, _SIMPLE):
            key.append((type(one), one))
        elif isinstance(one, ModuleType):
            key.append(one)
        elif isinstance(one, (tuple, frozenset)) and type(one) in (tuple, frozenset):
            key.append((type(one), len(one)))
            pending += one
        else:
            return None
    return tuple(key)


def _state(obj: Any) -> Iterator[Any]:
    """All that travels with a function or class, if it travels by value."""
    if isinstance(obj, type):
        # Those of other modules are taken to go by name; if not, their changes are not seen.
        if obj.__module__ not in MAIN_NAMES:
            return
        yield from obj.__bases__
        for name, value in vars(obj).items():
            functions = tuple(functions_in(value))
            # What the language, dataclasses or an enum keep in a class doesn't change.
            if functions or not (name.startswith("_") and name.endswith("_")):
                yield from functions or (() if isinstance(value, (obj, _SLOT)) else (value,))
        return
    yield from vars(obj).values()
    yield from obj.__defaults__ or ()
    yield from (obj.__kwdefaults__ or {}).values()
    yield from (cell.cell_contents for cell in obj.__closure__ or () if _is_full(cell))
    if home_of(obj) in (None, "__main__"):
        namespace = obj.__globals__
        yield from (namespace[name] for name in _names(obj.__code__) if name in namespace)


def _is_full(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _parts(obj: Any, seen: set[int]) -> Iterator[bytes]:
    if id(obj) in seen:
        return
    seen.add(id(obj))
    yield obj.__qualname__.encode()
    if isinstance(obj, FunctionType):
        yield from _function_parts(obj, seen)
        return
    for base in obj.__bases__:
        yield base.__qualname__.encode()
    for name, value in sorted(vars(obj).items()):
        for function in functions_in(value):
            yield name.encode()
            yield _code_print(function.__code__)
    yield repr(vars(obj).get("__firstlineno__")).encode()


def _function_parts(function: FunctionType, seen: set[int]) -> Iterator[bytes]:
    yield _code_print(function.__code__)
    for value in function.__defaults__ or ():
        yield from _value_parts(value, seen)
    for name, value in sorted((function.__kwdefaults__ or {}).items()):
        yield name.encode()
        yield from _value_parts(value, seen)
    for cell in function.__closure__ or ():
        try:
            yield from _value_parts(cell.cell_contents, seen)
        except ValueError:  # an empty cell
            yield b"-"


def _value_parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    if isinstance(value, _SIMPLE):
        yield repr(value).encode(errors="surrogatepass")
    elif isinstance(value, FunctionType):
        yield from _parts(value, seen)
    else:
        yield type(value).__qualname__.encode()


def _code_print(code: CodeType) -> bytes:
    known = _codes.get(code)
    if known is None:
        digest = hashlib.blake2b(digest_size=16)
        for part in (code.co_qualname, code.co_firstlineno, code.co_flags, code.co_names,
                     code.co_varnames, code.co_freevars, code.co_argcount,
                     code.co_posonlyargcount, code.co_kwonlyargcount, code.co_code):  # fmt: skip
            digest.update(repr(part).encode(errors="surrogatepass"))
        for constant in code.co_consts:
            digest.update(_constant_text(constant).encode(errors="surrogatepass"))
        known = _codes[code] = digest.digest()
    return known


def _constant_text(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return _code_print(constant).hex()
    if isinstance(constant, tuple):
        return f"({','.join(map(_constant_text, constant))})"
    if isinstance(constant, frozenset):
        return f"{{{','.join(sorted(map(_constant_text, constant)))}}}"
    return repr(constant)


def _referred(obj: Any) -> Iterator[Any]:
    """The functions and classes of main that the code of `obj` names."""
    if isinstance(obj, FunctionType):
        functions = [obj]
    else:
        functions = [f for value in vars(obj).values() for f in functions_in(value)]
        yield from (base for base in obj.__bases__ if base.__module__ in MAIN_NAMES)
    main = sys.modules.get("__main__")
    for function in functions:
        if main is None or function.__globals__ is not main.__dict__:
            continue
        for name in _names(function.__code__):
            value = main.__dict__.get(name)
            if isinstance(value, (FunctionType, type)) and value.__module__ in MAIN_NAMES:
                yield value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
