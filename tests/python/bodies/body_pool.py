"""Bodies: what Pool does with tasks, results, errors and the deaths of its workers."""

import functools
import itertools
import math
import multiprocessing
import multiprocessing.pool as standard
import os
import signal
import sys
import threading
import time

import watch
from body import case, main, mp, raises
from pool_tasks import (
    add,
    die,
    fail,
    let_go,
    make_pipes,
    mark,
    nothing,
    pid,
    same,
    told_by,
)
from pool_tasks import hold as wait_to_go


def square(number):
    return number * number


def divide(number):
    return 1 / number


def hold(name, value=None):
    return wait_to_go(name, value)


def held(pool, name, value=None):
    """The result to come of a task that has begun and waits; and the pid of its worker."""
    make_pipes(name)
    result = pool.apply_async(hold, (name, value))
    return result, int(told_by(name, "began"))


def pids(pool):
    return [process.pid for process in pool._pool]


def works(pool):
    assert pool.apply(add, (20,), {"other": 22}) == 42
    assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]


PLAIN = [
    *(None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, 2**200, 0.5, -0.0, math.inf),
    *("", "abc", "\0", "\xe9", "\u20ac", "\U0001f600", "\ud800", "x" * 20_000, "x" * 200_000),
    *(b"", b"\0abc", bytes(70_000), (), ((), (1, ("2", b"3"))), tuple(range(300))),
    *([], [1, [2]], {}, {"a": (1,)}, {1, 2}, frozenset(), bytearray(b"x"), 1j, range(3), int, ...),
]


# Tasks.


@case()
def what_is_sent_comes_back_the_same():
    with mp.Pool(2) as pool:
        for answers in (pool.map(same, PLAIN, 1), [pool.apply(same, (value,)) for value in PLAIN]):
            assert list(map(repr, answers)) == list(map(repr, PLAIN))
        one = [1]
        first, second = pool.apply(same, ((one, one),))
        assert first is second
        nan = pool.apply(same, (math.nan,))
        assert nan != nan
        assert pool.starmap(add, [(1, 2), [3, 4], range(5, 7)], 1) == [3, 7, 11]


@case(ours=True)  # the standard's tells the first that it hears of
def the_first_that_fails_is_the_one_that_is_told():
    with mp.Pool(2) as pool:
        with raises(ZeroDivisionError):
            pool.map(divide, [4, 2, 0, "x", 1], 1)
        with raises(TypeError):
            pool.map(divide, [4, "x", 0, 1], 1)
        works(pool)


def interrupt_or_wait(what):
    if what == "interrupt":
        raise KeyboardInterrupt
    hold(what)


@case(ours=True, stderr=".*")
def an_interrupt_doesnt_wait_for_the_other_calls():
    with mp.Pool(2) as pool:
        make_pipes("a")
        with raises(KeyboardInterrupt):
            pool.map(interrupt_or_wait, ["interrupt", "a"], 1)
        told_by("a", "began")
        let_go("a")


def items_that_end_badly():
    yield from (1, 2)
    raise LookupError("no more")


@case()
def what_the_iterable_raises_comes_out():
    with mp.Pool(2) as pool:
        with raises(LookupError, "no more"):
            pool.map(square, items_that_end_badly(), 1)
        with raises(TypeError):
            pool.starmap(add, [(1, 2), 3], 1)
        works(pool)


@case(ours=True)
def a_call_that_cant_be_sent_is_refused_and_the_others_are_forgotten():
    with mp.Pool(2) as pool:
        with raises(TypeError, "args[0]", "frame"):
            pool.map(same, [1, 2, sys._getframe()], 1)
        works(pool)


