# SPDX-License-Identifier: Apache-2.0
"""Shared dicts, lists and counters: the standard library's managers and procession, side by side.

Usage: python benchmarks/shared.py [--rounds N] [--method METHOD]

Each engine runs in programs of its own, in turn. Quoted is the median over the rounds of each
round's median of one operation: from one process, or from two at once on the same object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

BODY = Path(__file__).with_name("shared_body.py")
WHAT = (
    "dict get",
    "dict set",
    "dict set, two processes",
    "dict set and get 1 MB",
    "list get",
    "list append",
    "counter add",
    "counter add, two processes",
)
ENGINES = ("multiprocessing", "procession")


def run(engine: str, method: str, what: str) -> float:
    """One program; the median of what it measured, in microseconds."""
    command = [sys.executable, str(BODY), engine, method, what]
    seconds = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return statistics.median(seconds) * 1e6


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="forkserver")
    options = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    print(f"Python {sys.version.split()[0]}, {cpus} CPUs, {options.rounds} rounds\n")
    print("| what | engine | an operation, p50 | from … to | times faster |")
    print("|---|---|--:|--:|--:|")
    for what in WHAT:
        found: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for _ in range(options.rounds):
            for engine in ENGINES:
                found[engine].append(run(engine, options.method, what))
        base = statistics.median(found["multiprocessing"])
        for engine, medians in found.items():
            median = statistics.median(medians)
            print(
                f"| {what} | {engine} | {median:.2f} µs | {min(medians):.2f} … {max(medians):.2f} "
                f"| {base / median:.0f} |"
            )


if __name__ == "__main__":
    main()
