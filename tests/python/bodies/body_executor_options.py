"""Bodies: what ProcessPoolExecutor has beside the standard's: timeouts, priorities, stopping."""

import functools
import itertools
import os
import pickle
import re
import signal
import subprocess
import threading
import time
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

import watch
from body import SAFE, case, main, mp, raises
from pool_tasks import (
    Executor,
    add,
    die,
    die_until,
    gone,
    held,
    hold,
    let_go,
    make_pipes,
    mark,
    pid,
    same,
    told,
    told_by,
    warm_up,
    works,
)

SOON = 0.2  # seconds: a timeout of a task that never ends
NEVER = 1000.0


# What tasks do.


def be_busy():
    while True:
        pass


def be_busy_in_c():
    """Never looks at what came for Python's own handlers."""
    return sum(itertools.repeat(1))


def be_deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def have_children(path):
    """A child that minds SIGTERM, one that doesn't, and a child of a child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    deaf = subprocess.Popen(["sleep", "1000"])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    plain = subprocess.Popen(["sleep", "1000"])
    script = "sleep 1000 & echo $!; wait"
    shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    grandchild = int(shell.stdout.readline())
    with open(path, "w") as file:
        print(deaf.pid, plain.pid, shell.pid, grandchild, file=file)
    told_by("children", "go")


def note(path, word):
    with open(path, "a") as file:
        file.write(f"{word}\n")


def noted(path):
    with open(path) as file:
        return file.read().split()


def fill_slowly(array):
    """Writes to what it was given as long as it lives, SIGTERM or not."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        array[:] = 77


# Timeouts.


@case(ours=True)
def a_task_may_run_for_so_long():
    with Executor(2) as pool:
        soon = pool.with_options(timeout=SOON)
        for target in (be_busy, be_busy_in_c, be_deaf, functools.partial(signal.sigwait, set())):
            future = soon.submit(target)
            error = future.exception()
            assert type(error) is mp.TaskTimeout, told(error)
            assert isinstance(error, TimeoutError)
            assert error.timeout == SOON
            assert str(error.pid) in str(error), error
            assert "0.2 s" in str(error), error
            name = getattr(target, "__name__", "")
            assert name in error.task, error.task
            assert name in str(error), error
            gone(error.pid)
            works(pool)
        assert pool.with_options(timeout=NEVER).submit(add, 4).result() == 5


@case(ours=True)
def a_timeout_for_all_tasks():
    with Executor(1, timeout=SOON) as pool:
        assert type(pool.submit(be_busy).exception()) is mp.TaskTimeout
        assert type(pool.with_options(priority=3).submit(be_busy).exception()) is mp.TaskTimeout
        works(pool)
        future, _ = held(pool.with_options(timeout=NEVER), "long")
        assert not futures.wait([future], timeout=2 * SOON).done
        let_go("long")
        assert future.result() is None


@case(ours=True)
def many_tasks_time_out_at_once():
    with Executor(2) as pool:
        soon = pool.with_options(timeout=SOON)
        doomed = [soon.submit(be_busy) for _ in range(6)]
        fine = [pool.submit(add, number) for number in range(20)]
        errors = [future.exception() for future in doomed]
        assert {type(error) for error in errors} == {mp.TaskTimeout}
        assert len({error.pid for error in errors}) == 6
        assert [future.result() for future in fine] == list(range(1, 21))
        called = threading.Event()
        soon.submit(be_busy).add_done_callback(lambda future: called.set())
        assert called.wait(watch.WATCHDOG_S)  # nobody waits for the future itself
        assert [type(f.exception()) for f in futures.as_completed([soon.submit(be_busy)])] == [
            mp.TaskTimeout
        ]


@case(ours=True)
def waiting_for_a_worker_is_not_running():
    with Executor(1) as pool:
        first, _ = held(pool, "first")
        timed = pool.with_options(timeout=SOON)
        behind = [timed.submit(add, number) for number in range(5)]
        assert not futures.wait(behind, timeout=2 * SOON).done
        assert all(not future.running() for future in behind)
        let_go("first")
        assert [future.result() for future in behind] == [1, 2, 3, 4, 5]
        assert first.result() is None


