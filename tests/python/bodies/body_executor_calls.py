"""Bodies: what ProcessPoolExecutor can call, what comes back, and what is raised."""

import functools
import gc
import os
import pickle
import sys
import threading

import watch
from body import ENGINE, case, main, mp, raises
from pool_tasks import Executor, Refused, add, fail, held, let_go, pid, same, told, warm_up, works

# What can be called, and what comes back.


class Counter:
    """Of main, as the bodies' other classes and functions are."""

    def __init__(self, start=0):
        self.start = start

    def __call__(self, number):
        return self.start + number

    def __eq__(self, other):
        return isinstance(other, Counter) and self.start == other.start

    def method(self, number):
        return self.start * number

    @classmethod
    def made(cls, start):
        return cls(start)

    @staticmethod
    def static(number):
        return -number

    class Inner:
        value = 3


@case()
def functions_with_a_name():
    with Executor(2) as pool:
        for function, args, wanted in (
            (add, (1,), 2),
            (functools.partial(add, other=5), (1,), 6),
            (Counter(3).method, (4,), 12),
            (Counter(3), (4,), 7),
            (Counter, (4,), Counter(4)),
            (Counter.made, (5,), Counter(5)),
            (Counter.static, (6,), -6),
            (len, ("abc",), 3),
            ("abc".index, ("c",), 2),
        ):
            assert pool.submit(function, *args).result() == wanted, function
            assert list(pool.map(function, args)) == [wanted], function
        assert type(pool.submit(Counter, 1).result()) is Counter
        assert type(pool.submit(Counter.Inner).result()) is Counter.Inner


class Unreachable:
    """Garbage, at whose end there is something to submit."""

    def __init__(self, pool):
        self.pool = pool
        self.itself = self

    def __del__(self):
        self.pool.submit(same, "of a finaliser")


@case(ours=True)  # the standard's blocks for ever
def finalisers_submit_in_the_midst_of_a_submit():
    before = gc.get_threshold()
    with Executor(1) as pool:
        pool.submit(same, 0).result()
        for i in range(200):
            gc.collect()
            Unreachable(pool)
            gc.set_threshold(1 + i % 12, 1000, 1000)
            future = pool.submit(same, i)
            gc.set_threshold(*before)
            assert future.result() == i
        gc.collect()


@case()
def a_subclass_has_a_submit_of_its_own():
    with Executor(1) as pool:

        class Doubling(type(pool)):
            def submit(self, fn, /, *args, **kwargs):
                return super().submit(fn, *(2 * arg for arg in args), **kwargs)

        pool.__class__ = Doubling
        assert pool.submit(same, 4).result() == 8
        assert pool.submit(add, 1, other=2).result() == 4


@case(ours=True)
def functions_without_a_name():
    base = 10

    def closure(number):
        return base + number

    def recursive(number):
        return number and number + recursive(number - 1)

    class Local:
        def __init__(self, value):
            self.value = value

    with Executor(2) as pool:
        assert pool.submit(lambda: 5).result() == 5
        assert list(pool.map(lambda n: n * base, range(3))) == [0, 10, 20]
        assert list(pool.map(lambda n: n * base, range(6), chunksize=4)) == [0, 10, 20, 30, 40, 50]
        assert pool.submit(closure, 1).result() == 11
        assert pool.submit(recursive, 4).result() == 10
        assert pool.submit(functools.partial(closure, 2)).result() == 12
        made = pool.submit(Local, 3).result()
        assert made.value == 3
        assert isinstance(made, Local)


def returns_a_lambda():
    return lambda n: n + 1


def returns_a_closure(base):
    def closure(number):
        return base + number

    return closure


@case(ours=True)
def results_without_a_name():
    with Executor(2) as pool:
        assert pool.submit(returns_a_lambda).result()(1) == 2
        assert pool.submit(returns_a_closure, 5).result()(1) == 6
        assert [f(1) for f in pool.map(returns_a_closure, [1, 2])] == [2, 3]


@case()
def an_unpicklable_result_fails_its_task_only():
    with Executor(1) as pool:
        worker = pool.submit(pid).result()
        for _ in range(3):
            error = pool.submit(threading.Lock).exception()
            assert isinstance(error, (TypeError, pickle.PicklingError)), told(error)
            assert "lock" in str(error), told(error)
        error = pool.submit(same, RefusesToLeave()).exception()
        assert "LookupError: not from here" in told(error), told(error)
        works(pool)
        assert pool.submit(pid).result() == worker


class RefusesToLeave:
    """Leaves the process that made it, and no other."""

    def __init__(self, by=None):
        self.by = by or os.getpid()

    def __reduce__(self):
        if os.getpid() != self.by:
            raise LookupError("not from here")
        return RefusesToLeave, (self.by,)


class RefusesToArrive:
    def __init__(self, at=None):
        self.at = at

    def __reduce__(self):
        return arrive, (os.getpid() if self.at is None else self.at,)


def arrive(parent):
    if (parent == 0) == (mp.parent_process() is None):
        raise LookupError("lost on the way")
    return RefusesToArrive(parent)


@case(ours=True, stderr=".*")
def what_fails_to_arrive_fails_its_task_only():
    with Executor(1, on_worker_death="fail_task") as pool:
        error = pool.submit(same, RefusesToArrive()).exception()
        assert "lost on the way" in told(error), told(error)
        works(pool)
        error = pool.submit(RefusesToArrive, 0).exception()
        assert "lost on the way" in told(error), told(error)
        works(pool)


# Exceptions.


class TwoArguments(Exception):
    def __init__(self, what, why):
        super().__init__(f"{what}: {why}")


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


class OwnEnd(BaseException):
    pass


