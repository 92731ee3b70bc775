"""Bodies: pipes and connections, as multiprocessing's are."""

import array
import errno
import gc
import multiprocessing.connection as standard
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import threading

import watch
from body import case, main, mp, raises, started

VALUES = [
    *(None, True, 7, -(1 << 70), 2.5, "text", "ä€😀", b"bytes", bytearray(b"array")),
    *((), ("get", 1, (2.0, None)), [1, [2, [3]]], {"a": {1: "x"}}, {1, 2}, frozenset({3})),
    *(1 + 2j, range(5), len, os.path.join, ValueError),
]
SIZES = (0, 1, 16_384, 16_385, 65_536, 70_000, 5_000_001)


def both_kinds():
    """Pairs of a receiving and a sending end."""
    yield mp.Pipe(duplex=False)
    first, second = mp.Pipe()
    yield first, second
    yield mp.Pipe()[::-1]


# What connections are.


@case()
def two_ends():
    for reader, writer in both_kinds():
        with reader, writer:
            for end in (reader, writer):
                assert isinstance(end, standard.Connection)
                assert isinstance(end.fileno(), int)
                assert not os.get_inheritable(end.fileno())
                assert not end.closed
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        assert (reader.readable, reader.writable) == (True, False)
        assert (writer.readable, writer.writable) == (False, True)
    with reader:
        assert reader.closed
    first, second = mp.Pipe(True)
    with first, second:
        assert all((end.readable, end.writable) == (True, True) for end in (first, second))


@case()
def what_a_connection_is_made_of():
    first, second = mp.Pipe()
    kind = type(first)
    with first, second:
        for arguments in ((-1,), (first.fileno(), False, False)):
            with raises(ValueError):
                kind(*arguments)
        with raises((TypeError, AttributeError)):
            kind("3")
        fds = os.pipe()
        with kind(fds[0], writable=False) as reader, kind(fds[1], readable=False) as writer:
            writer.send("through a pipe")
            assert reader.poll()
            assert reader.recv() == "through a pipe"


@case()
def objects_arrive_as_they_were():
    for reader, writer in both_kinds():
        with reader, writer:
            for value in VALUES:
                writer.send(value)
                found = reader.recv()
                assert (type(found), found) == (type(value), value)
            shared = []
            writer.send((shared, shared))
            one, other = reader.recv()
            assert one is other


