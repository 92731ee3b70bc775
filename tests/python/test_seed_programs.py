"""The seed programs run under every start method, whatever main is and however it is run.

A seed is a program written for multiprocessing. By the first door it runs unchanged under
`python -m procession`; by the second it says `import procession as mp` and plain Python runs it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import mains
import pytest
import seed_table
import terminals
from programs import PYTHON, Programs

INSTALLED, IMPORTED = seed_table.DOORS
SMALL = (
    "unguarded",
    "unguarded_executor",
    "inside_guard",
    "lambdas",
    "closures",
    "nested_class",
    "bound_method",
    "partials",
    "subclass",
    "values",
    "guard_reversed",
    "guard_condition",
    "guard_else",
)
PACKAGES = {
    "mypackage": ("-m mypackage", "-m mypackage.__main__", "mypackage", "mypackage/__main__.py"),
    "shop": ("-m shop", "-m shop.__main__", "-m shop.till"),
}
KINDS = [pytest.param(kind, id=kind.__name__) for kind in mains.NAMED]
INTERACTIVE = (terminals.repl, terminals.pyrepl, terminals.ipython, terminals.notebook)


def run_main(programs: Programs, main: mains.Main, method: str, door: str, name: str) -> None:
    """Run a main by a door; it must print what its seed says."""
    start = ["-m", "procession", "--start-method", method] if door == INSTALLED else []
    ended = programs.run([PYTHON, *start, *main.args], cwd=main.cwd, stdin=main.stdin)
    ended.must(mains.wanted(name))


@pytest.mark.parametrize("kind", KINDS)
def test_whole_unmodified(programs: Programs, method: str, kind: Callable[..., mains.Main]) -> None:
    """Every kind of target, argument and result, from every kind of main, unmodified."""
    with seed_table.cell(str(kind.__doc__), INSTALLED, method):
        main = kind(mains.source("whole.py"), programs.cwd)
        run_main(programs, main, method, INSTALLED, "whole")


@pytest.mark.parametrize("kind", [*mains.NAMED, *mains.PIPED], ids=lambda kind: kind.__name__)
def test_whole(programs: Programs, method: str, kind: Callable[..., mains.Main]) -> None:
    """The same with `import procession as mp`, also on standard input."""
    with seed_table.cell(str(kind.__doc__), IMPORTED, method):
        main = kind(mains.imported(mains.source("whole.py"), method), programs.cwd)
        run_main(programs, main, method, IMPORTED, "whole")


@pytest.mark.parametrize("kind", [mains.script, mains.package_main, mains.command])
def test_whole_with_context(
    programs: Programs, method: str, kind: Callable[..., mains.Main]
) -> None:
    """The same with a context for a start method, which main itself holds as a global."""
    with seed_table.cell(f"{kind.__doc__} with get_context()", IMPORTED, method):
        main = kind(mains.with_context(mains.source("whole.py"), method), programs.cwd)
        run_main(programs, main, method, IMPORTED, "whole")


@pytest.mark.parametrize("interpreter", INTERACTIVE, ids=lambda kind: kind.__name__)
def test_whole_typed(
    programs: Programs, method: str, interpreter: Callable[[Programs, str], str]
) -> None:
    """The same, typed at a prompt."""
    with seed_table.cell(str(interpreter.__doc__), IMPORTED, method):
        if interpreter is terminals.pyrepl and not terminals.has_pyrepl():
            pytest.skip("this Python has no such prompt")
        wanted = mains.wanted("whole")
        if interpreter is terminals.notebook:
            wanted = "".join(sorted(wanted.splitlines(keepends=True)))
        text = mains.imported(mains.source("whole.py"), method)
        assert interpreter(programs, text) == wanted


@pytest.mark.parametrize("door", seed_table.DOORS, ids=("installed", "imported"))
@pytest.mark.parametrize("name", SMALL)
def test_small(programs: Programs, method: str, door: str, name: str) -> None:
    """One thing at a time, from a script."""
    text = mains.source(f"{name}.py")
    with seed_table.cell(f"{name}.py", door, method):
        if door == IMPORTED:
            text = mains.imported(text, method)
        run_main(programs, mains.script(text, programs.cwd), method, door, name)


@pytest.mark.parametrize("door", seed_table.DOORS, ids=("installed", "imported"))
@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, lines in PACKAGES.items() for line in lines]
)
def test_package(programs: Programs, method: str, door: str, name: str, line: str) -> None:
    """A package, the bug report's among them, run in each way that one can be."""
    with seed_table.cell(f"python {line}", door, method):
        change = functools.partial(mains.imported, method=method)
        mains.copied(name, programs.cwd, change if door == IMPORTED else str)
        run_main(programs, mains.Main(line.split(), programs.cwd), method, door, name)


@pytest.mark.parametrize("kind", [mains.command, mains.standard_input])
@pytest.mark.parametrize("name", ["unguarded", "inside_guard", "values"])
def test_small_without_file(
    programs: Programs, method: str, name: str, kind: Callable[..., mains.Main]
) -> None:
    """Mains that no child could import."""
    with seed_table.cell(f"{name}.py as {kind.__doc__}", IMPORTED, method):
        main = kind(mains.imported(mains.source(f"{name}.py"), method), programs.cwd)
        run_main(programs, main, method, IMPORTED, name)


def test_table() -> None:
    """No cell of the table is anything but a pass, or a prompt that this Python hasn't got."""
    assert seed_table.CELLS
    failed = [key for key, outcome in seed_table.CELLS.items() if outcome == "FAIL"]
    assert not failed, f"{len(failed)} cells failed:\n" + "\n".join(map(str, failed))
