# SPDX-License-Identifier: Apache-2.0
"""What forked children have of main from the fork itself, so that it needn't be sent to them.

Noted at every fork. As soon as this process has a child that was not forked, or is one, nothing is
taken to be known. Objects are held weakly: what main lets go of goes.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import process
from weakref import ref

from . import _engine, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of each global of main: what all forked children have, or nothing, if they differ.
_common: dict[str, Any] = {}
# The identities of main's globals when this process was forked.
_at_fork: dict[str, int] = {}
# The same two as they were before the latest fork, and what else is to be known of it.
_noted: dict[str, Any] = {}
_noted_ids: dict[str, int] = {}
_noted_by = 0  # the process that forked, or 0 when the fork has been taken account of
_noted_first = False  # it had no children before
_snapshot = _engine.DictSnapshot()  # what main was like then


def by_all(name: str, obj: object) -> bool:
    """Whether every process that may receive something from here has this global of main."""
    if spawn.has_spawned or spawn.is_told():
        return False
    _settle()
    known = _common.get(name)
    return known is not None and known() is obj


def was_here(name: str, obj: object) -> bool:
    """Whether this global of main is what it was when this process was forked."""
    _settle()
    return _at_fork.get(name) == id(obj)


def _settle() -> None:
    # Left until somebody asks: right after a fork, every page that is written to is copied.
    global _common, _at_fork, _noted_by
    if _noted_by == 0:
        return
    if _noted_by != os.getpid():
        _common, _at_fork = _noted, _noted_ids
    elif _noted_first:
        _common = _noted
    else:
        _common = {
            name: known
            for name, known in _noted.items()
            if name in _common and _common[name]() is known()
        }
    _noted_by = 0


def _before_fork() -> None:
    global _noted, _noted_ids, _noted_by, _noted_first
    if spawn.is_zygote:
        return
    here = os.getpid()
    first = not process._children  # type: ignore[attr-defined]
    main = sys.modules.get("__main__")
    is_known = main is None or spawn.has_spawned or _snapshot.is_current(main.__dict__)
    if is_known and _noted_by == here:
        _noted_first |= first  # as if both forks were one
        return
    _settle()
    _noted_by, _noted_first = here, first
    if is_known:
        return
    values = main.__dict__.copy()
    _noted, _noted_ids = {}, dict(zip(values, map(id, values.values()), strict=True))
    for name, value in values.items():
        try:
            _noted[name] = ref(value)
        except TypeError:  # int, str, list, dict
            continue


os.register_at_fork(before=_before_fork)
