"""What the bodies share: the engine under test, the list of cases, the proof that nothing is left.

A body is a program: `python body_x.py METHOD CASE` runs one case under one start method and prints
`ok CASE`. The variable ENGINE names the package that it runs on, `procession` unless told, so that
the same case can be run on `multiprocessing`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import watch

ENGINE = os.environ.get("ENGINE", "procession")
METHODS = ("fork", "spawn", "forkserver")
SAFE = ("spawn", "forkserver")
mp: Any = importlib.import_module(ENGINE)


class Case(NamedTuple):  # no dataclass: each of thousands of children would import inspect for it
    """One body: what it is called, where it runs, what the program prints around its `ok`."""

    run: Callable[[], None]
    methods: tuple[str, ...]
    ours: bool  # multiprocessing doesn't promise it, not even under fork
    warm: bool  # a process has been started and joined before, and what is left is counted
    before: str
    after: str
    stderr: str  # a regular expression for all of it; {Kind} is the process class's name

    @property
    def name(self) -> str:
        return self.run.__name__


CASES: dict[str, dict[str, Case]] = {}


def case(
    *,
    methods: tuple[str, ...] = METHODS,
    ours: bool = False,
    warm: bool = True,
    before: str = "",
    after: str = "",
    stderr: str = "",
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function as a case of its module."""

    def register(run: Callable[[], None]) -> Callable[[], None]:
        made = Case(run, methods, ours, warm, before, after, stderr)
        CASES.setdefault(run.__module__, {})[made.name] = made
        return run

    return register


@contextlib.contextmanager
def raises(
    kind: type[BaseException] | tuple[type[BaseException], ...], *texts: str
) -> Iterator[list[BaseException]]:
    """The block must raise `kind` with each of `texts` in its message; yields a list with it."""
    caught: list[BaseException] = []
    try:
        yield caught
    except kind as error:
        missing = [text for text in texts if text not in str(error)]
        assert not missing, f"{missing} not in {error!r}"
        caught.append(error.with_traceback(None))
    else:
        raise AssertionError(f"no {kind} was raised")


def nothing() -> None:
    """The smallest target."""


def started(target: Callable[..., Any], *args: Any, context: Any = mp, **options: Any) -> Any:
    """A process that has been started."""
    process = context.Process(target=target, args=args, **options)
    process.start()
    return process


def run(target: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """A process that has been started and joined."""
    process = started(target, *args, **options)
    process.join()
    return process


def ask(target: Callable[..., Any], *args: Any, context: Any = mp) -> Any:
    """What `target(connection, *args)`, run in a process, sends."""
    reader, writer = context.Pipe(duplex=False)
    with reader, writer:
        process = started(target, writer, *args, context=context)
        writer.close()
        answer = reader.recv()
        process.join()
    assert process.exitcode == 0, process
    return answer


def _told_of_interrupt(writer: Any, wait: Callable[[], object]) -> None:
    writer.send("begins")
    try:
        wait()
    except KeyboardInterrupt:
        writer.send("interrupted")


def interrupt(wait: Callable[[], object]) -> None:
    """Run `wait`, which has no end, in a process; an interrupt must end it."""
    here, there = mp.Pipe()
    with here, there:
        process = started(_told_of_interrupt, there, wait)
        assert here.recv() == "begins"
        while not here.poll(0.05):  # until it has begun to wait
            os.kill(process.pid, signal.SIGINT)
        assert here.recv() == "interrupted"
        process.kill()
        process.join()


def nothing_left(fds: dict[int, str], threads: set[str]) -> None:
    """No child, descriptor or thread beyond those of the warm engine."""

    def clean() -> bool:
        gc.collect()
        return (
            not mp.active_children()
            and not watch.zombies()
            and len(watch.fds()) <= len(fds)
            and len(watch.threads()) <= len(threads)
        )

    try:
        watch.until(clean, "nothing to be left", seconds=20)
    except AssertionError:
        lines = [
            f"children {mp.active_children()}, zombies {watch.zombies()}",
            f"fds before {fds}",
            f"fds after {watch.fds()}",
            f"threads before {threads} after {watch.threads()}",
        ]
        raise AssertionError("left behind:\n" + "\n".join(lines)) from None


def main() -> None:
    """Run the case that the command line names."""
    method, name = sys.argv[1:3]
    chosen = CASES["__main__"][name]
    mp.set_start_method(method)
    fds: dict[int, str] = {}
    threads: set[str] = set()
    if chosen.warm:
        assert run(nothing).exitcode == 0
        run(nothing)
        gc.collect()
        fds, threads = watch.fds(), watch.threads()
    chosen.run()
    if chosen.warm:
        for _ in range(2):  # what the case did to the engine comes to light at a start
            assert run(nothing).exitcode == 0
        nothing_left(fds, threads)
    print("ok", name, flush=True)
