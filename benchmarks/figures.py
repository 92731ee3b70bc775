# SPDX-License-Identifier: Apache-2.0
"""Figures that the benchmarks' bodies say, as people read them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def rate(seconds: float) -> str:
    return f"{1 / seconds:,.0f}/s"


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.2f} µs"


def milli(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def median_of(body: Path, *arguments: str, prefix: Sequence[str] = ()) -> float:
    """Run a body once; the median of the seconds that it says."""
    command = [sys.executable, *prefix, str(body), *arguments]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return statistics.median(json.loads(ended.stdout))


def print_table(
    what_is_one: str,
    measures: Iterable[str],
    engines: Sequence[str],
    run: Callable[[str, str], float],
    rounds: int,
) -> None:
    """Run each measure with each engine in turn; a line for each, beside the first engine."""
    print(f"| what | engine | {what_is_one}, p50 | from … to | times faster |")
    print("|---|---|--:|--:|--:|")
    for measure in measures:
        found: dict[str, list[float]] = {engine: [] for engine in engines}
        for _ in range(rounds):
            for engine in engines:
                found[engine].append(run(engine, measure))
        base = statistics.median(found[engines[0]])
        for engine, medians in found.items():
            median = statistics.median(medians)
            print(
                f"| {measure} | {engine} | {micro(median)} "
                f"| {micro(min(medians))} … {micro(max(medians))} | {base / median:.1f} |",
                flush=True,
            )
