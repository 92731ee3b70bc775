# SPDX-License-Identifier: Apache-2.0
"""Queues and locks: the standard library and procession, side by side in one run.

Usage: python benchmarks/queues.py [--rounds N] [--method METHOD] [--only WHAT…]

Each engine runs in programs of its own, in turn. Quoted is the median over the rounds of what each
program says: messages a second, or its median of seconds. Without NumPy the array is `bytes`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

BODY = Path(__file__).with_name("queues_body.py")
ENGINES = ("multiprocessing", "procession")


def rate(seconds: float) -> str:
    return f"{1 / seconds:,.0f}/s"


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.2f} µs"


def milli(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


# What is measured -> how often, how it is told, how many times faster is wanted.
ROWS: dict[str, tuple[int, Callable[[float], str], float]] = {
    "int, one to one": (300_000, rate, 5),
    "int, four to one": (300_000, rate, 5),
    "tuple, one to one": (200_000, rate, 0),
    "dict, one to one": (200_000, rate, 0),
    "int, there and back": (20_000, micro, 0),
    "64 kB, one to one": (20_000, rate, 4),
    "100 MB, there and back": (8, milli, 20),
    "int, SimpleQueue, one to one": (200_000, rate, 0),
    "Lock, with": (300_000, micro, 1),
    "Lock, acquire and release": (300_000, micro, 1),
    "RLock, with": (300_000, micro, 1),
    "Semaphore, acquire and release": (300_000, micro, 1),
    "Event, is_set": (100_000, micro, 1),
    "Value, read under its lock": (100_000, micro, 1),
}


def run(engine: str, method: str, what: str) -> float:
    """One program; the median of what it measured, in seconds."""
    command = [sys.executable, str(BODY), engine, method, what, str(ROWS[what][0])]
    return statistics.median(
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="forkserver")
    parser.add_argument("--only", nargs="*", default=list(ROWS))
    options = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    print(f"Python {sys.version.split()[0]}, {cpus} CPUs, {options.rounds} rounds\n")
    print("| what | standard | procession | times faster | from … to | wanted |")
    print("|---|--:|--:|--:|--:|--:|")
    for what in options.only:
        _, tell, wanted = ROWS[what]
        found: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for _ in range(options.rounds):
            for engine in ENGINES:
                found[engine].append(run(engine, options.method, what))
        base, ours = (statistics.median(found[engine]) for engine in ENGINES)
        ratios = [base / each for each in found["procession"]]
        print(
            f"| {what} | {tell(base)} | {tell(ours)} | {base / ours:.1f} "
            f"| {min(ratios):.1f} … {max(ratios):.1f} | {wanted or ''} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
