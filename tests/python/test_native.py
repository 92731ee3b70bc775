"""The native engine is what runs, in the parent, in its children and in theirs."""

from __future__ import annotations

import textwrap

import pytest
from programs import METHODS, PYTHON, Programs

# A program that knows of procession only to ask whether it is there.
FAMILY = """
    {start}

    def engine(process):
        return type(process._popen).__module__.partition(".")[0]

    def look(depth):
        module = sys.modules.get("procession")
        installed = module is not None and module.is_installed()
        process = mp.Process(target=look, args=(depth - 1,))
        if depth:
            process.start()
            found = engine(process)
            process.join()
            assert process.exitcode == 0
            print(depth, installed, found, flush=True)
        else:
            print(depth, installed, flush=True)

    def task(n):
        return sys.modules["procession"].is_installed(), n

    if __name__ == "__main__":
        look(2)
        with mp.Pool(1) as pool:
            print("Pool", engine(pool._pool[0]), pool.map(task, [3]))
        with ProcessPoolExecutor(max_workers=1) as executor:
            answer = executor.submit(task, 4).result()
            print("executor", engine(list(executor._processes.values())[0]), answer)
        context = mp.get_context({method!r})
        process = context.Process(target=task, args=(1,))
        process.start()
        print("context", engine(process), type(process).__name__)
        process.join()
        process = EarlyProcess(target=task, args=(1,))
        process.start()
        print("early", engine(process), process.name[:7])
        process.join()
"""
PLAIN = """
    import sys
    import multiprocessing as mp
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import Process as EarlyProcess
"""
INSTALL = """
    import sys
    import multiprocessing as mp
    from multiprocessing import Process as EarlyProcess
    import procession
    procession.install()
    from concurrent.futures import ProcessPoolExecutor
    if __name__ == "__main__":
        mp.set_start_method({method!r})
"""
KINDS = {"fork": "ForkProcess", "spawn": "SpawnProcess", "forkserver": "ForkServerProcess"}


def family(programs: Programs, start: str, method: str) -> str:
    """Write the program; its name."""
    start = textwrap.dedent(start).format(method=method)
    text = textwrap.dedent(FAMILY).format(start=start, method=method)
    (programs.cwd / "family.py").write_text(text)
    return "family.py"


@pytest.mark.parametrize("door", ["option", "install"])
@pytest.mark.parametrize("method", METHODS)
def test_native_throughout(programs: Programs, method: str, door: str) -> None:
    """Process, Pool, executor, contexts, a class bound early; three generations."""
    path = family(programs, PLAIN if door == "option" else INSTALL, method)
    option = ["-m", "procession", "--start-method", method] if door == "option" else []
    programs.run([PYTHON, *option, path]).must(
        "0 True\n"
        "1 True procession\n"
        "2 True procession\n"
        "Pool procession [(True, 3)]\n"
        "executor procession (True, 4)\n"
        f"context procession {KINDS[method]}\n"
        "early procession Process\n"
    )


@pytest.mark.parametrize("method", METHODS)
def test_uninstall(programs: Programs, method: str) -> None:
    """What install() replaces, uninstall() puts back; both may be said twice."""
    text = f"""
        import multiprocessing as mp, multiprocessing.queues, multiprocessing.synchronize
        import concurrent.futures.process, multiprocessing.pool
        import procession

        def public():
            found = {{name for name in vars(mp) if not name.startswith("_")}}
            return {{name for name in found if not isinstance(getattr(mp, name), type(mp))}}

        def engine():
            process = mp.get_context({method!r}).Process(target=print, args=("hello",))
            process.start()
            process.join()
            with mp.get_context({method!r}).Pool(1) as pool:
                assert pool.apply(abs, (-3,)) == 3
                kinds = {{type(pool), mp.pool.Pool, concurrent.futures.ProcessPoolExecutor,
                         concurrent.futures.process.ProcessPoolExecutor}}
            ours = {{kind.__module__.startswith("procession.") for kind in kinds}}
            assert ours == {{procession.is_installed()}}, kinds
            return type(process._popen).__module__.partition(".")[0], process.exitcode

        if __name__ == "__main__":
            assert not procession.is_installed()
            print(engine())
            names = public()
            for _ in range(2):
                procession.install()
                assert procession.is_installed()
                print(engine())
                assert public() == names, public() ^ names
                procession.install()
                for _ in range(2):
                    procession.uninstall()
                    assert not procession.is_installed()
                print(engine())
            assert public() == names, public() ^ names
    """
    (programs.cwd / "main.py").write_text(textwrap.dedent(text))
    stdlib, ours = "hello\n('multiprocessing', 0)\n", "hello\n('procession', 0)\n"
    programs.run([PYTHON, "main.py"]).must(stdlib + (ours + stdlib) * 2)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_imported_later_finds_it_installed(programs: Programs, method: str) -> None:
    """In children, too, for which it may have been imported ahead."""
    text = f"""
        import procession

        procession.install()
        import multiprocessing.managers

        def look():
            print(multiprocessing.managers.SyncManager._registry["Pool"][0].__module__)

        if __name__ == "__main__":
            look()
            process = multiprocessing.get_context({method!r}).Process(target=look)
            process.start()
            process.join()
    """
    (programs.cwd / "main.py").write_text(textwrap.dedent(text))
    programs.run([PYTHON, "main.py"]).must("procession.pool\n" * 2)


