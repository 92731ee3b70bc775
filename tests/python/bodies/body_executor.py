"""Bodies: the futures of ProcessPoolExecutor, and map."""

import itertools
import logging
import math
import os
import sys
import threading
from concurrent import futures

import watch
from body import case, main, raises
from pool_tasks import (
    Executor,
    add,
    fail,
    held,
    hold,
    let_go,
    make_pipes,
    mark,
    nothing,
    pid,
    same,
    told,
    told_by,
    warm_up,
    works,
)

# The futures.


@case()
def results_and_exceptions():
    with Executor(2) as pool:
        assert isinstance(pool, futures.Executor)
        future = pool.submit(add, 1, other=2)
        assert isinstance(future, futures.Future)
        assert future.result() == 3
        assert future.exception() is None
        assert future.done()
        assert not future.running()
        assert not future.cancelled()
        assert "finished returned int" in repr(future)
        assert pool.submit(nothing).result() is None
        assert pool.submit(pid).result() != os.getpid()
        assert pool.submit(dict, self=1, fn=2).result() == {"self": 1, "fn": 2}
        future = pool.submit(fail, ValueError, "boom", 5)
        with raises(ValueError, "boom") as caught:
            future.result()
        assert caught[0].args == ("boom", 5)
        assert future.exception() is caught[0]
        assert isinstance(pool.submit(same, KeyError("returned")).result(), KeyError)
        with raises(TypeError):
            pool.submit()


@case()
def what_is_not_in_time_times_out():
    with Executor(1) as pool:
        future, _ = held(pool, "a", "late")
        for timeout in (0, 0.01):
            with raises(futures.TimeoutError):
                future.result(timeout)
            with raises(futures.TimeoutError):
                future.exception(timeout=timeout)
        assert future.running()
        let_go("a")
        assert future.result() == "late"
        assert future.result(timeout=0) == "late"


@case(stderr="exception calling callback .*LookupError: in a callback\n")
def callbacks_run_in_the_parent():
    logging.raiseExceptions = False
    said = []

    def bad(future):
        raise LookupError("in a callback")

    with Executor(1) as pool:
        future, _ = held(pool, "a", 5)
        for number in range(3):
            future.add_done_callback(lambda f, n=number: said.append((n, os.getpid(), f.result())))
        future.add_done_callback(bad)
        last = pool.submit(nothing)
        last.add_done_callback(lambda f: said.append("last"))
        assert said == []
        let_go("a")
        last.result()
        watch.until(lambda: "last" in said, "the last callback")
        future.add_done_callback(lambda f: said.append("at once"))
        works(pool)
    assert said == [
        (0, os.getpid(), 5),
        (1, os.getpid(), 5),
        (2, os.getpid(), 5),
        "last",
        "at once",
    ]


@case()
def a_callback_submits():
    said, done = [], threading.Event()
    with Executor(2) as pool:

        def next_one(future):
            said.append(future.result())
            if said[-1] < 50:
                pool.submit(add, said[-1]).add_done_callback(next_one)
            else:
                done.set()

        pool.submit(add, 0).add_done_callback(next_one)
        assert done.wait(watch.WATCHDOG_S)
    assert said == list(range(1, 51))


@case()
def only_what_is_pending_can_be_cancelled():
    with Executor(1) as pool:
        running, _ = held(pool, "a", "held")
        waiting = [pool.submit(mark, "marks") for _ in range(30)]
        watch.until(running.running, "the future to say that it runs")
        assert not running.cancel()
        called = []
        waiting[-1].add_done_callback(called.append)
        cancelled = [future for future in waiting[10:] if future.cancel()]
        assert len(cancelled) == 20
        assert called == [waiting[-1]]
        assert all(future.cancelled() and future.done() for future in cancelled)
        assert cancelled[0].cancel()
        with raises(futures.CancelledError):
            cancelled[0].result()
        let_go("a")
        assert running.result() == "held"
        assert [future.result() for future in waiting[:10]] == list(range(1, 11))
        assert not waiting[0].cancel()
        assert not waiting[0].cancelled()
        done, not_done = futures.wait(waiting)
        assert (len(done), len(not_done)) == (30, 0)
        works(pool)
    with open("marks") as file:
        assert len(file.readlines()) == 10


