"""Everything that a main module hands to its children, in one program."""

import collections
import dataclasses
import enum
import functools
import math
import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor

SCALE = 7
Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass
class Point:
    x: int
    y: int

    def moved(self, by):
        return Point(self.x + by, self.y + by)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Outer:
    class Inner:
        def __init__(self, n):
            self.n = n

        def square(self):
            return self.n**2

        def show(self):
            print("~ nested class", self.square())


class Worker(mp.Process):
    def __init__(self, n):
        super().__init__()
        self.n = n

    def run(self):
        print("~ Process subclass", scaled(self.n))


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def scaled(n):
    return Point(SCALE * n, math.isqrt(n))


def swapped(pair):
    return Pair(pair.right, pair.left)


def other(colour):
    return Colour.BLUE if colour is Colour.RED else Colour.RED


def hello(who, *, mark="!"):
    print(f"~ hello {who}{mark}", scaled(4), fib(10))


def adder(by):
    def add(n):
        return Point(n + by, SCALE)

    return add


def shower(text):
    def show():
        print("~ closure", text, SCALE)

    return show


def put_point(queue):
    queue.put(scaled(9))


def run(process):
    process.start()
    process.join()
    assert process.exitcode == 0, process


def processes():
    run(mp.Process(target=hello, args=("bob",), kwargs={"mark": "?"}))
    run(mp.Process(target=lambda: print("~ lambda", fib(9), SCALE)))
    run(mp.Process(target=shower("text")))
    run(mp.Process(target=Outer.Inner(5).show))
    run(mp.Process(target=functools.partial(hello, "partial", mark=".")))
    run(Worker(16))
    queue = mp.SimpleQueue()
    run(mp.Process(target=put_point, args=(queue,)))
    point = queue.get()
    print("~ from a queue", point, type(point) is Point)


def executor():
    with ProcessPoolExecutor(max_workers=2) as pool:
        print("~ submit", pool.submit(fib, 12).result())
        points = list(pool.map(scaled, range(3)))
        print("~ map", points, all(isinstance(p, Point) for p in points))
        pair = pool.submit(swapped, Pair(1, scaled(2))).result()
        print("~ namedtuple", pair, isinstance(pair, Pair), isinstance(pair.left, Point))
        print("~ enum", pool.submit(other, Colour.RED).result() is Colour.BLUE)
        print("~ submit bound method", pool.submit(Point(1, 2).moved, 3).result() == Point(4, 5))
        print("~ submit lambda", pool.submit(lambda n: scaled(n).x, 3).result())
        print("~ submit closure", isinstance(pool.submit(adder(3), 4).result(), Point))
        print("~ submit partial", pool.submit(functools.partial(pow, 2), 5).result())
        print("~ submit nested class", pool.submit(Outer.Inner, 6).result().square())


def pool():
    with mp.Pool(2) as pool:
        print("~ Pool.map", pool.map(fib, range(8)))
        print("~ Pool.apply", pool.apply(scaled, (25,)) == Point(175, 5))
        print("~ Pool.map lambda", pool.map(lambda n: Pair(n, SCALE), range(2)))
        print("~ Pool.apply closure", isinstance(pool.apply(adder(1), (1,)), Point))
        print("~ Pool.map bound method", pool.map(Point(0, 0).moved, [1]) == [Point(1, 1)])


if __name__ == "__main__":
    # mp.set_start_method("fork")
    processes()
    executor()
    pool()
