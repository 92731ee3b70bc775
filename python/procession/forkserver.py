# SPDX-License-Identifier: Apache-2.0
"""The zygote of this process: how it is configured, and what it prepares.

Shaped as multiprocessing.forkserver. The parent's side is `start`; `prepare` runs in the zygote.
"""

from __future__ import annotations

import gc
import pickle
import sys

from . import _child, _engine, reduction, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._engine import Source

__all__ = ["get_inherited_fds", "set_forkserver_preload", "stop"]

# What children need to unpickle what they are given is imported ahead, once the parent has it: that
# takes longer than all the rest of a start.
_TRAVELS = (
    *("multiprocessing.managers", "multiprocessing.shared_memory", "procession.connection"),
    *("procession.heap", "procession.queues", "procession.shared", "procession.sharedctypes"),
    *("procession.synchronize", "procession.worker"),
)

_preload: list[str] = ["__main__"]
_zygote_data: dict[str, Any] = {}  # in the parent: what the zygote was told


def set_forkserver_preload(modules_names: list[str]) -> None:
    """Name the modules that the zygote imports ahead; "__main__" stands for the main module."""
    global _preload
    if not all(type(name) is str for name in modules_names):
        raise TypeError("module_names must be a list of strings")
    _preload = list(modules_names)


def get_inherited_fds() -> list[int] | None:
    """Return the descriptors that this child was sent, or None in a process that is no child."""
    return _child.inherited_fds or None


def preload_list() -> list[str]:
    """Return the modules to import ahead, also as a program told the standard library."""
    standard = sys.modules.get("multiprocessing.forkserver")
    theirs = standard._forkserver._preload_modules if standard else ["__main__"]
    return theirs if theirs != ["__main__"] else _preload


def abbreviated(data: dict[str, Any]) -> Any:
    """Give the preparation data that a child needs: its name alone, if its zygote has the rest."""
    return data["name"] if data == {**_zygote_data, "name": data["name"]} else data


def start(name: str, sink: _engine.Sink, fds: list[int]) -> _engine.Child:
    """Start a child by this process's zygote, made anew if what it depends on changed."""
    preload = [*filter(sys.modules.__contains__, _TRAVELS), *preload_list()]
    command = spawn.command_line()

    def configure() -> _engine.Sink:
        global _zygote_data
        data = spawn.get_preparation_data("zygote")
        config = _engine.Sink()
        with reduction.spawning():
            pickle.dump((preload, data), config, pickle.HIGHEST_PROTOCOL)
        _zygote_data = data
        return config

    return _engine.start_by_zygote(command, preload, configure, name, sink, fds)


def stop() -> None:
    """End the zygote and its spare child; the next start makes new ones."""
    _engine.end_idle()


def prepare(source: Source) -> None:
    """Do, in the zygote, what each child would do. What fails is left to them."""
    spawn.is_zygote = True
    preload, data = pickle.load(source)
    spawn.zygote_data = data
    sys.path, sys.argv = data["sys_path"], data["sys_argv"]
    if data["procession"]["installed"]:  # what is imported has to find it so
        from ._install import install

        install()
    for module in preload:
        if module != "__main__":
            _import_ahead(module)
    if "__main__" in preload and not data["log_to_stderr"]:
        try:
            spawn.prepare(data)
            spawn.zygote_is_prepared = True
        except Exception:
            pass  # of a main that can't be imported, each child will say so itself
    _engine.fill_gaps()  # what children make lies side by side then, on fewer pages of their own
    _child.rehearsed = _child.rehearsal()
    if "__main__" in preload:  # for this imports it
        _child.warm_up()  # what Python caches on first use, the children then find
    _child.flush()
    gc.freeze()  # the children's collector need not touch, and so copy, what is here


def _import_ahead(module: str) -> None:
    try:
        __import__(module)
    except Exception as error:
        from .remote_exception import in_one_line

        _child.say(f"procession: preloading {module!r} failed: {in_one_line(error)}")
