"""Reads /proc, and waits for what is read there to change.

Used by the tests and by the programs they start: standard library only, nothing of the engine, and
nothing that takes long to import, since each of thousands of children does.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

WATCHDOG_S = 60.0
MARK = "PROCESSION_TEST_MARK"
FORKED_NO_EXEC = 0x40  # PF_FORKNOEXEC, include/linux/sched.h


def read(path: str) -> bytes:
    """All of a file."""
    with open(path, "rb") as file:
        return file.read()


def until(condition: Callable[[], T], what: str, seconds: float = WATCHDOG_S) -> T:
    """Return the first true value of `condition`; a hang is an AssertionError that names `what`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still waiting for: {what}"
        time.sleep(0.005)
    return value


def stat(pid: int) -> tuple[str, int, int, int] | None:
    """State letter, parent's pid, flags and start time of a process; None once it is gone."""
    try:
        text = read(f"/proc/{pid}/stat").decode()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[6]), int(fields[19])


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    found = stat(pid)
    return found is not None and found[0] not in "ZX"


def ends(pid: int, seconds: float) -> bool:
    """Whether our child ends in that time: woken by it, where Popen.wait() looks every 50 ms."""
    pidfd = os.pidfd_open(pid)
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)


def pids() -> Iterator[int]:
    """Every process on the machine."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def children(pid: int | None = None) -> set[int]:
    """The children of a process (of ours by default), zombies included."""
    parent = pid or os.getpid()
    return {child for child in pids() if (found := stat(child)) and found[1] == parent}


def zombies() -> set[int]:
    """Our children that nobody has waited for."""
    return {pid for pid in children() if (found := stat(pid)) and found[0] == "Z"}


def command(pid: int) -> str:
    """A process's command line."""
    try:
        raw = read(f"/proc/{pid}/cmdline")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace")


def zygotes() -> list[int]:
    """Our live children that were exec'ed and are no resource tracker, the oldest first."""
    found = []
    for pid in children():
        state = stat(pid)
        if not state or state[0] in "ZX" or state[2] & FORKED_NO_EXEC:
            continue
        if "resource_tracker" not in command(pid):
            found.append((state[3], pid))
    return [pid for _, pid in sorted(found)]


def marked(mark: str) -> dict[int, str]:
    """The live processes whose environment carries `mark`, with their command lines."""
    needle = f"{MARK}={mark}".encode()
    found = {}
    for pid in pids():
        try:
            environ = read(f"/proc/{pid}/environ")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if needle in environ.split(b"\0") and alive(pid):
            found[pid] = command(pid)
    return found


# Of the memory that the processes of a session have in common: there once, and from then on.
_SESSION = ("/memfd:procession-session (deleted)", "/memfd:procession-session-arena (deleted)")


def fds() -> dict[int, str]:
    """Our open file descriptors and what they refer to, but for the session's memory."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that listed the folder
            continue
    for memory in _SESSION:
        numbers = [number for number, target in found.items() if target == memory]
        for number in numbers[:1]:
            del found[number]
    return found


def threads() -> set[str]:
    """Our threads as the kernel knows them, and their names."""
    names = {t.native_id: t.name for t in threading.enumerate()}
    return {f"{tid} {names.get(int(tid), '')}" for tid in os.listdir("/proc/self/task")}


def shm_names() -> set[str]:
    """The names in /dev/shm."""
    return set(os.listdir("/dev/shm"))


def held_by_others(name: str, mark: str) -> bool:
    """Whether a live process without `mark` maps or holds the file /dev/shm/`name`."""
    path = f"/dev/shm/{name}"
    ours = {os.getpid(), *marked(mark)}
    for pid in set(pids()) - ours:
        try:
            if path.encode() in read(f"/proc/{pid}/maps"):
                return True
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == path:
                    return True
        except OSError:
            continue
    return False
