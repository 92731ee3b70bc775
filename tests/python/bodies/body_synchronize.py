"""Bodies: locks, semaphores, conditions, events, barriers."""

import contextlib
import functools
import os
import resource
import signal
import sys
import threading
import warnings
from multiprocessing import resource_sharer

import watch
from body import ENGINE, METHODS, case, interrupt, main, mp, raises, started

if ENGINE == "procession":
    from procession import _engine

OURS = "(?s).*OwnerDied.*"
SOON = 0.05


def count_up(lock, path, times):
    for _ in range(times):
        with lock:
            with open(path) as file:
                number = int(file.read())
            with open(path, "w") as file:
                file.write(str(number + 1))


@case()
def a_lock_excludes():
    for lock in (mp.Lock(), mp.RLock(), mp.Semaphore(1), mp.BoundedSemaphore(1), mp.Condition()):
        with open("count", "w") as file:
            file.write("0")
        processes = [started(count_up, lock, "count", 50) for _ in range(3)]
        for process in processes:
            process.join()
        with open("count") as file:
            assert file.read() == "150"


@case()
def lock():
    lock = mp.Lock()
    assert lock.acquire()
    assert not lock.acquire(False)
    assert not lock.acquire(timeout=0.01)
    assert not lock.acquire(True, 0.01)
    lock.release()
    with raises(ValueError, "too many times"):
        lock.release()
    with lock:
        assert not lock.acquire(block=False)


@case()
def rlock():
    lock = mp.RLock()
    assert lock.acquire()
    assert lock.acquire()
    lock.release()
    assert not ask_in_thread(lambda: lock.acquire(False))
    lock.release()
    assert ask_in_thread(lambda: lock.acquire(False) and lock.release() is None)
    with raises(AssertionError):
        lock.release()


def ask_in_thread(function):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    thread.join()
    return answers[0]


@case()
def semaphores():
    semaphore = mp.Semaphore(2)
    assert semaphore.acquire()
    assert semaphore.acquire()
    assert not semaphore.acquire(False)
    assert semaphore.get_value() == 0
    for _ in range(4):
        semaphore.release()
    assert semaphore.get_value() == 4
    bounded = mp.BoundedSemaphore(2)
    bounded.acquire()
    bounded.release()
    with raises(ValueError):
        bounded.release()


@case(ours=True)
def a_semaphores_value_is_checked():
    for value in (-1, 1 << 40):
        with raises(ValueError, str(value)):
            mp.Semaphore(value)


def take(lock, ready, times=1):
    for _ in range(times):
        lock.acquire()
    ready.set()


def take_and_die(lock, ready):
    lock.acquire()
    ready.set()
    os.kill(os.getpid(), signal.SIGKILL)


def take_and_wait(lock, ready):
    lock.acquire()
    ready.set()
    signal.pause()