class Impostor(Exception):
    def __reduce__(self):
        return int, (5,)


@case()
def the_remote_traceback_is_the_cause():
    with Executor(1) as pool:
        error = pool.submit(fail, ValueError, "boom").exception()
        assert type(error) is ValueError
        for text in ("in innermost_frame", "in fail", "pool_tasks.py", "ValueError: boom"):
            assert text in str(error.__cause__), told(error)
        error = pool.submit(fail, Refused, "no", 5).exception()
        assert type(error) is Refused
        assert error.args == ("no", 5)
        works(pool)


@case(ours=True)
def exceptions_that_do_not_travel():
    with Executor(1) as pool:
        worker = pool.submit(pid).result()
        for kind, args, text in (
            (HoldsLock, ("locked up",), "locked up"),
            (TwoArguments, ("disk", "full"), "disk: full"),
            (BadState, ("stateless",), "stateless"),
            (Impostor, ("not a number",), "not a number"),
            (BadText, ("unsaid",), "BadText"),
        ):
            error = pool.submit(fail, kind, *args).exception()
            assert isinstance(error, BaseException), (kind, error)
            for wanted in (kind.__name__, text, "in innermost_frame"):
                assert wanted in told(error), f"{wanted!r} not in:\n{told(error)}"
            assert kind is BadText or "in innermost_frame" in str(error.__cause__), told(error)
            works(pool)
        assert pool.submit(pid).result() == worker


@case()
def exceptions_that_would_end_a_process():
    """They are a task's errors like all others; one Ctrl-C needs one traceback only."""
    import asyncio

    with Executor(1) as pool:
        worker = pool.submit(pid).result()
        for kind, args in (
            (SystemExit, (3,)),
            (SystemExit, ()),
            (KeyboardInterrupt, ()),
            (GeneratorExit, ()),
            (asyncio.CancelledError, ()),
            (StopIteration, (1,)),
            (OwnEnd, ("own",)),
            (MemoryError, ()),
        ):
            future = pool.submit(fail, kind, *args)
            error = future.exception(watch.WATCHDOG_S)
            assert not future.cancelled()
            assert kind.__name__ in told(error), told(error)
            if kind is KeyboardInterrupt and ENGINE != "multiprocessing":
                assert error.__cause__ is None
            else:
                assert "in innermost_frame" in str(error.__cause__), told(error)
            works(pool)
        assert isinstance(pool.submit(sys.exit, 4).exception(), BaseException)
        assert pool.submit(recurse).exception().__class__ is RecursionError
        assert pool.submit(pid).result() == worker


def recurse():
    return recurse() + 1


def fail_with_cause():
    try:
        fail(KeyError, "missing key")
    except KeyError as error:
        failure = Refused("outer failure")
        failure.add_note("a note of its own")
        raise failure from error


def fail_in_a_group():
    raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])


def fail_while_handling():
    try:
        fail(KeyError, "first")
    except KeyError:
        fail(ValueError, "second")


@case()
def chains_notes_and_groups_survive():
    with Executor(1) as pool:
        error = pool.submit(fail_with_cause).exception()
        assert type(error) is Refused
        assert error.__notes__ == ["a note of its own"]
        for text in ("outer failure", "missing key", "direct cause", "in fail_with_cause"):
            assert text in str(error.__cause__), told(error)
        error = pool.submit(fail_while_handling).exception()
        for text in ("first", "second", "During handling", "in fail_while_handling"):
            assert text in str(error.__cause__), told(error)
        error = pool.submit(fail_in_a_group).exception()
        assert isinstance(error, ExceptionGroup)
        assert [type(part) for part in error.exceptions] == [ValueError, TypeError]
        assert "in fail_in_a_group" in str(error.__cause__), told(error)


class Database:
    def __init__(self):
        self._lock = threading.Lock()

    def query(self):
        pass


class Service:
    def __init__(self):
        self.db = Database()


@case(ours=True)
def what_cannot_travel_is_refused_by_submit():
    service, lock = Service(), threading.Lock()
    with Executor(2) as pool:
        for function, args, options, path in (
            (lambda: lock.locked(), (), {}, "lock"),
            (service.db.query, (), {}, "_lock"),
            (functools.partial(same, lock), (), {}, "lock"),
            (same, (service,), {}, "args[0].db._lock"),
            (add, (1, lock), {}, "args[1]"),
            (same, ([0, {"conn": (1, service)}],), {}, "args[0][1]['conn'][1].db._lock"),
            (add, (1,), {"other": service}, "kwargs['other'].db._lock"),
            (same, ((n for n in "abc"),), {}, "args[0]"),
            (same, (pool,), {}, "args[0]"),
        ):
            with raises((TypeError, pickle.PicklingError), path) as caught:
                pool.submit(function, *args, **options)
            assert len(str(caught[0]).replace(path, "")) > 40, f"no hint in: {caught[0]}"
        works(pool)
        with raises((TypeError, pickle.PicklingError), "_lock"):
            list(pool.map(same, [1, service, 2]))
        with raises((TypeError, pickle.PicklingError), "_lock"):
            list(pool.map(same, [1, service, 2], chunksize=2))
        works(pool)


@case(ours=True)
def what_is_submitted_is_taken_as_it_is_then():
    """Arguments are read in `submit`: what becomes of them later is no concern of the task's."""
    with Executor(1) as pool:
        first, _ = held(pool, "a")
        numbers = [1, 2, 3]
        later = [pool.submit(same, numbers) for _ in range(10)]
        numbers.append(4)
        let_go("a")
        assert [future.result() for future in later] == [[1, 2, 3]] * 10
        assert first.result() is None


if __name__ == "__main__":
    warm_up()
    main()
