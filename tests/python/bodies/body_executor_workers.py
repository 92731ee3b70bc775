"""Bodies: how the workers of ProcessPoolExecutor begin, and how they die."""

import contextlib
import multiprocessing
import os
import pickle
import re
import signal
import sys
import threading
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

from body import ENGINE, METHODS, SAFE, case, main, mp, raises
from pool_tasks import (
    DIE_BY,
    Executor,
    add,
    all_held,
    broken,
    die,
    die_until,
    fail,
    gone,
    held,
    let_go,
    mark,
    nothing,
    pid,
    told,
    told_by,
    warm_up,
    works,
)

# Workers, and how they begin.


SET_UP = []


def set_up(*args):
    SET_UP.append((os.getpid(), *args))


def what_was_set_up():
    return list(SET_UP)


@case()
def each_worker_is_initialised_once():
    with Executor(2, initializer=set_up, initargs=("one", [2])) as pool:
        with all_held(pool, 2) as workers:
            assert len(workers) == 2
        for _ in range(10):
            ((worker, *args),) = pool.submit(what_was_set_up).result()
            assert worker in workers
            assert args == ["one", [2]]
    assert SET_UP == []


@case(ours=True)
def an_initializer_without_a_name():
    value = 5
    with Executor(1, initializer=lambda: SET_UP.append(value)) as pool:
        assert pool.submit(what_was_set_up).result() == [5]
    if mp.get_start_method() == "fork":
        return  # it takes anything
    lock = threading.Lock()
    with (
        raises((TypeError, pickle.PicklingError), "lock"),
        Executor(1, initializer=lambda: lock.locked()) as pool,
    ):
        pool.submit(nothing)


@case(stderr=".*")
def a_failing_initializer_breaks_the_pool():
    with Executor(2, initializer=fail, initargs=(LookupError, "no database")) as pool:
        with raises(BrokenProcessPool):
            pool.submit(nothing).result()
        with raises(BrokenProcessPool):
            pool.submit(nothing)


@case(ours=True, stderr=".*")
def a_failing_initializer_says_why():
    for options in ({}, {"on_worker_death": "fail_task"}, {"on_worker_death": "retry"}):
        with Executor(
            2, initializer=fail, initargs=(LookupError, "no database"), **options
        ) as pool:
            for _ in range(2):
                with raises(BrokenProcessPool) as caught:
                    pool.submit(nothing).result()
                assert "LookupError" in told(caught[0]), told(caught[0])
                assert "no database" in told(caught[0]), told(caught[0])


@case(ours=True, stderr=".*")
def an_initializer_that_kills_its_worker_breaks_the_pool():
    for options in ({}, {"on_worker_death": "fail_task"}, {"on_worker_death": "retry"}):
        with (
            Executor(1, initializer=die, **options) as pool,
            raises(BrokenProcessPool, "SIGKILL"),
        ):
            pool.submit(nothing).result()


@case(methods=SAFE)
def workers_are_replaced_after_so_many_tasks():
    context = mp.get_context(mp.get_start_method())
    with Executor(1, mp_context=context, max_tasks_per_child=3) as pool:
        pids = [pool.submit(pid).result() for _ in range(7)]
    assert len(set(pids[:3])) == len(set(pids[3:6])) == 1
    assert len(set(pids)) == 3
    with Executor(2, mp_context=context, max_tasks_per_child=1) as pool:
        assert len(set(pool.map(pid, range(12)))) == 12
    with Executor(2, mp_context=context, max_tasks_per_child=2) as pool:
        numbers = [pool.submit(add, n) for n in range(20)]
        assert [future.result() for future in numbers] == list(range(1, 21))


@case()
def bad_numbers_are_refused():
    for number in (0, -1):
        with raises(ValueError, "max_workers must be greater than 0"):
            Executor(number)
    with raises(TypeError, "initializer must be a callable"):
        Executor(1, initializer=5)
    with raises(ValueError, "max_tasks_per_child must be >= 1"):
        Executor(1, max_tasks_per_child=0)
    with raises(TypeError, "max_tasks_per_child must be an integer"):
        Executor(1, max_tasks_per_child="2")


@case(methods=("fork",), ours=True)
def fork_and_so_many_tasks_do_not_go_together():
    with raises(ValueError, "max_tasks_per_child"):
        Executor(1, mp_context=mp.get_context("fork"), max_tasks_per_child=1)


@case(ours=True)
def bad_words_are_refused():
    for word in ("nope", "", 5):
        with raises((ValueError, TypeError), "on_worker_death"):
            Executor(1, on_worker_death=word)
    for retries in (-1, 1.5, "2"):
        with raises((ValueError, TypeError), "retries"):
            Executor(1, on_worker_death="retry", retries=retries)


