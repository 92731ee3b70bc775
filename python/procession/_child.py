# SPDX-License-Identifier: Apache-2.0
"""What a started child does with its start; called by the engine, in children only.

The engine has already applied environment, working directory, umask, stdout and stderr.
"""

from __future__ import annotations

import atexit
import io
import itertools
import os
import pickle
import sys
import threading
from multiprocessing import context as _standard_context
from multiprocessing import process

from . import reduction, spawn
from .after_import import AfterImport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess
    from typing import Any

    from ._engine import Source, ToParent

    Report = Callable[[bytes], None]

_UTIL = "multiprocessing.util"
_TRACKER = "multiprocessing.resource_tracker"

inherited_fds: list[int] = []


class DupFd:
    """A descriptor on its way into a starting child, named by its index in the start."""

    def __init__(self, index: int) -> None:
        self.index = index

    def detach(self) -> int:
        """Give the descriptor's number in the child, which owns it from now on."""
        return inherited_fds[self.index]


def reload_environ(env: dict[bytes, bytes]) -> None:
    """Make os.environ what the C environment is; the interpreter has read it only at its start."""
    os.environ._data.clear()  # type: ignore[attr-defined]
    os.environ._data.update(env)  # type: ignore[attr-defined]


def run(source: Source, fds: list[int], parent_sentinel: int, to_parent: ToParent) -> int:
    """Load the process object that the source holds, run it and return its exit code."""
    spawn.is_zygote = False
    inherited_fds[:] = fds
    adopt_resource_tracker(fds[0])
    begin_exit_handlers()
    try:
        process_obj = reduction.load_process(source)
    except BaseException as error:
        return fail_to_load(error, to_parent.report)
    plainly = bootstraps_plainly(process_obj)
    return bootstrap(process_obj, parent_sentinel, to_parent.report, plainly)


_tracker_fd = -1


def _adopt(module: Any) -> None:
    module._resource_tracker._fd = _tracker_fd


_adoption = AfterImport(_TRACKER, _adopt)  # few children need the module


def adopt_resource_tracker(fd: int) -> None:
    """Share the parent's resource tracker, now or when its module is imported."""
    global _tracker_fd
    _tracker_fd = fd
    if _adoption not in sys.meta_path:  # as it has been since the zygote's warm-up
        _adoption.begin()


def begin_exit_handlers() -> None:
    """Forget the exit handlers that came with the copy of a parent or zygote (gh-83856)."""
    atexit._clear()
    util = sys.modules.get(_UTIL)
    if util is not None:
        atexit.register(util._exit_function)


_standard_bootstrap: object = None


def bootstraps_plainly(process_obj: BaseProcess) -> bool:
    """Whether a process object's _bootstrap is the standard's, which `bootstrap` stands in for."""
    global _standard_bootstrap
    own = type(process_obj)._bootstrap  # type: ignore[attr-defined]
    if own is not _standard_bootstrap and spawn.is_standard(own):
        _standard_bootstrap = own
    return own is _standard_bootstrap


def bootstrap(process_obj: BaseProcess, parent_sentinel: int, report: Report, plainly: bool) -> int:
    """Run a process object in this child to its end, and report what its run raises.

    Does what BaseProcess._bootstrap does, but leaves multiprocessing.util alone unless somebody has
    imported it: with subprocess in tow it would be a third of a spawned child's start. A _bootstrap
    that somebody has put in its place is called instead (not `plainly`).
    """
    if not plainly:
        try:
            return process_obj._bootstrap(parent_sentinel=parent_sentinel)  # type: ignore[attr-defined, no-any-return]
        finally:
            atexit._run_exitfuncs()
    util = sys.modules.get(_UTIL)
    code = 1
    try:
        _become(process_obj, parent_sentinel)
        if util is not None:
            util.info("child process calling self.run()")
        process_obj.run()
        code = 0
    except SystemExit as end:
        code = _code_of(end)
    except BaseException as error:
        _fail(process_obj, error, report)
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        if util is not None:
            util.info(f"process exiting with exitcode {code}")
        flush()
        if atexit._ncallbacks():
            atexit._run_exitfuncs()
            flush()
    return code


