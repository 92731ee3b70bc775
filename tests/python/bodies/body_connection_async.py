"""Bodies: connections and processes from within asyncio."""

import asyncio
import contextlib
import functools
import importlib
import math
import os
import pickle
import signal
import struct
import threading
import time

import watch
from body import case, main, mp, nothing, raises, started

importlib.import_module(f"{mp.__name__}.connection")  # a zygote made for it would hold up the loop
LARGE = b"x" * 5_000_000


def ours(run):
    """Register a coroutine function as a case that multiprocessing knows nothing of."""

    async def however_slow():  # on a busy machine
        asyncio.get_running_loop().slow_callback_duration = math.inf
        await run()

    @functools.wraps(run)
    def within_a_loop():
        before = watch.threads()
        asyncio.run(however_slow(), debug=True)  # which complains of what is forgotten
        watch.until(lambda: watch.threads() <= before, "threads to end")

    return case(ours=True)(within_a_loop)


@contextlib.contextmanager
def pipe(duplex=True):
    first, second = mp.Pipe(duplex)
    with first, second:
        yield first, second


async def turns(number=20):
    """Let the loop's other tasks do what they can do."""
    for _ in range(number):
        await asyncio.sleep(0)


def wire(value):
    data = pickle.dumps(value)
    return struct.pack("!i", len(data)) + data


def echo(connection):
    while (message := connection.recv()) is not None:
        connection.send(message)


@ours
async def there_and_back():
    with pipe() as (first, second):
        process = started(echo, second)
        for message in (1, "two", LARGE, [3.0], b""):
            sending = asyncio.create_task(first.asend(message))
            assert await first.arecv() == message
            await sending
        for number in range(300):
            await first.asend(number)
            assert await first.arecv() == number
        await first.asend(None)
        await process.ajoin()
        assert process.exitcode == 0


@ours
async def others_go_on_meanwhile():
    with pipe() as (first, second), pipe(duplex=False) as (reader, writer):
        waiting = [asyncio.create_task(end.arecv()) for end in (first, second, reader)]
        await turns()
        assert not any(task.done() for task in waiting)
        await first.asend("to second")
        await second.asend("to first")
        await writer.asend("to reader")
        assert await asyncio.gather(*waiting) == ["to first", "to second", "to reader"]


@ours
async def a_part_of_a_message():
    """Neither blocks the loop nor is lost, whoever receives the rest."""
    for duplex in (True, False):
        for finish in (lambda end: end.arecv(), lambda end: asyncio.to_thread(end.recv)):
            with pipe(duplex) as (reader, writer):
                whole = wire("a message in parts")
                for cut in (1, 3, 4, 5, len(whole) - 1):
                    task = asyncio.create_task(reader.arecv())
                    os.write(writer.fileno(), whole[:cut])
                    await turns()
                    assert not task.done()
                    task.cancel()
                    with raises(asyncio.CancelledError):
                        await task
                    rest = asyncio.ensure_future(finish(reader))
                    await turns()
                    os.write(writer.fileno(), whole[cut:])
                    assert await rest == "a message in parts"
    await asyncio.get_running_loop().shutdown_default_executor()


@ours
async def a_cancelled_arecv_takes_no_message_with_it():
    with pipe(duplex=False) as (reader, writer):
        for number in range(200):
            task = asyncio.create_task(reader.arecv())
            await turns(3)
            writer.send(number)
            await turns(number % 4)  # the message may lie there, or the task be woken already
            task.cancel()
            try:
                got = await task
            except asyncio.CancelledError:
                got = await reader.arecv()
            assert got == number
        with raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.arecv(), 0.01)
        writer.send("after that")
        assert reader.recv() == "after that"


@ours
async def a_cancelled_asend_leaves_no_torn_message():
    for duplex in (True, False):
        with pipe(duplex) as (reader, writer):
            task = asyncio.create_task(writer.asend(LARGE))
            await turns()
            task.cancel()
            reader.close()  # what then becomes of the rest is nobody's business
            await turns()
        with pipe(duplex) as (reader, writer):
            task = asyncio.create_task(writer.asend(LARGE))
            await turns()
            assert not task.done()
            task.cancel()
            with raises(asyncio.CancelledError):
                await task
            assert await reader.arecv() == LARGE  # the rest is seen to by the loop
            await writer.asend("next")
            assert await reader.arecv() == "next"
            # Or ahead of the next message, however that is sent.
            task = asyncio.create_task(writer.asend(LARGE))
            await turns()
            task.cancel()
            sender = threading.Thread(target=writer.send, args=("by send",))
            sender.start()
            assert await reader.arecv() == LARGE
            assert await reader.arecv() == "by send"
            sender.join()


