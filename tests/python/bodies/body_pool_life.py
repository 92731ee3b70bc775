"""Bodies: what becomes of a Pool's workers, and of the Pool itself."""

import contextlib
import gc
import itertools
import multiprocessing
import multiprocessing.pool as standard
import os
import pickle
import signal
import threading
import time
import warnings
import weakref

import watch
from body import ENGINE, METHODS, case, main, mp, raises
from body_pool import hold, pids, square, works
from pool_tasks import (
    fail,
    gone,
    make_pipes,
    nothing,
    pid,
    same,
    told_by,
)

LONG = 1000.0  # seconds: longer than any test


# Workers.


def set_up(*args):
    set_up.args = args


def what_was_set_up():
    return set_up.args


@case()
def workers_are_made_at_once():
    with mp.Pool(3, set_up, ("a", 2)) as pool:
        assert pool._processes == len(pool._pool) == 3
        assert len(set(pids(pool))) == 3
        for process in pool._pool:
            assert process.daemon
            assert process.is_alive()
            assert "PoolWorker-" in process.name
        kind = f"{type(pool).__module__}.Pool"
        assert repr(pool) == f"<{kind} state=RUN pool_size=3>"
        assert pool.apply(what_was_set_up) == ("a", 2)
    assert "state=TERMINATE" in repr(pool)
    pool = mp.Pool()
    assert pool._processes == len(pool._pool) >= 1
    pool.close()
    assert "state=CLOSE" in repr(pool)
    pool.join()


@case()
def bad_arguments_are_refused():
    for processes in (0, -1):
        with raises(ValueError, "Number of processes must be at least 1"):
            mp.Pool(processes)
    for tasks in (0, -1, 0.5, "12"):
        with raises(ValueError, "maxtasksperchild must be a positive int or None"):
            mp.Pool(1, maxtasksperchild=tasks)
    with raises(TypeError, "initializer must be a callable"):
        mp.Pool(1, initializer=5)


@case()
def workers_are_replaced_after_so_many_tasks():
    with mp.Pool(2, maxtasksperchild=3) as pool:
        found = pool.map(pid, range(30), 1)
        assert all(found.count(worker) <= 3 for worker in found)
        assert len(set(found)) >= 10
        watch.until(lambda: len(pool._pool) == 2, "the last one to be replaced")
    pool = mp.Pool(2, maxtasksperchild=1)
    results = [pool.apply_async(pid) for _ in range(8)]
    pool.close()
    pool.join()
    assert len({result.get() for result in results}) == 8


@case(ours=True, stderr=".*")
def a_failing_initializer_fails_the_tasks():
    pool = mp.Pool(2, fail, (ValueError, "boom"))
    for _ in range(2):
        with raises(RuntimeError, "boom"):
            pool.map(square, range(100))
    with raises(RuntimeError, "boom"):
        list(pool.imap(square, range(100)))
    pool.close()
    pool.join()


@case(ours=True, warm=False)
def any_context_will_do():
    from procession.pool import Pool

    for method in METHODS:
        for package in (multiprocessing, mp):
            context = package.get_context(method)
            with Pool(1, context=context) as pool:
                assert pool._ctx is context
                works(pool)
                assert type(pool._pool[0]) is context.Process
        assert isinstance(mp.get_context(method).Pool(1), Pool)
        gc.collect()


# The end.


@case()
def after_the_end_nothing_is_taken():
    closed, terminated = mp.Pool(1), mp.Pool(1)
    with raises(ValueError, "Pool is still running"):
        closed.join()
    last = closed.map_async(square, range(50), 1)
    closed.close()
    terminated.terminate()
    for pool in (closed, terminated):
        for way in (pool.map, pool.map_async, pool.starmap, pool.imap, pool.imap_unordered):
            with raises(ValueError, "Pool not running"):
                way(square, [1])
        for way in (pool.apply, pool.apply_async, lambda _, pool=pool: pool.__enter__()):
            with raises(ValueError, "Pool not running"):
                way(nothing)
        for _ in range(2):
            pool.close()
            pool.join()
    assert last.get() == [n * n for n in range(50)]
    closed.terminate()
    with raises(NotImplementedError, "cannot be passed between processes"):
        pickle.dumps(closed)


