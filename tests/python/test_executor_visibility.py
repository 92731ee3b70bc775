"""What a pool tells of itself: figures, events, traces; what its workers say."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import body_forwarding
import body_progress
import body_visibility
import pytest
from programs import PYTHON, Programs, grid

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_visibility))
def test_visibility(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_visibility, name, engine, method)


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_forwarding))
def test_forwarding(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_forwarding, name, engine, method)


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_progress))
def test_progress(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_progress, name, engine, method)


def test_example_and_picture(programs: Programs) -> None:
    """The standard library is parsed, and the trace of that can be drawn."""
    command = [PYTHON, ROOT / "examples/parse_stdlib.py", "--workers", "2", "--limit", "60"]
    ended = programs.run([*command, "--trace", "trace.json", "--compare"])
    assert ended.returncode == 0, ended.shown()
    assert "60 files in" in ended.stdout
    assert "60/60" in ended.stderr
    ended = programs.run([PYTHON, ROOT / "tools/trace_picture.py", "trace.json", "trace.svg"])
    ended.must("")
    picture = ElementTree.parse(programs.cwd / "trace.svg").getroot()
    trace = json.loads((programs.cwd / "trace.json").read_text())
    workers = {each["tid"] for each in trace if each.get("cat") == "task"}
    shown = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {f"worker {pid}" for pid in workers} <= shown


def test_picture_of_a_death(programs: Programs) -> None:
    (programs.cwd / "main.py").write_text(
        "import os, procession as mp\n"
        "if __name__ == '__main__':\n"
        "    with mp.ProcessPoolExecutor(1, trace='trace.json') as pool:\n"
        "        pool.submit(os._exit, 3).exception()\n"
    )
    programs.run([PYTHON, "main.py"]).must("")
    programs.run([PYTHON, ROOT / "tools/trace_picture.py", "trace.json", "trace.svg"]).must("")
    text = (programs.cwd / "trace.svg").read_text()
    assert "exited with code 3" in text
    assert "posix._exit: died" in text
