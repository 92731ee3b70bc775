# SPDX-License-Identifier: Apache-2.0
"""For tests of how objects travel: a main module of this process, a start that is under way."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from multiprocessing import context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from procession import main_module, spawn

RunMain = Callable[..., ModuleType]


@pytest.fixture
def run_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunMain:
    """Runs a script as `__main__` of this process; by default one that no child imports."""
    fresh = {"_plan": None, "_given_up": None, "_told": None, "has_spawned": True}
    for name, value in fresh.items():
        monkeypatch.setattr(spawn, name, value)

    def run(source: str, name: str = "script.py") -> ModuleType:
        path = tmp_path / name
        path.write_text(textwrap.dedent(source))
        main = main_module.module_for("__main__", None, str(path))
        for alias in ("__main__", "__mp_main__"):
            monkeypatch.setitem(sys.modules, alias, main)
        exec(compile(path.read_text(), str(path), "exec", dont_inherit=True), main.__dict__)
        return main

    return run


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """As in `Process.start()`: there is a process to send descriptors to."""

    class Popen:
        DupFd = staticmethod(int)

        def duplicate_for_child(self, fd: int) -> int:
            return fd

    popen: Any = Popen()
    context.set_spawning_popen(popen)
    try:
        yield
    finally:
        context.set_spawning_popen(None)
