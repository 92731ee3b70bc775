"""Cases for test_shared.py: shared dicts, lists and counters."""

from __future__ import annotations

import copy
import decimal
import enum
import fractions
import os
import random
import resource
import signal
import threading
import time
from collections import namedtuple
from collections.abc import MutableMapping, MutableSequence
from multiprocessing import resource_sharer

import watch
from body import METHODS, case, main, mp, raises, run, started

from procession import _engine

try:
    import numpy as np  # with threads and descriptors of its own from now on
except ImportError:
    np = None

WORDS = ["", "a", "key", "ключ", "x" * 300, "y" * 40_000]


@case(ours=True)
def a_dict():
    d = mp.shared_dict({"a": 1}, b=[1, 2])
    assert d == {"a": 1, "b": [1, 2]}
    assert {"a": 1, "b": [1, 2]} == d  # noqa: SIM300
    assert d != {"a": 1}
    assert repr(d) == "SharedDict({'a': 1, 'b': [1, 2]})"
    d["b"].append(3)  # a copy
    assert d["b"] == [1, 2]
    with raises(KeyError, "'c'"):
        d["c"]
    with raises(KeyError, "'c'"):
        del d["c"]
    with raises(KeyError, "'c'"):
        d.pop("c")
    assert d.get("c") is None
    assert d.get("c", 5) == d.pop("c", 5) == d.setdefault("c", 5) == d["c"] == 5
    assert d.setdefault("c", 6) == 5
    assert list(d) == ["a", "b", "c"]
    assert list(reversed(d)) == ["c", "b", "a"]
    assert list(d.keys()) == ["a", "b", "c"]
    assert list(d.values()) == [1, [1, 2], 5]
    assert list(d.items()) == [("a", 1), ("b", [1, 2]), ("c", 5)]
    assert ("a", 1) in d.items()
    assert 5 in d.values()
    assert len(d.keys()) == len(d) == 3
    del d["a"]
    d["a"] = 2
    assert d.popitem() == ("a", 2)
    d |= {"z": 0}
    d.update([("z", 1)], y=2)
    assert d | {"q": 1} == {"b": [1, 2], "c": 5, "z": 1, "y": 2, "q": 1}
    assert {"q": 1} | d == {"q": 1, "b": [1, 2], "c": 5, "z": 1, "y": 2}
    assert copy.copy(d) == copy.deepcopy(d) == d.copy() == mp.shared_dict(d) == d
    assert type(copy.copy(d)) is dict
    assert isinstance(d, MutableMapping)
    with raises(TypeError, "unhashable"):
        hash(d)
    d.clear()
    assert len(d) == 0
    assert not d
    with raises(KeyError, "empty"):
        d.popitem()
    d[None] = None
    assert None in d
    assert d[None] is None
    d["itself"] = d
    d["itself"]["new"] = 1
    assert d["new"] == 1
    assert "SharedDict(...)" in repr(d)


class Level(enum.IntEnum):
    HIGH = 7


class Name(enum.StrEnum):
    A = "a"


class Colour(enum.Enum):
    RED = 1


Point = namedtuple("Point", "x y")

EQUAL = [
    (1, 1.0),
    (1, True),
    (0, -0.0),
    (0, False),
    (Level.HIGH, 7),
    (Name.A, "a"),
    (Point(1, 2), (True, 2.0)),
    ((1, (2.0, "x")), (1.0, (2, "x"))),
    (10**30, 10**30),
    (float(10**22), 10**22),
    (fractions.Fraction(1, 2), 0.5),
    (fractions.Fraction(4, 2), 2),
    (decimal.Decimal("0.1"), fractions.Fraction(1, 10)),
    (decimal.Decimal("inf"), float("inf")),
    (complex(2, 0), 2),
    (complex(0.5, -0.0), 0.5),
    (complex(1, 2), complex(1.0, 2.0)),
    (frozenset("abcdef"), frozenset("fedcba")),
    (frozenset([1, ("x", 2)]), frozenset([("x", 2.0), True])),
    ("y" * 100_000, "y" * 100_000),
    (b"y" * 100_000, b"y" * 100_000),
    (tuple(range(300)), tuple(map(float, range(300)))),
    (Colour.RED, Colour.RED),
    (int, int),
    (None, None),
]
DIFFERENT = [1, 2, "1", b"1", (1,), ("1",), 1.5, None, ..., (), frozenset(), -1, 2**70, 1j, int]


def find_equals(d):
    for number, (_, other) in enumerate(EQUAL):
        assert d[number, other] == number, other
    for key in DIFFERENT:
        assert d[key] == repr(key)


