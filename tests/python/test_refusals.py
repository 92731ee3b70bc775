"""What can't travel is refused, in one message that names its path."""

from __future__ import annotations

import functools
import io
import os
import pickle
import socket
import sqlite3
import threading
from collections.abc import Callable
from multiprocessing import context, get_context
from typing import Any

import pytest
from travelling import RunMain, starting

from procession import reduction


class Db:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class Slotted:
    __slots__ = ("n", "sock")

    def __init__(self) -> None:
        self.n, self.sock = 1, threading.Lock()


class Holder:
    def __init__(self, value: object) -> None:
        self.value = value
        self.numbers = [1, 2]

    def run(self) -> None:
        pass


class Refusing:
    def __reduce__(self) -> str:
        raise KeyError("nope")


class TwoArguments(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a, b)


class RefusingOddly:
    def __getstate__(self) -> object:
        raise TwoArguments(1, 2)


def nothing(*_: object, **__: object) -> None:
    pass


def closure_over(value: object) -> Callable[[], object]:
    def inner() -> object:
        return value

    return inner


LOCK = "is a '_thread.lock' object, which can't be pickled; create it in the child"
HOLDER = Holder({"k": [0, Db()]})


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], type[Exception], str]] = {
    "args": (lambda: {"args": (1, threading.Lock())}, TypeError, f"args[1] {LOCK}"),
    "attribute": (lambda: {"args": (Holder(Db()),)}, TypeError, f"args[0].value.lock {LOCK}"),
    "containers": (lambda: {"args": (HOLDER,)}, TypeError, f"args[0].value['k'][1].lock {LOCK}"),
    "slots": (lambda: {"args": (Slotted(),)}, TypeError, f"args[0].sock {LOCK}"),
    "kwargs": (
        lambda: {"kwargs": {"x": [0, threading.Lock()]}},
        TypeError,
        f"kwargs['x'][1] {LOCK}",
    ),
    "key": (lambda: {"args": ({Slotted(): 1},)}, TypeError, ".sock " + LOCK),
    "long list": (
        lambda: {"args": ([0] * 9999 + [threading.Lock()],)},
        TypeError,
        f"args[0][9999] {LOCK}",
    ),
    "bound method": (
        lambda: {"target": HOLDER.run},
        TypeError,
        "target.__self__.value['k'][1].lock",
    ),
    "partial": (
        lambda: {"target": functools.partial(nothing, 1, z=threading.Lock())},
        TypeError,
        f"target.keywords['z'] {LOCK}",
    ),
    "closure": (
        lambda: {"target": closure_over(Db())},
        TypeError,
        f"target's closure variable 'value' → value.lock {LOCK}",
    ),
    "generator": (lambda: {"args": (iter(x for x in ()),)}, TypeError, "pass list(...) of it"),
    "file": (lambda: {"args": (open(os.devnull),)}, TypeError, "pass its path"),  # noqa: SIM115
    "thread": (
        lambda: {"args": (threading.Thread(),)},
        TypeError,
        "args[0] is a 'threading.Thread' object",
    ),
    "database": (
        lambda: {"args": (sqlite3.connect(":memory:"),)},
        TypeError,
        "open it in the child",
    ),
    "module": (lambda: {"args": (socket,)}, TypeError, "import it in the child"),
    "own reduction": (
        lambda: {"args": (Refusing(),)},
        KeyError,
        "args[0] is a 'test_refusals.Refusing' object whose __reduce__ raised KeyError: 'nope'",
    ),
    "odd exception": (
        lambda: {"args": ([RefusingOddly()],)},
        TypeError,
        "args[0][0] is a 'test_refusals.RefusingOddly' object whose __getstate__ raised TwoArg",
    ),
    "too deep": (lambda: {"args": (deep(),)}, RecursionError, "args[0] is nested too deeply"),
}


@pytest.mark.parametrize(("process", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_refusal(process: Callable[[], dict[str, Any]], kind: type[Exception], text: str) -> None:
    arguments = process()
    obj = get_context("spawn").Process(**{"target": nothing, **arguments})
    with pytest.raises(kind) as raised, starting():
        reduction.dumps_process({}, obj, method="spawn")
    (message,) = raised.value.args
    assert message.startswith(f"cannot send {obj.name!r} to its process (start method 'spawn'): ")
    assert text in message
    assert raised.value.__cause__ is not None
    assert "\n" not in message
    for value in arguments.get("args", ()):
        if isinstance(value, (io.IOBase, sqlite3.Connection)):
            value.close()


def test_refusal_of_a_global(run_main: RunMain) -> None:
    main = run_main(
        """
        import threading
        class Db:
            def __init__(self): self.lock = threading.Lock()
        db = Db()
        def query(): return db
        def run(): return query()
        """
    )
    path = r"target's global 'query' → query's global 'db' → db\.lock is"
    with pytest.raises(TypeError, match=path), starting():
        reduction.dumps_process({}, get_context("spawn").Process(target=main.run))


def test_refusal_in_a_subclass_of_process() -> None:
    class Worker(get_context("spawn").Process):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.db = Db()

    refused = r"self\.db\.lock is a '_thread\.lock' object"
    with pytest.raises(TypeError, match=refused), starting():
        reduction.dumps_process({}, Worker())


def test_explained_value() -> None:
    with pytest.raises(TypeError) as raised:
        reduction.dumps({"a": Db()})
    error = reduction.explained({"a": Db()}, raised.value, what="an item to 'jobs'", root="item")
    assert isinstance(error, TypeError)
    assert str(error).startswith(f"cannot send an item to 'jobs': item['a'].lock {LOCK}")


def test_explanation_of_what_fails_only_once() -> None:
    error = reduction.explained(1, pickle.PicklingError("no luck"), what="it")
    assert (type(error), str(error)) == (pickle.PicklingError, "cannot send it: no luck")


def test_explanation_leaves_the_start_as_it_was() -> None:
    with starting():
        popen = context.get_spawning_popen()
        reduction.explained([threading.Lock()], TypeError("x"), what="it")
        assert context.get_spawning_popen() is popen
