"""Bodies: how processes start, end, are described and belong to each other."""

import atexit
import os
import signal
import sys
import threading
from multiprocessing import connection

import watch
from body import ENGINE, METHODS, ask, case, main, mp, nothing, raises, run, started


def wait_for(reader, writer=None):
    """End when the other side closes or sends."""
    if writer:
        writer.close()
    try:
        reader.recv()
    except EOFError:
        pass


def sleep_for_ever(ready=None):
    if ready is not None:
        ready.send(os.getpid())
        ready.close()
    while True:
        signal.pause()


def leave_by(way):
    if way == "exit 3":
        sys.exit(3)
    if way == "exit":
        sys.exit()
    if way == "exit None":
        raise SystemExit(None)
    if way == "exit True":
        sys.exit(True)
    if way == "exit text":
        sys.exit("goodbye")
    if way == "_exit 7":
        os._exit(7)
    if way == "abort":
        os.abort()
    if way.startswith("SIG"):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), getattr(signal, way))


KINDS = {"fork": "ForkProcess", "spawn": "SpawnProcess", "forkserver": "ForkServerProcess"}
ENDINGS = {
    "return": 0,
    "exit 3": 3,
    "exit": 0,
    "exit None": 0,
    "exit True": 1,
    "exit text": 1,
    "_exit 7": 7,
    "abort": -signal.SIGABRT,
    "SIGKILL": -signal.SIGKILL,
    "SIGTERM": -signal.SIGTERM,
    "SIGSEGV": -signal.SIGSEGV,
    "SIGINT": -signal.SIGINT,
}


@case(stderr="goodbye\n")
def exit_codes():
    processes = {way: started(leave_by, way) for way in ENDINGS}
    for way, process in processes.items():
        process.join()
        assert process.exitcode == ENDINGS[way], (way, process)
        assert not process.is_alive()


@case(ours=True, stderr="goodbye\n")
def no_exception_unless_one_was_raised():
    processes = {way: started(leave_by, way) for way in ENDINGS}
    for way, process in processes.items():
        process.join()
        assert process.exception() is None, (way, process.exception())


@case(warm=False)
def unknown_start_method():
    before = mp.get_start_method()
    for name in ("nope", "", "FORK", "fork "):
        with raises(ValueError, f"cannot find context for {name!r}"):
            mp.get_context(name)
        with raises(ValueError, f"cannot find context for {name!r}"):
            mp.set_start_method(name, force=True)
    assert mp.get_start_method() == before
    with raises(RuntimeError, "context has already been set"):
        mp.set_start_method(before)
    assert sorted(mp.get_all_start_methods()) == sorted(METHODS)


def are_imported(names):
    assert [name for name in names if name not in sys.modules] == []


@case(methods=("forkserver",), ours=True)
def what_arrives_finds_its_modules_imported():
    """By the zygote: an import takes longer than the rest of a start."""
    lock = mp.Lock()
    assert run(are_imported, ["procession.synchronize"]).exitcode == 0
    queue = mp.Queue()
    assert run(are_imported, ["procession.synchronize", "procession.queues"]).exitcode == 0
    del lock, queue


@case()
def used_out_of_order():
    process = mp.Process(target=nothing)
    with raises(AssertionError, "can only join a started process"):
        process.join()
    assert process.exitcode is None
    assert process.pid is None
    assert not process.is_alive()
    process.start()
    with raises(AssertionError, "cannot start a process twice"):
        process.start()
    with raises(AssertionError, "process has already started"):
        process.daemon = True
    process.join()
    process.join()
    assert process.exitcode == 0
    with raises(AssertionError, "cannot start a process twice"):
        process.start()
    process.close()
    process.close()
    for use in (process.start, process.join, process.is_alive, process.terminate, process.kill):
        with raises(ValueError, "process object is closed"):
            use()
    for name in ("exitcode", "pid", "sentinel"):
        with raises(ValueError, "process object is closed"):
            getattr(process, name)


