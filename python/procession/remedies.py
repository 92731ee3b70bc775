# SPDX-License-Identifier: Apache-2.0
"""What to do instead of sending an object that can't travel, by the object's type."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IN_CHILD = "open it in the child, and pass what it is opened with"

# By the full name of a type among the object's bases: the modules needn't be loaded.
_REMEDIES = {
    "_thread.lock": "create it in the child, or pass the data it protects; between processes, "
    "use multiprocessing.Lock",
    "_thread.RLock": "create it in the child, or pass the data it protects; between processes, "
    "use multiprocessing.RLock",
    "_thread._local": "create it in the child: what it holds belongs to one thread",
    "threading.Condition": "create it in the child, or use multiprocessing.Condition",
    "threading.Event": "create it in the child, or use multiprocessing.Event",
    "threading.Thread": "start it in the child",
    "_io._IOBase": "pass its path, and open it in the child",
    "_socket.socket": "connect in the child, or send it with multiprocessing.reduction.DupFd",
    "select.epoll": "create it in the child",
    "builtins.generator": "pass list(...) of it, or what it is made from",
    "builtins.coroutine": "pass the function and its arguments, and run it in the child",
    "builtins.async_generator": "pass the function and its arguments, and run it in the child",
    "builtins.frame": "pass the data that you need of it",
    "builtins.traceback": "pass traceback.format_exception(...) of it",
    "builtins.memoryview": "pass bytes(...) of it, or what it views",
    "builtins.module": "import it in the child, or pass its name",
    "builtins.mappingproxy": "pass dict(...) of it",
    "builtins.dict_keys": "pass list(...) of it",
    "builtins.dict_values": "pass list(...) of it",
    "builtins.dict_items": "pass list(...) of it",
    "builtins.PyCapsule": "create in the child what it belongs to",
    "weakref.ReferenceType": "pass what it refers to",
    "builtins.weakref": "pass what it refers to",
    "builtins.weakproxy": "pass what it refers to",
    "weakref.finalize": "create it in the child",
    "sqlite3.Connection": _IN_CHILD,
    "sqlite3.Cursor": _IN_CHILD,
    "_ctypes._Pointer": "an address means nothing in another process: pass what it points to",
    "_ctypes.CFuncPtr": "an address means nothing in another process: load it in the child",
    "ctypes.CDLL": "load it in the child",
    "subprocess.Popen": "start it in the child, or pass its pid",
    "multiprocessing.process.BaseProcess": "pass what the child needs to know of it, not itself",
    "multiprocessing.pool.Pool": "make the pool in the child, or send the tasks to this process",
    "concurrent.futures._base.Executor": "make it in the child",
    "concurrent.futures._base.Future": "pass its result",
    "asyncio.events.AbstractEventLoop": "make it in the child",
    "_asyncio.Future": "pass its result",
    "queue.Queue": "use multiprocessing.Queue",
    "_queue.SimpleQueue": "use multiprocessing.SimpleQueue",
    "_contextvars.Context": "set its variables in the child",
    "_contextvars.ContextVar": "make it at the top level of a module that the child imports",
    "_hashlib.HASH": "pass its digest, or the data",
    "ssl.SSLContext": "create it in the child",
    "select.poll": "create it in the child",
}


def remedy_for(obj: Any) -> str | None:
    """Completes "… can't be pickled; "; None if nothing is known of the type."""
    if type(obj).__name__ in ("ReferenceType", "weakref"):
        return _REMEDIES["builtins.weakref"]
    for kind in type(obj).__mro__:
        remedy = _REMEDIES.get(f"{kind.__module__}.{kind.__qualname__}")
        if remedy is not None:
            return remedy
    return None
