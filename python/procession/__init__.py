# SPDX-License-Identifier: Apache-2.0
"""Process-based parallelism: multiprocessing on a native engine.

``import procession as mp`` has every name of `multiprocessing`, and `ProcessPoolExecutor`;
`install()` puts the engine under programs that import `multiprocessing` itself.
"""

from __future__ import annotations

import sys

from . import context, reduction
from ._install import install, is_installed, uninstall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_methods = [name for name in dir(context._default_context) if not name.startswith("_")]
globals().update((name, getattr(context._default_context, name)) for name in _methods)

_of_executor = ("ProcessPoolExecutor", "TaskTimeout", "WorkerDied")
__all__ = [*_methods, *_of_executor, "OwnerDied", "install", "is_installed", "uninstall"]
__version__ = "0.1.0"

SUBDEBUG = 5
SUBWARNING = 25

# What a child sends of its main's classes says __mp_main__; the same alias as multiprocessing's.
if "__main__" in sys.modules:
    sys.modules.setdefault("__mp_main__", sys.modules["__main__"])

# The standard's queues and pools, which run on these contexts, pickle by the same rule.
reduction.hook()


def __getattr__(name: str) -> Any:
    if name in _of_executor:
        from . import executor

        return globals().setdefault(name, getattr(executor, name))
    if name == "OwnerDied":
        from . import synchronize

        return synchronize.OwnerDied
    if name == "RemoteException":
        return reduction.RemoteException
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
