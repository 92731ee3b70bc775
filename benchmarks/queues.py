# SPDX-License-Identifier: Apache-2.0
"""Queues and locks: the standard library and procession, side by side in one run.

Usage: python benchmarks/queues.py [--rounds N] [--method METHOD] [--only WHAT…]

Each engine runs in programs of its own, in turn. Quoted is the median over the rounds of what each
program says: messages a second, or its median of seconds. Without NumPy the array is `bytes`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from figures import median_of, micro, milli, rate

BODY = Path(__file__).with_name("queues_body.py")
ENGINES = ("multiprocessing", "procession")


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
    "Lock, from its owner's SIGKILL on": (20, milli, 0),
}
# What the standard's never come to the end of.
OURS = ("Lock, from its owner's SIGKILL on",)


def run(engine: str, method: str, what: str) -> float:
    """One program; the median of what it measured, in seconds."""
    return median_of(BODY, engine, method, what, str(ROWS[what][0]))


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
        engines = ENGINES[1:] if what in OURS else ENGINES
        found: dict[str, list[float]] = {engine: [] for engine in engines}
        for _ in range(options.rounds):
            for engine in engines:
                found[engine].append(run(engine, options.method, what))
        ours = statistics.median(found["procession"])
        if what in OURS:
            print(f"| {what} | never | {tell(ours)} | | | {wanted or ''} |", flush=True)
            continue
        base = statistics.median(found["multiprocessing"])
        ratios = [base / each for each in found["procession"]]
        print(
            f"| {what} | {tell(base)} | {tell(ours)} | {base / ours:.1f} "
            f"| {min(ratios):.1f} … {max(ratios):.1f} | {wanted or ''} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
