"""`python -m procession` runs a program as Python itself runs it."""

from __future__ import annotations

import re
import signal
import textwrap
from collections.abc import Callable

import mains
import pytest
from programs import METHODS, PYTHON, Ended, Programs

PROBE = '''
"""A program that says how it was started."""
import os
import sys

def named(thing):
    return getattr(thing, "__name__", type(thing).__name__)

for name in sorted(set(globals()) - {"__builtins__"}):
    value = globals()[name]
    print(name, value if isinstance(value, (str, type(None))) else named(value))
if __spec__ is not None:
    for name in ("name", "origin", "parent", "has_location", "submodule_search_locations"):
        print("spec", name, getattr(__spec__, name))
    print("spec loader", named(__spec__.loader))
print("builtins", type(__builtins__).__name__)
print("main is this", vars(sys.modules["__main__"]) is globals())
print("argv", sys.argv)
print("path", sys.path)
print("cwd", os.getcwd())
print("flags", sys.flags)
print("stdin", sys.stdin.read())
print("future", sys.modules["__main__"].__dict__.get("annotations"))
'''
CHILDREN = """
import multiprocessing as mp
import os
import sys

def facts():
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return {
        "argv": sys.argv,
        "path": [entry or os.getcwd() for entry in sys.path],  # as the stdlib sends it
        "cwd": os.getcwd(),
        "file": getattr(main, "__file__", None),
        "own file": globals().get("__file__"),
        "spec": spec and spec.name.rpartition(".")[2],
        "package": globals().get("__package__") or "",
        "main has it": callable(getattr(main, "facts", None)),
    }

def tell(connection, depth):
    answers = [(__name__, facts())]
    if depth:
        answers += ask(depth - 1)
    connection.send(answers)

def ask(depth):
    reader, writer = mp.Pipe(duplex=False)
    process = mp.Process(target=tell, args=(writer, depth))
    process.start()
    writer.close()
    answers = reader.recv()
    process.join()
    return answers

if __name__ == "__main__":
    ours = facts()
    for number, (name, theirs) in enumerate(ask(1)):
        theirs["spec"] = theirs["spec"] and ours["spec"]  # stdlib gives a script's main none
        for key, value in theirs.items():
            if value != ours[key] and not (key == "spec" and value is None):
                print(number, key, value, "instead of", ours[key])
        print(number, name)
"""
FAILURES = {
    "raises": "def f():\n    raise ValueError('boom')\nprint('before')\nf()",
    "chain": "try:\n    {}['x']\nexcept KeyError as e:\n    raise RuntimeError('after') from e",
    "exit 3": "import sys\nprint('out')\nsys.exit(3)",
    "exit": "raise SystemExit",
    "exit text": "import sys\nsys.exit('goodbye')",
    "os._exit": "import os\nprint('lost', flush=True)\nos._exit(4)",
    "interrupt": "def f():\n    raise KeyboardInterrupt\nf()",
    "killed": "import os\nos.kill(os.getpid(), 9)",
    "syntax": "x = 1\nif x\n    print(x)",
    "indent": "x = 1\n    y = 2",
    "bytes": "x = '\\udc80'\nprint(x)",
    "warns": "import warnings\nwarnings.warn('old', DeprecationWarning)",
    "atexit": "import atexit\natexit.register(print, 'bye')\n1 / 0",
    "thread": "import threading\nthreading.Thread(target=print, args=('from a thread',)).start()",
    "group": "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
    "recursion": "def f():\n    f()\nf()",
}
ARGUMENTS = ["a b", "--start-method", "fork", "-m", "-c", "--", ""]
FORMS = [
    mains.script,
    mains.module,
    mains.package_main,
    mains.directory,
    mains.archive,
    mains.command,
]
SIMPLE = [mains.script, mains.module, mains.command]


def both(
    programs: Programs, main: mains.Main, *, options: tuple[str, ...] = (), stdin: str = ""
) -> tuple[Ended, Ended]:
    """The program under plain Python, then under procession."""
    plain = programs.run([PYTHON, *options, *main.args], cwd=main.cwd, stdin=stdin)
    door = ["-m", "procession"]
    ours = programs.run([PYTHON, *options, *door, *main.args], cwd=main.cwd, stdin=stdin)
    return tidy(plain), tidy(ours)


def tidy(ended: Ended) -> Ended:
    """Without runpy's own frames, which stand above a module's, nor numbers that vary with them."""
    stderr = re.sub(r'  File "<frozen runpy>", line \d+, in \w+\n', "", ended.stderr)
    stderr = re.sub(r"line repeated \d+ more times", "line repeated", stderr)
    return Ended(ended.returncode, re.sub(r"0x[0-9a-f]+", "0x…", ended.stdout), stderr)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_as_python_sets_it(programs: Programs, form: Callable[..., mains.Main]) -> None:
    """Names of the main module, argv, path, flags, standard input."""
    main = form(PROBE, programs.cwd)
    main.args.extend(ARGUMENTS)
    plain, ours = both(programs, main, stdin="some input")
    assert plain.returncode == 0, plain.shown()
    assert "some input" in plain.stdout
    assert ours == plain, f"\n{ours.shown()}\nplain Python:\n{plain.shown()}"


