"""Bodies: queues."""

import asyncio
import functools
import os
import queue
import signal
import struct
import threading
import time
from multiprocessing import connection, resource_sharer

import watch
from body import ENGINE, METHODS, case, interrupt, main, mp, raises, started

if ENGINE == "procession":
    from procession import _engine

MANY = 500


def put_all(items, to):
    for item in items:
        to.put(item)


def echo(source, to):
    while (item := source.get()) is not None:
        to.put(item)


@case()
def first_in_first_out():
    q = mp.Queue()
    process = started(put_all, range(MANY), q)
    assert [q.get() for _ in range(MANY)] == list(range(MANY))
    process.join()
    assert q.empty()


@case()
def many_to_many():
    there, back = mp.Queue(), mp.Queue()
    items = [[(number, i) for i in range(MANY)] for number in range(3)]
    producers = [started(put_all, each, there) for each in items]
    consumers = [started(echo, there, back) for _ in range(2)]
    seen = [back.get() for _ in range(3 * MANY)]
    for process in producers:
        process.join()
    for _ in consumers:
        there.put(None)
    for process in consumers:
        process.join()
        assert process.exitcode == 0
    assert sorted(seen) == sorted([*items[0], *items[1], *items[2]])


@case()
def one_producers_items_stay_in_order():
    q = mp.Queue()
    producers = [started(put_all, [(n, i) for i in range(MANY)], q) for n in range(2)]
    seen = [q.get() for _ in range(2 * MANY)]
    for number in range(2):
        assert [i for n, i in seen if n == number] == list(range(MANY))
    for process in producers:
        process.join()


@case()
def bounded():
    q = mp.Queue(2)
    q.put("a")
    q.put("b")
    assert q.full()
    assert q.qsize() == 2
    with raises(queue.Full):
        q.put_nowait("c")
    with raises(queue.Full):
        q.put("c", timeout=0.01)
    assert q.get() == "a"
    q.put("c")
    assert [q.get(), q.get()] == ["b", "c"]
    with raises(queue.Empty):
        q.get_nowait()
    with raises(queue.Empty):
        q.get(timeout=0.01)


@case()
def a_put_waits_for_room():
    q = mp.Queue(1)
    process = started(put_all, range(MANY), q)
    assert [q.get() for _ in range(MANY)] == list(range(MANY))
    process.join()


@case(ours=True)
def size_is_exact():
    q = mp.Queue()
    for number in range(100):
        assert q.qsize() == number
        q.put(number)
    for number in range(100, 0, -1):
        assert q.qsize() == number
        q.get()
    assert q.empty()


def do_all(q):
    while (item := q.get()) is not None:
        del item
        q.task_done()


@case()
def joinable():
    q = mp.JoinableQueue()
    for number in range(20):
        q.put(number)
    process = started(do_all, q)
    q.join()
    q.put(None)
    process.join()
    q.task_done()
    with raises(ValueError, "too many times"):
        q.task_done()


@case()
def simple():
    there, back = mp.SimpleQueue(), mp.SimpleQueue()
    process = started(echo, there, back)
    for item in (1, "two", [3], {"f": 4.0}, b"5"):
        there.put(item)
        assert back.get() == item
    there.put(None)
    process.join()
    assert back.empty()


@case()
def closed():
    q = mp.Queue()
    q.close()
    with raises(ValueError, "is closed"):
        q.put(1)
    with raises(ValueError, "is closed"):
        q.get()
    q.join_thread()


class Mine:
    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return self.value == other.value


@case()
def values_of_every_size():
    there, back = mp.Queue(), mp.Queue()
    process = started(echo, there, back)
    values = [b"x" * size for size in (0, 1, 65535, 65536, 1 << 20, 1 << 24)]
    values += [
        bytearray(1 << 18),
        "ä" * (1 << 18),
        list(range(1 << 17)),
        Mine({"a": [1] * 100_000}),
    ]
    for value in values:
        there.put(value)
        received = back.get()
        assert type(received) is type(value)
        assert received == value
    there.put(None)
    process.join()