@case()
def no_more_workers_than_asked_for():
    with Executor(3) as pool:
        with all_held(pool, 3) as workers:
            assert os.getpid() not in workers
            assert {process.pid for process in mp.active_children()} >= set(workers)
        assert set(pool.map(pid, range(60))) <= set(workers)
        assert {process.pid for process in mp.active_children()} == set(workers)


@case(ours=True, warm=False)  # the other start methods' helpers stay
def any_context_will_do():
    method = mp.get_start_method()
    for context in (mp.get_context(method), multiprocessing.get_context(method), mp):
        with Executor(1, context) as pool:
            assert pool.submit(own_kind).result().endswith("Process")
        with Executor(1, mp_context=context) as pool:
            works(pool)
    for other in METHODS:
        with Executor(1, mp.get_context(other)) as pool:
            works(pool)
    with raises((TypeError, ValueError, AttributeError)):
        Executor(1, mp_context="spoon").submit(nothing)


def own_kind():
    return type(mp.current_process()).__name__


def describe():
    process, parent = mp.current_process(), mp.parent_process()
    return process.daemon, parent.pid, os.getppid(), os.getcwd(), os.environ.get("OF_THE_TEST")


@case()
def workers_are_children_like_others():
    os.environ["OF_THE_TEST"] = "set"
    os.mkdir("here")
    os.chdir("here")
    with Executor(1) as pool:
        daemon, parent, ppid, cwd, variable = pool.submit(describe).result()
    assert (daemon, parent) == (False, os.getpid())
    assert cwd == os.getcwd()
    assert ppid == os.getpid() or ENGINE == "multiprocessing"
    assert variable == "set"


@case(before="out of a task\n", stderr="a word of complaint\n")
def what_tasks_print_is_seen():
    with Executor(1) as pool:
        pool.submit(print, "out of a task").result()
        pool.submit(complain).result()


def complain():
    print("a word of complaint", file=sys.stderr)


# Deaths.


@case(stderr=".*")
def a_death_breaks_the_pool():
    """The standard's way, which is the default."""
    for how in DIE_BY:
        with Executor(2) as pool:
            first, _ = held(pool, f"{how}-a")
            pending = [pool.submit(die, how)]
            with contextlib.suppress(BrokenProcessPool):  # it may be noticed meanwhile
                for _ in range(20):
                    pending.append(pool.submit(nothing))  # noqa: PERF401, some may be taken
            assert isinstance(pending[0].exception(), BrokenProcessPool), how
            assert isinstance(first.exception(), BrokenProcessPool)
            kinds = {type(future.exception()) for future in pending}
            assert kinds <= {BrokenProcessPool, type(None)}, kinds
            broken(pool)


@case(stderr=".*")
def a_worker_killed_from_outside_breaks_the_pool():
    with Executor(2) as pool:
        (first, worker), (second, _) = held(pool, "a"), held(pool, "b")
        pending = [pool.submit(nothing) for _ in range(20)]
        os.kill(worker, signal.SIGKILL)
        for future in (first, second, *pending):
            assert isinstance(future.exception(), BrokenProcessPool), future
        broken(pool)


@case(stderr=".*")
def an_idle_worker_killed_breaks_the_pool():
    with Executor(2) as pool:
        with all_held(pool, 2) as workers:
            pass
        os.kill(min(workers), signal.SIGKILL)
        with raises(BrokenProcessPool):
            for _ in range(100_000):
                pool.submit(nothing).result()
        broken(pool)


@case(ours=True, stderr=".*")
def a_broken_pool_says_who_died_of_what():
    for how, (_, code) in DIE_BY.items():
        with Executor(1) as pool:
            worker = pool.submit(pid).result()
            error = pool.submit(die, how).exception()
            assert isinstance(error, BrokenProcessPool), told(error)
            assert str(worker) in told(error), told(error)
            cause = signal.Signals(-code).name if code < 0 else str(code)
            assert cause in told(error).replace(str(worker), ""), told(error)
            with raises(BrokenProcessPool) as caught:
                pool.submit(nothing)
            assert str(worker) in told(caught[0]), told(caught[0])


@case(ours=True, stderr=".*")
def a_death_fails_its_task_only():
    with Executor(2, on_worker_death="fail_task") as pool:
        first, other = held(pool, "a", "untouched")
        for how, (_, code) in DIE_BY.items():
            worker = pool.submit(pid).result()
            future = pool.submit(die, how)
            later = [pool.submit(add, n) for n in range(20)]
            error = future.exception()
            assert type(error) is mp.WorkerDied, (how, told(error))
            assert isinstance(error, RuntimeError)
            assert not isinstance(error, BrokenProcessPool)
            assert (error.pid, error.exitcode) == (worker, code), error
            for word in ("die", str(worker)):
                assert re.search(rf"\b{word}\b", str(error)), f"{word!r} not in {error}"
            assert code > 0 or not code or signal.Signals(-code).name in str(error), error
            assert [future.result() for future in later] == list(range(1, 21))
            works(pool)
        assert first.running()
        let_go("a")
        assert first.result() == "untouched"
        assert other != worker


