# SPDX-License-Identifier: Apache-2.0
"""The contexts: one for each start method, and the default one that follows the program's choice.

The choice itself (set_start_method) is kept by multiprocessing.context, so that a program that
uses both packages has one default.
"""

from __future__ import annotations

import sys
from multiprocessing import context as _standard
from multiprocessing.context import (  # noqa: F401
    AuthenticationError,
    BaseContext,
    BufferTooShort,
    ProcessError,
    TimeoutError,
    assert_spawning,
    get_spawning_popen,
    set_spawning_popen,
)

from . import _engine, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, ClassVar

__all__: tuple[str, ...] = ()


class Process(process.BaseProcess):
    """A process of the start method that is the default when it starts."""

    _start_method: ClassVar[str | None] = None

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802
        return _default_context.get_context().Process._Popen(process_obj)

    @staticmethod
    def _after_fork() -> None:
        return _default_context.get_context().Process._after_fork()


class ForkProcess(process.BaseProcess):
    """A process that goes on in a copy of its parent."""

    _start_method: ClassVar[str | None] = "fork"

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802
        from .popen_fork import Popen

        return Popen(process_obj)


class SpawnProcess(process.BaseProcess):
    """A process that begins as a fresh interpreter."""

    _start_method: ClassVar[str | None] = "spawn"

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802
        from .popen_spawn_posix import Popen

        return Popen(process_obj)

    @staticmethod
    def _after_fork() -> None:
        """Do nothing: the process is not a copy."""


class ForkServerProcess(process.BaseProcess):
    """A process that begins as a copy of the zygote, an interpreter kept ready."""

    _start_method: ClassVar[str | None] = "forkserver"

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802
        from .popen_forkserver import Popen

        return Popen(process_obj)


class _Context(BaseContext):
    """What procession's contexts do in their own way."""

    def cpu_count(self) -> int:
        """Return the number of CPUs that this process may use (affinity mask, cgroup quota)."""
        return _engine.cpu_count()

    def get_context(self, method: str | None = None) -> BaseContext:
        """Return the context of a start method; without one, this context itself."""
        if method is None:
            return self
        try:
            return _concrete_contexts[method]
        except KeyError:
            raise ValueError(f"cannot find context for {method!r}") from None

    def Pipe(self, duplex: bool = True) -> Any:  # noqa: N802
        """Return two connected connections; see procession.connection."""
        from .connection import Pipe

        return Pipe(duplex)

    def Pool(  # noqa: N802
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        **options: Any,
    ) -> Any:
        """Return a pool of worker processes."""
        from .pool import Pool

        context = self.get_context()
        return Pool(processes, initializer, initargs, maxtasksperchild, context=context, **options)

    def Lock(self) -> Any:  # noqa: N802
        """Return a lock."""
        from .synchronize import Lock

        return Lock(ctx=self.get_context())

    def RLock(self) -> Any:  # noqa: N802
        """Return a lock that its holder may acquire again."""
        from .synchronize import RLock

        return RLock(ctx=self.get_context())

    def Condition(self, lock: Any = None) -> Any:  # noqa: N802
        """Return a condition variable."""
        from .synchronize import Condition

        return Condition(lock, ctx=self.get_context())

    def Semaphore(self, value: int = 1) -> Any:  # noqa: N802
        """Return a semaphore."""
        from .synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value: int = 1) -> Any:  # noqa: N802
        """Return a semaphore that can't be released above its first value."""
        from .synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context())

    def Event(self) -> Any:  # noqa: N802
        """Return a flag that processes wait for."""
        from .synchronize import Event

        return Event(ctx=self.get_context())

    def Barrier(  # noqa: N802
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Return a barrier for so many parties."""
        from .synchronize import Barrier

        return Barrier(parties, action, timeout, ctx=self.get_context())

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802
        """Return a ctypes object that processes share."""
        from .sharedctypes import RawValue

        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:  # noqa: N802
        """Return a ctypes array that processes share."""
        from .sharedctypes import RawArray

        return RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:  # noqa: N802
        """Return a ctypes object that processes share, with a lock."""
        from .sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(  # noqa: N802
        self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True
    ) -> Any:
        """Return a ctypes array that processes share, with a lock."""
        from .sharedctypes import Array

        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    def Queue(self, maxsize: int = 0) -> Any:  # noqa: N802
        """Return a queue."""
        from .queues import Queue

        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize: int = 0) -> Any:  # noqa: N802
        """Return a queue that can be waited for."""
        from .queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self) -> Any:  # noqa: N802
        """Return a queue with the least of methods."""
        from .queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context())

    def shared_dict(self, mapping_or_items: Any = (), /, **more: Any) -> Any:
        """Return a dict that processes share, without a server process."""
        from .shared import SharedDict

        return SharedDict(mapping_or_items, **more)

    def shared_list(self, iterable: Iterable[Any] = (), /) -> Any:
        """Return a list that processes share, without a server process."""
        from .shared import SharedList

        return SharedList(iterable)

    def shared_counter(self, value: int = 0, /) -> Any:
        """Return a number that processes count with."""
        from .shared import SharedCounter

        return SharedCounter(value)

    def set_executable(self, executable: str) -> None:
        """Set the interpreter that children of spawn and forkserver run."""
        from .spawn import set_executable

        set_executable(executable)

    def set_forkserver_preload(self, module_names: list[str]) -> None:
        """Name the modules that the zygote imports ahead of every start."""
        from .forkserver import set_forkserver_preload

        set_forkserver_preload(module_names)


class ForkContext(_Context):
    """Start method "fork"."""

    _name = "fork"
    Process = ForkProcess


class SpawnContext(_Context):
    """Start method "spawn"."""

    _name = "spawn"
    Process = SpawnProcess


class ForkServerContext(_Context):
    """Start method "forkserver"."""

    _name = "forkserver"
    Process = ForkServerProcess


_concrete_contexts: dict[str, BaseContext] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}


class DefaultContext(_Context):
    """The context of the start method that the program has chosen, or of Python's default."""

    Process = Process

    def get_context(self, method: str | None = None) -> BaseContext:
        """Return the context of a start method, or of the default, which is then fixed."""
        if method is None:
            return _concrete_contexts[_standard._default_context.get_start_method()]
        return super().get_context(method)

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose the default start method; RuntimeError if it is fixed already, unless forced."""
        _standard._default_context.set_start_method(method, force)

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """Return the default start method, fixing it unless `allow_none`."""
        return _standard._default_context.get_start_method(allow_none)

    def get_all_start_methods(self) -> Sequence[str]:
        """Return the start methods of this platform, the default one first."""
        return _standard._default_context.get_all_start_methods()


_default_context = DefaultContext()


def _force_start_method(method: str) -> None:
    _standard._force_start_method(method)  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


assert sys.platform == "linux", "procession runs on Linux"
