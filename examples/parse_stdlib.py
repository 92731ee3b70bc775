# SPDX-License-Identifier: Apache-2.0
"""Parse every file of the standard library and count what is in it, on all CPUs.

    python examples/parse_stdlib.py [--workers N] [--trace FILE] [--compare]

--trace writes what ran where and when; ui.perfetto.dev shows it, tools/trace_picture.py draws it.
--compare does the same work in this process alone, too. The progress bar takes tqdm.
"""

from __future__ import annotations

import argparse
import ast
import collections
import dataclasses
import importlib.util
import os
import sysconfig
import time
import warnings
from pathlib import Path

import procession as mp

STDLIB = Path(sysconfig.get_path("stdlib"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclasses.dataclass
class Counts:
    """What is in a file, or in all files of a package."""

    files: int = 0
    bytes: int = 0
    nodes: int = 0
    functions: int = 0
    classes: int = 0

    def __iadd__(self, other: Counts) -> Counts:
        for field in dataclasses.fields(self):
            name = field.name
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


def count(path: str) -> Counts | None:
    """Parse one file; None if it is not of this Python's syntax, as some tests' data is not."""
    with open(path, "rb") as file:
        source = file.read()
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is in the files
            nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return None
    return Counts(
        files=1,
        bytes=len(source),
        nodes=len(nodes),
        functions=sum(isinstance(node, FUNCTIONS) for node in nodes),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
    )


def files() -> list[str]:
    """All source files, those of installed packages left out."""
    return sorted(
        str(path)
        for path in STDLIB.rglob("*.py")
        if not {"site-packages", "dist-packages"} & set(path.parts)
    )


def package_of(path: str) -> str:
    """The top package of a file, or "(modules)"."""
    first, *rest = Path(path).relative_to(STDLIB).parts
    return first if rest else "(modules)"


def show(paths: list[str], found: list[Counts | None]) -> None:
    """Print the packages with the most to parse, and the largest files."""
    packages: dict[str, Counts] = collections.defaultdict(Counts)
    total = Counts()
    for path, counts in zip(paths, found, strict=True):
        if counts is not None:
            packages[package_of(path)] += counts
            total += counts
    by_nodes = sorted(packages.items(), key=lambda item: -item[1].nodes)
    print(f"{'package':24}{'files':>7}{'KiB':>9}{'nodes':>11}{'functions':>11}{'classes':>9}")
    for name, counts in [*by_nodes[:10], ("all", total)]:
        print(
            f"{name:24}{counts.files:7}{counts.bytes >> 10:9}{counts.nodes:11}"
            f"{counts.functions:11}{counts.classes:9}"
        )
    parsed = [(counts.nodes, path) for path, counts in zip(paths, found, strict=True) if counts]
    print("\nthe largest files:")
    for nodes, path in sorted(parsed, reverse=True)[:5]:
        print(f"{nodes:11} nodes  {Path(path).relative_to(STDLIB)}")
    print(f"\n{len(paths) - total.files} files are not of this Python's syntax")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--workers", type=int, default=mp.cpu_count(), metavar="N")
    parser.add_argument("--trace", metavar="FILE")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--limit", type=int, metavar="N", help="parse the first N files only")
    options = parser.parse_args()
    paths = files()[: options.limit]
    # Small enough that the last chunk keeps nobody waiting: a file takes from 0.1 ms to 1 s.
    chunksize = max(1, min(16, len(paths) // (options.workers * 8)))
    progress = importlib.util.find_spec("tqdm") is not None and "parsing"
    begin = time.perf_counter()
    with mp.ProcessPoolExecutor(options.workers, trace=options.trace) as pool:
        found = list(pool.map(count, paths, chunksize=chunksize, progress=progress))
        stats = pool.stats()
    took = time.perf_counter() - begin
    show(paths, found)
    busy = ", ".join(f"{worker.busy_seconds:.2f} s" for worker in stats.workers)
    print(f"{len(paths)} files in {took:.2f} s by {len(stats.workers)} workers (busy for {busy})")
    if options.compare:
        begin = time.perf_counter()
        alone = list(map(count, paths))
        print(f"{len(paths)} files in {time.perf_counter() - begin:.2f} s by this process alone")
        assert alone == found
    if options.trace:
        print(f"the trace is {os.path.getsize(options.trace) >> 10} KiB")


if __name__ == "__main__":
    main()
