"""CPython's own tests of multiprocessing pass with procession put under all that they start."""

from __future__ import annotations

import collections
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import cloudpickle
import engine_witness
import pytest
import watch
from programs import METHODS, PYTHON, Programs

import procession

MAIN_HANDLING = "test.test_multiprocessing_main_handling"
TESTS_PER_METHOD = 13  # in 3.11 as in 3.14
INSTALL = "import procession; procession.install(); import engine_witness"
WORKERS = 5  # of the pool in each of the programs that it runs
SECONDS = 500


def make_venv(folder: Path, programs: Programs) -> Path:
    """Make an environment in which procession is installed before any program; its python."""
    programs.run([PYTHON, "-m", "venv", "--without-pip", folder]).must("")
    python = folder / "bin" / "python"
    text = "import sysconfig; print(sysconfig.get_path('purelib'), end='')"
    packages = Path(programs.run([python, "-c", text]).stdout)
    assert packages.is_relative_to(folder), packages
    shutil.copy(str(engine_witness.__file__), packages)
    homes = [Path(str(module.__file__)).parents[1] for module in (procession, cloudpickle)]
    lines = [*map(str, dict.fromkeys(homes)), INSTALL]
    (packages / "procession-everywhere.pth").write_text("\n".join(lines) + "\n")
    return python


def run_suite(programs: Programs, python: Path, module: str, log: Path) -> str:
    """Run a module of the test package, which must end well; what unittest wrote."""
    report = programs.cwd / "report"
    with report.open("w") as file:
        program = programs.start(
            [python, "-m", "unittest", "-v", module],
            env={engine_witness.LOG: str(log)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
        try:
            program.wait(SECONDS)
        except subprocess.TimeoutExpired:
            tree = watch.marked(programs.mark)
            programs.end_all()
            pytest.fail(f"{module} hung:\n{report.read_text(errors='replace')}\nprocesses: {tree}")
    text = report.read_text(errors="replace")
    assert program.returncode == 0, text
    programs.nothing_left()
    return text


def passed(text: str) -> int:
    """How many tests unittest ran, of which none may have failed or been skipped."""
    # "OK (skipped=…)" isn't enough.
    counted = re.search(r"^Ran (\d+) tests? in .*\n\nOK$", text, re.MULTILINE)
    assert counted, text
    assert len(re.findall(r"^test_\w+ .*\bok$", text, re.MULTILINE)) == int(counted[1]), text
    return int(counted[1])


@pytest.mark.timeout(SECONDS + 60)
def test_main_handling(programs: Programs) -> None:
    """Scripts, directories, zips and packages under every start method, in fresh interpreters."""
    if importlib.util.find_spec("test") is None or importlib.util.find_spec(MAIN_HANDLING) is None:
        pytest.fail("CPython's test package is missing (Debian: libpython3.X-testsuite)")
    log = programs.cwd / "log"
    python = make_venv(programs.cwd / "venv", programs)
    tests = passed(run_suite(programs, python, MAIN_HANDLING, log))
    assert tests >= TESTS_PER_METHOD * len(METHODS)

    noted = engine_witness.read(log)
    assert all(fact["installed"] for facts in noted.values() for fact in facts), noted
    # The runner's interpreter, and at least one per test that it starts with -E.
    scripts = [fact for fact in noted["program"] if fact["e"]]
    (runner,) = (fact for fact in noted["program"] if not fact["e"])
    assert {fact["parent"] for fact in scripts} == {runner["by"]}
    # Each of those has a pool, whose workers are started on the engine and nowhere else.
    starts = noted["start"]
    assert {fact["engine"] for fact in starts} == {"procession"}
    assert {fact["by"] for fact in starts} <= {fact["by"] for fact in scripts}
    assert len({fact["by"] for fact in starts}) >= tests
    methods = collections.Counter(fact["method"] for fact in starts)
    for method in METHODS:
        assert methods[method] >= WORKERS * TESTS_PER_METHOD, methods
    # And it was there, too, when they ran what they were started for.
    assert len({fact["by"] for fact in noted["run"]} & {fact["pid"] for fact in starts}) >= tests