@case(ours=True)
def keys_are_equal_as_in_a_dict():
    d = mp.shared_dict()
    for number, (key, other) in enumerate(EQUAL):
        assert key == other
        one = mp.shared_dict({key: 1})
        one[other] = 2
        (kept,) = one
        assert kept == key
        assert type(kept) is type(key)
        assert one == {key: 2}
        assert one.popitem() == (key, 2)
        d[number, key] = number
    for key in DIFFERENT:
        d[key] = repr(key)
    assert len(d) == len(EQUAL) + len(DIFFERENT)
    assert run(find_equals, d).exitcode == 0
    for key in ([], ("a", []), {}, (1, {2})):
        with raises(TypeError, "unhashable"):
            d[key] = 1
        with raises(TypeError, "unhashable"):
            key in d  # noqa: B015


class Place:
    def __init__(self, row, column):
        self.row, self.column = row, column

    def __eq__(self, other):
        return (self.row, self.column) == (other.row, other.column)

    def __hash__(self):
        return hash((self.row, self.column))


def find_place(d):
    assert d[Place("".join(["a", "b"]), "ab")] == 1
    (key,) = d
    assert key == Place("ab", "ab")
    d[key] = 2


@case(ours=True)
def keys_of_any_class():
    same = "ab"
    d = mp.shared_dict({Place(same, same): 1})
    assert run(find_place, d).exitcode == 0
    assert d == {Place("ab", "ab"): 2}


@case(ours=True)
def like_a_dict():
    d, model = mp.shared_dict(), {}
    choice = random.Random(1)
    values = [None, 1, 2.5, "text", b"bytes", [1, {"a": 2}], "z" * 30_000, b"w" * 200_000, (1, "x")]
    for _ in range(6000):
        key = choice.choice([choice.randrange(300), str(choice.randrange(20)), (1, 2.0), True])
        what = choice.randrange(12)
        if what == 0:
            assert d.pop(key, "no") == model.pop(key, "no")
        elif what == 1 and model and choice.random() < 0.3:
            assert d.popitem() == model.popitem()
        elif what == 2:
            assert d.setdefault(key, 1) == model.setdefault(key, 1)
        elif what == 3:
            assert (key in d) == (key in model)
            assert d.get(key) == model.get(key)
        elif what == 4 and choice.random() < 0.01:
            d.clear()
            model.clear()
        elif what == 5:
            d.update_with(key, repr, 0)
            model[key] = repr(model.get(key, 0))[:100_000]
            d[key] = model[key]
        else:
            d[key] = model[key] = choice.choice(values)
        assert len(d) == len(model)
    assert list(d.items()) == list(model.items())
    assert [type(key) for key in d] == [type(key) for key in model]


@case(ours=True)
def a_list():
    row = mp.shared_list([3, 1, 2])
    assert row == [3, 1, 2]
    assert row != [3, 1]
    assert repr(row) == "SharedList([3, 1, 2])"
    row.sort()
    row.reverse()
    assert row.copy() == [3, 2, 1]
    row.sort(key=lambda value: -value, reverse=True)
    assert row == [1, 2, 3]
    assert [row[0], row[-1], row[1:], row[::-1]] == [1, 3, [2, 3], [3, 2, 1]]
    for index in (3, -4):
        with raises(IndexError, "list index out of range"):
            row[index]
        with raises(IndexError, "list assignment index out of range"):
            row[index] = 0
        with raises(IndexError, "pop index out of range"):
            row.pop(index)
    with raises(TypeError):
        row["a"]
    with raises(ValueError, "not in list"):
        row.remove(9)
    with raises(ValueError):
        row.index(9)
    row.append([])
    row[3].append("a copy")
    assert row[3] == []
    row += ["x", "x"]
    assert [row.count("x"), row.index("x"), "x" in row, len(row)] == [2, 4, True, 6]
    row.remove("x")
    assert row + [1] == [1, 2, 3, [], "x", 1]  # noqa: RUF005
    assert [1] + row == [1, 1, 2, 3, [], "x"]  # noqa: RUF005
    assert row * 2 == row.copy() * 2
    assert list(reversed(row)) == row[::-1]
    assert isinstance(row, MutableSequence)
    row.extend(row)
    assert len(row) == 10
    row[:] = row
    row.clear()
    assert row == []
    with raises(IndexError, "pop from empty list"):
        row.pop()
    assert type(copy.deepcopy(row)) is list
    row.append(row)
    assert repr(row) == "SharedList([SharedList(...)])"