@case()
def descriptions():
    context = mp.get_context(mp.get_start_method())
    name = KINDS[mp.get_start_method()]
    assert context.Process.__name__ == name
    us = os.getpid()
    reader, writer = mp.Pipe(duplex=False)
    process = context.Process(target=wait_for, args=(reader, writer), name="one")
    assert repr(process) == f"<{name} name='one' parent={us} initial>"
    process.start()
    pid = process.pid
    assert repr(process) == f"<{name} name='one' pid={pid} parent={us} started>"
    assert process.ident == pid
    writer.close()
    process.join()
    reader.close()
    assert repr(process) == f"<{name} name='one' pid={pid} parent={us} stopped exitcode=0>"
    process.close()
    assert repr(process) == f"<{name} name='one' parent={us} closed>"

    for way, text in (("exit 3", "3"), ("SIGKILL", "-SIGKILL"), ("SIGTERM", "-SIGTERM")):
        process = context.Process(target=leave_by, args=(way,), daemon=True)
        process.start()
        process.join()
        start = f"<{name} name={process.name!r} pid={process.pid} parent={us}"
        assert repr(process) == f"{start} stopped exitcode={text} daemon>"
    assert context.Process().name.rpartition("-")[0] == name
    assert type(mp.Process()).__name__ == "Process"


@case()
def stopping():
    reader, writer = mp.Pipe(duplex=False)
    first = started(sleep_for_ever, writer)
    assert reader.recv() == first.pid
    second = started(sleep_for_ever, writer)
    assert reader.recv() == second.pid
    writer.close()
    reader.close()
    assert first.is_alive()
    assert first.exitcode is None
    assert first.join(0) is None
    assert first.join(0.01) is None
    assert first.is_alive()
    assert set(mp.active_children()) == {first, second}
    with raises(ValueError, "Cannot close a process while it is still running"):
        first.close()
    first.terminate()
    first.join()
    second.kill()
    second.join()
    assert (first.exitcode, second.exitcode) == (-signal.SIGTERM, -signal.SIGKILL)
    first.terminate()
    second.kill()
    assert not mp.active_children()
    assert (first.exitcode, second.exitcode) == (-signal.SIGTERM, -signal.SIGKILL)


@case()
def sentinels():
    pipes = [mp.Pipe(duplex=False) for _ in range(3)]
    processes = [started(wait_for, *pipe) for pipe in pipes]
    for reader, _ in pipes:
        reader.close()
    by_sentinel = {process.sentinel: process for process in processes}
    assert len(by_sentinel) == 3
    assert not connection.wait(by_sentinel, timeout=0)
    for process, (_, writer) in zip(reversed(processes), reversed(pipes), strict=True):
        writer.send(None)
        writer.close()
        assert connection.wait(list(by_sentinel)) == [process.sentinel]
        assert connection.wait([process.sentinel]) == [process.sentinel]
        del by_sentinel[process.sentinel]
        process.join()
        assert process.exitcode == 0


@case()
def sentinel_tells_of_a_kill():
    process = started(sleep_for_ever)
    os.kill(process.pid, signal.SIGKILL)
    assert connection.wait([process.sentinel]) == [process.sentinel]
    process.join()
    assert process.exitcode == -signal.SIGKILL


def describe(go, writer):
    go.recv()
    us, parent = mp.current_process(), mp.parent_process()
    writer.send((us.name, us.pid, us.daemon, os.getpid(), os.getppid()))
    writer.send((parent.name, parent.pid, parent.is_alive(), parent.exitcode))
    writer.send((len(mp.active_children()), threading.active_count(), us.is_alive()))


@case()
def family():
    assert mp.parent_process() is None
    assert mp.current_process().name == "MainProcess"
    reader, writer = mp.Pipe(duplex=False)
    waiting, go = mp.Pipe(duplex=False)
    process = started(describe, waiting, writer, name="child", daemon=True)
    writer.close()
    us = os.getpid()
    assert process in mp.active_children()
    go.send(None)
    assert reader.recv() == ("child", process.pid, True, process.pid, us)
    assert reader.recv() == ("MainProcess", us, True, None)
    assert reader.recv() == (0, 1, True)
    for end in (reader, waiting, go):
        end.close()
    process.join()
    assert process not in mp.active_children()


