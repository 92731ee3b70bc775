# SPDX-License-Identifier: Apache-2.0
"""Does something to a module as soon as somebody imports it, without importing it for that."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any


class AfterImport:
    """A finder on `sys.meta_path`, up to the import of its module."""

    def __init__(self, name: str, action: Callable[[ModuleType], object]) -> None:
        self.name = name
        self.action = action

    def begin(self) -> None:
        """Act now if the module is there, else when it is imported. May be called again."""
        module = sys.modules.get(self.name)
        if module is not None:
            self.action(module)
        elif self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Wait no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find the module as if this finder weren't there, with a last step added to its import."""
        if name != self.name:
            return None
        self.end()
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        exec_module = spec.loader.exec_module  # type: ignore[union-attr]

        def exec_and_act(module: Any) -> None:
            exec_module(module)
            self.action(module)

        spec.loader.exec_module = exec_and_act  # type: ignore[method-assign, union-attr]
        return spec
