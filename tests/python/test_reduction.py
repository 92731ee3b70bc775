"""How functions and classes become bytes, and what a fresh process makes of them."""

from __future__ import annotations

import functools
import io
import multiprocessing.reduction
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import pytest
from travelling import RunMain, starting

from procession import main_module, reduction, spawn

HERE = Path(__file__).parent
Receive = Callable[[object, str], str]

RECEIVER = """
import pickle, sys
from procession import reduction, spawn
_, path, code = sys.argv
with open(path, "rb") as stream:
    spawn.prepare(pickle.load(stream))
    obj = pickle.load(stream)
reduction.hook()
exec(code)
sys.stdout.flush()
"""


@pytest.fixture
def receive(tmp_path: Path) -> Receive:
    """Sends an object to a fresh interpreter, as a start does; gives what it prints."""

    def receive(obj: object, code: str) -> str:
        path = tmp_path / "payload"
        with path.open("wb") as sink, starting():
            pickle.dump(spawn.get_preparation_data("Receiver", spawn.main_plan()), sink)
            reduction.ProcessPickler(sink).dump(obj)
        return run_receiver(path, code)

    return receive


def run_receiver(path: Path, code: str) -> str:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", RECEIVER, str(path), textwrap.dedent(code)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def record(obj: object) -> bytes:
    return bytes(reduction.dumps(obj))


GUARDED = """
def helper(x): return x + base
base = 1
class Thing:
    def __init__(self, x): self.x = x
if __name__ == "__main__":
    def inside(x): return helper(x) * factor
    factor = 10
"""


def test_guarded_main_goes_by_name(run_main: RunMain) -> None:
    main = run_main(GUARDED)
    for obj in (main.helper, main.Thing, main.Thing(1)):
        assert b"procession" not in record(obj)
    assert b"load_record" in record(main.inside)


def test_cloudpickle_is_imported_only_for_values(run_main: RunMain, tmp_path: Path) -> None:
    code = """
        import sys, pickle
        from procession import reduction
        if __name__ == "__main__":
            reduction.dumps([sys.exit, dict, pickle.dumps, print])
            print("cloudpickle" in sys.modules)
            reduction.dumps(lambda: 1)
            print("cloudpickle" in sys.modules)
    """
    path = tmp_path / "main.py"
    path.write_text(textwrap.dedent(code))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ended = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, env=environ, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("False\nTrue\n", "")


def test_guarded_function_uses_what_the_child_imported(run_main: RunMain, receive: Receive) -> None:
    main = run_main(GUARDED)
    assert (
        receive(main.inside, "print(obj(1), obj.__globals__ is sys.modules['__main__'].__dict__)")
        == "20 True\n"
    )
    assert (
        receive(main.Thing, "print(obj.__module__, obj is sys.modules['__main__'].Thing)")
        == "__mp_main__ True\n"
    )


def test_what_the_child_imports_is_not_sent_with_a_lambda(
    run_main: RunMain, receive: Receive
) -> None:
    main = run_main(
        """
        import threading
        lock = threading.Lock()
        if __name__ == "__main__":
            locked = lambda: lock.locked()
        """
    )
    assert receive(main.locked, "print(obj())") == "False\n"


UNGUARDED = """
import collections, dataclasses, enum, functools, typing
import os.path
factor = 2
def double(x): return x * factor
def fact(n): return 1 if n < 2 else n * fact(n - 1)
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
@functools.lru_cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
@functools.singledispatch
def kind(x): return "object"
@kind.register
def _(x: int): return "int"
class Base:
    def hello(self): return "hello"
class Derived(Base):
    shared = []
    def hello(self): return super().hello() + " " + self.name
    @property
    def name(self): return type(self).__name__
    @staticmethod
    def static(): return Derived
    @classmethod
    def make(cls): return cls()
    @functools.cached_property
    def cached(self): return 7
class Slotted:
    __slots__ = ("x", "__private")
    def __init__(self, x): self.x = self.__private = x
    def private(self): return self.__private
class Outer:
    class Inner: pass
@dataclasses.dataclass(frozen=True, slots=True)
class Data:
    x: int
    y: list = dataclasses.field(default_factory=list)
class Colour(enum.Enum):
    RED = 1
    def name_twice(self): return self.name * 2
Named = collections.namedtuple("Named", "a b")
class Typed(typing.NamedTuple):
    a: int = 1
UserId = typing.NewType("UserId", int)
T = typing.TypeVar("T", bound=Base)
class Box(typing.Generic[T]):
    def get(self, key: UserId) -> T: ...
def make_counter():
    n = 0
    def count():
        nonlocal n
        n += 1
        return n
    return count
def path_of(x): return os.path.join("a", x)
def all_of(): return (double(1), fact(5), even(10), fib(30), kind(1), kind(""), path_of("b"))
square = lambda x: x * x
"""

