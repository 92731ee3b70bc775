# SPDX-License-Identifier: Apache-2.0
"""Start + join of a no-op process: the standard library and procession, side by side in one run.

Usage: python benchmarks/start_join.py [--rounds N] [--pause-ms MS] [--given nothing|queue]

With a pause before each start there is time for what is made ready for it; without one, two CPUs
have none left for that. `--given queue`: each process gets a Queue as its argument. Each engine
runs in programs of its own, in turn, so that what one keeps ready costs the other nothing. Quoted
is the median of all rounds; a program's first start is apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

BODY = Path(__file__).with_name("start_join_body.py")
COUNTS = {"fork": 100, "forkserver": 100, "spawn": 20}
ENGINES = {
    "multiprocessing": ["multiprocessing"],
    "procession": ["procession"],
    "installed": ["multiprocessing"],  # the same program, under `python -m procession`
}


def run(engine: str, method: str, pause_ms: float, given: str) -> tuple[float, list[float]]:
    """One program; its first start and the later ones, in milliseconds."""
    prefix = ["-m", "procession"] if engine == "installed" else []
    how = [*ENGINES[engine], method, str(COUNTS[method]), str(pause_ms), given]
    command = [sys.executable, *prefix, str(BODY), *how]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return answer["first"] * 1e3, [second * 1e3 for second in answer["all"]]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pause-ms", type=float, default=0)
    parser.add_argument("--given", choices=("nothing", "queue"), default="nothing")
    options = parser.parse_args()
    rounds = options.rounds
    print(
        f"Python {sys.version.split()[0]}, {len(os.sched_getaffinity(0))} CPUs, {rounds} rounds\n"
    )
    print("| method | engine | start + join, p50 | times faster | first start |")
    print("|---|---|--:|--:|--:|")
    for method in COUNTS:
        first: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        later: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for _ in range(rounds):
            for engine in ENGINES:
                begin, rest = run(engine, method, options.pause_ms, options.given)
                first[engine].append(begin)
                later[engine] += rest
        base = statistics.median(later["multiprocessing"])
        for engine in ENGINES:
            median = statistics.median(later[engine])
            print(
                f"| {method} | {engine} | {median:.2f} ms | {base / median:.1f} "
                f"| {statistics.median(first[engine]):.1f} ms |"
            )


if __name__ == "__main__":
    main()
