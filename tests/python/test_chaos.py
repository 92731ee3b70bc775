"""Workers and zygotes killed at random under a pool at work, and the users of queues and locks.

`chaos.py` and `chaos_queues.py` are the full runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import PYTHON, Programs

PROGRAM = Path(__file__).parent / "chaos.py"
QUEUES = Path(__file__).parent / "chaos_queues.py"
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


def test_queues_and_locks(programs: Programs) -> None:
    """Their users are killed at random; by one method, since none of it depends on that."""
    ended = programs.run([PYTHON, QUEUES, "--seconds", "20", "--method", "forkserver"])
    assert ended.returncode == 0, ended.shown()
    assert ended.stdout.count("\n") == 1, ended.shown()
