"""The table of the seed programs: which runs under which start method, by which front door."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator

import pytest

METHODS = ("fork", "spawn", "forkserver")
DOORS = ("python -m procession", "import procession")
CELLS: dict[tuple[str, str, str], str] = {}  # (seed, door, method) -> 'pass', 'FAIL' or 'n/a'


@contextlib.contextmanager
def cell(seed: str, door: str, method: str) -> Iterator[None]:
    """Enter into the table how the block ended."""
    assert door in DOORS
    assert method in METHODS
    key = (seed, door, method)
    CELLS[key] = "FAIL"
    try:
        yield
    except pytest.skip.Exception:
        CELLS[key] = "n/a"
        raise
    CELLS[key] = "pass"


def title() -> str:
    """The heading."""
    return f"seed programs on {platform.python_implementation()} {platform.python_version()}"


def text() -> str:
    """The table; a hyphen where a seed has no such door."""
    seeds = list(dict.fromkeys(seed for seed, _, _ in CELLS))
    width = max(map(len, seeds))
    group = len("".join(f"{m:>11}" for m in METHODS))
    lines = [
        " " * width + "".join(f"  {door:^{group}}" for door in DOORS),
        " " * width + ("  " + "".join(f"{m:>11}" for m in METHODS)) * len(DOORS),
    ]
    for seed in seeds:
        row = f"{seed:<{width}}"
        for door in DOORS:
            row += "  " + "".join(f"{CELLS.get((seed, door, m), '-'):>11}" for m in METHODS)
        lines.append(row)
    return "\n".join(line.rstrip() for line in lines)