@case(ours=True)
def like_a_list():
    row, model = mp.shared_list(), []
    choice = random.Random(2)
    values = [None, 1, "text", [1], "z" * 30_000, (1, 2)]
    for _ in range(3000):
        value = choice.choice(values)
        at, end = choice.randrange(-60, 60), choice.randrange(-60, 60)
        what = choice.randrange(9)
        for each in (row, model):
            if what == 0:
                each.insert(at, value)
            elif what == 1:
                each.append(value)
            elif what == 2:
                each.extend([value, at])
            elif what == 3 and len(model) > 20:
                del each[at : at + 5]
            elif what == 4:
                each[at : at + 2] = [value, end, at]
            elif what == 5 and -len(model) <= at < len(model):
                each[at] = value
            elif what == 6 and -len(model) <= at < len(model):
                each.pop(at)
            elif what == 7:
                each.sort(key=repr)
            elif what == 8 and len(model) > 60:
                del each[::3]
        assert len(row) == len(model)
        assert row[at:end] == model[at:end]
    assert row == model


@case(ours=True)
def a_counter():
    c = mp.shared_counter(5)
    assert c.add() == 6
    assert c.add(-10) == -4
    c += 1
    c -= 2
    assert c.value == int(c) == -5
    assert c.exchange(1 << 62) == -5
    assert repr(c) == f"SharedCounter({1 << 62})"
    with raises(OverflowError):
        c.add(1 << 62)
    c.set(0)
    assert c.value == 0


def use(d, row, c, count):
    for _ in range(count):
        d.update_with("sum", lambda value: value + 1, 0)
        row.append(os.getpid())
        c.add()
        with d.lock:
            d["locked"] = d.get("locked", 0) + 1


@case(ours=True)
def processes_use_them_at_once():
    d, row, c = mp.shared_dict(), mp.shared_list(), mp.shared_counter()
    processes = [started(use, d, row, c, 500) for _ in range(3)]
    use(d, row, c, 500)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert d == {"sum": 2000, "locked": 2000}
    assert len(row) == c.value == 2000
    assert {row.count(process.pid) for process in processes} == {500}


