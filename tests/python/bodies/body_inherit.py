"""Bodies: what a child has of its parent, as it is at the moment of the start."""

import hashlib
import importlib
import os
import signal
import sys
import tempfile
import threading

import watch
from body import METHODS, SAFE, ask, case, main, mp, run


def surroundings(writer):
    mask = os.umask(0)
    os.umask(mask)
    writer.send(
        {
            "cwd": os.getcwd(),
            "umask": mask,
            "argv": sys.argv,
            "path": sys.path,
            "environ": dict(os.environ),
            "executable": sys.executable,
        }
    )


def ours():
    mask = os.umask(0)
    os.umask(mask)
    return {
        "cwd": os.getcwd(),
        "umask": mask,
        "argv": sys.argv,
        "path": sys.path,
        "environ": dict(os.environ),
        "executable": sys.executable,
    }


def compare(seen):
    for name, wanted in ours().items():
        assert seen[name] == wanted, f"{name}: {seen[name]} instead of {wanted}"


@case(ours=True)
def surroundings_of_the_moment():
    compare(ask(surroundings))
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.umask(0o027)
    os.environ["ADDED"] = "yes"
    os.environ["EMPTY"] = ""
    os.environ["ODD"] = "ä\udcff=\n"
    removed = os.environ.pop("COLUMNS")
    sys.argv.append("--more")
    sys.path.insert(1, folder)
    compare(ask(surroundings))
    os.chdir("/")
    os.umask(0o077)
    os.environ["ADDED"] = "no"
    os.environ["COLUMNS"] = removed
    del os.environ["ODD"]
    sys.argv[:] = ["other name"]
    sys.path.remove(folder)
    compare(ask(surroundings))


def answer_of(writer, function):
    writer.send(function())


@case()
def modules_found_on_the_new_path():
    folder = tempfile.mkdtemp()
    with open(os.path.join(folder, "made_late.py"), "w") as file:
        file.write("def answer():\n    return 42\n")
    sys.path.append(folder)
    importlib.invalidate_caches()
    made_late = importlib.import_module("made_late")
    assert ask(answer_of, made_late.answer) == 42


def write_streams(text):
    print("out", text, flush=True)
    print("err", text, file=sys.stderr, flush=True)
    os.write(1, f"raw {text}\n".encode())


@case(before="out first\nraw first\nout third\nraw third\n", stderr="err first\nerr third\n")
def streams_redirected():
    run(write_streams, "first")
    saved = os.dup(1), os.dup(2)
    with open("redirected.txt", "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    run(write_streams, "second")
    for fd, number in zip(saved, (1, 2), strict=True):
        os.dup2(fd, number)
        os.close(fd)
    with open("redirected.txt") as file:
        assert file.read() == "out second\nerr second\nraw second\n"
    run(write_streams, "third")


def signals(writer):
    kept = {number for number in signal.Signals if signal.getsignal(number) == on_signal}
    writer.send(
        (
            sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            signal.getsignal(signal.SIGINT) is signal.default_int_handler,
            signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
            signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL,
            sorted(kept),
        )
    )
    with open("/proc/self/status") as status:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    writer.send([int(lines[name], 16) for name in ("SigBlk", "SigPnd", "ShdPnd")])


def on_signal(number, frame):
    pass


@case(methods=SAFE, ours=True)
def clean_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, on_signal)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        assert run(signals, writer).exitcode == 0
        assert reader.recv() == ([], True, True, True, [])
        assert reader.recv() == [0, 0, 0]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT} <= blocked, "the parent's own changed"
    assert signal.getsignal(signal.SIGTERM) is on_signal


def own_fds(writer, stray):
    found = watch.fds()
    writer.send([to for to in found.values() if os.path.basename(stray) in to])
    writer.send({number: found.get(number) for number in (1, 2)})


@case(methods=SAFE, warm=False)
def no_stray_fds():
    def look(path):
        reader, writer = mp.Pipe(duplex=False)
        with reader, writer:
            assert run(own_fds, writer, path).exitcode == 0
            assert reader.recv() == []
            streams = reader.recv()
        assert streams[1] == os.readlink("/proc/self/fd/1")
        assert streams[2] == os.readlink("/proc/self/fd/2")

    with tempfile.NamedTemporaryFile(prefix="stray") as before:
        os.set_inheritable(before.fileno(), True)
        look(before.name)  # the engine comes up while the file is open
        with tempfile.NamedTemporaryFile(prefix="stray") as file:
            os.set_inheritable(file.fileno(), True)
            look(file.name)
            ends = os.pipe()
            for fd in ends:
                os.set_inheritable(fd, True)
            look(file.name)
            for fd in ends:
                os.close(fd)


def standard_input(writer):
    writer.send(sys.stdin.read())


@case()
def no_standard_input():
    assert ask(standard_input) == ""


def flags(writer):
    writer.send((tuple(sys.flags), sys.warnoptions, sys._xoptions, __debug__))


@case()
def interpreter_flags():
    assert ask(flags) == (tuple(sys.flags), sys.warnoptions, sys._xoptions, __debug__)


def echo(writer, data):
    writer.send((len(data), hashlib.sha1(data).hexdigest()))


@case()
def arguments_of_any_size():
    for size in (0, 1, 4095, 65_536, 1_000_001, 64 << 20):
        data = os.urandom(1 << 16) * (size >> 16) + b"x" * (size & 0xFFFF)
        assert ask(echo, data) == (len(data), hashlib.sha1(data).hexdigest()), size
    data = bytearray(b"abc")
    assert ask(echo, data)[0] == 3


@case()
def an_argument_of_3_gib():
    size = 3 << 30
    data = bytes(size)
    assert ask(measure, data) == (size, 0)


def measure(writer, data):
    writer.send((len(data), data[-1]))


def settings(writer):
    writer.send(
        (
            mp.get_start_method(),
            bytes(mp.current_process().authkey),
            threading.current_thread().name,
            threading.current_thread() is threading.main_thread(),
            [name for name in METHODS if mp.get_context(name).get_start_method() != name],
        )
    )


@case()
def settings_of_the_session():
    mp.current_process().authkey = b"secret"
    answer = ask(settings)
    assert answer == (mp.get_start_method(), b"secret", "MainThread", True, []), answer


if __name__ == "__main__":
    main()