@contextlib.contextmanager
def told(kind):
    """The block must be told of a death, once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [each.category for each in caught] == [kind] * len(caught)
    assert len(caught) == 1, caught


def kinds():
    return mp.Lock(), mp.RLock(), mp.Semaphore(1), mp.BoundedSemaphore(1), mp.Condition()


@case(ours=True)
def a_dead_owner_is_found_out():
    for lock in kinds():
        ready = mp.Event()
        process = started(take_and_die, lock, ready)
        process.join()
        with told(mp.OwnerDied):
            assert lock.acquire(timeout=watch.WATCHDOG_S)
        lock.release()
        with lock:
            pass


@case(ours=True)
def the_owner_dies_while_others_wait():
    for lock in kinds():
        ready, done = mp.Event(), mp.Queue()
        owner = started(take_and_wait, lock, ready)
        ready.wait()
        waiters = [started(pass_on, lock, done) for _ in range(3)]
        assert not lock.acquire(timeout=SOON)
        owner.kill()
        assert [done.get(timeout=watch.WATCHDOG_S) for _ in waiters] == ["had it"] * 3
        for process in [owner, *waiters]:
            process.join()


def pass_on(lock, done):
    warnings.simplefilter("ignore")
    with lock:
        pass
    done.put("had it")


@case(ours=True)
def a_death_can_be_an_error():
    lock = mp.Lock()
    started(take_and_die, lock, mp.Event()).join()
    with warnings.catch_warnings():
        warnings.simplefilter("error", mp.OwnerDied)
        with raises(mp.OwnerDied, "half changed"):
            lock.acquire()
    assert lock.acquire(False)


@case(ours=True)
def a_part_of_a_semaphore_comes_back():
    semaphore = mp.Semaphore(3)
    for _ in range(3):
        started(take_and_die, semaphore, mp.Event()).join()
    with told(mp.OwnerDied):
        assert semaphore.acquire()
    assert semaphore.get_value() == 2


@case()
def a_lock_can_be_handed_on():
    lock = mp.Lock()
    for _ in range(2):
        ready = mp.Event()
        process = started(take, lock, ready)
        process.join()
        lock.release()  # by another process than its owner
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        started(take, lock, mp.Event()).join()
        assert not lock.acquire(timeout=SOON)  # it is nobody's to lose
    lock.release()


def consume(semaphore, ready):
    semaphore.acquire()
    ready.set()


@case()
def what_a_signal_was_taken_for_stays_taken():
    semaphore = mp.Semaphore(0)
    for _ in range(3):
        semaphore.release()
    ready = mp.Event()
    started(consume, semaphore, ready).join()
    assert semaphore.get_value() == 2
    assert semaphore.acquire()
    assert semaphore.acquire()
    assert not semaphore.acquire(timeout=SOON)


def wait_for(condition, number, told):
    with condition:
        told.put(("waits", number))
        condition.wait()
        told.put(("woken", number))


@case()
def a_condition_wakes_as_many_as_it_is_told():
    condition, told = mp.Condition(), mp.Queue()
    processes = [started(wait_for, condition, number, told) for number in range(3)]
    assert sorted(told.get() for _ in range(3)) == [("waits", number) for number in range(3)]
    for _ in range(3):
        with condition:
            condition.notify()
        assert told.get()[0] == "woken"
        assert not condition_is_told(told)
    for process in processes:
        process.join()


def condition_is_told(told):
    try:
        told.get(timeout=SOON)
    except Exception:
        return False
    return True


@case()
def a_condition_wakes_all():
    condition, told = mp.Condition(mp.Lock()), mp.Queue()
    processes = [started(wait_for, condition, number, told) for number in range(3)]
    for _ in range(3):
        told.get()
    with condition:
        condition.notify_all()
        assert not condition.wait(0.01)
    assert sorted(told.get() for _ in range(3)) == [("woken", number) for number in range(3)]
    for process in processes:
        process.join()
    with condition:
        assert not condition.wait_for(lambda: False, timeout=0.01)
        assert condition.wait_for(lambda: True)


@case(ours=True)
def a_killed_waiter_is_passed_over():
    condition, told = mp.Condition(), mp.Queue()
    first = started(wait_for, condition, 1, told)
    told.get()
    with condition:
        pass  # it has released the lock: it waits
    second = started(wait_for, condition, 2, told)
    told.get()
    with condition:
        pass
    first.kill()
    first.join()
    with condition:
        condition.notify()
    assert told.get(timeout=watch.WATCHDOG_S) == ("woken", 2)
    second.join()


def set_later(event, other, told):
    event.wait()
    told.release()
    other.set()


@case()
def events():
    event, other = mp.Event(), mp.Event()
    assert not event.is_set()
    assert not event.wait(0.01)
    told = mp.Semaphore(0)
    processes = [started(set_later, event, other, told) for _ in range(3)]
    event.set()
    assert other.wait(watch.WATCHDOG_S)
    for _ in processes:
        assert told.acquire(timeout=watch.WATCHDOG_S)
    assert event.is_set()
    assert event.wait()
    event.clear()
    assert not event.is_set()
    for process in processes:
        process.join()


def meet(barrier, told):
    try:
        told.put(barrier.wait())
    except threading.BrokenBarrierError:
        told.put("broken")


@case(warm=False)  # the standard's keep memory
def barriers():
    barrier, told = mp.Barrier(3), mp.Queue()
    for _ in range(2):
        processes = [started(meet, barrier, told) for _ in range(3)]
        assert sorted(told.get() for _ in range(3)) == [0, 1, 2]
        for process in processes:
            process.join()
    process = started(meet, barrier, told)
    watch.until(lambda: barrier.n_waiting == 1, "a waiter")
    barrier.abort()
    assert told.get() == "broken"
    process.join()
    barrier.reset()
    assert not barrier.broken


@case(ours=True)
def a_barrier_breaks_with_a_waiter():
    barrier, told = mp.Barrier(3), mp.Queue()
    doomed = started(meet, barrier, told)
    watch.until(lambda: barrier.n_waiting == 1, "a waiter")
    other = started(meet, barrier, told)
    watch.until(lambda: barrier.n_waiting == 2, "two waiters")
    doomed.kill()
    assert told.get(timeout=watch.WATCHDOG_S) == "broken"
    doomed.join()
    other.join()
    assert barrier.broken
    barrier.reset()
    processes = [started(meet, barrier, told) for _ in range(3)]
    assert sorted(told.get(timeout=watch.WATCHDOG_S) for _ in range(3)) == [0, 1, 2]
    for process in processes:
        process.join()


def use(items):
    lock, rlock, semaphore, bounded, condition, event, barrier = items
    for each in (lock, rlock, semaphore, bounded, condition):
        with each:
            pass
    event.set()
    return barrier.parties


def use_received(by, answer):
    answer.put(use(by.recv() if hasattr(by, "recv") else by.get()))


def all_kinds():
    return (*kinds(), mp.Event(), mp.Barrier(7))


@case(ours=True)
def travel_through_queues_connections_and_pools():
    by, answer = mp.Queue(), mp.Queue()
    process = started(use_received, by, answer)
    items = all_kinds()
    by.put(items)
    assert answer.get() == 7
    assert items[5].is_set()
    process.join()
    reader, writer = mp.Pipe(duplex=False)
    process = started(use_received, reader, answer)
    items = all_kinds()
    writer.send(items)
    assert answer.get() == 7
    process.join()
    reader.close()
    writer.close()
    with mp.Pool(1) as pool:
        items = all_kinds()
        assert pool.apply(use, (items,)) == 7
        assert items[5].is_set()
    resource_sharer.stop()


@case(ours=True, warm=False)  # each method keeps something ready
def go_to_every_context():
    for method in METHODS:
        items = all_kinds()
        process = started(use, items, context=mp.get_context(method))
        process.join()
        assert process.exitcode == 0
        assert items[5].is_set()


def use_in_thread_and_die(lock, ready):
    thread = threading.Thread(target=take, args=(lock, ready))
    thread.start()
    thread.join()
    with contextlib.suppress(Exception):
        ready.wait()
    os.kill(os.getpid(), signal.SIGKILL)


@case(ours=True)
def the_thread_that_acquired_it_ends():
    lock, ready = mp.Lock(), mp.Event()
    process = started(use_in_thread_and_die, lock, ready)
    ready.wait()
    process.join()
    with told(mp.OwnerDied):
        assert lock.acquire(timeout=watch.WATCHDOG_S)


@case(ours=True, warm=False)  # whose start would have mapped the arena
def the_arena_cant_be_mapped():
    lock, ready = mp.Lock(), mp.Event()
    process = started(take_and_die, lock, ready)
    ready.wait()
    watch.until(lambda: not watch.alive(process.pid), "the owner to die")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    size = int(watch.read("/proc/self/statm").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), limits[1]))
    process.join()
    with told(mp.OwnerDied):
        lock.acquire()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if not lock.acquire(False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with raises(OSError):
        mp.Queue()
    lock.release()
    del lock, ready
    resource.setrlimit(resource.RLIMIT_AS, limits)
    assert _engine.commons_usage()[0] == 1
    q = mp.Queue()
    q.put(bytes(1 << 20))
    assert len(q.get()) == 1 << 20


def become_another_program(lock, ready):
    lock.acquire()
    ready.set()
    os.execv("/bin/sleep", ["sleep", "1000"])


@case(ours=True)
def the_owner_becomes_another_program():
    lock, ready = mp.Lock(), mp.Event()
    process = started(become_another_program, lock, ready)
    ready.wait()
    with told(mp.OwnerDied):
        assert lock.acquire(timeout=watch.WATCHDOG_S)
    assert process.exitcode is None
    process.kill()
    process.join()


def hold_in_thread(lock, ready, go_on):
    thread = threading.Thread(target=take, args=(lock, ready))
    thread.start()
    thread.join()
    go_on.wait()
    lock.release()


@case()
def a_thread_that_ends_is_no_process_that_ends():
    lock, ready, go_on = mp.Lock(), mp.Event(), mp.Event()
    process = started(hold_in_thread, lock, ready, go_on)
    ready.wait()
    assert not lock.acquire(timeout=SOON)
    go_on.set()
    assert lock.acquire(timeout=watch.WATCHDOG_S)
    process.join()


@case(ours=True)
def a_copy_holds_nothing():
    lock, rlock = mp.Lock(), mp.RLock()
    with lock, rlock:
        pid = os.fork()
        if pid == 0:
            held = lock.acquire(False) or rlock.acquire(False)
            os._exit(1 if held else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    pid = os.fork()
    if pid == 0:
        fine = lock.acquire(False) and rlock.acquire(False)
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with told(mp.OwnerDied):
        lock.acquire()


@case(ours=True, warm=False)  # the import of ctypes leaves a descriptor
def a_values_lock_outlives_its_owner():
    value = mp.Value("i", 5)
    started(take_and_die, value.get_lock(), mp.Event()).join()
    with told(mp.OwnerDied), value.get_lock():
        value.value += 1
    assert value.value == 6


def add(items, answer):
    value, array, raw, text = items
    with value:
        value.value += 1
    array[1] = 2.5
    raw[0] = 7
    text.value = b"yes"
    answer.put(len(array))


def values():
    return mp.Value("i", 5), mp.Array("d", 3), mp.RawArray("B", 100_000), mp.Array("c", 10)


def are_changed(items):
    value, array, raw, text = items
    return (value.value, list(array), raw[0], raw[99_999], text.value) == (
        6,
        [0, 2.5, 0],
        7,
        0,
        b"yes",
    )


@case(warm=False)
def values_and_arrays():
    answer = mp.Queue()
    items = values()
    process = started(add, items, answer)
    assert answer.get() == 3
    process.join()
    assert are_changed(items)


def add_received(by, answer):
    add(by.get(), answer)


@case(ours=True, warm=False)
def values_travel_through_queues_and_pools():
    by, answer = mp.Queue(), mp.Queue()
    process = started(add_received, by, answer)
    items = values()
    by.put(items)
    assert answer.get() == 3
    process.join()
    assert are_changed(items)
    items = values()
    with mp.Pool(1) as pool:
        pool.apply(add, (items, answer))
    assert answer.get() == 3
    assert are_changed(items)


def acquire(lock):
    lock.acquire()


@case()
def interrupt_ends_an_acquire():
    lock = mp.Lock()
    with lock:
        interrupt(functools.partial(acquire, lock))


@case(ours=True)
def the_owner_is_killed_while_this_process_waits():
    lock = mp.Lock()
    for _ in range(5):
        ready = mp.Event()
        process = started(take_and_wait, lock, ready)
        ready.wait()
        killer = threading.Timer(SOON, process.kill)
        killer.start()
        with told(mp.OwnerDied):
            assert lock.acquire(timeout=watch.WATCHDOG_S)
        lock.release()
        killer.join()
        process.join()


@case(ours=True)
def nothing_of_them_is_left():
    before = _engine.commons_usage()[1:3]
    for _ in range(10):
        items = all_kinds()
        process = started(use, items)
        process.join()
        process.close()
        del items, process
    watch.until(lambda: _engine.commons_usage()[1:3] == before, "cells to be released")


@case(ours=True)
def more_than_there_are_descriptors():
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    locks = [mp.Lock() for _ in range(min(soft, 4096) + 100)]
    for each in locks:
        assert each.acquire()


if __name__ == "__main__":
    sys.exit(main())
