# SPDX-License-Identifier: Apache-2.0
"""Send messages through a queue, or use a lock; print the seconds of one as a list in JSON.

Usage: queues_body.py ENGINE METHOD WHAT COUNT. Run by queues.py.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import warnings
from typing import Any

from arrays import large_array

VALUES: dict[str, Any] = {
    "int": 7,
    "tuple": ("get", 12345, 3.5),
    "dict": {"id": 1, "name": "x", "tags": ["a", "b"]},
    "64 kB": bytes(65_536),
}


def put_many(queue: Any, message: Any, count: int, go: Any, ready: Any) -> None:
    """The other process: put so many messages once it is told to."""
    ready.release()
    go.wait()
    for _ in range(count):
        queue.put(message)


def echo(there: Any, back: Any) -> None:
    """The other process: send back what comes, None last."""
    while (message := there.get()) is not None:
        back.put(message)


def many_to_one(context: Any, queue: Any, message: Any, count: int, producers: int) -> list[float]:
    """Seconds for each message on the average, as its receiver sees it."""
    go, ready = context.Event(), context.Semaphore(0)
    processes = [
        context.Process(target=put_many, args=(queue, message, count // producers, go, ready))
        for _ in range(producers)
    ]
    for process in processes:
        process.start()
        ready.acquire()
    begin = time.perf_counter()
    go.set()
    total = count // producers * producers
    for _ in range(total):
        queue.get()
    seconds = time.perf_counter() - begin
    for process in processes:
        process.join()
    return [seconds / total]


def there_and_back(context: Any, message: Any, count: int) -> list[float]:
    """Seconds for each message to go there and come back; the first ones, which warm up, not."""
    there, back = context.Queue(), context.Queue()
    process = context.Process(target=echo, args=(there, back))
    process.start()
    seconds = []
    for number in range(count + 3):
        begin = time.perf_counter()
        there.put(message)
        received = back.get()
        if number >= 3:
            seconds.append(time.perf_counter() - begin)
        del received
    there.put(None)
    process.join()
    return seconds


def lock(context: Any, what: str, count: int) -> list[float]:
    """Seconds for each turn with a lock that nobody else wants."""
    if what.startswith("Value"):
        value = context.Value("i", 1)
        begin = time.perf_counter()
        for _ in range(count):
            with value.get_lock():
                value.get_obj()
    elif what.startswith("Event"):
        event = context.Event()
        begin = time.perf_counter()
        for _ in range(count):
            event.is_set()
    else:
        kind, _, how = what.partition(", ")
        lock = getattr(context, kind)()
        begin = time.perf_counter()
        if how == "with":
            for _ in range(count):
                with lock:
                    pass
        else:
            for _ in range(count):
                lock.acquire()
                lock.release()
    return [(time.perf_counter() - begin) / count]


def hold(lock: Any, ready: Any) -> None:
    """The other process: hold the lock until its end."""
    lock.acquire()
    ready.release()
    signal.pause()


def after_deaths(context: Any, count: int) -> list[float]:
    """Seconds from the SIGKILL of a lock's owner until it is acquired here."""
    warnings.simplefilter("ignore")
    lock, ready = context.Lock(), context.Semaphore(0)
    seconds = []
    for _ in range(count):
        process = context.Process(target=hold, args=(lock, ready))
        process.start()
        ready.acquire()
        begin = time.perf_counter()
        os.kill(process.pid, signal.SIGKILL)
        lock.acquire()
        seconds.append(time.perf_counter() - begin)
        lock.release()
        process.join()
    return seconds


def main() -> None:
    """Measure."""
    engine, method, what, number = sys.argv[1:]
    count = int(number)
    context = importlib.import_module(engine).get_context(method)
    of, _, how = what.partition(", ")
    if how.startswith("from its owner"):
        seconds = after_deaths(context, count)
    elif of == "100 MB":
        seconds = there_and_back(context, large_array(), count)
    elif how == "there and back":
        seconds = there_and_back(context, VALUES[of], count)
    elif how.endswith("to one"):
        kind = "SimpleQueue" if "SimpleQueue" in how else "Queue"
        queue = getattr(context, kind)()
        seconds = many_to_one(context, queue, VALUES[of], count, 4 if "four" in how else 1)
    else:
        seconds = lock(context, what, count)
    json.dump(seconds, sys.stdout)


if __name__ == "__main__":
    main()
