# SPDX-License-Identifier: Apache-2.0
"""Use a dict, list or counter that processes share; print what it took as JSON.

Usage: shared_body.py ENGINE METHOD WHAT. Run by shared.py. The standard's are a manager's, and its
counter is a Value with its lock.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

BATCHES = 40
KEY = "key"
LARGE = bytes(1 << 20)


def operation(what: str, thing: Any) -> Any:
    """What is to be called many times."""
    if what == "dict get":
        return lambda: thing[KEY]
    if what == "dict set":
        return lambda: set_item(thing, 12345)
    if what == "dict set and get 1 MB":
        return lambda: (set_item(thing, LARGE), thing[KEY])
    if what == "list get":
        return lambda: thing[0]
    if what == "list append":
        return lambda: thing.append(12345)
    if hasattr(thing, "add"):
        return lambda: thing.add(1)
    return lambda: add_with_lock(thing)


def set_item(thing: Any, value: Any) -> None:
    thing[KEY] = value


def add_with_lock(value: Any) -> None:
    """What the manual says."""
    with value.get_lock():
        value.value += 1


def measure(what: str, thing: Any, count: int) -> list[float]:
    """Seconds of an operation, on the average of each batch."""
    call = operation(what, thing)
    seconds = []
    for _ in range(BATCHES):
        begin = time.perf_counter()
        for _ in range(count):
            call()
        seconds.append((time.perf_counter() - begin) / count)
    return seconds


def others(what: str, thing: Any, ready: Any) -> None:
    """The other process: do the same until it is killed."""
    call = operation(what, thing)
    call()
    ready.send(None)
    while True:
        call()


def main() -> None:
    """Measure."""
    engine, method, what = sys.argv[1:]
    context = importlib.import_module(engine).get_context(method)
    is_ours = engine == "procession"
    manager = None if is_ours else context.Manager()
    if what.startswith("dict"):
        thing = context.shared_dict() if manager is None else manager.dict()
        thing[KEY] = 1
    elif what.startswith("list"):
        thing = context.shared_list([1]) if manager is None else manager.list([1])
    else:
        thing = context.shared_counter() if manager is None else context.Value("q", 0)
    process = None
    what, _, two = what.partition(", ")
    if two:
        here, there = context.Pipe()
        process = context.Process(target=others, args=(what, thing, there))
        process.start()
        here.recv()
    count = 20 if "1 MB" in what else 20_000 if is_ours or "counter" in what else 200
    json.dump(measure(what, thing, count), sys.stdout)
    if process:
        process.kill()
        process.join()
    if manager:
        manager.shutdown()


if __name__ == "__main__":
    main()