VALUES = {
    "function": ("double", "obj(4)", "8"),
    "recursion": ("fact", "obj(5)", "120"),
    "mutual recursion": ("even", "obj(7)", "False"),
    "cached function": ("fib", "obj(30), obj is sys.modules['__main__'].fib", "(832040, True)"),
    "single dispatch": ("kind", "obj(1), obj('')", "('int', 'object')"),
    "submodule": ("path_of", "obj('b')", "'a/b'"),
    "many": ("all_of", "obj()", "(2, 120, True, 832040, 'int', 'object', 'a/b')"),
    "lambda": ("square", "obj(3)", "9"),
    "closure": ("make_counter()", "obj(), obj()", "(1, 2)"),
    "class": (
        "Derived",
        "obj().hello(), obj.static() is obj, obj.make().cached",
        "('hello Derived', True, 7)",
    ),
    "bound method": ("Derived().hello", "obj()", "'hello Derived'"),
    "slots": ("Slotted(5)", "obj.x, obj.private(), hasattr(obj, '__dict__')", "(5, 5, False)"),
    "nested class": ("Outer.Inner", "obj.__qualname__, obj()  and 1", "('Outer.Inner', 1)"),
    "dataclass": ("Data(1)", "obj, obj == type(obj)(1)", "(Data(x=1, y=[]), True)"),
    "enum": ("Colour.RED", "obj is type(obj).RED, obj.name_twice()", "(True, 'REDRED')"),
    "namedtuple": ("Named(1, 2)", "obj, obj.b", "(Named(a=1, b=2), 2)"),
    "typed namedtuple": ("Typed()", "obj, obj.a", "(Typed(a=1), 1)"),
    "generic": ("Box", "obj.__parameters__[0].__bound__.__name__, obj().get(1)", "('Base', None)"),
    "new type": ("UserId", "obj(3), obj.__name__", "(3, 'UserId')"),
    "partial": ("functools.partial(double, 3)", "obj()", "6"),
    "exception": ("ValueError(Data(1))", "obj.args[0].x", "1"),
    "types": (
        "[type(square), type(None), dict, type(...)]",
        "obj[0].__name__, obj[1:]",
        "('function', [<class 'NoneType'>, <class 'dict'>, <class 'ellipsis'>])",
    ),
}


@pytest.mark.parametrize(("obj", "code", "wanted"), VALUES.values(), ids=VALUES)
def test_by_value(run_main: RunMain, receive: Receive, obj: str, code: str, wanted: str) -> None:
    main = run_main(UNGUARDED)
    assert receive(eval(obj, main.__dict__), f"print(repr(({code})))") == wanted + "\n"


RECORDS = {name: value for name, value in VALUES.items() if name != "new type"}


@pytest.mark.parametrize(("obj", "code", "wanted"), RECORDS.values(), ids=RECORDS)
def test_by_value_as_a_record(
    run_main: RunMain, tmp_path: Path, obj: str, code: str, wanted: str
) -> None:
    """As it goes through a queue: after the start, and twice."""
    main = run_main(UNGUARDED)
    path = tmp_path / "payload"
    with path.open("wb") as sink, starting():
        pickle.dump(spawn.get_preparation_data("Receiver", spawn.main_plan()), sink)
        reduction.dump(eval(obj, main.__dict__), sink)
        reduction.dump(eval(obj, main.__dict__), sink)
    assert run_receiver(path, f"print(repr(({code})))") == wanted + "\n"


def test_shared_objects_stay_shared(run_main: RunMain, receive: Receive) -> None:
    main = run_main("things = [1]\ndef f(): return things")
    assert receive((main.f, main.things), "print(obj[0]() is obj[1])") == "True\n"


