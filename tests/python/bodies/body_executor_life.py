"""Bodies: shutdown of ProcessPoolExecutor, load, data, and processes within processes."""

import contextlib
import os
import sys
import threading
import warnings
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

import watch
from body import ENGINE, METHODS, case, main, mp, raises, run
from pool_tasks import (
    Executor,
    Refused,
    add,
    all_held,
    fail,
    gone,
    held,
    let_go,
    mark,
    nothing,
    pid,
    same,
    warm_up,
    works,
)

# Shutdown.


@case()
def shutdown_finishes_what_is_pending():
    pool = Executor(2)
    first, _ = held(pool, "a", "first")
    pending = [pool.submit(mark, "marks") for _ in range(50)]
    threading.Timer(0.05, let_go, ("a",)).start()
    pool.shutdown()
    assert all(future.done() for future in (first, *pending))
    assert first.result() == "first"
    assert len({future.result() for future in pending}) == 50
    assert mp.active_children() == []
    for use in (pool.submit, pool.map):
        with raises(RuntimeError, "cannot schedule new futures after shutdown"):
            use(same, [1])
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)


@case()
def shutdown_without_waiting():
    pool = Executor(2)
    first, _ = held(pool, "a", "first")
    pending = [pool.submit(add, n) for n in range(50)]
    pool.shutdown(wait=False)
    assert not first.done()
    with raises(RuntimeError, "cannot schedule new futures after shutdown"):
        pool.submit(nothing)
    assert [future.result() for future in pending] == list(range(1, 51))
    let_go("a")
    assert first.result() == "first"


@case()
def shutdown_that_cancels():
    for wait in (True, False):
        pool = Executor(1)
        name = f"wait-{wait}"
        first, _ = held(pool, name, "first")
        pending = [pool.submit(mark, name) for _ in range(50)]
        cancelled = threading.Event()
        pending[-1].add_done_callback(lambda future, event=cancelled: event.set())
        letting = threading.Thread(
            target=lambda event=cancelled, n=name: event.wait(watch.WATCHDOG_S / 2) and let_go(n)
        )
        letting.start()
        pool.shutdown(wait=wait, cancel_futures=True)
        letting.join()
        assert first.result() == "first"
        watch.until(lambda p=pending: all(f.done() for f in p), "all to be done")
        ran = [future for future in pending if not future.cancelled()]
        assert len(ran) <= 10, len(ran)  # what was on its way to the worker


@case(ours=True)  # futures.wait() never hears of those that the standard's shutdown cancels
def waiting_for_what_shutdown_cancels():
    pool = Executor(1)
    first, _ = held(pool, "a", "first")
    pending = [pool.submit(add, n) for n in range(50)]
    pool.shutdown(wait=False, cancel_futures=True)
    done, not_done = futures.wait(pending[10:], timeout=watch.WATCHDOG_S / 2)
    assert not not_done, not_done
    assert all(future.cancelled() for future in done)
    assert len(list(futures.as_completed(pending[10:], watch.WATCHDOG_S / 2))) == 40
    let_go("a")
    assert first.result() == "first"
    pool.shutdown()


@case()
def shutdown_of_what_did_nothing():
    Executor(2).shutdown()
    Executor(2).shutdown(wait=False)
    with Executor(2):
        pass
    with Executor(2) as pool:
        pool.shutdown()
    pool = Executor(1)
    pool.submit(nothing)
    pool.shutdown()


@case()
def shutdown_from_a_callback():
    pool, called = Executor(2), threading.Event()
    first, _ = held(pool, "a")

    def stop(future):
        pool.shutdown(wait=False)
        called.set()

    first.add_done_callback(stop)
    pending = [pool.submit(add, n) for n in range(20)]
    let_go("a")
    assert called.wait(watch.WATCHDOG_S)
    assert [future.result() for future in pending] == list(range(1, 21))
    with raises(RuntimeError, "after shutdown"):
        pool.submit(nothing)
    pool.shutdown()


@case(ours=True, stderr=".*")
def shutdown_from_a_callback_that_would_wait():
    pool = Executor(2)
    first, _ = held(pool, "a")
    first.add_done_callback(lambda future: pool.shutdown(wait=True))
    pending = [pool.submit(add, n) for n in range(20)]
    let_go("a")
    assert [future.result(watch.WATCHDOG_S) for future in pending] == list(range(1, 21))
    pool.shutdown()
    assert mp.active_children() == []


@case()
def a_forgotten_pool_ends_by_itself():
    pool = Executor(2)
    assert pool.submit(add, 1).result() == 2
    last = pool.submit(add, 2)
    del pool
    assert last.result() == 3
    watch.until(lambda: not mp.active_children(), "the workers to go")