@pytest.mark.parametrize("options", ["-P", "-O", "-u -X utf8", "-W error", "-s -B"])
def test_with_options_of_python(programs: Programs, options: str) -> None:
    """The interpreter's own options come before `-m procession` and mean what they mean."""
    main = mains.script(PROBE, programs.cwd)
    if options == "-P" and programs.run([PYTHON, "-P", "-c", "import procession"]).returncode:
        pytest.skip("procession isn't installed, only on the path")
    plain, ours = both(programs, main, options=tuple(options.split()))
    assert plain.returncode == 0, plain.shown()
    assert ours == plain, f"\n{ours.shown()}\nplain Python:\n{plain.shown()}"


@pytest.mark.parametrize("form", SIMPLE, ids=lambda form: form.__name__)
@pytest.mark.parametrize("failure", FAILURES)
def test_ends_as_it_would(
    programs: Programs, form: Callable[..., mains.Main], failure: str
) -> None:
    """Exit code, output, traceback: all that a failing program leaves is the same."""
    plain, ours = both(programs, form(FAILURES[failure] + "\n", programs.cwd))
    assert ours == plain, f"\n{ours.shown()}\nplain Python:\n{plain.shown()}"


@pytest.mark.parametrize(
    "line", ["nosuch.py", "-m nosuch", "-m pkg", "-m os.nosuch", "-m pkg.nosuch", "pkg", "."]
)
def test_program_that_is_not_there(programs: Programs, line: str) -> None:
    """A package without a main, a module or file that doesn't exist."""
    mains.package("", programs.cwd, "mod.py")
    plain, ours = both(programs, mains.Main(line.split(), programs.cwd))
    assert plain.returncode in (1, 2)
    assert ours == plain, f"\n{ours.shown()}\nplain Python:\n{plain.shown()}"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("method", METHODS)
def test_in_children(programs: Programs, method: str, form: Callable[..., mains.Main]) -> None:
    """Children and grandchildren know the same program, by the name that the stdlib gives it."""
    main = form(CHILDREN, programs.cwd)
    door = ["-m", "procession", "--start-method", method]
    ended = programs.run([PYTHON, *door, *main.args, *ARGUMENTS], cwd=main.cwd)
    by_value = method == "fork" or form is mains.command
    name = "__main__" if by_value else "__mp_main__"
    ended.must(f"0 {name}\n1 {name}\n")


def test_its_own_options(programs: Programs) -> None:
    """What procession itself is told wrongly ends with 2 and a line of help."""
    for args, word in (
        (["--start-method", "nope", "-c", "print(1)"], "nope"),
        (["--start-method"], "--start-method"),
        (["--nosuch", "-c", "print(1)"], "--nosuch"),
        (["-m"], "-m"),
        (["-c"], "-c"),
    ):
        ended = programs.run([PYTHON, "-m", "procession", *args])
        assert (ended.returncode, ended.stdout) == (2, ""), ended.shown()
        assert word in ended.stderr, ended.shown()
        assert "Traceback" not in ended.stderr, ended.shown()
    ended = programs.run([PYTHON, "-m", "procession", "--help"])
    assert (ended.returncode, ended.stderr) == (0, ""), ended.shown()
    assert "--start-method" in ended.stdout


@pytest.mark.parametrize("method", METHODS)
def test_start_method_option(programs: Programs, method: str) -> None:
    """Every spelling of the option; without it the program's own choice holds."""
    text = "import multiprocessing as mp; print(mp.get_start_method())"
    for option in (["--start-method", method], [f"--start-method={method}"]):
        ended = programs.run([PYTHON, "-m", "procession", *option, "-c", text])
        ended.must(f"{method}\n")
    text = f"import multiprocessing as mp; mp.set_start_method({method!r})"
    text += "; print(mp.get_start_method()); mp.Process(target=print, args=[1]).start()"
    programs.run([PYTHON, "-m", "procession", "-c", text]).must(f"{method}\n1\n")


def test_interrupt(programs: Programs) -> None:
    """Ctrl-C in a program that doesn't catch it: Python's traceback, the signal's exit code."""
    text = textwrap.dedent("""
        import os, signal
        def wait():
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        wait()
    """)
    plain, ours = both(programs, mains.script(text, programs.cwd))
    assert plain.returncode == -signal.SIGINT
    assert ours == plain, f"\n{ours.shown()}\nplain Python:\n{plain.shown()}"
