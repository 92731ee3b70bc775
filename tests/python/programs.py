"""Runs programs as a user would and proves that nothing of them is left when they end.

Each program gets a session of its own and a mark in its environment, by which every process that
came of it can be found.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import body
import pytest
import watch

METHODS = body.METHODS
BODIES = Path(__file__).parent / "bodies"
PYTHON = sys.executable
UNWANTED = (
    "PYTEST_CURRENT_TEST",
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
    "PYTHONSAFEPATH",
    "PYTHONDEVMODE",
    "PYTHONINSPECT",
    "FORCE_COLOR",
    "PYTHON_COLORS",
    "ENGINE",
)


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a program that has ended left to read."""

    returncode: int
    stdout: str
    stderr: str

    def must(self, stdout: str, *, stderr: str = "", returncode: int = 0) -> None:
        """Fail unless all three are exactly these."""
        wanted = Ended(returncode, stdout, stderr)
        assert self == wanted, f"\n{self.shown()}\nwanted:\n{wanted.shown()}"

    def shown(self) -> str:
        """All of it, to be read in a report."""
        return f"exit {self.returncode}\n-- stdout\n{self.stdout}-- stderr\n{self.stderr}--"


def environment(mark: str, changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program under test."""
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    return {**env, "TERM": "dumb", "COLUMNS": "100", **(changes or {}), watch.MARK: mark}


class Programs:
    """The programs of one test."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.mark = uuid.uuid4().hex
        self.shm_before = watch.shm_names()
        self.running: list[subprocess.Popen[str]] = []

    def start(
        self,
        args: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a program; its standard streams go where `options` say."""
        program = subprocess.Popen(
            [str(arg) for arg in args],
            cwd=cwd or self.cwd,
            env=environment(self.mark, env),
            text=True,
            start_new_session=True,
            **options,
        )
        self.running.append(program)
        return program

    def run(
        self,
        args: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Ended:
        """Run a program to its end. Its output goes to files, which no child can keep open."""
        with (
            tempfile.TemporaryFile("w+") as source,
            tempfile.TemporaryFile("w+", errors="backslashreplace") as out,
            tempfile.TemporaryFile("w+", errors="backslashreplace") as err,
        ):
            source.write(stdin)
            source.seek(0)
            program = self.start(args, cwd=cwd, env=env, stdin=source, stdout=out, stderr=err)
            hung = not watch.ends(program.pid, watch.WATCHDOG_S)
            if hung:
                tree = watch.marked(self.mark)
                self.end_all()
            out.seek(0)
            err.seek(0)
            ended = Ended(program.wait(), out.read(), err.read())
        if hung:
            pytest.fail(f"hung: {args}\n{ended.shown()}\nprocesses: {tree}")
        self.nothing_left()
        return ended

    def run_case(self, module: ModuleType, name: str, engine: str, method: str) -> None:
        """Run one case of a body; it must end well and say exactly what it should."""
        assert module.__file__
        chosen = body.CASES[module.__name__][name]
        ended = self.run([PYTHON, module.__file__, method, name], env={"ENGINE": engine})
        kind = {"fork": "Fork", "spawn": "Spawn", "forkserver": "ForkServer"}[method] + "Process"
        wanted = chosen.stderr.replace("{Kind}", kind)
        assert ended.returncode == 0, ended.shown()
        assert ended.stdout == f"{chosen.before}ok {name}\n{chosen.after}", ended.shown()
        assert re.fullmatch(wanted, ended.stderr, re.DOTALL), f"{ended.shown()}\nwanted {wanted}"

    def nothing_left(self) -> None:
        """No process of the programs that have ended is alive, no name of theirs in /dev/shm."""
        try:
            watch.until(lambda: not watch.marked(self.mark), "processes to end", seconds=20)
        except AssertionError:
            pytest.fail(f"processes left alive: {watch.marked(self.mark)}")

        def new_names() -> set[str]:
            return watch.shm_names() - self.shm_before

        def clean() -> bool:
            return all(watch.held_by_others(name, self.mark) for name in new_names())

        try:
            watch.until(clean, "names in /dev/shm to go", seconds=20)
        except AssertionError:
            pytest.fail(f"left in /dev/shm: {new_names()}")

    def end_all(self) -> None:
        """Kill what still runs of this test's programs, and reap what is ours to reap."""
        deadline = time.monotonic() + watch.WATCHDOG_S
        while (found := watch.marked(self.mark)) and time.monotonic() < deadline:
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)
        for program in self.running:
            program.wait()
            for stream in (program.stdin, program.stdout, program.stderr):
                if stream:
                    stream.close()


def grid(module: ModuleType) -> list[Any]:
    """Each case of a body under each of its methods; under fork also on multiprocessing itself."""
    cells: list[Any] = []
    for name, chosen in body.CASES[module.__name__].items():
        cells += [
            pytest.param(name, "procession", method, id=f"{name}-{method}")
            for method in chosen.methods
        ]
        if not chosen.ours and "fork" in chosen.methods:
            cells.append(pytest.param(name, "multiprocessing", "fork", id=f"{name}-stdlib"))
    return cells
