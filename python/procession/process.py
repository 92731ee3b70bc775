# SPDX-License-Identifier: Apache-2.0
"""Process objects: multiprocessing.process's, with the exception that ended them and ajoin()."""

from __future__ import annotations

import os
from multiprocessing import process as _standard
from multiprocessing.process import active_children, current_process, parent_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]


class BaseProcess(_standard.BaseProcess):
    """A process; everything as in the standard library, `exception()` and `ajoin()`."""

    _failure: BaseException | None = None

    def exception(self) -> BaseException | None:
        """Return what run() raised in the process, or None if it raised nothing or still runs.

        The exception is of its own type if that can travel, else a RemoteException that names it;
        its cause holds the traceback of the process. The exit code says nothing more than in the
        standard library. ValueError if the process has not been started or is closed.
        """
        self._check_closed()  # type: ignore[attr-defined]
        popen = self._popen  # type: ignore[attr-defined]
        if popen is None:
            raise ValueError("the process has not been started")
        if self._failure is None and popen.poll() is not None:
            self._failure = popen.take_failure()
        return self._failure

    async def ajoin(self, timeout: float | None = None) -> None:
        """Wait for the process's end, at most `timeout` seconds, from within asyncio."""
        self.join(0)  # which says what is wrong, if anything is
        if self.exitcode is None:
            from . import readiness

            await readiness.readable(self.sentinel, timeout)
            self.join(0)


def _after_fork_in_child() -> None:
    # They are its siblings: at its end it would join the one and terminate the other.
    _standard._children.clear()  # type: ignore[attr-defined]


os.register_at_fork(after_in_child=_after_fork_in_child)


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)
