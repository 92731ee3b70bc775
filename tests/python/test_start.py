"""How processes start, end, are described and belong to each other."""

from __future__ import annotations

import body_start
import pytest
from programs import PYTHON, Programs, grid

# Children of a zygote, before and after it has learnt which pages of its memory they write.
MANY_STARTS = """
import ctypes
import resource

import procession as mp

MADE_IN_THE_ZYGOTE = {str(n): [n] * 3 for n in range(30_000)}


def look(pipe):
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    whole = MADE_IN_THE_ZYGOTE == {str(n): [n] * 3 for n in range(30_000)}
    MADE_IN_THE_ZYGOTE.clear()
    pipe.send((faults, whole))


def forks_can_copy_at_once():
    io_uring = ctypes.CDLL(None).syscall(425, 1, (ctypes.c_char * 120)()) >= 0
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    enough = limit == resource.RLIM_INFINITY or limit >= 8 << 20
    return io_uring and enough and resource.getpagesize() == 4096


if __name__ == "__main__":
    here, there = mp.Pipe()
    context = mp.get_context("forkserver")
    seen = []
    for _ in range(12):
        process = context.Process(target=look, args=(there,))
        process.start()
        seen.append(here.recv())
        process.join()
        assert process.exitcode == 0, process
    assert all(whole for _, whole in seen), seen
    first, last = seen[0][0], seen[-1][0]
    assert (last < first / 2) == forks_can_copy_at_once(), seen
    print("ok")
"""

# Each child imports main, because its zygote was told not to.
IMPORTS = """
import procession as mp

with open("imports.txt", "a") as file:
    print(__name__, file=file)


def nothing():
    pass


if __name__ == "__main__":
    mp.set_forkserver_preload([])
    context = mp.get_context("forkserver")
    for _ in range(10):
        process = context.Process(target=nothing)
        process.start()
        process.join()
        assert process.exitcode == 0, process
"""


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_start))
def test_start(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_start, name, engine, method)


def test_a_zygotes_memory_stays_what_it_was(programs: Programs) -> None:
    (programs.cwd / "many_starts.py").write_text(MANY_STARTS)
    programs.run([PYTHON, "many_starts.py"]).must("ok\n")


def test_main_is_imported_by_those_who_run_it_only(programs: Programs) -> None:
    (programs.cwd / "imports.py").write_text(IMPORTS)
    programs.run([PYTHON, "imports.py"]).must("")
    lines = (programs.cwd / "imports.txt").read_text().split()
    children = lines.count("__mp_main__")
    assert 10 <= children <= 12, "ten and two spares"
    assert len(lines) == children + 1
