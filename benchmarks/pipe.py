# SPDX-License-Identifier: Apache-2.0
"""Messages through a Pipe: the standard library and procession, side by side in one run.

Usage: python benchmarks/pipe.py [--rounds N] [--method METHOD]

Each engine runs in programs of its own, in turn. Quoted is the median over the rounds of each
round's median: of a message there and back, or of one among many that go one way.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

BODY = Path(__file__).with_name("pipe_body.py")
COUNTS = {
    "ping-pong int": 20_000,
    "ping-pong tuple": 20_000,
    "ping-pong dict": 20_000,
    "stream int": 100_000,
    "stream 8 MB": 20,
}
ENGINES = {
    "multiprocessing": ["multiprocessing"],
    "procession": ["procession"],
    "installed": ["multiprocessing"],  # the same program, under `python -m procession`
}


def run(engine: str, method: str, what: str) -> float:
    """One program; the median of what it measured, in microseconds."""
    prefix = ["-m", "procession"] if engine == "installed" else []
    arguments = [*ENGINES[engine], method, what, str(COUNTS[what])]
    command = [sys.executable, *prefix, str(BODY), *arguments]
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
    print("| what | engine | a message, p50 | from … to | times faster |")
    print("|---|---|--:|--:|--:|")
    for what in COUNTS:
        found: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for _ in range(options.rounds):
            for engine in ENGINES:
                found[engine].append(run(engine, options.method, what))
        base = statistics.median(found["multiprocessing"])
        for engine, medians in found.items():
            median = statistics.median(medians)
            print(
                f"| {what} | {engine} | {median:.1f} µs | {min(medians):.1f} … {max(medians):.1f} "
                f"| {base / median:.1f} |"
            )


if __name__ == "__main__":
    main()
