"""Bodies: what a pool tells of itself while it works: its figures, its events, its trace."""

import collections
import itertools
import json
import os
import threading
import time
import warnings

from body import case, main, mp, raises, run
from pool_tasks import add, die, die_until, fail, gone, held, let_go, nothing, same

ENDS = ("done", "failed", "died", "broken", "cancelled")


def pid_after(_):
    return os.getpid()


def by_task(events):
    """The events of each task, in their order."""
    found = collections.defaultdict(list)
    for event in events:
        if event.task is not None:
            found[event.task].append(event)
    return found


def kinds(events):
    return [event.kind for event in events]


# Figures.


@case(ours=True)
def stats_while_a_worker_is_held():
    with mp.ProcessPoolExecutor(2) as pool:
        assert pool.stats().workers == ()
        future, worker = held(pool, "a", 5)
        waiting = pool.submit(nothing)
        waiting.result()
        stats = pool.stats()
        assert (stats.running, stats.queued, stats.done) == (1, 0, 1), stats
        by_pid = {each.pid: each for each in stats.workers}
        busy = by_pid.pop(worker)
        assert (busy.state, busy.done) == ("busy", 0), busy
        assert busy.function.endswith("pool_tasks.hold"), busy
        (idle,) = by_pid.values()
        assert (idle.state, idle.done, idle.function) == ("idle", 1, None), idle
        assert idle.busy_seconds > 0
        assert stats.workers_started == 2
        let_go("a")
        assert future.result() == 5
        with raises(ValueError):
            pool.submit(fail, ValueError).result()
        stats = pool.stats()
        assert (stats.running, stats.queued, stats.done, stats.failed) == (0, 0, 2, 1), stats
        assert [each.state for each in stats.workers] == ["idle", "idle"]
    stats = pool.stats()
    assert stats.workers == ()
    assert (stats.workers_died, stats.died) == (0, 0)


@case(ours=True)
def stats_of_deaths_and_cancels():
    with mp.ProcessPoolExecutor(1, on_worker_death="fail_task") as pool:
        future, worker = held(pool, "a")
        later = pool.submit(nothing)
        assert pool.stats().queued == 1
        assert later.cancel()
        os.kill(worker, 9)
        with raises(mp.WorkerDied):
            future.result()
        pool.submit(nothing).result()
        stats = pool.stats()
        assert (stats.died, stats.cancelled, stats.done) == (1, 1, 1), stats
        assert (stats.workers_started, stats.workers_died) == (2, 1), stats


@case(ours=True)
def stats_of_a_broken_pool():
    with mp.ProcessPoolExecutor(1) as pool:
        future, worker = held(pool, "a")
        others = [pool.submit(nothing) for _ in range(5)]
        os.kill(worker, 9)
        for each in (future, *others):
            each.exception()
        stats = pool.stats()
        assert (stats.died, stats.broken) == (1, 5), stats


@case(ours=True)
def stats_know_the_arena():
    with mp.ProcessPoolExecutor(1) as pool:
        value = pool.submit(same, bytes(1 << 20)).result()
        assert len(value) == 1 << 20
        stats = pool.stats()
        assert stats.arena_mapped >= 1 << 20, stats


@case(ours=True)
def stats_of_a_pool():
    pool = mp.Pool(2)
    assert pool.map(add, range(10), chunksize=1) == list(range(1, 11))
    stats = pool.stats()
    assert stats.done == 10
    assert len(stats.workers) == 2
    with raises(AttributeError):
        stats.done = 11
    pool.close()
    pool.join()
    assert pool.stats().workers == ()


# Events.