def test_functions_of_several_pickles_share_their_globals(
    run_main: RunMain, tmp_path: Path
) -> None:
    main = run_main(
        """
        state = None
        cache = {}
        def initialise():
            global state
            state = "ready"
        def work(x):
            cache[x] = 1
            return state, len(cache)
        """
    )
    sink = io.BytesIO()
    with starting():
        pickle.dump(spawn.get_preparation_data("Receiver", spawn.main_plan()), sink)
    for obj in (main.initialise, main.work, main.work):
        reduction.dump(obj, sink)
    path = tmp_path / "payload"
    path.write_bytes(sink.getvalue())
    code = """
        with open(path, "rb") as stream:
            pickle.load(stream)
            obj = [pickle.load(stream) for _ in range(3)]
        obj[0]()
        print(obj[1](1), obj[2](2), obj[1] is obj[2])
    """
    assert run_receiver(path, code) == "('ready', 1) ('ready', 2) True\n"


def follower(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Makes this process what a child is that got its main by value."""
    main = main_module.module_for("__main__", None, None)
    for alias in ("__main__", "__mp_main__"):
        monkeypatch.setitem(sys.modules, alias, main)
    monkeypatch.setattr(spawn, "_told", {"kind": "value"})
    monkeypatch.setattr(spawn, "_told_main", main)
    from procession import arrival

    monkeypatch.setattr(arrival, "_received", {})
    arrival._loaded.clear()
    return main


def test_what_the_sender_binds_anew_arrives(
    run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = run_main(
        "x, y = 'one', [1]\ndef f(): return x, y\ndef bind():\n    global x\n    x = 'own'"
    )
    first = record(main.f)
    main.x = "two"
    second = record(main.f)
    bind = record(main.bind)
    main.x = "three"
    third = record(main.f)
    here = follower(monkeypatch)
    f = pickle.loads(first)
    assert f() == ("one", [1])
    f()[1].append(2)
    assert pickle.loads(second) is f
    assert f() == ("two", [1, 2])
    pickle.loads(bind)()
    pickle.loads(third)
    assert here.x == "own"


def test_redefined_function_and_helper(run_main: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    main = run_main("def helper(): return 1\ndef f(): return helper()")
    first = record(main.f)
    exec("def helper(): return 2", main.__dict__)
    second = record(main.f)
    follower(monkeypatch)
    f = pickle.loads(first)
    assert f() == 1
    assert pickle.loads(second) is f
    assert f() == 2


def test_own_main_is_used_where_it_is_the_same(run_main: RunMain) -> None:
    main = run_main(UNGUARDED)
    for name in ("double", "even", "Derived", "Colour", "Data", "Box"):
        obj = getattr(main, name)
        assert pickle.loads(record(obj)) is obj, name
    assert type(pickle.loads(record(main.Data(1)))) is main.Data
    assert pickle.loads(record(main.Colour.RED)) is main.Colour.RED


def test_result_of_a_class_comes_back_as_that_class(
    run_main: RunMain, receive: Receive, tmp_path: Path
) -> None:
    main = run_main(UNGUARDED)
    back = tmp_path / "back"
    receive(main.Data(1), f"open({str(back)!r}, 'wb').write(reduction.dumps([obj, type(obj)(2)]))")
    values = pickle.loads(back.read_bytes())
    assert values == [main.Data(1), main.Data(2)]
    assert all(type(value) is main.Data for value in values)


def test_sending_does_not_change_the_sender(run_main: RunMain) -> None:
    main = run_main(UNGUARDED)
    before = dict(main.__dict__)
    methods = attributes_of(main.Derived)
    for name in ("all_of", "Derived", "Box", "kind"):
        pickle.loads(record(getattr(main, name)))
    assert main.__dict__ == before
    assert attributes_of(main.Derived) == methods


def attributes_of(cls: type) -> dict[str, object]:
    # From Python 3.14 on, annotations are worked out when somebody asks.
    return {name: value for name, value in vars(cls).items() if "annot" not in name}


def test_other_code_under_the_same_name_is_a_copy(run_main: RunMain) -> None:
    main = run_main("def f(): return 1\nclass C:\n    def m(self): return 1")
    function, cls = record(main.f), record(main.C)
    exec("def f(): return 2\nclass C:\n    def m(self): return 2", main.__dict__)
    old = main.f, main.C
    assert pickle.loads(function)() == 1
    assert pickle.loads(cls)().m() == 1
    assert (main.f, main.C) == old


def test_records_are_made_again_when_data_changes(run_main: RunMain) -> None:
    main = run_main("limit = 1\nitems = [1]\ndef f(): return limit\ndef g(): return items")
    first = record(main.f)
    assert record(main.f) == first
    main.limit = 2
    assert record(main.f) != first
    first = record(main.g)
    main.items.append(2)
    assert record(main.g) != first


def test_module_functions_keep_their_module(receive: Receive, run_main: RunMain) -> None:
    """A closure of an importable module uses that module at the receiver, locks and all."""
    run_main("x = 1")
    local = eval("lambda: _active_limbo_lock is not None", threading.__dict__)
    code = "print(obj(), obj.__globals__ is sys.modules['threading'].__dict__)"
    assert receive(local, code) == "True True\n"


def test_dispatch_table_holds_inside_values(run_main: RunMain) -> None:
    """A lock in a function's globals or closure travels as the start method says."""
    main = run_main("lock = None\ndef f(): return lock\ndef g(): return (lambda: lock)")
    main.lock = get_context("spawn").Lock()
    with pytest.raises(RuntimeError, match=r"'f' by value: f's global 'lock'"):
        reduction.dumps(main.f)

    payload = io.BytesIO()
    with starting():
        reduction.ProcessPickler(payload).dump([main.f, main.g()])
    assert b"multiprocessing.synchronize" in payload.getvalue()


def test_cached_functions_of_modules_go_by_name() -> None:
    import fnmatch

    cached = fnmatch._compile_pattern  # type: ignore[attr-defined]
    assert pickle.loads(reduction.dumps(cached)) is cached

    @functools.lru_cache(maxsize=3)
    def local(x: int) -> int:
        return x

    again = pickle.loads(reduction.dumps(local))
    assert (again(1), again.cache_parameters()) == (1, {"maxsize": 3, "typed": False})


FORKED = """
import procession as mp
class Heavy:
    def __reduce__(self): raise AssertionError("pickled, though all children have it")
heavy = Heavy()
class Result:
    def weight(self): return heavy
def known(x): return type(heavy).__name__, Result()
factor = 1
def make(): return lambda x: (type(heavy).__name__, factor)
context = mp.get_context("fork")
with context.Pool(1) as pool:
    name, result = pool.apply(known, (1,))
    print(name, type(result) is Result)
    print(pool.apply(make(), (1,)))
    factor = 2
    print(pool.apply(make(), (1,)))
    def later(x): return x + 1
    print(pool.apply(later, (1,)))
    def known(x): return "redefined"
    print(pool.apply(known, (1,)))
"""


def test_what_forked_children_have_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    path.write_text(FORKED)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ended = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, env=environ, timeout=60
    )
    wanted = "Heavy True\n('Heavy', 1)\n('Heavy', 2)\n2\nredefined\n"
    assert (ended.stdout, ended.stderr) == (wanted, "")


