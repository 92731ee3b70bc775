"""How main travels: what is a guard, which mains are imported, what of them is importable."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys
import textwrap
import threading
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from travelling import RunMain

from procession import main_module, spawn
from procession.main_guard import read_guards
from procession.main_plan import MainPlan, read_plan


def plan_of(main: ModuleType) -> MainPlan:
    return read_plan(main, None)


GUARDS = {
    "plain": ("if __name__ == '__main__':\n    x = 1", [(2, 2)]),
    "turned": ("if '__main__' == __name__:\n    x = 1\n    y = 2", [(2, 3)]),
    "one line": ("if __name__ == '__main__': main()", [(1, 1)]),
    "and": ("if ok and __name__ == '__main__':\n    x = 1", [(2, 2)]),
    "else of not": ("if __name__ != '__main__':\n    x = 1\nelse:\n    y = 2", [(4, 4)]),
    "not equal": ("if not __name__ == '__main__':\n    x = 1\nelse:\n    y = 2", [(4, 4)]),
    "elif": ("if a:\n    pass\nelif __name__ == '__main__':\n    x = 1", [(4, 4)]),
    "else of elif": ("if __name__ != '__main__' or a:\n    x = 1\nelse:\n    y = 2", [(4, 4)]),
    "in try": ("try:\n  if __name__ == '__main__':\n    x = 1\nfinally:\n  pass", [(3, 3)]),
    "in handler": ("try: pass\nexcept E:\n  if __name__ == '__main__':\n    x = 1", [(4, 4)]),
    "in with": ("with a:\n  if __name__ == '__main__':\n    x = 1", [(3, 3)]),
    "in if": ("if a:\n  if __name__ == '__main__':\n    x = 1", [(3, 3)]),
    "in match": ("match a:\n  case 1:\n    if __name__ == '__main__':\n      x = 1", [(4, 4)]),
    "expression": ("__name__ == '__main__' and main()", [(1, 1)]),
    "decorated": ("if __name__ == '__main__':\n    @d\n    def f(): pass", [(2, 3)]),
    "two": (
        "if __name__ == '__main__': a()\nb()\nif __name__ == '__main__': c()",
        [(1, 1), (3, 3)],
    ),
    "or": ("if __name__ == '__main__' or a:\n    x = 1", []),
    "other name": ("if name == '__main__':\n    x = 1", []),
    "other string": ("if __name__ == 'main':\n    x = 1", []),
    "not equal alone": ("if __name__ != '__main__':\n    raise RuntimeError\nmain()", []),
    "in function": ("def f():\n  if __name__ == '__main__':\n    x = 1", []),
    "none": ("main()", []),
    "broken": ("x = = 1 if __name__ == '__main__'", []),
}


@pytest.mark.parametrize(("source", "regions"), GUARDS.values(), ids=GUARDS)
def test_guards(source: str, regions: list[tuple[int, int]]) -> None:
    assert list(read_guards(source).regions) == regions


def test_names_in_guards() -> None:
    guards = read_guards(
        textwrap.dedent(
            """
            import os.path as p
            both = 1
            def f(inner): local = 1
            try:
                if __name__ == "__main__":
                    both = 2
                    import sys
                    class C: attribute = 1
                    for i, (j, *k) in a: pass
                    with b as w: pass
            except E as caught:
                outer = lambda x: x
            """
        )
    )
    assert guards.names == {"both", "sys", "C", "i", "j", "k", "w"}
    assert guards.other_names == {"p", "both", "f", "outer"} | (guards.other_names & {"caught"})


def test_guarded_script_is_imported_by_its_path(run_main: RunMain) -> None:
    main = run_main("if __name__ == '__main__':\n    pass")
    plan = plan_of(main)
    assert (plan.kind, plan.name, plan.path) == ("import", None, main.__file__)


def test_path_is_relative_to_where_the_process_began(run_main: RunMain) -> None:
    main = run_main("if __name__ == '__main__':\n    pass")
    path = Path(main.__file__ or "")
    main.__file__ = f"./{path.name}"
    assert read_plan(main, str(path.parent)).path == str(path)


def test_unguarded_script_travels_by_value(run_main: RunMain) -> None:
    assert plan_of(run_main("x = 1")).kind == "value"


@pytest.mark.parametrize("name", ["pkg.mod", "pkg.__main__"])
def test_module_is_imported_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / f"{name[4:]}.py").write_text("if __name__ == '__main__': pass")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pkg", raising=False)
    spec = importlib.util.find_spec(name)
    plan = plan_of(main_module.module_for("__main__", spec, None))
    assert (plan.kind, plan.name, plan.path) == ("import", name, None)
    monkeypatch.delitem(sys.modules, "pkg")


@pytest.mark.parametrize("kind", ["directory", "zip"])
def test_directory_and_zip_are_imported_by_their_path(tmp_path: Path, kind: str) -> None:
    source = "if __name__ == '__main__': pass"
    path = tmp_path / "app"
    if kind == "directory":
        path.mkdir()
        (path / "__main__.py").write_text(source)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__main__.py", source)
    spec, _ = main_module.load_by_path(str(path))
    assert spec is not None
    plan = plan_of(main_module.module_for("__main__", spec, None))
    assert (plan.kind, plan.path) == ("import", str(path))


def test_console_travels_by_value() -> None:
    spec = importlib.util.find_spec("asyncio.__main__")
    assert plan_of(main_module.module_for("__main__", spec, None)).kind == "value"
    assert plan_of(ModuleType("__main__")).reason == "it has no file"


@pytest.mark.parametrize("file", ["<stdin>", "gone.py", "pipe"])
def test_file_that_cannot_be_read_again(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    if file == "pipe":
        os.mkfifo(path)
    main = main_module.module_for("__main__", None, None)
    main.__file__ = str(path)
    assert plan_of(main).reason == "its file can't be read again"


@pytest.mark.parametrize(("name", "kind"), [("script", "import"), ("__main__", "value")])
def test_compiled_main(tmp_path: Path, name: str, kind: str) -> None:
    source = tmp_path / f"{name}.py"
    source.write_text("if __name__ == '__main__': pass")
    compiled = py_compile.compile(str(source), cfile=str(tmp_path / f"{name}.pyc"))
    source.unlink()
    assert plan_of(main_module.module_for("__main__", None, compiled)).kind == kind


SCRIPT = """
import dataclasses
from functools import wraps

