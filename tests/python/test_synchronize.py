"""Locks, semaphores, conditions, events and barriers, under each start method."""

from __future__ import annotations

import body_synchronize
import pytest
from programs import Programs, grid


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_synchronize))
def test_synchronize(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_synchronize, name, engine, method)
