# SPDX-License-Identifier: Apache-2.0
"""Start processes as fresh interpreters, on the engine."""

from __future__ import annotations

import atexit
from multiprocessing import resource_tracker

from . import _child, _engine, popen_fork, reduction, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from typing import Any, ClassVar

__all__ = ["Popen"]

atexit.register(_engine.end_idle)


class Popen(popen_fork.Popen):
    """Start a process by spawn: all that it gets is sent, nothing is inherited."""

    method: ClassVar[str] = "spawn"
    DupFd = _child.DupFd

    def _launch(self, process_obj: BaseProcess) -> _engine.Child:
        self._fds = [_tracker_fd()]
        name = process_obj.name
        return self._start(name, self._pack(process_obj))

    def _pack(self, process_obj: BaseProcess) -> _engine.Sink:
        plan = spawn.main_plan(starting=True)
        data = spawn.get_preparation_data(process_obj.name, plan)
        sink = _engine.Sink()
        with reduction.spawning(self):
            reduction.dump_process(
                self._needed(data), process_obj, sink, plan=plan, method=self.method
            )
        return sink

    def _needed(self, data: dict[str, Any]) -> Any:
        return data

    def _start(self, name: str, sink: _engine.Sink) -> _engine.Child:
        return _engine.spawn(spawn.command_line(), name, sink, self._fds)

    def duplicate_for_child(self, fd: int) -> int:
        """Have `fd` sent to the child; its index names it there."""
        self._fds.append(fd)
        return len(self._fds) - 1


def _tracker_fd() -> int:
    """Give the pipe to the resource tracker, which is started if it doesn't run.

    The tracker's own getfd() asks by writing to it, which wakes it at every start.
    """
    tracker: Any = resource_tracker._resource_tracker
    fd: int | None = tracker._fd
    return tracker.getfd() if fd is None or _engine.reader_is_gone(fd) else fd
