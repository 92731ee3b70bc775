"""What a child has of its parent, as it is at the moment of the start."""

from __future__ import annotations

import os

import body_inherit
import pytest
from programs import METHODS, PYTHON, Programs, grid

SLOW = "an_argument_of_3_gib"


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_inherit))
def test_inherit(programs: Programs, name: str, engine: str, method: str) -> None:
    if name == SLOW and not (os.environ.get("PROCESSION_TEST_SLOW") and engine == "procession"):
        pytest.skip("takes gigabytes: set PROCESSION_TEST_SLOW=1")
    programs.run_case(body_inherit, name, engine, method)


@pytest.mark.parametrize("method", METHODS)
def test_interpreter_flags(programs: Programs, method: str) -> None:
    """Flags, warning filters and -X options of the parent's command line hold in its children."""
    options = ["-O", "-s", "-B", "-W", "error::UserWarning", "-X", "utf8=1", "-X", "dev=0"]
    name = "interpreter_flags"
    ended = programs.run([PYTHON, *options, body_inherit.__file__, method, name])
    ended.must(f"ok {name}\n")
