"""How processes start, end, are described and belong to each other."""

from __future__ import annotations

import body_start
import pytest
from programs import Programs, grid


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_start))
def test_start(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_start, name, engine, method)
