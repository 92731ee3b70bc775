"""Tasks over workers that are killed at random, the zygote now and then: each ends exactly once.

    python tests/python/chaos.py [--tasks 1000000] [--method forkserver] [--policy fail_task|retry]

Prints what happened; exits with 1 if a task was lost, ended twice, had a wrong result, or failed
with a WorkerDied of a worker that nobody killed; with `retry`, if one failed at all.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent / "bodies"))

import watch

import procession as mp

PENDING = 20_000  # tasks that wait at a time
PAUSE_S = 0.15  # between two deaths, on the average
KILLS_OF_WORKERS = 8  # for each of the zygote


LONG_S = 0.002  # of one task in a hundred, so that most deaths meet one at work


def double(number: int) -> int:
    if number % 100 == 0:
        end = time.perf_counter() + LONG_S
        while time.perf_counter() < end:
            pass
    return 2 * number


class Killer(threading.Thread):
    """Kills a worker of the pool at random moments."""

    def __init__(self, pool: Any, seed: int) -> None:
        super().__init__(name="killer")
        self.pool = pool
        self.random = random.Random(seed)
        self.killed: collections.Counter[int] = collections.Counter()
        self.zygotes = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(self.random.expovariate(1 / PAUSE_S)):
            workers = [worker.pid for worker in self.pool.stats().workers if worker.pid]
            with contextlib.suppress(ProcessLookupError):
                if self.random.randrange(KILLS_OF_WORKERS) == 0 and (zygotes := watch.zygotes()):
                    self.killed[zygotes[0]] += 1  # under spawn, workers look the same
                    os.kill(zygotes[0], signal.SIGKILL)
                    self.zygotes += 1
                elif workers:
                    pid = self.random.choice(workers)
                    self.killed[pid] += 1  # ahead: what it says of its death may come at once
                    os.kill(pid, signal.SIGKILL)


class Tally:
    """How tasks ended."""

    def __init__(self, tasks: int) -> None:
        self.ends = bytearray(tasks)
        self.results = 0
        self.deaths: list[int] = []
        self.wrong: list[str] = []

    def take(self, number: int, future: Any) -> None:
        self.ends[number] += 1
        error = future.exception()
        if isinstance(error, mp.WorkerDied):
            self.deaths.append(error.pid)
        elif error is not None or future.result() != double(number):
            self.wrong.append(f"task {number}: {error or future.result()!r}")
        else:
            self.results += 1


def run(tasks: int, workers: int, method: str, policy: str, seed: int) -> int:
    """Run it; the number of things that were wrong."""
    begin = time.monotonic()
    tally = Tally(tasks)
    options = {"max_pending": PENDING, "on_worker_death": policy, "retries": 2}
    with mp.ProcessPoolExecutor(workers, mp.get_context(method), **options) as pool:
        killer = Killer(pool, seed)
        killer.start()
        waiting: collections.deque[tuple[int, Any]] = collections.deque()
        try:
            for number in range(tasks):
                waiting.append((number, pool.submit(double, number)))
                while waiting and (waiting[0][1].done() or len(waiting) > PENDING):
                    tally.take(*waiting.popleft())
            while waiting:
                tally.take(*waiting.popleft())
        finally:
            killer.over.set()
            killer.join()
    wrong = list(tally.wrong)
    ends = collections.Counter(tally.ends)
    if ends != {1: tasks}:
        wrong.append(f"tasks by how often they ended: {dict(ends)}")
    deaths = collections.Counter(tally.deaths)
    if deaths - killer.killed:
        wrong.append(f"tasks that died with workers that nobody killed: {deaths - killer.killed}")
    if policy == "retry" and tally.deaths:
        wrong.append(f"{len(tally.deaths)} tasks were given up")
    print(
        f"{tasks} tasks: {tally.results} results, {len(tally.deaths)} died with their worker; "
        f"{killer.killed.total()} processes killed, {killer.zygotes} as zygotes; "
        f"{time.monotonic() - begin:.1f} s"
    )
    for line in wrong[:20]:
        print(line)
    return len(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--method", choices=("fork", "spawn", "forkserver"), default="forkserver")
    parser.add_argument("--policy", choices=("fail_task", "retry"), default="fail_task")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    raise SystemExit(run(**vars(args)) > 0)


if __name__ == "__main__":
    main()