@ours
async def a_cancelled_asend_that_has_not_begun_sends_nothing():
    with pipe(duplex=False) as (reader, writer):
        full = 0
        while writer._try_send(
            writer._pack(b"x" * 1000)
        ):  # up to a message of which a part has gone
            full += 1
        while writer._has_begun:
            first = reader.recv()
            full -= 1
            assert first == b"x" * 1000
            writer._try_finish()
        while writer._try_send(writer._pack(None)):
            full += 1
        task = asyncio.create_task(writer.asend("never sent"))
        await turns()
        assert not task.done()
        task.cancel()
        with raises(asyncio.CancelledError):
            await task
        for _ in range(full):
            reader.recv_bytes()
        assert not reader.poll()


@ours
async def several_tasks_wait_for_one_connection():
    with pipe() as (first, second):
        tasks = [asyncio.create_task(first.arecv()) for _ in range(5)]
        await turns()
        tasks[2].cancel()
        for number in range(4):
            await second.asend(number)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found.pop(2), asyncio.CancelledError)
        assert sorted(found) == [0, 1, 2, 3]


@ours
async def many_messages_leave_the_loop_its_turns():
    with pipe() as (first, second):
        sender = threading.Thread(target=send_until_told, args=(second,))
        sender.start()
        seen = asyncio.Event()

        async def receive():
            while await first.arecv() is not None:
                pass

        async def look_after_a_while():
            await turns(100)
            seen.set()

        looking = asyncio.create_task(look_after_a_while())
        receiving = asyncio.create_task(receive())
        await seen.wait()
        await first.asend("enough")
        await receiving
        await looking
        sender.join()


def send_until_told(connection):
    while not connection.poll():
        connection.send(1)
    connection.send(None)


@ours
async def what_goes_wrong():
    with pipe(duplex=False) as (reader, writer):
        with raises(OSError, "connection is write-only"):
            await writer.arecv()
        with raises(OSError, "connection is read-only"):
            await reader.asend(1)
        with raises(TypeError, "cannot send the message"):
            await writer.asend(threading.Lock())
        writer.send_bytes(b"no pickle")
        writer.send("next")
        with raises(pickle.UnpicklingError):
            await reader.arecv()
        assert await reader.arecv() == "next"
        task = asyncio.create_task(reader.arecv())
        await turns()
        writer.close()
        with raises(EOFError):
            await task
        with raises(OSError, "handle is closed"):
            await writer.asend(1)
    with pipe() as (first, second):
        task = asyncio.create_task(first.asend(LARGE))
        await turns()
        second.close()
        with raises(BrokenPipeError):
            await task
        with raises(BrokenPipeError):
            await first.asend(1)


@ours
async def closing_wakes_who_waits():
    for close in (lambda end: end.close(), close_in_a_thread):
        with pipe() as (first, second):
            tasks = [asyncio.create_task(first.arecv()) for _ in range(2)]
            tasks.append(asyncio.create_task(first.asend(LARGE)))
            await turns()
            close(first)
            for task in tasks:
                with raises(OSError, "handle is closed"):
                    await task
            with pipe() as others:  # which may have the same numbers
                await others[0].asend(1)
                assert await others[1].arecv() == 1
            del second


def close_in_a_thread(connection):
    thread = threading.Thread(target=connection.close)
    thread.start()
    thread.join()


# Processes.


def wait_for(connection):
    connection.recv()


@ours
async def the_end_of_a_process():
    with pipe(duplex=False) as (reader, writer):
        processes = [started(wait_for, reader), started(nothing)]
        await processes[1].ajoin()
        assert processes[1].exitcode == 0
        assert processes[1] not in mp.active_children()
        for timeout in (0, -1, 0.01):
            await processes[0].ajoin(timeout)
            assert processes[0].exitcode is None
        waiting = [asyncio.create_task(processes[0].ajoin(time)) for time in (None, 1000, None)]
        await turns()
        waiting[0].cancel()
        with raises(asyncio.CancelledError):
            await waiting[0]
        assert not any(task.done() for task in waiting[1:])
        writer.send("go on")
        await asyncio.gather(*waiting[1:])
        assert processes[0].exitcode == 0
        await processes[0].ajoin()
        await processes[0].ajoin(timeout=1)


@ours
async def the_end_of_a_killed_process():
    process = started(time.sleep, 1000)
    waiting = asyncio.create_task(process.ajoin())
    await turns()
    process.kill()
    await waiting
    assert process.exitcode == -signal.SIGKILL
    process.close()
    with raises(ValueError):
        await process.ajoin()


@ours
async def what_has_no_end():
    with raises(AssertionError, "can only join a started process"):
        await mp.Process(target=nothing).ajoin()


if __name__ == "__main__":
    main()