@case(ours=True, stderr=".*")
def worker_died_is_an_exception_that_travels():
    with Executor(1, on_worker_death="fail_task") as pool:
        error = pool.submit(die).exception()
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is mp.WorkerDied
    assert (copied.pid, copied.exitcode, str(copied)) == (error.pid, error.exitcode, str(error))


@case(ours=True, stderr=".*")
def a_death_in_map_fails_its_chunk():
    with Executor(2, on_worker_death="fail_task") as pool:
        results = pool.map(die_of_three, range(6))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with raises(mp.WorkerDied, "die_of_three"):
            next(results)
        with raises(mp.WorkerDied):
            list(pool.map(die_of_three, range(6), chunksize=2))
        works(pool)


def die_of_three(number):
    if number == 3:
        die()
    return number


@case(ours=True, stderr=".*")
def all_workers_killed_at_once():
    with Executor(4, on_worker_death="fail_task") as pool:
        for turn in range(3):
            found = dict(reversed(held(pool, f"{turn}-{number}")) for number in range(4))
            pending = [pool.submit(add, n) for n in range(50)]
            for worker in found:
                os.kill(worker, signal.SIGKILL)
            for worker, future in found.items():
                error = future.exception()
                assert type(error) is mp.WorkerDied, told(error)
                assert (error.pid, error.exitcode) == (worker, -signal.SIGKILL)
            assert [future.result() for future in pending] == list(range(1, 51))


@case(ours=True, stderr=".*")
def idle_workers_killed_are_replaced():
    with Executor(2, on_worker_death="fail_task") as pool:
        for turn in range(5):
            with all_held(pool, 2, prefix=str(turn)) as workers:
                pass
            futures.wait(workers.values())
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            for worker in workers:
                gone(worker)
            works(pool)
            assert not {pool.submit(pid).result()} & set(workers)


@case(ours=True, stderr=".*")
def a_task_is_tried_again():
    with Executor(2, on_worker_death="retry", retries=3) as pool:
        future = pool.submit(die_until, "once", 1)
        assert future.result() == "alive"
        assert mark("once") == 3  # two tries, and this
        assert pool.submit(die_until, "twice", 2).result() == "alive"
        assert list(pool.map(die_until, ["a", "b", "c"], [1, 1, 1])) == ["alive"] * 3
        works(pool)
    with Executor(1, on_worker_death="retry") as pool:  # once at least, unless told otherwise
        assert pool.submit(die_until, "default", 1).result() == "alive"


@case(ours=True, stderr=".*")
def a_task_is_not_tried_for_ever():
    """Three deaths and no more, whatever was asked for: it is the task that kills."""
    for retries, tries in ((0, 1), (1, 2), (3, 3), (10, 3)):
        with Executor(1, on_worker_death="retry", retries=retries) as pool:
            error = pool.submit(die_until, f"always-{retries}", 1000).exception()
            assert type(error) is mp.WorkerDied, told(error)
            assert "die_until" in str(error), error
            with open(f"always-{retries}") as file:
                deaths = [int(line) for line in file]
            assert len(deaths) == len(set(deaths)) == tries, (retries, deaths)
            assert error.pid == deaths[-1]
            assert error.exitcode == -signal.SIGKILL
            works(pool)


@case(ours=True)
def an_exception_is_no_death():
    with Executor(1, on_worker_death="retry", retries=3) as pool:
        error = pool.submit(mark_and_fail, "marks").exception()
        assert type(error) is KeyError, told(error)
        assert mark("marks") == 2  # one try, and this


def mark_and_fail(path):
    mark(path)
    raise KeyError(path)


@case(ours=True, stderr=".*")
def cancelled_tasks_are_not_tried_again():
    with Executor(1, on_worker_death="retry", retries=3) as pool:
        future, worker = held(pool, "a")
        pending = [pool.submit(mark, "marks") for _ in range(20)]
        assert all(future.cancel() for future in pending[10:])
        os.kill(worker, signal.SIGKILL)
        assert int(told_by("a", "began")) != worker  # again, by another
        let_go("a")
        assert future.result() is None
        assert sorted(future.result() for future in pending[:10]) == list(range(1, 11))


@case(ours=True, stderr=".*")
def deaths_without_end_do_not_wear_the_pool_out():
    with Executor(2, on_worker_death="fail_task") as pool:
        doomed = [pool.submit(die) for _ in range(30)]
        fine = [pool.submit(add, n) for n in range(30)]
        assert {type(future.exception()) for future in doomed} == {mp.WorkerDied}
        assert [future.result() for future in fine] == list(range(1, 31))


if __name__ == "__main__":
    warm_up()
    main()