@case()
def the_block_ends_with_the_pool_when_it_raises():
    with raises(LookupError), Executor(2) as pool:
        pending = [pool.submit(add, n) for n in range(20)]
        raise LookupError
    assert [future.result(0) for future in pending] == list(range(1, 21))


@case()
def nothing_is_left_of_a_pool():
    """Not even the first time, but for what the engine keeps."""
    threads = watch.threads()
    children = watch.children()
    fds = []
    for turn in range(4):
        with Executor(3) as pool:
            with all_held(pool, 3, prefix=str(turn)) as workers:
                assert len(watch.children()) > len(children) or ENGINE == "multiprocessing"
            assert list(pool.map(same, [b"x" * (1 << 20)] * 5)) == [b"x" * (1 << 20)] * 5
        assert not any(map(watch.alive, workers))
        assert mp.active_children() == []
        assert watch.zombies() == set()
        watch.until(lambda: watch.threads() == threads, f"threads to be {threads} again")
        fds.append(len(watch.fds()))
    watch.until(lambda: len(watch.fds()) <= fds[0], f"descriptors to be closed: {fds}")


def stop_now(way):
    with Executor(2) as pool:
        found = dict(reversed(held(pool, f"{way}-{number}")) for number in range(2))
        pending = [pool.submit(nothing) for _ in range(20)]
        getattr(pool, way)()
        for worker in found:
            gone(worker)
        for future in found.values():
            assert isinstance(future.exception(), BrokenProcessPool), future
        for future in pending:
            assert future.cancelled() or isinstance(future.exception(), BrokenProcessPool), future
        with raises(RuntimeError):  # of which BrokenProcessPool is one
            pool.submit(nothing)
    assert mp.active_children() == []


@case(ours=True, stderr=".*")
def workers_can_be_terminated():
    stop_now("terminate_workers")
    Executor(1).terminate_workers()


@case(ours=True, stderr=".*")
def workers_can_be_killed():
    stop_now("kill_workers")
    Executor(1).kill_workers()
    for way in ("kill_workers", "terminate_workers"):
        pool = Executor(1, on_worker_death="retry")  # that's no death to be made up for
        future, worker = held(pool, f"retry-{way}")
        getattr(pool, way)()
        gone(worker)
        assert isinstance(future.exception(), BrokenProcessPool), future
        pool.shutdown()


# Load.


