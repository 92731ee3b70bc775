"""What goes wrong in a child, or before it, and how the parent hears of it."""

from __future__ import annotations

import textwrap

import body_errors
import pytest
from programs import PYTHON, Programs, grid

IMPORT_FAILS = """
    import os
    import procession as mp

    {top}

    def hello():
        print("hello")

    if __name__ == "__main__":
        mp.set_start_method("{method}")
        os.unlink("config.txt")
        process = mp.Process(target=hello)
        process.start()
        process.join()
        error = process.exception()
        print(process.exitcode, type(error).__name__, "config.txt" in str(error))
"""
TOPS = {
    "raises": ("CONFIG = open('config.txt').read()", "FileNotFoundError"),
    "refuses": (
        "if not os.path.exists('config.txt'):\n        raise RuntimeError('no config.txt')",
        "RuntimeError",
    ),
}


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_errors))
def test_errors(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_errors, name, engine, method)


@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_main_that_fails_to_import(programs: Programs, method: str, top: str) -> None:
    """The child says so in one line and exits with 1; the parent has the exception."""
    line, kind = TOPS[top]
    (programs.cwd / "config.txt").write_text("x")
    text = textwrap.dedent(IMPORT_FAILS).format(top=textwrap.dedent(line), method=method)
    (programs.cwd / "main.py").write_text(text)
    ended = programs.run([PYTHON, "main.py"])
    assert (ended.returncode, ended.stdout) == (0, f"1 {kind} True\n"), ended.shown()
    assert ended.stderr.count("\n") == 1, ended.shown()
    for word in ("main.py", kind, "config.txt"):
        assert word in ended.stderr, ended.shown()