@case(ours=True, warm=False)  # NumPy's import leaves a descriptor
def arrays_are_writable():
    try:
        import numpy
    except ImportError:
        return
    q = mp.Queue()
    before = _engine.commons_usage()[2]
    array = numpy.arange(1_000_000)
    q.put({"it": array})
    received = q.get()["it"]
    assert (received == array).all()
    received += 1
    assert (received == array + 1).all()
    view = received[5:10]
    del received
    assert list(view) == [6, 7, 8, 9, 10]
    del view
    assert _engine.commons_usage()[2] == before


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not this one")


@case(ours=True)
def what_cant_be_pickled_is_refused_by_put():
    for q in (mp.Queue(1), mp.JoinableQueue(), mp.SimpleQueue()):
        with raises(TypeError, "not this one"):
            q.put([Unpicklable()])
        q.put("fine")
        assert q.get() == "fine"
        assert q.empty()
    with raises(TypeError, "obj", "lock"):
        mp.Queue().put({"db": threading.Lock()})


@case(ours=True)
def a_hook_of_the_programs_gets_what_cant_be_pickled():
    from procession import queues

    class Hooked(queues.Queue):
        def _on_queue_feeder_error(self, error, obj):
            seen.append((type(error), obj))

    seen, item = [], Unpicklable()
    q = Hooked(ctx=mp.get_context())
    q.put(item)
    assert seen == [(TypeError, item)]
    assert q.empty()


def fail(text):
    raise LookupError(text)


class FailsToLoad:
    def __reduce__(self):
        return fail, ("never again",)


def put_what_fails(q):
    put_all([FailsToLoad(), "next"], q)


@case(ours=True)
def what_cant_be_unpickled_names_its_producer():
    q = mp.Queue()
    process = started(put_what_fails, q)
    with raises(LookupError, "never again") as caught:
        q.get()
    assert str(process.pid) in caught[0].__notes__[-1]
    assert q.get() == "next"
    process.join()


def put_and_die(q, count):
    for number in range(count):
        q.put(number)
    os.kill(os.getpid(), signal.SIGKILL)


@case(ours=True)
def items_outlive_their_producer():
    q = mp.Queue()
    started(put_and_die, q, MANY).join()
    assert q.qsize() == MANY
    assert [q.get() for _ in range(MANY)] == list(range(MANY))
    big = mp.Queue()
    process = started(put_and_exit, big)
    process.join()
    assert big.get() == bytes(1 << 20)


def put_and_exit(q):
    q.put(bytes(1 << 20))
    os._exit(0)


def read(path):
    """What a process that was killed has written down, if it came so far."""
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        return [each for (each,) in struct.iter_unpack("q", file.read())]


def produce(q, number, path):
    """Put numbers for ever; write down which of them put() has returned for."""
    with open(path, "ab", buffering=0) as file:
        for i in range(1 << 40):
            q.put((number, i, b"x" * (i % 100_000 if i % 50 == 0 else 8)))
            file.write(struct.pack("q", i))


@case(ours=True)
def producers_are_killed():
    q = mp.Queue()
    seen = {}
    for number in range(12):
        path = f"put-{number}"
        process = started(produce, q, number, path)
        while len(seen.setdefault(number, [])) < 30 * number:
            who, i, _ = q.get()
            seen.setdefault(who, []).append(i)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    while True:
        try:
            who, i, _ = q.get(timeout=0.2)
        except queue.Empty:
            break
        seen[who].append(i)
    for number in range(12):
        noted = len(read(f"put-{number}"))
        assert seen[number] == list(range(len(seen[number])))
        assert noted <= len(seen[number]) <= noted + 1, (number, noted, len(seen[number]))
    q.put(1)
    assert q.get() == 1
    assert q.empty()


def consume(q, path):
    with open(path, "ab", buffering=0) as file:
        while True:
            i, _ = q.get()
            file.write(struct.pack("q", i))


