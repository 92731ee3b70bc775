"""Bodies: large messages through connections, beside the stream."""

import os
import pickle
import random
import signal
import threading
import warnings
from multiprocessing import resource_sharer

from body import case, main, mp, raises, started

MB = 1 << 20
VALUES = [
    os.urandom(MB),
    bytearray(os.urandom(MB)),
    "text" * (MB // 4),
    "täxt€😀" * (MB // 8),
    [os.urandom(100_000), "small"],
    {"a": bytearray(200_000)},
]


def answer(connection):
    """Sends back all that it receives, up to a None."""
    while (value := connection.recv()) is not None:
        connection.send(value)


class Answering:
    """A process that answers at the other end of a pipe, known to read there."""

    def __init__(self):
        self.connection, other = mp.Pipe()
        self.process = started(answer, other)
        other.close()
        self.turn(b"x" * 100_000)  # which is told of by now
        self.turn(b"x" * 100_000)

    def turn(self, value):
        thread = threading.Thread(target=self.connection.send, args=(value,))
        thread.start()
        back = self.connection.recv()
        thread.join()
        return back

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.send(None)
        self.process.join()
        self.connection.close()


def in_use():
    """Bytes of messages and the like, in the whole session."""
    from procession import _engine

    return _engine.commons_usage()[2]


@case()
def large_objects_arrive_as_they_were():
    with Answering() as other:
        for value in VALUES:
            back = other.turn(value)
            assert (type(back), back) == (type(value), value)
        array = other.turn([bytearray(MB)])[0]
        array[5] = 7  # it is the receiver's own
        assert array[5] == 7


@case(ours=True)
def a_large_message_does_not_wait_for_its_receiver():
    """It isn't in the stream, which would be full."""
    with Answering() as other:
        for size in (MB, 3 * MB, MB):
            other.connection.send(b"y" * size)
        assert [len(other.connection.recv()) for _ in range(3)] == [MB, 3 * MB, MB]
    reader, writer = mp.Pipe(duplex=False)
    with reader, writer:
        thread = threading.Thread(target=lambda: [reader.recv() for _ in range(2)])
        thread.start()
        writer.send(None)
        writer.send(bytes(MB))
        thread.join()
        before = in_use()
        writer.send(bytes(MB))
        assert in_use() >= before + MB
        assert reader.recv() == bytes(MB)


@case(ours=True)
def senders_of_large_messages_are_held_back():
    with Answering() as other:
        sent = []

        def send():
            for number in range(40):
                other.connection.send([number, b"z" * (8 * MB)])
                sent.append(number)

        thread = threading.Thread(target=send)
        before = in_use()
        thread.start()
        for number in range(40):
            assert in_use() - before < 300 * MB
            back = other.connection.recv()
            assert (back[0], len(back[1])) == (number, 8 * MB)
            del back
        thread.join()
        assert sent == list(range(40))


@case()
def objects_as_bytes_and_bytes_as_objects():
    reader, writer = mp.Pipe()
    with reader, writer:

        def send_and(receive, send, value):
            thread = threading.Thread(target=send, args=(value,))
            thread.start()
            found = receive()
            thread.join()
            return found

        for _ in range(2):  # until both are known to be read
            assert len(send_and(reader.recv_bytes, writer.send_bytes, b"b" * MB)) == MB
            assert len(send_and(reader.recv, writer.send, b"o" * MB)) == MB
        for value in [*VALUES[:5], [bytearray(MB), b"s" * MB]]:
            data = send_and(reader.recv_bytes, writer.send, value)
            assert pickle.loads(data) == value
            assert send_and(reader.recv, writer.send_bytes, pickle.dumps(value)) == value
        room = bytearray(2 * MB)
        assert send_and(lambda: reader.recv_bytes_into(room, 5), writer.send_bytes, b"i" * MB) == MB
        assert room[:6] + room[MB + 4 : MB + 6] == b"\0\0\0\0\0ii\0"
        with raises(mp.BufferTooShort):
            send_and(lambda: reader.recv_bytes_into(bytearray(5)), writer.send_bytes, b"i" * MB)


@case(ours=True)
def buffers_arrive_as_they_do_in_band():
    with Answering() as other:
        for made in (bytearray, bytes):
            data = made(b"x" * MB)
            back = other.turn(pickle.PickleBuffer(data))
            assert (type(back), back) == (made, data)
        data = bytearray(b"x" * MB)
        back = other.turn({"key": pickle.PickleBuffer(data)})["key"]
        assert (len(back), back[5], back[-1:]) == (MB, ord("x"), b"x")
        assert back == data
        assert pickle.loads(pickle.dumps(back, 5)) == data


@case(ours=True)
def a_message_that_is_too_long_is_refused():
    reader, writer = mp.Pipe()
    with reader, writer:
        thread = threading.Thread(target=reader.recv_bytes)
        thread.start()
        writer.send_bytes(b"x" * 100_000)
        thread.join()
        before = in_use()
        writer.send_bytes(b"x" * MB)
        with raises(OSError, "bad message length"):
            reader.recv_bytes(MB - 1)
        assert in_use() == before
        with raises(OSError, "write-only"):
            reader.recv_bytes()


@case(ours=True)
def what_is_not_received_is_not_left():
    before = in_use()
    with Answering() as other:
        for _ in range(3):
            other.connection.send(bytes(MB))
        other.process.kill()
        other.process.join()
        assert in_use() > before
        other.connection.close()
        assert in_use() == before
        other.connection, _ = mp.Pipe()
    reader, writer = mp.Pipe(duplex=False)
    reader.close()
    with writer, raises(BrokenPipeError):
        writer.send(bytes(MB))
    assert in_use() == before


class Samples:
    """An array, as NumPy's are to pickle."""

    def __init__(self, buffer):
        self.view = memoryview(buffer)

    def __reduce_ex__(self, protocol):
        return Samples, (pickle.PickleBuffer(self.view),)


@case(ours=True)
def arrays_are_views_of_what_came():
    with Answering() as other:
        before = in_use()
        value = other.turn(Samples(bytearray(4 * MB)))
        assert in_use() >= before + 4 * MB
        view = value.view[10:20]
        del value
        view[0] = 1
        assert in_use() >= before + 4 * MB
        del view
        other.turn("next")  # lets go of it as well
        assert in_use() == before


def reply_to_all(requests):
    """Answers over the connections that come through a queue."""
    for connection in iter(requests.get, None):
        connection.send(bytes(MB))
        connection.close()


@case(ours=True)
def pipes_that_travel_leave_nothing():
    from procession import _engine

    def cells():
        return _engine.commons_usage()[1]

    requests = mp.Queue()
    process = started(reply_to_all, requests)

    def ask():
        here, there = mp.Pipe(duplex=False)
        with here, there:
            requests.put(there)
            assert here.recv() == bytes(MB)

    ask()
    before = cells()
    for _ in range(10):
        ask()
    requests.put(None)
    process.join()
    resource_sharer.stop()
    assert cells() <= before


def churn(connection, seed):
    """Sends and receives large messages, until it is killed."""
    numbers = random.Random(seed)
    while True:
        connection.send(bytes([seed]) * numbers.choice((10, 70_000, 300_000)))
        data = connection.recv()
        assert data == data[:1] * len(data)


@case(ours=True)
def killed_at_any_line():
    """The survivor sees the end of the stream or a whole message, and nothing is left."""
    warnings.simplefilter("ignore")
    numbers = random.Random(3)
    before = in_use()
    for seed in range(8):
        here, there = mp.Pipe()
        process = started(churn, there, seed)
        there.close()
        killer = None
        try:
            while True:
                data = here.recv()
                assert data == data[:1] * len(data)
                if killer is None:
                    delay = numbers.random() / 20
                    killer = threading.Timer(delay, os.kill, (process.pid, signal.SIGKILL))
                    killer.start()
                here.send(data)
        except (EOFError, OSError):
            pass
        killer.join()
        process.join()
        here.close()
        assert process.exitcode == -signal.SIGKILL
        del process
    assert in_use() == before


if __name__ == "__main__":
    main()
