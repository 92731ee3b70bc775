# SPDX-License-Identifier: Apache-2.0
"""Start processes as copies of a prepared, single-threaded interpreter: the zygote."""

from __future__ import annotations

from . import _engine, forkserver, popen_spawn_posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

__all__ = ["Popen"]


class Popen(popen_spawn_posix.Popen):
    """Start a process by forkserver."""

    method: ClassVar[str] = "forkserver"

    def _needed(self, data: dict[str, Any]) -> Any:
        return forkserver.abbreviated(data)

    def _start(self, name: str, sink: _engine.Sink) -> _engine.Child:
        return forkserver.start(name, sink, self._fds)
