# SPDX-License-Identifier: Apache-2.0
"""In a worker: what it leaves for the case of its death; in the parent: what is made of that."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from . import _engine

_STDERR = 2


# --- in the worker


def record(worker: _engine.PoolWorker) -> None:
    """Keep what is written to sys.stderr from now on, and the stack of a crash.

    The pool's memory keeps it, so that descriptor 2 stays what it was. Nothing is written to it
    that wouldn't have been. Who handles crashes already, as a faulthandler that the user has
    enabled, is left alone.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        _keep_stderr(worker.say)
    if not faulthandler.is_enabled():
        fd = worker.crash_fd()
        if fd >= 0:
            faulthandler.enable(fd, all_threads=False)
            os.register_at_fork(after_in_child=lambda: _let_go(fd))


def _let_go(fd: int) -> None:
    """In a copy of the worker: its crash is not the worker's."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), fd, inheritable=False)


class _Stderr(io.FileIO):
    """Descriptor 2; `say` is told what is written to it."""

    say: Callable[[Any], None]
    old: Any

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        if written:
            self.say(memoryview(data).cast("B")[:written])
        return written


def _keep_stderr(say: Callable[[Any], None]) -> None:
    old: Any = sys.stderr
    if type(old) is not io.TextIOWrapper:
        return
    raw: Any = old.buffer if type(old.buffer) is io.FileIO else old.buffer.raw
    if type(raw) is not io.FileIO or raw.fileno() != _STDERR:
        return
    new_raw = _Stderr(_STDERR, "wb", closefd=False)
    new_raw.say = say
    new_raw.name = raw.name
    buffer: Any = new_raw
    if old.buffer is not raw:
        buffer = io.BufferedWriter(new_raw, getattr(raw, "_blksize", io.DEFAULT_BUFFER_SIZE))
    new = io.TextIOWrapper(
        buffer, old.encoding, old.errors, "\n", old.line_buffering, old.write_through
    )
    new.mode = old.mode  # type: ignore[misc]
    if sys.__stderr__ is old:
        sys.__stderr__ = new  # type: ignore[misc]
    sys.stderr = new
    # The old one's locks may have been held by another thread at the fork of this process, so it is
    # neither flushed nor let go, which would flush it: that was done before the fork.
    new_raw.old = old


# --- in the parent

_NO, _MOST_LIKELY, _YES = range(3)  # pool::OutOfMemory

_OUT_OF_MEMORY = {
    _MOST_LIKELY: "most likely the kernel killed it, because the machine was out of memory",
    _YES: "the kernel killed it, because its cgroup or the machine was out of memory",
}


def facts(more: tuple[tuple[float, ...], bytes, int]) -> tuple[list[str], Any, str, bool]:
    """Lines that tell of a death's circumstances; resource usage, last words, want of memory."""
    import resource

    numbers, words, want = more
    usage = resource.struct_rusage(numbers) if numbers[2] else None  # somebody else has reaped it
    text = _without_our_frames(words.decode("utf-8", "backslashreplace"))
    lines = [_OUT_OF_MEMORY[want]] if want else []
    if usage is not None:
        lines.append(
            f"it used {usage.ru_utime:.1f} s of CPU, {usage.ru_stime:.1f} s in the kernel, and at "
            f"most {usage.ru_maxrss / 1024:.0f} MiB of memory"
        )
    if text.strip():
        lines.append("the last that it wrote to stderr:")
        lines += [f"  {line}" for line in text.rstrip().splitlines()]
    return lines, usage, text, want != _NO


def _without_our_frames(text: str) -> str:
    """Cut a stack where the worker called the task."""
    from . import worker

    kept = []
    ours = False
    for line in text.splitlines(keepends=True):
        is_frame = line.startswith('  File "')
        ours = is_frame and (ours or line.startswith(f'  File "{worker.__file__}", line '))
        if not ours:
            kept.append(line)
    return "".join(kept)
