# SPDX-License-Identifier: Apache-2.0
"""A started process as multiprocessing.popen_fork.Popen shows it, on the engine."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import util

from . import _child, _engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from typing import Any, ClassVar

__all__ = ["Popen"]


class Popen:
    """Start a process by fork; base of the other two."""

    method: ClassVar[str] = "fork"

    def __init__(self, process_obj: BaseProcess) -> None:
        util._flush_std_streams()  # type: ignore[attr-defined]
        self.returncode: int | None = None
        self._held: list[object] = []
        self._child = self._launch(process_obj)
        self.pid = self._child.pid
        self.sentinel = self._child.sentinel

    def _launch(self, process_obj: BaseProcess) -> _engine.Child:
        _child.open_empty_stdin()
        plainly = _child.bootstraps_plainly(process_obj)
        intent = _tracker_intent()

        def in_child(parent_sentinel: int, to_parent: _engine.ToParent) -> int:
            if intent is not None:
                intent.preserve_fd = False
            _child.begin_exit_handlers()
            return _child.bootstrap(process_obj, parent_sentinel, to_parent.report, plainly)

        if intent is not None:
            intent.preserve_fd = True
        try:
            return _engine.fork(os.fork, process_obj._name, in_child)  # type: ignore[attr-defined]
        finally:
            if intent is not None:
                intent.preserve_fd = False

    def duplicate_for_child(self, fd: int) -> int:
        """Give what names `fd` in the child; here the number itself, since it is inherited."""
        return fd

    def hold(self, shared: object) -> None:
        """Keep an object that was sent to the process until it has ended: it may arrive late."""
        self._held.append(shared)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code, or None while the process runs; waits unless flag is WNOHANG."""
        if self.returncode is None:
            self._end(self._child.try_wait() if flag else self._child.wait(None))
        return self.returncode

    def _end(self, returncode: int | None) -> None:
        self.returncode = returncode
        if returncode is not None:
            self._held.clear()
            _engine.sweep_commons()

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end, at most `timeout` seconds; return as poll()."""
        if self.returncode is None:
            self._end(self._child.wait(timeout))
        return self.returncode

    def _send_signal(self, sig: int) -> None:
        self._child.send_signal(sig)

    def interrupt(self) -> None:
        """Send SIGINT."""
        self._send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send_signal(signal.SIGKILL)

    def take_failure(self) -> BaseException | None:
        """Return the exception that ended the process, once it has ended."""
        failure = self._child.take_failure()
        if failure is None:
            return None
        from . import reduction

        return reduction.load_exception(failure)

    def close(self) -> None:
        """Release the descriptors."""
        del self._child


def _tracker_intent() -> Any:
    """What lets a forked child keep the parent's resource tracker (gh-146313), if there is one."""
    resource_tracker = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(resource_tracker, "_fork_intent", None)
