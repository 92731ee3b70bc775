"""Workers and zygotes killed at random under a pool at work; `chaos.py` is the full run."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import PYTHON, Programs

PROGRAM = Path(__file__).parent / "chaos.py"
TASKS = "40000"


@pytest.mark.parametrize("policy", ["fail_task", "retry"])
def test_each_task_ends_once(programs: Programs, method: str, policy: str) -> None:
    if method == "fork":
        pytest.skip("replacing a forked worker forks beside threads, of which Python warns")
    ended = programs.run(
        [PYTHON, PROGRAM, "--tasks", TASKS, "--method", method, "--policy", policy]
    )
    assert ended.returncode == 0, ended.shown()
    assert ended.stdout.count("\n") == 1, ended.shown()
