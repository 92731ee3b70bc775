# SPDX-License-Identifier: Apache-2.0
"""Messages through a Pipe: the standard library and procession, side by side in one run.

Usage: python benchmarks/pipe.py [--rounds N] [--method METHOD]

Each engine runs in programs of its own, in turn. Quoted is the median over the rounds of each
round's median: of a message there and back, or of one among many that go one way.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from figures import median_of, print_table

BODY = Path(__file__).with_name("pipe_body.py")
COUNTS = {
    "ping-pong int": 20_000,
    "ping-pong tuple": 20_000,
    "ping-pong dict": 20_000,
    "ping-pong 64 kB": 2_000,
    "ping-pong 100 MB": 8,
    "stream int": 100_000,
    "stream 8 MB": 20,
}
ENGINES = {
    "multiprocessing": ["multiprocessing"],
    "procession": ["procession"],
    "installed": ["multiprocessing"],  # the same program, under `python -m procession`
}


def run(engine: str, method: str, what: str) -> float:
    """One program; the median of what it measured, in seconds."""
    prefix = ["-m", "procession"] if engine == "installed" else []
    return median_of(BODY, *ENGINES[engine], method, what, str(COUNTS[what]), prefix=prefix)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="forkserver")
    options = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    print(f"Python {sys.version.split()[0]}, {cpus} CPUs, {options.rounds} rounds\n")
    print_table(
        "a message",
        COUNTS,
        tuple(ENGINES),
        lambda engine, what: run(engine, options.method, what),
        options.rounds,
    )


if __name__ == "__main__":
    main()