@case()
def objects_of_any_size():
    for reader, writer in both_kinds():
        with reader, writer:
            for size in SIZES:
                for value in (b"b" * size, "t" * size, bytearray(size), [0.5] * (size // 8)):
                    thread = threading.Thread(target=writer.send, args=(value,))
                    thread.start()
                    assert reader.recv() == value
                    thread.join()


@case()
def bytes_of_any_size():
    for reader, writer in both_kinds():
        with reader, writer:
            for size in SIZES:
                data = os.urandom(size)
                thread = threading.Thread(target=writer.send_bytes, args=(data,))
                thread.start()
                assert reader.recv_bytes() == data
                thread.join()


@case()
def a_simplex_pipe_holds_thousands_of_small_messages():
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        for number in range(3000):
            writer.send(number)
        assert [reader.recv() for _ in range(3000)] == list(range(3000))


@case()
def parts_of_buffers():
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        data = bytearray(b"0123456789")
        for arguments, wanted in (
            ((), data),
            ((4,), data[4:]),
            ((4, 2), data[4:6]),
            ((10,), b""),
            ((0, 0), b""),
            ((2, None), data[2:]),
        ):
            writer.send_bytes(data, *arguments)
            assert reader.recv_bytes() == wanted
        writer.send_bytes(buf=memoryview(data), offset=1, size=1)
        assert reader.recv_bytes(maxlength=1) == b"1"
        writer.send_bytes(array.array("i", [1, 2, 3]), 4, 4)
        assert struct.unpack("i", reader.recv_bytes()) == (2,)
        for arguments in ((11,), (-1,), (0, 11), (5, 6), (0, -1)):
            with raises(ValueError):
                writer.send_bytes(data, *arguments)
        with raises(TypeError):
            writer.send_bytes("text")
        assert not reader.poll()


@case()
def bytes_into_a_buffer():
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        room = bytearray(b"----------")
        writer.send_bytes(b"abc")
        assert reader.recv_bytes_into(room) == 3
        writer.send_bytes(b"xyz")
        assert reader.recv_bytes_into(room, 7) == 3
        assert room == b"abc----xyz"
        numbers = array.array("i", [0, 0, 0])
        writer.send_bytes(struct.pack("i", 5))
        assert reader.recv_bytes_into(numbers, 4) == 4
        assert list(numbers) == [0, 5, 0]
        writer.send_bytes(b"")
        assert reader.recv_bytes_into(bytearray()) == 0
        for offset in (-1, 11):
            with raises(ValueError):
                reader.recv_bytes_into(room, offset)
        writer.send_bytes(b"longer")
        with raises(mp.BufferTooShort) as caught:
            reader.recv_bytes_into(room, 5)
        assert caught[0].args == (b"longer",)
        writer.send(1)
        assert reader.recv() == 1


@case()
def messages_longer_than_allowed():
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        writer.send_bytes(b"12345")
        with raises(ValueError):
            reader.recv_bytes(-1)
        assert reader.recv_bytes(5) == b"12345"
        writer.send_bytes(b"123456")
        with raises(OSError, "bad message length"):
            reader.recv_bytes(5)
        assert reader.closed
    first, second = mp.Pipe()
    with first, second:
        second.send_bytes(b"123456")
        with raises(OSError, "bad message length"):
            first.recv_bytes(5)
        assert not first.closed
        assert not first.readable
        first.send(1)
        assert second.recv() == 1


# What goes wrong.


@case()
def the_wrong_way():
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        for send in (reader.send, reader.send_bytes):
            with raises(OSError, "connection is read-only"):
                send(b"x")
        for receive in (writer.recv, writer.recv_bytes, writer.poll):
            with raises(OSError, "connection is write-only"):
                receive()
        with raises(OSError, "connection is write-only"):
            writer.recv_bytes_into(bytearray(1))


@case()
def closed_ones():
    for end in mp.Pipe():
        end.close()
        end.close()
        assert end.closed
        for method in (end.recv, end.recv_bytes, end.poll, end.fileno):
            with raises(OSError, "handle is closed"):
                method()
        for method in (end.send, end.send_bytes, end.recv_bytes_into):
            with raises(OSError, "handle is closed"):
                method(bytearray(1))
    reader, writer = mp.Pipe()
    os.close(reader.fileno())
    with raises(OSError) as caught:
        reader.recv()
    assert caught[0].errno == errno.EBADF
    reader._handle = None
    writer.close()


@case()
def the_other_end_is_gone():
    for reader, writer in both_kinds():
        with reader, writer:
            writer.send("last")
            writer.close()
            assert reader.poll(None)
            assert reader.recv() == "last"
            for _ in range(2):
                assert reader.poll()
                with raises(EOFError):
                    reader.recv()
                with raises(EOFError):
                    reader.recv_bytes()
    for reader, writer in both_kinds():
        with reader, writer:
            reader.close()
            for _ in range(2):
                with raises(BrokenPipeError):
                    writer.send(1)


@case()
def the_other_end_goes_within_a_message():
    for reader, writer in both_kinds():
        with reader, writer:
            os.write(writer.fileno(), struct.pack("!i", 10) + b"part")
            writer.close()
            with raises(OSError, "got end of file during message"):
                reader.recv()


def unpickle_badly():
    raise LookupError("not here")


class Unloadable:
    def __reduce__(self):
        return unpickle_badly, ()


class Unpicklable:
    def __reduce__(self):
        raise LookupError("not there")


@case()
def what_cant_be_pickled_or_unpickled():
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        writer.send(Unloadable())
        writer.send_bytes(b"no pickle")
        with raises(LookupError, "not there"):
            writer.send(Unpicklable())
        writer.send("next")
        with raises(LookupError, "not here"):
            reader.recv()
        with raises(pickle.UnpicklingError):
            reader.recv()
        assert reader.recv() == "next"
        assert not reader.poll()


@case()
def no_descriptors_left():
    for end in mp.Pipe():
        end.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with raises(OSError) as caught:
            while True:
                taken.append(os.dup(1))
        assert caught[0].errno == errno.EMFILE
        for free in range(2):  # one is not enough
            for duplex in (True, False):
                with raises(OSError) as caught:
                    mp.Pipe(duplex)
                assert caught[0].errno == errno.EMFILE, caught
            if free == 0:
                os.close(taken.pop())
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@case()
def forgotten_ones_are_closed():
    fds = watch.fds()
    pair = mp.Pipe()
    assert len(watch.fds()) == len(fds) + 2
    del pair
    gc.collect()
    assert len(watch.fds()) == len(fds)
    first, second = mp.Pipe()
    first.me = first  # which also says that they take attributes
    del first
    gc.collect()
    with raises(EOFError):
        second.recv()
    second.close()


# Waiting.


@case()
def poll_and_wait():
    for reader, writer in both_kinds():
        with reader, writer:
            for timeout in (0, 0.0, -1, 0.01):
                assert reader.poll(timeout) is False
            writer.send(1)
            for timeout in (0, 0.01, 1000, None, -1):
                assert reader.poll(timeout) is True
            assert reader.poll(timeout=1000)
            assert reader.recv() == 1
            assert not reader.poll()
            other, its_writer = mp.Pipe(duplex=False)
            with other, its_writer:
                assert standard.wait([reader, other], 0) == []
                writer.send(2)
                assert standard.wait([reader, other]) == [reader]
                its_writer.send(3)
                assert set(standard.wait([reader, other])) == {reader, other}


def answer(connection, number):
    for _ in range(number):
        connection.send(("answer", connection.recv()))
    connection.close()


@case()
def there_and_back():
    first, second = mp.Pipe()
    with first, second:
        process = started(answer, second, 500)
        second.close()
        for number in range(500):
            first.send(number)
            assert first.recv() == ("answer", number)
        with raises(EOFError):
            first.recv()
        process.join()
        assert process.exitcode == 0


def send_many(connection, number):
    for index in range(number):
        connection.send((os.getpid(), index, b"x" * (index % 3000)))


@case()
def several_senders_of_small_messages():
    """What fits into a pipe at once (PIPE_BUF) needs no lock, as with the standard's."""
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        processes = [started(send_many, writer, 500) for _ in range(3)]
        writer.close()
        found = {process.pid: [] for process in processes}
        for _ in range(1500):
            pid, index, data = reader.recv()
            assert len(data) == index % 3000
            found[pid].append(index)
        assert all(indices == list(range(500)) for indices in found.values())
        for process in processes:
            process.join()


@case()
def threads_meet():
    first, second = mp.Pipe()
    with first, second:
        thread = threading.Thread(target=answer, args=(second, 300))
        thread.start()
        for number in range(300):
            first.send(number)
            assert first.recv() == ("answer", number)
        thread.join()


@case()
def the_standards_at_the_other_end():
    for reader, writer in both_kinds():
        with reader, writer:
            theirs = standard.Connection(os.dup(writer.fileno()), readable=False)
            back = standard.Connection(os.dup(reader.fileno()), writable=False)
            with theirs, back:
                for size in SIZES:
                    data = os.urandom(size)
                    for one, other in ((theirs, reader), (writer, back)):
                        thread = threading.Thread(target=one.send, args=(data,))
                        thread.start()
                        assert other.recv() == data
                        thread.join()


# Signals.


def interrupt_once_asleep(pid, number, then):
    """Send a signal to a process that sleeps; then, when it has come, a message."""
    gate, connection = then
    gate.recv()
    watch.until(lambda: watch.stat(pid)[0] == "S", "it to sleep")
    os.kill(pid, number)
    gate.recv()
    connection.send("at last")


@case()
def signals_while_it_waits():
    """Their handlers run at once; the wait goes on (PEP 475)."""
    ours, theirs = mp.Pipe()
    reader, writer = mp.Pipe(duplex=False)
    signal.signal(signal.SIGUSR1, lambda *_: ours.send("seen"))
    for receive in (reader.recv, lambda: reader.poll(None) and reader.recv()):
        then = (theirs, writer)
        process = started(interrupt_once_asleep, os.getpid(), signal.SIGUSR1, then)
        ours.send("ready")
        assert receive() == "at last"
        process.join()
    for end in (ours, theirs, reader, writer):
        end.close()


@case()
def ctrl_c_ends_a_wait():
    ours, theirs = mp.Pipe()
    reader, writer = mp.Pipe(duplex=False)
    for receive in (reader.recv, reader.recv_bytes, lambda: reader.poll(None)):
        process = started(interrupt_once_asleep, os.getpid(), signal.SIGINT, (theirs, writer))
        with raises(KeyboardInterrupt):
            ours.send("ready")
            receive()
        ours.send("seen")
        assert reader.recv() == "at last"
        process.join()
    for end in (ours, theirs, reader, writer):
        end.close()


# As arguments, and later.


def use(connection, kind):
    connection.send(type(connection).__module__)
    assert type(connection).__module__ == kind, type(connection)
    assert connection.recv() == "go on"


@case()
def arguments_of_processes():
    first, second = mp.Pipe()
    kind = type(first).__module__
    with first, second:
        process = started(use, second, kind)
        second.close()
        assert first.recv() == kind
        first.send("go on")
        process.join()
        assert process.exitcode == 0
        with raises(EOFError):
            first.recv()


def take_from(connection, kind):
    with connection.recv() as sent:
        use(sent, kind)


@case(warm=False)  # the thread that hands descriptors out stays
def sent_through_a_connection():
    for duplex in (True, False):
        way, there = mp.Pipe()
        first, second = mp.Pipe(duplex)
        with way, there, first, second:
            if duplex:
                process = started(take_from, there, type(first).__module__)
                way.send(second)
                assert first.recv() == type(first).__module__
                first.send("go on")
            else:
                process = started(send_through, there)
                way.send(second)
                assert first.recv() == "sent"
            process.join()
            assert process.exitcode == 0


def send_through(connection):
    with connection.recv() as writer:
        assert not writer.readable
        writer.send("sent")


@case(warm=False)
def sent_through_a_queue():
    queue = mp.Queue()
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        process = started(put_into_what_comes, queue)
        queue.put(writer)
        assert reader.recv() == "sent"
        process.join()
        assert process.exitcode == 0
    queue.close()
    queue.join_thread()


def put_into_what_comes(queue):
    with queue.get() as writer:
        writer.send("sent")


@case()
def not_for_programs_that_are_executed():
    first, second = mp.Pipe()
    with first, second:
        text = "import os, sys\nfor fd in sys.argv[1:]:\n try: os.fstat(int(fd)); print('open')\n"
        text += " except OSError: pass"
        numbers = [str(end.fileno()) for end in (first, second)]
        out = subprocess.run(
            [sys.executable, "-c", text, *numbers], close_fds=False, capture_output=True, check=True
        )
        assert out.stdout == b""


@case(ours=True)
def natively():
    for end in (*mp.Pipe(), *mp.Pipe(False), *mp.get_context("spawn").Pipe()):
        assert type(end).__module__ == "procession.connection"
        for method in ("send", "recv", "send_bytes", "recv_bytes", "recv_bytes_into", "poll"):
            assert method not in vars(type(end)), method
        with raises(TypeError):  # the descriptor's number is nothing to anybody else
            pickle.dumps(end)


def interrupted_sender(connection, gate):
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    gate.send("ready")
    try:
        connection.send_bytes(b"x" * 3_000_000)
    except KeyboardInterrupt:
        gate.send("interrupted")
    gate.recv()
    connection.send("next")


@case(ours=True)
def an_interrupted_send_leaves_no_torn_message():
    for reader, writer in both_kinds():
        ours, theirs = mp.Pipe()
        with reader, writer, ours, theirs:
            process = started(interrupted_sender, writer, theirs)
            writer.close()
            assert ours.recv() == "ready"
            assert reader.poll(None)
            watch.until(lambda pid=process.pid: watch.stat(pid)[0] == "S", "it to sleep")
            os.kill(process.pid, signal.SIGUSR1)
            assert ours.recv() == "interrupted"
            ours.send("go on")
            assert reader.recv_bytes() == b"x" * 3_000_000
            assert reader.recv() == "next"
            process.join()
            assert process.exitcode == 0


@case(ours=True)
def an_interrupted_recv_loses_nothing():
    for reader, writer in both_kinds():
        with reader, writer:
            data = pickle.dumps("in parts")
            wire = struct.pack("!i", len(data)) + data
            os.write(writer.fileno(), wire[:7])
            signal.signal(signal.SIGUSR1, signal.default_int_handler)
            process = started(interrupt_sleeper, os.getpid())
            with raises(KeyboardInterrupt):
                reader.recv()
            process.join()
            os.write(writer.fileno(), wire[7:])
            assert reader.recv() == "in parts"


def interrupt_sleeper(pid):
    watch.until(lambda: watch.stat(pid)[0] == "S", "it to sleep")
    os.kill(pid, signal.SIGUSR1)


@case(ours=True)
def what_cant_travel_is_named():
    reader, writer = mp.Pipe(False)
    with reader, writer:
        with raises(TypeError, "cannot send the message: obj['a'][0] is a"):
            writer.send({"a": [threading.Lock()]})
        writer.send(lambda: 5)
        assert reader.recv()() == 5


if __name__ == "__main__":
    main()