def outside(): pass
def decorator(f):
    @wraps(f)
    def wrapper(): return f()
    return wrapper
@decorator
def decorated(): pass
class Outside:
    def method(self): pass
    class Inner: pass
@dataclasses.dataclass
class Data:
    x: int
class Bare: pass
anonymous = lambda: 1
alias = outside
def maker():
    def local(): pass
    class Local: pass
    return local, Local
replaced = 1
def replaced(): pass
old = replaced

if __name__ == "__main__":
    def inside(): pass
    class Inside:
        def method(self): pass
    class BareInside: pass
    def replaced(): pass
"""


def test_importable(run_main: RunMain) -> None:
    main = run_main(SCRIPT)
    plan = plan_of(main)
    for name in ("outside", "decorated", "Outside", "Data", "Bare", "alias"):
        assert plan.importable(getattr(main, name)), name
    assert plan.importable(main.Outside.method)
    assert plan.importable(main.Outside.Inner)
    for name in ("anonymous", "inside", "Inside", "BareInside", "replaced", "old"):
        assert not plan.importable(getattr(main, name)), name
    assert not any(map(plan.importable, main.maker()))


def test_nothing_is_importable_from_a_main_that_stays(run_main: RunMain) -> None:
    main = run_main(SCRIPT.replace("if __name__", "if True or __name__"))
    plan = plan_of(main)
    assert not plan.importable(main.outside)


def test_plan_is_made_once_for_a_main(run_main: RunMain) -> None:
    run_main("if __name__ == '__main__': pass")
    plan = spawn.main_plan()
    assert spawn.main_plan() is plan
    run_main("x = 1", "other.py")
    assert spawn.main_plan() is not plan
    with pytest.raises(AttributeError, match="immutable"):
        plan.kind = "value"  # type: ignore[misc]


START = """
from procession import spawn

def start():
    return spawn.main_plan(starting=True).kind
"""


def test_start_inside_the_guard(run_main: RunMain) -> None:
    assert run_main(START + "if __name__ == '__main__':\n    kind = start()").kind == "import"


def test_start_outside_of_the_guard_gives_up_importing(run_main: RunMain) -> None:
    main = run_main(
        START + "if __name__ == '__main__': pass\nfirst = spawn.main_plan()\nkind = start()"
    )
    assert (main.first.kind, main.kind) == ("import", "value")
    assert spawn.main_plan().kind == main.start() == "value"


def test_start_by_a_thread_of_the_unguarded_top_level(run_main: RunMain) -> None:
    main = run_main(
        START
        + textwrap.dedent(
            """
            if __name__ == "__main__": pass
            import threading
            kinds = []
            thread = threading.Thread(target=lambda: kinds.append(start()))
            thread.start()
            thread.join()
            """
        )
    )
    assert main.kinds == ["value"]


def test_start_by_a_thread_of_the_guarded_top_level(run_main: RunMain) -> None:
    main = run_main(START + "if __name__ == '__main__': pass")
    kinds: list[str] = []
    thread = threading.Thread(target=lambda: kinds.append(main.start()))
    thread.start()
    thread.join()
    assert kinds == ["import"]


def test_plan_survives_the_way_to_a_child(run_main: RunMain) -> None:
    main = run_main(SCRIPT)
    plan = plan_of(main)
    again = MainPlan.from_data(main, plan.to_data())
    assert again.to_data() == plan.to_data()
    assert again.importable(main.outside)
    assert not again.importable(main.BareInside)
    assert "import" in repr(again)


def test_preparation_data(run_main: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    main = run_main("if __name__ == '__main__': pass")
    monkeypatch.setattr(sys, "path", ["", "/somewhere"])
    data = spawn.get_preparation_data("Process-1", spawn.main_plan())
    assert data["init_main_from_path"] == main.__file__
    assert data["sys_path"] == [spawn.process.ORIGINAL_DIR, "/somewhere"]  # type: ignore[attr-defined]
    assert data["name"] == "Process-1"
    run_main("x = 1", "other.py")
    data = spawn.get_preparation_data("Process-1")
    assert not [key for key in data if key.startswith("init_main")]
    assert data["procession"]["main"]["kind"] == "value"


def test_no_start_while_main_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn.process.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(RuntimeError, match=r"while .* is being imported in a child"):
        spawn.get_preparation_data("Process-1")
