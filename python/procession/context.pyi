# SPDX-License-Identifier: Apache-2.0
"""The contexts, as type checkers see them: each gives the process class of its start method."""

from collections.abc import Callable, Iterable, Mapping
from multiprocessing.context import (
    AuthenticationError as AuthenticationError,
    BaseContext as BaseContext,
    BufferTooShort as BufferTooShort,
    ProcessError as ProcessError,
    TimeoutError as TimeoutError,
    assert_spawning as assert_spawning,
    get_spawning_popen as get_spawning_popen,
    set_spawning_popen as set_spawning_popen,
)
from os import PathLike
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, overload

from . import connection, pool, popen_fork, popen_forkserver, popen_spawn_posix, process
from .shared import SharedCounter, SharedDict, SharedList

__all__: tuple[str, ...] = ()

_K = TypeVar("_K")
_V = TypeVar("_V")

class Process(process.BaseProcess):
    """A process of the start method that is the default when it starts."""

    _start_method: ClassVar[str | None]
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> popen_fork.Popen: ...
    @staticmethod
    def _after_fork() -> None: ...

class ForkProcess(process.BaseProcess):
    """A process that goes on in a copy of its parent."""

    _start_method: ClassVar[str | None]
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> popen_fork.Popen: ...

class SpawnProcess(process.BaseProcess):
    """A process that begins as a fresh interpreter."""

    _start_method: ClassVar[str | None]
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> popen_spawn_posix.Popen: ...
    @staticmethod
    def _after_fork() -> None: ...

class ForkServerProcess(process.BaseProcess):
    """A process that begins as a copy of the zygote, an interpreter kept ready."""

    _start_method: ClassVar[str | None]
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> popen_forkserver.Popen: ...

class _Context(BaseContext):
    @overload  # type: ignore[override]
    def get_context(self, method: Literal["fork"]) -> ForkContext: ...
    @overload
    def get_context(self, method: Literal["spawn"]) -> SpawnContext: ...
    @overload
    def get_context(self, method: Literal["forkserver"]) -> ForkServerContext: ...
    @overload
    def get_context(self, method: str | None = None) -> _ConcreteContext: ...
    def Pipe(self, duplex: bool = True) -> tuple[connection.Connection, connection.Connection]: ...
    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        trace: str | PathLike[str] | None = None,
        forward_output: bool = False,
    ) -> pool.Pool: ...
    def shared_dict(
        self, mapping_or_items: Mapping[_K, _V] | Iterable[tuple[_K, _V]] = (), /, **more: _V
    ) -> SharedDict[_K, _V]: ...
    def shared_list(self, iterable: Iterable[_V] = (), /) -> SharedList[_V]: ...
    def shared_counter(self, value: int = 0, /) -> SharedCounter: ...

class ForkContext(_Context):
    """Start method "fork"."""

    _name: str
    Process: ClassVar[type[ForkProcess]]

class SpawnContext(_Context):
    """Start method "spawn"."""

    _name: str
    Process: ClassVar[type[SpawnProcess]]

class ForkServerContext(_Context):
    """Start method "forkserver"."""

    _name: str
    Process: ClassVar[type[ForkServerProcess]]

_ConcreteContext: TypeAlias = ForkContext | SpawnContext | ForkServerContext

class DefaultContext(_Context):
    """The context of the start method that the program has chosen, or of Python's default."""

    Process: ClassVar[type[Process]]
    def get_all_start_methods(self) -> list[str]: ...

_default_context: DefaultContext
_concrete_contexts: dict[str, BaseContext]

def _force_start_method(method: str) -> None: ...

# All other names of multiprocessing.context.
def __getattr__(name: str) -> Any: ...