@case(ours=True)
def events_in_order():
    with mp.ProcessPoolExecutor(2, on_worker_death="fail_task") as pool:
        events = pool.events()
        before = time.monotonic()
        list(pool.map(add, range(50)))
        pool.submit(fail, ValueError).exception()
        pool.submit(die).exception()
        pool.submit(lambda: 1).result()
        list(pool.map(add, range(4), chunksize=2))
        _, worker = held(pool, "a")
        _, other = held(pool, "b")
        cancelled = pool.submit(nothing)
        assert cancelled.cancel()
        let_go("a")
        let_go("b")
    after = time.monotonic()
    found = list(events)
    assert not list(events)
    tasks = by_task(found)
    assert sorted(tasks) == list(range(58))
    for task, own in tasks.items():
        assert own[-1].kind in ENDS, own
        if own[-1].kind == "cancelled":
            assert kinds(own) == ["queued", "cancelled"], own
            continue
        assert kinds(own)[:-1] == ["queued", "started"] * (len(own) // 2), own
        times = [event.time for event in own]
        assert times == sorted(times), own
        assert before <= times[0] <= times[-1] <= after, own
        assert own[-2].worker == own[-1].worker is not None, own
        assert len({event.function for event in own}) == 1
        assert task < 50 or kinds(own)[-1] != "broken"
    assert {tasks[number][-1].kind for number in range(50)} == {"done"}
    assert tasks[0][0].function.endswith("pool_tasks.add")
    assert [tasks[number][-1].kind for number in range(50, 58)] == [
        "failed", "died", "done", "done", "done", "done", "done", "cancelled",
    ]  # fmt: skip
    assert tasks[52][0].function.endswith("events_in_order.<locals>.<lambda>")
    assert tasks[53][0].function.endswith("pool_tasks.add")
    assert tasks[51][-1].detail == -9
    assert {tasks[55][-1].worker, tasks[56][-1].worker} == {worker, other}
    assert tasks[55][-1].detail > 0
    lives = collections.defaultdict(list)
    for event in found:
        if event.task is None:
            lives[event.worker].append(event)
    assert len(lives) == 3
    for pid, own in lives.items():
        assert kinds(own) == ["worker_started", "worker_ready", "worker_ended"], own
        assert own[-1].detail == (-9 if pid == tasks[51][-1].worker else 0)


@case(ours=True)
def events_come_while_nobody_waits_for_results():
    pool = mp.ProcessPoolExecutor(1)
    events = pool.events()
    pool.submit(nothing)
    seen = []
    for event in events:
        seen.append(event.kind)
        if event.kind == "done":
            break
    assert "started" in seen
    # "started" is there while the task runs.
    make = threading.Thread(target=held, args=(pool, "a"))
    make.start()
    for event in events:
        if event.kind == "started":
            assert event.function.endswith("hold")
            break
    make.join()
    let_go("a")
    pool.shutdown()
    assert kinds(events)[-1] == "worker_ended"


@case(ours=True)
def events_of_a_task_that_is_tried_again():
    with mp.ProcessPoolExecutor(1, on_worker_death="retry", retries=1) as pool:
        events = pool.events()
        assert pool.submit(die_until, "lives", 1).result() == "alive"
    own = by_task(events)[0]
    assert kinds(own) == ["queued", "started", "queued", "started", "done"], own
    assert own[1].worker != own[3].worker


@case(ours=True)
def events_of_a_broken_pool_end():
    with mp.ProcessPoolExecutor(1) as pool:
        events = pool.events()
        future, worker = held(pool, "a")
        others = [pool.submit(nothing) for _ in range(3)]
        os.kill(worker, 9)
        for each in (future, *others):
            each.exception()
    tasks = by_task(events)
    assert [own[-1].kind for own in tasks.values()] == ["died", "broken", "broken", "broken"]


@case(ours=True)
def events_of_pools_that_never_began_end():
    pool = mp.ProcessPoolExecutor(1)
    events = pool.events()
    pool.shutdown()
    assert list(events) == []
    assert list(pool.events()) == []
    pool = mp.ProcessPoolExecutor(1)
    events = pool.events()
    del pool
    assert list(events) == []


@case(ours=True)
def events_of_a_pool():
    pool = mp.Pool(2)
    events = pool.events()
    assert pool.map(add, range(8), chunksize=2) == list(range(1, 9))
    assert pool.apply(same, (lambda: 1,))() == 1
    pool.close()
    pool.join()
    tasks = by_task(events)
    assert [own[-1].kind for own in tasks.values()] == ["done"] * 5
    assert tasks[0][0].function.endswith("pool_tasks.add")


@case(ours=True)
def two_listen_and_one_stops():
    with mp.ProcessPoolExecutor(1) as pool:
        first, second = pool.events(), pool.events()
        pool.submit(nothing).result()
        del first
        pool.submit(nothing).result()
    assert sorted(by_task(second)) == [0, 1]


def looked_at_from_a_copy():
    for ask in (POOLS[0].stats, POOLS[0].events):
        with raises(RuntimeError, "belongs to process"):
            ask()


POOLS = []


@case(methods=("fork",), ours=True)
def a_forked_copy_cannot_look():
    with mp.ProcessPoolExecutor(1) as pool:
        POOLS.append(pool)
        events = pool.events()
        pool.submit(nothing).result()
        assert run(looked_at_from_a_copy).exitcode == 0
        assert pool.submit(add, 1).result() == 2
    assert len(by_task(events)) == 2
    POOLS.clear()


# The trace.


def read(path):
    with open(path) as file:
        return json.load(file)


def checked(path):
    """A trace's slices of tasks by worker's track; none overlaps another there."""
    trace = read(path)
    assert all(each["pid"] == os.getpid() for each in trace), trace
    names = {each["tid"]: each["args"]["name"] for each in trace if each["name"] == "thread_name"}
    slices = collections.defaultdict(list)
    for each in trace:
        if each["ph"] == "X" and each["cat"] != "submit":
            assert names[each["tid"]] == f"worker {each['tid']}"
            slices[each["tid"]].append(each)
    for own in slices.values():
        own.sort(key=lambda each: each["ts"])
        for one, next_one in itertools.pairwise(own):
            assert one["ts"] + one["dur"] <= next_one["ts"] + 0.001, (one, next_one)
    return trace, [each for own in slices.values() for each in own if each["cat"] == "task"]


@case(ours=True)
def trace_has_each_task_once():
    with mp.ProcessPoolExecutor(2, on_worker_death="fail_task", trace="t-%p.json") as pool:
        list(pool.map(add, range(300)))
        pool.submit(fail, KeyError).exception()
        future, worker = held(pool, "a")
        os.kill(worker, 9)
        future.exception()
        pool.submit(lambda: 1).result()
    trace, tasks = checked(f"t-{os.getpid()}.json")
    assert sorted(each["args"]["task"] for each in tasks) == list(range(303))
    outcomes = {each["args"]["task"]: each["args"].get("outcome") for each in tasks}
    assert set(map(outcomes.get, range(300))) == {None}
    assert (outcomes[300], outcomes[301], outcomes[302]) == ("raised", "died", None)
    (died,) = [each for each in tasks if each["args"]["task"] == 301]
    assert died["tid"] == worker
    assert died["name"].endswith("hold")
    deaths = [each for each in trace if each.get("cat") == "death"]
    assert [(each["tid"], each["name"]) for each in deaths] == [(worker, "killed by SIGKILL")]
    for each in tasks:
        assert each["args"]["queued"] <= each["ts"]
    counts = [each["args"] for each in trace if each["ph"] == "C"]
    assert counts[-1] == {"running": 0, "queued": 0}, counts
    flows = collections.Counter(each["ph"] for each in trace if each.get("cat") == "wait")
    assert flows == {"s": 303, "f": 303}


@case(ours=True)
def trace_of_a_broken_pool():
    with mp.ProcessPoolExecutor(1, trace="trace.json") as pool:
        future, worker = held(pool, "a")
        others = [pool.submit(nothing) for _ in range(3)]
        os.kill(worker, 9)
        for each in (future, *others):
            each.exception()
    trace, tasks = checked("trace.json")
    assert [each["args"]["outcome"] for each in tasks] == ["died"]
    assert len([each for each in trace if each["name"].startswith("ended with the pool")]) == 3


@case(ours=True)
def trace_of_tries():
    with mp.ProcessPoolExecutor(1, on_worker_death="retry", trace="trace.json") as pool:
        pool.submit(die_until, "lives", 1).result()
    trace, tasks = checked("trace.json")
    assert len(tasks) == 1
    assert len([each for each in trace if each.get("cat") == "try"]) == 1


@case(ours=True)
def trace_of_a_pool():
    with mp.Pool(2, trace="trace.json") as pool:
        pool.map(add, range(20), chunksize=2)
        pool.close()
        pool.join()
    _, tasks = checked("trace.json")
    assert len(tasks) == 10


@case(ours=True)
def trace_by_the_environment():
    os.environ["PROCESSION_TRACE"] = "trace.json"
    for _ in range(2):
        with mp.ProcessPoolExecutor(1) as pool:
            pool.submit(nothing).result()
    assert len(checked("trace.json")[1]) == len(checked("trace-2.json")[1]) == 1
    os.environ["PROCESSION_TRACE"] = "no/such/folder/trace.json"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with mp.ProcessPoolExecutor(1) as pool:
            pool.submit(nothing).result()
    (said,) = [each for each in caught if each.category is RuntimeWarning]
    assert "no/such/folder" in str(said.message)
    assert said.filename == __file__, said
    del os.environ["PROCESSION_TRACE"]
    with raises(FileNotFoundError, "no/such/folder"):
        mp.ProcessPoolExecutor(1, trace="no/such/folder/trace.json")


@case(ours=True)
def trace_on_a_full_disk():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with mp.ProcessPoolExecutor(1, trace="/dev/full") as pool:
            assert list(pool.map(add, range(5000))) == list(range(1, 5001))
    said = [each for each in caught if each.category is RuntimeWarning]
    assert len(said) == 1, said
    assert "/dev/full" in str(said[0].message)
    assert "No space left" in str(said[0].message)


@case(ours=True)
def trace_that_reaches_its_limit_is_whole():
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with mp.ProcessPoolExecutor(1, trace="trace.json") as pool:
            pool.submit(nothing).result()
            resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, limits[1]))
            for number in range(5000):
                assert pool.submit(add, number).result() == number + 1
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.category for each in caught] == [RuntimeWarning]
    assert len(checked("trace.json")[1]) > 100


@case(ours=True)
def workers_are_replaced_while_it_is_traced():
    with mp.ProcessPoolExecutor(2, on_worker_death="fail_task", trace="trace.json") as pool:
        for number in range(3):
            future, worker = held(pool, f"a-{number}")
            os.kill(worker, 9)
            future.exception()
            gone(worker)
            list(pool.map(pid_after, range(20)))
    trace, tasks = checked("trace.json")
    assert len(tasks) == 63
    assert len([each for each in trace if each.get("cat") == "death"]) == 3


if __name__ == "__main__":
    main()
