"""Fixtures of the Python tests: programs run as a user runs them, and a look at what is left."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
for folder in (HERE / "bodies", HERE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

# Here the bodies are only listed; the programs that run them choose their engine themselves.
os.environ["ENGINE"] = "multiprocessing"

import seed_table  # noqa: E402
import watch  # noqa: E402
from programs import METHODS, Programs  # noqa: E402
from travelling import run_main  # noqa: E402, F401

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell, as CI may be
    signal.signal(signal.SIGINT, signal.default_int_handler)

ENGINE_CHILDREN = 4  # the zygote, its spares and the resource tracker may outlive a test
ENGINE_FDS = 16  # what the first use of the engine in the pytest process may open for good
ENGINE_THREADS = 2


def engine_is_up() -> bool:
    """Whether a process has been started from the pytest process itself."""
    return "procession" in sys.modules and bool(watch.children())


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the test: no child, descriptor or thread in the pytest process that it made."""
    fds, threads, was_up = watch.fds(), watch.threads(), engine_is_up()
    yield
    new = engine_is_up() and not was_up
    allowed_fds = len(fds) + (ENGINE_FDS if new else 0)
    allowed_threads = len(threads) + (ENGINE_THREADS if new else 0)

    def problems() -> list[str]:
        found = []
        if active := multiprocessing.active_children():
            found.append(f"active children {active}")
        if zombies := watch.zombies():
            found.append(f"zombies {zombies}")
        if len(alive := watch.children()) > (ENGINE_CHILDREN if engine_is_up() else 0):
            found.append(f"children { {pid: watch.command(pid) for pid in alive} }")
        if len(now := watch.fds()) > allowed_fds:
            found.append(f"fds { {n: to for n, to in now.items() if fds.get(n) != to} }")
        if len(tasks := watch.threads()) > allowed_threads:
            found.append(f"threads {tasks - threads}")
        return found

    def clean() -> bool:
        if not problems():
            return True
        gc.collect()  # only now: with all of pytest in memory it takes longer than many a test
        return not problems()

    try:
        watch.until(clean, "nothing to be left", seconds=20)
    except AssertionError:
        pytest.fail(f"{request.node.name} left: " + "; ".join(problems()))


@pytest.fixture
def programs(tmp_path: Path, nothing_left: None) -> Iterator[Programs]:
    """Runs programs in a fresh folder; none of their processes may outlive them."""
    made = Programs(tmp_path)
    try:
        yield made
        for program in made.running:
            assert program.poll() is not None, f"the test left a program running: {program.args}"
        made.nothing_left()
    finally:
        made.end_all()


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    """Each start method in turn."""
    return str(request.param)


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several workers a /dev/shm of its own: what others leave there isn't theirs.

    Where that isn't allowed, they see names of tests that run at the same time.
    """
    new_mount_namespace = 0x0002_0000  # CLONE_NEWNS of linux/sched.h
    is_worker = hasattr(config, "workerinput")
    if not is_worker or ctypes.CDLL(None).unshare(new_mount_namespace) != 0:
        return
    subprocess.run(["mount", "--make-rprivate", "/dev/shm"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "shm", "/dev/shm"], check=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the table of the seed programs to who started this worker, if it is one of several."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["seed_cells"] = [(*key, outcome) for key, outcome in seed_table.CELLS.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it."""
    for seed, door, method, outcome in getattr(node, "workeroutput", {}).get("seed_cells", []):
        seed_table.CELLS[seed, door, method] = outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the seed programs, if any ran."""
    if seed_table.CELLS:
        terminalreporter.section(seed_table.title())
        terminalreporter.write_line(seed_table.text())
