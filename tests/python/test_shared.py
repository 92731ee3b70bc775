"""Shared dicts, lists and counters, under each start method."""

from __future__ import annotations

import body_shared
import pytest
from programs import Programs, grid


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_shared))
def test_shared(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_shared, name, engine, method)
