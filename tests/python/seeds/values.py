"""Values of classes defined in main go to a child and come back as the same classes."""

import collections
import dataclasses
import enum
import multiprocessing as mp
import typing
from concurrent.futures import ProcessPoolExecutor


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


class Size(typing.NamedTuple):
    width: int
    height: int


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Flags(enum.Flag):
    A = enum.auto()
    B = enum.auto()


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Refused(Exception):
    def __init__(self, reason, code):
        super().__init__(reason, code)
        self.code = code


Old = collections.namedtuple("Old", "a b")
VALUES = [Point(1), Size(2, 3), Level.HIGH, Flags.A | Flags.B, Slotted(4), Old(5, Point(6))]


def same(value):
    kinds = (Point, Size, Level, Flags, Slotted, Old)
    assert isinstance(value, kinds), type(value)
    return value


def refuse(reason):
    raise Refused(reason, 5)


def answer(connection):
    connection.send([same(value) for value in connection.recv()])


def check(values):
    print([type(a) is type(b) for a, b in zip(values, VALUES, strict=True)])
    print(values[:3], values[2] is Level.HIGH, values[4].value, values[5] == VALUES[5])


if __name__ == "__main__":
    # mp.set_start_method("fork")
    ours, theirs = mp.Pipe()
    process = mp.Process(target=answer, args=(theirs,))
    process.start()
    ours.send(VALUES)
    check(ours.recv())
    process.join()
    with ProcessPoolExecutor(max_workers=1) as executor:
        check(list(executor.map(same, VALUES)))
        try:
            executor.submit(refuse, "no").result()
        except Refused as error:
            print("refused", error.args, error.code)
    with mp.Pool(1) as pool:
        check(pool.map(same, VALUES))
        try:
            pool.apply(refuse, ("never",))
        except Refused as error:
            print("refused", error.args, error.code)