@pytest.mark.parametrize("method", METHODS)
def test_imported_only(programs: Programs, method: str) -> None:
    """`import procession as mp` uses the engine and leaves multiprocessing as it is."""
    text = f"""
        import multiprocessing
        import procession as mp

        def engine(module):
            process = module.get_context({method!r}).Process(target=print, args=("hello",))
            process.start()
            process.join()
            return type(process._popen).__module__.partition(".")[0], process.exitcode

        if __name__ == "__main__":
            print(engine(mp))
            print(engine(multiprocessing))
            print(mp.is_installed())
    """
    (programs.cwd / "main.py").write_text(textwrap.dedent(text))
    wanted = "hello\n('procession', 0)\nhello\n('multiprocessing', 0)\nFalse\n"
    programs.run([PYTHON, "main.py"]).must(wanted)


def test_names(programs: Programs) -> None:
    """All of multiprocessing's names and modules; contexts that others recognise."""
    text = """
        import importlib
        import multiprocessing
        import multiprocessing.context
        import procession

        missing = [name for name in multiprocessing.__all__ if not hasattr(procession, name)]
        assert not missing, missing
        assert set(multiprocessing.__all__) <= set(procession.__all__)
        modules = ["shared_memory", "managers", "connection", "pool", "queues", "synchronize"]
        for name in [*modules, "sharedctypes"]:
            ours = importlib.import_module(f"procession.{name}")
            theirs = importlib.import_module(f"multiprocessing.{name}")
            for public in getattr(theirs, "__all__", []):
                assert hasattr(ours, public), (name, public)
        for method, kind in (("fork", "Fork"), ("spawn", "Spawn"), ("forkserver", "ForkServer")):
            context = procession.get_context(method)
            assert isinstance(context, multiprocessing.context.BaseContext)
            assert type(context).__name__ == f"{kind}Context"
            assert context.Process.__name__ == f"{kind}Process"
            assert issubclass(context.Process, multiprocessing.process.BaseProcess)
            assert context.get_start_method() == method
            assert procession.get_context(method) is context
        for name in ("ProcessError", "TimeoutError", "BufferTooShort", "AuthenticationError"):
            assert getattr(procession, name) is getattr(multiprocessing, name)
        assert callable(procession.ProcessPoolExecutor)
        print(procession.current_process().name, procession.parent_process())
    """
    (programs.cwd / "main.py").write_text(textwrap.dedent(text))
    programs.run([PYTHON, "main.py"]).must("MainProcess None\n")


def test_beside_another_libstdcxx(programs: Programs) -> None:
    """As NumPy brings one: what the two have of the same name is not shared."""
    text = """
        import ctypes
        ctypes.CDLL("libstdc++.so.6")
        import procession
        assert procession.cpu_count() > 0
        with procession.ProcessPoolExecutor(1) as pool:
            print(pool.submit(pow, 2, 5).result())
    """
    programs.run([PYTHON, "-c", textwrap.dedent(text)]).must("32\n")
