"""Pipes and connections: as multiprocessing's, natively, and from within asyncio."""

from __future__ import annotations

import re
import textwrap

import body_connection
import body_connection_async
import body_connection_large
import engine_witness
import pytest
from programs import METHODS, PYTHON, Programs, grid
from test_cpython_futures import must_pass
from test_pool import SECONDS, Suite


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_connection))
def test_connection(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_connection, name, engine, method)


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_connection_large))
def test_large(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_connection_large, name, engine, method)


@pytest.mark.parametrize(("name", "engine", "method"), grid(body_connection_async))
def test_async(programs: Programs, name: str, engine: str, method: str) -> None:
    programs.run_case(body_connection_async, name, engine, method)


@pytest.mark.parametrize("first", ["install", "import"])
@pytest.mark.parametrize("method", METHODS)
def test_install(programs: Programs, method: str, first: str) -> None:
    """Whoever looks Pipe up while procession is installed gets ours; before and after, theirs."""
    text = f"""
        import sys
        import multiprocessing as mp
        import procession
        if {first == "import"}:
            import multiprocessing.connection

        def kinds():
            from multiprocessing.connection import Pipe
            made = [*mp.Pipe(), *mp.get_context({method!r}).Pipe(False), *Pipe(duplex=False)]
            for end in made:
                end.close()
            return {{type(end).__module__ for end in made}}

        def child(connection):
            connection.send((type(connection).__module__, kinds()))

        if __name__ == "__main__":
            for _ in range(2):
                procession.install()
                print(kinds())
                first, second = mp.Pipe()
                process = mp.get_context({method!r}).Process(target=child, args=(second,))
                process.start()
                print(first.recv())
                process.join()
                procession.uninstall()
                print(kinds())
            print(type(procession.Pipe()[0]).__module__)
    """
    (programs.cwd / "main.py").write_text(textwrap.dedent(text))
    ours, theirs = "procession.connection", "multiprocessing.connection"
    once = f"{ {ours} }\n{(ours, {ours})}\n{ {theirs} }\n"
    programs.run([PYTHON, "main.py"]).must(once * 2 + ours + "\n")


# CPython's own tests.

WANTED = (
    r"With(?:Processes|Threads)Test(?:Connection|Listener|ListenerClient|Poll|PollEintr"
    r"|PicklingConnections)\.test_.*"
    r"|(?:TestWait|TestInvalidHandle|TestIgnoreEINTR|TestCloseFds|OtherTest"
    r"|ChallengeResponseTest)\.test_.*"
)
WITNESS = """
    import multiprocessing.connection
    import engine_witness

    def make(duplex=True, _make=multiprocessing.connection.Pipe):
        ends = _make(duplex)
        if engine_witness.PATH:
            engine_witness.note("pipe", engine=type(ends[0]).__module__)
        return ends

    multiprocessing.connection.Pipe = make
"""


@pytest.mark.timeout(SECONDS + 60)
def test_cpythons_own(programs: Programs, method: str) -> None:
    """The tests of connections, and of what waits for them."""
    suite = Suite(programs, method, WANTED)
    suite.witness("pipe_witness", WITNESS)
    wanted = suite.names()
    assert len(wanted) > 30, wanted
    ended = suite.run(wanted)
    must_pass({name: end for name, end in ended.items() if end[0] != "skipped"})
    passed = [name for name, (outcome, _) in ended.items() if outcome == "passed"]
    assert len([name for name in passed if re.search(r"TestConnection\.", name)]) > 9, passed
    noted = engine_witness.read(suite.log)
    assert len(noted["pipe"]) > 15, noted["pipe"]
    assert {fact["engine"] for fact in noted["pipe"]} == {"procession.connection"}