@case(ours=True)
def what_is_pending_at_terminate_fails():
    pool = mp.Pool(2)
    results = [pool.apply_async(time.sleep, (LONG,)) for _ in range(10)]
    results.append(pool.map_async(time.sleep, [LONG] * 10))
    said = []
    results.append(pool.apply_async(nothing, error_callback=said.append))
    imaps = [pool.imap(same, itertools.count()), pool.imap_unordered(same, itertools.count())]
    failed = []

    def wait(get):
        with contextlib.suppress(RuntimeError):
            get()
            return
        failed.append(get)

    gets = [result.get for result in results] + [iterator.__next__ for iterator in imaps]
    threads = [threading.Thread(target=wait, args=(get,)) for get in gets]
    for thread in threads:
        thread.start()
    pool.terminate()
    pool.join()
    for thread in threads:
        thread.join()
    assert len(failed) == len(gets)
    assert len(said) == 1
    for get in gets:
        with raises(RuntimeError, "the pool was terminated"):
            get()


def be_stubborn(name):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hold(name)


@case(ours=True)
def workers_that_will_not_end_are_killed():
    make_pipes("a")
    with mp.Pool(1) as pool:
        pool.apply_async(be_stubborn, ("a",))
        worker = int(told_by("a", "began"))
    gone(worker)


@case()
def a_forgotten_pool_ends_by_itself():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pool = mp.Pool(2)
        works(pool)
        workers = pids(pool)
        pool = weakref.ref(pool)
        gc.collect()
        assert len(caught) == 1, caught
        message = str(caught[0].message)
        assert message.startswith("unclosed running multiprocessing pool <"), message
        caught.clear()
        gc.collect()
    for worker in workers:
        gone(worker)
    watch.until(lambda: pool() is None, "the pool to be gone")


@case(ours=True)
def a_pool_is_kept_by_what_it_owes():
    result = mp.Pool(1).map_async(square, range(50), 1)
    results = mp.Pool(1).imap(square, range(50))
    gc.collect()
    assert result.get() == list(results) == [n * n for n in range(50)]


@case()
def nothing_is_left_of_a_pool():
    for number in range(5):
        with mp.Pool(2) as pool:
            pool.map(square, range(20), 1)
            list(itertools.islice(pool.imap(square, range(1000)), 3))
            pool.map_async(time.sleep, [LONG] * 5, 1)
        if number % 2:
            pool.join()


@case()
def many_tasks():
    with mp.Pool(2) as pool:
        wanted = [n * n for n in range(20_000)]
        assert pool.map(square, range(20_000), 1) == wanted
        assert pool.map(square, range(20_000)) == wanted
        data = [bytes([n]) * 300_000 for n in range(50)]
        assert pool.map(same, data, 1) == list(pool.imap(same, data)) == data


@case()
def threads_share_a_pool():
    with mp.Pool(2) as pool:
        found = []

        def ask():
            found.append(pool.map(square, range(500), 1))
            found.append(list(pool.imap(square, range(500))))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [[n * n for n in range(500)]] * 12


@case(ours=True)
def a_forked_child_leaves_the_pool_alone():
    pool = mp.Pool(1)
    works(pool)
    with warnings.catch_warnings(action="ignore"):  # 3.12: that there are threads
        child = os.fork()
    if child == 0:
        try:
            with raises(RuntimeError, "forked"):
                pool.apply(nothing)
            pool.terminate()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    works(pool)
    pool.terminate()


@case()
def thread_pools_are_the_standards():
    import importlib

    module = importlib.import_module(f"{ENGINE}.pool")
    assert module.ThreadPool is standard.ThreadPool
    with mp.get_context().Pool(1) as pool, module.ThreadPool(2) as threads:
        assert threads.map(square, range(5)) == pool.map(square, range(5))


if __name__ == "__main__":
    main()
