"""Bodies: what is told of the death of a ProcessPoolExecutor's worker, and of its memory."""

import ctypes
import faulthandler
import os
import pickle
import re
import resource
import signal
import sys
import time
from concurrent.futures.process import BrokenProcessPool

from body import case, main, mp, raises
from pool_tasks import (
    Executor,
    add,
    die,
    gone,
    hold,
    make_pipes,
    nothing,
    told,
    told_by,
    warm_up,
    works,
)

SOON = 0.2  # seconds: a timeout of a task that never ends
NEVER = 1000.0


# Memory.

HOARD = []


def hoard(megabytes):
    HOARD.append(b"x" * (megabytes << 20))
    time.sleep(0.002)  # it is not looked at after each short task
    return os.getpid()


@case(ours=True)
def a_worker_that_has_grown_is_replaced():
    with Executor(1, max_rss=300 << 20) as pool:
        pids = [pool.submit(hoard, 400).result() for _ in range(3)]
        assert len(set(pids)) == 3
        for worker in pids:
            gone(worker)
        works(pool)
    with Executor(2, max_rss=1 << 40) as pool:
        assert len({pool.submit(hoard, 10).result() for _ in range(3)}) == 1
    with Executor(2, max_rss=1) as pool:  # each has more
        assert list(pool.map(add, range(300))) == list(range(1, 301))


# What is told of a death.


def say_and_die(text, how):
    print(text, file=sys.stderr)
    sys.stderr.write("no end of line")
    sys.stderr.flush()
    die(how)


@case(ours=True, stderr=".*")
def a_death_tells_the_last_words():
    with Executor(1, on_worker_death="fail_task") as pool:
        for text, how in (("a word", "SIGKILL"), ("bad \udcff \xe9", "_exit 7")):
            error = pool.submit(say_and_die, text, how).exception()
            assert type(error) is mp.WorkerDied, told(error)
            written = text.encode("utf-8", "backslashreplace").decode()
            assert error.stderr == f"{written}\nno end of line", error.stderr
            assert f"  {written}\n" in str(error), error
            assert "say_and_die" in str(error)
            assert not error.out_of_memory
            copied = pickle.loads(pickle.dumps(error))
            assert vars(copied) == vars(error)
            assert str(copied) == str(error)
        assert pool.submit(die).exception().stderr == ""
        long = "".join(f"{number}\n" for number in range(5000))
        error = pool.submit(say_and_die, long, "SIGKILL").exception()
        assert len(error.stderr) == 4096
        assert error.stderr.endswith("4998\n4999\n\nno end of line")
        works(pool)


def about_stderr():
    stream = sys.stderr
    raw = getattr(stream.buffer, "raw", stream.buffer)
    return (
        repr(stream),
        stream.fileno(),
        stream.isatty(),
        stream.encoding,
        stream.errors,
        stream.newlines,
        stream.line_buffering,
        stream.write_through,
        stream is sys.__stderr__,
        isinstance(stream.buffer, type(sys.stdout.buffer)),
        (raw.name, raw.mode, raw.closefd, raw.writable(), raw.readable()),
        os.get_inheritable(stream.fileno()),
    )


@case(ours=True)
def stderr_is_what_it_was():
    with Executor(1) as pool:
        assert pool.submit(about_stderr).result() == about_stderr()


def crash():
    ctypes.string_at(0)


@case(ours=True)  # nothing of it is to be seen on stderr
def a_crash_tells_its_stack():
    with Executor(1, on_worker_death="fail_task") as pool:
        for function, signals in ((crash, signal.SIGSEGV), (os.abort, signal.SIGABRT)):
            error = pool.submit(function).exception()
            assert type(error) is mp.WorkerDied, told(error)
            assert error.exitcode == -signals
            assert error.stderr.startswith("Fatal Python error: "), error.stderr
            assert ("in crash\n" in error.stderr) == (function is crash), error.stderr
            assert "procession/worker.py" not in error.stderr, error.stderr
            assert "Fatal Python error: " in str(error), error
        error = pool.submit(die).exception()
        assert error.stderr == "", error.stderr  # nor what another left there


