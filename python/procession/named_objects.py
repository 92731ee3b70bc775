# SPDX-License-Identifier: Apache-2.0
"""Objects that are neither function nor class, yet pickled by a name in their module.

Such as a function under `functools.lru_cache`, a `typing.NewType`, or whatever gives a string to
pickle. A receiver without the sender's main can't find them, so they are rebuilt there.
"""

from __future__ import annotations

import functools
import pickle
import sys
from types import FunctionType

from .main_plan import MAIN_NAMES, MainPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CachedFunction = type(functools.lru_cache(len))


def name_in_main(obj: object) -> str | None:
    """The name in main by which pickle may want to refer to an instance, if it has one."""
    try:
        if getattr(obj, "__module__", None) not in MAIN_NAMES:
            return None
        name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
        found: Any = sys.modules["__main__"]
        for part in name.split(".") if isinstance(name, str) else ("",):
            found = getattr(found, part)
    except Exception:  # proxies run code of their own, and have what they stand for
        return None
    return name if found is obj else None


def reduce_named(obj: Any, plan: MainPlan) -> Any:
    """For a pickler's `reducer_override`: NotImplemented where plain pickle does well."""
    name = name_in_main(obj)
    if name is None or (plan.kind == "import" and name not in plan.guarded_names):
        return NotImplemented
    if isinstance(obj, CachedFunction):
        return reduce_cached(obj)
    if not isinstance(obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL), str):
        return NotImplemented
    kind = type(obj)
    if kind.__module__ == "typing" and kind.__name__ in _TYPING:
        from .arrival import make_typing

        args = [getattr(obj, part) for part in _TYPING[kind.__name__]]
        args += getattr(obj, "__constraints__", ())
        return functools.partial(make_typing, **_type_variable_traits(obj)), (kind, name, *args)
    raise pickle.PicklingError(f"{name!r} is pickled by its name, but no child has this main")


_TYPING = {
    "NewType": ("__supertype__",),
    "ParamSpec": (),
    "TypeAliasType": ("__value__",),
    "TypeVar": (),
    "TypeVarTuple": (),
}


def _type_variable_traits(obj: Any) -> dict[str, Any]:
    if type(obj).__name__ != "TypeVar":
        return {}
    return {name: getattr(obj, f"__{name}__") for name in ("bound", "covariant", "contravariant")}


def reduce_cached(obj: Any) -> Any:
    """For a dispatch table: a function under `lru_cache`; its cache stays behind."""
    from . import spawn

    function = obj.__wrapped__
    name = name_in_main(obj)
    plan = spawn.main_plan()
    if name is None or not isinstance(function, FunctionType):
        if obj.__module__ not in MAIN_NAMES and "<locals>" not in obj.__qualname__:
            return obj.__reduce__()
        name = None
    elif plan.kind == "import" and name not in plan.guarded_names:
        return name
    from .arrival import make_cached
    from .fingerprint import fingerprint

    print_ = fingerprint(function) if isinstance(function, FunctionType) else b""
    return make_cached, (name, print_, obj.cache_parameters(), function)