@case()
def each_way_to_give_a_task():
    with mp.Pool(2) as pool:
        assert isinstance(pool, standard.Pool)
        assert pool.apply(add, (1,), {"other": 2}) == 3
        assert pool.apply(add, [5]) == 6
        assert pool.apply(nothing) is None
        assert pool.apply(pid) in pids(pool)
        assert pool.apply_async(add, (1, 2)).get() == 3
        pairs = [(1, 2), (3, 4), (5, 6)]
        for chunksize in (None, 1, 2, 100):
            assert pool.map(square, range(20), chunksize) == [n * n for n in range(20)]
            assert pool.map_async(square, (n for n in range(3)), chunksize).get() == [0, 1, 4]
            assert pool.starmap(add, pairs, chunksize) == [3, 7, 11]
            assert pool.starmap_async(add, iter(pairs), chunksize).get() == [3, 7, 11]
        for chunksize in (1, 3, 100):
            assert list(pool.imap(square, range(200), chunksize)) == [n * n for n in range(200)]
            found = pool.imap_unordered(square, iter(range(200)), chunksize=chunksize)
            assert sorted(found) == [n * n for n in range(200)]
        for empty in ([], (), iter([])):
            assert pool.map(square, empty) == []
            assert pool.map_async(square, empty).get() == []
            assert list(pool.imap(square, empty)) == []
            assert list(pool.imap_unordered(square, empty, 5)) == []


@case(ours=True)  # the standard's chunks follow the workers there just are
def chunks_are_as_the_manual_says():
    with mp.Pool(2) as pool:
        for chunksize in (0, -1):
            with raises(ValueError, "Chunksize must be 1+"):
                pool.imap(square, [1], chunksize)
            with raises(ValueError, "Chunksize must be 1+"):
                pool.imap_unordered(square, [1], chunksize)
    with mp.Pool(2, maxtasksperchild=1) as pool:  # a process for each chunk
        assert sizes(pool.map(pid, range(8))) == [1] * 8
        assert sizes(pool.map(pid, range(9))) == [2, 2, 2, 2, 1]
        assert sizes(pool.starmap(pid, [()] * 33)) == [5, 5, 5, 5, 5, 5, 3]
        assert sizes(pool.map(pid, range(7), 3)) == [3, 3, 1]
        assert sizes(pool.imap(pid, range(3))) == [1, 1, 1]
        assert sizes(pool.imap(pid, range(7), 3)) == [3, 3, 1]


def sizes(values):
    """Lengths of the runs of equal values."""
    return [len(list(group)) for _, group in itertools.groupby(values)]


@case(ours=True)
def functions_without_a_name():
    base = 5
    with mp.Pool(2) as pool:
        for chunksize in (1, 3):
            assert pool.map(lambda n: n + base, range(5), chunksize) == [5, 6, 7, 8, 9]
            assert pool.starmap(lambda a, b: a - b, [(3, 1), (5, 2)], chunksize) == [2, 3]
            assert list(pool.imap(lambda n: n + base, range(3), chunksize)) == [5, 6, 7]
        assert pool.apply(functools.partial(add, other=base), (1,)) == 6
        assert pool.apply(lambda: lambda: base)() == 5


@case()
def results_to_come():
    with mp.Pool(1) as pool:
        result, _ = held(pool, "a", "late")
        many = pool.map_async(square, range(10), chunksize=1)
        for kind in (standard.ApplyResult, standard.AsyncResult):
            assert isinstance(result, kind)
            assert isinstance(many, kind)
        assert isinstance(many, standard.MapResult)
        for timeout in (0, 0.01):
            for waiting in (result, many):
                with raises(multiprocessing.TimeoutError):
                    waiting.get(timeout)
                waiting.wait(timeout)
                assert not waiting.ready()
                with raises(ValueError, "not ready"):
                    waiting.successful()
        assert mp.TimeoutError is multiprocessing.TimeoutError
        let_go("a")
        assert result.get(timeout=watch.WATCHDOG_S) == "late"
        many.wait()
        assert result.ready()
        assert result.successful()
        assert many.ready()
        assert many.successful()
        assert many.get(0) == many.get() == [n * n for n in range(10)]
        bad = pool.apply_async(fail, (ValueError, "boom"))
        bad.wait()
        assert bad.ready()
        assert not bad.successful()
        for _ in range(2):
            with raises(ValueError, "boom"):
                bad.get()
        slow = pool.map_async(time.sleep, [0.05], chunksize=1)
        watch.until(slow.ready, "the result to be ready by itself")


