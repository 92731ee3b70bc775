# SPDX-License-Identifier: Apache-2.0
"""Puts the engine under programs that import multiprocessing and know nothing of procession.

What is replaced is how the standard's process classes start: every subclass, whenever it was
made, gets there; and the executor, pools, pipes, locks and queues, for who looks them up from now
on. Nothing public is added to multiprocessing.
"""

from __future__ import annotations

import sys
from multiprocessing import context as _standard

from . import context
from .after_import import AfterImport

__all__ = ["install", "is_installed", "uninstall"]

_PAIRS = (
    (_standard.ForkProcess, context.ForkProcess),
    (_standard.SpawnProcess, context.SpawnProcess),
    (_standard.ForkServerProcess, context.ForkServerProcess),
)
_originals: dict[type, staticmethod[..., object]] = {}


class _Classes:
    """Classes of the standard's whose names come to mean ours once their module is imported."""

    def __init__(
        self, names: tuple[str, ...], module: str, ours: str, packages: tuple[str, ...] = ()
    ) -> None:
        self.names = names
        self.ours = ours  # the module in which classes of the same names derive from them
        self.places = (module, *packages)
        self.originals: dict[str, type] = {}
        self.after_import = AfterImport(module, lambda _module: self.replace())

    def replace(self) -> None:
        """Replace them; if our module is only being imported, it does this itself at its end."""
        if self.ours not in sys.modules:
            __import__(self.ours)
        ours = sys.modules[self.ours].__dict__
        if not self.originals and all(name in ours for name in self.names):
            standard = vars(sys.modules[self.places[0]])
            self.originals = {name: standard[name] for name in self.names}
            self.put({name: ours[name] for name in self.names})

    def put(self, classes: dict[str, type]) -> None:
        """Have the names mean these, for who looks them up from now on."""
        for place in self.places:
            vars(sys.modules[place]).update(classes)

    def put_back(self) -> None:
        """Have them mean the standard's."""
        self.after_import.end()
        if self.originals:
            self.put(self.originals)
            self.originals = {}


_classes = (
    _Classes(
        ("ProcessPoolExecutor",),
        "concurrent.futures.process",
        "procession.executor",
        ("concurrent.futures",),
    ),
    _Classes(("Pool",), "multiprocessing.pool", "procession.pool"),
    _Classes(("Pipe",), "multiprocessing.connection", "procession.connection"),  # a function
    _Classes(
        ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier"),
        "multiprocessing.synchronize",
        "procession.synchronize",
    ),
    _Classes(
        ("RawValue", "RawArray", "Value", "Array", "copy", "synchronized"),
        "multiprocessing.sharedctypes",
        "procession.sharedctypes",
    ),
    _Classes(
        ("Queue", "JoinableQueue", "SimpleQueue"), "multiprocessing.queues", "procession.queues"
    ),
)


def is_there(module: str) -> None:
    """Called by a module of ours at the end of its import."""
    for found in _classes:
        if found.ours == module and is_installed() and not found.originals:
            found.replace()


def install() -> None:
    """Run multiprocessing on procession from now on, in this process and those that it starts.

    Call it early: processes and pools that exist already stay as they are. Does nothing if it
    has been done.
    """
    if is_installed():
        return
    for theirs, ours in _PAIRS:
        _originals[theirs] = theirs.__dict__["_Popen"]
        theirs._Popen = staticmethod(ours._Popen)  # type: ignore[method-assign, assignment]
    for replaced in _classes:
        replaced.after_import.begin()


def uninstall() -> None:
    """Give multiprocessing back to itself. Does nothing if procession isn't installed."""
    for theirs, original in _originals.items():
        theirs._Popen = original  # type: ignore[attr-defined]
    _originals.clear()
    for replaced in _classes:
        replaced.put_back()


def is_installed() -> bool:
    """Whether multiprocessing runs on procession in this process."""
    return bool(_originals)