def descend(writer, methods):
    """Start a child by the first of `methods`, which starts one by the next, and so on."""
    answer = [(os.getpid(), os.getppid(), mp.parent_process().pid)]
    if methods:
        context = mp.get_context(methods[0])
        answer += ask(descend, methods[1:], context=context)
    writer.send(answer)
    writer.close()


@case()
def nested():
    for first, second in (("fork", "spawn"), ("spawn", "forkserver"), ("forkserver", "fork")):
        line = ask(descend, [first, second])
        assert len({pid for pid, _, _ in line}) == 3
        parent = os.getpid()
        for pid, ppid, told in line:
            assert told == parent, line
            assert ppid == parent or ENGINE == "multiprocessing", line
            parent = pid


def start_unjoined(path):
    mp.Process(target=write_later, args=(path,)).start()


def write_later(path):
    parent = mp.parent_process()
    connection.wait([parent.sentinel], timeout=0.05)  # the parent is to be at its end by then
    with open(path, "a") as file:
        file.write("grandchild\n")


@case()
def a_child_joins_its_own():
    process = run(start_unjoined, "joined.txt")
    assert process.exitcode == 0
    with open("joined.txt") as file:
        assert file.read() == "grandchild\n"


def leave_with(code):
    sys.exit(code)


@case(ours=True)  # in the standard library one thread's reaping can cost another its exit code
def from_several_threads():
    found, errors = {}, []

    def start_some(number):
        try:
            for turn in range(4):
                process = run(leave_with, 10 * number + turn)
                found[process.pid, process.name] = (process.exitcode, 10 * number + turn)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start_some, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert len(found) == 24
    assert len({name for _, name in found}) == 24
    assert all(code == wanted for code, wanted in found.values()), found


@case(warm=False)
def outlives_the_thread_that_started_it():
    made, writers = [], []

    def start_one():
        reader, writer = mp.Pipe(duplex=False)
        writers.append(writer)
        made.append(started(wait_for, reader))

    for _ in range(2):
        thread = threading.Thread(target=start_one)
        thread.start()
        thread.join()
        task = f"/proc/self/task/{thread.native_id}"
        watch.until(lambda path=task: not os.path.exists(path), "the thread to be gone")
    assert run(nothing).exitcode == 0
    assert all(process.is_alive() for process in made)
    for process, writer in zip(made, writers, strict=True):
        writer.send(None)
        process.join()
        assert process.exitcode == 0, process


@case(warm=False)
def daemons_end_with_their_parent():
    reader, writer = mp.Pipe(duplex=False)
    process = started(sleep_for_ever, writer, daemon=True)
    assert reader.recv() == process.pid
    assert process.daemon


def say(event, writer):
    writer.send("ready")
    event.wait()
    print("child ends", flush=True)


@case(warm=False, after="child ends\n")
def others_are_waited_for():
    event = mp.Event()
    reader, writer = mp.Pipe(duplex=False)
    process = started(say, event, writer)
    assert not process.daemon
    assert reader.recv() == "ready"  # the event's name is gone when this process ends
    atexit.register(event.set)


class Own(mp.Process):
    def __init__(self, value):
        super().__init__(name=f"own {value}")
        self.value = value

    def run(self):
        sys.exit(self.value)


@case()
def subclasses():
    process = Own(5)
    process.start()
    process.join()
    assert (process.exitcode, process.name) == (5, "own 5")
    assert repr(process).startswith("<Own name='own 5' pid=")
    process = mp.Process()
    process.start()
    process.join()
    assert process.exitcode == 0
    process = mp.Process(target=leave_with, args=(4,))
    with raises(SystemExit, "4"):
        process.run()


def register(path):
    atexit.register(append, path, "atexit")
    threading.Thread(target=append, args=(path, "thread")).start()
    print("unflushed", end="")


def append(path, text):
    with open(path, "a") as file:
        file.write(f"{text}\n")


@case(before="unflushed")
def what_runs_at_a_childs_end():
    assert run(register, "ended.txt").exitcode == 0
    with open("ended.txt") as file:
        assert sorted(file.read().split()) in (["atexit", "thread"], ["thread"])


if __name__ == "__main__":
    main()
