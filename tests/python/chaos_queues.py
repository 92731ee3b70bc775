"""Producers, consumers and holders of locks that are killed at random: nothing hangs or is lost.

    python tests/python/chaos_queues.py [--seconds 120] [--method forkserver]

Producers put numbered items and note which put() has returned for; consumers note what they have
got. Exits with 1 if a noted item came twice or not at all (but for the one that a killed consumer
was at), if a lock was held by two, or if nobody got a lock for 10 s. Prints what happened.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import signal
import struct
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import procession as mp
from procession import _engine

PAUSE_S = 0.05  # between two deaths, on the average
LARGE = 100_000  # bytes of one item in a hundred: a block of its own
PER_KIND = 3


def produce(number: int, q: Any, path: str) -> None:
    with open(path, "ab", buffering=0) as file:
        for i in range(1 << 31):
            q.put((number, i, bytes(LARGE) if i % 100 == 0 else None))
            file.write(struct.pack("ii", number, i))


def consume(q: Any, path: str) -> None:
    warnings.simplefilter("ignore")
    with open(path, "ab", buffering=0) as file:
        while (item := q.get()) is not None:
            number, i, _ = item
            file.write(struct.pack("ii", number, i))


def hold(locks: Any, holders: Any, turns: Any) -> None:
    """Take a lock again and again; nobody else may be in there."""
    warnings.simplefilter("ignore")
    while True:
        for index, lock in enumerate(locks):
            assert lock.acquire(timeout=10), f"nobody got lock {index} for 10 s"
            holders[index] = os.getpid()
            for _ in range(20):
                assert holders[index] == os.getpid(), "two processes hold one lock"
            turns[index] += 1
            lock.release()


def read(path: Path) -> list[tuple[int, int]]:
    if not path.exists():
        return []
    data = path.read_bytes()
    return list(struct.iter_unpack("ii", data[: len(data) // 8 * 8]))


class Chaos:
    """The processes, and who is next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue = mp.Queue(1000)
        kinds = (mp.Lock, mp.RLock, lambda: mp.Semaphore(1), mp.Condition)
        self.locks = [kind() for kind in kinds]
        self.holders = mp.RawArray("i", len(self.locks))
        self.turns = mp.RawArray("q", len(self.locks))
        self.names: dict[str, list[str]] = {"produce": [], "consume": [], "hold": []}
        self.running: list[tuple[str, Any]] = []
        self.killed = dict.fromkeys(self.names, 0)
        self.failures: list[str] = []
        for kind in self.names:
            for _ in range(PER_KIND):
                self.start(kind)

    def start(self, kind: str) -> None:
        number = len(self.names[kind])
        path = str(self.folder / f"{kind}-{number}")
        self.names[kind].append(path)
        if kind == "produce":
            process = mp.Process(target=produce, args=(number, self.queue, path))
        elif kind == "consume":
            process = mp.Process(target=consume, args=(self.queue, path))
        else:
            process = mp.Process(target=hold, args=(self.locks, self.holders, self.turns))
        process.start()
        self.running.append((kind, process))

    def kill_one(self, chosen: random.Random) -> None:
        kind, process = self.running.pop(chosen.randrange(len(self.running)))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        if process.exitcode != -signal.SIGKILL:
            self.failures.append(f"{kind} ended by itself: {process.exception()!r}")
        self.killed[kind] += 1
        self.start(kind)

    def end(self, kind: str) -> None:
        for found, process in self.running:
            if found == kind:
                process.kill()
                process.join()
                self.killed[kind] += 1
        self.running = [each for each in self.running if each[0] != kind]

    def finish(self) -> None:
        self.end("hold")
        self.end("produce")
        got = []
        deadline = time.monotonic() + 30
        while self.queue.qsize() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.end("consume")
        while True:
            try:
                number, i, _ = self.queue.get(timeout=0.2)
            except queue.Empty:
                break
            got.append((number, i))
        for path in self.names["consume"]:
            got += read(Path(path))
        put = [item for path in self.names["produce"] for item in read(Path(path))]
        lost = set(put) - set(got)
        if len(set(got)) != len(got):
            self.failures.append(f"{len(got) - len(set(got))} items came twice")
        if len(lost) > self.killed["consume"]:
            self.failures.append(f"{len(lost)} of {len(put)} items were lost")
        if self.queue.qsize():
            self.failures.append(f"qsize is {self.queue.qsize()} at the end")
        for index, lock in enumerate(self.locks):
            began = time.monotonic()
            if not lock.acquire(timeout=10):
                self.failures.append(f"lock {index} can't be acquired")
            elif time.monotonic() - began > 1:
                self.failures.append(f"lock {index} took {time.monotonic() - began:.1f} s")
        print(
            f"{len(put):,} items put, {len(got):,} got, "
            f"{len(lost)} taken along by killed consumers; "
            f"{sum(self.turns):,} turns with a lock; killed: "
            + ", ".join(f"{count} of {kind}" for kind, count in self.killed.items())
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--method", default="forkserver")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    mp.set_start_method(options.method)
    chosen = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(Path(folder))
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            time.sleep(chosen.expovariate(1 / PAUSE_S))
            chaos.kill_one(chosen)
        chaos.finish()
    failures = chaos.failures
    del chaos
    _, cells, in_use, _ = _engine.commons_usage()
    if cells or in_use:
        failures.append(f"{cells} cells and {in_use} bytes are left")
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
