"""Starts that the system refuses, and a zygote that is killed at a bad moment."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import body_limits
import pytest
from programs import METHODS, PYTHON, Programs, grid

NEEDS_USER = "no_process_to_be_had"
CELLS = [cell for cell in grid(body_limits) if cell.values[0] != NEEDS_USER]


@pytest.mark.parametrize(("name", "engine", "method"), CELLS)
def test_limits(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_limits, name, engine, method)


@pytest.mark.parametrize("method", METHODS)
def test_no_process_to_be_had(programs: Programs, method: str) -> None:
    """RLIMIT_NPROC counts a user's processes: the program gets a user to itself."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only the superuser can become a user who has no other processes")
    user = str(random.SystemRandom().randrange(100_000, 2_000_000_000))
    # The Python and the package may lie where only the superuser reads: keep that right, no other.
    reads = "-all,+dac_override,+dac_read_search"
    become = ["setpriv", f"--reuid={user}", "--clear-groups", f"--inh-caps={reads}"]
    become += [f"--ambient-caps={reads}", f"--bounding-set={reads}"]
    assert body_limits.__file__
    path = Path(body_limits.__file__)
    ended = programs.run([*become, PYTHON, path, method, NEEDS_USER])
    ended.must(f"ok {NEEDS_USER}\n")
