# SPDX-License-Identifier: Apache-2.0
"""Shared dicts, lists and counters: the standard library's managers and procession, side by side.

Usage: python benchmarks/shared.py [--rounds N] [--method METHOD]

Each engine runs in programs of its own, in turn. Quoted is the median over the rounds of each
round's median of one operation: from one process, or from two at once on the same object.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from figures import median_of, print_table

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


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="forkserver")
    options = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    print(f"Python {sys.version.split()[0]}, {cpus} CPUs, {options.rounds} rounds\n")
    print_table(
        "an operation",
        WHAT,
        ENGINES,
        lambda engine, what: median_of(BODY, engine, options.method, what),
        options.rounds,
    )


if __name__ == "__main__":
    main()
