"""Queues of every kind, under each start method."""

from __future__ import annotations

import body_queues
import pytest
from programs import Programs, grid


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_queues))
def test_queues(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_queues, name, engine, method)
