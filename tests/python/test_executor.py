"""What ProcessPoolExecutor does with tasks, results, errors, deaths, and its own process's end."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap

import body_executor
import body_executor_calls
import body_executor_life
import body_executor_workers
import pytest
import watch
from programs import PYTHON, Programs, grid

# Workers tell by a line each that they have begun; the text of a program comes after this.
TOP = """
    import os
    import signal
    import sys
    import procession as mp

    def tell(word):
        os.write(1, f"{word} {os.getpid()}\\n".encode())

    def wait_for_ever(word):
        tell(word)
        while True:
            signal.pause()

    def be_busy(word):
        tell(word)
        while True:
            pass

    def be_stubborn(word):
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        wait_for_ever(word)

    def hold(number):
        tell("held")
        with open(f"go-{number}") as go:
            go.read()

    def write(number):
        with open("written", "a") as file:
            file.write(f"{number}\\n")

    if __name__ == "__main__":
        mp.set_start_method(sys.argv[1])
"""


class Program:
    """A running program that tells on stdout what its processes do."""

    def __init__(self, programs: Programs, method: str, text: str) -> None:
        lines = textwrap.indent(textwrap.dedent(text), "    ")
        (programs.cwd / "main.py").write_text(textwrap.dedent(TOP) + lines)
        pipe = subprocess.PIPE
        self.programs = programs
        self.running = programs.start(
            [PYTHON, "main.py", method], stdin=pipe, stdout=pipe, stderr=pipe
        )

    def wait_for(self, **wanted: int) -> dict[str, list[int]]:
        """Read lines until so many of each sort have come; the pids in them."""
        assert self.running.stdout
        found: dict[str, list[int]] = {word: [] for word in wanted}
        while {word: len(pids) for word, pids in found.items()} != wanted:
            line = self.running.stdout.readline()
            assert line, f"ended early: {self.running.communicate()}, {found}"
            word, pid = line.split()
            found[word].append(int(pid))
        return found

    def asleep(self) -> None:
        """Wait until the program's main thread sleeps, in what it was last seen to go to."""

        def sleeps() -> bool:
            state = watch.stat(self.running.pid)
            assert state, self.running.communicate()
            return state[0] == "S"

        for _ in range(3):  # it may sleep for a moment on its way there
            watch.until(sleeps, "the program to wait")
            os.sched_yield()

    def ended(self) -> tuple[int, str, str]:
        """The program has ended, and everybody with it: the code, and what else was printed."""
        try:
            out, err = self.running.communicate(timeout=watch.WATCHDOG_S)
        except subprocess.TimeoutExpired:
            tree = watch.marked(self.programs.mark)
            for pid in tree:
                os.kill(pid, signal.SIGKILL)
            said = self.running.communicate()
            self.programs.end_all()
            pytest.fail(f"hung; processes: {tree}\n" + "\n--\n".join(said))
        self.programs.nothing_left()
        return self.running.returncode, out, err


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_executor))
def test_executor(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_executor, name, engine, method)


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_executor_calls))
def test_calls(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_executor_calls, name, engine, method)


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_executor_workers))
def test_workers(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_executor_workers, name, engine, method)


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_executor_life))
def test_life(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_executor_life, name, engine, method)


EXITS = {
    "falls_off_the_end": "",
    "exits": "sys.exit(0)",
    "forgets_the_pool": "del pool",
    "has_let_go": "pool.shutdown(wait=False)",
}


@pytest.mark.parametrize("way", EXITS)
def test_exit_finishes_what_is_pending(programs: Programs, method: str, way: str) -> None:
    """As the standard's: an interpreter that ends waits for the work that it has given out."""
    text = f"""
        pool = mp.ProcessPoolExecutor(2)
        for number in range(2):
            os.mkfifo(f"go-{{number}}")
            pool.submit(hold, number)
        for number in range(50):
            pool.submit(write, number)
        tell("end")
        {EXITS[way]}
    """
    program = Program(programs, method, text)
    program.wait_for(held=2, end=1)
    program.asleep()
    assert not (programs.cwd / "written").exists()
    for number in range(2):
        (programs.cwd / f"go-{number}").write_text("go")
    assert program.ended() == (0, "", "")
    written = (programs.cwd / "written").read_text().split()
    assert sorted(map(int, written)) == list(range(50))


def test_exit_with_idle_workers(programs: Programs, method: str) -> None:
    """A pool that nobody shut down, with nothing to do, doesn't keep the interpreter."""
    text = """
        pool = mp.ProcessPoolExecutor(2)
        list(pool.map(tell, ["done"] * 5))
        other = mp.ProcessPoolExecutor(2)
    """
    program = Program(programs, method, text)
    program.wait_for(done=5)
    assert program.ended() == (0, "", "")


def test_uncaught_error_with_a_pool(programs: Programs, method: str) -> None:
    """It is reported once; the work given out is finished."""
    text = """
        pool = mp.ProcessPoolExecutor(1)
        for number in range(5):
            pool.submit(write, number)
        raise LookupError("in main")
    """
    code, out, err = Program(programs, method, text).ended()
    assert (code, out) == (1, "")
    assert err.count("Traceback") == 1, err
    assert err.endswith("\nLookupError: in main\n"), err
    assert len((programs.cwd / "written").read_text().split()) == 5


TASKS = ("wait_for_ever", "be_busy", "be_stubborn")


