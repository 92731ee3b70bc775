# SPDX-License-Identifier: Apache-2.0
"""Start and join no-op processes, one after the other; print each one's seconds as JSON.

Usage: start_join_body.py ENGINE METHOD COUNT PAUSE_MS GIVEN, of which GIVEN is what each process
gets: "nothing" or "queue". Run by start_join.py.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

WARM_UP = 3


def nothing(*_: object) -> None:
    """What the processes run."""


def main() -> None:
    """Measure."""
    engine, method, count, pause_ms, given = sys.argv[1:]
    context = importlib.import_module(engine).get_context(method)
    args = (context.Queue(),) if given == "queue" else ()
    seconds = []
    for _ in range(WARM_UP + int(count)):
        time.sleep(float(pause_ms) / 1000)
        begin = time.perf_counter()
        process = context.Process(target=nothing, args=args)
        process.start()
        process.join()
        seconds.append(time.perf_counter() - begin)
        assert process.exitcode == 0
    json.dump({"first": seconds[0], "all": seconds[WARM_UP:]}, sys.stdout)


if __name__ == "__main__":
    main()
