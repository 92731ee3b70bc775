"""What a program leaves to the end of its interpreter ends as it does without procession."""

from __future__ import annotations

import textwrap

import pytest
from programs import METHODS, PYTHON, Programs

# CPython's own test of this is test_concurrent_futures' test_interpreter_shutdown.
LEFT_OPEN = """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    class Thing:
        def __del__(self):
            print("a global has ended; modules are there:", multiprocessing is not None)

    def task(text):
        print(text, flush=True)

    if __name__ == "__main__":
        thing = Thing()
        executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context({method!r}))
        executor.submit(task, "a task has run")
"""


@pytest.mark.parametrize("door", ["procession", "stdlib"])
@pytest.mark.parametrize("method", METHODS)
def test_globals_of_main(programs: Programs, method: str, door: str) -> None:
    """An open executor and an object with __del__: nobody keeps main's globals longer."""
    (programs.cwd / "main.py").write_text(textwrap.dedent(LEFT_OPEN).format(method=method))
    option = ["-m", "procession"] if door == "procession" else []
    wanted = "a task has run\na global has ended; modules are there: True\n"
    programs.run([PYTHON, *option, "main.py"]).must(wanted)