@case()
def wait_and_as_completed():
    with Executor(2) as pool:
        (slow, _), (slower, _) = held(pool, "a", "a"), held(pool, "b", "b")
        both = {slow, slower}
        done, not_done = futures.wait(both, timeout=0)
        assert (done, not_done) == (set(), both)
        with raises(futures.TimeoutError, "2 (of 2) futures unfinished"):
            list(futures.as_completed(both, timeout=0.01))
        let_go("b")
        done, not_done = futures.wait(both, return_when=futures.FIRST_COMPLETED)
        assert (done, not_done) == ({slower}, {slow})
        bad = pool.submit(fail, KeyError)
        done, not_done = futures.wait({slow, bad}, return_when=futures.FIRST_EXCEPTION)
        assert (done, not_done) == ({bad}, {slow})
        in_order = futures.as_completed([slow, slower])
        assert next(in_order) is slower
        let_go("a")
        assert next(in_order) is slow
        assert next(in_order, None) is None
        with futures.ThreadPoolExecutor(1) as threads:  # they mix with other executors'
            mixed = [threads.submit(same, 1), pool.submit(same, 2)]
            assert sorted(f.result() for f in futures.as_completed(mixed)) == [1, 2]


@case()
def asyncio_takes_the_futures():
    import asyncio

    async def talk(pool):
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(pool, add, 1) == 2
        assert await asyncio.wrap_future(pool.submit(add, 2)) == 3
        numbers = [asyncio.wrap_future(pool.submit(add, n)) for n in range(50)]
        assert await asyncio.gather(*numbers) == list(range(1, 51))
        with raises(ValueError, "boom"):
            await loop.run_in_executor(pool, fail, ValueError, "boom")
        first, _ = held(pool, "a")
        waiting = [pool.submit(mark, "marks") for _ in range(20)]
        wrapped = asyncio.wrap_future(waiting[-1])
        wrapped.cancel()
        while not waiting[-1].done():
            await asyncio.sleep(0)
        assert waiting[-1].cancelled()
        with raises(asyncio.CancelledError):
            await wrapped
        let_go("a")
        await asyncio.wrap_future(first)
        return await asyncio.gather(*map(asyncio.wrap_future, waiting[:-1]))

    with Executor(1) as pool:
        assert asyncio.run(talk(pool)) == list(range(1, 20))


# map.


@case()
def map_keeps_the_order():
    with Executor(2) as pool:
        for chunksize in (1, 3, 7, 1000):
            found = pool.map(add, range(20), range(100, 200), chunksize=chunksize)
            assert list(found) == [n + 100 + n for n in range(20)]
        assert list(pool.map(add, (n for n in range(3)))) == [1, 2, 3]
        assert list(pool.map(math.factorial, [5])) == [120]
        assert list(pool.map(add, [])) == []
        assert list(pool.map(add, [], chunksize=5)) == []
        assert list(pool.map(add, range(5), [])) == []
        results = pool.map(add, range(3))
        assert next(results) == 1
        for chunksize in (0, -1):
            with raises(ValueError, "chunksize must be >= 1"):
                pool.map(add, [1], chunksize=chunksize)
        works(pool)


@case()
def map_fails_where_the_function_does():
    with Executor(2) as pool:
        results = pool.map(divide, [4, 2, 0, 1])
        assert (next(results), next(results)) == (3, 6)
        with raises(ZeroDivisionError) as caught:
            next(results)
        assert "in divide" in str(caught[0].__cause__), told(caught[0])
        assert next(results, "over") == "over"
        with raises(ZeroDivisionError):
            list(pool.map(divide, [4, 2, 0, 1], chunksize=2))
        works(pool)


def divide(number):
    return 12 // number


@case()
def map_over_what_raises_midway():
    def numbers():
        yield from range(3)
        raise LookupError("no more numbers")

    with Executor(2) as pool:
        for chunksize in (1, 2):
            with raises(LookupError, "no more numbers"):
                list(pool.map(add, numbers(), chunksize=chunksize))
        works(pool)


@case()
def map_times_out():
    with Executor(1) as pool:
        make_pipes("a")
        results = pool.map(hold, ["a"], ["late"], timeout=0.05)
        told_by("a", "began")
        with raises(futures.TimeoutError):
            next(results)
        let_go("a")
        works(pool)


@case()
def map_with_a_buffer_reads_no_further_ahead():
    if sys.version_info < (3, 14):
        return
    taken = []

    def numbers():
        for number in itertools.count():
            taken.append(number)
            yield number

    with Executor(2) as pool:
        results = pool.map(add, numbers(), buffersize=4)
        assert taken == [0, 1, 2, 3]
        assert [next(results) for _ in range(10)] == list(range(1, 11))
        assert len(taken) <= 14
        results.close()
        for size in (0, -1):
            with raises(ValueError, "buffersize must be None or > 0"):
                pool.map(add, [1], buffersize=size)
        assert list(pool.map(add, range(100), buffersize=3, chunksize=5)) == list(range(1, 101))


@case()
def map_given_up_is_cancelled():
    with Executor(1) as pool:
        _, _ = held(pool, "a")
        results = pool.map(mark, ["marks"] * 50, timeout=0)
        with raises(futures.TimeoutError):
            next(results)
        let_go("a")
        works(pool)
    assert mark("marks") <= 11  # with this one


if __name__ == "__main__":
    warm_up()
    main()