def test_large_bytes_are_not_copied(run_main: RunMain) -> None:
    run_main("x = 1")
    large = bytes(1 << 20)
    written: list[object] = []

    class Sink:
        def write(self, data: object) -> None:
            written.append(data)

    reduction.ProcessPickler(Sink()).dump([large])
    assert any(data is large for data in written)


def test_hook() -> None:
    standard = multiprocessing.reduction.ForkingPickler
    was_hooked = reduction.is_hooked()
    try:
        reduction.hook()
        reduction.hook()
        assert reduction.is_hooked()
        assert pickle.loads(standard.dumps(lambda: 5))() == 5
        reduction.unhook()
        reduction.unhook()
        assert not reduction.is_hooked()
        with pytest.raises((AttributeError, pickle.PicklingError)):
            standard.dumps(lambda: 5)
        assert pickle.loads(reduction.dumps(lambda: 5))() == 5
    finally:
        if was_hooked:
            reduction.hook()


def test_names_of_the_standard_module() -> None:
    for name in multiprocessing.reduction.__all__:
        assert hasattr(reduction, name)
    assert reduction.DupFd is multiprocessing.reduction.DupFd
    assert issubclass(reduction.ForkingPickler, multiprocessing.reduction.ForkingPickler)


def test_registered_reducers_are_shared() -> None:
    class Odd:
        def __reduce__(self) -> str:
            raise AssertionError

    reduction.register(Odd, lambda _: (int, (5,)))
    try:
        assert pickle.loads(reduction.dumps(Odd())) == 5
        assert pickle.loads(multiprocessing.reduction.ForkingPickler.dumps(Odd())) == 5
    finally:
        multiprocessing.reduction.ForkingPickler._extra_reducers.pop(Odd)