def sleep_first(seconds):
    time.sleep(seconds)


@case(ours=True)
def a_worker_that_starts_slowly_is_not_running():
    with Executor(1, initializer=sleep_first, initargs=(3 * SOON,), timeout=SOON) as pool:
        assert pool.submit(add, 1).result() == 2


@case(ours=True)
def what_came_of_a_task_ends_with_it():
    with Executor(1) as pool:
        make_pipes("children")
        error = pool.with_options(timeout=1.5).submit(have_children, "pids").exception()
        assert type(error) is mp.TaskTimeout, told(error)
        for number in [*map(int, noted("pids")), error.pid]:
            gone(number)
        works(pool)


@case(ours=True)
def a_pool_ends_with_what_came_of_its_tasks():
    with Executor(1) as pool:
        make_pipes("children")
        future = pool.submit(have_children, "pids")
        watch.until(lambda: os.path.exists("pids") and len(noted("pids")) == 4, "children")
        assert future.cancel(running=True)
    for number in map(int, noted("pids")):
        gone(number)  # killed by now, but the kernel may still be at it


@case(ours=True, warm=False)  # NumPy's import leaves a descriptor
def memory_of_a_stopped_task_is_not_given_to_others():
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads of its own would look like the pool's
    try:
        import numpy
    except ImportError:
        return
    with Executor(2) as pool:
        soon = pool.with_options(timeout=SOON)
        for _ in range(2):
            doomed = soon.submit(fill_slowly, numpy.zeros(50_000))
            assert type(doomed.exception()) is mp.TaskTimeout
            for number in range(30):  # meanwhile it writes on
                array = pool.submit(same, numpy.full(50_000, number)).result()
                assert set(array.tolist()) == {number}


@case(ours=True)
def timeouts_do_not_break_a_pool():
    for word in ("break", "fail_task", "retry"):
        with Executor(1, on_worker_death=word) as pool:
            for _ in range(2):
                error = pool.with_options(timeout=SOON).submit(be_busy).exception()
                assert type(error) is mp.TaskTimeout, told(error)
            works(pool)


@case(ours=True)
def task_timeout_is_an_exception_that_travels():
    with Executor(1) as pool:
        error = pool.with_options(timeout=SOON).submit(be_busy).exception()
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is mp.TaskTimeout
    assert vars(copied) == vars(error)
    assert str(copied) == str(error)


@case(ours=True)
def shutdown_waits_for_a_task_up_to_its_timeout():
    with Executor(1) as pool:
        future = pool.with_options(timeout=SOON).submit(be_deaf)
    assert type(future.exception(timeout=0)) is mp.TaskTimeout
    pool = Executor(1)
    future = pool.with_options(timeout=SOON).submit(be_deaf)
    pool.shutdown(wait=False)
    assert type(future.exception()) is mp.TaskTimeout


# Cancelling what runs.


@case(ours=True)
def what_runs_can_be_cancelled():
    for word in ("break", "fail_task", "retry"):
        with Executor(2, on_worker_death=word) as pool:
            future, worker = held(pool, f"a-{word}")
            other, _ = held(pool, f"b-{word}", "untouched")
            pending = [pool.submit(add, number) for number in range(20)]
            assert not future.cancel()
            assert not future.cancel(False)
            assert future.running()
            assert future.cancel(running=True)
            assert future.cancelled()
            assert future.done()
            with raises(futures.CancelledError):
                future.result()
            assert future.cancel(running=True)
            gone(worker)
            assert [task.result() for task in pending] == list(range(1, 21))
            let_go(f"b-{word}")
            assert other.result() == "untouched"
            assert not other.cancel(running=True)
            works(pool)


@case(ours=True)
def a_deaf_task_can_be_cancelled():
    with Executor(1) as pool:
        worker = pool.submit(pid).result()
        future = pool.submit(be_deaf)
        watch.until(lambda: _ignores_sigterm(worker), "the task to be deaf")
        assert future.cancel(running=True)
        assert pool.submit(pid).result() != worker
        gone(worker)


