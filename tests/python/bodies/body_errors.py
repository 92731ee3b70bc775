"""Bodies: what goes wrong in a child, or before it, and how the parent hears of it."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback

from body import SAFE, case, main, mp, nothing, raises, run


class Refused(Exception):
    pass


class TwoArguments(Exception):
    def __init__(self, what, why):
        super().__init__(f"{what}: {why}")
        self.what = what


class HoldsLock(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class BadState(Exception):
    def __reduce__(self):
        raise RuntimeError("no state")


class BadText(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def innermost_frame(kind, *args):
    raise kind(*args)


def fail(kind, *args):
    innermost_frame(kind, *args)


def fail_with_cause():
    try:
        fail(KeyError, "missing key")
    except KeyError as error:
        failure = Refused("outer failure")
        failure.add_note("a note of its own")
        raise failure from error


def told(error):
    """All that an exception has to say: its traceback, causes and notes."""
    return "".join(traceback.format_exception(error))


TRACEBACK = (
    r"Process {Kind}-\d+:\nTraceback \(most recent call last\):\n"
    r".*body_errors\.py\", line \d+, in innermost_frame\n.*"
)


@case(stderr=TRACEBACK + r"\nValueError: boom\n")
def traceback_on_stderr():
    process = mp.get_context(mp.get_start_method()).Process(target=fail, args=(ValueError, "boom"))
    process.start()
    process.join()
    assert process.exitcode == 1


@case(ours=True, stderr=".*ValueError: boom\n.*Refused.*Refused: .*outer failure.*")
def exception_in_the_parent():
    process = run(fail, ValueError, "boom")
    error = process.exception()
    assert type(error) is ValueError
    assert error.args == ("boom",)
    for text in ("in innermost_frame", "in fail", "body_errors.py", "ValueError: boom"):
        assert text in told(error), told(error)
    assert process.exitcode == 1

    error = run(fail, Refused, "no", 5).exception()
    assert type(error) is Refused, type(error)
    assert error.args == ("no", 5)

    error = run(fail_with_cause).exception()
    assert type(error) is Refused
    for text in ("outer failure", "missing key", "a note of its own", "direct cause", "in fail"):
        assert text in told(error), told(error)
    assert run(nothing).exception() is None


@case(ours=True, stderr=".*SystemError: 1\n.*FileNotFoundError.*UnicodeDecodeError.*")
def exceptions_of_the_library():
    error = run(fail, SystemError, 1).exception()
    assert (type(error), error.args) == (SystemError, (1,))
    error = run(fail, OSError, 2, "No such file or directory", "there").exception()
    assert type(error) is FileNotFoundError
    assert (error.errno, error.filename) == (2, "there")
    error = run(fail, UnicodeDecodeError, "ascii", b"\xff", 0, 1, "bad").exception()
    assert (type(error), error.object) == (UnicodeDecodeError, b"\xff")


@case(ours=True, stderr=".*HoldsLock.*TwoArguments.*BadState.*")
def exceptions_that_cannot_travel():
    for kind, args, text in (
        (HoldsLock, ("locked up",), "locked up"),
        (TwoArguments, ("disk", "full"), "disk: full"),
        (BadState, ("stateless",), "stateless"),
    ):
        process = run(fail, kind, *args)
        error = process.exception()
        assert isinstance(error, BaseException), (kind, error)
        assert process.exitcode == 1
        said = told(error)
        for wanted in (kind.__name__, text, "in innermost_frame"):
            assert wanted in said, f"{wanted!r} not in:\n{said}"
    assert run(nothing).exitcode == 0


@case(ours=True, stderr=".*BadText.*")
def exception_without_a_text():
    process = run(fail, BadText, 1)
    assert process.exitcode == 1
    assert "BadText" in "".join(traceback.format_exception_only(process.exception()))


class Database:
    def __init__(self):
        self.name = "db"
        self._lock = threading.Lock()


class Service:
    def __init__(self):
        self.db = Database()


class Worker(mp.Process):
    def __init__(self):
        super().__init__()
        self.service = Service()

    def run(self):
        pass


def take(*args, **kwargs):
    pass


def untravelling():
    """Processes that can't be sent, and the path of what can't travel."""
    service, lock = Service(), threading.Lock()
    yield {"target": take, "args": (service,)}, "args[0].db._lock"
    yield {"target": take, "args": (1, lock)}, "args[1]"
    yield {"target": take, "args": ([0, {"conn": (1, service)}],)}, "args[0][1]['conn'][1].db._lock"
    yield {"target": take, "kwargs": {"db": service.db}}, "kwargs['db']._lock"
    yield {"target": service.db._lock.acquire}, "target"
    yield {"target": take, "args": (sys._getframe(),)}, "args[0]"
    yield {"target": take, "args": ((n for n in "abc"),)}, "args[0]"
    yield {"target": lambda: lock.locked()}, "lock"


@case(methods=SAFE, ours=True)
def refused_before_a_start():
    method = mp.get_start_method()
    for options, path in untravelling():
        process = mp.Process(**options)
        with raises((TypeError, pickle.PicklingError), path, method) as caught:
            process.start()
        lines = str(caught[0]).strip()
        assert len(lines.replace(path, "").replace(method, "")) > 60, f"no hint in: {lines}"
        assert mp.active_children() == []
        assert process.exitcode is None
        assert process.pid is None
        assert not process.is_alive()
        assert repr(process).endswith("initial>")
    with raises((TypeError, pickle.PicklingError), "service.db._lock", method):
        Worker().start()
    assert run(nothing).exitcode == 0


@case(methods=SAFE)
def refused_once_only():
    process = mp.Process(target=take, args=[[threading.Lock()]])
    with raises((TypeError, pickle.PicklingError)):
        process.start()
    process._args = ()
    process.start()
    process.join()
    assert process.exitcode == 0


@case(methods=("fork",))
def a_fork_takes_anything():
    for options, _ in untravelling():
        if options["target"] is take:
            process = mp.Process(**options)
            process.start()
            process.join()
            assert process.exitcode == 0


class RefusesToArrive:
    def __reduce__(self):
        return arrive, (os.getpid(),)


def arrive(parent):
    if os.getpid() != parent:
        raise LookupError("lost on the way")


@case(methods=SAFE, ours=True, stderr="[^\n]*LookupError[^\n]*lost on the way[^\n]*\n")
def an_argument_that_fails_to_arrive():
    process = run(take, RefusesToArrive())
    assert process.exitcode == 1
    error = process.exception()
    said = told(error)
    assert isinstance(error, BaseException)
    assert "LookupError" in said, said
    assert "lost on the way" in said, said


def exit_twice():
    try:
        sys.exit(3)
    finally:
        sys.exit(4)


def recurse(depth=0):
    return recurse(depth + 1)


@case(ours=True, stderr=".*RecursionError.*MemoryError.*")
def heavy_failures():
    process = run(recurse)
    assert (process.exitcode, type(process.exception())) == (1, RecursionError)
    process = run(fail, MemoryError)
    assert (process.exitcode, type(process.exception())) == (1, MemoryError)
    process = run(fail, Refused, "x" * (1 << 20))
    assert (process.exitcode, len(process.exception().args[0])) == (1, 1 << 20)
    process = run(exit_twice)
    assert (process.exitcode, process.exception()) == (4, None)


def raise_group():
    raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])


@case(ours=True, stderr=".*ExceptionGroup.*KeyboardInterrupt.*")
def other_kinds_of_exception():
    error = run(raise_group).exception()
    assert isinstance(error, ExceptionGroup)
    assert [type(e) for e in error.exceptions] == [ValueError, TypeError]
    process = run(fail, KeyboardInterrupt)
    assert (process.exitcode, type(process.exception())) == (1, KeyboardInterrupt)
    process = run(fail, GeneratorExit)
    assert (process.exitcode, type(process.exception())) == (1, GeneratorExit)


@case(ours=True, stderr=".*Refused.*")
def failed_and_then_killed():
    """What a child died of comes last; an exception that it handled is no news."""
    process = run(handle_and_die)
    assert process.exitcode == -signal.SIGKILL
    assert process.exception() is None
    process = run(fail, Refused)
    assert isinstance(process.exception(), Refused)
    assert isinstance(process, multiprocessing.process.BaseProcess)


def handle_and_die():
    try:
        fail(Refused, "handled")
    except Refused:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
