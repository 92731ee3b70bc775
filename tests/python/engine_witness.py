"""Writes down which engine carries out what a program does with multiprocessing.

Imported by `site` in each interpreter of a program under test; knows nothing of procession but its
name. Appends JSON lines to the file that ENGINE_WITNESS names: each interpreter, each process that
is started, and each that begins to run what it was started for.
"""

from __future__ import annotations

import collections
import json
import os
import sys
from multiprocessing import process
from pathlib import Path
from typing import Any

LOG = "ENGINE_WITNESS"
PATH = os.environ.get(LOG, "")
HELPERS = ("--multiprocessing-fork", "multiprocessing.resource_tracker")


def read(log: Path) -> dict[str, list[dict[str, Any]]]:
    """What has been noted, by its kind."""
    found: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for line in log.read_text().splitlines():
        fact = json.loads(line)
        found[fact["what"]].append(fact)
    return found


def note(what: str, **facts: object) -> None:
    """Append a line; short enough to be written in one piece by several processes at once."""
    procession = sys.modules.get("procession")
    installed = procession is not None and procession.is_installed()
    facts |= {"what": what, "by": os.getpid(), "installed": installed}
    with open(PATH, "ab", buffering=0) as file:
        file.write(json.dumps(facts).encode() + b"\n")


def watch_processes() -> None:
    """Note each start with the package that carried it out, and each run in a child."""
    base: Any = process.BaseProcess
    start, run = base.start, base.run

    def start_and_note(self: Any) -> None:
        start(self)
        engine = type(self._popen).__module__.partition(".")[0]
        note("start", engine=engine, method=self._popen.method, pid=self._popen.pid)

    def note_and_run(self: Any) -> None:
        note("run")
        run(self)

    base.start, base.run = start_and_note, note_and_run


if PATH:
    watch_processes()
    is_helper = any(word in " ".join(sys.orig_argv) for word in HELPERS)
    note("helper" if is_helper else "program", parent=os.getppid(), e=sys.flags.ignore_environment)