def _ignores_sigterm(worker):
    with open(f"/proc/{worker}/status") as file:
        ignored = int(re.search(r"SigIgn:\s*(\w+)", file.read())[1], 16)
    return ignored >> (signal.SIGTERM - 1) & 1


@case(ours=True)
def a_waiting_thread_sees_a_cancelled_task():
    with Executor(1) as pool:
        future, _ = held(pool, "a")
        seen = []

        def wait():
            try:
                future.result()
            except futures.CancelledError:
                seen.append("cancelled")

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert future.cancel(running=True)
        for thread in threads:
            thread.join()
        assert seen == ["cancelled"] * 3


@case(ours=True)
def tasks_given_ahead_survive_a_cancelled_one():
    """Short ones, which a worker is given some of ahead; each ends once."""
    with Executor(1) as pool:
        list(pool.map(mark, ["warm"] * 50))
        for turn in range(5):
            before = [pool.submit(mark, f"marks-{turn}") for _ in range(10)]
            future = pool.submit(functools.partial(time.sleep, NEVER))
            after = [pool.submit(mark, f"marks-{turn}") for _ in range(10)]
            watch.until(future.running, "the task to be given to a worker")
            assert future.cancel(running=True)
            counts = [task.result() for task in before + after]
            assert sorted(counts) == list(range(1, 21)), counts


@case(ours=True)
def tasks_of_random_fates():
    """Ended, cancelled while they run, timed out: each once, and the pool as good as before."""
    with Executor(3) as pool:
        soon = pool.with_options(timeout=0.02)
        for turn in range(30):
            fine = [pool.submit(add, number) for number in range(10)]
            doomed = soon.submit(be_busy)
            busy = pool.submit(be_busy)
            fine += [pool.with_options(priority=1).submit(add, number) for number in range(10)]
            watch.until(busy.running, "it to be given to a worker")
            assert busy.cancel(running=True)
            assert [task.result() for task in fine] == [*range(1, 11), *range(1, 11)], turn
            assert type(doomed.exception()) is mp.TaskTimeout


# Priorities.


@case(ours=True)
def higher_priorities_go_first():
    with Executor(1) as pool:
        first, _ = held(pool, "first")
        order = [0, 5, -3, 0, 5, 2, -3, 0]
        tasks = [
            pool.with_options(priority=number).submit(note, "order", f"{number}:{at}")
            if number
            else pool.submit(note, "order", f"{number}:{at}")
            for at, number in enumerate(order)
        ]
        cancelled = pool.with_options(priority=9).submit(note, "order", "cancelled")
        assert cancelled.cancel()
        let_go("first")
        futures.wait([first, *tasks])
        assert noted("order") == ["5:1", "5:4", "2:5", "0:0", "0:3", "0:7", "-3:2", "-3:6"]


