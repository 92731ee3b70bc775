"""How exceptions cross, with type, traceback and notes."""

from __future__ import annotations

import pickle
import re
import sys
import threading
from collections.abc import Callable
from types import ModuleType

import pytest
from travelling import RunMain

from procession import reduction, remote_exception


class TwoArguments(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a, b)


def round_trip(error: BaseException) -> BaseException:
    return reduction.load_exception(reduction.dump_exception(error))


def raised_by(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError


def test_exception_comes_back_with_its_traceback() -> None:
    error = raised_by(lambda: {}["missing"])  # type: ignore[index]
    again = round_trip(error)
    assert (type(again), again.args) == (KeyError, ("missing",))
    assert type(again.__cause__).__name__ == "RemoteTraceback"
    assert "raised_by" in str(again.__cause__)
    assert "KeyError: 'missing'" in str(again.__cause__)


def test_notes_come_back() -> None:
    error = ValueError("x")
    error.add_note("a note")
    assert getattr(round_trip(error), "__notes__", None) == ["a note"]
    error = TwoArguments(1, 2)
    error.add_note("another")
    assert getattr(round_trip(error), "__notes__", None) == ["another"]


class Unlucky(Exception):
    def __init__(self, *, keyword: int) -> None:
        super().__init__(keyword)

    def __str__(self) -> str:
        return "unlucky"


class NoState(Exception):
    def __reduce__(self) -> str:
        raise OSError

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Unlucky(keyword=1), "test_remote_exception.Unlucky: unlucky"),
        (NoState(), "test_remote_exception.NoState: <its str() raises>"),
        (ValueError(threading.Lock()), "ValueError: <unlocked _thread.lock"),
    ],
)
def test_exception_that_cannot_be_rebuilt(error: Exception, text: str) -> None:
    again = round_trip(error)
    assert isinstance(again, reduction.RemoteException)
    assert str(again).startswith(text)
    assert str(pickle.loads(pickle.dumps(again))) == str(again)


def test_exception_whose_class_is_unknown_here(
    run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("of_the_child")
    exec("class Gone(Exception): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "of_the_child", module)
    data = reduction.dump_exception(module.Gone("x"))
    monkeypatch.delitem(sys.modules, "of_the_child")
    again = reduction.load_exception(data)
    assert (type(again), str(again)) == (reduction.RemoteException, "of_the_child.Gone: x")


def test_exception_class_of_main(run_main: RunMain) -> None:
    main = run_main("class Mine(Exception): pass")
    assert type(round_trip(main.Mine("x"))) is main.Mine


def test_exception_of_deep_recursion() -> None:
    def down() -> None:
        down()

    assert isinstance(round_trip(raised_by(down)), RecursionError)


def test_exception_group() -> None:
    again = round_trip(ExceptionGroup("several", [ValueError(1), KeyError(2)]))
    assert isinstance(again, ExceptionGroup)
    assert [type(one) for one in again.exceptions] == [ValueError, KeyError]


def test_exception_in_one_line() -> None:
    error = ValueError("two\nlines")
    error.add_note("a note")
    assert remote_exception.in_one_line(error) == "ValueError: two lines (a note)"
    assert remote_exception.in_one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_frames_are_told_where_nothing_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("no luck")

    error = raised_by(fail)
    monkeypatch.setitem(sys.modules, "traceback", None)  # as where no descriptor is free
    text = str(round_trip(error).__cause__)
    assert re.search(
        rf'File "{re.escape(__file__)}", line \d+, in fail\nValueError: no luck\n', text
    )