@case()
def callbacks_come_before_the_result():
    said = []

    def say(value):
        said.append((value, threading.current_thread() is threading.main_thread()))

    with mp.Pool(2) as pool:
        for number in range(100):
            pool.apply_async(square, (number,), callback=say, error_callback=say).wait()
            assert said.pop() == (number * number, False)
        pool.map_async(square, range(100), 7, callback=say, error_callback=say).wait()
        assert said.pop() == ([n * n for n in range(100)], False)
        pool.starmap_async(add, [(1, 2)], callback=say).wait()
        assert said.pop() == ([3], False)
        pool.map_async(int, ["1", "x", "2"], 1, callback=say, error_callback=say).wait()
        ((error, in_main),) = said
        assert isinstance(error, ValueError)
        assert not in_main
        del said[:]
        results = [pool.apply_async(square, (n,), callback=say) for n in range(1000)]
        for result in results:
            result.wait()
        assert sorted(said) == [(n * n, False) for n in range(1000)]
        pool.apply_async(fail, (KeyError,), callback=say).wait()
        pool.apply_async(nothing, error_callback=say).wait()
        assert len(said) == 1000


@case(ours=True, stderr="exception calling callback\n.*LookupError: in a callback\n")
def a_callback_that_fails():
    def bad(_):
        raise LookupError("in a callback")

    with mp.Pool(1) as pool:
        result = pool.apply_async(square, (3,), callback=bad)
        assert result.get(watch.WATCHDOG_S) == 9
        works(pool)


@case(ours=True)
def a_callback_uses_the_pool():
    with mp.Pool(1) as pool:
        found = []
        pool.apply_async(nothing, callback=lambda _: found.append(pool.apply(square, (3,)))).wait()
        assert found == [9]
        ended = threading.Event()

        def end(_):
            pool.terminate()
            ended.set()

        pool.apply_async(nothing, callback=end)
        assert ended.wait(watch.WATCHDOG_S)


# imap.


@case(ours=True)
def imap_reads_no_further_ahead_than_it_must():
    def numbers(taken):
        for number in itertools.count():
            taken.append(number)
            yield number

    with mp.Pool(2) as pool:
        for way in (pool.imap, pool.imap_unordered):
            for chunksize in (1, 10):
                taken = []
                results = way(square, numbers(taken), chunksize)
                for number in range(200):
                    next(results)
                    assert len(taken) <= number + chunksize * 50
        works(pool)


@case()
def imap_that_times_out():
    with mp.Pool(1) as pool:
        for way, name in ((pool.imap, "a"), (pool.imap_unordered, "b")):
            make_pipes(name)
            results = way(hold, [name])
            assert isinstance(results, standard.IMapIterator)
            told_by(name, "began")
            for timeout in (0.01, 0.02):
                with raises(multiprocessing.TimeoutError):
                    results.next(timeout)
                with raises(multiprocessing.TimeoutError):
                    results.next(timeout=timeout)
            let_go(name)
            assert results.next(timeout=watch.WATCHDOG_S) is None
            with raises(StopIteration):
                results.next(0.01)


@case()
def imap_over_what_raises_midway():
    def numbers():
        yield from range(5)
        raise LookupError("no more numbers")

    with mp.Pool(2) as pool:
        results = pool.imap(square, numbers())
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
        with raises(LookupError, "no more numbers"):
            next(results)
        assert next(results, "over") == "over"
        results = pool.imap(square, numbers(), 2)
        assert [next(results) for _ in range(4)] == [0, 1, 4, 9]
        with raises(LookupError, "no more numbers"):
            next(results)
        for way in (pool.imap_unordered, pool.map):
            with raises(LookupError, "no more numbers"):
                list(way(square, numbers()))
        works(pool)


@case()
def imap_goes_on_after_a_failed_task():
    with mp.Pool(2) as pool:
        results = pool.imap(int, ["1", "x", "3"])
        assert next(results) == 1
        with raises(ValueError):
            next(results)
        assert next(results) == 3
        assert next(results, "over") == "over"


@case()
def imap_nobody_takes_from():
    """Everything is done nevertheless, before join() returns."""
    pool = mp.Pool(2)
    pool.imap(mark, ["forgotten"] * 300)
    pool.imap_unordered(mark, ["forgotten"] * 300)
    kept = pool.imap(square, range(300))
    also = pool.imap_unordered(square, range(300), 2)
    pool.close()
    pool.join()
    assert list(kept) == sorted(also) == [n * n for n in range(300)]
    with open("forgotten") as file:
        assert len(file.readlines()) == 600


