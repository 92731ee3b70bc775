# SPDX-License-Identifier: Apache-2.0
"""Measure one thing about one engine's process pool; print the figures as JSON, in seconds.

Usage: executor_body.py ENGINE METHOD MEASURE COUNT. Run by executor.py. A figure that this engine
doesn't have is an empty list.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arrays import large_array

BEGAN = time.perf_counter()

# As a program that uses this engine has it: what it imports, its workers import, too.
if sys.argv[1] == "standard":
    import concurrent.futures
    import multiprocessing
elif sys.argv[1] == "loky":
    import loky
else:
    import procession

WORKERS = 2
WARM_UP = 3
BUSY_S = 20e-6
ARRAY_BYTES = 100_000_000


def nothing(_: object = None) -> None:
    """The smallest task."""


def same(data: object) -> object:
    """There and back."""
    return data


def busy(_: object = None) -> None:
    """Work for 20 µs by the clock, whatever the machine."""
    end = time.perf_counter() + BUSY_S
    while time.perf_counter() < end:
        pass


def pid_after(seconds: float) -> int:
    """Long enough a task for each worker to get one."""
    time.sleep(seconds)
    return os.getpid()


def make(engine: str, method: str) -> Any:
    """An engine's executor, with its workers yet to come."""
    if engine == "standard":
        context = multiprocessing.get_context(method)
        return concurrent.futures.ProcessPoolExecutor(WORKERS, context)
    if engine == "loky":
        return loky.ProcessPoolExecutor(WORKERS, context=loky.backend.get_context(method))
    return procession.ProcessPoolExecutor(WORKERS, procession.get_context(method))


def make_pool(engine: str, method: str) -> Any:
    """An engine's `Pool`; None if it has none."""
    if engine == "standard":
        return multiprocessing.get_context(method).Pool(WORKERS)
    if engine == "procession":
        return procession.get_context(method).Pool(WORKERS)
    return None


def warmed(pool: Any) -> Any:
    """A pool whose workers have all worked."""
    for future in [pool.submit(pid_after, 0.05) for _ in range(2 * WORKERS)]:
        future.result()
    for _ in range(50):
        pool.submit(nothing).result()
    return pool


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call took."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def submit_all(engine: str, method: str, count: int) -> list[float]:
    """Submit so many no-ops, then wait for all: seconds for each."""
    with make(engine, method) as pool:
        warmed(pool)

        def all_of_them() -> None:
            for future in [pool.submit(nothing) for _ in range(count)]:
                future.result()

        return [seconds_of(all_of_them) / count]


def one_hot(engine: str, method: str, count: int) -> list[float]:
    """One no-op after the other, there and back."""
    with make(engine, method) as pool:
        warmed(pool)
        return [seconds_of(lambda: pool.submit(nothing).result()) for _ in range(count)]


def one_idle(engine: str, method: str, count: int) -> list[float]:
    """The same, with all asleep at its beginning."""
    found = []
    with make(engine, method) as pool:
        warmed(pool)
        for _ in range(count):
            time.sleep(0.005)
            found.append(seconds_of(lambda: pool.submit(nothing).result()))
    return found


def map_executor(engine: str, method: str, count: int) -> list[float]:
    """`map` without chunks: seconds for each."""
    with make(engine, method) as pool:
        warmed(pool)
        return [seconds_of(lambda: list(pool.map(nothing, range(count), chunksize=1))) / count]


def map_pool(engine: str, method: str, count: int) -> list[float]:
    """`Pool.map` without chunks: seconds for each."""
    pool = make_pool(engine, method)
    if pool is None:
        return []
    with pool:
        pool.map(nothing, range(100), chunksize=1)
        found = [seconds_of(lambda: pool.map(nothing, range(count), chunksize=1)) / count]
        pool.close()
        pool.join()
    return found


def bring_up(engine: str, method: str, count: int) -> list[float]:
    """From no pool to its first result; the program's first pools don't count."""
    found = []
    for _ in range(WARM_UP + count):
        begin = time.perf_counter()
        pool = make(engine, method)
        pool.submit(nothing).result()
        found.append(time.perf_counter() - begin)
        pool.shutdown()
    return found[WARM_UP:]


def bring_up_first(engine: str, method: str, _: int) -> list[float]:
    """The program's very first pool, the engine's import included."""
    pool = make(engine, method)
    pool.submit(nothing).result()
    found = [time.perf_counter() - BEGAN]
    pool.shutdown()
    return found


def array(engine: str, method: str, count: int) -> list[float]:
    """100 MB there and back."""
    data = large_array(ARRAY_BYTES)
    found = []
    with make(engine, method) as pool:
        warmed(pool)
        for _ in range(1 + count):
            begin = time.perf_counter()
            back = pool.submit(same, data).result()
            found.append(time.perf_counter() - begin)
            assert len(back) == len(data)
            del back
    return found[1:]


def small_work(engine: str, method: str, count: int) -> list[float]:
    """Tasks of 20 µs: which part of what the workers could do at best was done."""
    with make(engine, method) as pool:
        warmed(pool)

        def all_of_them() -> None:
            for future in [pool.submit(busy) for _ in range(count)]:
                future.result()

        return [count * BUSY_S / WORKERS / seconds_of(all_of_them)]


def memory(engine: str, method: str, _: int) -> list[float]:
    """What each idle worker has to itself, in bytes."""
    with make(engine, method) as pool:
        warmed(pool)
        workers = {f.result() for f in [pool.submit(pid_after, 0.1) for _ in range(2 * WORKERS)]}
        time.sleep(0.2)
        return [float(uss(worker)) for worker in sorted(workers)]


def uss(worker: int) -> int:
    """The unique set size of a process: what its end would free."""
    lines = Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


MEASURES = {
    measure.__name__: measure
    for measure in (
        submit_all,
        one_hot,
        one_idle,
        map_executor,
        map_pool,
        bring_up,
        bring_up_first,
        array,
        small_work,
        memory,
    )
}


def main() -> None:
    """Measure."""
    import json

    engine, method, measure, count = sys.argv[1:]
    json.dump(MEASURES[measure](engine, method, int(count)), sys.stdout)


if __name__ == "__main__":
    main()