@pytest.mark.parametrize("what", [*TASKS, "idle"])
def test_parent_killed(programs: Programs, method: str, what: str) -> None:
    """No worker outlives its parent: busy, waiting, deaf to signals or idle."""
    text = f"""
        pool = mp.ProcessPoolExecutor(2)
        if {what!r} == "idle":
            list(pool.map(tell, ["idle"] * 2))
        else:
            futures = [pool.submit({what if what != "idle" else None}, {what!r}) for _ in range(10)]
        signal.pause()
    """
    program = Program(programs, method, text)
    program.wait_for(**{what: 2})
    os.kill(program.running.pid, signal.SIGKILL)
    assert program.ended()[0] == -signal.SIGKILL


def test_parent_killed_while_it_submits(programs: Programs, method: str) -> None:
    text = """
        pool = mp.ProcessPoolExecutor(2)
        data = bytes(1 << 20)
        pool.submit(tell, "working").result()
        while True:
            for future in [pool.submit(len, data) for _ in range(20)]:
                assert future.result() == 1 << 20
    """
    program = Program(programs, method, text)
    program.wait_for(working=1)
    os.kill(program.running.pid, signal.SIGKILL)
    assert program.ended()[0] == -signal.SIGKILL


def test_parent_leaves_by_os_exit(programs: Programs, method: str) -> None:
    """A parent that says nothing to its workers takes them with it nevertheless."""
    text = """
        pool = mp.ProcessPoolExecutor(2)
        futures = [pool.submit(wait_for_ever, "working") for _ in range(10)]
        sys.stdin.readline()
        os._exit(7)
    """
    program = Program(programs, method, text)
    program.wait_for(working=2)
    assert program.running.stdin
    program.running.stdin.write("\n")
    program.running.stdin.flush()
    assert program.ended() == (7, "", "")


INTERRUPTED = {
    "in_result": """
        pool = mp.ProcessPoolExecutor(2)
        futures = [pool.submit(wait_for_ever, "working") for _ in range(10)]
        tell("waits")
        futures[0].result()
    """,
    "in_a_block": """
        with mp.ProcessPoolExecutor(2) as pool:
            futures = [pool.submit(wait_for_ever, "working") for _ in range(10)]
            tell("waits")
            futures[0].result()
    """,
    "in_map": """
        with mp.ProcessPoolExecutor(2) as pool:
            tell("waits")
            list(pool.map(wait_for_ever, ["working"] * 10))
    """,
    "in_shutdown": """
        pool = mp.ProcessPoolExecutor(2)
        futures = [pool.submit(wait_for_ever, "working") for _ in range(10)]
        tell("waits")
        pool.shutdown()
    """,
    "with_idle_workers": """
        with mp.ProcessPoolExecutor(2) as pool:
            list(pool.map(tell, ["working"] * 2))
            tell("waits")
            signal.pause()
    """,
}


@pytest.mark.parametrize("where", INTERRUPTED)
def test_interrupt_from_the_keyboard(programs: Programs, method: str, where: str) -> None:
    """Ctrl-C, which all of the foreground's processes get: one traceback, and nothing left."""
    program = Program(programs, method, INTERRUPTED[where])
    program.wait_for(working=2, waits=1)
    program.asleep()
    os.killpg(program.running.pid, signal.SIGINT)
    code, _, err = program.ended()
    assert code == -signal.SIGINT, err
    assert err.count("Traceback") == 1, err
    assert err.endswith("\nKeyboardInterrupt\n"), err


def test_interrupt_of_the_parent_alone(programs: Programs, method: str) -> None:
    """As `kill -INT` does it, and caught: the pool goes on."""
    text = """
        os.mkfifo("go-0")
        with mp.ProcessPoolExecutor(1) as pool:
            future = pool.submit(hold, 0)
            tell("waits")
            try:
                future.result()
            except KeyboardInterrupt:
                tell("caught")
            future.result()
            list(pool.map(tell, ["works"] * 3))
    """
    program = Program(programs, method, text)
    program.wait_for(held=1, waits=1)
    program.asleep()
    os.kill(program.running.pid, signal.SIGINT)
    program.wait_for(caught=1)
    (programs.cwd / "go-0").write_text("go")
    program.wait_for(works=3)
    assert program.ended() == (0, "", "")


UNGUARDED = """
    import sys
    import procession as mp

    mp.set_start_method(sys.argv[1])

    def square(number):
        return number * number

    with mp.ProcessPoolExecutor(2) as pool:
        print(pool.submit(square, 5).result(), list(pool.map(lambda n: n + 1, [1, 2])))
"""


def test_main_without_a_guard(programs: Programs, method: str) -> None:
    (programs.cwd / "main.py").write_text(textwrap.dedent(UNGUARDED))
    programs.run([PYTHON, "main.py", method]).must("25 [2, 3]\n")


def test_main_on_a_command_line(programs: Programs, method: str) -> None:
    program = programs.run([PYTHON, "-c", textwrap.dedent(UNGUARDED), method])
    program.must("25 [2, 3]\n")


INSTALLED = """
    import concurrent.futures
    import multiprocessing
    import sys

    def square(number):
        return number * number, type(multiprocessing.current_process()).__module__

    if __name__ == "__main__":
        multiprocessing.set_start_method(sys.argv[1])
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            print(pool.submit(square, 5).result()[0], len(list(pool.map(square, range(10)))))
"""


def test_the_standards_executor_under_procession(programs: Programs, method: str) -> None:
    """`python -m procession` runs programs that know only concurrent.futures."""
    (programs.cwd / "main.py").write_text(textwrap.dedent(INSTALLED))
    programs.run([PYTHON, "-m", "procession", "main.py", method]).must("25 10\n")
