"""What the tasks of pools do in tests, and what the tests do with them.

Tasks wait for the test, and tell it that they have begun, by named pipes in the program's folder.
"""

import contextlib
import fcntl
import functools
import os
import select
import signal
import sys
import time
import traceback
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

import watch
from body import ENGINE, mp, raises

DIE_BY = {
    "SIGKILL": (functools.partial(signal.raise_signal, signal.SIGKILL), -signal.SIGKILL),
    "SIGSEGV": (functools.partial(signal.raise_signal, signal.SIGSEGV), -signal.SIGSEGV),
    "abort": (os.abort, -signal.SIGABRT),
    "_exit 7": (functools.partial(os._exit, 7), 7),
    "_exit 0": (functools.partial(os._exit, 0), 0),
}


def Executor(*args, **options):
    """The engine's executor; on the standard library one whose start method is the case's."""
    if ENGINE != "multiprocessing":
        return mp.ProcessPoolExecutor(*args, **options)
    options.setdefault("mp_context", mp.get_context())
    return futures.ProcessPoolExecutor(*args, **options)


# What tasks do.


def nothing():
    pass


def same(value):
    return value


def add(one, other=1):
    return one + other


def pid(*_):
    return os.getpid()


def fail(kind, *args):
    innermost_frame(kind, *args)


class Refused(Exception):
    pass


def innermost_frame(kind, *args):
    raise kind(*args)


def mark(path):
    """Leave a line that outlives this process, and tell how many there are."""
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.getpid()}\n")
        file.flush()
        file.seek(0)
        return len(file.readlines())


def hold(name, value=None):
    """Tell that this has begun, by which process, and wait until the test lets go."""
    with open(f"{name}.began", "w") as began:
        began.write(str(os.getpid()))
    told_by(name, "go")
    return value


def told_by(name, what):
    """What the other side writes into a named pipe; not for ever, so that a failure is shown."""
    while True:
        fd = os.open(f"{name}.{what}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            ready, _, _ = select.select([fd], [], [], watch.WATCHDOG_S / 2)
            assert ready, f"still waiting for {name}.{what}"
            text = os.read(fd, 100).decode()
        except BlockingIOError:  # one writer had let go of it, and another one has it since
            continue
        finally:
            os.close(fd)
        if text:  # else a writer that was killed has only now let go of it
            return text


def die(how="SIGKILL"):
    DIE_BY[how][0]()


def die_until(path, lives):
    """Kill the worker as long as fewer than `lives` have tried."""
    if mark(path) <= lives:
        die()
    return "alive"


# What the test does with them.


def held(pool, name, value=None):
    """A future whose task has begun and waits; and the pid of the worker that has it."""
    make_pipes(name)
    future = pool.submit(hold, name, value)
    return future, int(told_by(name, "began"))


def make_pipes(name):
    for what in ("began", "go"):
        os.mkfifo(f"{name}.{what}")


def let_go(name):
    with open(f"{name}.go", "w") as go:
        go.write("go")


@contextlib.contextmanager
def all_held(pool, count, prefix="held"):
    """So many tasks have begun; their futures by their workers' pids. They end with the block."""
    names = [f"{prefix}-{number}" for number in range(count)]
    found = dict(reversed(held(pool, name)) for name in names)
    assert len(found) == count
    yield found
    for name in names:
        let_go(name)


def gone(worker):
    """Wait until a process is dead, reaped or not."""
    watch.until(lambda: not watch.alive(worker), f"{worker} to be dead")


def told(error):
    """All that an exception has to say: its traceback, causes and notes."""
    return "".join(traceback.format_exception(error))


def works(pool):
    """The pool still does what it is for."""
    assert pool.submit(add, 20, other=22).result() == 42
    assert list(pool.map(add, range(5))) == [1, 2, 3, 4, 5]


def broken(pool):
    """The pool takes nothing more."""
    with raises(BrokenProcessPool):
        pool.submit(nothing).result()
    with raises(BrokenProcessPool):
        pool.submit(nothing)


def warm_up():
    """What the engine keeps after its first pool is its own; what a pool leaves is not."""
    mp.set_start_method(sys.argv[1])
    with Executor(1) as pool:
        pool.submit(time.time).result()
    # The kernel still lists a thread for a moment after it was joined.
    watch.until(lambda: len(watch.threads()) == 1, "the pool's thread to end")
    mp.set_start_method(None, force=True)
