# SPDX-License-Identifier: Apache-2.0
"""Send messages through a pipe between two processes; print what it took as JSON.

Usage: pipe_body.py ENGINE METHOD WHAT COUNT. Run by pipe.py.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

from arrays import large_array

WHAT: dict[str, Any] = {
    "int": 7,
    "tuple": ("get", 12345, 3.5),
    "dict": {"id": 1, "name": "x", "tags": ["a", "b"]},
}
SIZES = {"64 kB": 64 << 10, "8 MB": 8 << 20, "100 MB": 100_000_000}


def message_of(what: str) -> Any:
    """The message of that name."""
    if what in WHAT:
        return WHAT[what]
    return large_array(SIZES[what]) if what == "100 MB" else bytes(SIZES[what])


def echo(connection: Any) -> None:
    """The other process: send back what comes, None last."""
    message = b""
    while message is not None:
        message = connection.recv()
        connection.send(message)


def swallow(connection: Any, count: int) -> None:
    """The other process: receive so many messages, and say so."""
    for _ in range(count):
        connection.recv()
    connection.send(None)


def ping_pong(connection: Any, message: Any, count: int) -> list[float]:
    """Seconds for each message to go there and come back."""
    seconds = []
    for _ in range(count):
        begin = time.perf_counter()
        connection.send(message)
        connection.recv()
        seconds.append(time.perf_counter() - begin)
    connection.send(None)
    connection.recv()
    return seconds


def stream(connection: Any, message: Any, count: int) -> list[float]:
    """Seconds for each message on the average, if they go one way only."""
    begin = time.perf_counter()
    for _ in range(count):
        connection.send(message)
    connection.recv()
    return [(time.perf_counter() - begin) / count]


def main() -> None:
    """Measure."""
    engine, method, what, number = sys.argv[1:]
    count = int(number)
    context = importlib.import_module(engine).get_context(method)
    here, there = context.Pipe()
    kind, _, of = what.partition(" ")
    message = message_of(of)
    if kind == "ping-pong":
        process = context.Process(target=echo, args=(there,))
    else:
        process = context.Process(target=swallow, args=(there, count))
    process.start()
    measure = ping_pong if kind == "ping-pong" else stream
    seconds = measure(here, message, count)
    process.join()
    json.dump(seconds, sys.stdout)


if __name__ == "__main__":
    main()
