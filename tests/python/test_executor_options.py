"""What ProcessPoolExecutor has beside the standard's."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import body_executor_deaths
import body_executor_options
import pytest
import watch
from programs import Programs, grid

LITTLE = 128 << 20  # bytes


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_executor_options))
def test_executor_options(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_executor_options, name, engine, method)


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_executor_deaths))
def test_deaths(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_executor_deaths, name, engine, method)


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup of version 1 or 2 in which memory is short."""
    v1 = Path("/sys/fs/cgroup/memory")
    v2 = Path("/sys/fs/cgroup")
    parent, limit = (v1, "memory.limit_in_bytes") if v1.is_dir() else (v2, "memory.max")
    group = parent / f"procession-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        try:
            (group / limit).write_text(str(LITTLE))
            for name in ("memory.swap.max", "memory.swappiness"):
                if (group / name).exists():
                    (group / name).write_text("0")
        except OSError as error:
            pytest.skip(f"no memory limit can be set here: {error}")
        yield group
    finally:
        watch.until(lambda: not (group / "cgroup.procs").read_text(), "the cgroup to be empty")
        group.rmdir()


def test_want_of_memory(
    programs: Programs, small_cgroup: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "SMALL_CGROUP", str(small_cgroup))
    name = "a_death_for_want_of_memory_says_so"
    programs.run_case(body_executor_deaths, name, "procession", method)
