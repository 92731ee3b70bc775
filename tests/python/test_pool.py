"""What Pool does with tasks, errors, deaths and its process's end; CPython's own tests of it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import textwrap
from pathlib import Path

import body_pool
import body_pool_life
import engine_witness
import pytest
import watch
from programs import PYTHON, Programs, grid
from test_cpython_futures import RUNNER, must_pass, short
from test_cpython_suite import make_venv
from test_executor import Program

SECONDS = 300
SUITE = "test._test_multiprocessing"


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_pool))
def test_pool(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_pool, name, engine, method)


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_pool_life))
def test_life(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_pool_life, name, engine, method)


EXITS = {
    "busy": "results = [pool.apply_async(wait_for_ever, ('working',)) for _ in range(10)]",
    "deaf": "result = pool.map_async(be_stubborn, ['working'] * 10)",
    "imap": "results = pool.imap(wait_for_ever, ['working'] * 1000)",
    "closed": "pool.map(tell, ['working'] * 2, 1); pool.close()",
    "idle": "pool.map(tell, ['working'] * 2, 1)",
    "forgotten": "pool.map_async(wait_for_ever, ['working'] * 10, 1)",
}


@pytest.mark.parametrize("what", EXITS)
def test_exit(programs: Programs, method: str, what: str) -> None:
    """As the standard's: an interpreter that ends takes its pools with it, whatever they do."""
    text = f"""
        pool = mp.Pool(2)
        {EXITS[what]}
        sys.stdin.readline()
    """
    program = Program(programs, method, text)
    program.wait_for(working=2)
    assert program.running.stdin
    program.running.stdin.write("\n")
    program.running.stdin.flush()
    assert program.ended() == (0, "", "")


@pytest.mark.parametrize("what", ["wait_for_ever", "be_busy", "be_stubborn", "idle"])
def test_parent_killed(programs: Programs, method: str, what: str) -> None:
    """No worker outlives its parent: busy, waiting, deaf to signals or idle."""
    text = f"""
        pool = mp.Pool(2)
        if {what!r} == "idle":
            pool.map(tell, ["idle"] * 2, 1)
        else:
            result = pool.map_async({what if what != "idle" else None}, [{what!r}] * 10, 1)
        signal.pause()
    """
    program = Program(programs, method, text)
    program.wait_for(**{what: 2})
    os.kill(program.running.pid, signal.SIGKILL)
    assert program.ended()[0] == -signal.SIGKILL


INTERRUPTED = {
    "in_map": "pool.map(wait_for_ever, ['working'] * 10, 1)",
    "in_apply": """
        result = pool.apply_async(wait_for_ever, ["working"])
        pool.apply(wait_for_ever, ["working"])
    """,
    "in_imap": "list(pool.imap(wait_for_ever, ['working'] * 10))",
    "in_imap_unordered": "list(pool.imap_unordered(wait_for_ever, ['working'] * 10))",
    "in_join": """
        result = pool.map_async(wait_for_ever, ["working"] * 10, 1)
        pool.close()
        pool.join()
    """,
}


@pytest.mark.parametrize("in_a_block", [True, False])
@pytest.mark.parametrize("where", INTERRUPTED)
def test_interrupt_from_the_keyboard(
    programs: Programs, method: str, where: str, in_a_block: bool
) -> None:
    """Ctrl-C, which all of the foreground's processes get: one traceback, and nothing left."""
    lines = textwrap.indent(textwrap.dedent(INTERRUPTED[where]).strip(), "    ")
    begin = "with mp.Pool(2) as pool:" if in_a_block else "pool = mp.Pool(2)\nif True:"
    program = Program(programs, method, f"{begin}\n{lines}\n")
    program.wait_for(working=2)
    program.asleep()
    os.killpg(program.running.pid, signal.SIGINT)
    code, _, err = program.ended()
    assert code == -signal.SIGINT, err
    assert err.count("Traceback") == 1, err
    assert err.endswith("\nKeyboardInterrupt\n"), err


UNGUARDED = """
    import sys
    import procession as mp

    mp.set_start_method(sys.argv[1])

    def square(number):
        return number * number

    with mp.Pool(2) as pool:
        print(pool.map(square, [5]), list(pool.imap(lambda n: n + 1, [1, 2])))
"""


def test_main_without_a_guard(programs: Programs, method: str) -> None:
    (programs.cwd / "main.py").write_text(textwrap.dedent(UNGUARDED))
    programs.run([PYTHON, "main.py", method]).must("[25] [2, 3]\n")


def test_main_on_a_command_line(programs: Programs, method: str) -> None:
    program = programs.run([PYTHON, "-c", textwrap.dedent(UNGUARDED), method])
    program.must("[25] [2, 3]\n")


# CPython's own tests.

