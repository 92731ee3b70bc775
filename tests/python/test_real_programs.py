"""Programs that nobody here wrote do under procession, with workers, what they do without it.

Each works on a copy of real packages, to which a file is added that doesn't parse, so that there
is something to complain of.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import marshal
import multiprocessing
import re
import shutil
import sys
import sysconfig
from pathlib import Path

import engine_witness
import pytest
from programs import METHODS, PYTHON, Programs

STDLIB = Path(sysconfig.get_path("stdlib"))
PYC_HEADER = 16  # bytes: PEP 552
WORKERS = 2
FEW = ("json", "tomllib", "wsgiref")
SOME = (*FEW, "ctypes", "curses", "dbm")
MANY = (*FEW, "asyncio", "ctypes", "email", "http", "importlib", "unittest", "urllib", "xml")


@dataclasses.dataclass(frozen=True)
class Job:
    """A program's command line after ``python``, how it must end, and what it works on."""

    line: str
    returncode: int
    packages: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Done:
    """What a job left: its exit code, what it said, its files; by what its workers were started."""

    returncode: int
    stdout: list[str]
    stderr: list[str]
    files: dict[str, object]
    started: list[tuple[str, str]]  # engine, start method


PYLINT = "-m pylint -j 2 --persistent=n --disable=all --enable=E,W --recursive=y"
JOBS = {
    "pylint": Job(f"{PYLINT} copied", 2 | 4, FEW),
    "black": Job("-m black --workers 2 copied", 123, SOME),
    "black --diff": Job("-m black --workers 2 --diff copied", 123, SOME),  # with a manager's lock
    "black --check": Job("-m black --workers 2 --check copied", 123, FEW),
    "compileall": Job("-m compileall -q -j 2 -f copied", 1, MANY),
}
CELLS = [(name, method) for name in JOBS for method in ["default", *METHODS]]
# What each job does on multiprocessing itself; found out once.
plain: dict[str, Done] = {}


def copy_packages(packages: tuple[str, ...], folder: Path) -> None:
    """Copy packages of the standard library, times included; add a file that doesn't parse."""
    for package in packages:
        ignored = shutil.ignore_patterns("__pycache__", "test", "tests")
        shutil.copytree(STDLIB / package, folder / package, ignore=ignored)
    (folder / packages[0] / "broken.py").write_text("def f(:\n    pass\n")


def said(text: str, folder: Path) -> list[str]:
    """Lines of output as they are in every folder, at any time, whichever worker is the faster."""
    text = re.sub(r"^(---|\+\+\+) (\S+)\t.*$", r"\1 \2", text, flags=re.MULTILINE)
    return sorted(text.replace(str(folder), "…").splitlines())


def content(path: Path) -> object:
    """What is in a file; of a .pyc the code, for its bytes may differ from one run to the next."""
    data = path.read_bytes()
    return marshal.loads(data[PYC_HEADER:]) if path.suffix == ".pyc" else data


def do(programs: Programs, job: Job, folder: str, *door: str) -> Done:
    """Do a job, behind ``-m procession …`` or as it is."""
    work, settings = programs.cwd / folder / "work", programs.cwd / folder / "settings"
    settings.mkdir(parents=True)
    shutil.copy(str(engine_witness.__file__), settings / "sitecustomize.py")
    copy_packages(job.packages, work / "copied")
    log = settings / "log"
    env = {
        engine_witness.LOG: str(log),
        "PYTHONPATH": str(settings),
        "PYLINTHOME": str(settings),
        "BLACK_CACHE_DIR": str(settings),
    }
    ended = programs.run([PYTHON, *door, *job.line.split()], cwd=work, env=env)
    stdout, stderr = said(ended.stdout, work), said(ended.stderr, work)
    paths = [path for path in sorted(work.rglob("*")) if path.is_file()]
    files = {str(path.relative_to(work)): content(path) for path in paths}
    starts = engine_witness.read(log)["start"]
    started = [(fact["engine"], fact["method"]) for fact in starts]
    return Done(ended.returncode, stdout, stderr, files, started)


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("name", "method"), CELLS)
def test_as_without(programs: Programs, name: str, method: str) -> None:
    """The same exit code, messages and files; the workers are the engine's."""
    job = JOBS[name]
    if importlib.util.find_spec(job.line.split()[1]) is None:
        pytest.fail(f"not installed: {job.line.split()[1]} (pip install procession[test])")
    if name not in plain:
        plain[name] = do(programs, job, "plain")
        assert {engine for engine, _ in plain[name].started} == {"multiprocessing"}
        assert plain[name].returncode == job.returncode, plain[name]
    option = [] if method == "default" else ["--start-method", method]
    done = do(programs, job, "ours", "-m", "procession", *option)
    assert done.stderr == plain[name].stderr
    assert done.stdout == plain[name].stdout
    assert done.returncode == job.returncode
    assert done.files.keys() == plain[name].files.keys()
    differing = [path for path, held in done.files.items() if plain[name].files[path] != held]
    assert not differing
    if method == "default":
        method = multiprocessing.get_context().get_start_method()
    if name == "compileall" and method == "fork" and sys.version_info >= (3, 14):
        method = "forkserver"  # its own choice
    assert set(done.started) == {("procession", method)}
    assert len(done.started) >= WORKERS


MEASURED = """
import multiprocessing as mp

def f(x):
    if x > 3:
        return x * 2
    return x

if __name__ == "__main__":
    with mp.Pool(2) as pool:
        print(pool.map(f, [1, 5]))
        pool.close()
        pool.join()
    process = mp.Process(target=f, args=(9,))
    process.start()
    process.join()
"""


@pytest.mark.parametrize("method", METHODS)
def test_coverage_of_children(programs: Programs, method: str) -> None:
    """What coverage puts into multiprocessing's classes and preparation data reaches children."""
    (programs.cwd / "measured.py").write_text(MEASURED)
    settings = "[run]\nconcurrency = multiprocessing\nparallel = True\ninclude = measured.py\n"
    (programs.cwd / ".coveragerc").write_text(settings)
    door = ["-m", "procession", "--start-method", method]
    ended = programs.run([PYTHON, *door, "-m", "coverage", "run", "measured.py"])
    assert (ended.returncode, ended.stdout) == (0, "[1, 10]\n"), ended.shown()
    combine = programs.run([PYTHON, "-m", "coverage", "combine", "-q"])
    assert combine.returncode == 0, combine.shown()
    report = programs.run([PYTHON, "-m", "coverage", "report", "--format=total"])
    assert report.stdout == "100\n", report.shown()