def _fail(process_obj: BaseProcess, error: BaseException, report: Report) -> None:
    """Tell of what run() raised: to the parent, and on stderr as the standard library does."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next  # the frame in here tells nobody anything
    report(reduction.dump_exception(error))
    sys.stderr.write(f"Process {process_obj.name}:\n")
    sys.__excepthook__(type(error), error, error.__traceback__)


def _become(process_obj: Any, parent_sentinel: int, *, rehearsing: bool = False) -> None:
    """Make a process object the current process of this interpreter."""
    state: Any = process
    if process_obj._start_method is not None:
        _standard_context._force_start_method(process_obj._start_method)
    state._process_counter = itertools.count(1)
    state._children = set()
    if sys.modules.get(_UTIL) is not None:
        _close_stdin()
    state._current_process, old = process_obj, state._current_process
    state._parent_process = state._ParentProcess(
        process_obj._parent_name, process_obj._parent_pid, parent_sentinel
    )
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
    if not rehearsing and sys.modules.get(_UTIL) is not None:
        process_obj._after_fork()
    del old  # its finalizers belong to the parent and are forgotten by now


_empty_stdin: io.TextIOWrapper | None = None


def open_empty_stdin() -> None:
    """Make ahead, before a fork, the stdin of children: there it costs many times as much."""
    global _empty_stdin
    if _empty_stdin is None:
        try:
            fd = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return  # a child may still try
        _empty_stdin = open(fd, encoding="utf-8", closefd=False)  # noqa: SIM115, it stays


def _close_stdin() -> None:
    """Do as multiprocessing.util does: close stdin, and have it read the null device."""
    if sys.stdin is None or sys.stdin is _empty_stdin:
        return
    try:
        sys.stdin.close()
    except (OSError, ValueError):
        pass
    open_empty_stdin()
    if _empty_stdin is not None:
        sys.stdin = _empty_stdin


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError):
            pass


def _code_of(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    say(str(end.code))
    return 1


def fail_to_load(error: BaseException, report: Report) -> int:
    """Say in one line why this child has nothing to run, here and to the parent."""
    report(reduction.dump_exception(error))
    from .remote_exception import in_one_line

    name = process.current_process().name
    say(f"Process {name}: could not load what it should run: {in_one_line(error)}")
    return 1


def refuse(name: str, why: str) -> bytes:
    """Say why this process can't begin; give the failure for the parent."""
    say(f"Process {name}: {why}")
    return reduction.dump_exception(OSError(why))


def say(line: str) -> None:
    """Write one line to stderr, if there is one."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass


def exit_code_of(error: BaseException) -> int:
    """Return the exit code for what ended a child outside of its process object's care."""
    try:
        raise error
    except SystemExit as end:
        return _code_of(end)
    except BaseException:
        sys.excepthook(type(error), error, error.__traceback__)
    return 1


def prepare_zygote(source: Source) -> None:
    """Do once what every child of this zygote would do: import main and the preload list."""
    from . import forkserver

    forkserver.prepare(source)


def rehearsal() -> bytes:
    """Give the start of a process that does nothing, as a parent would send it."""
    from . import context

    with reduction.spawning():
        return pickle.dumps("") + pickle.dumps(context.ForkServerProcess(target=int))


rehearsed = b""  # in a zygote: the start that it and its spare children go through ahead


def warm_up() -> None:
    """Go, in a spare child, through a start that does nothing.

    A copied process pays for the first touch of every page of memory; a start touches some 300.
    All that is set here is set again by the real start, and what fails will fail again there.
    """
    try:
        adopt_resource_tracker(-1)
        begin_exit_handlers()
        process_obj = reduction.load_process(io.BytesIO(rehearsed))
        bootstraps_plainly(process_obj)
        _become(process_obj, -1, rehearsing=True)
        flush()
    except Exception:
        pass