@case()
def several_imaps_at_once():
    with mp.Pool(2) as pool:
        ways = [pool.imap(square, range(200)) for _ in range(4)]
        for number, found in enumerate(zip(*ways, strict=True)):
            assert found == (number * number,) * 4


# What fails.


@case()
def the_remote_traceback_is_the_cause():
    with mp.Pool(2) as pool:
        tries = (
            lambda: pool.apply(fail, (ValueError, "boom", 5)),
            lambda: pool.apply_async(fail, (ValueError, "boom", 5)).get(),
            lambda: pool.starmap(fail, [(ValueError, "boom", 5)], 1),
            lambda: pool.starmap(fail, [(ValueError, "boom", 5)], 2),
        )
        for attempt in tries:
            with raises(ValueError, "boom") as caught:
                attempt()
            assert caught[0].args == ("boom", 5)
            cause = caught[0].__cause__
            assert type(cause) is standard.RemoteTraceback
            assert "in innermost_frame" in str(cause)


@case()
def map_fails_when_all_have_ended():
    with mp.Pool(2) as pool:
        with raises(ZeroDivisionError):
            pool.map(fail_or_mark, range(20), 1)
        with open("marks") as file:
            assert len(file.readlines()) == 19


def fail_or_mark(number):
    if number == 0:
        raise ZeroDivisionError
    mark("marks")


class Unpicklable:
    def __reduce__(self):
        raise LookupError("stays here")


@case()
def a_result_that_cannot_travel():
    with mp.Pool(2) as pool:
        with raises(standard.MaybeEncodingError, "stays here", "Unpicklable"):
            pool.apply(Unpicklable)
        found = pool.imap(make, [0, 1, 0])
        assert next(found) == 0
        with raises(standard.MaybeEncodingError):
            next(found)
        assert next(found) == 0
        works(pool)


def make(number):
    return Unpicklable() if number else 0


@case(ours=True)
def what_cannot_travel_is_refused_where_it_is_given():
    lock = threading.Lock()
    with mp.Pool(2) as pool:
        for give in (
            lambda: pool.apply_async(same, ([lock],)),
            lambda: pool.apply(same, ([lock],)),
            lambda: pool.map_async(same, [1, [lock]], 1),
            lambda: pool.map_async(same, [1, [lock]], 2),
        ):
            with raises(TypeError, "lock", "args["):
                give()
        results = pool.imap(same, [1, lock, 3])
        assert next(results) == 1
        with raises(TypeError, "args[0]"):
            next(results)
        assert next(results) == 3
        with raises(TypeError):
            pool.imap(square, 5)
        with raises(TypeError):
            pool.apply_async(square, 5)
        works(pool)


@case(ours=True)
def a_death_fails_its_task_only():
    from procession.executor import WorkerDied

    with mp.Pool(2) as pool:
        result, worker = held(pool, "a")
        others = pool.map_async(square, range(50), chunksize=1)
        os.kill(worker, signal.SIGKILL)
        with raises(WorkerDied, "SIGKILL", str(worker)):
            result.get(watch.WATCHDOG_S)
        assert others.get(watch.WATCHDOG_S) == [n * n for n in range(50)]
        watch.until(lambda: len(pool._pool) == 2 and worker not in pids(pool), "a new worker")
        for how in ("SIGSEGV", "_exit 0", "_exit 7"):
            with raises(WorkerDied):
                pool.apply(die, (how,))
        with raises(WorkerDied):
            pool.map(die_of_three, range(6), 1)
        results = pool.imap(die_of_three, range(5))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with raises(WorkerDied):
            next(results)
        assert next(results) == 4
        works(pool)


def die_of_three(number):
    if number == 3:
        die()
    return number


@case(ours=True)
def idle_workers_killed_are_replaced():
    with mp.Pool(2) as pool:
        works(pool)
        before = pids(pool)
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        watch.until(lambda: not set(before) & set(pids(pool)) and len(pids(pool)) == 2, "new ones")
        works(pool)


if __name__ == "__main__":
    main()
