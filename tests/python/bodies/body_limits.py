"""Bodies: starts that the system refuses, and a zygote that is killed at a bad moment."""

import errno
import os
import random
import resource
import signal
import sys
import threading

import watch
from body import SAFE, case, main, mp, nothing, raises, run, started


def code(number):
    sys.exit(number)


@case(methods=SAFE, ours=True, warm=False)
def interpreter_that_is_not_there():
    good = sys.executable
    mp.set_executable("/nonexistent/python")
    process = mp.Process(target=nothing)
    with raises(FileNotFoundError, "/nonexistent/python"):
        process.start()
    assert mp.active_children() == []
    assert not watch.zombies()
    mp.set_executable(good)
    assert run(code, 5).exitcode == 5


@case(methods=SAFE, ours=True, warm=False)
def interpreter_that_cannot_run():
    path = os.path.abspath("python")
    with open(path, "w") as file:
        file.write("no program")
    good = sys.executable
    mp.set_executable(path)
    with raises(PermissionError, path):
        mp.Process(target=nothing).start()
    assert mp.active_children() == []
    mp.set_executable(good)
    assert run(code, 5).exitcode == 5


class NoFds:
    """While entered, only `free` more descriptors can be had."""

    def __init__(self, free):
        self.free = free

    def __enter__(self):
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(watch.fds()) + 20, self.limits[1]))
        self.taken = []
        while True:
            try:
                self.taken.append(os.dup(2))
            except OSError as error:
                assert error.errno == errno.EMFILE, error
                break
        for _ in range(self.free):
            os.close(self.taken.pop())

    def __exit__(self, *_):
        for fd in self.taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)


@case()
def no_descriptor_free():
    """Those that were made in advance may yet be had; the next one is refused."""
    started = []
    with NoFds(0):
        for _ in range(3):
            process = mp.Process(target=nothing)
            try:
                process.start()
            except OSError as error:
                assert error.errno == errno.EMFILE, error
                assert process.exitcode is None
                assert process.pid is None
            else:
                started.append(process)
    assert len(started) < 3, started
    for process in started:
        process.join()
        assert process.exitcode == 0
    assert mp.active_children() == []
    assert run(code, 6).exitcode == 6


@case(ours=True)
def few_descriptors_free():
    """Wherever in a start they run out: it fails as a whole, and leaves nothing."""
    outcomes = []
    for free in range(14):
        process = mp.Process(target=code, args=(7,))
        with NoFds(free):
            try:
                process.start()
            except OSError as error:
                assert error.errno == errno.EMFILE, error
                outcomes.append(False)
                assert process.pid is None
            else:
                outcomes.append(True)
        if outcomes[-1]:
            process.join()
            # Under fork the child itself has few: what it needs is Python's business.
            assert process.exitcode == 7, process
        assert mp.active_children() == []
    assert outcomes[-1], outcomes  # the first may succeed, by a process made in advance
    assert run(code, 6).exitcode == 6


@case(ours=True, warm=False)
def no_descriptor_for_the_first_start():
    with NoFds(0), raises(OSError) as caught:
        mp.Process(target=nothing).start()
    assert caught[0].errno == errno.EMFILE, caught
    for _ in range(2):
        assert run(code, 6).exitcode == 6


@case(ours=True)
def no_process_to_be_had():
    """To be run by a user of its own, not the superuser."""
    assert os.getuid() != 0
    limits = resource.getrlimit(resource.RLIMIT_NPROC)
    family = [0, *watch.children()]  # the zygote has limits of its own
    for pid in family:
        resource.prlimit(pid, resource.RLIMIT_NPROC, (1, limits[1]))
    processes, errors = [], []
    for _ in range(20):  # those that were made in advance may yet be had
        process = mp.Process(target=code, args=(8,))
        try:
            process.start()
        except OSError as error:
            assert error.errno == errno.EAGAIN, error
            assert process.pid is None
            errors.append(error)
        else:
            processes.append(process)
    for pid in {0, *watch.children()}:
        resource.prlimit(pid, resource.RLIMIT_NPROC, limits)
    assert len(errors) > 10, processes
    for process in processes:
        process.join()
        assert process.exitcode == 8, process
    assert mp.active_children() == []
    for _ in range(3):
        assert run(code, 8).exitcode == 8


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_soon(pid, turns):
    for _ in range(turns):
        pass
    kill(pid)


@case(methods=("forkserver",), ours=True)
def zygote_killed_between_starts():
    assert watch.zygotes(), "no zygote found"
    reader, writer = mp.Pipe(duplex=False)
    early = started(wait_for_end, reader)
    for turn in range(5):
        for pid in watch.zygotes():
            kill(pid)
            if turn % 2:
                watch.until(lambda pid=pid: not watch.alive(pid), "the zygote to be gone")
        assert run(code, turn).exitcode == turn
    assert early.is_alive(), "a child of the zygote that was killed first"
    writer.send(None)
    early.join()
    assert early.exitcode == 9, early
    reader.close()
    writer.close()


def wait_for_end(reader):
    reader.recv()
    sys.exit(9)


@case(methods=("forkserver",), ours=True)
def zygote_killed_while_it_starts():
    chance = random.Random(3)
    for turn in range(60):
        victims = watch.zygotes()[:1]
        threads = [
            threading.Thread(target=kill_soon, args=(pid, chance.randrange(20_000)))
            for pid in victims
        ]
        for thread in threads:
            thread.start()
        process = mp.Process(target=code, args=(turn,))
        process.start()
        for thread in threads:
            thread.join()
        process.join()
        assert process.exitcode == turn, process
    for thread in threads:
        assert not thread.is_alive()


@case(methods=("forkserver",), ours=True)
def zygote_stopped_and_killed():
    """One that hangs and then dies, with a start under way."""
    pid = watch.zygotes()[0]
    os.kill(pid, signal.SIGSTOP)
    thread = threading.Thread(target=kill_soon, args=(pid, 3_000_000))
    thread.start()
    for turn in range(4):
        assert run(code, turn).exitcode == turn
    thread.join()


@case(ours=True)
def children_killed_as_they_start():
    """Whenever it is killed, a child has an exit code."""
    for turn in range(20):
        process = mp.Process(target=nothing)
        process.start()
        for _ in range(turn * 500):
            pass
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), process
    assert run(code, 6).exitcode == 6


if __name__ == "__main__":
    main()
