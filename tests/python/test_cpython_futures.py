"""CPython's own tests of the process pools of concurrent.futures pass on procession's executor.

procession is installed, and its executor put in the place of the standard's, in the interpreter
that runs them and in all that they start. A test that can't pass has its line in EXCEPTIONS with
the reason, and is left out.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import engine_witness
import pytest
import watch
from programs import METHODS, Programs
from test_cpython_suite import make_venv

SUITE = "test.test_concurrent_futures"
SECONDS = 500

# Method of a test class, or class and method -> why it can't pass on procession.
IN_SUBMIT = "what can't be pickled is refused by submit(); the test expects it of the future"
GOES_ON = "the task's own future gets the error, and the pool goes on; the test wants it broken"
INNER = "it sets private names of the standard's own implementation"
FINISHES = "tasks of an executor that is gone still run; the test wants them broken"
EXCEPTIONS: dict[str, str] = {
    "test_error_at_task_pickle": IN_SUBMIT,
    "test_shutdown_deadlock_pickle": IN_SUBMIT,
    "test_saturation": f"it submits a semaphore's method: {IN_SUBMIT}",
    "test_processes_terminate": f"it submits a lock: {IN_SUBMIT}",
    "test_error_at_task_unpickle": GOES_ON,
    "test_exit_at_task_unpickle": GOES_ON,
    "test_error_during_result_unpickle_in_result_handler": GOES_ON,
    "test_exit_during_result_unpickle_in_result_handler": GOES_ON,
    "test_failed_worker_replacement_breaks_pool": INNER,
    "test_force_shutdown_during_max_tasks_worker_exit": INNER,
    "test_gc_during_max_tasks_worker_exit_gh152967": FINISHES,
    "test_shutdown_no_wait_max_tasks_gh119592": FINISHES,
    "test_python_finalization_error": "it makes the thread of a queue fail, which the pool hasn't",
}

# Why CPython's own tests may be skipped.
SKIPPED = r"Windows-only|Incompatible with the fork|.*start_method = 'fork'|Hangs, see .*/83386"

# Which classes test what; each has a class for each start method, `ProcessPoolSpawnWaitTest`.
GROUPS = {
    "executor": "ProcessPoolExecutor",
    "deadlock": "ExecutorDeadlock",
    "shutdown": "ProcessPoolShutdown",
    "wait": "Wait",
    "as_completed": "AsCompleted",
    "init": "(?:Failing)?Initializer",
}
NAMES = {"fork": "Fork", "spawn": "Spawn", "forkserver": "Forkserver"}
OTHERS = {"resources": "FailingInitializerResourcesTest", "future": "FutureTests"}
NOT_OURS = "(?:ThreadPool|InterpreterPool).*"

# Imported by `site` in each interpreter, after engine_witness.
WITNESS = '''
    """Puts procession's executor in the standard's place; writes down which pools are made."""

    import concurrent.futures.process
    import engine_witness
    import procession

    def noting(kind, what):
        init = kind.__init__

        def init_and_note(self, *args, **options):
            init(self, *args, **options)
            engine_witness.note(what, module=type(self).__module__)

        kind.__init__ = init_and_note

    if engine_witness.PATH:
        standard = concurrent.futures.process
        noting(procession.ProcessPoolExecutor, "pool")
        noting(standard._ExecutorManagerThread, "standard manager")
        concurrent.futures.ProcessPoolExecutor = procession.ProcessPoolExecutor
'''
RUNNER = '''
    """Runs the tests whose class and name match; writes down how each ended."""

    import json
    import re
    import sys
    import unittest

    def flat(suite):
        for test in suite:
            if isinstance(test, unittest.TestSuite):
                yield from flat(test)
            else:
                yield test

    class Result(unittest.TextTestResult):
        def write_down(self, test, outcome, text=""):
            name = getattr(test, "test_case", test).id()  # of a subtest: its test's
            with open(sys.argv[3], "a") as file:
                file.write(json.dumps([name, outcome, text]) + "\\n")

        def addSuccess(self, test):
            super().addSuccess(test)
            self.write_down(test, "passed")

        def addFailure(self, test, err):
            super().addFailure(test, err)
            self.write_down(test, "failed", self.failures[-1][1])

        def addError(self, test, err):
            super().addError(test, err)
            self.write_down(test, "failed", self.errors[-1][1])

        def addSubTest(self, test, subtest, err):
            super().addSubTest(test, subtest, err)
            if err is not None:
                self.write_down(test, "failed", self._exc_info_to_string(err, test))

        def addSkip(self, test, reason):
            super().addSkip(test, reason)
            self.write_down(test, "skipped", reason)

        def startTest(self, test):
            super().startTest(test)
            self.write_down(test, "begun")

    if __name__ == "__main__":
        suite, wanted = sys.argv[1:3]
        tests = [*flat(unittest.defaultTestLoader.loadTestsFromName(suite))]
        chosen = [test for test in tests if re.fullmatch(wanted, test.id().split(".", 2)[2])]
        if sys.argv[3] == "-":
            print(*(test.id() for test in chosen), sep="\\n")
        else:
            unittest.TextTestRunner(verbosity=2, resultclass=Result).run(unittest.TestSuite(chosen))
'''


class Suite:
    """CPython's tests, and an environment in which procession is under all that they start."""

    def __init__(self, programs: Programs) -> None:
        if importlib.util.find_spec("test") is None or importlib.util.find_spec(SUITE) is None:
            pytest.fail("CPython's test package is missing (Debian: libpython3.X-testsuite)")
        self.programs = programs
        self.python = make_venv(programs.cwd / "venv", programs)
        text = "import sysconfig; print(sysconfig.get_path('purelib'), end='')"
        packages = Path(programs.run([self.python, "-c", text]).stdout)
        (packages / "futures_witness.py").write_text(textwrap.dedent(WITNESS))
        # `site` takes them in the order of their names: this one is the last.
        (packages / "procession-pools.pth").write_text("import futures_witness\n")
        self.runner = programs.cwd / "runner.py"
        self.runner.write_text(textwrap.dedent(RUNNER))
        self.log = programs.cwd / "log"
        self.log.touch()

    def names(self, wanted: str) -> list[str]:
        """The tests whose `module.Class.test` matches, without the package's name."""
        ended = self.programs.run([self.python, self.runner, SUITE, wanted, "-"])
        assert ended.returncode == 0, ended.shown()
        return [short(name) for name in ended.stdout.split()]

    def run(self, wanted: list[str], seconds: int = SECONDS) -> dict[str, tuple[str, str]]:
        """Run tests by name; how each ended, and what it had to say."""
        outcomes, report = self.programs.cwd / "outcomes", self.programs.cwd / "report"
        outcomes.write_text("")
        pattern = "|".join(f"(?:.*\\.)?{re.escape(name)}" for name in wanted)
        with report.open("w") as file:
            program = self.programs.start(
                [self.python, self.runner, SUITE, pattern, outcomes],
                env={engine_witness.LOG: str(self.log)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
            try:
                program.wait(seconds)
            except subprocess.TimeoutExpired:
                tree = watch.marked(self.programs.mark)
                self.programs.end_all()
                text = report.read_text(errors="replace")
                pytest.fail(f"hung:\n{text}\nprocesses: {tree}")
        ended: dict[str, tuple[str, str]] = {}
        for line in outcomes.read_text().splitlines():
            name, outcome, text = json.loads(line)
            if ended.get(short(name), ("", ""))[0] != "failed":  # a test may fail in several ways
                ended[short(name)] = outcome, text
        assert program.returncode == 0, report.read_text(errors="replace")
        missing = set(wanted) - set(ended)
        assert not missing, f"{missing} did not run:\n{report.read_text(errors='replace')}"
        self.programs.nothing_left()
        return ended

    def noted(self) -> dict[str, list[dict[str, Any]]]:
        """What the witnesses saw."""
        return engine_witness.read(self.log)


def short(name: str) -> str:
    """Class and method of a test: what 3.11 and 3.14 have in common."""
    return ".".join(name.split(".")[-2:])


def excepted(name: str) -> bool:
    """Whether a test is on the list, by its method alone or with its class."""
    return name in EXCEPTIONS or name.rpartition(".")[2] in EXCEPTIONS


def must_pass(ended: dict[str, tuple[str, str]]) -> None:
    """Fail, with the words of each test that did not pass."""
    bad = [
        f"{name} {outcome}: {text}"
        for name, (outcome, text) in ended.items()
        if outcome != "passed" and not (outcome == "skipped" and re.match(SKIPPED, text))
    ]
    assert not bad, f"{len(bad)} of {len(ended)} tests:\n" + "\n".join(bad)


def native_engine(noted: dict[str, list[dict[str, Any]]]) -> None:
    """All that was started was started by procession, for procession's pools."""
    assert noted["program"], noted
    assert all(fact["installed"] for facts in noted.values() for fact in facts), noted
    assert {fact["engine"] for fact in noted["start"]} <= {"procession"}, noted["start"]
    modules = {fact["module"].partition(".")[0] for fact in noted["pool"]}
    assert modules == {"procession"}, noted["pool"]


@pytest.fixture
def suite(programs: Programs) -> Suite:
    return Suite(programs)


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("group", GROUPS)
def test_pools(suite: Suite, group: str, method: str) -> None:
    """The tests of a group under one start method."""
    found = suite.names(rf"(?:.*\.)?ProcessPool{NAMES[method]}{GROUPS[group]}Test\..*")
    wanted = [name for name in found if not excepted(name)]
    assert wanted, found
    must_pass(suite.run(wanted))
    native_engine(suite.noted())


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("other", OTHERS)
def test_others(suite: Suite, other: str) -> None:
    """The tests that have no start method in their class's name."""
    found = suite.names(rf"(?:.*\.)?{OTHERS[other]}\..*")
    wanted = [name for name in found if not excepted(name)]
    if not found:
        pytest.skip(f"this Python has no {OTHERS[other]}")
    must_pass(suite.run(wanted))


def test_none_is_forgotten(suite: Suite) -> None:
    """Each test of CPython's is in one of the above, or is about threads or interpreters."""
    groups = "|".join(GROUPS.values())
    classes = [rf"ProcessPool(?:{'|'.join(NAMES.values())})(?:{groups})Test", *OTHERS.values()]
    known = set(suite.names(rf"(?:.*\.)?(?:{'|'.join([*classes, NOT_OURS])})\..*"))
    rest = [name for name in suite.names(".*") if name not in known]
    # The pools' other classes have tests of their own which need no process.
    rest = [name for name in rest if "Process" in name or "Fork" in name or "Spawn" in name]
    assert not rest
    stale = {
        name
        for name in EXCEPTIONS
        if not any(test == name or test.rpartition(".")[2] == name for test in known)
    }
    # Older Pythons have fewer tests.
    assert sys.version_info < (3, 14) or not stale, f"no such tests: {stale}"


def test_standard_executor_is_not_below(suite: Suite) -> None:
    """The pools are procession's own through and through: no manager thread of the standard's."""
    for method in METHODS:
        must_pass(suite.run([f"ProcessPool{NAMES[method]}AsCompletedTest.test_no_timeout"]))
    noted = suite.noted()
    native_engine(noted)
    assert len(noted["pool"]) >= len(METHODS)
    assert not noted["standard manager"], noted["standard manager"]