@case(ours=True)
def threads_use_them_at_once():
    d, row, c = mp.shared_dict(), mp.shared_list(), mp.shared_counter()
    threads = [threading.Thread(target=use, args=(d, row, c, 300)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert d == {"sum": 900, "locked": 900}
    assert len(row) == c.value == 900


@case(ours=True)
def update_with_sees_what_others_set():
    d = mp.shared_dict(a=1)
    calls = []

    def function(value):
        calls.append(value)
        if len(calls) == 1:
            d["a"] = 10  # by somebody who doesn't hold the lock
        return value + 1

    assert d.update_with("a", function) == 11
    assert calls == [1, 10]
    with raises(KeyError, "'b'"):
        d.update_with("b", function)
    with raises(ZeroDivisionError):
        d.update_with("a", lambda value: value // 0)
    assert d == {"a": 11}
    with raises(TypeError):
        d.update_with("a", function, 1, 2)


def answer(by):
    d, row, c = by.recv() if hasattr(by, "recv") else by.get()
    c.add(row[0])
    d["done"] = c


def count_up(d, row, c):
    c.add(row[0])
    return d["nested"]["deep"]


@case(ours=True)
def travel_through_queues_connections_and_pools():
    nested = mp.shared_dict(deep="found")
    d, row, c = mp.shared_dict(nested=nested), mp.shared_list([7]), mp.shared_counter()
    q = mp.Queue()
    process = started(answer, q)
    q.put((d, row, c))
    process.join()
    assert d["done"].value == c.value == 7
    reader, writer = mp.Pipe(duplex=False)
    process = started(answer, reader)
    writer.send((d, row, c))
    process.join()
    assert c.value == 14
    reader.close()
    writer.close()
    with mp.Pool(1) as pool:
        assert pool.apply(count_up, (d, row, c)) == "found"
    assert c.value == 21
    resource_sharer.stop()


def fill(d, method):
    d[method] = os.getpid()


@case(ours=True, warm=False)  # each method keeps something ready
def go_to_every_context():
    for method in METHODS:
        context = mp.get_context(method)
        d, row, c = context.shared_dict(), context.shared_list([1]), context.shared_counter(1)
        process = started(fill, d, method, context=context)
        process.join()
        assert d[method] == process.pid
        assert row[0] == c.value == 1


def change(d, row, seed):
    choice = random.Random(seed)
    while True:
        key = choice.randrange(50)
        value = str(seed) * choice.choice([1, 10, 1000, 30_000])
        what = choice.randrange(6)
        if what == 0:
            d.pop(key, None)
        elif what == 1:
            row.append(value)
        elif what == 2 and len(row) > 20:
            del row[3:10]
        elif what == 3:
            row.insert(2, value)
        else:
            d[key] = value


def wait_for_a_change(d, by):
    watch.until(lambda: any(value[:1] == by for value in d.values()), "a change")


@case(ours=True)
def their_users_are_killed():
    d, row = mp.shared_dict(), mp.shared_list(["first"])
    for seed in range(10):
        process = started(change, d, row, seed)
        wait_for_a_change(d, str(seed))
        for i in range(20 * seed):
            d["mine", i % 7] = "m" * (40_000 if i % 5 == 0 else 3)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        values = [*d.values(), *row[1:]]
        assert all(value == value[0] * len(value) for value in values)
        assert row[0] == "first"
        assert len(d) == len(list(d))
        assert sum(key in d for key in [("mine", i) for i in range(7)]) == min(7, 20 * seed)


def hold_and_die(d):
    d.lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


@case(ours=True, stderr="(?s).*OwnerDied.*")
def the_lock_outlives_its_holder():
    d = mp.shared_dict(a=1)
    run(hold_and_die, d)
    with d.lock:
        d["a"] += 1
    assert d["a"] == 2


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not this one")


@case(ours=True)
def what_cant_be_pickled_changes_nothing():
    d, row = mp.shared_dict(a=1), mp.shared_list([1])
    for change_it in (
        lambda value: d.__setitem__("a", value),
        lambda value: d.__setitem__(value, "a"),
        lambda value: d.setdefault("b", value),
        lambda value: row.append(value),
        lambda value: row.extend([2, value]),
        lambda value: row.__setitem__(0, value),
        lambda value: row.__setitem__(slice(0, 1), [value]),
    ):
        with raises(TypeError, "not this one"):
            change_it(Unpicklable())
    assert d == {"a": 1}
    assert row == [1]


@case(ours=True)
def arrays():
    if np is None:
        return
    d = mp.shared_dict(array=np.arange(100_000))
    fetched = d["array"]
    fetched[0] = 5  # a copy, and writable
    assert d["array"][0] == 0
    assert (d["array"][1:] == fetched[1:]).all()
    row = mp.shared_list([fetched, fetched[:3]])
    assert (row[0] == fetched).all()
    assert row[1].tolist() == [5, 1, 2]


@case(ours=True, warm=False)  # whose start would make an arena that is never full
def full_memory_changes_nothing():
    limits = resource.getrlimit(resource.RLIMIT_AS)
    size = int(watch.read("/proc/self/statm").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1400 << 20), limits[1]))
    d = mp.shared_dict(a=1)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    row, big = mp.shared_list([1]), bytes(1 << 20)
    for number in range(1 << 12):
        try:
            d[number] = big
        except MemoryError:
            break
    else:
        raise AssertionError("there is no end to it")
    for change_it in (
        lambda: d.__setitem__("a", big * 2),
        lambda: d.__setitem__("b", big * 2),
        lambda: row.append(big * 2),
        lambda: row.extend([5, big * 2]),
        lambda: row.__setitem__(slice(None), [big * 2]),
        lambda: row.insert(0, big * 2),
    ):
        with raises(MemoryError, "no memory for a shared container"):
            change_it()
    assert row == [1]
    assert len(d) == number + 1
    assert d["a"] == 1
    assert d[number - 1] == big
    del d[number - 1]
    d["a"] = big
    d.clear()
    row.append(big * 2)
    assert row == [1, big * 2]


def set_and_leave(d, row):
    d["by the child"] = bytes(1 << 18)
    row.append(bytes(1 << 18))


@case(ours=True)
def nothing_of_them_is_left():
    _engine.sweep_commons()
    before = _engine.commons_usage()[:3]
    for _ in range(10):
        d, row, c = mp.shared_dict(), mp.shared_list(), mp.shared_counter()
        for i in range(1000):
            d[i] = str(i)
            row.append(bytes(20_000 if i % 50 == 0 else 10))
        process = started(set_and_leave, d, row)
        process.join()
        process.close()
        c.add()
        del d, row, c, process

    def clean():
        return _engine.commons_usage()[1:3] == before[1:]

    watch.until(clean, f"memory to be released: {before}, {_engine.commons_usage()}")


@case(ours=True)
def an_interrupt_ends_update_with():
    d = mp.shared_dict(a=1)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with raises(KeyboardInterrupt):
        d.update_with("a", lambda _value: time.sleep(watch.WATCHDOG_S))
    timer.join()
    assert d == {"a": 1}
    with d.lock:
        pass


if __name__ == "__main__":
    main()
