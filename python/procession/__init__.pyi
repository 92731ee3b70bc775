# SPDX-License-Identifier: Apache-2.0
"""Process-based parallelism on a native engine: every name of multiprocessing, and more."""

from multiprocessing import reduction as reducer
from multiprocessing.context import (
    AuthenticationError as AuthenticationError,
    BufferTooShort as BufferTooShort,
    ProcessError as ProcessError,
    TimeoutError as TimeoutError,
)
from multiprocessing.process import (
    active_children as active_children,
    current_process as current_process,
    parent_process as parent_process,
)

from multiprocessing.spawn import freeze_support as freeze_support

from . import context as context, process as process, reduction as reduction
from ._install import install as install, is_installed as is_installed, uninstall as uninstall
from .context import Process as Process
from .executor import ProcessPoolExecutor as ProcessPoolExecutor
from .executor import TaskTimeout as TaskTimeout
from .executor import WorkerDied as WorkerDied

# As in multiprocessing's own stubs: factories at run time, classes to type checkers.
from .queues import (
    JoinableQueue as JoinableQueue,
    Queue as Queue,
    SimpleQueue as SimpleQueue,
)
from .remote_exception import RemoteException as RemoteException
from .synchronize import OwnerDied as OwnerDied

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "OwnerDied",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "ProcessPoolExecutor",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TaskTimeout",
    "TimeoutError",
    "Value",
    "WorkerDied",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "install",
    "is_installed",
    "log_to_stderr",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
    "shared_counter",
    "shared_dict",
    "shared_list",
    "uninstall",
]
__version__: str
SUBDEBUG: int
SUBWARNING: int

# Methods of the default context, as in multiprocessing.
Array = context._default_context.Array
Barrier = context._default_context.Barrier
BoundedSemaphore = context._default_context.BoundedSemaphore
Condition = context._default_context.Condition
Event = context._default_context.Event
Lock = context._default_context.Lock
Manager = context._default_context.Manager
Pipe = context._default_context.Pipe
Pool = context._default_context.Pool
RLock = context._default_context.RLock
RawArray = context._default_context.RawArray
RawValue = context._default_context.RawValue
Semaphore = context._default_context.Semaphore
Value = context._default_context.Value
allow_connection_pickling = context._default_context.allow_connection_pickling
cpu_count = context._default_context.cpu_count
get_all_start_methods = context._default_context.get_all_start_methods
get_context = context._default_context.get_context
get_logger = context._default_context.get_logger
get_start_method = context._default_context.get_start_method
log_to_stderr = context._default_context.log_to_stderr
set_executable = context._default_context.set_executable
set_forkserver_preload = context._default_context.set_forkserver_preload
set_start_method = context._default_context.set_start_method
shared_counter = context._default_context.shared_counter
shared_dict = context._default_context.shared_dict
shared_list = context._default_context.shared_list