@case(ours=True)
def all_priorities_are_cancelled_at_the_end():
    pool = Executor(1)
    first, _ = held(pool, "first")
    tasks = [pool.with_options(priority=number).submit(add, 1) for number in (-1, 0, 1, 7)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(task.cancelled() for task in tasks)
    let_go("first")
    assert first.result() is None


# Deaths, by task.


@case(ours=True, stderr=".*")
def what_a_death_ends_is_said_for_each_task():
    with Executor(1) as pool:  # which a death breaks
        view = pool.with_options(on_worker_death="fail_task")
        tasks = [pool.submit(add, number) for number in range(10)]
        assert type(view.submit(die).exception()) is mp.WorkerDied
        assert [task.result() for task in tasks] == list(range(1, 11))
        assert pool.with_options(retries=2).submit(die_until, "two", 2).result() == "alive"
        error = pool.with_options(retries=10).submit(die_until, "three", 1000).exception()
        assert type(error) is mp.WorkerDied, told(error)
        assert len(noted("three")) == 3
        assert pool.with_options(on_worker_death="retry").submit(die_until, "one", 1).result()
        works(pool)
        assert isinstance(pool.submit(die).exception(), BrokenProcessPool)
    with Executor(1, on_worker_death="retry", retries=5) as pool:
        assert type(pool.with_options(retries=0).submit(die).exception()) is mp.WorkerDied
        broken = pool.with_options(on_worker_death="break").submit(die).exception()
        assert isinstance(broken, BrokenProcessPool)


@case(ours=True, stderr=".*")
def a_task_with_retries_is_tried_again_when_killed():
    with Executor(1) as pool:
        future, worker = held(pool.with_options(retries=1), "a", "done")
        os.kill(worker, signal.SIGKILL)
        assert int(told_by("a", "began")) != worker
        let_go("a")
        assert future.result() == "done"


@case(ours=True)
def bad_options_are_refused():
    with Executor(1) as pool:
        for options, kind in (
            ({"timeout": 0}, ValueError),
            ({"timeout": -1.5}, ValueError),
            ({"timeout": float("nan")}, ValueError),
            ({"timeout": "1"}, TypeError),
            ({"priority": 1.5}, TypeError),
            ({"priority": 2**31}, ValueError),
            ({"retries": -1}, ValueError),
            ({"retries": 1.5}, TypeError),
            ({"on_worker_death": "nope"}, ValueError),
        ):
            with raises(kind, *options):
                pool.with_options(**options)
        assert pool.with_options(timeout=float("inf")).submit(add, 1).result() == 2
        assert pool.with_options().submit(dict, timeout=5).result() == {"timeout": 5}
    for options in ({"timeout": 0}, {"idle_timeout": 0}, {"max_pending": 0}):
        with raises(ValueError, *options):
            Executor(1, **options)
    for options in ({"timeout": "x"}, {"idle_timeout": "x"}, {"max_pending": 1.5}):
        with raises(TypeError, *options):
            Executor(1, **options)


@case(ours=True)
def map_with_options():
    with Executor(2) as pool:
        view = pool.with_options(timeout=NEVER, priority=1)
        assert list(view.map(add, range(10), itertools.count())) == list(range(0, 20, 2))
        assert list(view.map(add, range(10), chunksize=3)) == list(range(1, 11))
        assert list(view.map(add, [])) == []
        assert list(itertools.islice(view.map(add, itertools.count(), buffersize=3), 5)) == [
            1,
            2,
            3,
            4,
            5,
        ]
        results = pool.with_options(timeout=SOON).map(sleep_first, [0, NEVER, 0])
        assert next(results) is None
        with raises(mp.TaskTimeout):
            next(results)
        with raises(TimeoutError):
            list(pool.with_options(timeout=3 * SOON).map(sleep_first, [NEVER], timeout=0.01))


@case(ours=True)
def a_pool_takes_options_too():
    with mp.Pool(1) as pool:
        result = pool.apply_async(be_busy, timeout=SOON)
        with raises(mp.TaskTimeout, "be_busy"):
            result.get()
        assert pool.apply_async(add, (1,), timeout=NEVER, priority=2).get() == 2
        assert pool.map_async(add, range(9), chunksize=2, priority=2).get() == list(range(1, 10))
        make_pipes("first")
        first = pool.apply_async(hold, ("first",))
        told_by("first", "began")
        low = pool.apply_async(note, ("order", "low"), priority=-1)
        plain = pool.apply_async(note, ("order", "plain"))
        high = pool.starmap_async(note, [("order", "high")], priority=1)
        let_go("first")
        for each in (first, low, plain, high):
            each.get()
        assert noted("order") == ["high", "plain", "low"]


# Workers that come and go.


@case(methods=SAFE, ours=True)
def idle_workers_are_let_go_and_start_again():
    with Executor(2, idle_timeout=SOON) as pool:
        for turn in range(3):
            first, one = held(pool, f"first-{turn}")
            second, other = held(pool, f"second-{turn}")
            let_go(f"second-{turn}")
            assert second.result() is None
            gone(other)
            assert watch.alive(one)  # it has a task
            let_go(f"first-{turn}")
            assert first.result() is None
            gone(one)
            watch.until(lambda: not mp.active_children(), "the workers to be reaped")
        works(pool)


@case(methods=("fork",), ours=True)
def forked_workers_stay():
    with Executor(2, idle_timeout=0.01) as pool:
        workers = {process.pid for process in mp.active_children()}
        assert pool.submit(add, 1).result() == 2
        workers = {process.pid for process in mp.active_children()}
        assert len(workers) == 2
        for _ in range(20):
            pool.submit(add, 1).result()
            time.sleep(0.01)
        assert {process.pid for process in mp.active_children()} == workers


@case(ours=True)
def idle_workers_may_stay():
    with Executor(1, idle_timeout=None) as pool:
        worker = pool.submit(pid).result()
        assert pool.submit(pid).result() == worker


# Back-pressure.


@case(ours=True)
def submit_waits_while_so_many_are_pending():
    with Executor(1, max_pending=3) as pool:
        first, _ = held(pool, "first")
        others = [pool.submit(add, number) for number in range(2)]
        through = threading.Event()

        def submit():
            others.append(pool.submit(add, 2))
            through.set()

        thread = threading.Thread(target=submit)
        thread.start()
        assert not through.wait(0.2)
        let_go("first")
        thread.join()
        assert first.result() is None
        assert [task.result() for task in others] == [1, 2, 3]
        closures = [pool.submit(lambda n=n: n) for n in range(20)]
        assert [task.result() for task in closures] == list(range(20))


@case(ours=True)
def threads_submit_to_a_bounded_pool():
    with Executor(2, max_pending=2) as pool:
        results = []

        def work(start):
            tasks = [pool.submit(add, number) for number in range(start, start + 200)]
            results.extend(task.result() for task in tasks)

        threads = [threading.Thread(target=work, args=(200 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == list(range(1, 801))


@case(ours=True)
def map_over_an_endless_iterable():
    taken = []

    def numbers():
        for number in itertools.count():
            taken.append(number)
            yield number

    for options, more in (({"max_pending": 4}, {}), ({}, {"buffersize": 4})):
        taken.clear()
        with Executor(2, **options) as pool:
            for chunksize in (1, 3):
                results = pool.map(add, numbers(), chunksize=chunksize, **more)
                assert [next(results) for _ in range(20)] == list(range(1, 21))
                assert len(taken) <= chunksize * 26
                results.close() if chunksize == 1 else None
                taken.clear()


@case(ours=True, stderr=".*")
def a_waiting_submit_ends_with_its_pool():
    for ending in ("break", "shutdown"):
        pool = Executor(1, max_pending=1)
        future, worker = held(pool, ending)
        errors = []

        def submit(pool=pool, errors=errors):
            try:
                pool.submit(add, 1)
            except RuntimeError as caught:
                errors.append(caught)

        threads = [threading.Thread(target=submit) for _ in range(3)]
        for thread in threads:
            thread.start()
        if ending == "break":
            os.kill(worker, signal.SIGKILL)
        else:
            pool.shutdown(wait=False)
        for thread in threads:
            thread.join()
        kind = BrokenProcessPool if ending == "break" else RuntimeError
        assert [type(error) for error in errors] == [kind] * 3, errors
        if ending == "shutdown":
            let_go(ending)
            assert future.result() is None
        pool.shutdown()


@case(ours=True)
def ctrl_c_ends_a_waiting_submit():
    pool = Executor(1, max_pending=1)
    future, _ = held(pool, "first")
    main_thread = threading.main_thread().ident
    asked = threading.Event()

    def interrupt():
        asked.wait()
        for _ in range(3):  # it may sleep for a moment on its way there
            watch.until(lambda: watch.stat(os.getpid())[0] == "S", "the submit to wait")
            os.sched_yield()
        signal.pthread_kill(main_thread, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with raises(KeyboardInterrupt):
        asked.set()
        pool.submit(add, 1)
        raise AssertionError("it didn't wait")
    thread.join()
    let_go("first")
    assert future.result() is None
    works(pool)
    pool.shutdown()


@case(ours=True)
def a_callback_may_submit_to_a_full_pool():
    with Executor(1, max_pending=1) as pool:
        more = []
        future = pool.submit(add, 1)
        done = threading.Event()

        def callback(_):
            more.append(pool.submit(add, 2))
            more.append(pool.submit(add, 3))
            done.set()

        future.add_done_callback(callback)
        assert done.wait(watch.WATCHDOG_S)
        assert [task.result() for task in more] == [3, 4]


if __name__ == "__main__":
    warm_up()
    main()
