# SPDX-License-Identifier: Apache-2.0
"""Process pools: the standard library, loky and procession, side by side in one run.

Usage: python benchmarks/executor.py [--rounds N] [--method M] [--only MEASURE…] [--scale X]

Each figure of each engine comes from programs of its own, which take turns, so that what one keeps
ready costs the other nothing. Quoted is the median of all that the rounds measured; pools have two
workers. loky is left out, with a line, if it isn't installed. It has no fork; there it is left out,
too. `installed` is the standard library's program under `python -m procession`.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from figures import micro, milli, rate

BODY = Path(__file__).with_name("executor_body.py")
ENGINES = ("standard", "loky", "procession", "installed")
METHODS = ("fork", "forkserver", "spawn")
LOKY_METHODS = {"fork": "", "forkserver": "loky", "spawn": "spawn"}
SECONDS = 600


def percent(part: float) -> str:
    return f"{part:.0%}"


def mebibytes(size: float) -> str:
    return f"{size / (1 << 20):.1f} MiB"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: what is measured, how often, how it is told."""

    measure: str
    title: str
    count: int
    tell: Callable[[float], str]
    ours: int | None = None  # a count of procession's own, for what is too short else
    every_method: bool = False
    more_is_better: bool = False

    def count_for(self, engine: str, scale: float) -> int:
        """How often in one program."""
        is_ours = engine in ("procession", "installed")
        count = self.ours if is_ours and self.ours else self.count
        return max(1, round(count * scale))


ROWS = (
    Row("submit_all", "no-op `submit`, then wait for all", 20_000, rate, ours=200_000),
    Row("one_idle", "`submit().result()`, 5 ms idle before, p50", 200, micro),
    Row("one_hot", "`submit().result()`, back to back, p50", 2_000, micro),
    Row("map_executor", "`map(chunksize=1)` of no-ops", 20_000, rate, ours=100_000),
    Row("map_pool", "`Pool.map(chunksize=1)` of no-ops", 20_000, rate, ours=200_000),
    Row("bring_up", "bring-up to the first result", 10, milli, every_method=True),
    Row("bring_up_first", "the program's first bring-up", 1, milli, every_method=True),
    Row("array", "100 MB there and back, warm", 10, milli),
    Row("small_work", "20 µs tasks, of the ideal", 10_000, percent, more_is_better=True),
    Row("memory", "USS of an idle worker", 1, mebibytes, every_method=True),
)


def run(engine: str, method: str, measure: str, count: int) -> list[float]:
    """One program's figures."""
    if engine == "loky":
        method = LOKY_METHODS[method]
    command = [sys.executable, str(BODY), engine, method, measure, str(count)]
    if engine == "installed":  # the standard's program, under `python -m procession`
        command[1:3] = ["-m", "procession", str(BODY), "standard"]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=SECONDS)
    return [float(figure) for figure in json.loads(ended.stdout)]


def measured(row: Row, method: str, engines: list[str], rounds: int, scale: float) -> list[str]:
    """The lines of the table for one row under one start method."""
    found: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(rounds):
        for engine in engines:
            if engine == "loky" and not LOKY_METHODS[method]:
                continue
            try:
                found[engine] += run(engine, method, row.measure, row.count_for(engine, scale))
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                print(f"{engine}, {method}, {row.measure}: {error}", file=sys.stderr)
    lines = []
    base = statistics.median(found["standard"]) if found["standard"] else None
    for engine in engines:
        if not found[engine]:
            continue
        median = statistics.median(found[engine])
        ratio = "-"
        if base is not None:
            ratio = f"{median / base if row.more_is_better else base / median:.2f}"
        lines.append(f"| {row.title} | {method} | {engine} | {row.tell(median)} | {ratio} |")
    return lines


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default=multiprocessing.get_all_start_methods()[0])
    parser.add_argument("--only", nargs="+", choices=[row.measure for row in ROWS])
    parser.add_argument("--scale", type=float, default=1, help="times as many tasks")
    given = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    print(f"Python {sys.version.split()[0]}, {cpus} CPUs, {given.rounds} rounds")
    engines = [e for e in ENGINES if e != "loky" or importlib.util.find_spec(e)]
    if "loky" not in engines:
        print("loky is not installed: left out")
    if not importlib.util.find_spec("numpy"):
        print("NumPy is not installed: the array is one that is pickled in the same way")
    print("\n| what | method | engine | median | times better |")
    print("|---|---|---|--:|--:|")
    for row in ROWS:
        if given.only and row.measure not in given.only:
            continue
        for method in METHODS if row.every_method else (given.method,):
            for line in measured(row, method, engines, given.rounds, given.scale):
                print(line, flush=True)


if __name__ == "__main__":
    main()
