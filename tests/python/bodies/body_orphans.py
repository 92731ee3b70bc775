"""Bodies: families whose head is killed. `python body_orphans.py METHOD FAMILY` runs until then."""

import os
import signal
import sys
import threading

from body import METHODS, mp


def tell(word):
    """One line to the test, of a size that the pipe takes whole."""
    os.write(1, f"{word} {os.getpid()}\n".encode())


def wait_for_ever(word):
    tell(word)
    while True:
        signal.pause()


def be_busy(word):
    tell(word)
    while True:
        pass


def be_stubborn(word):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    wait_for_ever(word)


def head_a_family(word, methods):
    for method in methods:
        mp.get_context(method).Process(target=wait_for_ever, args=(f"grand{word}",)).start()
    wait_for_ever(word)


def everyone():
    """Children of all sorts, with grandchildren of every start method: eight in all."""
    for target in (wait_for_ever, be_busy, be_stubborn):
        mp.Process(target=target, args=("child",)).start()
    mp.Process(target=wait_for_ever, args=("child",), daemon=True).start()
    mp.Process(target=head_a_family, args=("child", METHODS)).start()
    wait_for_ever("parent")


def a_head():
    """A child that can be killed under its children."""
    process = mp.Process(target=head_a_family, args=("child", METHODS))
    process.start()
    process.join()
    print("child ended", process.exitcode, flush=True)
    sys.stdin.readline()


def all_the_time():
    """Starts without end, from two threads, each with much to hand over."""
    data = bytes(8 << 20)

    def start_some():
        while True:
            process = mp.Process(target=take, args=(data,))
            process.start()
            process.join()

    threads = [threading.Thread(target=start_some, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    mp.Process(target=tell, args=("child",)).start()
    for thread in threads:
        thread.join()


def take(data):
    pass


def left_at_once():
    """A parent that leaves by os._exit, without a word to its children."""
    for _ in range(2):
        mp.Process(target=wait_for_ever, args=("child",)).start()
    sys.stdin.readline()
    os._exit(0)


def join_interrupted():
    """A parent that is interrupted while it waits for a child."""
    process = mp.Process(target=wait_for_ever, args=("child",))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        print("interrupted", process.is_alive(), flush=True)
    process.kill()
    process.join()
    print("exit code", process.exitcode, flush=True)


def uncaught_interrupt():
    """A parent that an interrupt ends while it waits for a daemon."""
    process = mp.Process(target=wait_for_ever, args=("child",), daemon=True)
    process.start()
    process.join()


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    globals()[sys.argv[2]]()