@case()
def eight_threads_submit():
    found = {}

    def submit_some(pool, number):
        made = [pool.submit(add, number * 1000, n) for n in range(200)]
        found[number] = [future.result() for future in made]

    with Executor(2) as pool:
        threads = [threading.Thread(target=submit_some, args=(pool, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: [n * 1000 + m for m in range(200)] for n in range(8)}


@case(ours=True)  # the standard library needs half a minute and more
def a_hundred_thousand_tasks_queued():
    with Executor(2) as pool:
        with all_held(pool, 2):
            made = [pool.submit(same, number) for number in range(100_000)]
            assert not any(future.done() for future in made)
        assert [future.result() for future in made] == list(range(100_000))


@case()
def many_pools_one_after_the_other_and_at_once():
    for _ in range(5):
        with Executor(1) as pool:
            works(pool)
    with contextlib.ExitStack() as stack:
        pools = [stack.enter_context(Executor(1)) for _ in range(4)]
        assert len({pool.submit(pid).result() for pool in pools}) == 4
        for pool in pools:
            works(pool)


# Data.


SIZES = (0, 1, 4095, 65_536, 10_000_000, 100_000_000)


def change(data):
    """What arrives can be written to where its type can."""
    if len(data):
        data[0] = 7
        data[-1] = 9
    return data


@case()
def bytes_of_all_sizes():
    with Executor(1) as pool:
        for size in SIZES:
            data = os.urandom(min(size, 4096)) * (size // min(size, 4096) if size else 0)
            back = pool.submit(same, data).result()
            assert type(back) is bytes
            assert back == data
            del back
            kept = bytearray(data)
            back = pool.submit(change, kept).result()
            assert type(back) is bytearray
            assert kept == data
            assert bytes(back[1:-1]) == data[1:-1]
            assert len(back) == len(data)
            if size > 1:
                assert (back[0], back[-1]) == (7, 9)
                back[1] = 5
                back += b"it grows"


@case()
def arrays_of_all_sizes():
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads of its own would look like the pool's
    try:
        import numpy
    except ImportError:
        return
    kept = []
    with Executor(1) as pool:
        for size in SIZES:
            array = numpy.arange(size // 8, dtype=numpy.int64)
            back = pool.submit(change, array).result()
            assert type(back) is numpy.ndarray
            assert (back.dtype, back.shape) == (array.dtype, array.shape)
            assert back.flags.writeable
            assert (back[1:-1] == array[1:-1]).all()
            if len(array):
                assert (array[0], back[0], back[-1]) == (0, 7, 9)
                back[0] = 8
                kept.append(back)
            del array, back
        for array in (
            numpy.arange(60_000).reshape(200, 300).T,
            numpy.arange(60_000).reshape(200, 300)[::3, ::-2],
            numpy.zeros((5, 0)),
            numpy.float64(3.5),
            numpy.array(["a", {"b": 1}], dtype=object),
            numpy.zeros(3, dtype=[("x", "i4"), ("y", "f8")]),
        ):
            back = pool.submit(same, array).result()
            assert type(back) is type(array)
            assert back.dtype == array.dtype
            assert numpy.array_equal(back, array)
        one, other = pool.submit(same, (array, [array])).result()
        assert one is other[0]
    kept[-1] += 1  # it outlives its pool
    assert (kept[-1][0], kept[-1][1], kept[-1][-1]) == (9, 2, 10)


KEPT = []


def keep(array):
    KEPT.append(array)


def fill(array):
    array[:] = 77


def kept():
    return [set(array.tolist()) for array in KEPT]


@case()
def a_worker_may_keep_an_array():
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        import numpy
    except ImportError:
        return
    with Executor(1) as pool:
        for number in range(3):
            pool.submit(keep, numpy.full(50_000, number)).result()
            for _ in range(3):  # in memory that is nobody's else
                pool.submit(fill, numpy.zeros(50_000)).result()
        assert pool.submit(kept).result() == [{0}, {1}, {2}]


@case()
def much_data_at_once():
    data = [bytes([number]) * 10_000_000 for number in range(8)]
    with Executor(2) as pool:
        assert list(pool.map(same, data)) == data
        errors = [pool.submit(fail, Refused, block) for block in data]
        assert [error.exception().args[0] for error in errors] == data


# Processes within processes.


def work_in_a_pool_of_its_own(methods):
    """A pool in a worker, with one in its worker, and so on."""
    if not methods:
        return [os.getpid()]
    with Executor(1, mp_context=mp.get_context(methods[0])) as pool:
        works(pool)
        return [os.getpid(), *pool.submit(work_in_a_pool_of_its_own, methods[1:]).result()]


@case()
def pools_in_workers():
    method = mp.get_start_method()
    with Executor(2) as pool:
        others = [(method,), *([(other, method) for other in METHODS] if method != "fork" else [])]
        for line in pool.map(work_in_a_pool_of_its_own, others):
            assert len(line) == len(set(line)) > 1


def use_a_pool():
    with Executor(1) as pool:
        works(pool)


@case()
def pools_in_processes():
    assert run(use_a_pool).exitcode == 0
    with Executor(1) as pool:
        works(pool)
        assert run(use_a_pool).exitcode == 0
        works(pool)


def fork_quietly():
    with warnings.catch_warnings():  # from Python 3.12 on it says that there are threads
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@case(ours=True)  # the standard library complains in the child
def a_forked_child_leaves_the_pool_alone():
    with Executor(2) as pool:
        first, _ = held(pool, "a", "held")
        pending = [pool.submit(add, n) for n in range(20)]
        child = fork_quietly()
        if not child:
            sys.exit(5)  # by way of all that runs at the end of an interpreter
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 5, status
        assert [future.result() for future in pending] == list(range(1, 21))
        let_go("a")
        assert first.result() == "held"
        works(pool)


@case(ours=True)
def a_forked_child_has_pools_of_its_own():
    with Executor(2) as pool:
        works(pool)
        child = fork_quietly()
        if not child:
            use_a_pool()
            with raises(Exception) as caught:  # whatever it says, it doesn't hang
                pool.submit(nothing).result(watch.WATCHDOG_S / 2)
            assert not isinstance(caught[0], TimeoutError)
            del pool
            os._exit(6)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 6, status
        works(pool)


@case(methods=("fork",), ours=True, stderr=".*")
def a_pool_forks_workers_under_load():
    """Other threads use pools, too, while workers are forked.

    The standard's hang now and then: gh-90622.
    """
    errors = []

    def use_some():
        try:
            for _ in range(5):
                use_a_pool()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use_some) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


if __name__ == "__main__":
    if "array" in sys.argv[2]:  # what NumPy keeps open is its own
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        with contextlib.suppress(ImportError):
            import numpy  # noqa: F401
    warm_up()
    main()