# Method of a test class -> why it can't pass on procession.
EXCEPTIONS = {
    "test_unpickleable_result": "the result is a lambda, which travels by value",
}
WANTED = (
    r"(?:WithProcesses|WithManager)TestPool.*\.test_.*"
    r"|TestPoolNotLeakOnFailure\.test_.*"
    r"|TestInitializers\.test_pool_initializer"
    r"|TestStdinBadfiledescriptor\.test_pool_in_process"
)
WITNESS = '''
    """Notes the pools that are procession's; imported by `site` after it was installed."""

    import multiprocessing.context
    import engine_witness

    def make(self, *args, _make=multiprocessing.context.BaseContext.Pool, **options):
        pool = _make(self, *args, **options)
        if engine_witness.PATH and type(pool).__module__ == "procession.pool":
            engine_witness.note("pool")
        return pool

    multiprocessing.context.BaseContext.Pool = make
    multiprocessing.Pool = multiprocessing.context._default_context.Pool
'''
MODULE = """
    import test._test_multiprocessing
    test._test_multiprocessing.install_tests_in_module_dict(globals(), {method!r})
"""


class Suite:
    """Some of CPython's tests by a start method, and an environment with procession under them."""

    def __init__(self, programs: Programs, method: str, wanted: str = WANTED) -> None:
        self.wanted = wanted
        if importlib.util.find_spec("test") is None or importlib.util.find_spec(SUITE) is None:
            pytest.fail("CPython's test package is missing (Debian: libpython3.X-testsuite)")
        self.programs = programs
        self.python = make_venv(programs.cwd / "venv", programs)
        text = "import sysconfig; print(sysconfig.get_path('purelib'), end='')"
        self.packages = packages = Path(programs.run([self.python, "-c", text]).stdout)
        self.witness("pool_witness", WITNESS)
        # Not every Python has the modules of the methods; in the runner's eyes it is in a package.
        (packages / "cpython").mkdir()
        module = textwrap.dedent(MODULE).format(method=method)
        (packages / "cpython" / "pools.py").write_text(module)
        self.runner = programs.cwd / "runner.py"
        self.runner.write_text(textwrap.dedent(RUNNER))
        self.log = programs.cwd / "log"
        self.log.touch()

    def witness(self, name: str, text: str) -> None:
        """Have each interpreter import a module once procession is installed."""
        (self.packages / f"{name}.py").write_text(textwrap.dedent(text))
        (self.packages / f"procession-{name}.pth").write_text(f"import {name}\n")

    def names(self) -> list[str]:
        """The tests wanted."""
        ended = self.programs.run([self.python, self.runner, "cpython.pools", self.wanted, "-"])
        assert ended.returncode == 0, ended.shown()
        return [short(name) for name in ended.stdout.split()]

    def run(self, wanted: list[str]) -> dict[str, tuple[str, str]]:
        """Run tests by name; how each ended, and what it had to say."""
        outcomes, report = self.programs.cwd / "outcomes", self.programs.cwd / "report"
        outcomes.write_text("")
        with report.open("w") as file:
            program = self.programs.start(
                [self.python, self.runner, "cpython.pools", "|".join(wanted), outcomes],
                env={engine_witness.LOG: str(self.log)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
            try:
                program.wait(SECONDS)
            except subprocess.TimeoutExpired:
                tree = watch.marked(self.programs.mark)
                self.programs.end_all()
                text = report.read_text(errors="replace")
                pytest.fail(f"hung:\n{text}\nprocesses: {tree}")
        ended: dict[str, tuple[str, str]] = {}
        for line in outcomes.read_text().splitlines():
            name, outcome, text = json.loads(line)
            if ended.get(short(name), ("", ""))[0] != "failed":
                ended[short(name)] = outcome, text
        text = report.read_text(errors="replace")
        assert program.returncode == 0, text
        missing = set(wanted) - set(ended)
        assert not missing, f"{missing} did not run:\n{text}"
        self.programs.nothing_left()
        return ended


@pytest.mark.timeout(SECONDS + 60)
def test_cpythons_own(programs: Programs, method: str) -> None:
    """The tests of Pool, in the process itself and behind a manager."""
    suite = Suite(programs, method)
    wanted = [name for name in suite.names() if name.rpartition(".")[2] not in EXCEPTIONS]
    assert len(wanted) > 50, wanted
    ended = suite.run(wanted)
    must_pass({name: end for name, end in ended.items() if not not_for_managers(*end)})
    noted = engine_witness.read(suite.log)
    assert len(noted["pool"]) > 10, noted["pool"]
    assert {fact["engine"] for fact in noted["start"]} == {"procession"}, noted["start"]


def not_for_managers(outcome: str, reason: str) -> bool:
    """Whether a test has said so."""
    words = ("applicable to", "appropriate for")
    return outcome == "skipped" and reason in {f"test not {word} manager" for word in words}


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=reason, strict=True))
        for name, reason in EXCEPTIONS.items()
    ],
)
def test_exceptions(programs: Programs, name: str) -> None:
    """What is on the list of exceptions still fails; else its line must go."""
    suite = Suite(programs, "fork")
    wanted = [test for test in suite.names() if test.endswith(f".{name}")]
    must_pass(suite.run(wanted))