@case(ours=True, stderr="(?s).*")
def consumers_are_killed():
    q = mp.Queue(50)
    count = 0
    for number in range(12):
        process = started(consume, q, f"got-{number}")
        for _ in range(40 * number):
            q.put((count, bytes(70_000 if count % 40 == 0 else 8)))
            count += 1
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    rest = []
    while True:
        try:
            rest.append(q.get(timeout=0.2)[0])
        except queue.Empty:
            break
    seen = rest
    for number in range(12):
        seen += read(f"got-{number}")
    assert len(set(seen)) == len(seen), "an item was received twice"
    lost = set(range(count)) - set(seen)
    assert len(lost) <= 12, lost
    assert q.qsize() == 0
    for number in range(50):
        q.put((number, b""), timeout=watch.WATCHDOG_S)


def receive_queue(by, answer):
    q = by.recv() if hasattr(by, "recv") else by.get()
    q.put("here")
    answer.put("done")


@case(ours=True)
def travels_through_queues_and_connections():
    by, answer = mp.Queue(), mp.SimpleQueue()
    process = started(receive_queue, by, answer)
    q = mp.Queue(3)
    by.put(q)
    assert q.get() == "here"
    assert answer.get() == "done"
    process.join()
    reader, writer = mp.Pipe(duplex=False)
    process = started(receive_queue, reader, answer)
    writer.send(q)
    assert q.get() == "here"
    process.join()
    reader.close()
    writer.close()
    with mp.Pool(1) as pool:
        pool.apply(put_all, ("abc", q))
        assert [q.get(), q.get(), q.get()] == ["a", "b", "c"]
    resource_sharer.stop()


@case(ours=True, warm=False)  # each method keeps something ready
def goes_to_every_context():
    for method in METHODS:
        there, back = mp.Queue(), mp.Queue()
        process = started(echo, there, back, context=mp.get_context(method))
        there.put(method)
        assert back.get() == method
        there.put(None)
        process.join()


@case()
def can_be_waited_for():
    one, other = mp.SimpleQueue(), mp.SimpleQueue()
    process = started(put_all, ["x"], other)
    ready = connection.wait([one._reader, other._reader], watch.WATCHDOG_S)
    assert ready == [other._reader]
    assert other.get() == "x"
    assert not connection.wait([one._reader, other._reader], 0)
    process.join()


@case(ours=True)
def awaitable():
    async def both(there, back, count):
        async def send():
            for number in range(count):
                await there.aput(number)

        sending = asyncio.ensure_future(send())
        seen = [await back.aget() for _ in range(count)]
        await sending
        return seen

    there, back = mp.Queue(2), mp.Queue(2)
    process = started(echo, there, back)
    assert asyncio.run(both(there, back, MANY)) == list(range(MANY))
    there.put(None)
    process.join()


@case(ours=True)
def a_cancelled_aget_loses_nothing():
    async def impatient(q):
        with raises(TimeoutError):
            await asyncio.wait_for(q.aget(), 0.01)
        q.put("x")
        return await q.aget()

    assert asyncio.run(impatient(mp.Queue())) == "x"


def get_of_nothing(q):
    q.get()


@case()
def interrupt_ends_a_get():
    interrupt(functools.partial(get_of_nothing, mp.Queue()))


@case(ours=True)
def nothing_of_it_is_left():
    _engine.sweep_commons()
    before = _engine.commons_usage()[:3]
    for _ in range(20):
        q = mp.Queue()
        put_all([1, bytes(1 << 18)], q)
        process = started(put_all, [2, bytes(1 << 18)], q)
        process.join()
        process.close()
        del q, process

    def clean():
        return _engine.commons_usage()[1:3] == before[1:]

    watch.until(clean, f"memory to be released: {before}, {_engine.commons_usage()}")


def put_slowly(q):
    for number in range(3):
        time.sleep(0.001)
        q.put(number)


@case(ours=True)
def threads_of_one_process():
    q = mp.Queue(5)
    seen = []

    def take():
        while (item := q.get()) is not None:
            seen.append(item)

    takers = [threading.Thread(target=take) for _ in range(3)]
    givers = [threading.Thread(target=put_all, args=(range(MANY), q)) for _ in range(3)]
    for thread in takers + givers:
        thread.start()
    for thread in givers:
        thread.join()
    put_all([None] * 3, q)
    for thread in takers:
        thread.join()
    assert sorted(seen) == sorted(list(range(MANY)) * 3)


if __name__ == "__main__":
    main()