def crash_in_a_copy():
    child = os.fork()
    if not child:
        crash()
    os.waitpid(child, 0)


@case(ours=True, stderr=".*")
def the_crash_of_a_copy_is_not_the_workers():
    with Executor(1, on_worker_death="fail_task") as pool:
        assert pool.submit(crash_in_a_copy).result() is None
        assert pool.submit(die).exception().stderr == ""


@case(ours=True, stderr=".*crash.*")
def a_faulthandler_of_the_users_is_left_alone():
    with Executor(1, initializer=faulthandler.enable, on_worker_death="fail_task") as pool:
        error = pool.submit(crash).exception()
        assert error.exitcode == -signal.SIGSEGV
        assert error.stderr == "", error.stderr


@case(methods=("fork",), ours=True)
def who_handles_crashes_already_is_left_alone():
    with Executor(1) as pool:
        assert pool.submit(faulthandler.is_enabled).result()
    before = signal.signal(signal.SIGBUS, lambda *_: None)
    with Executor(1) as pool:
        assert not pool.submit(faulthandler.is_enabled).result()
    signal.signal(signal.SIGBUS, before)
    assert not faulthandler.is_enabled()


def use_and_die(megabytes):
    data = b"x" * (megabytes << 20)
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    die()
    return data


@case(ours=True, stderr=".*")
def a_death_tells_what_was_used():
    with Executor(1, on_worker_death="fail_task") as pool:
        error = pool.submit(use_and_die, 200).exception()
        assert type(error.resource_usage) is resource.struct_rusage
        assert 200 << 10 <= error.resource_usage.ru_maxrss < 2000 << 10
        assert error.resource_usage.ru_utime + error.resource_usage.ru_stime >= 0.1
        assert re.search(r"at most \d{3,4} MiB of memory", str(error)), error


def say_and_hold(text, name):
    print(text, file=sys.stderr)
    hold(name)


@case(ours=True, stderr=".*")
def a_broken_pool_tells_as_much():
    with Executor(1) as pool:
        make_pipes("first")
        first = pool.submit(say_and_hold, "a word", "first")
        worker = int(told_by("first", "began"))
        pending = [first, *(pool.submit(add, number) for number in range(5))]
        os.kill(worker, signal.SIGKILL)
        errors = [future.exception() for future in pending]
        assert {type(error) for error in errors} == {BrokenProcessPool}
        for error in errors:
            assert type(error.__cause__) is mp.WorkerDied
            assert error.__cause__.stderr == "a word\n"
            assert str(error).endswith("\n    a word"), error
            assert "say_and_hold" in str(error)
        with raises(BrokenProcessPool) as caught:
            pool.submit(nothing)
        assert type(caught[0].__cause__) is mp.WorkerDied


def enter(group):
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))


def want_memory():
    return len(bytearray(400 << 20))


@case(ours=True, stderr=".*")
def a_death_for_want_of_memory_says_so():
    """In the folder of a cgroup that has little, if the test could make one."""
    group = os.environ.get("SMALL_CGROUP")
    if not group:
        return
    for word, kind in (("fail_task", mp.WorkerDied), ("break", BrokenProcessPool)):
        with Executor(1, on_worker_death=word, initializer=enter, initargs=(group,)) as pool:
            assert pool.submit(add, 1).result() == 2
            error = pool.submit(want_memory).exception()
            assert type(error) is kind, told(error)
            died = error if kind is mp.WorkerDied else error.__cause__
            assert died.exitcode == -signal.SIGKILL
            assert died.out_of_memory, told(error)
            assert "out of memory" in str(error), error
    with Executor(1, on_worker_death="fail_task", initializer=enter, initargs=(group,)) as pool:
        assert pool.submit(add, 1).result() == 2
        error = pool.submit(die).exception()
        assert not error.out_of_memory, error


if __name__ == "__main__":
    warm_up()
    main()
