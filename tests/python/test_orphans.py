"""No process outlives its parent by more than a moment, however the parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter

import body_orphans
import pytest
import watch
from programs import PYTHON, Programs


class Family:
    """A running program of `body_orphans`, and the members who have said that they live."""

    def __init__(self, programs: Programs, method: str, name: str) -> None:
        pipe = subprocess.PIPE
        self.programs = programs
        self.program = programs.start(
            [PYTHON, body_orphans.__file__, method, name], stdin=pipe, stdout=pipe, stderr=pipe
        )
        self.members: list[tuple[str, int]] = []

    def line(self) -> str:
        """The next line that somebody of the family prints."""
        assert self.program.stdout
        return self.program.stdout.readline()

    def wait_for(self, **wanted: int) -> None:
        """Read until so many of each sort have spoken."""
        while Counter(word for word, _ in self.members) != wanted:
            line = self.line()
            assert line, f"ended early: {self.program.communicate()}, {self.members}"
            word, pid = line.split()
            self.members.append((word, int(pid)))

    def pids(self, word: str) -> list[int]:
        """The pids of one sort of member."""
        return [pid for name, pid in self.members if name == word]

    def all_gone(self) -> None:
        """The program has ended, and everybody with it."""
        self.program.wait(watch.WATCHDOG_S)
        self.programs.nothing_left()

    def rest(self) -> tuple[str, str]:
        """What else was printed."""
        out, err = self.program.communicate(timeout=watch.WATCHDOG_S)
        return out, err


def test_parent_killed(programs: Programs, method: str) -> None:
    """Children busy, idle, deaf or daemonic, and grandchildren: all go with the parent."""
    family = Family(programs, method, "everyone")
    family.wait_for(parent=1, child=5, grandchild=3)
    os.kill(family.program.pid, signal.SIGKILL)
    family.all_gone()
    assert family.program.returncode == -signal.SIGKILL


def test_parent_in_the_middle_killed(programs: Programs, method: str) -> None:
    """Grandchildren go with their parent while their grandparent lives on."""
    family = Family(programs, method, "a_head")
    family.wait_for(child=1, grandchild=3)
    os.kill(family.pids("child")[0], signal.SIGKILL)
    grandchildren = family.pids("grandchild")
    watch.until(lambda: not any(map(watch.alive, grandchildren)), "the grandchildren to go")
    assert family.line() == "child ended -9\n"
    assert family.rest() == ("", "")
    family.all_gone()
    assert family.program.returncode == 0


@pytest.mark.parametrize("turns", [0, 20_000, 200_000])
def test_parent_killed_while_it_starts(programs: Programs, method: str, turns: int) -> None:
    """Whatever was under way between the parent and its new children: they vanish."""
    family = Family(programs, method, "all_the_time")
    family.wait_for(child=1)
    for _ in range(turns):
        pass
    os.kill(family.program.pid, signal.SIGKILL)
    family.all_gone()
    assert family.program.returncode == -signal.SIGKILL


def test_parent_leaves_by_os_exit(programs: Programs, method: str) -> None:
    family = Family(programs, method, "left_at_once")
    family.wait_for(child=2)
    assert family.program.stdin
    family.program.stdin.write("\n")
    family.program.stdin.flush()
    family.all_gone()
    assert family.program.returncode == 0
    assert family.rest() == ("", "")


def test_interrupt_during_join(programs: Programs, method: str) -> None:
    """Ctrl-C in the parent ends its wait; the child isn't touched by that."""
    family = Family(programs, method, "join_interrupted")
    family.wait_for(child=1)
    in_join(family)
    os.kill(family.program.pid, signal.SIGINT)
    assert family.rest() == ("interrupted True\nexit code -9\n", "")
    family.all_gone()
    assert family.program.returncode == 0


def test_uncaught_interrupt(programs: Programs, method: str) -> None:
    """One traceback, the exit code of an interrupt, and nobody left."""
    family = Family(programs, method, "uncaught_interrupt")
    family.wait_for(child=1)
    in_join(family)
    os.kill(family.program.pid, signal.SIGINT)
    out, err = family.rest()
    assert out == ""
    assert err.count("Traceback") == 1, err
    assert err.endswith("\nKeyboardInterrupt\n"), err
    family.all_gone()
    assert family.program.returncode == -signal.SIGINT


def in_join(family: Family) -> None:
    """Wait until the program's main thread sleeps, which it does in join() alone."""

    def asleep() -> bool:
        state = watch.stat(family.program.pid)
        assert state, family.rest()
        return state[0] == "S"

    for _ in range(3):  # it may sleep for a moment on its way there
        watch.until(asleep, "the parent to wait")
        os.sched_yield()
